/* cow-fs/identity.c - what must differ from guest to guest */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cow-fs/identity.h"
#include "cow-fs/root.h"
#include "lib/base/io.h"
#include "lib/base/own.h"

#define BENEATH   (RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV)
#define PERM_BITS 07777

static int forget_key(const char *name, void *arg)
{
	int dir = *(const int *)arg;
	struct stat st;

	if (strncmp(name, "ssh_host_", 9) != 0 ||
	    fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
		return 0;
	return unlinkat(dir, name, 0) < 0 ? -errno : 0;
}

static int forget_keys(int dir)
{
	return io_each_entry(dir, forget_key, &dir);
}

/* Empty, not missing: then systemd makes a new one at the first start. Other links to it stay. */
static int empty_machine_id(int etc)
{
	auto_close int fd = -1;
	struct stat st;

	if (fstatat(etc, "machine-id", &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
		return 0;
	if (unlinkat(etc, "machine-id", 0) < 0)
		return -errno;
	fd = openat(etc, "machine-id", O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0 || fchown(fd, st.st_uid, st.st_gid) < 0 ||
	    fchmod(fd, st.st_mode & PERM_BITS) < 0)
		return -errno;
	return 0;
}

int identity_forget(int root, const char **ret_at)
{
	static const struct {
		const char *path;
		int (*fn)(int dir);
	} places[] = { { "etc", empty_machine_id }, { "etc/ssh", forget_keys } };

	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		auto_close int dir =
			io_open2(root, places[i].path, O_RDONLY | O_DIRECTORY, 0, BENEATH);
		int r = dir < 0 ? 0 : places[i].fn(dir);

		if (r < 0) {
			*ret_at = places[i].path;
			return r;
		}
	}
	return 0;
}

int identity_forget_home(const struct cowfs *c, int dir, const char *name, unsigned features,
			 struct cos_err *err)
{
	struct cowfs view = *c;
	const char *at = "";
	struct cowfs_root root;
	auto_close int mnt = -1;
	struct cowfs_mount m;
	int r;

	view.guests = dir;
	r = cowfs_root_open(&view, name, &root, err);
	if (r < 0)
		return r;
	m = cowfs_root_mount(&root);
	mnt = cowfs_mount(&m, features, err);
	cowfs_root_close(&root);
	if (mnt < 0)
		return mnt;
	r = identity_forget(mnt, &at);
	return r < 0 ? cos_fail(err, COS_E_KERNEL, -r, "make /%s the clone's own", at) : 0;
}
