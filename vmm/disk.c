/* vmm/disk.c - what a virtual disk stands on */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/io.h"
#include "lib/base/own.h"
#include "vmm/cow.h"
#include "vmm/disk.h"
#include "vmm/vring.h"

#define ZEROES 4096

int disk_size_of(int fd, uint64_t *ret)
{
	struct stat st;
	off_t end;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return -EINVAL;
	end = lseek(fd, 0, SEEK_END);
	if (end < 0)
		return -errno;
	*ret = (uint64_t)end;
	return 0;
}

static int open_raw(struct disk *d, int fd, bool ro, struct cos_err *err)
{
	int flags = fcntl(fd, F_GETFL), r;
	uint64_t size = 0;

	r = disk_size_of(fd, &size);

	if (r < 0)
		return cos_fail(err, COS_E_IMAGE, -r,
				"disk: neither a regular file nor a block device");
	size -= size % DISK_SECTOR;
	if (size < DISK_SECTOR || size > DISK_MAX)
		return cos_fail(err, COS_E_IMAGE, 0, "disk: %" PRIu64 " bytes, not 512 to 16T",
				size);
	/* a file that this process may only read is not written to by anybody's mistake */
	if (!ro && (flags & O_ACCMODE) != O_RDWR)
		return cos_fail(err, COS_E_INVALID, 0,
				"disk: not open for writing, and not \"ro\"");
	if (!ro && flags & O_APPEND)
		return cos_fail(err, COS_E_INVALID, 0,
				"disk: open for appending: all would be written at its end");
	r = ro ? 0 : io_lock(fd);
	if (r < 0)
		return cos_fail(err, COS_E_IN_USE, -r, "disk: another machine writes to it");
	*d = (struct disk){ .fd = fd, .size = size, .ro = ro };
	return 0;
}

int disk_open_raw(struct disk *d, int fd, bool ro, struct cos_err *err)
{
	int r = open_raw(d, fd, ro, err);

	if (r < 0)
		close(fd);
	return r;
}

int disk_open_cow(struct disk *d, int fd, int base, uint64_t size, struct cos_err *err)
{
	struct cow *c = NULL;
	int r = cow_open(fd, base, size, &c, err);

	if (r == 0)
		*d = (struct disk){ .fd = -1, .cow = c, .size = cow_size(c) };
	return r;
}

void disk_close(struct disk *d)
{
	cow_close(d->cow);
	close_p(&d->fd);
	d->cow = NULL;
}

/* The first LEN bytes of the parts, in TO; their number, 0: they have less. */
static unsigned slice(const struct iovec *iov, unsigned n, uint64_t len,
		      struct iovec to[VRING_IOV_MAX])
{
	unsigned k = 0;

	for (unsigned i = 0; i < n && len > 0 && k < VRING_IOV_MAX; i++) {
		if (iov[i].iov_len == 0)
			continue;
		to[k] = iov[i];
		if (to[k].iov_len > len)
			to[k].iov_len = (size_t)len;
		len -= to[k++].iov_len;
	}
	return len == 0 ? k : 0;
}

int disk_move(int fd, bool write, struct iovec *iov, unsigned n, uint64_t at, uint64_t len)
{
	struct iovec part[VRING_IOV_MAX], *p = part;
	unsigned left = slice(iov, n, len, part);
	uint64_t have = 0;

	if (left == 0)
		return -EINVAL;
	while (have < len) {
		ssize_t done = write ? pwritev(fd, p, (int)left, (off_t)(at + have))
				     : preadv(fd, p, (int)left, (off_t)(at + have));

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return done < 0 ? -errno : -EIO; /* the file has shrunk */
		have += (uint64_t)done;
		for (; left > 0 && (size_t)done >= p->iov_len; p++, left--)
			done -= (ssize_t)p->iov_len;
		if (left > 0)
			iov_take(p, 1, NULL, (size_t)done);
	}
	iov_take(iov, n, NULL, len);
	return 0;
}

int disk_zero_file(int fd, uint64_t at, uint64_t len)
{
	static const uint8_t zeroes[ZEROES];

	if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)at, (off_t)len) == 0)
		return 0;
	if (errno != EOPNOTSUPP && errno != ENOSYS)
		return -errno;
	while (len > 0) {
		struct iovec iov = { (void *)zeroes, len < ZEROES ? len : ZEROES };
		uint64_t n = iov.iov_len;
		int r = disk_move(fd, true, &iov, 1, at, n);

		if (r < 0)
			return r;
		at += n;
		len -= n;
	}
	return 0;
}

int disk_read(struct disk *d, struct iovec *iov, unsigned n, uint64_t at, uint64_t len)
{
	return d->cow ? cow_read(d->cow, iov, n, at, len)
		      : disk_move(d->fd, false, iov, n, at, len);
}

int disk_write(struct disk *d, struct iovec *iov, unsigned n, uint64_t at, uint64_t len)
{
	if (d->ro)
		return -EROFS;
	return d->cow ? cow_write(d->cow, iov, n, at, len)
		      : disk_move(d->fd, true, iov, n, at, len);
}

int disk_flush(struct disk *d)
{
	if (d->cow)
		return cow_flush(d->cow);
	return !d->ro && fdatasync(d->fd) < 0 ? -errno : 0;
}

int disk_zero(struct disk *d, uint64_t at, uint64_t len)
{
	if (d->ro)
		return -EROFS;
	return d->cow ? cow_zero(d->cow, at, len) : disk_zero_file(d->fd, at, len);
}
