/* cow-fs/inside.h - files into and out of a running guest, by a process that joins it
 *
 * It has the guest's mount and user namespaces and so its root; it stays out of the pid namespace,
 * where the guest could see and trace it. Then it is confined: four capabilities of the guest's own
 * user namespace, limits, and the filter of confine.h. Who starts it has put it into the guest's
 * control groups and has given it these descriptors. */
#pragma once

#include "lib/tar/tar.h"

#define INSIDE_STREAM 3 /* a tar stream, read or written */
#define INSIDE_GUEST  4 /* pidfd of the guest's first process */

enum inside_flag {
	INSIDE_USERNS = 'u',    /* the guest has a user namespace */
	INSIDE_ARCHIVE = 'a',   /* in: owners and set-id bits as the stream says, else root's */
	INSIDE_DIRECTORY = 'd', /* in: PATH has to be a directory */
	INSIDE_FOLLOW = 'l',    /* out: PATH may be a symbolic link */
};

/* Both take a path in the guest and a text of flags, as they come on a command line, and end with
 * the process inside: the caller may do no more than tell how it went. *RET counts also when it
 * fails half way. */
int inside_read(const char *path, const char *flags, struct tar_count *ret, struct cos_err *err);
int inside_write(const char *path, const char *flags, struct tar_count *ret, struct cos_err *err);
