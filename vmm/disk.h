/* vmm/disk.h - what a virtual disk stands on: a raw image, or a copy-on-write file over one
 *
 * Files are read and written, never mapped: one that shrinks is an error of a request, not a
 * signal. One thread at a time. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "lib/base/err.h"

#define DISK_SECTOR 512ULL
#define DISK_MAX    (1ULL << 44) /* bytes of a raw image */

struct cow;

struct disk {
	int fd;          /* the raw image; -1: COW has the descriptors */
	struct cow *cow; /* NULL: raw */
	uint64_t size;   /* bytes, whole sectors; what the guest sees does not change */
	bool ro;
};

/* A raw image, a regular file or a block device of at least one sector. FD is taken over also on
 * failure. One that is written to is locked: -EWOULDBLOCK (InUse). */
int disk_open_raw(struct disk *d, int fd, bool ro, struct cos_err *err);
/* A copy-on-write file FD over the raw image BASE (cow.h); both are taken over also on failure.
 * SIZE 0: as FD says, or for an empty FD as large as BASE. */
int disk_open_cow(struct disk *d, int fd, int base, uint64_t size, struct cos_err *err);
/* Does not flush. Bears zeroes with FD -1. */
void disk_close(struct disk *d);

/* LEN bytes at AT, all of them or a negative errno; the parts at IOV are used up. AT and LEN are
 * whole sectors within the size. */
int disk_read(struct disk *d, struct iovec *iov, unsigned n, uint64_t at, uint64_t len);
int disk_write(struct disk *d, struct iovec *iov, unsigned n, uint64_t at, uint64_t len);
/* All that was written before is on the disk. */
int disk_flush(struct disk *d);
/* Zeroes; where the file system can, the space goes back to it. */
int disk_zero(struct disk *d, uint64_t at, uint64_t len);

/* For cow.c: moves exactly LEN bytes between FD at AT and the parts, which are used up. -EIO: the
 * file ends before. */
int disk_move(int fd, bool write, struct iovec *iov, unsigned n, uint64_t at, uint64_t len);
/* The bytes of a regular file or block device. */
int disk_size_of(int fd, uint64_t *ret);
/* Punches a hole, or writes zeroes where that is not possible. */
int disk_zero_file(int fd, uint64_t at, uint64_t len);
