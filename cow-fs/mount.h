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
	  "lower layers added one by one; without it as one colon-separated text")

enum cowfs_feature {
#define X(id, ...) COWFS_##id,
	COWFS_FEATURES(X)
#undef X
		COWFS_FEATURE__N
};

struct cowfs_mount {
	const int *lower; /* directories, topmost first; borrowed */
	unsigned n_lower;
	int home;         /* directory that has up/ and wk/; borrowed */
	int userns;       /* owners are mapped through it; -1: as on disk */
	uint32_t id_base; /* host id of the namespace's root */
	bool is_volatile;
};

/* Makes the overlay as a detached mount; the caller owns the descriptor that is returned. FEATURES:
 * a bit for each enum cowfs_feature that may be used, from cowfs_probe(). About 250 us with mapped
 * owners. Errors: KernelRefused with the overlay's own words; Unsupported when a layer's file
 * system cannot map owners. */
int cowfs_mount(const struct cowfs_mount *m, unsigned features, struct cos_err *err);

/* Tries each way on directories below DIR (made and removed) and returns the features that work, or
 * a negative errno when not even the oldest way does. A few ms, once. */
int cowfs_probe(int dir, struct cos_err *err);
