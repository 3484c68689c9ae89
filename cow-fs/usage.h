/* cow-fs/usage.h - what a guest's files take, and what could limit it */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "cow-fs/store.h"

struct cowfs_usage {
	uint64_t own_bytes; /* on the disk, that are nobody else's: upper directory and records */
	uint64_t inodes;    /* in the upper directory; the guest's own, stubs too */
	uint64_t stubs;     /* of them */
	uint64_t shared_bytes; /* that stubs stand for, as long as the files are */
	uint64_t layer_bytes;  /* on the disk, of the layers that it stands on; shared as well */
	unsigned layers;
};

/* Looks at each file of the guest's upper directory, and with LAYERS at those of its layers. The
 * guest may run; then it is about right. A file with several names counts once if they follow each
 * other, else by its share for each name. */
int cowfs_usage(const struct cowfs *c, const char *guest, bool layers, struct cowfs_usage *ret,
		struct cos_err *err);

/* How the space of one guest can be limited. X(id, name, meaning) */
#define COWFS_LIMIT_KINDS(X)                                                                       \
	X(PROJECT, "project-quota", "project quota of ext4 or xfs")                                \
	X(BTRFS, "btrfs-quota", "simple quota or qgroups of btrfs")                                \
	X(LOOP, "loop-image", "an ext4 of its own in a loop device")

enum cowfs_limit_kind {
#define X(id, ...) COWFS_LIMIT_##id,
	COWFS_LIMIT_KINDS(X)
#undef X
		COWFS_LIMIT__N
};

struct cowfs_limit_found {
	const char *name, *meaning; /* static, as WHY */
	bool works;
	const char *why; /* it does not, or what is to be done first; "" */
};

/* Asks the kernel and the file system of DIR; nothing is changed. Fills all of RET. */
void cowfs_limit_probe(int dir, struct cowfs_limit_found ret[COWFS_LIMIT__N]);
