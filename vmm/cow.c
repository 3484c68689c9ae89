/* vmm/cow.c - a copy-on-write file over a raw image that many machines share */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/io.h"
#include "lib/base/own.h"
#include "vmm/cow.h"
#include "vmm/disk.h"
#include "vmm/vring.h"

#define BITS_AT    4096ULL
#define PAGE       4096ULL /* of bits: what is written at once */
#define MARK_BYTES 65536

struct cow {
	int fd, base;
	uint64_t size, base_size, data_at;
	uint8_t *bits;  /* whole pages */
	uint8_t *dirty; /* a byte for each page of bits */
	uint64_t pages;
	_Atomic uint64_t blocks;
};

static uint64_t fnv(const void *p, size_t n)
{
	const uint8_t *s = p;
	uint64_t h = 0xcbf29ce484222325ULL;

	while (n-- > 0)
		h = (h ^ *s++) * 0x100000001b3ULL;
	return h;
}

static bool has(const struct cow *c, uint64_t block)
{
	return c->bits[block / 8] >> block % 8 & 1;
}

static void set(struct cow *c, uint64_t block)
{
	if (has(c, block))
		return;
	c->bits[block / 8] |= (uint8_t)(1U << block % 8);
	c->dirty[block / 8 / PAGE] = 1;
	c->blocks++;
}

/* ---- opening ---- */

static int mark_of(int base, uint64_t *ret)
{
	auto_free uint8_t *s = malloc(MARK_BYTES);
	ssize_t n = s ? pread(base, s, MARK_BYTES, 0) : -1;

	if (n < 0)
		return s ? -errno : -ENOMEM;
	*ret = fnv(s, (size_t)n);
	return 0;
}

static void geometry(struct cow *c)
{
	uint64_t bytes = ((c->size + COW_BLOCK - 1) / COW_BLOCK + 7) / 8;

	c->pages = (bytes + PAGE - 1) / PAGE;
	c->data_at = BITS_AT + c->pages * PAGE;
}

/* The size first, the header last: see cow.h. */
static int format(struct cow *c, uint64_t mark, struct cos_err *err)
{
	struct cow_header h = {
		.magic = COW_MAGIC,
		.size = c->size,
		.base_size = c->base_size,
		.base_mark = mark,
		.data_at = c->data_at,
	};

	h.sum = fnv(&h, offsetof(struct cow_header, sum));
	if (ftruncate(c->fd, (off_t)(c->data_at + c->size)) < 0 || fsync(c->fd) < 0 ||
	    pwrite(c->fd, &h, sizeof(h), 0) != (ssize_t)sizeof(h) || fsync(c->fd) < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "disk: make the copy-on-write file");
	return 0;
}

static int check_header(const struct cow *c, const struct cow_header *h, uint64_t size,
			uint64_t mark, struct cos_err *err)
{
	const char *why = NULL;

	if (memcmp(h->magic, COW_MAGIC, sizeof(h->magic)) != 0 ||
	    h->sum != fnv(h, offsetof(struct cow_header, sum)))
		why = "no copy-on-write file of this version, or a damaged one";
	else if (h->base_size != c->base_size || h->base_mark != mark)
		why = "made for another image";
	else if (h->size < DISK_SECTOR || h->size > COW_MAX || h->size % DISK_SECTOR)
		why = "its size is not possible";
	else if (size && size != h->size)
		why = "of another size than asked for";
	return why ? cos_fail(err, COS_E_IMAGE, 0, "disk: the copy-on-write file is %s", why) : 0;
}

static bool is_blank(const struct cow_header *h)
{
	static const struct cow_header none;

	return memcmp(h, &none, sizeof(none)) == 0;
}

/* A new file, or one whose header was never written: that has its size, or nothing in it. Any other
 * that begins with zeroes, as file systems do, is somebody's. */
static int make_new(struct cow *c, uint64_t have, uint64_t size, uint64_t mark, struct cos_err *err)
{
	c->size = size ?: c->base_size;
	if (c->size > COW_MAX || c->size % DISK_SECTOR || c->size < c->base_size)
		return cos_fail(err, COS_E_INVALID, 0,
				"disk: %" PRIu64 " bytes, not whole sectors from the "
				"image's %" PRIu64 " to 1T",
				c->size, c->base_size);
	geometry(c);
	if (have != c->data_at + c->size && (lseek(c->fd, 0, SEEK_DATA) >= 0 || errno != ENXIO))
		return cos_fail(err, COS_E_IMAGE, 0,
				"disk: neither an empty file nor a copy-on-write file");
	return format(c, mark, err);
}

static int read_header(struct cow *c, uint64_t size, struct cos_err *err)
{
	struct cow_header h = { 0 };
	uint64_t mark = 0, have = 0;
	int r = mark_of(c->base, &mark);

	if (r == 0)
		r = disk_size_of(c->fd, &have);
	if (r == 0 && have > 0 && pread(c->fd, &h, sizeof(h), 0) != (ssize_t)sizeof(h))
		return cos_fail(err, COS_E_IMAGE, errno,
				"disk: the copy-on-write file is too short");
	if (r < 0)
		return cos_fail(err, COS_E_IMAGE, -r, "disk: read the copy-on-write file");
	if (is_blank(&h))
		return make_new(c, have, size, mark, err);
	r = check_header(c, &h, size, mark, err);
	if (r < 0)
		return r;
	c->size = h.size;
	geometry(c);
	if (h.data_at != c->data_at || have < c->data_at)
		return cos_fail(err, COS_E_IMAGE, 0, "disk: the copy-on-write file is cut");
	return 0;
}

static void count_page(struct cow *c, uint64_t page)
{
	const uint8_t *s = c->bits + page * PAGE;

	for (uint64_t i = 0; i < PAGE; i++)
		c->blocks += (uint64_t)__builtin_popcount(s[i]);
}

/* Holes have no bits: their pages stay untouched. */
static int read_bits(struct cow *c)
{
	uint64_t page = 0;

	while (page < c->pages) {
		off_t at = lseek(c->fd, (off_t)(BITS_AT + page * PAGE), SEEK_DATA);
		struct iovec iov;
		int r;

		if (at < 0 && errno == ENXIO)
			return 0;
		if (at >= 0 && (uint64_t)at >= BITS_AT + page * PAGE)
			page = ((uint64_t)at - BITS_AT) / PAGE;
		if (page >= c->pages)
			return 0;
		iov = (struct iovec){ c->bits + page * PAGE, PAGE };
		r = disk_move(c->fd, false, &iov, 1, BITS_AT + page * PAGE, PAGE);
		if (r < 0)
			return r;
		count_page(c, page++);
	}
	return 0;
}

static int open_with(struct cow *c, uint64_t size, struct cos_err *err)
{
	int r = disk_size_of(c->base, &c->base_size);

	if (r < 0)
		return cos_fail(err, COS_E_IMAGE, -r, "disk: the image is not a file");
	c->base_size -= c->base_size % DISK_SECTOR;
	if (c->base_size < DISK_SECTOR || c->base_size > COW_MAX)
		return cos_fail(err, COS_E_IMAGE, 0, "disk: the image has %" PRIu64 " bytes",
				c->base_size);
	r = io_lock(c->fd);
	if (r < 0)
		return cos_fail(err, COS_E_IN_USE, -r, "disk: another machine writes to it");
	r = read_header(c, size, err);
	if (r < 0)
		return r;
	c->bits = calloc(c->pages, PAGE);
	c->dirty = calloc(c->pages, 1);
	if (!c->bits || !c->dirty)
		return cos_fail(err, COS_E_KERNEL, ENOMEM, "disk: bits of blocks");
	r = read_bits(c);
	return r < 0 ? cos_fail(err, COS_E_IMAGE, -r, "disk: bits of blocks") : 0;
}

int cow_open(int fd, int base, uint64_t size, struct cow **ret, struct cos_err *err)
{
	struct cow *c = calloc(1, sizeof(*c));
	int r;

	if (!c) {
		close(fd);
		close(base);
		return cos_fail(err, COS_E_KERNEL, ENOMEM, "disk");
	}
	c->fd = fd;
	c->base = base;
	r = open_with(c, size, err);
	if (r < 0)
		cow_close(c);
	else
		*ret = c;
	return r;
}

void cow_close(struct cow *c)
{
	if (!c)
		return;
	close_p(&c->fd);
	close_p(&c->base);
	free(c->bits);
	free(c->dirty);
	free(c);
}

uint64_t cow_size(const struct cow *c)
{
	return c->size;
}

uint64_t cow_blocks(const struct cow *c)
{
	return atomic_load(&c->blocks);
}

/* ---- data ---- */

/* Reads from the image; zeroes behind its end. */
static int read_base(struct cow *c, struct iovec *iov, unsigned n, uint64_t at, uint64_t len)
{
	static const uint8_t zeroes[COW_BLOCK];
	uint64_t there = at >= c->base_size ? 0 : c->base_size - at;
	int r;

	there = there < len ? there : len;
	r = there > 0 ? disk_move(c->base, false, iov, n, at, there) : 0;
	for (len -= there; r == 0 && len > 0;) {
		uint64_t part = len < COW_BLOCK ? len : COW_BLOCK;

		if (!iov_give(iov, n, zeroes, part))
			return -EINVAL;
		len -= part;
	}
	return r;
}

/* Bytes from AT on, at most LEN, that are all here or all in the image. */
static uint64_t run_of(const struct cow *c, uint64_t at, uint64_t len)
{
	uint64_t block = at / COW_BLOCK, end = (block + 1) * COW_BLOCK;
	bool here = has(c, block);

	while (end < at + len && has(c, end / COW_BLOCK) == here)
		end += COW_BLOCK;
	return end - at < len ? end - at : len;
}

int cow_read(struct cow *c, struct iovec *iov, unsigned n, uint64_t at, uint64_t len)
{
	while (len > 0) {
		uint64_t run = run_of(c, at, len);
		int r = has(c, at / COW_BLOCK)
				? disk_move(c->fd, false, iov, n, c->data_at + at, run)
				: read_base(c, iov, n, at, run);

		if (r < 0)
			return r;
		at += run;
		len -= run;
	}
	return 0;
}

/* A part of a block that is not here: the rest is the image's. */
static int write_part(struct cow *c, struct iovec *iov, unsigned n, uint64_t at, uint64_t len)
{
	uint64_t start = at - at % COW_BLOCK, whole = COW_BLOCK;
	uint8_t block[COW_BLOCK];
	struct iovec all = { block, sizeof(block) };
	int r = read_base(c, &all, 1, start, COW_BLOCK);

	if (r < 0)
		return r;
	if (!iov_take(iov, n, block + (at - start), len))
		return -EINVAL;
	if (start + whole > c->size) /* the last block of a disk of odd size */
		whole = c->size - start;
	all = (struct iovec){ block, sizeof(block) };
	r = disk_move(c->fd, true, &all, 1, c->data_at + start, whole);
	if (r == 0)
		set(c, start / COW_BLOCK);
	return r;
}

/* How much from AT on can be done in one way: whole blocks, or else less than one. */
static uint64_t part_of(uint64_t at, uint64_t len)
{
	uint64_t in = at % COW_BLOCK;

	if (in == 0 && len >= COW_BLOCK)
		return len - len % COW_BLOCK;
	return len < COW_BLOCK - in ? len : COW_BLOCK - in;
}

static void set_all(struct cow *c, uint64_t at, uint64_t len)
{
	for (uint64_t b = at / COW_BLOCK; b * COW_BLOCK < at + len; b++)
		set(c, b);
}

int cow_write(struct cow *c, struct iovec *iov, unsigned n, uint64_t at, uint64_t len)
{
	while (len > 0) {
		uint64_t part = part_of(at, len);
		int r;

		if (part >= COW_BLOCK || has(c, at / COW_BLOCK))
			r = disk_move(c->fd, true, iov, n, c->data_at + at, part);
		else
			r = write_part(c, iov, n, at, part);
		if (r < 0)
			return r;
		set_all(c, at, part);
		at += part;
		len -= part;
	}
	return 0;
}

int cow_zero(struct cow *c, uint64_t at, uint64_t len)
{
	static const uint8_t zeroes[COW_BLOCK];

	while (len > 0) {
		uint64_t part = part_of(at, len);
		struct iovec iov = { (void *)zeroes, sizeof(zeroes) };
		int r = part >= COW_BLOCK ? disk_zero_file(c->fd, c->data_at + at, part)
					  : cow_write(c, &iov, 1, at, part);

		if (r < 0)
			return r;
		set_all(c, at, part);
		at += part;
		len -= part;
	}
	return 0;
}

/* Data before the bits that name it. */
int cow_flush(struct cow *c)
{
	bool wrote = false;

	if (fdatasync(c->fd) < 0)
		return -errno;
	for (uint64_t p = 0; p < c->pages; p++) {
		struct iovec iov = { c->bits + p * PAGE, PAGE };
		int r;

		if (!c->dirty[p])
			continue;
		r = disk_move(c->fd, true, &iov, 1, BITS_AT + p * PAGE, PAGE);
		if (r < 0)
			return r;
		c->dirty[p] = 0;
		wrote = true;
	}
	/* a failure now leaves pages that look clean: marked again, they are written once more */
	if (wrote && fdatasync(c->fd) < 0) {
		memset(c->dirty, 1, c->pages);
		return -EIO;
	}
	return 0;
}
