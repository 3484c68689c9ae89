/* tests/func/probe-file.c - what /proc, /sys and /dev show of the host and let a guest change */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "lib/base/own.h"
#include "tests/func/probe.h"

#define WALK_REPORT 6 /* names in a note; a walk ends when it has found that many */

/* What is masked is missing, empty, unreadable or /dev/null. */
static enum outcome readable(const struct check *c, struct finding *f)
{
	auto_close int fd = open(c->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	char buf[256];
	struct stat st;
	ssize_t n;

	if (fd < 0 || fstat(fd, &st) < 0) {
		note(f, "%s", err_name(errno));
		return NO;
	}
	if (S_ISDIR(st.st_mode))
		n = syscall(SYS_getdents64, fd, buf, sizeof(buf)) > 48; /* more than . and .. */
	else if (S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3))
		n = 0;
	else
		n = read(fd, buf, sizeof(buf));
	if (n > 0)
		note(f, "has content");
	return n > 0 ? YES : NO;
}

/* Only opens, with the flags of the first argument: nothing is written, and nothing read that could
 * be missed by others. */
static enum outcome opens(const struct check *c, struct finding *f)
{
	auto_close int fd = open(c->path, c->arg[0] | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	struct stat st;

	if (fd < 0) {
		note(f, "%s", err_name(errno));
		return NO;
	}
	return fstat(fd, &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3) ? NO : YES;
}

static struct walk {
	struct finding *f;
	const char *const *allowed; /* prefixes, NULL ends */
	const char *const *skip;
	unsigned found;
} walk;

static bool has_prefix(const char *const *list, const char *path)
{
	for (; *list; list++)
		if (strncmp(path, *list, strlen(*list)) == 0)
			return true;
	return false;
}

static int walk_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	int fd;

	(void)at;
	if (type == FTW_D && has_prefix(walk.skip, path))
		return FTW_SKIP_SUBTREE;
	/* CAP_DAC_OVERRIDE opens what has no write bit and nothing behind it. */
	if (type != FTW_F || !S_ISREG(st->st_mode) || !(st->st_mode & 0222) ||
	    has_prefix(walk.allowed, path) || has_prefix(walk.skip, path))
		return FTW_CONTINUE;
	fd = open(path, O_WRONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return FTW_CONTINUE;
	close(fd);
	note(walk.f, "%s", path);
	return ++walk.found == WALK_REPORT ? FTW_STOP : FTW_CONTINUE;
}

/* Opens every regular file below ROOT for writing, on ROOT's file system, and writes nothing. */
static enum outcome walk_tree(const char *root, const char *const *allowed, const char *const *skip,
			      struct finding *f)
{
	walk = (struct walk){ .f = f, .allowed = allowed, .skip = skip };
	if (nftw(root, walk_one, 32, FTW_PHYS | FTW_MOUNT | FTW_ACTIONRETVAL) < 0) {
		note(f, "%s: %s", root, err_name(errno));
		return ABSENT;
	}
	return walk.found ? YES : NO;
}

/* Sysctls of namespaces that are the guest's own. pid_max is per pid namespace since Linux 6.14,
 * and before that nobody but the host's root can open it. */
static enum outcome sysctls(const struct check *c, struct finding *f)
{
	static const char *const allowed[] = {
		"/proc/sys/net/",
		"/proc/sys/user/max_",
		"/proc/sys/fs/mqueue/",
		"/proc/sys/kernel/hostname",
		"/proc/sys/kernel/domainname",
		"/proc/sys/kernel/msg",
		"/proc/sys/kernel/sem",
		"/proc/sys/kernel/shm",
		"/proc/sys/kernel/auto_msgmni",
		"/proc/sys/kernel/ns_last_pid",
		"/proc/sys/kernel/pid_max",
		NULL,
	};
	static const char *const skip[] = { NULL };

	(void)c;
	return walk_tree("/proc/sys", allowed, skip, f);
}

/* The rest of /proc. Pressure files are for waiting; mtrr asks for CAP_SYS_ADMIN when written. */
static enum outcome proc_files(const struct check *c, struct finding *f)
{
	static const char *const allowed[] = { "/proc/pressure/", "/proc/mtrr", NULL };
	static const char *const skip[] = {
		"/proc/0",    "/proc/1",           "/proc/2",    "/proc/3", "/proc/4",
		"/proc/5",    "/proc/6",           "/proc/7",    "/proc/8", "/proc/9",
		"/proc/self", "/proc/thread-self", "/proc/sys/", NULL,
	};

	(void)c;
	return walk_tree("/proc", allowed, skip, f);
}

/* Devices of the guest's own network namespace may be tuned. */
static const char *const sys_allowed[] = { "/sys/devices/virtual/net/", NULL };
static const char *const sys_skip[] = { "/sys/fs/cgroup", "/sys/kernel/debug",
					"/sys/kernel/tracing", NULL };

static enum outcome sys_files(const struct check *c, struct finding *f)
{
	(void)c;
	return walk_tree("/sys", sys_allowed, sys_skip, f);
}

/* The same after the mount has been made writable, if that works. */
static enum outcome sys_remount(const struct check *c, struct finding *f)
{
	struct statvfs v;
	int r = private_mounts();

	(void)c;
	if (r < 0) {
		note(f, "mount namespace: %s", err_name(-r));
		return NO;
	}
	if (mount(NULL, "/sys", NULL, MS_REMOUNT | MS_BIND, NULL) == 0)
		note(f, "bind mount is writable");
	if (statvfs("/sys", &v) == 0 && (v.f_flag & ST_RDONLY) &&
	    mount(NULL, "/sys", NULL, MS_REMOUNT, NULL) == 0)
		note(f, "file system is writable");
	return walk_tree("/sys", sys_allowed, sys_skip, f);
}

/* Masks taken away, then looked at again; and a fresh mount, on which there never were any. The
 * keys that a user namespace sees are its own; interrupts are masked against timing attacks only.
 */
static enum outcome unmask(const struct check *c, struct finding *f)
{
	static const char *const masked[] = {
		"/proc/kcore",
		"/proc/keys",
		"/proc/timer_list",
		"/proc/acpi",
		"/proc/scsi",
		"/proc/interrupts",
		"/sys/firmware",
		"/sys/kernel/debug",
		"/sys/kernel/tracing",
		"/sys/kernel/security",
		"/sys/devices/virtual/powercap",
	};
	char dir[64];
	bool got = false;
	int r = private_mounts();

	(void)c;
	if (r < 0) {
		note(f, "mount namespace: %s", err_name(-r));
		return NO;
	}
	for (size_t i = 0; i < ARRAY_SIZE(masked); i++) {
		struct finding ignored = { .n_scratch = 0 };
		const struct check look = { .path = masked[i] };
		bool harmless = strcmp(masked[i], "/proc/interrupts") == 0 ||
				(probe_opts.userns && strcmp(masked[i], "/proc/keys") == 0);

		while (umount2(masked[i], MNT_DETACH) == 0)
			note(f, "unmounted %s", masked[i]);
		if (!harmless && readable(&look, &ignored) == YES) {
			note(f, "see %s", masked[i]);
			got = true;
		}
	}
	if (scratch_any(f, dir, sizeof(dir)) == 0 && mount("sysfs", dir, "sysfs", 0, NULL) == 0) {
		char path[80];
		const struct check look = { .path = path };

		note(f, "fresh sysfs");
		snprintf(path, sizeof(path), "%s/firmware", dir);
		if (readable(&look, f) == YES)
			got = true;
	}
	return got ? YES : NO;
}

static const struct node {
	const char *name;
	mode_t type;
	unsigned major, minor;
} nodes[] = {
	{ "mem", S_IFCHR, 1, 1 },
	{ "kmem", S_IFCHR, 1, 2 },
	{ "port", S_IFCHR, 1, 4 },
	{ "kmsg", S_IFCHR, 1, 11 },
	{ "tty0", S_IFCHR, 4, 0 },
	{ "tty1", S_IFCHR, 4, 1 },
	{ "ttyS0", S_IFCHR, 4, 64 },
	{ "console", S_IFCHR, 5, 1 },
	{ "psaux", S_IFCHR, 10, 1 },
	{ "hwrng", S_IFCHR, 10, 183 },
	{ "kvm", S_IFCHR, 10, 232 },
	{ "btrfs-control", S_IFCHR, 10, 234 },
	{ "autofs", S_IFCHR, 10, 235 },
	{ "mapper", S_IFCHR, 10, 236 },
	{ "loop-control", S_IFCHR, 10, 237 },
	{ "vhost-net", S_IFCHR, 10, 238 },
	{ "userfaultfd", S_IFCHR, 10, 257 },
	{ "vsock", S_IFCHR, 10, 258 },
	{ "event0", S_IFCHR, 13, 64 },
	{ "fb0", S_IFCHR, 29, 0 },
	{ "vcs", S_IFCHR, 7, 0 },
	{ "sg0", S_IFCHR, 21, 0 },
	{ "dri0", S_IFCHR, 226, 0 },
	{ "ram0", S_IFBLK, 1, 0 },
	{ "loop0", S_IFBLK, 7, 0 },
	{ "sda", S_IFBLK, 8, 0 },
	{ "dm0", S_IFBLK, 253, 0 },
	{ "vda", S_IFBLK, 254, 0 },
	{ "nvme0", S_IFBLK, 259, 0 },
};
/* A watchdog is not among them: to open one is to start it. */

static bool node_opens(const char *dir, const struct node *n)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, n->name);
	if (mknod(path, n->type | 0600, makedev(n->major, n->minor)) < 0)
		return false;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd >= 0)
		close(fd);
	/* ENXIO and ENODEV mean that the driver was asked: nothing stood in the way. */
	return fd >= 0 || errno == ENXIO || errno == ENODEV || errno == EBUSY;
}

static bool nodes_open_in(const char *dir, struct finding *f)
{
	bool got = false;

	for (size_t i = 0; i < ARRAY_SIZE(nodes); i++) {
		if (node_opens(dir, &nodes[i])) {
			note(f, "%s/%s", dir, nodes[i].name);
			got = true;
		}
	}
	return got;
}

/* Makes nodes of the host's devices wherever one can write, and opens them. */
static enum outcome host_devices(const struct check *c, struct finding *f)
{
	static const char *const base[] = { "/", "/tmp", "/dev" };
	enum outcome got = ABSENT;
	char dir[64];

	(void)c;
	for (size_t i = 0; i < ARRAY_SIZE(base) && got != YES; i++)
		if (scratch_dir(f, base[i], dir, sizeof(dir)) == 0)
			got = nodes_open_in(dir, f) ? YES : NO;
	if (got == NO && private_mounts() == 0 && mount("t", dir, "tmpfs", 0, NULL) == 0)
		got = nodes_open_in(dir, f) ? YES : NO;
	if (got == ABSENT)
		note(f, "no directory to make a node in");
	return got;
}

/* The numbers of the disks as the kernel tells them, for hosts whose disks are not in the table. */
static enum outcome host_disks(const struct check *c, struct finding *f)
{
	char text[4096], dir[64];
	enum outcome got = NO;
	char *line, *at = text;

	(void)c;
	if (slurp("/proc/partitions", text, sizeof(text)) <= 0) {
		note(f, "no /proc/partitions");
		return NO;
	}
	if (scratch_dir(f, "/", dir, sizeof(dir)) < 0 && scratch_any(f, dir, sizeof(dir)) < 0) {
		note(f, "no directory to make a node in");
		return ABSENT;
	}
	while ((line = strsep(&at, "\n"))) {
		char name[32];
		struct node n = { .name = name, .type = S_IFBLK };

		if (sscanf(line, "%u %u %*u %31s", &n.major, &n.minor, name) == 3 &&
		    node_opens(dir, &n)) {
			note(f, "%s", name);
			got = YES;
		}
	}
	return got;
}

/* Says whether a guest learns the names of the host's disks; in most runtimes it does. */
static enum outcome disk_names(const struct check *c, struct finding *f)
{
	static const char *const paths[] = { "/proc/partitions", "/proc/diskstats", "/sys/block",
					     "/sys/dev/block", "/proc/swaps" };
	enum outcome got = NO;

	(void)c;
	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		struct finding ignored = { .n_scratch = 0 };
		const struct check look = { .path = paths[i] };

		if (readable(&look, &ignored) == YES) {
			note(f, "%s", paths[i]);
			got = YES;
		}
	}
	return got;
}

static const struct allowed_node {
	const char *path; /* one that ends with / stands for all below it */
	unsigned major, minor;
} allowed_nodes[] = {
	{ "/dev/null", 1, 3 },   { "/dev/zero", 1, 5 },     { "/dev/full", 1, 7 },
	{ "/dev/random", 1, 8 }, { "/dev/urandom", 1, 9 },  { "/dev/tty", 5, 0 },
	{ "/dev/ptmx", 5, 2 },   { "/dev/pts/ptmx", 5, 2 },
};

/* Terminals of the guest's own devpts are the only other devices. */
static bool node_allowed(const char *path, const struct stat *st)
{
	for (size_t i = 0; i < ARRAY_SIZE(allowed_nodes); i++)
		if (strcmp(path, allowed_nodes[i].path) == 0)
			return st->st_rdev ==
			       makedev(allowed_nodes[i].major, allowed_nodes[i].minor);
	return (strncmp(path, "/dev/pts/", 9) == 0 || strcmp(path, "/dev/console") == 0) &&
	       major(st->st_rdev) >= 136 && major(st->st_rdev) <= 143;
}

static int dev_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)type;
	(void)at;
	if (S_ISBLK(st->st_mode) || (S_ISCHR(st->st_mode) && !node_allowed(path, st))) {
		note(walk.f, "%s %u:%u", path, major(st->st_rdev), minor(st->st_rdev));
		walk.found++;
	}
	return walk.found == WALK_REPORT;
}

static enum outcome dev_nodes(const struct check *c, struct finding *f)
{
	(void)c;
	walk = (struct walk){ .f = f };
	if (nftw("/dev", dev_one, 16, FTW_PHYS) < 0)
		return ABSENT;
	return walk.found ? YES : NO;
}

/* Every documented node is there and does what it should; ptmx gives a terminal of our own devpts.
 */
static enum outcome dev_works(const struct check *c, struct finding *f)
{
	auto_close int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	auto_close int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
	auto_close int rnd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
	auto_close int nul = open("/dev/null", O_RDWR | O_CLOEXEC);
	auto_close int ptm = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	struct stat st, pts;
	char b = 1;

	(void)c;
	if (read(zero, &b, 1) != 1 || b != 0)
		note(f, "zero: %s", err_name(errno));
	if (write(full, &b, 1) >= 0 || errno != ENOSPC)
		note(f, "full: %s", err_name(errno));
	if (read(rnd, &b, 1) != 1)
		note(f, "urandom: %s", err_name(errno));
	if (write(nul, &b, 1) != 1 || read(nul, &b, 1) != 0)
		note(f, "null: %s", err_name(errno));
	if (ptm < 0 || grantpt(ptm) < 0 || unlockpt(ptm) < 0 || !ptsname(ptm) ||
	    stat(ptsname(ptm), &st) < 0 || stat("/dev/pts", &pts) < 0 || st.st_dev != pts.st_dev)
		note(f, "ptmx: %s", err_name(errno));
	return f->text[0] ? NO : YES;
}

/* Is terminal number DEV one of /dev/pts? FD, if not negative, must be that very file. */
static bool own_terminal(dev_t dev, int fd)
{
	struct stat own, st;
	char path[40];

	if (major(dev) < 136 || major(dev) > 143)
		return false;
	snprintf(path, sizeof(path), "/dev/pts/%u", (major(dev) - 136) * 256 + minor(dev));
	if (stat(path, &own) < 0)
		return false;
	return fd < 0 ||
	       (fstat(fd, &st) == 0 && st.st_dev == own.st_dev && st.st_ino == own.st_ino);
}

/* A terminal that is not on the guest's devpts is one of the host: input could be pushed into it.
 */
static enum outcome foreign_tty(const struct check *c, struct finding *f)
{
	auto_close int console = open("/dev/console", O_RDWR | O_NOCTTY | O_CLOEXEC);
	int fds[] = { 0, 1, 2, console };
	enum outcome got = NO;
	char text[1024];
	const char *at;
	struct stat st;
	int tty = 0;

	(void)c;
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		if (fds[i] < 0 || !isatty(fds[i]) || fstat(fds[i], &st) < 0 ||
		    own_terminal(st.st_rdev, fds[i]))
			continue;
		note(f, "descriptor %d is %u:%u", fds[i], major(st.st_rdev), minor(st.st_rdev));
		got = YES;
	}
	if (slurp("/proc/self/stat", text, sizeof(text)) > 0 && (at = strrchr(text, ')')))
		sscanf(at + 1, " %*c %*d %*d %*d %d", &tty);
	if (tty &&
	    !own_terminal(makedev(tty >> 8 & 0xfff, (tty & 0xff) | (tty >> 12 & 0xfff00)), -1)) {
		note(f, "controlling terminal 0x%x", tty);
		got = YES;
	}
	return got;
}

/* clang-format off */
const struct check checks_file[] = {
	{ "proc-kcore", WANT_NO, WANT_NO, readable, "/proc/kcore", 0, { 0 } },
	{ "proc-kmsg", WANT_NO, WANT_NO, opens, "/proc/kmsg", 0, { O_RDONLY } },
	{ "proc-keys", WANT_NO, WANT_NO, readable, "/proc/keys", 0, { 0 } },
	{ "proc-timer-list", WANT_NO, WANT_NO, readable, "/proc/timer_list", 0, { 0 } },
	{ "proc-sched-debug", WANT_NO, WANT_NO, readable, "/proc/sched_debug", 0, { 0 } },
	{ "proc-latency-stats", WANT_NO, WANT_NO, readable, "/proc/latency_stats", 0, { 0 } },
	{ "proc-acpi", WANT_NO, WANT_NO, readable, "/proc/acpi", 0, { 0 } },
	{ "proc-scsi", WANT_NO, WANT_NO, readable, "/proc/scsi", 0, { 0 } },
	{ "proc-asound", WANT_NO, WANT_NO, readable, "/proc/asound", 0, { 0 } },
	{ "sys-firmware", WANT_NO, WANT_NO, readable, "/sys/firmware", 0, { 0 } },
	{ "sys-powercap", WANT_NO, WANT_NO, readable, "/sys/devices/virtual/powercap", 0, { 0 } },
	{ "sys-debug", WANT_NO, WANT_NO, readable, "/sys/kernel/debug", 0, { 0 } },
	{ "sys-tracing", WANT_NO, WANT_NO, readable, "/sys/kernel/tracing", 0, { 0 } },
	{ "sys-security", WANT_NO, WANT_NO, readable, "/sys/kernel/security", 0, { 0 } },
	{ "sys-fs-bpf", WANT_NO, WANT_NO, readable, "/sys/fs/bpf", 0, { 0 } },
	{ "sys-fs-pstore", WANT_NO, WANT_NO, readable, "/sys/fs/pstore", 0, { 0 } },
	{ "dev-kmsg-read", WANT_NO, WANT_NO, opens, "/dev/kmsg", 0, { O_RDONLY } },
	{ "dev-kmsg", WANT_NO, WANT_NO, opens, "/dev/kmsg", 0, { O_WRONLY } },
	{ "sysrq-trigger", WANT_NO, WANT_NO, opens, "/proc/sysrq-trigger", 0, { O_WRONLY } },
	{ "core_pattern", WANT_NO, WANT_NO, opens, "/proc/sys/kernel/core_pattern", 0,
	  { O_WRONLY } },
	{ "modprobe", WANT_NO, WANT_NO, opens, "/proc/sys/kernel/modprobe", 0, { O_WRONLY } },
	{ "sysctl-panic", WANT_NO, WANT_NO, opens, "/proc/sys/kernel/panic", 0, { O_WRONLY } },
	{ "sysctl-vm", WANT_NO, WANT_NO, opens, "/proc/sys/vm/drop_caches", 0, { O_WRONLY } },
	{ "binfmt_misc", WANT_NO, WANT_NO, opens, "/proc/sys/fs/binfmt_misc/register", 0,
	  { O_WRONLY } },
	{ "uevent_helper", WANT_NO, WANT_NO, opens, "/sys/kernel/uevent_helper", 0, { O_WRONLY } },
	{ "sys-ksm", WANT_NO, WANT_NO, opens, "/sys/kernel/mm/ksm/run", 0, { O_WRONLY } },
	{ "sys-power", WANT_NO, WANT_NO, opens, "/sys/power/state", 0, { O_WRONLY } },
	{ "sysctls", WANT_NO, WANT_NO, sysctls, NULL, 0, { 0 } },
	{ "proc-files", WANT_NO, WANT_NO, proc_files, NULL, 0, { 0 } },
	{ "sys-files", WANT_NO, WANT_NO, sys_files, NULL, 0, { 0 } },
	{ "sys-remount", WANT_NO, WANT_NO, sys_remount, NULL, 0, { 0 } },
	/* root of a user namespace may take masks of its own mount namespace away: what it then sees of
	 * /sys/firmware is what the kernel shows every unprivileged user (doc/threat-model.md) */
	{ "unmask", WANT_ANY, WANT_NO, unmask, NULL, 0, { 0 } },
	{ "host-devices", WANT_NO, WANT_NO, host_devices, NULL, 0, { 0 } },
	{ "host-disks", WANT_NO, WANT_NO, host_disks, NULL, 0, { 0 } },
	{ "disk-names", WANT_ANY, WANT_ANY, disk_names, NULL, 0, { 0 } },
	{ "dev-nodes", WANT_NO, WANT_NO, dev_nodes, NULL, 0, { 0 } },
	{ "dev-works", WANT_YES, WANT_YES, dev_works, NULL, 0, { 0 } },
	{ "foreign-tty", WANT_NO, WANT_NO, foreign_tty, NULL, 0, { 0 } },
	{ NULL, WANT_ANY, WANT_ANY, NULL, NULL, 0, { 0 } },
};
