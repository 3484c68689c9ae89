/* vmm/cow.h - a copy-on-write file over a raw image that many machines share and none writes to
 *
 * The file, all numbers little-endian:
 *
 *	0                 struct cow_header, to 4096
 *	4096              a bit for each block of 4096 bytes of the disk: the block is in this file
 *	data_at           the disk's blocks, each at its own place: a sparse file has only those
 *written
 *
 * A block without its bit is the image's, or zero behind the image's end. Nothing is ever
 *allocated, moved or collected: there is no metadata but the bits.
 *
 * Safe against a crash at any time: a block that is written for the first time goes to a place that
 * no bit names; its bit follows at the next flush, after the data is on the disk. Bits only ever go
 * from 0 to 1, so a torn write of bits is valid too. What was not flushed may be lost, as with any
 * disk that has a write cache. A new file is empty; its header is written last, and a header of
 * zeroes is a file that was never used. */
#pragma once

#include <stdint.h>
#include <sys/uio.h>

#include "lib/base/err.h"

#define COW_MAGIC "COSCOW1\n"
#define COW_BLOCK 4096ULL
#define COW_MAX   (1ULL << 40) /* bytes of the disk: 32 MiB of bits */

struct cow_header {
	char magic[8];
	uint64_t size;      /* of the disk, whole sectors */
	uint64_t base_size; /* of the image */
	uint64_t base_mark; /* FNV-1a over the image's first 64 KiB: another image is refused */
	uint64_t data_at;
	uint64_t sum; /* FNV-1a over what is before */
};

struct cow;

/* FD is empty or such a file, open for reading and writing; it is locked: -EWOULDBLOCK (InUse).
 * BASE is its image. Both are taken over also on failure. SIZE as disk_open_cow(). COS_E_IMAGE: not
 * such a file, or not for this image. */
int cow_open(int fd, int base, uint64_t size, struct cow **ret, struct cos_err *err);
/* Bears NULL. Does not flush. */
void cow_close(struct cow *c);
uint64_t cow_size(const struct cow *c);
/* As disk_read() and the others. */
int cow_read(struct cow *c, struct iovec *iov, unsigned n, uint64_t at, uint64_t len);
int cow_write(struct cow *c, struct iovec *iov, unsigned n, uint64_t at, uint64_t len);
int cow_zero(struct cow *c, uint64_t at, uint64_t len);
int cow_flush(struct cow *c);
/* Blocks that are in the file. */
uint64_t cow_blocks(const struct cow *c);
