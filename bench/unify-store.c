/* bench/unify-store.c - rows of bench/unify: roots, their space, their trees */
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "bench/unify.h"
#include "cow-fs/root.h"
#include "cow-fs/walk.h"
#include "lib/base/io.h"

#define LIBS     50
#define LIB_SIZE 150000

static void create(bool mapped)
{
	struct samples ours = { 0 }, plain = { 0 };
	char name[32];

	for (unsigned i = 0; i < ROUNDS; i++) {
		uint64_t start = bench_nsec();
		int mnt;

		snprintf(name, sizeof(name), "c%u-%d", i, mapped);
		mnt = stage_plain(name, mapped);
		samples_add(&plain, bench_nsec() - start);
		close(mnt);
		start = bench_nsec();
		stage_guest(name);
		mnt = stage_mount(name, mapped);
		samples_add(&ours, bench_nsec() - start);
		close(mnt);
		cowfs_root_remove(&stage.store, name, &stage.err);
	}
	stage_row(mapped ? "create+mount mapped" : "create+mount",
		  (double)samples_at(&ours, 50) / 1e3, "us", (double)samples_at(&plain, 50) / 1e3,
		  "plain overlay", 1.5);
	if (!mapped) {
		char from[128], to[128];
		const char *const copy[] = { "cp", "-a", from, to, NULL };
		uint64_t start;

		snprintf(from, sizeof(from), "%s/at/state/cow/layers/" STAGE_LAYER "/root",
			 stage.b.place);
		snprintf(to, sizeof(to), "%s/at/copy", stage.b.place);
		start = bench_nsec();
		if (bench_run(&stage.b, copy, -1) != 0)
			stage_die("cp");
		stage_row("create+mount", (double)samples_at(&ours, 50) / 1e3, "us",
			  (double)(bench_nsec() - start) / 1e3, "cp -a", 0.01);
		io_remove_tree(stage.place, "copy", 0);
	}
	samples_free(&ours);
	samples_free(&plain);
}

void rows_create(void)
{
	create(false);
	create(true);
}

void rows_space(void)
{
	struct statfs before, after;
	char name[32];
	uint64_t was = stage_used(), is;

	fstatfs(stage.place, &before);
	for (unsigned i = 0; i < 1000; i++) {
		snprintf(name, sizeof(name), "s%u", i);
		stage_guest(name);
		close(stage_mount(name, false));
	}
	is = stage_used();
	fstatfs(stage.place, &after);
	stage_row("bytes for each of 1000 guests", (double)(is - was) / 1000, "B", 1, "-", 24576);
	if (before.f_files > 0)
		stage_row("inodes for each of 1000 guests",
			  ((double)before.f_ffree - (double)after.f_ffree -
			   ((double)before.f_files - (double)after.f_files)) /
				  1000,
			  "", 1, "-", 8);
	for (unsigned i = 0; i < 1000; i++) {
		snprintf(name, sizeof(name), "s%u", i);
		cowfs_root_remove(&stage.store, name, &stage.err);
	}
	cowfs_sweep(&stage.store, 0);
}

static uint64_t read_all(unsigned guests)
{
	static char buf[65536];
	uint64_t before;
	char name[32];

	stage_drop_caches();
	before = stage_cached();
	for (unsigned g = 0; g < guests; g++) {
		int m;

		snprintf(name, sizeof(name), "u%u", g);
		m = stage_mount(name, true);
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
	return stage_cached() - before;
}

void rows_upgraded(void)
{
	const struct cowfs_unify u = { 0 };
	uint64_t empty = stage_used(), disk, cache, disk_after, cache_after;
	char name[32];

	for (unsigned g = 0; g < stage.guests; g++) {
		int up;

		snprintf(name, sizeof(name), "u%u", g);
		stage_guest(name);
		up = stage_upper(name);
		for (unsigned i = 0; i < LIBS; i++) {
			snprintf(name, sizeof(name), "lib%u.so", i);
			stage_put(up, name, 70000 + i, LIB_SIZE, 0755);
		}
		close(up);
	}
	disk = stage_used() - empty;
	cache = read_all(stage.guests);
	stage_settle();
	for (unsigned g = 0; g < stage.guests; g++) {
		snprintf(name, sizeof(name), "u%u", g);
		stage_unify(name, &u);
	}
	disk_after = stage_used() - empty;
	cache_after = read_all(stage.guests);
	snprintf(name, sizeof(name), "disk of %u guests", stage.guests);
	stage_row(name, (double)disk_after / 1e6, "MB", (double)disk / 1e6, "before", 0.02);
	snprintf(name, sizeof(name), "page cache of %u", stage.guests);
	stage_row(name, (double)cache_after / 1e6, "MB", (double)cache / 1e6, "before", 0.03);
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

	stage_drop_caches();
	m = plain ? stage_plain(name, false) : stage_mount(name, false);
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
void rows_walks(void)
{
	const struct cowfs_unify u = { 0 };
	double warm, cold;
	int home, up, plain, ours;

	close(stage_plain("w", false));
	home = openat(stage.place, "w", O_RDONLY | O_DIRECTORY);
	up = io_dir_at(home, "up", 0755);
	stage_tree(up);
	close(up);
	close(home);
	stage_guest("w");
	up = stage_upper("w");
	stage_tree(up);
	close(up);
	stage_settle();
	stage_unify("w", &u);
	plain = stage_plain("w", false);
	ours = stage_mount("w", false);
	warm = walk_time(plain, false);
	stage_row("lstat of each file", walk_time(ours, false), "us", warm, "plain overlay", 1.1);
	stage_row("open of each file", walk_time(ours, true), "us", walk_time(plain, true),
		  "plain overlay", 1.1);
	close(ours);
	ours = stage_mount("w", true);
	stage_row("lstat of each file, mapped", walk_time(ours, false), "us", warm, "plain overlay",
		  1.6);
	close(ours);
	close(plain);
	cold = cold_walk("w", true);
	stage_row("cold walk", cold_walk("w", false), "us", cold, "plain overlay", 1.15);
	cowfs_root_remove(&stage.store, "w", &stage.err);
	io_remove_tree(stage.place, "w", 0);
}
