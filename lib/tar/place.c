/* lib/tar/place.c - where a stream comes from and goes to, and what is said about it */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/io.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "lib/tar/inner.h"

#undef tar_fail
#undef tar_bad

int tar_fail(struct cos_err *err, const char *path, const char *call, int sys)
{
	int r = cos_fail(err, COS_E_KERNEL, sys, "%.120s: %s", path[0] ? path : ".", call);

	switch (sys) {
	case ENOENT:
	case ENOTDIR:
		return cos_advise(err, r, "check the path");
	case EACCES:
	case EPERM:
		return cos_advise(err, r,
				  "look at the owner and mode of the file and its directory");
	case ENOSPC:
	case EDQUOT:
		return cos_advise(err, r, "free space there");
	case EROFS:
		return cos_advise(err, r, "choose a directory that can be written to");
	}
	return cos_advise(err, r, "look at the file and its file system");
}

int tar_bad(struct cos_err *err, const char *path, const char *why)
{
	return path ? cos_fail(err, COS_E_IMAGE, 0, "%.120s: %s", path, why)
		    : cos_fail(err, COS_E_IMAGE, 0, "the archive: %s", why);
}

void tar_say_left_out(const struct tar_count *n, void (*say)(const char *text, void *arg),
		      void *arg)
{
	const struct {
		uint64_t n;
		const char *what;
	} rows[] = {
		{ n->special, "left out: devices, fifos or sockets" },
		{ n->mounts, "left out: mounts of proc, sysfs and the like" },
		{ n->changed, "became shorter while they were read; the rest is zeros" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char text[100];

		str_fmt(text, sizeof(text), "%" PRIu64 " %s", rows[i].n, rows[i].what);
		if (rows[i].n > 0)
			say(text, arg);
	}
}

int tar_split(const char *path, struct tar_name *ret)
{
	size_t len = strlen(path), end, from;

	if (len == 0)
		return -ENOENT;
	if (len >= sizeof(ret->dir))
		return -ENAMETOOLONG;
	for (end = len; end > 0 && path[end - 1] == '/';)
		end--;
	for (from = end; from > 0 && path[from - 1] != '/';)
		from--;
	ret->slash = end < len;
	if (end == from || (end - from <= 2 && strspn(path + from, ".") >= end - from)) {
		strcpy(ret->dir, path);
		strcpy(ret->name, ".");
		return 0;
	}
	if (!str_fmt(ret->name, sizeof(ret->name), "%.*s", (int)(end - from), path + from))
		return -ENAMETOOLONG;
	str_fmt(ret->dir, sizeof(ret->dir), "%.*s", (int)from, path);
	if (from == 0)
		strcpy(ret->dir, ".");
	return 0;
}

/* A new name, or one whose file gives way; a link counts as what it leads to. */
static int check_old(int dir, const char *name, const char *path, struct cos_err *err)
{
	struct stat st;

	if (fstatat(dir, name, &st, 0) < 0) {
		if (errno == ENOENT)
			return 0;
		return tar_fail(err, path, "stat", errno);
	}
	if (S_ISREG(st.st_mode))
		return 0;
	return cos_advise(
		err,
		cos_fail(err, COS_E_EXISTS, 0, "%.120s is neither a file nor a directory", path),
		"name another path, or - for a stream");
}

int tar_target_open(const char *path, bool need_dir, uint64_t resolve, struct tar_target *ret,
		    struct cos_err *err)
{
	auto_close int fd = io_open2(AT_FDCWD, path, O_PATH | O_DIRECTORY, 0, resolve);
	struct tar_name n;
	int r;

	if (fd >= 0) {
		ret->root = take_fd(fd);
		ret->as[0] = '\0';
		return 0;
	}
	r = tar_split(path, &n);
	if (r < 0)
		return tar_fail(err, path, "its name", -r);
	if (need_dir || n.slash || strcmp(n.name, ".") == 0 || (fd != -ENOENT && fd != -ENOTDIR))
		return tar_fail(err, path, "open the directory", -fd);
	fd = io_open2(AT_FDCWD, n.dir, O_PATH | O_DIRECTORY, 0, resolve);
	if (fd < 0)
		return tar_fail(err, n.dir, "open the directory", -fd);
	r = check_old(fd, n.name, path, err);
	if (r < 0)
		return r;
	strcpy(ret->as, n.name);
	ret->root = take_fd(fd);
	return 0;
}
