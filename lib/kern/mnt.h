/* lib/kern/mnt.h - mounts as descriptors: made detached, put in place by descriptor, never by path
 *
 * All functions are leaves that return a descriptor, 0 or a negative errno, unless they take err. A
 * detached mount goes away with its last descriptor, so a failed start leaves no mount behind. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/err.h"

struct mnt_opt {
	const char *key, *value; /* VALUE NULL: a flag */
};

/* A new file system of TYPE as a detached mount. ATTR: MOUNT_ATTR_*. OPTS end with a NULL key;
 * NULL: none. */
int mnt_new(const char *type, const struct mnt_opt *opts, uint64_t attr);
/* As mnt_new(), for callers that tell: the kernel's own words (fsopen's log) go into ERR. */
int mnt_new_tell(const char *type, const struct mnt_opt *opts, uint64_t attr, struct cos_err *err);
/* The text that the kernel left in the context FSFD, or "" ; BUF is NUL-ended. Returns BUF. */
char *mnt_log(int fsfd, char *buf, unsigned size);
/* A detached copy of the mount at DIR/PATH ("" with DIR itself), with RECURSIVE its submounts too.
 */
int mnt_clone(int dir, const char *path, bool recursive);
/* Sets and clears MOUNT_ATTR_* of a detached mount and, with RECURSIVE, those below it. */
int mnt_attr(int mnt, uint64_t set, uint64_t clear, bool recursive);
/* Maps owners through the user namespace USERNS; -EINVAL when the file system cannot. */
int mnt_idmap(int mnt, int userns, bool recursive);
/* Puts the detached mount on the open directory or file AT. */
int mnt_attach(int mnt, int at);
/* Opens DIR/PATH as a mount target below ROOT: no link is followed and ROOT is not left. Missing
 * parts are made: directories, or with IS_FILE a last empty file. */
int mnt_target(int root, const char *path, bool is_file);
