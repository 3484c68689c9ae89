/* tests/unit/io.t.c - reading, writing, replacing and removing below a directory of its own */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/io.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "tests/tap.h"

static char dir_path[] = "/tmp/cos-io-XXXXXX";
static int dir; /* the tests' own directory */

static unsigned count_fds(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void put(int at, const char *name, size_t len, char c)
{
	auto_close int fd = openat(at, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	auto_free char *s = malloc(len + 1);

	if (fd < 0 || !s)
		return;
	memset(s, c, len);
	io_write_all(fd, s, len);
}

static void put_link(const char *to, int at, const char *name)
{
	if (symlinkat(to, at, name) < 0)
		printf("# cannot link %s\n", name);
}

static bool is_there(int at, const char *name)
{
	return faccessat(at, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static bool holds(int at, const char *name, const char *want)
{
	char buf[64];
	ssize_t n = io_read_at(at, name, buf, sizeof(buf));

	return n == (ssize_t)strlen(want) && strcmp(buf, want) == 0;
}

static void test_write(void)
{
	char big[300];

	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	put(dir, "w", 5, 'a');
	ok(io_write_at(dir, "w", "xyz", 3) == 0 && holds(dir, "w", "xyzaa"),
	   "write: puts the bytes, does not truncate");
	ok(io_write_at(dir, "w", "", 0) == 0, "write: nothing");
	ok(io_write_at(dir, "none", "x", 1) == -ENOENT && !is_there(dir, "none"),
	   "write: makes no file");
	ok(symlinkat("w", dir, "link") == 0 && io_write_at(dir, "link", "x", 1) == -ELOOP,
	   "write: follows no link");
	ok(io_write_at(dir, ".", "x", 1) == -EISDIR, "write: no directory");
	ok(io_write_at(-1, "w", "x", 1) == -EBADF, "write: no directory descriptor");
	ok(io_writef_at(dir, "w", "%d-%s", 12, "b") == 0 && holds(dir, "w", "12-ba"),
	   "writef: formats");
	ok(io_writef_at(dir, "w", "%.255s", big) == 0, "writef: 255 bytes");
	put(dir, "w", 1, 'a');
	ok(io_writef_at(dir, "w", "%.256s", big) == -E2BIG && holds(dir, "w", "a"),
	   "writef: 256 bytes are too many, and nothing is written");
}

static void test_read(void)
{
	char buf[8] = "zzzzzzz";

	put(dir, "r", 7, 'r');
	ok(io_read_at(dir, "r", buf, 8) == 7 && strcmp(buf, "rrrrrrr") == 0, "read: just fits");
	ok(io_read_at(dir, "r", buf, 7) == -E2BIG, "read: one byte too long");
	ok(io_read_at(dir, "r", buf, 1) == -E2BIG, "read: room for the NUL only");
	ok(io_read_at(dir, "r", buf, 0) == -E2BIG, "read: no room");
	put(dir, "r", 0, 'r');
	ok(io_read_at(dir, "r", buf, 1) == 0 && buf[0] == '\0', "read: an empty file");
	ok(io_read_at(dir, "none", buf, 8) == -ENOENT, "read: no file");
	ok(io_read_at(dir, "link", buf, 8) == -ELOOP, "read: follows no link");
	ok(io_read_at(dir, ".", buf, 8) == -EISDIR, "read: a directory");
	ok(io_read_fd(-1, buf, 8) == -EBADF, "read: no descriptor");
}

/* Comes in pieces, as from a pipe. */
static void test_read_pieces(void)
{
	int p[2];
	char buf[8];
	pid_t pid;

	if (pipe2(p, O_CLOEXEC) < 0)
		return;
	pid = fork();
	if (pid == 0) {
		for (unsigned i = 0; i < 5; i++) {
			if (write(p[1], "x", 1) != 1)
				_exit(1);
			usleep(1000);
		}
		_exit(0);
	}
	close(p[1]);
	ok(io_read_fd(p[0], buf, sizeof(buf)) == 5 && strcmp(buf, "xxxxx") == 0, "read: in pieces");
	close(p[0]);
	waitpid(pid, NULL, 0);
}

static void test_slurp(void)
{
	static const size_t sizes[] = { 0,    1,    2,    100,  4094, 4095, 4096,
					4097, 8190, 8191, 8192, 8193, 70000 };
	unsigned before = count_fds();
	char *none = (char *)&sizes, *s = none;

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		size_t n = sizes[i];

		put(dir, "s", n, 's');
		for (int more = 0; more <= 1; more++) {
			s = none;
			ok(io_slurp_at(dir, "s", n + (size_t)more, &s) == (ssize_t)n && s != none &&
				   strlen(s) == n,
			   "slurp: %zu bytes with a bound of %zu", n, n + (size_t)more);
			if (s != none)
				free(s);
		}
		if (n == 0)
			continue;
		s = none;
		ok(io_slurp_at(dir, "s", n - 1, &s) == -E2BIG && s == none,
		   "slurp: %zu bytes are beyond a bound of %zu", n, n - 1);
	}
	ok(io_slurp_at(dir, "none", 10, &s) == -ENOENT, "slurp: no file");
	ok(io_slurp_at(dir, "link", 10, &s) == -ELOOP, "slurp: follows no link");
	ok(io_slurp_at(dir, ".", 10, &s) == -EISDIR, "slurp: a directory");
	ok(mkfifoat(dir, "fifo", 0600) == 0 && io_slurp_at(dir, "fifo", 10, &s) == 0,
	   "slurp: a FIFO that nobody writes to does not hold it up");
	free(s);
	s = none;
	ok(io_slurp_at(AT_FDCWD, "/dev/zero", 100000, &s) == -E2BIG && s == none,
	   "slurp: a file without end is bounded");
	ok(count_fds() == before, "slurp: no descriptor is left");
}

static void test_write_all(void)
{
	auto_free char *s = malloc(1 << 20);
	size_t got = 0;
	char buf[4096];
	int p[2];
	pid_t pid;

	if (!s || pipe2(p, O_CLOEXEC) < 0)
		return;
	memset(s, 'x', 1 << 20);
	pid = fork();
	if (pid == 0) {
		close(p[0]);
		_exit(io_write_all(p[1], s, 1 << 20) != 0);
	}
	close(p[1]);
	for (ssize_t n; (n = read(p[0], buf, sizeof(buf))) > 0;)
		got += (size_t)n;
	waitpid(pid, NULL, 0);
	close(p[0]);
	ok(got == 1 << 20, "write all: more than a pipe holds");
	ok(io_write_all(-1, "", 0) == 0 && io_write_all(-1, "x", 1) == -EBADF,
	   "write all: nothing, and nowhere");
}

static void test_replace(void)
{
	struct stat st;

	umask(022);
	ok(io_replace_at(dir, "conf", "one", 3, 0600, false) == 0 && holds(dir, "conf", "one"),
	   "replace: makes a file");
	ok(fstatat(dir, "conf", &st, 0) == 0 && (st.st_mode & 07777) == 0600,
	   "replace: of the given mode");
	ok(io_replace_at(dir, "conf", "two", 3, 0644, true) == 0 && holds(dir, "conf", "two"),
	   "replace: durably");
	ok(!is_there(dir, "conf.new~"), "replace: leaves nothing beside it");
	ok(io_replace_at(dir, "conf", "", 0, 0644, false) == 0 && holds(dir, "conf", ""),
	   "replace: by nothing");
	ok(symlinkat("conf", dir, "conflink") == 0 &&
		   io_replace_at(dir, "conflink", "x", 1, 0644, false) == 0 &&
		   holds(dir, "conf", "") && holds(dir, "conflink", "x"),
	   "replace: a link itself, not what it names");
	ok(mkdirat(dir, "d", 0755) == 0 && io_replace_at(dir, "d", "x", 1, 0644, false) < 0 &&
		   !is_there(dir, "d.new~"),
	   "replace: a directory stays, and nothing beside it");
	ok(io_replace_at(-1, "x", "x", 1, 0644, false) == -EBADF, "replace: no directory");
}

static void test_replace_names(void)
{
	char name[300];

	for (size_t n = 240; n < sizeof(name); n++) {
		int r;

		memset(name, 'n', n);
		name[n] = '\0';
		r = io_replace_at(dir, name, "x", 1, 0644, false);
		if (r != (n <= NAME_MAX - 5 ? 0 : -ENAMETOOLONG)) {
			ok(false, "replace: a name of %zu bytes", n);
			return;
		}
		unlinkat(dir, name, 0);
	}
	ok(true, "replace: names of up to 299 bytes are taken or refused");
}

/* What a crash between the write and the rename leaves. */
static void test_replace_leftover(void)
{
	struct stat st;

	put(dir, "secret.new~", 5, 'x');
	ok(io_replace_at(dir, "secret", "new", 3, 0600, false) == 0 &&
		   fstatat(dir, "secret", &st, 0) == 0 && (st.st_mode & 07777) == 0600 &&
		   holds(dir, "secret", "new"),
	   "replace: a leftover's mode is not inherited");
	put(dir, "victim", 1, 'v');
	ok(linkat(dir, "victim", dir, "secret.new~", 0) == 0 &&
		   io_replace_at(dir, "secret", "2", 1, 0600, false) == 0 &&
		   holds(dir, "victim", "v"),
	   "replace: a leftover hard link's file is not written to");
	ok(symlinkat("victim", dir, "secret.new~") == 0 &&
		   io_replace_at(dir, "secret", "3", 1, 0600, false) == 0 &&
		   holds(dir, "victim", "v") && holds(dir, "secret", "3"),
	   "replace: nor is a leftover link followed");
	ok(mkfifoat(dir, "secret.new~", 0600) == 0 &&
		   io_replace_at(dir, "secret", "4", 1, 0600, false) == 0 &&
		   holds(dir, "secret", "4"),
	   "replace: a leftover FIFO does not hold it up");
}

/* While a child replaces a file by turns, a reader sees one content or the other. */
static void test_replace_atomic(void)
{
	static char a[20000], b[20000];
	unsigned wrong = 0, seen = 0;
	int status;
	pid_t pid;

	memset(a, 'a', sizeof(a));
	memset(b, 'b', sizeof(b));
	io_replace_at(dir, "turn", a, sizeof(a), 0644, false);
	pid = fork();
	if (pid == 0) {
		for (unsigned i = 0; i < 2000; i++) {
			if (io_replace_at(dir, "turn", i % 2 ? a : b, sizeof(a), 0644, false) < 0)
				_exit(1);
		}
		_exit(0);
	}
	while (waitpid(pid, &status, WNOHANG) == 0) {
		char *s = NULL;
		ssize_t n = io_slurp_at(dir, "turn", 30000, &s);

		wrong += n != sizeof(a) ||
			 (memcmp(s, a, sizeof(a)) != 0 && memcmp(s, b, sizeof(b)) != 0);
		seen++;
		free(s);
	}
	ok(wrong == 0 && status == 0, "replace: %u of %u readers saw something else", wrong, seen);
}

/* The file cannot be written whole: the old content stays. */
static void test_replace_full(void)
{
	struct rlimit old, small = { 1000, RLIM_INFINITY };
	auto_free char *s = calloc(1, 5000);
	int r;

	if (!s || getrlimit(RLIMIT_FSIZE, &old) < 0)
		return;
	small.rlim_max = old.rlim_max;
	io_replace_at(dir, "full", "old", 3, 0644, false);
	signal(SIGXFSZ, SIG_IGN);
	setrlimit(RLIMIT_FSIZE, &small);
	r = io_replace_at(dir, "full", s, 5000, 0644, false);
	setrlimit(RLIMIT_FSIZE, &old);
	signal(SIGXFSZ, SIG_DFL);
	ok(r == -EFBIG && holds(dir, "full", "old"),
	   "replace: a failed write leaves the old content");
	ok(!is_there(dir, "full.new~"), "replace: and nothing beside it");
}

static void test_open(void)
{
	auto_close int d = io_dir_at(dir, "made", 0700);
	auto_close int again = io_dir_at(dir, "made", 0755);
	struct stat st;
	int fd;

	ok(d >= 0 && again >= 0, "dir: made, and opened when it is there");
	ok(fcntl(d, F_GETFD) & FD_CLOEXEC, "dir: close-on-exec");
	ok(fstat(again, &st) == 0 && (st.st_mode & 07777) == 0700, "dir: keeps its mode");
	put(dir, "file", 1, 'f');
	ok(io_dir_at(dir, "file", 0700) == -ENOTDIR, "dir: not a file");
	ok(symlinkat("made", dir, "dirlink") == 0 && io_dir_at(dir, "dirlink", 0700) < 0,
	   "dir: follows no link");
	ok(io_dir_at(dir, "a/b", 0700) == -ENOENT, "dir: makes one level");

	put(d, "in", 1, 'i');
	put_link("../file", d, "out");
	put_link("/file", d, "abs");
	fd = io_open2(d, "in", O_RDONLY, 0, RESOLVE_BENEATH);
	ok(fd >= 0 && (fcntl(fd, F_GETFD) & FD_CLOEXEC), "open2: beneath, close-on-exec");
	close(fd);
	ok(io_open2(d, "out", O_RDONLY, 0, RESOLVE_BENEATH) == -EXDEV, "open2: no way out");
	ok(io_open2(d, "../file", O_RDONLY, 0, RESOLVE_BENEATH) == -EXDEV, "open2: no dots");
	ok(io_open2(d, "abs", O_RDONLY, 0, RESOLVE_IN_ROOT) == -ENOENT, "open2: the root is DIR");
	ok(io_open2(d, "abs", O_RDONLY, 0, RESOLVE_NO_SYMLINKS) == -ELOOP, "open2: no links");
	fd = io_open2(d, "new", O_WRONLY | O_CREAT | O_EXCL, 0600, RESOLVE_BENEATH);
	ok(fd >= 0 && is_there(d, "new"), "open2: creates");
	close(fd);
}

static void test_lock(void)
{
	auto_close int a = openat(dir, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	auto_close int b = openat(dir, "lock", O_RDWR | O_CLOEXEC);

	ok(io_lock(a) == 0 && io_lock(a) == 0, "lock: taken, and again by its holder");
	ok(io_lock(b) == -EWOULDBLOCK, "lock: held by another");
	close_p(&a);
	ok(io_lock(b) == 0, "lock: free once the holder is gone");
	ok(io_lock(-1) == -EBADF, "lock: no descriptor");
}

/* What a walk has come by. */
struct walk {
	int at;
	unsigned files, others, stop; /* STOP: after so many; 0: never */
};

static int count_entry(const char *name, void *arg)
{
	struct walk *w = arg;

	if (name[0] == 'f')
		w->files++;
	else
		w->others++;
	return w->stop && w->files + w->others == w->stop ? 7 : 0;
}

static int remove_file(const char *name, void *arg)
{
	const struct walk *w = arg;

	return unlinkat(w->at, name, 0) < 0 ? -errno : 0;
}

static void test_each(void)
{
	unsigned before = count_fds();
	int d = io_dir_at(dir, "each", 0755);
	struct walk w = { .at = d };

	ok(io_each_entry(d, count_entry, &w) == 0 && w.files + w.others == 0,
	   "each: nothing in an empty directory");
	for (unsigned i = 0; i < 3000; i++) {
		char file[16];

		str_fmt(file, sizeof(file), "f%u", i);
		put(d, file, 0, 'x');
	}
	put(d, ".hidden", 0, 'x');
	put_link("nowhere", d, "broken");
	ok(io_each_entry(d, count_entry, &w) == 0 && w.files == 3000 && w.others == 2,
	   "each: every entry once, hidden ones too, but no dots");
	w = (struct walk){ .at = d };
	ok(io_each_entry(d, count_entry, &w) == 0 && w.files == 3000, "each: and once again");
	w = (struct walk){ .at = d, .stop = 5 };
	ok(io_each_entry(d, count_entry, &w) == 7 && w.files + w.others == 5,
	   "each: stops when it is told, and says what it was told");
	ok(io_each_entry(d, remove_file, &w) == 0, "each: an entry may be removed when it comes");
	w = (struct walk){ .at = d };
	ok(io_each_entry(d, count_entry, &w) == 0 && w.files + w.others == 0,
	   "each: which leaves none");
	close(d);
	put(dir, "no-dir", 0, 'x');
	d = openat(dir, "no-dir", O_RDONLY | O_CLOEXEC);
	ok(io_each_entry(d, count_entry, &w) == -ENOTDIR, "each: a file has none");
	close(d);
	ok(io_each_entry(-1, count_entry, &w) == -EBADF, "each: no directory");
	ok(count_fds() == before, "each: no descriptor is left");
}

/* NAME with DIRS directories of FILES files each, links that lead out, and a few odd files. */
static void make_tree(const char *name, unsigned dirs, unsigned files)
{
	auto_close int top = io_dir_at(dir, name, 0755);

	for (unsigned i = 0; i < dirs; i++) {
		char sub[16];
		auto_close int d = -1;

		str_fmt(sub, sizeof(sub), "d%u", i);
		d = io_dir_at(top, sub, 0755);
		for (unsigned k = 0; k < files; k++) {
			char file[16];

			str_fmt(file, sizeof(file), "f%u", k);
			put(d, file, 0, 'x');
		}
	}
	put_link("../outside", top, "to-dir");
	put_link("../outside/kept", top, "to-file");
	put_link("/nowhere", top, "broken");
	mkfifoat(top, "fifo", 0600);
}

static void test_remove(void)
{
	auto_close int outside = io_dir_at(dir, "outside", 0755);
	unsigned before = count_fds();

	put(outside, "kept", 1, 'k');
	make_tree("tree", 3, 5);
	ok(io_remove_tree(dir, "tree", 0) == 0 && !is_there(dir, "tree"), "remove: a tree");
	ok(is_there(outside, "kept"), "remove: not what links name");
	ok(io_remove_tree(dir, "tree", 0) == 0, "remove: 0 when there is nothing");
	ok(symlinkat("outside", dir, "top-link") == 0 && io_remove_tree(dir, "top-link", 0) == 0 &&
		   !is_there(dir, "top-link") && is_there(outside, "kept"),
	   "remove: a link as the top is removed itself");
	put(dir, "plain", 1, 'p');
	ok(io_remove_tree(dir, "plain", 0) == 0 && !is_there(dir, "plain"), "remove: a file");
	ok(mkdirat(dir, "empty", 0700) == 0 && io_remove_tree(dir, "empty", 0) == 0,
	   "remove: an empty directory");
	make_tree("wide", 1, 3000);
	ok(io_remove_tree(dir, "wide", 0) == 0 && !is_there(dir, "wide"),
	   "remove: more entries than one read gives");
	ok(io_remove_tree(-1, "x", 0) == -EBADF, "remove: no directory");
	ok(count_fds() == before, "remove: no descriptor is left");
}

static unsigned count_files(int at, const char *name)
{
	auto_close int d = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	unsigned n = 0;

	for (unsigned i = 0; d >= 0 && i < 10; i++) {
		char file[16];

		str_fmt(file, sizeof(file), "f%u", i);
		n += is_there(d, file);
	}
	return n;
}

static void test_remove_budget(void)
{
	unsigned calls = 0;
	int r;

	make_tree("bounded", 1, 10);
	r = io_remove_tree(dir, "bounded", 5);
	ok(r == -EAGAIN && is_there(dir, "bounded"), "budget: stops, and says so");
	make_tree("files", 1, 10);
	unlinkat(dir, "files/to-dir", 0);
	unlinkat(dir, "files/to-file", 0);
	unlinkat(dir, "files/broken", 0);
	unlinkat(dir, "files/fifo", 0);
	r = io_remove_tree(dir, "files", 4);
	ok(r == -EAGAIN && count_files(dir, "files/d0") == 6, "budget: no more entries than asked");
	r = io_remove_tree(dir, "files", 8);
	ok(r == 0 && !is_there(dir, "files"), "budget: the rest by just enough");
	while ((r = io_remove_tree(dir, "bounded", 1)) == -EAGAIN && calls < 100)
		calls++;
	ok(r == 0 && !is_there(dir, "bounded"), "budget: one entry at a time gets done (%u)",
	   calls);
}

/* Below what a path can name and beyond what descriptors allow, as a guest may nest it. */
static void test_remove_deep(void)
{
	struct rlimit old, few = { 128, 128 };
	int at = io_dir_at(dir, "deep", 0755), r;
	unsigned depth = 0, calls = 0;

	while (at >= 0 && depth < 3000) {
		int next = io_dir_at(at, "x", 0755);

		put(at, "file", 0, 'x');
		close(at);
		at = next;
		depth++;
	}
	close_p(&at);
	if (getrlimit(RLIMIT_NOFILE, &old) < 0)
		return;
	few.rlim_max = old.rlim_max;
	setrlimit(RLIMIT_NOFILE, &few);
	while ((r = io_remove_tree(dir, "deep", 1000)) == -EAGAIN && calls < 100)
		calls++;
	setrlimit(RLIMIT_NOFILE, &old);
	ok(depth == 3000 && r == 0 && !is_there(dir, "deep"),
	   "remove: %u levels with 128 descriptors (%d, %u calls)", depth, r, calls);
}

/* Runs in a child with a mount namespace of its own, to which DIR does not belong: 0 when a bind
 * mount stopped the removal. */
static int remove_mounted(void)
{
	auto_close int here = -1;

	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 || chdir(dir_path) < 0 ||
	    mount("outside", "mounted/d1", NULL, MS_BIND, NULL) < 0)
		return 2;
	here = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (io_remove_tree(here, "mounted/d1/gone", 0) < 0)
		return 3;
	return io_remove_tree(here, "mounted", 0) != -EXDEV;
}

static void test_remove_mount(void)
{
	auto_close int outside = io_dir_at(dir, "outside", 0755);
	int status = 0;
	pid_t pid;

	make_tree("mounted", 2, 1);
	make_tree("outside/gone", 1, 1);
	pid = fork();
	if (pid == 0) {
		if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
			_exit(2);
		_exit(remove_mounted());
	}
	waitpid(pid, &status, 0);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 2) {
		tap_skip("remove: a bind mount", "user namespaces with mounts");
		tap_skip("remove: below a bind mount", "user namespaces with mounts");
	} else {
		ok(status == 0 && is_there(outside, "kept"),
		   "remove: a bind mount of the same file system is not entered");
		ok(!is_there(outside, "gone"), "remove: what lies below one goes by its path");
	}
	ok(io_remove_tree(dir, "mounted", 0) == 0, "remove: once it is unmounted");
}

int main(void)
{
	int r;

	alarm(100);
	if (!mkdtemp(dir_path))
		return 1;
	dir = open(dir_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return 1;
	test_write();
	test_read();
	test_read_pieces();
	test_slurp();
	test_write_all();
	test_replace();
	test_replace_names();
	test_replace_leftover();
	test_replace_atomic();
	test_replace_full();
	test_open();
	test_lock();
	test_each();
	test_remove();
	test_remove_budget();
	test_remove_deep();
	test_remove_mount();
	r = tap_done();
	close(dir);
	if (io_remove_tree(AT_FDCWD, dir_path, 0) < 0)
		r = 1;
	return r;
}
