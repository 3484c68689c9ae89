/* cow-fs/usage.c - what a guest's files take, and what could limit it */
#include <errno.h>
#include <fcntl.h>
#include <linux/btrfs.h>
#include <linux/dqblk_xfs.h>
#include <linux/magic.h>
#include <linux/quota.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "cow-fs/inner.h"
#include "cow-fs/object.h"
#include "cow-fs/program.h"
#include "cow-fs/usage.h"
#include "cow-fs/walk.h"
#include "lib/base/own.h"

#define DISK_BLOCK 512U

/* ---- usage ---- */

struct counting {
	struct cowfs_usage *u;
	bool is_layer;
};

static bool is_stub(const struct walk_entry *e)
{
	auto_close int fd = -1;
	char at[OBJECT_PATH_SIZE];

	if (!S_ISREG(e->st.st_mode) || e->st.st_size == 0)
		return false;
	/* Data of its own takes at least as much as its length, but for holes. */
	if ((uint64_t)e->st.st_blocks * DISK_BLOCK >= (uint64_t)e->st.st_size)
		return false;
	fd = openat(e->dir, e->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	return fd >= 0 && stub_look(fd, at) == STUB_OURS;
}

static int count(const struct walk_entry *e, void *arg)
{
	struct counting *k = arg;
	uint64_t bytes = (uint64_t)e->st.st_blocks * DISK_BLOCK;

	if (!S_ISDIR(e->st.st_mode) && e->st.st_nlink > 1)
		bytes /= e->st.st_nlink;
	if (k->is_layer) {
		k->u->layer_bytes += bytes;
		return WALK_ON;
	}
	k->u->inodes++;
	k->u->own_bytes += bytes;
	if (is_stub(e)) {
		k->u->stubs++;
		k->u->shared_bytes += (uint64_t)e->st.st_size;
	}
	return WALK_ON;
}

static int count_layers(const struct cowfs *c, const struct cowfs_record *rec, struct counting *k,
			struct cos_err *err)
{
	struct walk w = { .fn = count, .arg = k };

	k->is_layer = true;
	for (unsigned i = 0; i < rec->layers.n; i++) {
		auto_close int layer = cowfs_layer_open(c, rec->layers.id[i], err);
		int r;

		if (layer < 0)
			return layer;
		w.top = layer;
		r = walk_tree(&w);
		if (r < 0)
			return cos_fail(err, COS_E_KERNEL, -r, "walk a layer");
	}
	return 0;
}

int cowfs_usage(const struct cowfs *c, const char *guest, bool layers, struct cowfs_usage *ret,
		struct cos_err *err)
{
	auto_close int home = -1;
	struct cowfs_usage u = { 0 };
	struct counting k = { .u = &u };
	struct walk w = { .fn = count, .arg = &k };
	struct cowfs_record rec;
	int r = cowfs_record_read(c, guest, &rec, err);

	if (r < 0)
		return r;
	home = openat(c->guests, guest, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (home < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "open cow/guests/%s", guest);
	w.top = home;
	r = walk_tree(&w);
	if (r < 0)
		return cos_fail(err, COS_E_KERNEL, -r, "walk the files of %s", guest);
	u.layers = rec.layers.n;
	r = layers ? count_layers(c, &rec, &k, err) : 0;
	if (r == 0)
		*ret = u;
	return r;
}

/* ---- limits ---- */

static const char *try_project(int dir, const struct statfs *fs)
{
	struct dqblk_unused {
		char room[512];
	} got;
	unsigned cmd = fs->f_type == XFS_SUPER_MAGIC ? Q_XGETQSTAT : Q_GETINFO;

	if (fs->f_type != EXT4_SUPER_MAGIC && fs->f_type != XFS_SUPER_MAGIC)
		return "the state directory is neither on ext4 nor on xfs";
	if (syscall(SYS_quotactl_fd, dir, QCMD(cmd, PRJQUOTA), 0, &got) == 0)
		return "";
	switch (errno) {
	case ENOSYS:
		return "this kernel has no quota";
	case EINVAL:
	case EOPNOTSUPP:
	case ESRCH:
		return "the file system is mounted without prjquota, or this kernel has no quota "
		       "format";
	}
	return "the kernel refuses to tell";
}

/* With quota each file system has a folder of its groups. */
static const char *try_btrfs(int dir, const struct statfs *fs)
{
	struct btrfs_ioctl_fs_info_args info = { 0 };
	char path[96] = "/sys/fs/btrfs/";

	if (fs->f_type != BTRFS_SUPER_MAGIC)
		return "the state directory is not on btrfs";
	if (ioctl(dir, BTRFS_IOC_FS_INFO, &info) < 0)
		return "the kernel refuses to tell";
	for (size_t i = 0; i < sizeof(info.fsid); i++)
		snprintf(path + strlen(path), sizeof(path) - strlen(path), "%s%02x",
			 i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", info.fsid[i]);
	strcat(path, "/qgroups");
	return access(path, F_OK) == 0
		       ? ""
		       : "it is off: 'btrfs quota enable --simple' on the state directory";
}

static const char *try_loop(int dir, const struct statfs *fs)
{
	char path[PROGRAM_PATH_SIZE];

	(void)dir;
	(void)fs;
	if (access("/dev/loop-control", R_OK | W_OK) < 0)
		return "there is no /dev/loop-control";
	return program_find("mkfs.ext4", path) ? "" : "mkfs.ext4 is not installed";
}

void cowfs_limit_probe(int dir, struct cowfs_limit_found ret[COWFS_LIMIT__N])
{
#define X(id, name, meaning) [COWFS_LIMIT_##id] = { name, meaning, false, "" },
	static const struct cowfs_limit_found rows[] = { COWFS_LIMIT_KINDS(X) };
#undef X
	static const char *(*const tries[])(int dir, const struct statfs *fs) = {
		[COWFS_LIMIT_PROJECT] = try_project,
		[COWFS_LIMIT_BTRFS] = try_btrfs,
		[COWFS_LIMIT_LOOP] = try_loop,
	};
	struct statfs fs = { 0 };
	bool known = fstatfs(dir, &fs) == 0;

	for (size_t i = 0; i < COWFS_LIMIT__N; i++) {
		ret[i] = rows[i];
		ret[i].why = known ? tries[i](dir, &fs) : "its file system cannot be asked";
		ret[i].works = !ret[i].why[0];
	}
}
