/* bench/unify-stage.c - what the rows of bench/unify work with: files, guests, a file system */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "bench/unify.h"
#include "cow-fs/mount.h"
#include "cow-fs/root.h"
#include "cow-fs/walk.h"
#include "lib/base/io.h"
#include "lib/base/own.h"

#define FILES 4000
#define DIRS  200
#define IDS   (1U << 20)

struct stage stage = { .guests = 60, .place = -1, .userns = -1, .fs_type = "ext4" };

/* ---- printing ---- */

void stage_row(const char *what, double value, const char *unit, double other, const char *versus,
	       double reach)
{
	double ratio = other > 0 ? value / other : 0;

	printf("%s\t%s\t%.4g\t%s\t%.4g\t%s\t%.3g\t%.3g\t%s\n", stage.fs_type, what, value, unit,
	       other, versus, ratio, reach,
	       reach <= 0       ? "-"
	       : ratio <= reach ? "yes"
				: "no");
	fflush(stdout);
}

void stage_die(const char *what)
{
	fprintf(stderr, "unify: %s: %s %s\n", what, stage.err.why, strerror(errno));
	bench_show_log(&stage.b);
	bench_close(&stage.b);
	exit(1);
}

/* ---- files ---- */

void stage_put(int dir, const char *name, unsigned seed, size_t size, mode_t mode)
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
			stage_die("write");
	}
	fchmod(fd, mode);
	close(fd);
}

/* Sizes as in /usr: many small ones, some large. */
static size_t size_of(unsigned i)
{
	return i % 4 == 0 ? 2000 : i % 40 == 1 ? 300000 : 9000 + i * 37 % 20000;
}

void stage_tree(int top)
{
	char name[32];

	for (unsigned d = 0; d < DIRS; d++) {
		int dir;

		snprintf(name, sizeof(name), "d%u", d);
		dir = io_dir_at(top, name, 0755);
		for (unsigned i = d; i < FILES; i += DIRS) {
			snprintf(name, sizeof(name), "f%u", i);
			stage_put(dir, name, i + 1, size_of(i), i % 3 ? 0644 : 0755);
		}
		close(dir);
	}
}

void stage_settle(void)
{
	bench_idle(40);
}

void stage_drop_caches(void)
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

uint64_t stage_cached(void)
{
	uint64_t bytes = 0;
	struct walk guests = { .top = stage.store.guests, .fn = count_cached, .arg = &bytes };
	struct walk pool = { .top = stage.store.pool, .fn = count_cached, .arg = &bytes };

	if (walk_tree(&guests) < 0 || walk_tree(&pool) < 0)
		stage_die("cachestat (Linux 6.5)");
	return bytes;
}

uint64_t stage_used(void)
{
	struct statfs s;

	syncfs(stage.place);
	fstatfs(stage.place, &s);
	return (s.f_blocks - s.f_bfree) * (uint64_t)s.f_bsize;
}

/* ---- guests ---- */

static void make_template(void)
{
	static const char record[] =
		"{\"layers\":[\"" STAGE_LAYER "\"],\"created\":1,\"arch\":\"x86_64\"}";
	static const char meta[] = "{\"created\":1,\"source\":\"dir\"}";
	int layer = io_dir_at(stage.store.layers, STAGE_LAYER, 0700),
	    root = io_dir_at(layer, "root", 0755);

	stage_tree(root);
	stage_put(root, "large", 9, STAGE_LARGE, 0644);
	stage_put(root, "small", 10, 10000, 0644);
	io_replace_at(layer, "meta.json", meta, strlen(meta), 0600, false);
	io_replace_at(stage.store.templates, "t.json", record, strlen(record), 0600, false);
	close(root);
	close(layer);
	sync();
}

void stage_guest(const char *name)
{
	const struct cowfs_source from = { .template = "t" };

	if (cowfs_root_make(&stage.store, name, &from, false, &stage.err) < 0)
		stage_die("make a guest");
}

int stage_mount(const char *name, bool mapped)
{
	struct cowfs_mount m;
	struct cowfs_root root;
	int mnt;

	if (cowfs_root_open(&stage.store, name, &root, &stage.err) < 0)
		stage_die("open a guest");
	m = cowfs_root_mount(&root);
	m.userns = mapped ? stage.userns : -1;
	m.id_base = IDS;
	mnt = cowfs_mount(&m, stage.features, &stage.err);
	cowfs_root_close(&root);
	if (mnt < 0)
		stage_die("mount a guest");
	return mnt;
}

/* An overlay of the template as any runtime makes one. */
int stage_plain(const char *name, bool mapped)
{
	int home = io_dir_at(stage.place, name, 0700), up = io_dir_at(home, "up", 0755);
	int wk = io_dir_at(home, "wk", 0700), low, mnt;
	struct cowfs_mount m = {
		.n_lower = 1, .home = home, .userns = mapped ? stage.userns : -1, .id_base = IDS
	};

	low = openat(stage.store.layers, STAGE_LAYER "/root", O_PATH | O_DIRECTORY | O_CLOEXEC);
	m.lower = &low;
	mnt = cowfs_mount(&m, stage.features, &stage.err);
	if (mnt < 0)
		stage_die("mount an overlay");
	close(low);
	close(wk);
	close(up);
	close(home);
	return mnt;
}

int stage_upper(const char *name)
{
	char path[64];

	snprintf(path, sizeof(path), "%s/up", name);
	return openat(stage.store.guests, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

struct cowfs_unified stage_unify(const char *name, const struct cowfs_unify *u)
{
	struct cowfs_unified n = { 0 };

	if (cowfs_unify(&stage.store, name, u, &n, &stage.err) < 0)
		stage_die("unify");
	return n;
}

/* ---- the stage.place ---- */

void stage_open(void)
{
	char image[64], at[64], mkfs[16];
	const char *const make[] = { mkfs, "-q", image, NULL };
	const char *const mount_it[] = { "mount", "-o", "loop,nosuid,nodev", image, at, NULL };
	int state, fd, r;

	snprintf(image, sizeof(image), "%s/unify.img", stage.b.place);
	snprintf(at, sizeof(at), "%s/at", stage.b.place);
	snprintf(mkfs, sizeof(mkfs), "mkfs.%s", stage.fs_type);
	fd = open(image, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, 16LL << 30) < 0 || mkdir(at, 0700) < 0)
		stage_die("make an image");
	close(fd);
	if (bench_run(&stage.b, make, -1) != 0 || bench_run(&stage.b, mount_it, -1) != 0)
		stage_die("mount a file system of that type");
	stage.place = open(at, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	state = io_dir_at(stage.place, "state", 0700);
	if (cowfs_open(state, &stage.store, &stage.err) < 0)
		stage_die("open the store");
	close(state);
	r = cowfs_probe(stage.store.dir, &stage.err);
	if (r < 0 || !(r & 1 << COWFS_POOL))
		stage_die("this kernel cannot unify");
	stage.features = (unsigned)r;
	stage.userns = cowfs_userns_make(IDS);
	make_template();
}

void stage_close(void)
{
	char path[64];

	cowfs_close(&stage.store);
	close_p(&stage.place);
	snprintf(path, sizeof(path), "%s/at", stage.b.place);
	while (umount(path) < 0 && errno == EBUSY)
		bench_idle(20);
	rmdir(path);
	snprintf(path, sizeof(path), "%s/unify.img", stage.b.place);
	unlink(path);
}
