/* bench/unify-work.c - rows of bench/unify: writing, unifying, importing */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/unify.h"
#include "cow-fs/digest.h"
#include "cow-fs/freeze.h"
#include "cow-fs/root.h"
#include "cow-fs/walk.h"
#include "lib/base/io.h"
#include "lib/base/own.h"

static double first_write(int dir, const char *name)
{
	uint64_t start = bench_nsec();
	int fd = openat(dir, name, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || pwrite(fd, "x", 1, 100) != 1)
		stage_die("first write");
	close(fd);
	return (double)(bench_nsec() - start) / 1e3;
}

void rows_first_write(void)
{
	const struct cowfs_unify u = { 0 };
	struct samples ours = { 0 }, plain = { 0 };
	char name[32];
	double large, small;
	int up;

	stage_guest("f");
	up = stage_upper("f");
	stage_put(up, "big-stub", 9, STAGE_LARGE, 0644);
	for (unsigned i = 0; i < ROUNDS; i++) {
		snprintf(name, sizeof(name), "s%u", i);
		stage_put(up, name, 10, 10000, 0644);
	}
	close(up);
	stage_settle();
	stage_unify("f", &u);
	up = stage_mount("f", false);
	for (unsigned i = 0; i < ROUNDS; i++) {
		int mnt;

		snprintf(name, sizeof(name), "p%u", i);
		mnt = stage_plain(name, false);
		samples_add(&plain, (uint64_t)(first_write(mnt, "small") * 1000));
		close(mnt);
		io_remove_tree(stage.place, name, 0);
		snprintf(name, sizeof(name), "s%u", i);
		samples_add(&ours, (uint64_t)(first_write(up, name) * 1000));
	}
	small = (double)samples_at(&ours, 50) / 1e3;
	stage_row("first write, 10 kB", small, "us", (double)samples_at(&plain, 50) / 1e3,
		  "plain overlay", 1.15);
	large = first_write(up, "big-stub");
	stage_row("first write, 128 MiB", large, "us", small, "10 kB",
		  strcmp(stage.fs_type, "ext4") == 0 ? 0 : 2);
	close(up);
	cowfs_root_remove(&stage.store, "f", &stage.err);
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

void rows_speed(void)
{
	const struct cowfs_unify u = { .min_bytes = 8192 };
	struct hashing h = { .g = digester_new() };
	struct cowfs_unified n;
	uint64_t start, hash, took;
	int up;

	for (int i = 0; i < 2; i++) {
		stage_guest(i ? "v2" : "v1");
		up = stage_upper(i ? "v2" : "v1");
		stage_tree(up);
		close(up);
	}
	sync();
	stage_settle();
	start = bench_nsec();
	n = stage_unify("v1", &u);
	took = bench_nsec() - start - n.sync_usec * 1000;
	printf("# into an empty pool: %" PRIu64 " files, %.0f MB/s without waits, %.0f with\n",
	       n.swapped, (double)n.hashed_bytes * 1e3 / (double)took,
	       (double)n.hashed_bytes * 1e3 / (double)(took + n.sync_usec * 1000));
	{
		struct walk w = { .fn = hash_file, .arg = &h };

		up = w.top = stage_upper("v2");
		walk_tree(&w); /* into the page cache */
		h.bytes = 0;
		start = bench_nsec();
		walk_tree(&w);
		hash = bench_nsec() - start;
		close(up);
	}
	start = bench_nsec();
	n = stage_unify("v2", &u);
	took = bench_nsec() - start - n.sync_usec * 1000;
	stage_row("unify into a populated pool", (double)took / 1e6, "ms", (double)hash / 1e6,
		  "hashing alone", 2.5);
	printf("# %" PRIu64 " of %" PRIu64
	       " files found, hashing %.0f MB/s, waits for the disk %.1f ms\n",
	       n.found, n.candidates, (double)h.bytes * 1e3 / (double)hash,
	       (double)n.sync_usec / 1e3);
	digester_free(h.g);
	cowfs_root_remove(&stage.store, "v1", &stage.err);
	cowfs_root_remove(&stage.store, "v2", &stage.err);
}

void rows_freeze(void)
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
	stage_guest("z");
	up = stage_upper("z");
	stage_tree(up);
	close(up);
	sync();
	stage_settle();
	live.merged = stage_mount("z", true);
	n = stage_unify("z", &u);
	stage_row("frozen for each swap", (double)n.frozen_usec / (double)(n.swapped ?: 1), "us", 1,
		  "-", 60);
	stage_row("longest freeze", (double)n.frozen_max_usec / 1e3, "ms", 1, "-", 50);
	close(live.merged);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	freeze_group_close(&g);
	while (rmdir(path) < 0 && errno == EBUSY)
		bench_idle(1);
	cowfs_root_remove(&stage.store, "z", &stage.err);
}

/* The program, as it is called: its start, child and records included. */
void rows_import(void)
{
	char tar[96], from[128], to[96], state[96], cowfs[PATH_MAX + 32];
	const char *const pack[] = { "tar", "-C", from, "-cf", tar, ".", NULL };
	const char *const unpack[] = { "tar", "-C", to, "-xf", tar, NULL };
	const char *const import[] = { cowfs,    "--state-dir", state, "template",
				       "import", "i",           tar,   NULL };
	uint64_t start, theirs, ours;

	snprintf(from, sizeof(from), "%s/at/state/cow/layers/" STAGE_LAYER "/root", stage.b.place);
	snprintf(tar, sizeof(tar), "%s/at/tree.tar", stage.b.place);
	snprintf(to, sizeof(to), "%s/at/unpacked", stage.b.place);
	snprintf(state, sizeof(state), "%s/at/state", stage.b.place);
	snprintf(cowfs, sizeof(cowfs), "%s/../cow-fs/cow-fs", stage.b.home);
	mkdir(to, 0755);
	if (bench_run(&stage.b, pack, -1) != 0)
		stage_die("tar c");
	sync();
	start = bench_nsec();
	if (bench_run(&stage.b, unpack, -1) != 0)
		stage_die("tar x");
	syncfs(stage.place);
	theirs = bench_nsec() - start;
	start = bench_nsec();
	if (bench_run(&stage.b, import, -1) != 0)
		stage_die("import");
	ours = bench_nsec() - start;
	stage_row("import of a tar", (double)ours / 1e6, "ms", (double)theirs / 1e6,
		  "tar x and syncfs", 2);
	io_remove_tree(stage.place, "unpacked", 0);
	unlinkat(stage.place, "tree.tar", 0);
}
