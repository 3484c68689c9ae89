/* lib/kern/devbpf.h - which devices a guest may open: v1 files or a cgroup BPF program on v2
 *
 * The profile's "devices" is an array of strings as in v1's devices.allow: "c 1:3 rwm",
 * "c 136:* rwm", "b *:* m"; type "a" is both. Everything that no row allows is refused. An open for
 * reading and writing needs both from rows of the same device. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"

#define DEV_RULES_MAX 64
#define DEV_ANY       UINT32_MAX

struct dev_rule {
	char type;             /* 'c' or 'b' */
	uint32_t major, minor; /* DEV_ANY: all */
	uint8_t access;        /* BPF_DEVCG_ACC_MKNOD | READ | WRITE */
};

struct dev_rules {
	struct dev_rule r[DEV_RULES_MAX];
	size_t n;
};

/* Parses the array; rows of the same device become one, as v1 does it. -EINVAL (InvalidParameter)
 * names the element by JSON pointer below AT. */
int dev_rules_parse(json_t *list, const char *at, struct dev_rules *ret, struct cos_err *err);

/* Loads a BPF_PROG_TYPE_CGROUP_DEVICE program that allows exactly R; returns its descriptor.
 * Compile once for each set of rules, attach many times. Telling. */
int dev_bpf_load(const struct dev_rules *r, struct cos_err *err);
/* Attaches PROG to the v2 directory CGROUP (BPF_F_ALLOW_MULTI); the group keeps it until it is
 * removed. Leaf. */
int dev_bpf_attach(int prog, int cgroup);

/* Writes "a" to devices.deny and each rule to devices.allow of the v1 directory CGROUP, which has
 * no groups below it yet. Telling. */
int dev_v1_apply(const struct dev_rules *r, int cgroup, struct cos_err *err);
