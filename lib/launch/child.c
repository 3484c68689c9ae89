/* lib/launch/child.c - from clone3() to execve() of a guest's first process
 *
 * Two processes. The helper is born in the guest's user namespace, or joins one that was prepared,
 * and on v2 in its control group; it enters the v1 groups and makes all other namespaces in one
 * clone3(), so that they belong to the guest's user namespace and count against its limits. Its
 * child is the guest's first process: it shares the daemon as parent (CLONE_PARENT), prepares what
 * needs no help while the daemon mounts the root, takes the mounts as descriptors, and runs only
 * when it is released. Neither can be traced or read by the guest: they are not dumpable, and no
 * guest code runs before the exec. */
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <linux/mount.h>
#include <linux/openat2.h>

#include "lib/base/io.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "lib/kern/mnt.h"
#include "lib/kern/proc.h"
#include "lib/launch/child.h"
#include "lib/launch/guest.h"
#include "lib/launch/msg.h"

#define FD_SYNC 3 /* where cos-init expects the status socket */
#define FD_INIT 4
#define FD_FREE 6 /* above all that is put in place, below what rlimit.nofile may allow */
#define DETACH  2
#define STAGE   "/dev" /* a directory that every host has and the child does not need */

struct setup {
	const struct launch *l;
	int sock;
	int root, dev, binds[SPEC_BINDS_MAX];
	int proc, sys, pts, cgroup, mqueue, shm;
	int slave, master;
};

static const struct mnt_opt pts_opts[] = {
	{ "newinstance", NULL }, { "ptmxmode", "0666" }, { "mode", "0620" },
	{ "gid", "5" },          { NULL, NULL },
};
static const struct mnt_opt shm_opts[] = { { "mode", "1777" }, { NULL, NULL } };

/* File systems that show the namespaces they are made in. Proc and sysfs have to be made while the
 * host's are still visible: the kernel lets nobody see more by a new mount than by the old ones. */
static const struct own_mount {
	const char *type, *target;
	const struct mnt_opt *opts;
	uint64_t attr;
	size_t offset;
	bool optional; /* the kernel may be built without */
} own_mounts[] = {
	{ "proc", "proc", NULL, HARDENED, offsetof(struct setup, proc), false },
	{ "sysfs", "sys", NULL, HARDENED | MOUNT_ATTR_RDONLY, offsetof(struct setup, sys), false },
	{ "devpts", "dev/pts", pts_opts, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC,
	  offsetof(struct setup, pts), false },
	{ "tmpfs", "dev/shm", shm_opts, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV,
	  offsetof(struct setup, shm), false },
	{ "mqueue", "dev/mqueue", NULL, HARDENED, offsetof(struct setup, mqueue), true },
	{ "cgroup2", "sys/fs/cgroup", NULL, HARDENED, offsetof(struct setup, cgroup), true },
};

static int *mount_of(struct setup *s, const struct own_mount *m)
{
	return (int *)(void *)((char *)s + m->offset);
}

bool child_shares_net(const struct launch *l)
{
	return l->spec->net.mode == NET_HOST;
}

/* Sysfs shows a network namespace: that of the host is mounted by who owns it, the daemon. */
static bool is_made_outside(const struct setup *s, const struct own_mount *m)
{
	return m->offset == offsetof(struct setup, sys) && child_shares_net(s->l);
}

static int make_own_mounts(struct setup *s, struct cos_err *err)
{
	for (size_t i = 0; i < ARRAY_SIZE(own_mounts); i++) {
		const struct own_mount *m = &own_mounts[i];
		bool groups = strcmp(m->type, "cgroup2") == 0;
		/* without a user namespace the files' owner is the guest's root as well */
		uint64_t attr = m->attr | (groups && !s->l->spec->userns ? MOUNT_ATTR_RDONLY : 0);
		int fd;

		if (is_made_outside(s, m))
			continue;
		if (groups && s->l->host->topo.v2 < 0)
			fd = -1;
		else if (m->optional)
			fd = mnt_new(m->type, m->opts, attr);
		else
			fd = mnt_new_tell(m->type, m->opts, attr, err);
		if (fd < 0 && !m->optional)
			return fd;
		*mount_of(s, m) = fd < 0 ? -1 : fd;
	}
	return 0;
}

int child_raise_loopback(struct cos_err *err)
{
	auto_close int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq ifr = { .ifr_name = "lo", .ifr_flags = IFF_UP };

	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &ifr) < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "bring up the loopback interface");
	return 0;
}

static int attach_at(int root, int mnt, const char *target, bool is_file, struct cos_err *err)
{
	auto_close int at = mnt_target(root, target, is_file);
	struct stat st;
	int r;

	target += strspn(target, "/");
	if (at >= 0 && is_file && fstat(at, &st) == 0 && S_ISDIR(st.st_mode))
		return cos_fail(err, COS_E_IMAGE, EISDIR, "mount target /%s in the root", target);
	if (at < 0)
		return cos_fail(err, COS_E_IMAGE, -at, "mount target /%s in the root", target);
	r = mnt_attach(mnt, at);
	return r < 0 ? cos_fail(err, COS_E_KERNEL, -r, "move_mount to /%s", target) : 0;
}

static int attach_bind(int root, int mnt, const char *target, bool is_file, struct cos_err *err)
{
	int r = attach_at(root, mnt, target, is_file, err);

	if (r == 0 || err->code != COS_E_IMAGE)
		return r;
	return cos_advise(err, r,
			  "give the bind a target that is a directory or a file as its source is, "
			  "or that can be made");
}

/* Puts the root over "/" and swaps the two; the host's tree is then below "." and goes away last.
 */
static int enter_root(const struct setup *s, struct cos_err *err)
{
	auto_close int top = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	int r;

	if (syscall(SYS_mount, NULL, "/", NULL, MS_SLAVE | MS_REC, NULL) < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "make mounts private");
	r = mnt_attach(s->root, top);
	if (r < 0)
		return cos_fail(err, COS_E_KERNEL, -r, "attach the root");
	if (fchdir(s->root) < 0 || syscall(SYS_pivot_root, ".", ".") < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "pivot_root");
	return 0;
}

static int leave_host(struct cos_err *err)
{
	if (syscall(SYS_umount2, ".", DETACH) < 0 || chdir("/") < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "unmount the host's root");
	return 0;
}

static int attach_all(struct setup *s, struct cos_err *err)
{
	int r = attach_at(s->root, s->dev, "dev", false, err);

	for (size_t i = 0; i < ARRAY_SIZE(own_mounts) && r == 0; i++) {
		const struct own_mount *m = &own_mounts[i];
		/* dev/... is below a mount that RESOLVE_BENEATH may enter: it is no way out */
		int *fd = mount_of(s, m);

		if (*fd < 0)
			continue;
		r = attach_at(s->root, *fd, m->target, false, err);
	}
	for (unsigned i = 0; i < s->l->spec->n_binds && r == 0; i++) {
		const struct spec_bind *b = &s->l->spec->binds[i];
		struct stat st;

		if (fstat(s->binds[i], &st) < 0)
			return cos_fail(err, COS_E_KERNEL, errno, "stat %s", b->source);
		r = attach_bind(s->root, s->binds[i], b->target, !S_ISDIR(st.st_mode), err);
	}
	return r;
}

/* An empty directory for each path: before Linux 6.15 a mount is copied only when it is attached.
 */
static int copy_empty(int empty)
{
	int mnt = mnt_clone(empty, "", false);

	return mnt == -EINVAL ? mnt_new("tmpfs", NULL, MOUNT_ATTR_RDONLY | HARDENED) : mnt;
}

/* Covers one path below /proc or /sys; one that this kernel does not have needs no cover. */
static int cover(const char *path, bool mask, int empty, int null, struct cos_err *err)
{
	auto_close int at =
		io_open2(AT_FDCWD, path, O_PATH, 0, RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS);
	auto_close int mnt = -1;
	struct stat st;
	int r;

	if (at == -ENOENT || at == -ENOTDIR || at == -EACCES)
		return 0;
	if (at < 0 || fstat(at, &st) < 0)
		return cos_fail(err, COS_E_KERNEL, at < 0 ? -at : errno, "open %s", path);
	if (mask && S_ISDIR(st.st_mode))
		mnt = copy_empty(empty);
	else
		mnt = mnt_clone(mask ? null : at, "", false);
	if (mnt < 0)
		return cos_fail(err, COS_E_KERNEL, -mnt, "cover %s", path);
	r = mnt_attr(mnt, MOUNT_ATTR_RDONLY | HARDENED, 0, false);
	if (r == 0)
		r = mnt_attach(mnt, at);
	return r < 0 ? cos_fail(err, COS_E_KERNEL, -r, "cover %s", path) : 0;
}

static int cover_all(json_t *paths, bool mask, int empty, int null, struct cos_err *err)
{
	json_t *p;
	size_t i;

	json_array_foreach(paths, i, p) {
		int r = cover(json_string_value(p), mask, empty, null, err);

		if (r < 0)
			return r;
	}
	return 0;
}

static int cover_kernel_files(struct setup *s, struct cos_err *err)
{
	auto_close int null = openat(s->dev, "null", O_PATH | O_CLOEXEC);
	auto_close int empty = mnt_new_tell("tmpfs", NULL, MOUNT_ATTR_RDONLY | HARDENED, err);
	int r;

	if (null < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "open /dev/null");
	if (empty < 0)
		return empty;
	r = cover_all(s->l->spec->masked_paths, true, empty, null, err);
	return r < 0 ? r : cover_all(s->l->spec->readonly_paths, false, empty, null, err);
}

static int open_stdio(struct setup *s, int *ret_console, struct cos_err *err)
{
	int r;

	*ret_console = s->slave = s->master = -1;
	if (s->l->stdio[0] >= 0)
		return 0;
	r = child_open_pty(ret_console, &s->slave, err);
	s->master = *ret_console;
	if (r == 0 && symlinkat("pts/0", s->dev, "console") < 0)
		r = cos_fail(err, COS_E_KERNEL, errno, "link /dev/console");
	return r;
}

/* The binds were put below STAGE by the helper, in a mount namespace of the host's user namespace:
 * the copy that this process got has their flags locked, so that a read-only one stays so whatever
 * the guest's root does. */
static int stage_binds(const struct launch *l, struct cos_err *err)
{
	auto_close int tmp = mnt_new_tell("tmpfs", NULL, HARDENED, err);
	auto_close int at = open(STAGE, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int r;

	if (tmp < 0)
		return tmp;
	if (at < 0 || unshare(CLONE_NEWNS) < 0 ||
	    syscall(SYS_mount, NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL) < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "make a mount namespace for binds");
	close(at);
	at = open(STAGE, O_PATH | O_DIRECTORY | O_CLOEXEC);
	r = at < 0 ? -errno : mnt_attach(tmp, at);
	if (r < 0)
		return cos_fail(err, COS_E_KERNEL, -r, "attach a tmpfs for binds");
	for (unsigned i = 0; i < l->spec->n_binds; i++) {
		char name[16];
		struct stat st;

		snprintf(name, sizeof(name), "%u", i);
		if (fstat(l->binds[i], &st) < 0)
			return cos_fail(err, COS_E_KERNEL, errno, "stat bind %u", i);
		r = attach_at(tmp, l->binds[i], name, !S_ISDIR(st.st_mode), err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int open_staged(struct setup *s, struct cos_err *err)
{
	for (unsigned i = 0; i < s->l->spec->n_binds; i++) {
		char path[32];

		snprintf(path, sizeof(path), STAGE "/%u", i);
		s->binds[i] = mnt_clone(AT_FDCWD, path, true);
		if (s->binds[i] < 0)
			return cos_fail(err, COS_E_KERNEL, -s->binds[i], "take bind %s",
					s->l->spec->binds[i].source);
	}
	return 0;
}

/* Receives the mounts in the order in which the daemon sends them: root, /dev, and /sys of a guest
 * in the host's network. */
static int take_mounts(struct setup *s, struct cos_err *err)
{
	int fds[3] = { -1, -1, -1 };
	unsigned n = ARRAY_SIZE(fds);
	struct msg m;
	int r = msg_recv(s->sock, MSG_MOUNTS, &m, fds, &n, err);

	if (r < 0)
		return r;
	if (n != (child_shares_net(s->l) ? 3 : 2))
		return cos_fail(err, COS_E_INTERNAL, 0, "%u mounts came", n);
	s->root = fds[0];
	s->dev = fds[1];
	if (n == 3)
		s->sys = fds[2];
	return open_staged(s, err);
}

static int build(struct setup *s, int *ret_console, struct cos_err *err)
{
	const char *hostname = s->l->spec->hostname;
	int r = make_own_mounts(s, err);

	if (r == 0 && sethostname(hostname, strlen(hostname)) < 0)
		r = cos_fail(err, COS_E_KERNEL, errno, "sethostname %s", hostname);
	if (r == 0 && s->l->netns < 0 && !child_shares_net(s->l))
		r = child_raise_loopback(err);
	if (r == 0)
		r = take_mounts(s, err);
	if (r == 0)
		r = enter_root(s, err);
	if (r == 0)
		r = attach_all(s, err);
	if (r == 0)
		r = leave_host(err);
	if (r == 0)
		r = cover_kernel_files(s, err);
	if (r == 0)
		r = child_write_etc(s->l, err);
	return r == 0 ? open_stdio(s, ret_console, err) : r;
}

/* 0, 1, 2: console or pipes; 3: the sync socket; 4: cos-init; 5: the console's master; nothing
 * else. */
static int place_descriptors(const struct setup *s, struct cos_err *err)
{
	int sock = fcntl(s->sock, F_DUPFD_CLOEXEC, FD_FREE);
	int init = fcntl(s->l->host->init, F_DUPFD_CLOEXEC, FD_FREE);
	int master = s->master < 0 ? -1 : fcntl(s->master, F_DUPFD_CLOEXEC, FD_FREE), r;

	if (sock < 0 || init < 0 || (s->master >= 0 && master < 0))
		return cos_fail(err, COS_E_KERNEL, errno, "duplicate descriptors");
	for (int i = 0; i < 3; i++) {
		if (dup2(s->slave >= 0 ? s->slave : s->l->stdio[i], i) < 0)
			return cos_fail(err, COS_E_KERNEL, errno, "place descriptor %d", i);
	}
	if (dup3(sock, FD_SYNC, O_CLOEXEC) < 0 || dup3(init, FD_INIT, O_CLOEXEC) < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "place descriptors");
	if (master >= 0 && dup3(master, LAUNCH_CONSOLE_FD, O_CLOEXEC) < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "place the console");
	r = proc_close_from(master >= 0 ? LAUNCH_CONSOLE_FD + 1 : FD_INIT + 1);
	return r < 0 ? cos_fail(err, COS_E_KERNEL, -r, "close descriptors") : 0;
}

static int wait_release(int sock, struct cos_err *err)
{
	struct msg m;
	unsigned n = 0;

	return msg_recv(sock, MSG_RELEASE, &m, NULL, &n, err);
}

static int run_own_init(const struct setup *s, const struct who *who, struct cos_err *err)
{
	char *const argv[] = { "/sbin/init", NULL };
	char **env = child_env(who, s->l->spec->env, NULL);
	int r;

	if (!env)
		return cos_fail(err, COS_E_KERNEL, ENOMEM, "environment");
	r = child_confine(s->l->rules, who, s->l->spec, err);
	if (r < 0)
		return r;
	setsid();
	execve(argv[0], argv, env);
	r = errno;
	return cos_fail(err, r == ENOENT ? COS_E_NOT_FOUND : COS_E_NOT_EXEC, r, "execve %s",
			argv[0]);
}

static int run_command(const struct setup *s, const struct who *who, struct cos_err *err)
{
	const struct spec *spec = s->l->spec;
	const char *prefix[] = { "cos-init", s->slave >= 0 ? "-t" : NULL };
	unsigned n = s->slave >= 0 ? 2 : 1;
	char **argv = child_argv(spec->command, prefix, n), **env = child_env(who, spec->env, NULL);
	static char path[4096];
	int r;

	if (!argv || !env)
		return cos_fail(err, COS_E_KERNEL, ENOMEM, "arguments");
	r = child_confine(s->l->rules, who, spec, err);
	if (r == 0 && chdir(spec->cwd) < 0)
		r = cos_fail(err, COS_E_INVALID, errno, "cwd %s in the guest", spec->cwd);
	if (r == 0)
		r = child_find_command(argv[n], env, path, sizeof(path), err);
	if (r < 0)
		return r;
	argv[n] = path;
	if (fcntl(FD_SYNC, F_SETFD, 0) < 0 ||
	    (s->master >= 0 && fcntl(LAUNCH_CONSOLE_FD, F_SETFD, 0) < 0))
		return cos_fail(err, COS_E_KERNEL, errno, "keep descriptors for cos-init");
	syscall(SYS_execveat, FD_INIT, "", argv, env, AT_EMPTY_PATH);
	return cos_fail(err, COS_E_INTERNAL, errno, "execve cos-init");
}

static int guest_main(const struct launch *l, int sock)
{
	struct setup s = { .l = l, .sock = sock };
	struct cos_err err = { 0 };
	struct who who = { 0 };
	int console = -1, r;

	r = build(&s, &console, &err);
	if (r == 0)
		r = who_find(l->spec->user, &who, &err);
	if (r == 0) {
		r = msg_send(sock, MSG_READY, 0, &console, console >= 0 ? 1 : 0);
		if (r < 0)
			cos_fail(&err, COS_E_KERNEL, -r, "tell that all is prepared");
	}
	if (r == 0)
		r = place_descriptors(&s, &err);
	if (r == 0) {
		s.sock = FD_SYNC;
		child_own_stdio(&who);
		r = wait_release(s.sock, &err);
	}
	if (r == 0 && l->spec->own_init)
		run_own_init(&s, &who, &err);
	else if (r == 0)
		run_command(&s, &who, &err);
	msg_fail(s.sock, &err);
	return 125;
}

/* Tasks of v1 groups and the two programs' descriptors are all that is kept of the daemon's. */
static void drop_descriptors(const struct launch *l, int sock)
{
	int keep[CG_HIER_MAX + SPEC_BINDS_MAX + 10];
	unsigned n = 0;

	keep[n++] = sock;
	keep[n++] = l->host->init;
	keep[n++] = l->userns;
	keep[n++] = l->netns;
	for (int i = 0; i < 3; i++)
		keep[n++] = l->stdio[i];
	for (unsigned i = 0; i < l->spec->n_binds; i++)
		keep[n++] = l->binds[i];
	for (const int *t = l->tasks; *t >= 0; t++)
		keep[n++] = *t;
	proc_close_but(keep, n);
}

/* Into namespaces that were made before; the network's first, as its owner's root is not us yet. */
static int join_prepared(const struct launch *l, struct cos_err *err)
{
	if ((!child_shares_net(l) && setns(l->netns, CLONE_NEWNET) < 0) ||
	    setns(l->userns, CLONE_NEWUSER) < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "join the prepared namespaces");
	return 0;
}

int child_helper(struct launch *l, int sock)
{
	struct cos_err err = { 0 };
	struct msg m;
	unsigned n = 0;
	unsigned long long ns = GUEST_NS;
	int pidfd = -1, r;
	pid_t pid;

	proc_reset_signals();
	drop_descriptors(l, sock);
	umask(022);
	r = l->spec->n_binds ? stage_binds(l, &err) : 0;
	if (r == 0 && l->netns >= 0)
		r = join_prepared(l, &err);
	else if (r == 0)
		r = msg_recv(sock, MSG_GO, &m, NULL, &n, &err);
	if (r == 0 && l->spec->userns)
		r = child_become_root(&err);
	if (r == 0) {
		r = cg_enter_self(l->tasks);
		if (r < 0)
			cos_fail(&err, COS_E_KERNEL, -r, "enter the control groups");
	}
	if (l->netns >= 0 || child_shares_net(l))
		ns &= ~(unsigned long long)CLONE_NEWNET;
	pid = r < 0 ? r : child_clone_sibling(ns, NULL, &pidfd, &err);
	if (pid == 0)
		return guest_main(l, sock);
	if (pid < 0)
		msg_fail(sock, &err);
	else
		msg_born(sock, pid, pidfd);
	return 0;
}
