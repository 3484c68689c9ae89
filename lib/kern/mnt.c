/* lib/kern/mnt.c - mounts as descriptors: made detached, put in place by descriptor, never by path
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/base/io.h"
#include "lib/base/own.h"
#include "lib/kern/mnt.h"

#ifndef OPEN_TREE_CLONE
#define OPEN_TREE_CLONE 1
#endif
#define TARGET_RESOLVE (RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS)

char *mnt_log(int fsfd, char *buf, unsigned size)
{
	ssize_t n = read(fsfd, buf, size - 1);

	buf[n > 0 ? n : 0] = '\0';
	if (n > 0 && buf[n - 1] == '\n')
		buf[n - 1] = '\0';
	return buf;
}

/* Returns the context with the options set, ready for fsmount(). */
static int make_context(const char *type, const struct mnt_opt *opts, int *ret_fs)
{
	int fs = (int)syscall(SYS_fsopen, type, 1 /* FSOPEN_CLOEXEC */);

	if (fs < 0)
		return -errno;
	*ret_fs = fs;
	for (; opts && opts->key; opts++) {
		unsigned cmd = opts->value ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG;

		if (syscall(SYS_fsconfig, fs, cmd, opts->key, opts->value, 0) < 0)
			return -errno;
	}
	return syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0 ? -errno : 0;
}

static int mount_context(int fs, uint64_t attr)
{
	int mnt = (int)syscall(SYS_fsmount, fs, 1 /* FSMOUNT_CLOEXEC */, (unsigned)attr);

	return mnt < 0 ? -errno : mnt;
}

int mnt_new(const char *type, const struct mnt_opt *opts, uint64_t attr)
{
	auto_close int fs = -1;
	int r = make_context(type, opts, &fs);

	return r < 0 ? r : mount_context(fs, attr);
}

int mnt_new_tell(const char *type, const struct mnt_opt *opts, uint64_t attr, struct cos_err *err)
{
	auto_close int fs = -1;
	int r = make_context(type, opts, &fs);
	char log[120];

	if (r == 0)
		r = mount_context(fs, attr);
	if (r < 0)
		return cos_fail(err, COS_E_KERNEL, -r, "mount %s%s%s", type, fs >= 0 ? ": " : "",
				fs >= 0 ? mnt_log(fs, log, sizeof(log)) : "");
	return r;
}

int mnt_clone(int dir, const char *path, bool recursive)
{
	unsigned flags = OPEN_TREE_CLONE | O_CLOEXEC | AT_NO_AUTOMOUNT;
	int fd;

	if (!path[0])
		flags |= AT_EMPTY_PATH;
	if (recursive)
		flags |= AT_RECURSIVE;
	fd = (int)syscall(SYS_open_tree, dir, path, flags);
	return fd < 0 ? -errno : fd;
}

static int setattr(int mnt, struct mount_attr *a, bool recursive)
{
	unsigned flags = AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0);

	return syscall(SYS_mount_setattr, mnt, "", flags, a, sizeof(*a)) < 0 ? -errno : 0;
}

int mnt_attr(int mnt, uint64_t set, uint64_t clear, bool recursive)
{
	struct mount_attr a = { .attr_set = set, .attr_clr = clear };

	return setattr(mnt, &a, recursive);
}

int mnt_idmap(int mnt, int userns, bool recursive)
{
	struct mount_attr a = { .attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (uint64_t)userns };

	return setattr(mnt, &a, recursive);
}

int mnt_attach(int mnt, int at)
{
	unsigned flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;

	return syscall(SYS_move_mount, mnt, "", at, "", flags) < 0 ? -errno : 0;
}

static int make_part(int dir, const char *name, bool is_file)
{
	if (is_file)
		return mknodat(dir, name, S_IFREG | 0644, 0) < 0 && errno != EEXIST ? -errno : 0;
	return mkdirat(dir, name, 0755) < 0 && errno != EEXIST ? -errno : 0;
}

int mnt_target(int root, const char *path, bool is_file)
{
	auto_close int dir = fcntl(root, F_DUPFD_CLOEXEC, 0);
	char part[256];

	if (dir < 0)
		return -errno;
	for (path += strspn(path, "/"); *path; path += strspn(path, "/")) {
		size_t n = strcspn(path, "/");
		bool last = path[n + strspn(path + n, "/")] == '\0';
		int next;

		if (n >= sizeof(part))
			return -ENAMETOOLONG;
		memcpy(part, path, n);
		part[n] = '\0';
		next = io_open2(dir, part, O_PATH | (last && is_file ? 0 : O_DIRECTORY), 0,
				TARGET_RESOLVE);
		if (next == -ENOENT) {
			int r = make_part(dir, part, last && is_file);

			next = r < 0 ? r
				     : io_open2(dir, part,
						O_PATH | (last && is_file ? 0 : O_DIRECTORY), 0,
						TARGET_RESOLVE);
		}
		if (next < 0)
			return next;
		close(dir);
		dir = next;
		path += n;
	}
	return take_fd(dir);
}
