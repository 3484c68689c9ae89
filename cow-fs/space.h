/* cow-fs/space.h - bounds of the space that a guest's own files take, and what they are made with
 *
 * They hold for the guest's directory: its upper layer, the overlay's work directory and a few
 * small files of ours. Templates, snapshots and the pool are nobody's. A directory has its kind
 * from the time it is made: see cowfs_source. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "cow-fs/store.h"
#include "lib/base/err.h"

#define COWFS_NO_LIMIT UINT64_MAX

struct cowfs_space {
	uint64_t bytes, inodes;
};

/* X(id, name, word, meaning), the better ones first */
#define COWFS_LIMIT_KINDS(X)                                                                       \
	X(PROJECT, "project-quota", "project", "project quota of ext4 or xfs")                     \
	X(LOOP, "loop-image", "loop", "an ext4 of its own in a loop device")

enum cowfs_limit_kind {
#define X(id, ...) COWFS_LIMIT_##id,
	COWFS_LIMIT_KINDS(X)
#undef X
		COWFS_LIMIT__N /* none; or, where one is asked for, the best that there is */
};

extern const char *const cowfs_limit_word[COWFS_LIMIT__N];

struct cowfs_limit_found {
	const char *name, *meaning; /* static, as WHY */
	bool works;
	const char *why; /* it does not, or what is to be done first; "" */
};

/* Asks the kernel and the file system of DIR; nothing is changed. Fills all of RET. */
void cowfs_limit_probe(int dir, struct cowfs_limit_found ret[COWFS_LIMIT__N]);

/* What is asked for a new directory. */
struct cowfs_bounds {
	enum cowfs_limit_kind kind; /* COWFS_LIMIT__N: the best that there is */
	bool in_userns; /* else the guest's root is the host's, and could leave a project */
	struct cowfs_space max;
};

/* The kind for a directory that is to have bounds B. COWFS_LIMIT__N: it gets none, and B has no
 * limit. Unsupported, InvalidParameter. */
int cowfs_limit_choose(const struct cowfs *c, const struct cowfs_bounds *b,
		       enum cowfs_limit_kind *ret, struct cos_err *err);

/* Of the open directory HOME of a guest. */
enum cowfs_limit_kind cowfs_limit_kind(int home);
/* Sets it; the guest may run. Unsupported when HOME has no kind, or one that cannot do that. Less
 * than is used is set as it is, but not with a loop image. */
int cowfs_limit_set(int home, const struct cowfs_space *max, struct cos_err *err);
/* Whether a loop image could grow for this process. */
int cowfs_limit_may_grow(struct cos_err *err);
/* Of a guest that runs on a loop image: its file system, for cowfs_limit_used(). It is in use until
 * the descriptor is closed. */
int cowfs_limit_open(int home, struct cos_err *err);
/* What it takes, without looking at each file. With a loop image and DISK < 0 that is what the file
 * takes of the host's disk, and INODES is COWFS_NO_LIMIT: unknown. -ENODATA: has no kind. Leaf. */
int cowfs_limit_used(int home, int disk, struct cowfs_space *ret);
/* Limits that a crash has left without files go away. Leaf. */
void cowfs_limit_tidy(const struct cowfs *c);
/* For a directory that is nobody's from now on. Leaf. */
void cowfs_limit_drop(int home);
