/* lib/kern/cap.h - capability sets of a guest's first process (libcap) */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/err.h"

/* A set as a bit mask, bit N for capability N. */
typedef uint64_t cap_mask;

/* "all", "none" or names with signs, left to right: "all !cap_sys_module !cap_sys_time",
 * "none cap_chown cap_kill"; a name without sign adds, with '!' removes. Case does not matter.
 * It starts from none; "all" includes those that only a later kernel will know.
 * -EINVAL (InvalidParameter) names the word that is wrong. Pure but for asking libcap for names. */
int cap_mask_parse(const char *text, cap_mask *ret, struct cos_err *err);

/* Bounding set of the calling thread becomes KEEP (needs CAP_SETPCAP). Call before changing ids.
 * Capabilities that this kernel does not know are ignored. Leaf; no allocation. */
int cap_drop_bounding(cap_mask keep);

/* Effective, permitted and inheritable := KEEP / KEEP / none, ambient cleared. What the caller does
 * not hold itself is left out: a host's root may lack some. Leaf; no allocation. */
int cap_set(cap_mask keep);

/* Whether the calling thread may use CAP now. Leaf; no allocation. */
bool cap_have(unsigned cap);

/* Raises everything in the permitted set again, as after setfsuid(). Leaf; no allocation. */
int cap_raise_all(void);
