/* bench/floor.c - the least that a guest costs: the system calls and nothing else */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/mount.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/floor.h"
#include "lib/base/io.h"
#include "lib/base/own.h"

#define ID_BASE     1000000000U
#define ID_COUNT    65536U
#define RMDIR_TRIES 1000

const char *const floor_step_name[FLOOR__N] = { "cgroup", "clone", "ids", "root" };

/* What the child needs, all of it made before the clone. */
struct floor_child {
	const char *mnt;
	const char *name;
	int tasks[FLOOR_GROUPS]; /* v1: write 0 to enter */
	unsigned n_tasks;
	int sync; /* the root arrives here, when the ids are mapped */
	int out;
	bool stay;
};

static int tell(int r, const char *what)
{
	fprintf(stderr, "bench: floor: %s: %s\n", what, strerror(-r));
	return r;
}

/* ---- inside ---- */

static int take_root(int sync, int *ret_root)
{
	unsigned n = 1;
	char c;
	ssize_t r = io_recv_fds(sync, &c, 1, ret_root, &n, 0);

	return r == 1 && n == 1 ? 0 : -EPIPE;
}

static int bind_device(const char *name)
{
	char from[32], to[32];
	int fd;

	snprintf(from, sizeof(from), "/dev/%s", name);
	snprintf(to, sizeof(to), "dev/%s", name);
	fd = open(to, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
	if (fd < 0)
		return -errno;
	close(fd);
	return mount(from, to, NULL, MS_BIND, NULL) < 0 ? -errno : 0;
}

static int make_dev(void)
{
	static const char *const nodes[] = { "null", "zero", "full", "random", "urandom", "tty" };

	if (mount("tmpfs", "dev", "tmpfs", MS_NOSUID | MS_NOEXEC, "mode=755,size=64k") < 0)
		return -errno;
	for (size_t i = 0; i < ARRAY_SIZE(nodes); i++) {
		int r = bind_device(nodes[i]);

		if (r < 0)
			return r;
	}
	if (mkdir("dev/pts", 0755) < 0 ||
	    mount("devpts", "dev/pts", "devpts", MS_NOSUID | MS_NOEXEC,
		  "newinstance,ptmxmode=0666,mode=0620") < 0 ||
	    symlink("pts/ptmx", "dev/ptmx") < 0)
		return -errno;
	return 0;
}

static int make_mounts(const char *mnt, int root)
{
	const unsigned long safe = MS_NOSUID | MS_NOEXEC | MS_NODEV;
	int r;

	if (syscall(SYS_move_mount, root, "", AT_FDCWD, mnt, MOVE_MOUNT_F_EMPTY_PATH) < 0 ||
	    chdir(mnt) < 0)
		return -errno;
	r = make_dev();
	if (r < 0)
		return r;
	if (mount("proc", "proc", "proc", safe, NULL) < 0 ||
	    mount("sysfs", "sys", "sysfs", safe | MS_RDONLY, NULL) < 0)
		return -errno;
	if (syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		return -errno;
	return 0;
}

static int enter_groups(const struct floor_child *c)
{
	for (unsigned i = 0; i < c->n_tasks; i++) {
		if (write(c->tasks[i], "0", 1) != 1)
			return -errno;
	}
	return 0;
}

static int become_root(void)
{
	if (setgroups(0, NULL) < 0 || setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)
		return -errno;
	prctl(PR_SET_PDEATHSIG, SIGKILL); /* a change of ids clears it */
	return unshare(CLONE_NEWCGROUP) < 0 ? -errno : 0;
}

static int drop_caps(void)
{
	static const int drop[] = { CAP_SYS_MODULE, CAP_SYS_RAWIO, CAP_SYS_TIME };

	for (size_t i = 0; i < ARRAY_SIZE(drop); i++) {
		if (prctl(PR_CAPBSET_DROP, drop[i], 0, 0, 0) < 0)
			return -errno;
	}
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : 0;
}

__attribute__((noreturn)) static void child_main(const struct floor_child *c)
{
	static char *const envp[] = { NULL };
	char *const argv[] = { "/bin/first", c->stay ? "stay" : NULL, NULL };
	int root = -1, r;

	r = enter_groups(c);
	if (r == 0)
		r = take_root(c->sync, &root);
	if (r == 0)
		r = become_root();
	if (r == 0)
		r = make_mounts(c->mnt, root);
	if (r == 0 && sethostname(c->name, strlen(c->name)) < 0)
		r = -errno;
	if (r == 0)
		r = drop_caps();
	if (r == 0) {
		dup2(c->out, 1);
		execve(argv[0], argv, envp);
		r = -errno;
	}
	_exit(r < 0 ? -r : 1); /* the errno is the status: a guest that works exits with 0 */
}

/* ---- outside ---- */

static void remove_group(const struct bench_cg *cg, const char *name)
{
	/* A group is busy for a moment after its last process was waited for. */
	for (int i = 0; i < RMDIR_TRIES; i++) {
		if (unlinkat(cg->dir, name, AT_REMOVEDIR) == 0 || errno != EBUSY)
			return;
		sched_yield();
	}
}

static void remove_all(const struct floor *f, const char *name)
{
	int r;

	for (unsigned i = 0; i < f->n_cg; i++)
		remove_group(f->cg[i], name);
	r = io_remove_tree(f->b->dirfd, name, 0);
	if (r < 0)
		tell(r, name);
}

/* Makes the groups; a `tasks` of each v1 one for the child, the v2 directory for the clone. */
static int make_groups(const struct floor *f, const char *name, struct floor_child *c, int *ret_v2)
{
	char path[32];

	for (unsigned i = 0; i < f->n_cg; i++) {
		const struct bench_cg *cg = f->cg[i];
		int fd;

		if (mkdirat(cg->dir, name, 0755) < 0)
			return -errno;
		snprintf(path, sizeof(path), "%s%s", name, cg->v2 ? "" : "/tasks");
		fd = openat(cg->dir, path,
			    (cg->v2 ? O_RDONLY | O_DIRECTORY : O_WRONLY) | O_CLOEXEC);
		if (fd < 0)
			return -errno;
		if (cg->v2)
			*ret_v2 = fd;
		else
			c->tasks[c->n_tasks++] = fd;
	}
	return 0;
}

static int map_ids(pid_t pid, int *ret_userns)
{
	static const char *const files[] = { "uid_map", "gid_map" };
	char path[32];
	auto_close int proc = -1;

	snprintf(path, sizeof(path), "/proc/%d", pid);
	proc = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (proc < 0)
		return -errno;
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		int r = io_writef_at(proc, files[i], "0 %u %u", ID_BASE, ID_COUNT);

		if (r < 0)
			return r;
	}
	*ret_userns = openat(proc, "ns/user", O_RDONLY | O_CLOEXEC);
	return *ret_userns < 0 ? -errno : 0;
}

/* The directory DIR as a detached mount whose ids are those of USERNS. */
static int mapped_tree(int dir, int userns)
{
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (unsigned)userns };
	int fd = (int)syscall(SYS_open_tree, dir, "",
			      OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);

	if (fd < 0)
		return -errno;
	if (syscall(SYS_mount_setattr, fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0) {
		int r = -errno;

		close(fd);
		return r;
	}
	return fd;
}

static int fs_layer(int fs, const char *key, int fd)
{
	return syscall(SYS_fsconfig, fs, FSCONFIG_SET_FD, key, NULL, fd) < 0 ? -errno : 0;
}

static int mount_overlay(int lower, int upper, int work)
{
	auto_close int fs = (int)syscall(SYS_fsopen, "overlay", FSOPEN_CLOEXEC);
	int r, fd;

	if (fs < 0)
		return -errno;
	r = fs_layer(fs, "lowerdir+", lower);
	if (r == 0)
		r = fs_layer(fs, "upperdir", upper);
	if (r == 0)
		r = fs_layer(fs, "workdir", work);
	if (r < 0)
		return r;
	if (syscall(SYS_fsconfig, fs, FSCONFIG_SET_FLAG, "volatile", NULL, 0) < 0 ||
	    syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -errno;
	fd = (int)syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, 0);
	return fd < 0 ? -errno : fd;
}

/* Returns the detached root or -errno. */
static int make_root(const struct floor *f, const char *name, int userns)
{
	auto_close int dir = -1, tree = -1, lower = -1, upper = -1, work = -1;

	dir = io_dir_at(f->b->dirfd, name, 0755);
	if (dir < 0)
		return dir;
	if (mkdirat(dir, "upper", 0755) < 0 || mkdirat(dir, "work", 0755) < 0)
		return -errno;
	lower = mapped_tree(f->lower, userns);
	tree = mapped_tree(dir, userns);
	if (lower < 0 || tree < 0)
		return lower < 0 ? lower : tree;
	upper = openat(tree, "upper", O_PATH | O_DIRECTORY | O_CLOEXEC);
	work = openat(tree, "work", O_PATH | O_DIRECTORY | O_CLOEXEC);
	return upper < 0 || work < 0 ? -errno : mount_overlay(lower, upper, work);
}

/* From the clone on; -errno leaves g->pid to be ended by the caller. */
static int bring_up(struct floor *f, struct floor_guest *g, struct floor_child *c, int v2)
{
	struct clone_args ca = {
		.flags = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC |
			 CLONE_NEWNET | CLONE_PIDFD | (v2 >= 0 ? CLONE_INTO_CGROUP : 0),
		.pidfd = (uintptr_t)&g->pidfd,
		.exit_signal = SIGCHLD,
		.cgroup = v2 >= 0 ? (uint64_t)v2 : 0,
	};
	auto_close int ours = -1, userns = -1, root = -1;
	int sv[2], r;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0)
		return tell(-errno, "socketpair");
	ours = sv[0];
	c->sync = sv[1];
	g->pid = (pid_t)syscall(SYS_clone3, &ca, sizeof(ca));
	if (g->pid == 0) {
		close(ours);
		child_main(c);
	}
	r = -errno;
	close(sv[1]);
	if (g->pid < 0)
		return tell(r, "clone3");
	g->end_nsec[FLOOR_CLONE] = bench_nsec();
	r = map_ids(g->pid, &userns);
	if (r < 0)
		return tell(r, "id maps");
	g->end_nsec[FLOOR_IDS] = bench_nsec();
	root = make_root(f, g->name, userns);
	if (root < 0)
		return tell(root, "overlay on id-mapped layers given as descriptors (Linux 6.13)");
	g->end_nsec[FLOOR_ROOT] = bench_nsec();
	r = (int)io_send_fds(ours, "r", 1, &root, 1, 0);
	return r < 0 ? tell(r, "release") : 0;
}

int floor_start(struct floor *f, struct floor_guest *g, int out, bool stay)
{
	struct floor_child c = { .mnt = f->mnt, .name = g->name, .out = out, .stay = stay };
	auto_close int v2 = -1;
	int r;

	*g = (struct floor_guest){ .pid = -1, .pidfd = -1, .start_nsec = bench_nsec() };
	snprintf(g->name, sizeof(g->name), "f%u", f->count++);
	r = make_groups(f, g->name, &c, &v2);
	g->end_nsec[FLOOR_CGROUP] = bench_nsec();
	if (r < 0)
		tell(r, "control groups");
	else
		r = bring_up(f, g, &c, v2);
	while (c.n_tasks > 0)
		close(c.tasks[--c.n_tasks]);
	if (r < 0)
		floor_end(f, g, true);
	return r;
}

int floor_end(struct floor *f, struct floor_guest *g, bool kill_it)
{
	int status = 0;

	if (g->pid > 0) {
		if (kill_it)
			kill(g->pid, SIGKILL);
		while (waitpid(g->pid, &status, 0) < 0 && errno == EINTR)
			;
	}
	g->pid = -1;
	close_p(&g->pidfd);
	remove_all(f, g->name);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Controllers that are mounted together are one hierarchy. */
static void add_hierarchy(struct floor *f, const struct bench_cg *cg)
{
	for (unsigned i = 0; i < f->n_cg; i++) {
		if (f->cg[i] == cg)
			return;
	}
	if (cg)
		f->cg[f->n_cg++] = cg;
}

int floor_open(struct floor *f, const struct bench *b, const char *root)
{
	static const char *const ctl[] = { "cpu", "memory", "pids", "devices", NULL };
	int r;

	*f = (struct floor){ .b = b, .lower = -1 };
	for (size_t i = 0; i < ARRAY_SIZE(ctl); i++)
		add_hierarchy(f, bench_cg_find(b, ctl[i]));
	f->lower = openat(b->dirfd, root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (f->lower < 0)
		return tell(-errno, root);
	r = io_dir_at(b->dirfd, "mnt", 0755);
	if (r < 0)
		return tell(r, "mnt");
	close(r);
	snprintf(f->mnt, sizeof(f->mnt), "%s/mnt", b->dir);
	return 0;
}

void floor_close(struct floor *f)
{
	close_p(&f->lower);
}
