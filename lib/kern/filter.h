/* lib/kern/filter.h - system call filters: compiled once from a profile's words, loaded many times
 *
 * The profile's "seccomp" object:
 *   "default": what every call not named gets, "ENOSYS" or "EPERM"
 *   "allow":   [ "read", ... ] allowed whatever their arguments
 *   "deny":    { "EPERM": [ "bpf", ... ], ... } refused with that errno
 *   "match":   [ { "call": "socket", "arg": 0, "mask": 4294967295, "value": 1,
 *                  "errno": "EAFNOSUPPORT" }, ... ]
 *              allowed only if (args[arg] & mask) == value; rows for one call are alternatives
 *
 * A matched call that no row allows is refused with "errno", EPERM if that is left out; the rows of
 * one call must agree on it. Only the low 32 bits of an argument are compared: the calls worth
 * matching take an int, whose high half the kernel drops.
 *
 * A call may be named in one of the three only. Calls that neither the library nor filter.c knows,
 * or that an ABI does not have, are skipped; those that filter.c alone knows are for the native
 * ABI.
 *
 * x86-64 filters also carry the 32-bit x86 ABI, and refuse x32. socketcall(2), whose arguments a
 * filter cannot see, is refused unless "allow" names it: that makes "match" rows for socket void
 * there. */
#pragma once

#include <jansson.h>

#include "lib/base/err.h"

struct sock_filter;

struct filter {
	struct sock_filter *insn; /* NULL: no filter */
	unsigned short n;
};

/* Compiles SPEC, the object above. About 0.2 ms. *RET is to be emptied with filter_done().
 * -EINVAL (InvalidParameter) names the entry that is wrong by JSON pointer below AT. */
int filter_compile(json_t *spec, const char *at, struct filter *ret, struct cos_err *err);
void filter_done(struct filter *f);

/* Loads F for the calling thread: one system call, no allocation. Needs CAP_SYS_ADMIN in the
 * caller's user namespace or no_new_privs (-EACCES). Leaf. */
int filter_load(const struct filter *f);
