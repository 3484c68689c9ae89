/* cow-fs/mount.c - a guest's root: an overlay of its template's layers and its own upper directory
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cow-fs/image.h"
#include "cow-fs/inner.h"
#include "cow-fs/mount.h"
#include "cow-fs/selftest.h"
#include "lib/base/io.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "lib/kern/cap.h"
#include "lib/kern/mnt.h"
#include "lib/kern/proc.h"

#define LOWER_MAX 34 /* layers and pools */

/* The layers as mounts with mapped owners, topmost first; the last one, unless nobody may write, is
 * the guest's own. */
struct layers {
	int mnt[LOWER_MAX + 1];
	unsigned n, n_lower;
};

static void layers_done(struct layers *l)
{
	while (l->n > 0)
		close_p(&l->mnt[--l->n]);
}

static int add_layer(struct layers *l, int dir, const struct cowfs_mount *m, const char *what,
		     struct cos_err *err)
{
	/* Before Linux 6.15 only what is attached can be cloned. */
	bool own = dir == m->home && m->home_is_mount;
	auto_close int mnt = own ? fcntl(dir, F_DUPFD_CLOEXEC, 3) : mnt_clone(dir, "", false);
	int r;

	if (mnt < 0)
		return cos_fail(err, COS_E_KERNEL, own ? errno : -mnt, "open_tree %s", what);
	r = m->userns >= 0 ? mnt_idmap(mnt, m->userns, false) : 0;
	if (r == -EINVAL)
		return cos_advise(
			err,
			cos_fail(err, COS_E_UNSUPPORTED, EINVAL,
				 "map owners of %s: its file system cannot", what),
			"put it on ext4, xfs or btrfs, import it as a template, or create "
			"the guest with userns=false");
	if (r < 0)
		return cos_fail(err, COS_E_KERNEL, -r, "map owners of %s", what);
	l->mnt[l->n++] = take_fd(mnt);
	return 0;
}

static int open_layers(struct layers *l, const struct cowfs_mount *m, bool with_pool,
		       struct cos_err *err)
{
	unsigned n_pool = with_pool ? m->n_pool : 0;
	int r = 0;

	if (m->n_lower + n_pool > LOWER_MAX)
		return cos_fail(err, COS_E_UNSUPPORTED, 0, "%u layers, more than %d", m->n_lower,
				LOWER_MAX);
	if (m->needs_pool && !with_pool)
		return cos_advise(err,
				  cos_fail(err, COS_E_UNSUPPORTED, 0,
					   "its files were unified, which this kernel cannot read"),
				  "start it on the kernel it ran on, see 'cow-fs selftest'");
	for (unsigned i = 0; i < m->n_lower && r == 0; i++)
		r = add_layer(l, m->lower[i], m, "the lower layer", err);
	for (unsigned i = 0; i < n_pool && r == 0; i++)
		r = add_layer(l, m->pool[i], m, "the pool", err);
	l->n_lower = l->n;
	if (r == 0 && m->home >= 0)
		r = add_layer(l, m->home, m, "the guest's own layer", err);
	return r;
}

/* The overlay works with the identity of who mounts it: it must be one that the map knows. Changing
 * the file system ids drops capabilities, which are raised again. */
static void be(uint32_t id)
{
	setfsgid(id);
	setfsuid(id);
	cap_raise_all();
}

static int set(int fs, const char *key, const char *value)
{
	return syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, key, value, 0) < 0 ? -errno : 0;
}

static int set_flag(int fs, const char *key)
{
	return syscall(SYS_fsconfig, fs, FSCONFIG_SET_FLAG, key, NULL, 0) < 0 ? -errno : 0;
}

/* open_tree() gives O_PATH descriptors, which fsconfig() does not take. */
static int set_fd(int fs, const char *key, int dir, const char *path)
{
	auto_close int fd = openat(dir, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	return syscall(SYS_fsconfig, fs, FSCONFIG_SET_FD, key, NULL, fd) < 0 ? -errno : 0;
}

static int set_layers_by_fd(int fs, const struct layers *l)
{
	int home = l->mnt[l->n - 1], r = 0;

	for (unsigned i = 0; i < l->n_lower && r == 0; i++)
		r = set_fd(fs, "lowerdir+", l->mnt[i], ".");
	if (l->n_lower == l->n)
		return r;
	if (r == 0)
		r = set_fd(fs, "upperdir", home, "up");
	if (r == 0)
		r = set_fd(fs, "workdir", home, "wk");
	return r;
}

/* The layers were attached at 0/, 1/, ... of the working directory. */
static int set_layers_by_name(int fs, const struct layers *l, unsigned features)
{
	char all[LOWER_MAX * 4] = "", name[16];
	int r = 0;

	for (unsigned i = 0; i < l->n_lower && r == 0; i++) {
		snprintf(name, sizeof(name), "%u", i);
		if (features & 1U << COWFS_LOWER_PLUS)
			r = set(fs, "lowerdir+", name);
		else
			snprintf(all + strlen(all), sizeof(all) - strlen(all), "%s%s", i ? ":" : "",
				 name);
	}
	if (r == 0 && all[0])
		r = set(fs, "lowerdir", all);
	if (l->n_lower == l->n)
		return r;
	snprintf(name, sizeof(name), "%u/up", l->n - 1);
	if (r == 0)
		r = set(fs, "upperdir", name);
	snprintf(name, sizeof(name), "%u/wk", l->n - 1);
	return r == 0 ? set(fs, "workdir", name) : r;
}

static int set_options(int fs, const struct cowfs_mount *m, unsigned features)
{
	const bool with_pool = m->n_pool > 0 && features & 1U << COWFS_POOL;
	const struct mnt_opt opts[] = {
		{ "source", "cos" }, { "redirect_dir", m->home < 0 ? "follow" : "on" },
		{ "index", "off" },  { "metacopy", with_pool ? "on" : "off" },
		{ "xino", "off" },   { NULL, NULL },
	};
	int r = 0;

	for (const struct mnt_opt *o = opts; o->key && r == 0; o++)
		r = set(fs, o->key, o->value);
	return r == 0 && m->is_volatile ? set_flag(fs, "volatile") : r;
}

/* With a wrong identity the overlay mounts read-only without an error: look. */
static int check_writable(int mnt)
{
	auto_close int fd = openat(mnt, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	return faccessat(fd, ".", W_OK, AT_EACCESS) < 0 && errno != EACCES ? -errno : 0;
}

static int make_overlay(const struct cowfs_mount *m, const struct layers *l, unsigned features,
			struct cos_err *err)
{
	auto_close int fs = (int)syscall(SYS_fsopen, "overlay", 1 /* FSOPEN_CLOEXEC */);
	auto_close int mnt = -1;
	char log[160];
	int r;

	if (fs < 0)
		return cos_fail(err, COS_E_UNSUPPORTED, errno, "fsopen overlay");
	r = features & 1U << COWFS_LAYER_FD ? set_layers_by_fd(fs, l)
					    : set_layers_by_name(fs, l, features);
	if (r == 0)
		r = set_options(fs, m, features);
	if (r == 0 && syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		r = -errno;
	if (r == 0) {
		mnt = (int)syscall(SYS_fsmount, fs, 1 /* FSMOUNT_CLOEXEC */,
				   m->home < 0 ? MOUNT_ATTR_RDONLY : 0);
		r = mnt < 0 ? -errno : m->home < 0 ? 0 : check_writable(mnt);
	}
	if (r < 0) {
		const char *said = mnt_log(fs, log, sizeof(log));

		return cos_fail(err, COS_E_KERNEL, -r, "mount overlay%s%s", said[0] ? ": " : "",
				said);
	}
	return take_fd(mnt);
}

static int make_mapped(const struct cowfs_mount *m, const struct layers *l, unsigned features,
		       struct cos_err *err)
{
	const int own = m->home_is_mount ? l->mnt[l->n - 1] : -1;
	int r;

	if (m->userns >= 0)
		be(m->id_base);
	if (own >= 0)
		image_spare_give(own);
	r = make_overlay(m, l, features, err);
	if (own >= 0)
		image_spare_take(own);
	if (m->userns >= 0)
		be(0);
	return r;
}

/* In a child with a mount namespace of its own: attaches the layers below a tmpfs and names them. A
 * descriptor of the daemon's lies in the daemon's namespace, where this process may mount nothing
 * any more: the place is one that was opened after the change. */
static int attach_layers(const struct layers *l)
{
	auto_close int tmp = -1, top = -1;
	int r;

	if (unshare(CLONE_NEWNS) < 0)
		return -errno;
	if (syscall(SYS_mount, NULL, "/", NULL, 1UL << 18 | 16384UL, NULL) <
	    0) /* MS_PRIVATE|MS_REC */
		return -errno;
	tmp = mnt_new("tmpfs", NULL, 0);
	if (tmp < 0)
		return tmp;
	top = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	r = top < 0 ? -errno : mnt_attach(tmp, top);
	for (unsigned i = 0; i < l->n && r == 0; i++) {
		char name[16];
		auto_close int at = -1;

		snprintf(name, sizeof(name), "%u", i);
		at = io_dir_at(tmp, name, 0700);
		r = at < 0 ? at : mnt_attach(l->mnt[i], at);
	}
	return r == 0 && fchdir(tmp) < 0 ? -errno : r;
}

static int by_name_child(int sock, const struct cowfs_mount *m, const struct layers *l,
			 unsigned features)
{
	struct cos_err err = { 0 };
	int mnt, r = attach_layers(l);

	if (r < 0)
		mnt = cos_fail(&err, COS_E_KERNEL, -r, "attach layers");
	else
		mnt = make_mapped(m, l, features, &err);
	io_send_fds(sock, &err, sizeof(err), &mnt, mnt >= 0 ? 1 : 0, 0);
	return 0;
}

static int mount_by_name(const struct cowfs_mount *m, const struct layers *l, unsigned features,
			 struct cos_err *err)
{
	struct cos_err theirs = { 0 };
	int sv[2], mnt = -1;
	unsigned n = 1;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv) < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "socketpair");
	pid = fork();
	if (pid == 0)
		_exit(by_name_child(sv[1], m, l, features));
	close(sv[1]);
	if (pid < 0) {
		close(sv[0]);
		return cos_fail(err, COS_E_KERNEL, errno, "fork");
	}
	if (io_recv_fds(sv[0], &theirs, sizeof(theirs), &mnt, &n, 0) != sizeof(theirs))
		cos_fail(&theirs, COS_E_INTERNAL, 0, "the mounting process died");
	close(sv[0]);
	waitpid(pid, NULL, 0);
	if (n == 1)
		return mnt;
	*err = theirs;
	return -(theirs.sys ?: cos_err_defs[theirs.code].no);
}

int cowfs_mount(const struct cowfs_mount *m, unsigned features, struct cos_err *err)
{
	struct layers l = { .n = 0 };
	int r = open_layers(&l, m, features & 1U << COWFS_POOL, err);

	if (r == 0)
		r = features & 1U << COWFS_LAYER_FD ? make_mapped(m, &l, features, err)
						    : mount_by_name(m, &l, features, err);
	layers_done(&l);
	return r;
}

int cowfs_mount_readonly(const struct cowfs_mount *m, unsigned features, struct cos_err *err)
{
	struct cowfs_mount bare = *m;

	bare.home = bare.userns = -1;
	bare.is_volatile = false;
	return cowfs_mount(&bare, features, err);
}

/* With index=on the kernel refuses an upper directory that another overlay has, and only after that
 * looks at the work directory, which here lies on another file system: nothing is ever mounted. */
int cowfs_upper_in_use(int upper)
{
	auto_close int fs = (int)syscall(SYS_fsopen, "overlay", 1 /* FSOPEN_CLOEXEC */);
	auto_close int other = mnt_new("tmpfs", NULL, 0);
	auto_close int low = other < 0 ? -1 : io_dir_at(other, "low", 0700);
	auto_close int work = other < 0 ? -1 : io_dir_at(other, "wk", 0700);
	const struct {
		const char *key;
		int fd;
	} dirs[] = { { "lowerdir", low }, { "upperdir", upper }, { "workdir", work } };
	char path[32];
	int r = fs < 0 || work < 0 ? -EIO : set(fs, "index", "on");

	for (size_t i = 0; i < ARRAY_SIZE(dirs) && r == 0; i++) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d", dirs[i].fd);
		r = set(fs, dirs[i].key, path);
	}
	if (r < 0)
		return r;
	if (syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
		return -EPROTO;
	if (errno == EBUSY)
		return 1;
	return errno == EINVAL ? 0 : -errno;
}

/* Held by a process that ends as soon as it is open. */
int cowfs_userns_make(uint32_t base)
{
	int p[2], ns = -1;
	pid_t pid;
	char c;

	if (pipe2(p, O_CLOEXEC) < 0)
		return -errno;
	pid = (pid_t)syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, NULL, NULL, NULL, NULL);
	if (pid == 0) {
		close(p[1]);
		_exit(read(p[0], &c, 1) < 0);
	}
	close(p[0]);
	if (pid > 0) {
		int r = proc_write_maps(pid, base, 65536);

		ns = r < 0 ? r : proc_open_ns(pid, "user");
	}
	close(p[1]);
	if (pid < 0)
		return -errno;
	waitpid(pid, NULL, 0);
	return ns;
}

static int probe_one(int dir, int userns, unsigned features, struct cos_err *err)
{
	auto_close int low = io_dir_at(dir, "low", 0755), up = io_dir_at(dir, "up", 0755);
	auto_close int wk = io_dir_at(dir, "wk", 0755);
	struct cowfs_mount m = {
		.lower = &low,
		.n_lower = 1,
		.home = dir,
		.userns = userns,
		.id_base = 1U << 20,
	};
	int mnt;

	if (low < 0 || up < 0 || wk < 0)
		return cos_fail(err, COS_E_KERNEL, EIO, "make directories to probe overlay with");
	mnt = cowfs_mount(&m, features, err);
	if (mnt >= 0)
		close(mnt);
	return mnt < 0 ? mnt : 0;
}

int cowfs_probe(int dir, struct cos_err *err)
{
	static const unsigned tries[] = {
		1U << COWFS_LAYER_FD | 1U << COWFS_LOWER_PLUS,
		1U << COWFS_LOWER_PLUS,
		0,
	};
	auto_close int at = -1, userns = cowfs_userns_make(1U << 20);
	char name[PLACE_NAME_SIZE];
	int r = -EIO;

	if (userns < 0)
		return cos_fail(err, COS_E_UNSUPPORTED, -userns, "make a user namespace");
	at = cowfs_place_open(dir, "probe", name);
	if (at < 0)
		return cos_fail(err, COS_E_KERNEL, -at, "mkdir probe");
	for (size_t i = 0; i < ARRAY_SIZE(tries); i++) {
		r = probe_one(at, userns, tries[i], err);
		if (r == 0) {
			r = (int)tries[i];
			break;
		}
	}
	io_remove_tree(dir, name, 0);
	if (r >= 0 && cowfs_selftest(dir, (unsigned)r, NULL, NULL, err) == 0)
		r |= 1 << COWFS_POOL;
	if (r < 0)
		return cos_advise(
			err, cos_context(err, r, "try a guest's root in the state directory"),
			"put the state directory on ext4, xfs, btrfs or another file system "
			"that can map owners; an overlay and older kernels' tmpfs cannot");
	return r;
}
