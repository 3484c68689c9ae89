/* tests/kern/cow-copy.t.c - templates from directories and busybox; imports that are interrupted */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "cow-fs/busybox.h"
#include "cow-fs/import.h"
#include "lib/base/own.h"
#include "tests/kern/cow-import.h"

#define MANY 1500

/* ---- directories ---- */

static void put(int dir, const char *name, const char *text)
{
	io_replace_at(dir, name, text, strlen(text), 0644, false);
}

static void directories_come_out_as_they_are(void)
{
	auto_close int dir = io_dir_at(fixture_dir, "src", 0700), root = -1, sub = -1, fd = -1;
	struct timespec when[2] = { { 5, 6 }, { 5, 6 } };
	char value[8];

	sub = io_dir_at(dir, "sub", 0751);
	put(dir, "f", "content");
	fchownat(dir, "f", 12, 13, 0);
	fchmodat(dir, "f", 06755, 0);
	linkat(dir, "f", sub, "same", 0);
	symlinkat("f", dir, "l");
	mknodat(dir, "p", S_IFIFO | 0600, 0);
	mknodat(dir, "s", S_IFSOCK | 0600, 0);
	mknodat(dir, "null", S_IFCHR | 0600, makedev(1, 3));
	fd = openat(dir, "f", O_RDONLY | O_CLOEXEC);
	fsetxattr(fd, "user.k", "v", 1, 0);
	futimens(fd, when);
	mkdirat(dir, "mnt", 0700);
	mkdirat(dir, "mnt/under", 0700);
	utimensat(dir, "sub", when, 0);
	ok(import_from("d", IMPORT_DIR, dup(dir)) == 0, "a directory: %s", err.why);
	ok(counted.devices == 1 && counted.sockets == 1, "a device and a socket are left out");
	root = tree_of("d");
	ok(stat_of(root, ".").st_mode == (S_IFDIR | 0700) &&
		   stat_of(root, "sub").st_mtim.tv_nsec == 6,
	   "directories");
	ok(stat_of(root, "f").st_mode == (S_IFREG | 06755) && stat_of(root, "f").st_gid == 13 &&
		   stat_of(root, "f").st_mtim.tv_sec == 5 && says(root, "f", "content"),
	   "a file");
	ok(stat_of(root, "f").st_ino == stat_of(root, "sub/same").st_ino, "a hard link");
	ok(S_ISLNK(stat_of(root, "l").st_mode) && S_ISFIFO(stat_of(root, "p").st_mode) &&
		   !has(root, "s") && !has(root, "null"),
	   "a link and a fifo");
	close_p(&fd);
	fd = openat(root, "f", O_RDONLY | O_CLOEXEC);
	ok(fgetxattr(fd, "user.k", value, sizeof(value)) == 1, "an attribute");
	drop("d");
}

static void what_is_mounted_is_left_out(void)
{
	char path[128];
	auto_close int dir = openat(fixture_dir, "src", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int root;

	snprintf(path, sizeof(path), "%s/src/mnt", fixture_path);
	if (mount("none", path, "tmpfs", 0, "size=64k") < 0) {
		tap_skip("a mount below the source", "tmpfs cannot be mounted");
		return;
	}
	put(dir, "mnt/secret", "of another file system");
	ok(import_from("m", IMPORT_DIR, dup(dir)) == 0, "a directory with a mount in it");
	root = tree_of("m");
	ok(has(root, "mnt") && !has(root, "mnt/secret"), "the mount is not entered");
	close(root);
	umount2(path, MNT_DETACH);
	drop("m");
}

static void hostile_directories_are_refused(void)
{
	auto_close int dir = io_dir_at(fixture_dir, "hostile", 0755);
	auto_close int fd = openat(dir, "f", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

	fchown(fd, 65534, 0);
	ok(import_from("h", IMPORT_DIR, dup(dir)) < 0 && err.code == COS_E_IMAGE &&
		   strstr(err.why, "65534"),
	   "an owner out of range: %s", err.why);
	fchown(fd, 0, 0);
	fsetxattr(fd, "trusted.overlay.metacopy", "", 0, 0);
	ok(import_from("h", IMPORT_DIR, dup(dir)) < 0 && err.code == COS_E_IMAGE &&
		   strstr(err.why, "trusted.overlay.metacopy"),
	   "a layer of an overlay: %s", err.why);
	fremovexattr(fd, "trusted.overlay.metacopy");
	mknodat(dir, "w", S_IFCHR, makedev(0, 0));
	ok(import_from("h", IMPORT_DIR, dup(dir)) < 0 && err.code == COS_E_IMAGE &&
		   strstr(err.why, "whiteout"),
	   "a whiteout: %s", err.why);
	ok(nothing_is_left(), "nothing is left");
}

static void the_store_is_not_copied_into_itself(void)
{
	int root;

	ok(import_from("self", IMPORT_DIR, dup(fixture_dir)) < 0 || counted.files > 0,
	   "a directory with the store in it");
	unlinkat(fixture_dir, "hostile/w", 0);
	ok(import_from("self", IMPORT_DIR, dup(fixture_dir)) == 0, "again: %s", err.why);
	root = tree_of("self");
	ok(has(root, "state/cow") && !has(root, "state/cow/layers"), "the store is left out");
	close(root);
	drop("self");
}

/* ---- busybox ---- */

static void busybox_makes_a_template(void)
{
	struct cos_err first = { 0 };
	int fd = busybox_open("/bin/busybox", &first), root;

	if (fd < 0) {
		tap_skip("a template from busybox", first.why);
	} else {
		ok(import_from("busybox", IMPORT_BUSYBOX, fd) == 0, "busybox: %s", err.why);
		root = tree_of("busybox");
		ok(stat_of(root, "bin/busybox").st_mode == (S_IFREG | 0755) &&
			   S_ISLNK(stat_of(root, "bin/sh").st_mode) &&
			   S_ISLNK(stat_of(root, "sbin/init").st_mode),
		   "with applets");
		ok(stat_of(root, "tmp").st_mode == (S_IFDIR | 01777) &&
			   stat_of(root, "root").st_mode == (S_IFDIR | 0700) &&
			   has(root, "etc/passwd") && has(root, "etc/inittab"),
		   "and what a guest needs");
		close(root);
		drop("busybox");
	}
	ok(busybox_open("/proc/self/exe", &err) == -EOPNOTSUPP &&
		   strstr(cos_err_todo(&err), "busybox-static"),
	   "a dynamic program is refused: %s", err.why);
	ok(busybox_open("/etc/passwd", &err) < 0 && busybox_open("/nowhere", &err) < 0 &&
		   err.code == COS_E_UNSUPPORTED,
	   "so is what is none");
}

/* ---- trouble ---- */

static void add_many(struct tar *t)
{
	for (int i = 0; i < MANY; i++) {
		char name[32];

		snprintf(name, sizeof(name), "dir%d/file%d", i % 37, i);
		tar_add(t, &(struct member){ .name = name, .data = "some data of a file" });
	}
	tar_end(t);
}

/* The importer in a process of its own. Waits for nothing. */
static pid_t import_in_child(int fd)
{
	pid_t pid = fork();

	if (pid == 0) {
		struct cowfs own;
		int state = openat(fixture_dir, "state", O_RDONLY | O_DIRECTORY);
		const struct import_source src = { .kind = IMPORT_TAR, .fd = fd };

		/* A store of its own, as a process has: locks belong to open files. */
		if (cowfs_open(state, &own, &err) < 0)
			_exit(2);
		cowfs_close(&store);
		_exit(cowfs_import(&own, "k", &src, NULL, NULL, &counted, &err) < 0);
	}
	return pid;
}

static void reap(pid_t pid)
{
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

/* The confined process dies with its parent, but a moment later. */
static bool ends_clean(void)
{
	for (int i = 0; i < 200; i++) {
		sweep_all();
		if (nothing_is_left())
			return true;
		poll(NULL, 0, 10);
	}
	return false;
}

/* Killed after it has read so much: places that do not depend on how fast the host is. */
static void a_killed_import_leaves_nothing(void)
{
	struct tar t = { 0 };
	unsigned bad = 0, n = 0;

	add_many(&t);
	for (size_t part = 0; part < t.n; part += t.n / 12, n++) {
		int p[2];
		pid_t pid;

		pipe2(p, O_CLOEXEC);
		pid = import_in_child(p[0]);
		close(p[0]);
		io_write_all(p[1], t.buf, part);
		kill(pid, SIGKILL);
		reap(pid);
		close(p[1]);
		bad += tree_of("k") >= 0 || !ends_clean();
	}
	ok(n > 10 && bad == 0, "killed while it reads, %u times: no template and nothing left", n);
	bad = 0;
	for (n = 0; n < 30; n++) {
		int fd = memory_file(t.buf, t.n), root;
		pid_t pid = import_in_child(fd);

		usleep((useconds_t)(n * 4000));
		kill(pid, SIGKILL);
		reap(pid);
		close(fd);
		bad += !ends_clean();
		root = tree_of("k");
		/* Published means whole. */
		bad += root >= 0 && !has(root, "dir19/file1499");
		if (root >= 0)
			drop("k");
		close_p(&root);
	}
	ok(bad == 0, "killed at any time, %u times: a whole template or none", n);
	free(t.buf);
}

static pid_t only_child_of(pid_t pid)
{
	char path[64], text[64];
	ssize_t n = 0;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", pid, pid);
	for (int i = 0; i < 1000 && n <= 0; i++) {
		n = io_read_at(AT_FDCWD, path, text, sizeof(text));
		if (n <= 0)
			poll(NULL, 0, 10);
	}
	return n > 0 ? (pid_t)strtol(text, NULL, 10) : -1;
}

static bool status_says(pid_t pid, const char *line)
{
	char path[64], text[8192];

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	for (int i = 0; i < 500; i++) {
		if (io_read_at(AT_FDCWD, path, text, sizeof(text)) < 0)
			return false;
		if (strstr(text, line))
			return true;
		poll(NULL, 0, 10);
	}
	return false;
}

static void the_reader_is_confined(void)
{
	char path[64], self[64];
	int p[2], dir;
	pid_t pid, child;
	struct stat theirs = { 0 };

	pipe2(p, O_CLOEXEC);
	pid = import_in_child(p[0]);
	child = only_child_of(pid);
	ok(child > 0 && status_says(child, "Seccomp:\t2"), "a filter is loaded");
	ok(status_says(child, "NoNewPrivs:\t1"), "no new privileges");
	/* chown, dac_override, fowner, fsetid, setfcap */
	ok(status_says(child, "CapPrm:\t000000008000001b") &&
		   status_says(child, "CapBnd:\t000000008000001b"),
	   "few capabilities");
	snprintf(path, sizeof(path), "/proc/%d/root/", child);
	stat(path, &theirs);
	dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ok(dir >= 0 && entries_in(dir) == 0 && theirs.st_ino != stat_of(AT_FDCWD, "/").st_ino,
	   "its root is the new tree");
	close(dir);
	snprintf(path, sizeof(path), "/proc/%d/fd", child);
	dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ok(entries_in(dir) == 4, "four descriptors");
	close(dir);
	for (const char *const *ns =
		     (const char *const[]){ "mnt", "pid", "net", "ipc", "uts", NULL };
	     *ns; ns++) {
		struct stat a, b;

		snprintf(path, sizeof(path), "/proc/%d/ns/%s", child, *ns);
		snprintf(self, sizeof(self), "/proc/self/ns/%s", *ns);
		ok(stat(path, &a) == 0 && stat(self, &b) == 0 && a.st_ino != b.st_ino,
		   "%s namespace of its own", *ns);
	}
	kill(pid, SIGKILL);
	reap(pid);
	close(p[0]);
	close(p[1]);
	ok(ends_clean(), "dies with its parent");
}

static void a_full_disk_is_told_and_left_empty(void)
{
	auto_close int dir = io_dir_at(fixture_dir, "small", 0700), small = -1;
	struct cowfs all = store;
	char path[128], *data = malloc(4 << 20);
	struct tar t = { 0 };

	snprintf(path, sizeof(path), "%s/small", fixture_path);
	if (mount("none", path, "tmpfs", 0, "size=2m") < 0) {
		tap_skip("a full disk", "tmpfs cannot be mounted");
		free(data);
		return;
	}
	small = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	memset(data, 'd', (4 << 20) - 1);
	data[(4 << 20) - 1] = '\0';
	tar_add(&t, &(struct member){ .name = "big", .data = data });
	tar_end(&t);
	ok(cowfs_open(small, &store, &err) == 0, "a store on a small disk");
	ok(import_tar("big", &t) == -ENOSPC && err.code == COS_E_KERNEL &&
		   strstr(cos_err_todo(&err), "free space"),
	   "too big: %s", err.why);
	ok(tree_of("big") < 0 && nothing_is_left(), "nothing is left");
	tar_add(&t, &(struct member){ .name = "f", .data = "x" });
	tar_end(&t);
	ok(import_tar("small", &t) == 0, "there is room again: %s", err.why);
	cowfs_close(&store);
	store = all;
	close_p(&small);
	umount2(path, MNT_DETACH);
	free(data);
}

static void a_name_is_given_once(void)
{
	struct tar t = { 0 };

	tar_add(&t, &(struct member){ .name = "f", .data = "1" });
	tar_end(&t);
	ok(import_tar("once", &t) == 0, "imported");
	tar_add(&t, &(struct member){ .name = "f", .data = "2" });
	tar_end(&t);
	ok(import_tar("once", &t) == -EEXIST && err.code == COS_E_EXISTS, "taken: %s", err.why);
	tar_add(&t, &(struct member){ .name = "f" });
	tar_end(&t);
	ok(import_tar("../once", &t) == -EINVAL && err.code == COS_E_INVALID, "no name: %s",
	   err.why);
	ok(nothing_is_left(), "nothing is left");
	drop("once");
}

int main(void)
{
	fixture_init();
	directories_come_out_as_they_are();
	what_is_mounted_is_left_out();
	hostile_directories_are_refused();
	the_store_is_not_copied_into_itself();
	busybox_makes_a_template();
	a_name_is_given_once();
	a_full_disk_is_told_and_left_empty();
	the_reader_is_confined();
	a_killed_import_leaves_nothing();
	cowfs_close(&store);
	return tap_done();
}
