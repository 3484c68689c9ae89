/* bench/disk.h - a disk of a bench's own: ext4 on a loop device
 *
 * On a file the device does direct I/O, so that what reaches the disk below is what was asked for,
 * and no scheduler of the host's is touched. Its ext4 is bound into guests, so that neither the
 * daemon's files nor the guests' roots share it. All blocks of its files have been written: holes
 * would be read without the disk. */
#pragma once

#include "bench/bench.h"

#define DISK_INSIDE "/io" /* where guests have it */

struct disk {
	char place[72], dev[32];
	int loop; /* its descriptor holds the device: it goes with the bench */
	char old_scheduler[32], old_depth[32];
	bool mounted;
};

/* Where the device's blocks are: in a file of the bench's, and so on the host's disk; or in memory,
 * where the device is as fast at any time. */
enum disk_kind { DISK_IN_FILE, DISK_IN_MEMORY };

/* Files named 0, 1 ... of 128 MiB each, 7 at most, that everybody may read and write. Telling. */
int disk_open(struct disk *d, const struct bench *b, enum disk_kind kind, unsigned files);
/* D may be one that failed to open. Its queue is left as it was found. */
void disk_close(struct disk *d);
/* A file of the device's queue. */
int disk_queue_write(const struct disk *d, const char *file, const char *text);
/* The word of a guest's limits that binds it. */
void disk_bind_word(const struct disk *d, char *buf, size_t size);
