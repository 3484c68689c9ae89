/* tests/kern/fuse-disk.h - a disk that notes down what it is told: a file for a loop device
 *
 * A process serves one file, FUSE_DISK_NAME, by the protocol of /dev/fuse. The kernel keeps no
 * writes back for it, so that each write and each flush of a loop device on the file gets here, and
 * in the order of arrival into a log: struct disk_entry, and for a write its bytes. When a flush
 * arrives, all writes that it covers have arrived. */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#define FUSE_DISK_NAME  "disk"
#define FUSE_DISK_WRITE (256U << 10) /* at most, in one entry */

enum disk_entry_kind { DISK_WRITE = 1, DISK_FLUSH };

struct disk_entry {
	uint64_t offset; /* in the disk */
	uint32_t bytes;  /* follow; 0 for a flush */
	uint32_t kind;   /* enum disk_entry_kind */
};

/* Mounts the disk at the directory AT. Its content is the file IMAGE, and its size, and what
 * happens to it is appended to the file LOG, until this has LOG_MAX bytes: then writes fail with
 * ENOSPC. Descriptors are borrowed. *RET is the process: a child that ends with its parent. -errno,
 * -ENOENT or -ENODEV without FUSE. Leaf. */
int fuse_disk_start(const char *at, int image, int log, uint64_t log_max, pid_t *ret);

/* Unmounts it and waits until nobody has it open, so that LOG is whole. 0, -ETIMEDOUT after 30
 * seconds, -EIO when the process had failed; it is gone in any case. */
int fuse_disk_stop(const char *at, pid_t server);
