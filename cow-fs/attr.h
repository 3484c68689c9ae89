/* cow-fs/attr.h - which extended attributes a template may have */
#pragma once

#include <stddef.h>

#include "lib/base/err.h"

#define ATTR_VALUE_MAX 65536 /* the kernel's XATTR_SIZE_MAX */

enum attr_verdict {
	ATTR_KEEP,   /* user.*, file capabilities, POSIX ACLs */
	ATTR_DROP,   /* labels of the host it came from */
	ATTR_REFUSE, /* trusted.*: overlayfs would obey them */
};

/* Pure. */
enum attr_verdict attr_judge(const char *name);

/* Sets an attribute that is kept; ids in an ACL are checked as owners are. PATH is for errors,
 * which tell. */
struct attr {
	const char *name;
	const void *value;
	size_t size;
};
int attr_set(int fd, const struct attr *a, const char *path, struct cos_err *err);
/* Says that PATH has the attribute NAME, which is refused. */
int attr_refused(const char *name, const char *path, struct cos_err *err);
