/* bench/unify.c - what storing equal files once costs and saves, each figure beside one of its run
 *
 * usage: bench/unify [--fs ext4|xfs|btrfs] [--guests N] [--only ROW,ROW] */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench/bench.h"
#include "cow-fs/digest.h"
#include "cow-fs/freeze.h"
#include "cow-fs/inner.h"
#include "cow-fs/mount.h"
#include "cow-fs/root.h"
#include "cow-fs/unify.h"
#include "cow-fs/walk.h"
#include "lib/base/io.h"
#include "lib/base/own.h"

#define FILES    4000
#define DIRS     200
#define LAYER    "00000000000000000000000000000001"
#define IDS      (1U << 20)
#define ROUNDS   200
#define LIBS     50
#define LIB_SIZE 150000
#define LARGE    (128UL << 20)

static struct bench b;
static struct cowfs store;
static struct cos_err err;
static unsigned features, n_guests = 60;
static int place = -1, userns = -1;
static const char *fs_type = "ext4", *only;

/* ---- printing ---- */

static void row(const char *what, double value, const char *unit, double other, const char *versus,
		double reach)
{
	double ratio = other > 0 ? value / other : 0;

	printf("%s\t%s\t%.4g\t%s\t%.4g\t%s\t%.3g\t%.3g\t%s\n", fs_type, what, value, unit, other,
	       versus, ratio, reach,
	       reach <= 0       ? "-"
	       : ratio <= reach ? "yes"
				: "no");
	fflush(stdout);
}

static bool is_asked(const char *name)
{
	return !only || strstr(only, name);
}

static void die(const char *what)
{
	fprintf(stderr, "unify: %s: %s %s\n", what, err.why, strerror(errno));
	bench_show_log(&b);
	bench_close(&b);
	exit(1);
}

/* ---- files ---- */

static void put_data(int dir, const char *name, unsigned seed, size_t size, mode_t mode)
{
	static unsigned buf[16384];
	int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	for (size_t at = 0; at < size; at += sizeof(buf)) {
		size_t n = size - at < sizeof(buf) ? size - at : sizeof(buf);

		for (size_t i = 0; i < n / 4 + 1 && i < 16384; i++) {
			seed = seed * 1103515245 + 12345;
			buf[i] = seed;
		}
		if (io_write_all(fd, buf, n) < 0)
			die("write");
	}
	fchmod(fd, mode);
	close(fd);
}

/* Sizes as in /usr: many small ones, some large. */
static size_t size_of(unsigned i)
{
	return i % 4 == 0 ? 2000 : i % 40 == 1 ? 300000 : 9000 + i * 37 % 20000;
}

static void make_tree(int top)
{
	char name[32];

	for (unsigned d = 0; d < DIRS; d++) {
		int dir;

		snprintf(name, sizeof(name), "d%u", d);
		dir = io_dir_at(top, name, 0755);
		for (unsigned i = d; i < FILES; i += DIRS) {
			snprintf(name, sizeof(name), "f%u", i);
			put_data(dir, name, i + 1, size_of(i), i % 3 ? 0644 : 0755);
		}
		close(dir);
	}
}

static void settle(void)
{
	bench_idle(40);
}

static void drop_caches(void)
{
	sync();
	io_write_at(AT_FDCWD, "/proc/sys/vm/drop_caches", "3", 1);
}

/* Pages of the files themselves: what a loop device's image has of them as well does not count. */
static int count_cached(const struct walk_entry *e, void *arg)
{
	struct {
		uint64_t cache, dirty, writeback, evicted, recently;
	} stat = { 0 };
	const struct {
		uint64_t off, len;
	} all = { 0, 0 };
	auto_close int fd = -1;

	if (!S_ISREG(e->st.st_mode) || e->st.st_blocks == 0)
		return WALK_ON;
	fd = openat(e->dir, e->name, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || syscall(451 /* cachestat */, fd, &all, &stat, 0) < 0)
		return -errno;
	*(uint64_t *)arg += stat.cache * 4096;
	return WALK_ON;
}

static uint64_t cached_bytes(void)
{
	uint64_t bytes = 0;
	struct walk guests = { .top = store.guests, .fn = count_cached, .arg = &bytes };
	struct walk pool = { .top = store.pool, .fn = count_cached, .arg = &bytes };

	if (walk_tree(&guests) < 0 || walk_tree(&pool) < 0)
		die("cachestat (Linux 6.5)");
	return bytes;
}

static uint64_t used_bytes(void)
{
	struct statfs s;

	syncfs(place);
	fstatfs(place, &s);
	return (s.f_blocks - s.f_bfree) * (uint64_t)s.f_bsize;
}

/* ---- guests ---- */

static void make_template(void)
{
	static const char record[] =
		"{\"layers\":[\"" LAYER "\"],\"created\":1,\"arch\":\"x86_64\"}";
	static const char meta[] = "{\"created\":1,\"source\":\"dir\"}";
	int layer = io_dir_at(store.layers, LAYER, 0700), root = io_dir_at(layer, "root", 0755);

	make_tree(root);
	put_data(root, "large", 9, LARGE, 0644);
	put_data(root, "small", 10, 10000, 0644);
	io_replace_at(layer, "meta.json", meta, strlen(meta), 0600, false);
	io_replace_at(store.templates, "t.json", record, strlen(record), 0600, false);
	close(root);
	close(layer);
	sync();
}

static void make_guest(const char *name)
{
	const struct cowfs_source from = { .template = "t" };

	if (cowfs_root_make(&store, name, &from, false, &err) < 0)
		die("make a guest");
}

static int mount_guest(const char *name, bool mapped)
{
	struct cowfs_mount m;
	struct cowfs_root root;
	int mnt;

	if (cowfs_root_open(&store, name, &root, &err) < 0)
		die("open a guest");
	m = cowfs_root_mount(&root);
	m.userns = mapped ? userns : -1;
	m.id_base = IDS;
	mnt = cowfs_mount(&m, features, &err);
	cowfs_root_close(&root);
	if (mnt < 0)
		die("mount a guest");
	return mnt;
}

/* An overlay of the template as any runtime makes one. */
static int mount_plain(const char *name, bool mapped)
{
	int home = io_dir_at(place, name, 0700), up = io_dir_at(home, "up", 0755);
	int wk = io_dir_at(home, "wk", 0700), low, mnt;
	struct cowfs_mount m = {
		.n_lower = 1, .home = home, .userns = mapped ? userns : -1, .id_base = IDS
	};

	low = openat(store.layers, LAYER "/root", O_PATH | O_DIRECTORY | O_CLOEXEC);
	m.lower = &low;
	mnt = cowfs_mount(&m, features, &err);
	if (mnt < 0)
		die("mount an overlay");
	close(low);
	close(wk);
	close(up);
	close(home);
	return mnt;
}

static int upper_of(const char *name)
{
	char path[64];

	snprintf(path, sizeof(path), "%s/up", name);
	return openat(store.guests, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static struct cowfs_unified unify(const char *name, const struct cowfs_unify *u)
{
	struct cowfs_unified n = { 0 };

	if (cowfs_unify(&store, name, u, &n, &err) < 0)
		die("unify");
	return n;
}

/* ---- rows ---- */

static void bench_create(bool mapped)
{
	struct samples ours = { 0 }, plain = { 0 };
	char name[32];

	for (unsigned i = 0; i < ROUNDS; i++) {
		uint64_t start = bench_nsec();
		int mnt;

		snprintf(name, sizeof(name), "c%u-%d", i, mapped);
		mnt = mount_plain(name, mapped);
		samples_add(&plain, bench_nsec() - start);
		close(mnt);
		start = bench_nsec();
		make_guest(name);
		mnt = mount_guest(name, mapped);
		samples_add(&ours, bench_nsec() - start);
		close(mnt);
		cowfs_root_remove(&store, name, &err);
	}
	row(mapped ? "create+mount mapped" : "create+mount", (double)samples_at(&ours, 50) / 1e3,
	    "us", (double)samples_at(&plain, 50) / 1e3, "plain overlay", 1.5);
	if (!mapped) {
		char from[128], to[128];
		const char *const copy[] = { "cp", "-a", from, to, NULL };
		uint64_t start;

		snprintf(from, sizeof(from), "%s/at/state/cow/layers/" LAYER "/root", b.place);
		snprintf(to, sizeof(to), "%s/at/copy", b.place);
		start = bench_nsec();
		if (bench_run(&b, copy, -1) != 0)
			die("cp");
		row("create+mount", (double)samples_at(&ours, 50) / 1e3, "us",
		    (double)(bench_nsec() - start) / 1e3, "cp -a", 0.01);
		io_remove_tree(place, "copy", 0);
	}
	samples_free(&ours);
	samples_free(&plain);
}

static void bench_space(void)
{
	struct statfs before, after;
	char name[32];
	uint64_t was = used_bytes(), is;

	fstatfs(place, &before);
	for (unsigned i = 0; i < 1000; i++) {
		snprintf(name, sizeof(name), "s%u", i);
		make_guest(name);
		close(mount_guest(name, false));
	}
	is = used_bytes();
	fstatfs(place, &after);
	row("bytes for each of 1000 guests", (double)(is - was) / 1000, "B", 1, "-", 24576);
	if (before.f_files > 0)
		row("inodes for each of 1000 guests",
		    ((double)before.f_ffree - (double)after.f_ffree -
		     ((double)before.f_files - (double)after.f_files)) /
			    1000,
		    "", 1, "-", 8);
	for (unsigned i = 0; i < 1000; i++) {
		snprintf(name, sizeof(name), "s%u", i);
		cowfs_root_remove(&store, name, &err);
	}
	cowfs_sweep(&store, 0);
}

static uint64_t read_all(unsigned guests)
{
	static char buf[65536];
	uint64_t before;
	char name[32];

	drop_caches();
	before = cached_bytes();
	for (unsigned g = 0; g < guests; g++) {
		int m;

		snprintf(name, sizeof(name), "u%u", g);
		m = mount_guest(name, true);
		for (unsigned i = 0; i < LIBS; i++) {
			int fd;

			snprintf(name, sizeof(name), "lib%u.so", i);
			fd = openat(m, name, O_RDONLY | O_CLOEXEC);
			while (read(fd, buf, sizeof(buf)) > 0)
				;
			close(fd);
		}
		close(m);
	}
	return cached_bytes() - before;
}

static void bench_upgraded(void)
{
	const struct cowfs_unify u = { 0 };
	uint64_t empty = used_bytes(), disk, cache, disk_after, cache_after;
	char name[32];

	for (unsigned g = 0; g < n_guests; g++) {
		int up;

		snprintf(name, sizeof(name), "u%u", g);
		make_guest(name);
		up = upper_of(name);
		for (unsigned i = 0; i < LIBS; i++) {
			snprintf(name, sizeof(name), "lib%u.so", i);
			put_data(up, name, 70000 + i, LIB_SIZE, 0755);
		}
		close(up);
	}
	disk = used_bytes() - empty;
	cache = read_all(n_guests);
	settle();
	for (unsigned g = 0; g < n_guests; g++) {
		snprintf(name, sizeof(name), "u%u", g);
		unify(name, &u);
	}
	disk_after = used_bytes() - empty;
	cache_after = read_all(n_guests);
	snprintf(name, sizeof(name), "disk of %u guests", n_guests);
	row(name, (double)disk_after / 1e6, "MB", (double)disk / 1e6, "before", 0.02);
	snprintf(name, sizeof(name), "page cache of %u", n_guests);
	row(name, (double)cache_after / 1e6, "MB", (double)cache / 1e6, "before", 0.03);
}

struct touching {
	bool open;
	uint64_t n;
};

static int touch(const struct walk_entry *e, void *arg)
{
	struct touching *t = arg;

	if (t->open && S_ISREG(e->st.st_mode))
		close(openat(e->dir, e->name, O_RDONLY | O_CLOEXEC));
	t->n++;
	return WALK_ON;
}

static double walk_time(int top, bool open_too)
{
	struct touching t = { .open = open_too };
	struct walk w = { .top = top, .fn = touch, .arg = &t };
	uint64_t best = UINT64_MAX;

	for (int i = 0; i < 7; i++) {
		uint64_t start = bench_nsec();

		walk_tree(&w);
		start = bench_nsec() - start;
		best = start < best ? start : best;
	}
	return (double)best / 1e3;
}

static double cold_walk(const char *name, bool plain)
{
	uint64_t start;
	double usec;
	int m;

	drop_caches();
	m = plain ? mount_plain(name, false) : mount_guest(name, false);
	start = bench_nsec();
	{
		struct touching t = { .open = false };
		struct walk w = { .top = m, .fn = touch, .arg = &t };

		walk_tree(&w);
	}
	usec = (double)(bench_nsec() - start) / 1e3;
	close(m);
	return usec;
}

/* The same files: in the upper directory of a plain overlay, and as stubs. */
static void bench_walks(void)
{
	const struct cowfs_unify u = { 0 };
	double warm, cold;
	int home, up, plain, ours;

	close(mount_plain("w", false));
	home = openat(place, "w", O_RDONLY | O_DIRECTORY);
	up = io_dir_at(home, "up", 0755);
	make_tree(up);
	close(up);
	close(home);
	make_guest("w");
	up = upper_of("w");
	make_tree(up);
	close(up);
	settle();
	unify("w", &u);
	plain = mount_plain("w", false);
	ours = mount_guest("w", false);
	warm = walk_time(plain, false);
	row("lstat of each file", walk_time(ours, false), "us", warm, "plain overlay", 1.1);
	row("open of each file", walk_time(ours, true), "us", walk_time(plain, true),
	    "plain overlay", 1.1);
	close(ours);
	ours = mount_guest("w", true);
	row("lstat of each file, mapped", walk_time(ours, false), "us", warm, "plain overlay", 1.6);
	close(ours);
	close(plain);
	cold = cold_walk("w", true);
	row("cold walk", cold_walk("w", false), "us", cold, "plain overlay", 1.15);
	cowfs_root_remove(&store, "w", &err);
	io_remove_tree(place, "w", 0);
}

static double first_write(int dir, const char *name)
{
	uint64_t start = bench_nsec();
	int fd = openat(dir, name, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || pwrite(fd, "x", 1, 100) != 1)
		die("first write");
	close(fd);
	return (double)(bench_nsec() - start) / 1e3;
}

static void bench_first_write(void)
{
	const struct cowfs_unify u = { 0 };
	struct samples ours = { 0 }, plain = { 0 };
	char name[32];
	double large, small;
	int up;

	make_guest("f");
	up = upper_of("f");
	put_data(up, "big-stub", 9, LARGE, 0644);
	for (unsigned i = 0; i < ROUNDS; i++) {
		snprintf(name, sizeof(name), "s%u", i);
		put_data(up, name, 10, 10000, 0644);
	}
	close(up);
	settle();
	unify("f", &u);
	up = mount_guest("f", false);
	for (unsigned i = 0; i < ROUNDS; i++) {
		int mnt;

		snprintf(name, sizeof(name), "p%u", i);
		mnt = mount_plain(name, false);
		samples_add(&plain, (uint64_t)(first_write(mnt, "small") * 1000));
		close(mnt);
		io_remove_tree(place, name, 0);
		snprintf(name, sizeof(name), "s%u", i);
		samples_add(&ours, (uint64_t)(first_write(up, name) * 1000));
	}
	small = (double)samples_at(&ours, 50) / 1e3;
	row("first write, 10 kB", small, "us", (double)samples_at(&plain, 50) / 1e3,
	    "plain overlay", 1.15);
	large = first_write(up, "big-stub");
	row("first write, 128 MiB", large, "us", small, "10 kB",
	    strcmp(fs_type, "ext4") == 0 ? 0 : 2);
	close(up);
	cowfs_root_remove(&store, "f", &err);
	samples_free(&ours);
	samples_free(&plain);
}

struct hashing {
	struct digester *g;
	uint64_t bytes;
};

static int hash_file(const struct walk_entry *e, void *arg)
{
	struct hashing *h = arg;
	struct digest d;
	uint64_t size;
	int fd;

	if (!S_ISREG(e->st.st_mode) || e->st.st_size <= 8192)
		return WALK_ON;
	fd = openat(e->dir, e->name, O_RDONLY | O_CLOEXEC);
	digest_fd(h->g, fd, UINT64_MAX, NULL, NULL, &d, &size);
	h->bytes += size;
	close(fd);
	return WALK_ON;
}

static void bench_speed(void)
{
	const struct cowfs_unify u = { .min_bytes = 8192 };
	struct hashing h = { .g = digester_new() };
	struct cowfs_unified n;
	uint64_t start, hash, took;
	int up;

	for (int i = 0; i < 2; i++) {
		make_guest(i ? "v2" : "v1");
		up = upper_of(i ? "v2" : "v1");
		make_tree(up);
		close(up);
	}
	sync();
	settle();
	start = bench_nsec();
	n = unify("v1", &u);
	took = bench_nsec() - start - n.sync_usec * 1000;
	printf("# into an empty pool: %" PRIu64 " files, %.0f MB/s without waits, %.0f with\n",
	       n.swapped, (double)n.hashed_bytes * 1e3 / (double)took,
	       (double)n.hashed_bytes * 1e3 / (double)(took + n.sync_usec * 1000));
	{
		struct walk w = { .fn = hash_file, .arg = &h };

		up = w.top = upper_of("v2");
		walk_tree(&w); /* into the page cache */
		h.bytes = 0;
		start = bench_nsec();
		walk_tree(&w);
		hash = bench_nsec() - start;
		close(up);
	}
	start = bench_nsec();
	n = unify("v2", &u);
	took = bench_nsec() - start - n.sync_usec * 1000;
	row("unify into a populated pool", (double)took / 1e6, "ms", (double)hash / 1e6,
	    "hashing alone", 2.5);
	printf("# %" PRIu64 " of %" PRIu64
	       " files found, hashing %.0f MB/s, waits for the disk %.1f ms\n",
	       n.found, n.candidates, (double)h.bytes * 1e3 / (double)hash,
	       (double)n.sync_usec / 1e3);
	digester_free(h.g);
	cowfs_root_remove(&store, "v1", &err);
	cowfs_root_remove(&store, "v2", &err);
}

static void bench_freeze(void)
{
	static const char *const places[] = { "/sys/fs/cgroup/freezer", "/sys/fs/cgroup/unified",
					      "/sys/fs/cgroup" };
	struct freeze_group g = { .dir = -1 };
	struct cowfs_live live = { .freeze = freeze_group, .arg = &g };
	const struct cowfs_unify u = { .live = &live };
	struct cowfs_unified n;
	char path[96] = "", pid_text[16];
	pid_t pid;
	int up;

	for (size_t i = 0; i < ARRAY_SIZE(places) && g.dir < 0; i++) {
		snprintf(path, sizeof(path), "%s/cos-bench-unify-%d", places[i], getpid());
		if (mkdir(path, 0755) == 0 && freeze_group_open(path, &g) < 0)
			rmdir(path);
	}
	if (g.dir < 0) {
		printf("# no freezer\n");
		return;
	}
	pid = fork();
	if (pid == 0) {
		for (;;)
			bench_idle(1);
	}
	snprintf(pid_text, sizeof(pid_text), "%d", pid);
	io_write_at(g.dir, "cgroup.procs", pid_text, strlen(pid_text));
	make_guest("z");
	up = upper_of("z");
	make_tree(up);
	close(up);
	sync();
	settle();
	live.merged = mount_guest("z", true);
	n = unify("z", &u);
	row("frozen for each swap", (double)n.frozen_usec / (double)(n.swapped ?: 1), "us", 1, "-",
	    60);
	row("longest freeze", (double)n.frozen_max_usec / 1e3, "ms", 1, "-", 50);
	close(live.merged);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	freeze_group_close(&g);
	while (rmdir(path) < 0 && errno == EBUSY)
		bench_idle(1);
	cowfs_root_remove(&store, "z", &err);
}

/* The program, as it is called: its start, child and records included. */
static void bench_import(void)
{
	char tar[96], from[128], to[96], state[96], cowfs[PATH_MAX + 32];
	const char *const pack[] = { "tar", "-C", from, "-cf", tar, ".", NULL };
	const char *const unpack[] = { "tar", "-C", to, "-xf", tar, NULL };
	const char *const import[] = { cowfs,    "--state-dir", state, "template",
				       "import", "i",           tar,   NULL };
	uint64_t start, theirs, ours;

	snprintf(from, sizeof(from), "%s/at/state/cow/layers/" LAYER "/root", b.place);
	snprintf(tar, sizeof(tar), "%s/at/tree.tar", b.place);
	snprintf(to, sizeof(to), "%s/at/unpacked", b.place);
	snprintf(state, sizeof(state), "%s/at/state", b.place);
	snprintf(cowfs, sizeof(cowfs), "%s/../cow-fs/cow-fs", b.home);
	mkdir(to, 0755);
	if (bench_run(&b, pack, -1) != 0)
		die("tar c");
	sync();
	start = bench_nsec();
	if (bench_run(&b, unpack, -1) != 0)
		die("tar x");
	syncfs(place);
	theirs = bench_nsec() - start;
	start = bench_nsec();
	if (bench_run(&b, import, -1) != 0)
		die("import");
	ours = bench_nsec() - start;
	row("import of a tar", (double)ours / 1e6, "ms", (double)theirs / 1e6, "tar x and syncfs",
	    2);
	io_remove_tree(place, "unpacked", 0);
	unlinkat(place, "tree.tar", 0);
}

/* ---- the place ---- */

static void make_place(void)
{
	char image[64], at[64], mkfs[16];
	const char *const make[] = { mkfs, "-q", image, NULL };
	const char *const mount_it[] = { "mount", "-o", "loop,nosuid,nodev", image, at, NULL };
	int state, fd;

	snprintf(image, sizeof(image), "%s/unify.img", b.place);
	snprintf(at, sizeof(at), "%s/at", b.place);
	snprintf(mkfs, sizeof(mkfs), "mkfs.%s", fs_type);
	fd = open(image, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, 16LL << 30) < 0 || mkdir(at, 0700) < 0)
		die("make an image");
	close(fd);
	if (bench_run(&b, make, -1) != 0 || bench_run(&b, mount_it, -1) != 0)
		die("mount a file system of that type");
	place = open(at, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	state = io_dir_at(place, "state", 0700);
	if (cowfs_open(state, &store, &err) < 0)
		die("open the store");
	close(state);
}

static void remove_place(void)
{
	char path[64];

	cowfs_close(&store);
	close_p(&place);
	snprintf(path, sizeof(path), "%s/at", b.place);
	while (umount(path) < 0 && errno == EBUSY)
		bench_idle(20);
	rmdir(path);
	snprintf(path, sizeof(path), "%s/unify.img", b.place);
	unlink(path);
}

static void run_rows(void)
{
	if (is_asked("create")) {
		bench_create(false);
		bench_create(true);
	}
	if (is_asked("space"))
		bench_space();
	if (is_asked("upgraded"))
		bench_upgraded();
	if (is_asked("walk"))
		bench_walks();
	if (is_asked("write"))
		bench_first_write();
	if (is_asked("speed"))
		bench_speed();
	if (is_asked("import"))
		bench_import();
	if (is_asked("freeze"))
		bench_freeze();
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "fs", required_argument, NULL, 'f' },
		{ "guests", required_argument, NULL, 'g' },
		{ "only", required_argument, NULL, 'o' },
		{ 0 },
	};
	int opt, r;

	while ((opt = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (opt == 'f')
			fs_type = optarg;
		else if (opt == 'g')
			n_guests = (unsigned)strtoul(optarg, NULL, 10);
		else if (opt == 'o')
			only = optarg;
		else
			return 2;
	}
	if (bench_open(&b) < 0)
		return 1;
	make_place();
	r = cowfs_probe(store.dir, &err);
	if (r < 0 || !(r & 1 << COWFS_POOL))
		die("this kernel cannot unify");
	features = (unsigned)r;
	userns = cowfs_userns_make(IDS);
	printf("fs\twhat\tvalue\tunit\tother\tversus\tratio\treach\treached\n");
	make_template();
	run_rows();
	remove_place();
	bench_close(&b);
	return 0;
}
