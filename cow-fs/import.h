/* cow-fs/import.h - making templates: a source into a new layer, by a confined child process
 *
 * Not part of libcowfs.a: it needs libarchive, which no daemon should carry. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "cow-fs/debian.h"
#include "cow-fs/store.h"
#include "cow-fs/tree.h"

enum import_kind { IMPORT_DIR, IMPORT_TAR, IMPORT_OCI, IMPORT_BUSYBOX, IMPORT_DEBIAN };

struct import_source {
	enum import_kind kind;
	int fd; /* directory (also an OCI layout), archive or program; borrowed; not for Debian */
	const struct debian *debian; /* borrowed */
	uint64_t max_bytes;          /* of data; 0: what the disk takes */
	bool unify;                  /* files go into the default pool, see unify.h: kernels that
					cannot unify cannot start guests of the template */
};

/* Called in the caller's process about ten times a second, and at least once. */
typedef void import_progress(const struct tree_count *n, void *arg);

/* Makes the template NAME. When it returns 0 the template is on the disk; when it fails, or the
 * process dies, there is no template and cowfs_sweep() finds all that is left. *RET counts what was
 * put in. PROGRESS may be NULL. -EEXIST (AlreadyExists), -EINVAL (InvalidParameter for the name,
 * BadImage for the source), Unsupported, KernelRefused. */
int cowfs_import(const struct cowfs *c, const char *name, const struct import_source *src,
		 import_progress *progress, void *arg, struct tree_count *ret, struct cos_err *err);
