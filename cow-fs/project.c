/* cow-fs/project.c - project quota of ext4 and xfs */
#include <errno.h>
#include <fcntl.h>
#include <linux/dqblk_xfs.h>
#include <linux/fs.h>
#include <linux/quota.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cow-fs/project.h"
#include "lib/base/own.h"

#define BLOCK 512U /* of these commands, whatever the file system has */

/* ext4 understands xfs' commands as well. */
static int ask(int dir, unsigned cmd, uint32_t id, void *arg)
{
	return syscall(SYS_quotactl_fd, dir, QCMD(cmd, PRJQUOTA), id, arg) < 0 ? -errno : 0;
}

static int look(int dir, struct fsxattr *ret)
{
	return ioctl(dir, FS_IOC_FSGETXATTR, ret) < 0 ? -errno : 0;
}

const char *project_enforced(int dir)
{
	struct fs_quota_statv have = { .qs_version = FS_QSTATV_VERSION1 };

	if (ask(dir, Q_XGETQSTATV, 0, &have) < 0 || !(have.qs_flags & FS_QUOTA_PDQ_ACCT))
		return "the file system is not ext4 or xfs mounted with prjquota, or this kernel "
		       "has no project quota";
	if (!(have.qs_flags & FS_QUOTA_PDQ_ENFD))
		return "the file system counts, but is not mounted with prjquota";
	return "";
}

const char *project_try(int dir)
{
	const char *why = project_enforced(dir);
	struct fsxattr a;

	if (why[0])
		return why;
	if (look(dir, &a) < 0)
		return "the file system does not tell projects";
	/* Nothing with another number could be renamed into its folders. */
	return a.fsx_xflags & FS_XFLAG_PROJINHERIT
		       ? "the state directory itself belongs to a project"
		       : "";
}

uint32_t project_of(int dir)
{
	struct fsxattr a;

	return look(dir, &a) == 0 && a.fsx_xflags & FS_XFLAG_PROJINHERIT ? a.fsx_projid : 0;
}

/* 1: nobody has files with it, nor limits for it. */
static int is_free(int dir, uint32_t id)
{
	struct fs_disk_quota q = { 0 };
	int r = ask(dir, Q_XGETQUOTA, id, &q);

	if (r < 0)
		return r == -ENOENT ? 1 : r;
	return !q.d_icount && !q.d_bcount && !q.d_blk_hardlimit && !q.d_blk_softlimit &&
	       !q.d_ino_hardlimit && !q.d_ino_softlimit;
}

static int find_free(const struct cowfs *c, int dir, uint32_t *ret)
{
	struct stat st;

	if (fstat(dir, &st) < 0)
		return -errno;
	for (uint32_t i = 0; i < PROJECT_RANGE; i++) {
		uint32_t id = c->project_base + (uint32_t)((st.st_ino + i) % PROJECT_RANGE);
		int r = is_free(dir, id);

		if (r < 0)
			return r;
		if (r > 0) {
			*ret = id;
			return 0;
		}
	}
	return -EUSERS;
}

int project_give(const struct cowfs *c, int dir)
{
	/* A number is seen to be used as soon as the directory has it. */
	auto_close int lock =
		openat(c->dir, "project.lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	struct fsxattr a = { 0 };
	uint32_t id = 0;
	int r;

	if (lock < 0)
		return -errno;
	while (flock(lock, LOCK_EX) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	r = find_free(c, dir, &id);
	if (r == 0)
		r = look(dir, &a);
	if (r < 0)
		return r;
	a.fsx_projid = id;
	a.fsx_xflags |= FS_XFLAG_PROJINHERIT;
	return ioctl(dir, FS_IOC_FSSETXATTR, &a) < 0 ? -errno : 0;
}

static int set_limits(int dir, uint32_t id, uint64_t blocks, uint64_t inodes)
{
	struct fs_disk_quota q = {
		.d_version = FS_DQUOT_VERSION,
		.d_flags = FS_PROJ_QUOTA,
		.d_fieldmask = FS_DQ_BHARD | FS_DQ_BSOFT | FS_DQ_IHARD | FS_DQ_ISOFT,
		.d_id = id,
		.d_blk_hardlimit = blocks,
		.d_ino_hardlimit = inodes,
	};

	return ask(dir, Q_XSETQLIM, id, &q);
}

int project_limit(int dir, const struct cowfs_space *max)
{
	return set_limits(dir, project_of(dir),
			  max->bytes == COWFS_NO_LIMIT ? 0 : max->bytes / BLOCK,
			  max->inodes == COWFS_NO_LIMIT ? 0 : max->inodes);
}

int project_used(int dir, struct cowfs_space *ret)
{
	struct fs_disk_quota q = { 0 };
	int r = ask(dir, Q_XGETQUOTA, project_of(dir), &q);

	if (r < 0)
		return r;
	ret->bytes = q.d_bcount * BLOCK;
	ret->inodes = q.d_icount;
	return 0;
}

void project_tidy(const struct cowfs *c)
{
	const uint64_t end = (uint64_t)c->project_base + PROJECT_RANGE;

	for (uint64_t id = c->project_base; id < end; id++) {
		struct fs_disk_quota q = { 0 };

		if (ask(c->dir, Q_XGETNEXTQUOTA, (uint32_t)id, &q) < 0 || q.d_id >= end)
			return;
		if (!q.d_icount && (q.d_blk_hardlimit || q.d_ino_hardlimit))
			set_limits(c->dir, q.d_id, 0, 0);
		id = q.d_id;
	}
}
