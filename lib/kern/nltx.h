/* lib/kern/nltx.h - a netlink transaction: built with libnl, sent at once, each answer read
 *
 * libnl folds errors into codes of its own and drops the kernel's text; this keeps both. The kernel
 * does not roll back: after a failure the caller undoes what it had asked for. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"

#define NLTX_MAX 32 /* messages at once */

struct nl_msg;
struct nl_sock;
struct nlmsghdr;

struct nltx {
	struct nl_sock *sk;
	struct nl_msg *msg[NLTX_MAX];
	struct {
		const char *what; /* static text for errors: "class", "address" */
		int bears;        /* an errno that is no failure; 0: none */
	} row[NLTX_MAX];
	unsigned n;
	bool broken; /* a message could not be built; commit says so */
};

/* A socket of this process's network namespace, or of NETNS, a descriptor of one or the pidfd of a
 * process in it. */
int nltx_open(struct nltx *t, struct cos_err *err);
int nltx_open_in(struct nltx *t, int netns, struct cos_err *err);
void nltx_close(struct nltx *t);

/* Adds a request of TYPE (RTM_*) that begins with the LEN bytes of HDR; attributes are put to what
 * is returned, which is never NULL. WHAT names it in errors; the errno BEARS (0: none) is no
 * failure. */
struct nl_msg *nltx_add(struct nltx *t, const char *what, int type, int flags, const void *hdr,
			size_t len, int bears);
/* A failed nla_put() of the message last added. */
void nltx_put(struct nltx *t, int r);
/* Sends what was added, in order, and waits for all answers. The error is the first one and says
 * which request: "class: quantum of class is small". Nothing is left to be sent in any case. Cost:
 * 5 microseconds a message beside the kernel's own work. */
int nltx_commit(struct nltx *t, struct cos_err *err);
/* Asks for one object, which HDR names, and calls FN with it. */
int nltx_get(struct nltx *t, const char *what, int type, const void *hdr, size_t len,
	     int (*fn)(struct nlmsghdr *h, void *arg), void *arg, struct cos_err *err);
/* Asks for all objects of TYPE and calls FN for each until it returns not 0, which is returned. */
int nltx_dump(struct nltx *t, int type, const void *hdr, size_t len,
	      int (*fn)(struct nlmsghdr *h, void *arg), void *arg, struct cos_err *err);
