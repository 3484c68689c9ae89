/* cow-fs/unify.h - equal files of all guests become one object, also while the guests run
 *
 * A file of a guest's upper directory is hashed, its content goes into the pool unless it is there,
 * and a stub takes its place. The guest sees the file with the looks and the content that it had,
 * and another inode number. No write is lost: a file is swapped only when nobody had it open for
 * writing while it was hashed and when it was swapped, and its change time and size stayed the same
 * in between; a running guest is frozen for each batch of swaps. A file that somebody has open to
 * read is swapped only if it is a program or a library: whoever follows a growing file would be
 * left with the old one. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "cow-fs/store.h"

struct cowfs_pool;
struct digester;

/* Of a guest that runs. */
struct cowfs_live {
	/* Its root as it sees it, an overlay on its upper directory: O_PATH or more; borrowed. What
	 * is mounted in it is not entered. */
	int merged;
	/* Returns when all of the guest's processes are stopped, also those that were put into it
	 * from outside, or go on. 0 or a negative errno; -ESRCH when it is not the run of the guest
	 * any more that MERGED is the root of. Called about every 30 ms of swapping; the time in
	 * between two calls is at most COWFS_FREEZE_USEC and one swap. */
	int (*freeze)(bool on, void *arg);
	void *arg;
};
#define COWFS_FREEZE_USEC 30000

/* All of them counts of files, if not said otherwise. */
struct cowfs_unified {
	uint64_t seen;       /* regular files */
	uint64_t candidates; /* of them hashed */
	uint64_t hashed_bytes;
	uint64_t found;       /* whose content was in the pool */
	uint64_t added;       /* objects made */
	uint64_t added_bytes; /* on the disk */
	uint64_t swapped;     /* files that are stubs now; with dry_run: would be */
	uint64_t freed_bytes; /* on the disk, that their data took */
	uint64_t busy;        /* left out: open, or changed just now or meanwhile */
	uint64_t excluded;    /* left out by a pattern */
	uint64_t unable;      /* left out: attributes or names that a stub cannot have; no space */
	uint64_t too_deep;    /* entries left out */
	uint64_t sync_usec;   /* waits for the disk */
	uint64_t batches;     /* of a running guest */
	uint64_t frozen_usec; /* in all of them together */
	uint64_t frozen_max_usec;
};

struct cowfs_unify {
	const char *const
		*exclude;   /* fnmatch(3) patterns for paths without a first slash, where '*'
			       matches slashes too; in addition to cowfs_excludes; NULL ends */
	uint64_t min_bytes; /* shorter files stay; 0: what saves space on this file system */
	bool dry_run;       /* look and hash only: nothing is changed */
	const struct cowfs_live *live; /* NULL: it must not be running */
	/* Called for each batch and about every 64 files; not 0 ends the work with that. NULL. */
	int (*progress)(const struct cowfs_unified *n, void *arg);
	void *arg;
};

/* Keys and the like, that a neighbour must not find out anything about. NULL ends. */
extern const char *const cowfs_excludes[];

/* Unifies GUEST with all that have its trust domain. *RET counts also when it fails half way: what
 * was swapped stays swapped. Time: that of hashing the files above MIN_BYTES which are not stubs
 * yet; two waits for the disk for each 4096 of them. InUse when the guest is being unified, or runs
 * and LIVE is NULL; Unsupported for one on a rootfs. Whenever the process ends, the guest's files
 * are whole. */
int cowfs_unify(const struct cowfs *c, const char *guest, const struct cowfs_unify *u,
		struct cowfs_unified *ret, struct cos_err *err);

/* The same for a tree that nobody uses yet, TOP; its manifest is made in HOME, a directory on the
 * same file system, which also takes the stubs while they are made. The objects that are found or
 * made are POOL's, opened to add. */
int cowfs_unify_tree(struct cowfs_pool *pool, int home, int top, const struct cowfs_unify *u,
		     struct cowfs_unified *ret, struct cos_err *err);
