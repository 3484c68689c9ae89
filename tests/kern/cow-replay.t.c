/* tests/kern/cow-replay.t.c - power cuts under a disk that keeps what it is told in a cache
 *
 * The store is on a loop device whose writes and flushes are recorded (fuse-disk.h) while guests'
 * files are unified, snapshotted, cloned and collected. After a power cut such a disk has all that
 * came before the last flush, and of what came after it nothing, or some: both disks are made from
 * the record, mounted, guests are started on them, and all of their files read.
 * COW_REPLAY_CUTS=N on each file system, COW_REPLAY_FS=TYPE for only one. */
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cow-fs/snapshot.h"
#include "lib/base/own.h"
#include "tests/kern/cow-cut.h"
#include "tests/kern/fuse-disk.h"

#define PER_RUN 10
#define LOG_MAX (512ULL << 20)
#define PIECE   4096U /* is written whole or not at all */

/* The files that are needed, all on the fixture's tmpfs. */
static char base[120], work[120], cut[120], log_path[120], fuse_at[120], disk[130];

struct record {
	const unsigned char *log;
	size_t bytes;
	size_t *entry; /* of each, its place in the log */
	unsigned n, n_room;
	unsigned *end; /* of an interval: the entry of its flush, or N for the last one */
	unsigned n_end, end_room;
};

static uint64_t lost, kept; /* pieces after the last flush */
static uint64_t dice_state;

/* Numerical Recipes' 64-bit congruence; the same cuts in each run of the test. */
static unsigned dice(unsigned sides)
{
	dice_state = dice_state * 6364136223846793005ULL + 1442695040888963407ULL;
	return (unsigned)((dice_state >> 33) % sides);
}

/* ---- images ---- */

/* Makes TO what FROM is, with its holes. */
static int copy_image(const char *from, const char *to)
{
	auto_close int a = open(from, O_RDONLY | O_CLOEXEC);
	auto_close int b = open(to, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	const unsigned char *p = mmap(NULL, IMAGE, PROT_READ, MAP_SHARED, a, 0);
	off_t data = 0, hole;
	int r = p == MAP_FAILED || ftruncate(b, (off_t)IMAGE) < 0 ? -errno : 0;

	while (r == 0 && (data = lseek(a, data, SEEK_DATA)) >= 0) {
		hole = lseek(a, data, SEEK_HOLE);
		r = io_write_all_at(b, p + data, (size_t)(hole - data), data);
		data = hole;
	}
	if (p != MAP_FAILED)
		munmap((void *)p, IMAGE);
	return r;
}

static bool same_images(const char *x, const char *y)
{
	auto_close int a = open(x, O_RDONLY | O_CLOEXEC), b = open(y, O_RDONLY | O_CLOEXEC);
	static unsigned char p[1 << 20], q[sizeof(p)];
	bool same = a >= 0 && b >= 0;

	for (off_t i = 0; same && i < (off_t)IMAGE; i += sizeof(p))
		same = pread(a, p, sizeof(p), i) == sizeof(p) &&
		       pread(b, q, sizeof(q), i) == sizeof(q) && memcmp(p, q, sizeof(p)) == 0;
	return same;
}

/* ---- the record ---- */

static void add_end(struct record *r, unsigned i)
{
	if (r->n_end == r->end_room) {
		r->end_room = r->end_room ? r->end_room * 2 : 256;
		r->end = realloc(r->end, r->end_room * sizeof(*r->end));
	}
	if (!r->end)
		cut_bail("out of memory");
	r->end[r->n_end++] = i;
}

static const struct disk_entry *entry_of(const struct record *r, unsigned i)
{
	return (const void *)(r->log + r->entry[i]);
}

static void add_entry(struct record *r, size_t place)
{
	if (r->n == r->n_room) {
		r->n_room = r->n_room ? r->n_room * 2 : 4096;
		r->entry = realloc(r->entry, r->n_room * sizeof(*r->entry));
	}
	if (!r->entry)
		cut_bail("out of memory");
	r->entry[r->n] = place;
	if (entry_of(r, r->n)->kind == DISK_FLUSH)
		add_end(r, r->n);
	r->n++;
}

static void record_open(struct record *r)
{
	auto_close int fd = open(log_path, O_RDONLY | O_CLOEXEC);
	struct stat st = { 0 };
	size_t i = 0;

	*r = (struct record){ 0 };
	if (fd < 0 || fstat(fd, &st) < 0 || st.st_size == 0)
		cut_bail("nothing was recorded");
	r->bytes = (size_t)st.st_size;
	r->log = mmap(NULL, r->bytes, PROT_READ, MAP_SHARED, fd, 0);
	if (r->log == MAP_FAILED)
		cut_bail("cannot map the record");
	while (i + sizeof(struct disk_entry) <= r->bytes) {
		const struct disk_entry *e = (const void *)(r->log + i);

		/* Sectors: what follows is aligned too. */
		if (e->bytes % 512 != 0 || e->bytes > r->bytes - i - sizeof(*e))
			cut_bail("the record is damaged");
		add_entry(r, i);
		i += sizeof(*e) + e->bytes;
	}
	if (r->n_end == 0 || r->n_end == r->n)
		cut_bail("the loop device passes no writes or no flushes on");
	add_end(r, r->n);
}

static void record_close(struct record *r)
{
	munmap((void *)r->log, r->bytes);
	free(r->entry);
	free(r->end);
}

/* Writes E to the image TO: of its pieces the share of one in SOME, all with 1, none with 0. */
static int replay_entry(int to, const struct disk_entry *e, unsigned some)
{
	const unsigned char *data = (const void *)(e + 1);
	int r = 0;

	if (some == 1)
		return io_write_all_at(to, data, e->bytes, (off_t)e->offset);
	for (uint32_t i = 0; r == 0 && i < e->bytes; i += PIECE) {
		uint32_t n = e->bytes - i < PIECE ? e->bytes - i : PIECE;

		if (some == 0 || dice(some) > 0) {
			lost++;
			continue;
		}
		kept++;
		r = io_write_all_at(to, data + i, n, (off_t)(e->offset + i));
	}
	return r;
}

/* Makes CUT the disk after a cut before entry N. SURE entries of these are there, of the others the
 * share SOME. */
static void replay(const struct record *r, unsigned sure, unsigned n, unsigned some)
{
	int to, failed = copy_image(base, cut);

	to = open(cut, O_RDWR | O_CLOEXEC);
	for (unsigned i = 0; failed == 0 && i < n; i++)
		failed = replay_entry(to, entry_of(r, i), i < sure ? 1 : some);
	close(to);
	if (failed)
		cut_bail("cannot write an image");
}

/* ---- what is recorded ---- */

/* Guests that come and go meanwhile. */
static const struct cut_other others[] = { { "old", 1 }, { "copy", 0 }, { NULL, 0 } };

/* A neighbour waits for the disk in the middle of it. */
static int sync_now(const struct cowfs_unified *n, void *arg)
{
	(void)arg;
	return n->swapped && syncfs(store.dir) < 0 ? -errno : 0;
}

static void need(int r, const char *what)
{
	if (r == 0)
		return;
	printf("# %s: %s\n", what, err.why);
	fflush(stdout);
	_exit(1);
}

static void collect(bool trim)
{
	const struct cowfs_gc all = { .trim = trim };
	struct cowfs_collected gone;

	sweep_all();
	need(cowfs_gc(&store, NULL, &all, &gone, &err), "gc");
}

/* The objects of "old" go, and some of them come back with the second guest. */
static void work_on_store(unsigned run)
{
	const struct cowfs_cloning copy = { .from = "g0", .to = "copy", .durable = true };
	bool is_live = run % 2, synced = run / 2 % 2;

	open_store();
	need(unify_guest("g0", is_live, synced ? sync_now : NULL), "unify");
	need(cowfs_root_remove(&store, "old", &err), "remove");
	collect(false);
	need(unify_guest("g1", is_live, synced ? sync_now : NULL), "unify");
	need(cowfs_snapshot_make(&store, "g0", "s", &err), "snapshot");
	need(cowfs_clone(&store, &copy, &err), "clone");
	need(cowfs_snapshot_restore(&store, "g0", "s", &err), "restore");
	need(cowfs_snapshot_delete(&store, "g0", "s", &err), "delete");
	collect(true);
	close_store();
}

static void run_recorded(unsigned run)
{
	auto_close int image = -1, log = -1;
	int status = 0;
	pid_t server, pid;

	if (copy_image(base, work) < 0)
		cut_bail("cannot write an image");
	image = open(work, O_RDWR | O_CLOEXEC);
	log = open(log_path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fuse_disk_start(fuse_at, image, log, LOG_MAX, &server) < 0)
		cut_bail("cannot mount by FUSE");
	if (image_mount(disk, type, at, NULL) < 0)
		cut_bail("cannot mount the recorded disk");
	pid = cut_fork();
	if (pid == 0) {
		work_on_store(run);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	umount(at);
	if (fuse_disk_stop(fuse_at, server) < 0 || status != 0)
		cut_bail("the work that is recorded has failed");
}

/* At the intervals' ends, where the most is in the cache, and somewhere in them. */
static void cut_interval(const struct record *r, unsigned i)
{
	unsigned sure = i ? r->end[i - 1] : 0, n = r->end[i];

	replay(r, sure, n, 0);
	check_cut(cut, others);
	replay(r, sure, sure + (n > sure ? 1 + dice(n - sure) : 0), 2);
	check_cut(cut, others);
}

static bool run_and_cut(unsigned run)
{
	struct record r;
	bool whole;

	dice_state = run;
	run_recorded(run);
	record_open(&r);
	replay(&r, r.n, r.n, 1);
	whole = same_images(cut, work);
	printf("# run %u on %s: %u writes, %u flushes, %u MiB\n", run, type, r.n - r.n_end + 1,
	       r.n_end - 1, (unsigned)(r.bytes >> 20));
	for (unsigned i = 0; i < PER_RUN / 2; i++)
		cut_interval(&r, (unsigned)((uint64_t)r.n_end * i / (PER_RUN / 2)) +
					 dice(r.n_end / (PER_RUN / 2) ?: 1));
	record_close(&r);
	return whole;
}

/* ---- all of it ---- */

static bool make_base(void)
{
	if (image_make(base, type, IMAGE) != 0 || image_mount(base, type, at, NULL) < 0)
		return false;
	open_store();
	fill_base();
	fill_guest("old", 1);
	let_settle();
	if (unify_guest("old", false, NULL) < 0)
		cut_bail("cannot unify a guest");
	close_store();
	umount(at);
	return true;
}

static void cuts_on(const char *fs, unsigned want)
{
	bool whole = true;

	type = fs;
	memset(&sum, 0, sizeof(sum));
	lost = kept = 0;
	if (!make_base()) {
		tap_skip(fs, "no such file system in a loop device");
		return;
	}
	for (unsigned run = 0; sum.cuts < want; run++)
		whole = run_and_cut(run) && whole;
	ok(whole, "%s: the whole record makes the disk that it was made of", fs);
	ok(sum.failed == 0 && sum.mid > 0,
	   "%u cuts, all were mounted, %u in the middle of swapping", sum.cuts, sum.mid);
	ok(lost > 0 && kept > 0, "%ju writes after the last flush were lost, %ju were not",
	   (uintmax_t)lost, (uintmax_t)kept);
	ok(sum.corrupt == 0, "%u files or objects were not what they had to be", sum.corrupt);
}

static bool fuse_works(void)
{
	auto_close int image = memory_file("", 1), log = memory_file("", 0);
	pid_t server;
	int r = fuse_disk_start(fuse_at, image, log, LOG_MAX, &server);

	if (r == 0)
		r = fuse_disk_stop(fuse_at, server);
	if (r < 0)
		printf("1..0 # SKIP no FUSE: %s\n", strerror(-r));
	return r == 0;
}

static void make_places(void)
{
	cowfs_close(&store);
	close(fixture_dir);
	if (mount("tmpfs", fixture_path, "tmpfs", 0, "size=90%") < 0)
		exit(99);
	snprintf(base, sizeof(base), "%s/base", fixture_path);
	snprintf(work, sizeof(work), "%s/work", fixture_path);
	snprintf(cut, sizeof(cut), "%s/cut", fixture_path);
	snprintf(log_path, sizeof(log_path), "%s/log", fixture_path);
	snprintf(at, sizeof(at), "%s/at", fixture_path);
	snprintf(fuse_at, sizeof(fuse_at), "%s/fuse", fixture_path);
	snprintf(disk, sizeof(disk), "%s/%s", fuse_at, FUSE_DISK_NAME);
	mkdir(at, 0700);
	mkdir(fuse_at, 0700);
}

int main(void)
{
	const char *asked = getenv("COW_REPLAY_CUTS"), *fs = getenv("COW_REPLAY_FS");
	unsigned want = asked ? (unsigned)strtoul(asked, NULL, 10) : 40;

	fixture_init();
	cut_guarded();
	make_places();
	if (!fuse_works())
		return 0;
	cuts_on(fs ?: "ext4", want);
	if (!fs)
		cuts_on("xfs", want);
	return tap_done();
}
