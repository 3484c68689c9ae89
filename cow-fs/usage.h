/* cow-fs/usage.h - what a guest's files take */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "cow-fs/store.h"

struct cowfs_usage {
	uint64_t own_bytes; /* on the disk, that are nobody else's: upper directory and records */
	uint64_t inodes;    /* in its directory: upper, work and records; stubs too */
	uint64_t stubs;     /* of them */
	uint64_t shared_bytes; /* that stubs stand for, as long as the files are */
	uint64_t layer_bytes;  /* on the disk, of the layers that it stands on; shared as well */
	unsigned layers;
};

/* Looks at each file of the guest's upper directory, and with LAYERS at those of its layers. The
 * guest may run; then it is about right. A file with several names counts by its share for each. */
int cowfs_usage(const struct cowfs *c, const char *guest, bool layers, struct cowfs_usage *ret,
		struct cos_err *err);
