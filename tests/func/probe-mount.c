/* tests/func/probe-mount.c - mounts, file handles, and ways out of the root directory */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fanotify.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/base/own.h"
#include "tests/func/probe.h"

#define FILE_MAX (256 * 1024)

/* Mounts a file system without a device, c->path, in a mount namespace of its own. */
static enum outcome mount_type(const struct check *c, struct finding *f)
{
	char dir[64];
	int r = private_mounts();

	if (r == 0)
		r = scratch_any(f, dir, sizeof(dir));
	if (r == 0 && mount("probe", dir, c->path, 0, NULL) < 0)
		r = -errno;
	note(f, "%s", r < 0 ? err_name(-r) : "it worked");
	return r < 0 ? NO : YES;
}

/* All file systems that need a disk. The source does not exist: a kernel that gets as far as
 * looking for it would have mounted a disk. */
static enum outcome mount_disk(const struct check *c, struct finding *f)
{
	char text[4096], dir[64];
	char *line, *at = text;
	enum outcome got = NO;
	int r = private_mounts();

	(void)c;
	if (r == -EPERM)
		r = 0; /* then mount(2) must say no by itself */
	if (r < 0 || scratch_any(f, dir, sizeof(dir)) < 0)
		return ABSENT;
	if (slurp("/proc/filesystems", text, sizeof(text)) <= 0)
		strcpy(text, "\text4\n\txfs\n\tbtrfs\n");
	while ((line = strsep(&at, "\n"))) {
		if (line[0] != '\t')
			continue;
		if (mount("/cos-probe-none", dir, line + 1, MS_RDONLY, NULL) < 0 && refused(errno))
			continue;
		note(f, "%s: %s", line + 1, err_name(errno));
		got = YES;
	}
	return got;
}

/* Kernel file systems that are the host's wherever they are mounted. */
static bool is_host_type(const char *type)
{
	static const char *const types[] = { "debugfs",   "tracefs",  "securityfs", "configfs",
					     "pstore",    "efivarfs", "devtmpfs",   "autofs",
					     "bpf",       "fusectl",  "nfsd",       "rpc_pipefs",
					     "selinuxfs", "smackfs" };

	for (size_t i = 0; i < ARRAY_SIZE(types); i++)
		if (strcmp(type, types[i]) == 0)
			return true;
	return false;
}

/* Read-only would make some of them read-only for everybody. */
static enum outcome mount_host_type(const struct check *c, struct finding *f)
{
	static const char *const types[] = { "debugfs", "tracefs",  "securityfs", "configfs",
					     "pstore",  "efivarfs", "devtmpfs" };
	enum outcome got = NO;
	char dir[64];
	int r = private_mounts();

	(void)c;
	if (r == -EPERM)
		r = 0;
	if (r < 0 || scratch_any(f, dir, sizeof(dir)) < 0)
		return ABSENT;
	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		if (mount("probe", dir, types[i], 0, NULL) == 0) {
			note(f, "%s", types[i]);
			got = YES;
		}
	}
	return got;
}

/* A disk's file system may be the guest's root or show one of its files, but its top directory must
 * be nowhere else, and file systems of the kernel must not be there at all. */
static enum outcome mounts_seen(const struct check *c, struct finding *f)
{
	auto_free char *text = malloc(FILE_MAX);
	enum outcome got = NO;
	char *line, *at = text;

	(void)c;
	if (!text || slurp("/proc/self/mountinfo", text, FILE_MAX) <= 0)
		return ABSENT;
	while ((line = strsep(&at, "\n"))) {
		char root[256], point[256], type[64], source[256];
		const char *rest = strstr(line, " - ");
		bool disk;

		if (!rest || sscanf(line, "%*d %*d %*s %255s %255s", root, point) != 2 ||
		    sscanf(rest, " - %63s %255s", type, source) != 2)
			continue;
		/* Single nodes of the host's /dev may be bound: they cannot be made in a user
		 * namespace. */
		if (strcmp(type, "devtmpfs") == 0 && strcmp(root, "/") != 0)
			continue;
		disk = strncmp(source, "/dev/", 5) == 0 && strcmp(type, "devpts");
		if (!is_host_type(type) &&
		    !(disk && strcmp(root, "/") == 0 && strcmp(point, "/") != 0))
			continue;
		note(f, "%s on %s", type, point);
		got = YES;
	}
	return got;
}

/* Names that the guest must not learn: of other guests, of the host's directories. */
static enum outcome names_seen(const struct check *c, struct finding *f)
{
	static const char *const paths[] = {
		"/proc/self/mountinfo", "/proc/self/mountstats",
		"/proc/1/mountinfo",    "/proc/self/cgroup",
		"/proc/1/cgroup",       "/proc/self/environ",
		"/proc/1/environ",      "/proc/net/unix",
		"/proc/self/maps",      "/proc/1/maps",
		"/proc/net/dev",        "/proc/1/status",
		"/etc/hosts",           "/proc/keys",
	};
	auto_free char *text = malloc(FILE_MAX);
	enum outcome got = NO;

	(void)c;
	if (!text || probe_opts.n_hide == 0) {
		note(f, "no --hide");
		return ABSENT;
	}
	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		ssize_t n = slurp(paths[i], text, FILE_MAX);

		for (unsigned k = 0; n > 0 && k < probe_opts.n_hide; k++) {
			const char *h = probe_opts.hide[k];

			if (!memmem(text, n, h, strlen(h)))
				continue;
			note(f, "%s in %s", h, paths[i]);
			got = YES;
		}
	}
	return got;
}

struct handle {
	struct file_handle h;
	unsigned char bytes[MAX_HANDLE_SZ];
};

/* A handle of a file that we can name anyway, on the first mount that makes handles. */
static enum outcome handle_opens(const struct check *c, struct finding *f)
{
	static const char *const paths[] = {
		"/", "/dev", "/tmp", "/dev/shm", "/run", "/etc/hosts"
	};

	(void)c;
	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		struct handle h = { .h.handle_bytes = MAX_HANDLE_SZ };
		auto_close int at = open(paths[i], O_RDONLY | O_CLOEXEC);
		int mount_id, fd;

		if (at < 0 || name_to_handle_at(AT_FDCWD, paths[i], &h.h, &mount_id, 0) < 0)
			continue;
		fd = open_by_handle_at(at, &h.h, O_RDONLY | O_CLOEXEC);
		note(f, "%s: %s", paths[i], fd < 0 ? err_name(errno) : "opened");
		if (fd >= 0)
			return YES;
		if (refused(errno))
			return NO;
	}
	note(f, "no handle could be made");
	return NO;
}

/* Inode 2 is the top directory of an ext file system, 128 that of XFS: the guess that leaves a bind
 * mount of any file on the host's disk. */
static enum outcome handle_guess(const struct check *c, struct finding *f)
{
	static const unsigned inodes[] = { 2, 128 };
	static const char *const paths[] = { "/", "/etc/hosts", "/etc/resolv.conf",
					     "/etc/hostname" };

	(void)c;
	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		for (size_t k = 0; k < ARRAY_SIZE(inodes); k++) {
			struct handle h = { .h = { .handle_bytes = 8, .handle_type = 1 } };
			auto_close int at = open(paths[i], O_RDONLY | O_CLOEXEC);
			int fd;

			memcpy(h.h.f_handle, &inodes[k], sizeof(inodes[k]));
			fd = at < 0 ? -1 : open_by_handle_at(at, &h.h, O_RDONLY | O_CLOEXEC);
			if (fd < 0)
				continue;
			note(f, "inode %u through %s", inodes[k], paths[i]);
			return YES;
		}
	}
	note(f, "%s", err_name(errno));
	return NO;
}

/* A mark on a file system or mount tells what others do there, on the host too. */
static enum outcome fanotify_wide(const struct check *c, struct finding *f)
{
	static const unsigned classes[] = { FAN_CLASS_CONTENT, FAN_CLASS_NOTIF,
					    FAN_CLASS_NOTIF | FAN_REPORT_FID };
	static const unsigned marks[] = { FAN_MARK_FILESYSTEM, FAN_MARK_MOUNT };
	int last = EPERM;

	(void)c;
	for (size_t i = 0; i < ARRAY_SIZE(classes); i++) {
		auto_close int fd = fanotify_init(classes[i] | FAN_CLOEXEC, O_RDONLY);

		last = fd < 0 ? errno : last;
		for (size_t k = 0; fd >= 0 && k < ARRAY_SIZE(marks); k++) {
			if (fanotify_mark(fd, FAN_MARK_ADD | marks[k], FAN_OPEN, AT_FDCWD, "/") ==
			    0) {
				note(f, "class 0x%x, mark 0x%x", classes[i], marks[k]);
				return YES;
			}
			last = errno;
		}
	}
	note(f, "%s", err_name(last));
	return NO;
}

struct place {
	unsigned long long ino;
	unsigned major, minor;
};

static bool place_of(const char *path, struct place *ret)
{
	struct statx s;

	if (statx(AT_FDCWD, path, 0, STATX_INO, &s) < 0)
		return false;
	*ret = (struct place){ s.stx_ino, s.stx_dev_major, s.stx_dev_minor };
	return true;
}

static bool same_place(const struct place *a, const struct place *b)
{
	return a->ino == b->ino && a->major == b->major && a->minor == b->minor;
}

/* Is / now another directory than before? What it shows then is for the note. */
static enum outcome where(const struct place *before, struct finding *f)
{
	struct place now;

	if (!place_of("/", &now)) {
		note(f, "/: %s", err_name(errno));
		return NO;
	}
	if (same_place(before, &now))
		return NO;
	note(f, "/ was inode %llu of %u:%u, is inode %llu of %u:%u", before->ino, before->major,
	     before->minor, now.ino, now.major, now.minor);
	return YES;
}

/* A root below the working directory does not stop "..": only the mount namespace's root does. */
static enum outcome chroot_out(const struct check *c, struct finding *f)
{
	struct place before;
	char dir[64];

	(void)c;
	if (!place_of("/", &before) || scratch_any(f, dir, sizeof(dir)) < 0)
		return ABSENT;
	if (chdir("/") < 0 || chroot(dir) < 0) {
		note(f, "chroot: %s", err_name(errno));
		return NO;
	}
	for (int i = 0; i < 100; i++)
		if (chdir("..") < 0)
			break;
	if (chroot(".") < 0)
		return ABSENT;
	return where(&before, f);
}

/* Takes the root mount away and asks the namespace for its root again: a runtime that moved its
 * mount over the host's root, and did not pivot, shows the host now. */
static enum outcome under_root(const struct check *c, struct finding *f)
{
	struct place before;
	auto_close int ns = -1;
	int r;

	(void)c;
	if (on_host("pid", FIRST_PID_NS)) {
		note(f, "not on the bare host");
		return ABSENT;
	}
	r = private_mounts();
	if (r < 0) {
		note(f, "mount namespace: %s", err_name(-r));
		return NO;
	}
	ns = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
	if (ns < 0 || !place_of("/", &before))
		return ABSENT;
	if (umount2("/", MNT_DETACH) < 0) {
		note(f, "umount: %s", err_name(errno));
		return NO;
	}
	if (setns(ns, CLONE_NEWNS) < 0) {
		note(f, "setns: %s", err_name(errno));
		return NO;
	}
	return where(&before, f);
}

/* The namespaces of the first process and of our parent are our own. */
static enum outcome enter_init(const struct check *c, struct finding *f)
{
	static const char *const types[] = { "mnt", "pid",    "net",  "ipc",
					     "uts", "cgroup", "user", "time" };
	enum outcome got = NO;
	struct place before;

	(void)c;
	if (!place_of("/", &before))
		return ABSENT;
	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		char path[64], one[64] = "", own[64] = "?";
		ssize_t n;

		snprintf(path, sizeof(path), "/proc/1/ns/%s", types[i]);
		n = readlink(path, one, sizeof(one) - 1);
		snprintf(path, sizeof(path), "/proc/self/ns/%s", types[i]);
		if (n < 0 || readlink(path, own, sizeof(own) - 1) < 0 || strcmp(one, own) == 0)
			continue;
		note(f, "init is in %s, we in %s", one, own);
		got = YES;
	}
	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		char path[64];
		int fd;

		snprintf(path, sizeof(path), "/proc/1/ns/%s", types[i]);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd >= 0)
			setns(fd, 0);
	}
	return where(&before, f) == YES ? YES : got;
}

/* clang-format off */
const struct check checks_mount[] = {
	{ "mount-tmpfs", WANT_YES, WANT_NO, mount_type, "tmpfs", 0, { 0 } },
	{ "mount-proc", WANT_YES, WANT_NO, mount_type, "proc", 0, { 0 } },
	{ "mount-devpts", WANT_YES, WANT_NO, mount_type, "devpts", 0, { 0 } },
	{ "mount-mqueue", WANT_YES, WANT_NO, mount_type, "mqueue", 0, { 0 } },
	{ "mount-sysfs", WANT_ANY, WANT_NO, mount_type, "sysfs", 0, { 0 } },
	{ "mount-cgroup2", WANT_ANY, WANT_NO, mount_type, "cgroup2", 0, { 0 } },
	{ "mount-disk", WANT_NO, WANT_NO, mount_disk, NULL, 0, { 0 } },
	{ "mount-host-type", WANT_NO, WANT_NO, mount_host_type, NULL, 0, { 0 } },
	{ "mounts-seen", WANT_NO, WANT_NO, mounts_seen, NULL, 0, { 0 } },
	{ "names-seen", WANT_NO, WANT_NO, names_seen, NULL, 0, { 0 } },
	{ "handle-opens", WANT_NO, WANT_NO, handle_opens, NULL, 0, { 0 } },
	{ "handle-guess", WANT_NO, WANT_NO, handle_guess, NULL, 0, { 0 } },
	{ "fanotify-wide", WANT_NO, WANT_NO, fanotify_wide, NULL, 0, { 0 } },
	{ "chroot-out", WANT_NO, WANT_NO, chroot_out, NULL, 0, { 0 } },
	{ "under-root", WANT_NO, WANT_NO, under_root, NULL, 0, { 0 } },
	{ "enter-init", WANT_NO, WANT_NO, enter_init, NULL, 0, { 0 } },
	{ NULL, WANT_ANY, WANT_ANY, NULL, NULL, 0, { 0 } },
};
