/* cow-fs/mount.h - a guest's root: an overlay of its template's layers and its own upper directory
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/err.h"

/* Calls that newer kernels have, each with what is done without it. X(id, name, since, meaning) */
#define COWFS_FEATURES(X)                                                                          \
	X(LAYER_FD, "overlay-layer-fd", "6.15",                                                    \
	  "overlay layers given as descriptors of detached mounts; without it a short-lived "      \
	  "process attaches them in a mount namespace of its own and names them by path")          \
	X(LOWER_PLUS, "overlay-lowerdir-plus", "6.8",                                              \
	  "lower layers added one by one; without it as one colon-separated text")                 \
	X(POOL, "overlay-pool", "5.19",                                                            \
	  "files whose data lies in the pool, see cow-fs(8); without it nothing is unified, and "  \
	  "what was unified before cannot be started")

enum cowfs_feature {
#define X(id, ...) COWFS_##id,
	COWFS_FEATURES(X)
#undef X
		COWFS_FEATURE__N
};

struct cowfs_mount {
	const int *lower; /* directories, topmost first; borrowed */
	unsigned n_lower;
	const int *pool; /* below those, hidden from the guest; borrowed */
	unsigned n_pool;
	bool needs_pool;    /* the layers have stubs: without the feature it is refused */
	int home;           /* directory that has up/ and wk/; borrowed */
	bool home_is_mount; /* a detached mount of its own, which may be changed */
	int userns;         /* owners are mapped through it; -1: as on disk */
	uint32_t id_base;   /* host id of the namespace's root */
	bool is_volatile;
};

/* Makes the overlay as a detached mount; the caller owns the descriptor that is returned. FEATURES:
 * a bit for each enum cowfs_feature that may be used, from cowfs_probe(). About 250 us with mapped
 * owners. Errors: KernelRefused with the overlay's own words; Unsupported when a layer's file
 * system cannot map owners. */
int cowfs_mount(const struct cowfs_mount *m, unsigned features, struct cos_err *err);

/* The layers and the pool together as a detached mount that nobody can write to, with the owners
 * that are on the disk. HOME and what follows it in M are not looked at. */
int cowfs_mount_readonly(const struct cowfs_mount *m, unsigned features, struct cos_err *err);

/* Whether an overlay stands on the directory UPPER, mounted anywhere or being unmounted: 1 or 0, or
 * a negative errno if the kernel does not tell. It is the kernel's own mark; the log of the kernel
 * gets a line. 50 us. Leaf. */
int cowfs_upper_in_use(int upper);

/* A user namespace in which ids 0 to 65535 are BASE and those that follow it; its descriptor. */
int cowfs_userns_make(uint32_t base);

/* Tries each way on directories below DIR (made and removed) and returns the features that work, or
 * a negative errno when not even the oldest way does. A few ms, once. */
int cowfs_probe(int dir, struct cos_err *err);
