/* cow-fs/confine.h - a child process that can reach one directory and one source, and nothing else
 *
 * It has mount, pid, net, ipc and uts namespaces of its own, the directory as its root, descriptors
 * 0 (source), 1 (report), 2 (/dev/null) and 3 (the directory), a handful of capabilities, limits,
 * no new privileges, and a filter that allows what copying needs. It dies with its parent. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "lib/base/err.h"
#include "lib/kern/filter.h"

enum confine_fd { CONFINE_SOURCE, CONFINE_REPORT, CONFINE_NULL, CONFINE_DIR };

struct confine {
	int source;        /* borrowed, as all */
	int report;        /* end of a pipe that the child writes to */
	int mount;         /* detached mount that becomes the child's root */
	bool sees_trusted; /* the source is a directory: its trusted.* attributes must be seen */
	struct filter filter;
};

/* Compiles the filter, which takes milliseconds. Empty it with filter_done(). */
int confine_filter(struct filter *ret, struct cos_err *err);

/* As fork(), into new namespaces: 0 in the child, which is not confined otherwise yet. */
pid_t confine_fork(struct cos_err *err);

/* In the child. On failure the report's descriptor may or may not have been moved: *RET_REPORT is
 * where it is, always. */
int confine_enter(const struct confine *c, int *ret_report, struct cos_err *err);

/* In a process that is where it is to be, with the report at its place: limits, four capabilities
 * of the user namespace that it is in, no new privileges, and FILTER; it dies with its parent. */
int confine_joined(const struct filter *filter, struct cos_err *err);
