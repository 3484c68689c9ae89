/* lib/base/io.c - reading, writing and opening relative to a directory descriptor */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/io.h"
#include "lib/base/own.h"

#define FDS_MAX      16U
#define REMOVE_DEPTH 32

int io_write_at(int dir, const char *name, const char *s, size_t len)
{
	auto_close int fd = openat(dir, name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = write(fd, s, len);
	if (n < 0)
		return -errno;
	return (size_t)n == len ? 0 : -EIO;
}

int io_writef_at(int dir, const char *name, const char *fmt, ...)
{
	char buf[256];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(buf, sizeof(buf), fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= sizeof(buf))
		return -E2BIG;
	return io_write_at(dir, name, buf, n);
}

ssize_t io_read_fd(int fd, char *buf, size_t size)
{
	size_t have = 0;

	while (have < size) {
		ssize_t n = read(fd, buf + have, size - have);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0) {
			buf[have] = '\0';
			return (ssize_t)have;
		}
		have += (size_t)n;
	}
	return -E2BIG;
}

ssize_t io_read_at(int dir, const char *name, char *buf, size_t size)
{
	auto_close int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	return fd < 0 ? -errno : io_read_fd(fd, buf, size);
}

ssize_t io_slurp_fd(int fd, size_t max, char **ret_s)
{
	auto_free char *buf = NULL;
	size_t have = 0, size = 0;

	for (;;) {
		ssize_t n;

		if (size - have < 2) {
			char *more;

			size = size ? size * 2 : 4096;
			more = realloc(buf, size);
			if (!more)
				return -ENOMEM;
			buf = more;
		}
		n = read(fd, buf + have, size - have - 1);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		have += (size_t)n;
		if (have > max)
			return -E2BIG;
		if (n == 0)
			break;
	}
	buf[have] = '\0';
	*ret_s = take_ptr(buf);
	return (ssize_t)have;
}

ssize_t io_slurp_at(int dir, const char *name, size_t max, char **ret_s)
{
	auto_close int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

	return fd < 0 ? -errno : io_slurp_fd(fd, max, ret_s);
}

int io_write_all(int fd, const void *s, size_t len)
{
	const char *p = s;

	while (len > 0) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

int io_write_all_at(int fd, const void *s, size_t len, off_t at)
{
	const char *p = s;

	while (len > 0) {
		ssize_t n = pwrite(fd, p, len, at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		p += n;
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

static int write_new(int dir, const char *tmp, const void *s, size_t len, mode_t mode, bool durable)
{
	const int flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC;
	auto_close int fd = openat(dir, tmp, flags, mode);
	int r;

	/* What a crash left has its own mode and may be no file: never written to. */
	if (fd < 0 && errno == EEXIST && unlinkat(dir, tmp, 0) == 0)
		fd = openat(dir, tmp, flags, mode);
	if (fd < 0)
		return -errno;
	r = io_write_all(fd, s, len);
	if (r == 0 && durable && fsync(fd) < 0)
		r = -errno;
	return r;
}

int io_replace_at(int dir, const char *name, const void *s, size_t len, mode_t mode, bool durable)
{
	char tmp[280];
	int r;

	if ((size_t)snprintf(tmp, sizeof(tmp), "%s.new~", name) >= sizeof(tmp))
		return -ENAMETOOLONG;
	r = write_new(dir, tmp, s, len, mode, durable);
	if (r == 0 && renameat(dir, tmp, dir, name) < 0)
		r = -errno;
	if (r < 0)
		unlinkat(dir, tmp, 0);
	else if (durable && fsync(dir) < 0)
		r = -errno;
	return r;
}

int io_open2(int dir, const char *path, int flags, mode_t mode, uint64_t resolve)
{
	struct open_how how = {
		.flags = (uint64_t)(unsigned)flags | O_CLOEXEC,
		.mode = mode,
		.resolve = resolve,
	};
	long fd = syscall(SYS_openat2, dir, path, &how, sizeof(how));

	return fd < 0 ? -errno : (int)fd;
}

int io_dir_at(int dir, const char *name, mode_t mode)
{
	int fd;

	if (mkdirat(dir, name, mode) < 0 && errno != EEXIST)
		return -errno;
	fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int io_each_entry(int dir, int (*fn)(const char *name, void *arg), void *arg)
{
	auto_close int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;
	int r = 0;

	if (!d)
		return -errno;
	(void)take_fd(fd);
	while (r == 0 && (errno = 0, e = readdir(d))) {
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			r = fn(e->d_name, arg);
	}
	if (r == 0 && errno)
		r = -errno;
	closedir(d);
	return r;
}

struct removal {
	int top;       /* the directory that is to go; valid while something below it is removed */
	unsigned left; /* entries that may still go or be moved */
	unsigned serial; /* makes the names of what is moved */
};

static int remove_below(struct removal *rm, int fd, unsigned depth);

/* Removes one file or empty directory. */
static int remove_one(struct removal *rm, int dir, const char *name, int flags)
{
	if (rm->left == 0)
		return -EAGAIN;
	if (unlinkat(dir, name, flags) < 0)
		return errno == ENOENT ? 0 : -errno;
	rm->left--;
	return 0;
}

/* Moves a directory up to the top, where the next pass finds it: depth costs neither descriptors
 * nor stack, however deep a guest has nested its directories. */
static int move_up(struct removal *rm, int dir, const char *name)
{
	char to[32];

	for (;;) {
		snprintf(to, sizeof(to), ".cos-deep-%x", rm->serial++);
		if (renameat2(dir, name, rm->top, to, RENAME_NOREPLACE) == 0)
			break;
		if (errno != EEXIST)
			return -errno;
	}
	rm->left--;
	return 0;
}

static int remove_entry(struct removal *rm, int dir, const char *name, unsigned depth)
{
	int r = remove_one(rm, dir, name, 0), fd;

	if (r != -EISDIR && r != -EPERM)
		return r;
	if (depth == REMOVE_DEPTH)
		return move_up(rm, dir, name);
	fd = io_open2(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, RESOLVE_NO_XDEV);
	if (fd < 0)
		return fd == -ENOTDIR ? r : fd; /* an immutable file */
	if (depth == 0)
		rm->top = fd;
	r = remove_below(rm, fd, depth);
	return r < 0 ? r : remove_one(rm, dir, name, AT_REMOVEDIR);
}

/* Removing while reading may skip entries on some file systems: read again until a pass removes
 * nothing. Takes FD over. */
static int remove_below(struct removal *rm, int fd, unsigned depth)
{
	DIR *d = fdopendir(fd);
	unsigned before;
	int r = 0;

	if (!d) {
		r = -errno;
		close(fd);
		return r;
	}
	do {
		struct dirent *e;

		before = rm->left;
		rewinddir(d);
		while (r == 0 && (e = readdir(d))) {
			if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
				r = remove_entry(rm, fd, e->d_name, depth + 1);
		}
	} while (r == 0 && rm->left != before);
	closedir(d);
	return r;
}

int io_remove_tree(int dir, const char *path, unsigned max)
{
	struct removal rm = {
		.top = -1,
		.left = max ? max : UINT_MAX,
		/* Unforeseeable enough: a guest cannot take the names beforehand. */
		.serial = (unsigned)clock_usec(),
	};
	const char *slash = strrchr(path, '/');
	auto_free char *above = slash ? strndup(path, (size_t)(slash + 1 - path)) : NULL;
	auto_close int parent = -1;

	if (!slash)
		return remove_entry(&rm, dir, path, 0);
	parent = above ? openat(dir, above, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
	if (!above)
		return -ENOMEM;
	if (parent < 0)
		return errno == ENOENT ? 0 : -errno;
	return remove_entry(&rm, parent, slash + 1, 0);
}

ssize_t io_send_fds(int sock, const void *buf, size_t len, const int *fds, unsigned n, int flags)
{
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(FDS_MAX * sizeof(int))];
	} ctl = { 0 };
	struct iovec iov = { .iov_base = (void *)buf, .iov_len = len };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t r;

	if (n > FDS_MAX)
		return -E2BIG;
	if (n > 0) {
		struct cmsghdr *c = &ctl.align;

		mh.msg_control = &ctl;
		mh.msg_controllen = CMSG_SPACE(n * sizeof(int));
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(n * sizeof(int));
		memcpy(CMSG_DATA(c), fds, n * sizeof(int));
	}
	do
		r = sendmsg(sock, &mh, flags | MSG_NOSIGNAL);
	while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : r;
}

static void take_rights(const struct cmsghdr *c, int *fds, unsigned *have, unsigned room)
{
	unsigned n = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));

	for (unsigned i = 0; i < n; i++) {
		int fd;

		memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
		if (*have < room)
			fds[(*have)++] = fd;
		else
			close(fd);
	}
}

ssize_t io_recv_fds(int sock, void *buf, size_t len, int *fds, unsigned *n, int flags)
{
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(FDS_MAX * sizeof(int))];
	} ctl;
	struct iovec iov = { .iov_base = buf, .iov_len = len };
	struct msghdr mh = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &ctl,
		.msg_controllen = sizeof(ctl),
	};
	unsigned room = *n;
	ssize_t r;

	*n = 0;
	do
		r = recvmsg(sock, &mh, flags | MSG_CMSG_CLOEXEC);
	while (r < 0 && errno == EINTR);
	if (r < 0)
		return -errno;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&mh); c; c = CMSG_NXTHDR(&mh, c)) {
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
			take_rights(c, fds, n, room);
	}
	return r;
}

int io_lock(int fd)
{
	return flock(fd, LOCK_EX | LOCK_NB) < 0 ? -errno : 0;
}

void io_fill_stdio(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	close_p(&fd);
}
