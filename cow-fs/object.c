/* cow-fs/object.c - names of objects of the pool, and the stubs that stand for them */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "cow-fs/attr.h"
#include "cow-fs/object.h"
#include "lib/base/own.h"

#define OVERLAY      "trusted.overlay."
#define METACOPY     OVERLAY "metacopy"
#define REDIRECT     OVERLAY "redirect"
#define NLINK        OVERLAY "nlink"
#define OBJECT_CHARS 19U
#define PERM_BITS    07777

static char base64url(unsigned v)
{
	return "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[v & 63];
}

void object_path(const struct digest *d, char ret[OBJECT_PATH_SIZE])
{
	char *to = ret;

	for (unsigned i = 0; i < OBJECT_CHARS; i++) {
		unsigned bit = i * 6, two = (unsigned)d->b[bit / 8] << 8 | d->b[bit / 8 + 1];

		*to++ = base64url(two >> (10 - bit % 8));
		if (i == 0)
			*to++ = '/';
	}
	*to = '\0';
}

void object_ref(const struct digest *d, char ret[OBJECT_REF_SIZE])
{
	static const char hex[] = "0123456789abcdef";
	char *to = ret;

	*to++ = hex[d->b[0] >> 4];
	*to++ = hex[d->b[0] & 15];
	*to++ = '/';
	for (unsigned i = 0; i < DIGEST_SIZE; i++) {
		*to++ = hex[d->b[i] >> 4];
		*to++ = hex[d->b[i] & 15];
	}
	*to = '\0';
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool object_from_ref(const char *folder, const char *name, struct digest *ret)
{
	if (strlen(folder) != 2 || strlen(name) != DIGEST_SIZE * 2UL ||
	    memcmp(folder, name, 2) != 0)
		return false;
	for (size_t i = 0; i < DIGEST_SIZE; i++) {
		int high = hex_value(name[i * 2]), low = hex_value(name[i * 2 + 1]);

		if (high < 0 || low < 0)
			return false;
		ret->b[i] = (unsigned char)(high << 4 | low);
	}
	return true;
}

int stub_look(int fd, char ret_path[OBJECT_PATH_SIZE])
{
	static const char prefix[] = "/" OBJECT_FOLDER "/";
	const size_t skip = sizeof(prefix) - 1;
	char to[64];
	ssize_t n;

	if (fgetxattr(fd, METACOPY, NULL, 0) < 0)
		return errno == ENODATA || errno == EOPNOTSUPP ? STUB_NOT : -errno;
	n = fgetxattr(fd, REDIRECT, to, sizeof(to) - 1);
	if (n < 0 && errno != ENODATA && errno != ERANGE)
		return -errno;
	if (n != (ssize_t)(skip + OBJECT_CHARS + 1) || memcmp(to, prefix, skip) != 0)
		return STUB_OTHER;
	to[n] = '\0';
	memcpy(ret_path, to + skip, OBJECT_CHARS + 2);
	return STUB_OURS;
}

int stub_copy_attrs(int from, int to)
{
	char names[4096], value[ATTR_VALUE_MAX];
	ssize_t len = flistxattr(from, names, sizeof(names));

	if (len < 0)
		return errno == EOPNOTSUPP ? 0 : -errno;
	for (ssize_t at = 0; at < len; at += (ssize_t)strlen(names + at) + 1) {
		ssize_t n;

		if (strncmp(names + at, OVERLAY, strlen(OVERLAY)) == 0)
			continue;
		n = fgetxattr(from, names + at, value, sizeof(value));
		if (n < 0 || fsetxattr(to, names + at, value, (size_t)n, 0) < 0)
			return -errno;
	}
	return 0;
}

/* The size is the upper file's to overlayfs. It comes first: setting it would clear set-id bits and
 * file capabilities, as a change of owner does. */
static int fill_stub(int fd, const struct digest *d, int from, const struct stat *st)
{
	const struct timespec ts[2] = { st->st_atim, st->st_mtim };
	char to[OBJECT_PATH_SIZE + 8] = "/" OBJECT_FOLDER "/";
	int r;

	object_path(d, to + strlen(to));
	if (ftruncate(fd, st->st_size) < 0 || fchown(fd, st->st_uid, st->st_gid) < 0 ||
	    fchmod(fd, st->st_mode & PERM_BITS) < 0)
		return -errno;
	/* Before others, so that they lie in the inode. */
	if (fsetxattr(fd, REDIRECT, to, strlen(to), 0) < 0 ||
	    fsetxattr(fd, METACOPY, "", 0, 0) < 0 || fsetxattr(fd, NLINK, "U+0", 3, 0) < 0)
		return -errno;
	r = stub_copy_attrs(from, fd);
	return r == 0 && futimens(fd, ts) < 0 ? -errno : r;
}

int stub_make(int dir, const char *name, const struct digest *d, int from, const struct stat *st)
{
	auto_close int fd =
		openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	int r;

	if (fd < 0)
		return -errno;
	r = fill_stub(fd, d, from, st);
	if (r < 0)
		unlinkat(dir, name, 0);
	return r;
}

int stub_hide_pool(int upper)
{
	if (mknodat(upper, OBJECT_FOLDER, S_IFCHR, makedev(0, 0)) < 0 && errno != EEXIST)
		return -errno;
	return 0;
}

int stub_show_pool(int upper)
{
	struct stat st;

	if (fstatat(upper, OBJECT_FOLDER, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISCHR(st.st_mode) || st.st_rdev != makedev(0, 0))
		return -EEXIST;
	return unlinkat(upper, OBJECT_FOLDER, 0) < 0 ? -errno : 0;
}
