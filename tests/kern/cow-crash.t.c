/* tests/kern/cow-crash.t.c - power cuts while files are unified: each is the old one or a stub of
 * it
 *
 * The store is on a file system in an image, which lies on an xfs of its own. A reflink clone of
 * the image is what a disk would hold if the power went at that moment. Each clone is mounted,
 * guests are started on it, and all of their files read. COW_CRASH_CUTS=N, COW_CRASH_FS=TYPE. */
#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cow-fs/gc.h"
#include "tests/kern/cow-guest.h"
#include "tests/kern/cow-image.h"

#define ID_A    "00000000000000000000000000000aaa"
#define FILES   900
#define GUESTS  2
#define PER_RUN 12
#define IMAGE   (384ULL << 20)

static const char *type;
static char base[120], work[120], at[120];
static struct {
	unsigned cuts, mid, corrupt, failed;
} sum;

static size_t size_of(unsigned i)
{
	return 9000 + i % 10 * 700;
}

/* Half of them are the same in both guests. */
static unsigned seed_of(unsigned guest, unsigned i)
{
	return i % 2 ? 1000 + i : 5000 + guest * 1000 + i;
}

static void open_store(void)
{
	int state;

	fixture_dir = open(at, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	state = io_dir_at(fixture_dir, "state", 0700);
	if (state < 0 || cowfs_open(state, &store, &err) < 0) {
		printf("Bail out! %s\n", err.why);
		exit(99);
	}
	close(state);
}

static void close_store(void)
{
	cowfs_close(&store);
	close(fixture_dir);
}

static void fill_base(void)
{
	char name[16];

	open_store();
	guests_init();
	close(make_layer(ID_A));
	make_template("t", ID_A);
	for (unsigned g = 0; g < GUESTS; g++) {
		int up;

		snprintf(name, sizeof(name), "g%u", g);
		make_guest(name, "t", NULL);
		up = upper_of(name);
		for (unsigned i = 0; i < FILES; i++) {
			snprintf(name, sizeof(name), "f%u", i);
			put_data(up, name, seed_of(g, i), size_of(i), i % 3 ? 0644 : 0755);
		}
		close(up);
	}
	syncfs(store.dir);
	close_store();
}

static int clone_file(const char *from, const char *to)
{
	int a = open(from, O_RDONLY | O_CLOEXEC), b = open(to, O_RDWR | O_CREAT | O_TRUNC, 0600);
	int r = ioctl(b, FICLONE, a);

	close(a);
	close(b);
	return r;
}

static int no_freeze(bool on, void *arg)
{
	(void)on;
	(void)arg;
	return 0;
}

static int tell = -1;

/* Cuts are made where something happens. */
static int tell_progress(const struct cowfs_unified *n, void *arg)
{
	(void)arg;
	return write(tell, n->swapped ? "s" : "h", 1) != 1;
}

static void unify_all(bool is_live)
{
	for (unsigned g = 0; g < GUESTS; g++) {
		struct cowfs_live live = { .freeze = no_freeze };
		const struct cowfs_unify u = {
			.live = is_live ? &live : NULL,
			.progress = tell >= 0 ? tell_progress : NULL,
		};
		struct cowfs_unified n;
		char name[16];
		int r;

		snprintf(name, sizeof(name), "g%u", g);
		live.merged = is_live ? mount_guest(name) : -1;
		r = cowfs_unify(&store, name, &u, &n, &err);
		close(live.merged);
		if (r < 0) {
			printf("# unify %s: %s\n", name, err.why);
			fflush(stdout);
			_exit(1);
		}
	}
}

/* ---- what a disk holds ---- */

static void check_guest(unsigned g, unsigned *stubs)
{
	char name[16], file[16];
	int up, m;

	snprintf(name, sizeof(name), "g%u", g);
	m = mount_guest(name);
	if (m < 0) {
		printf("# cut %u, %s: %s\n", sum.cuts, name, err.why);
		sum.corrupt++;
		return;
	}
	up = upper_of(name);
	for (unsigned i = 0; i < FILES; i++) {
		snprintf(file, sizeof(file), "f%u", i);
		*stubs += is_stub(up, file);
		if (!has_data(m, file, seed_of(g, i), size_of(i))) {
			printf("# cut %u, %s: %s is not what it was\n", sum.cuts, name, file);
			sum.corrupt++;
		}
	}
	if (entries_in(up) != FILES + 1) {
		printf("# cut %u, %s: %u entries\n", sum.cuts, name, entries_in(up));
		sum.corrupt++;
	}
	close(up);
	close(m);
}

static void check_cut(const char *image)
{
	const struct cowfs_scrub look = { .from = -1, .dry_run = true };
	struct cowfs_scrubbed found = { 0 };
	unsigned stubs = 0;

	sum.cuts++;
	if (image_mount(image, type, at, NULL) < 0) {
		printf("# cut %u: does not mount\n", sum.cuts);
		sum.failed++;
		return;
	}
	open_store();
	for (unsigned g = 0; g < GUESTS; g++)
		check_guest(g, &stubs);
	sum.mid += stubs > 0 && stubs < GUESTS * FILES;
	if (cowfs_scrub(&store, NULL, &look, &found, &err) < 0 || found.bad > 0) {
		printf("# cut %u: %u objects are not what they say\n", sum.cuts,
		       (unsigned)found.bad);
		sum.corrupt++;
	}
	/* And what follows a crash works: all is unified in the end. */
	if (sum.cuts % 8 == 0) {
		unify_all(false);
		stubs = 0;
		for (unsigned g = 0; g < GUESTS; g++)
			check_guest(g, &stubs);
		if (stubs != GUESTS * FILES) {
			printf("# cut %u: %u stubs after another run\n", sum.cuts, stubs);
			sum.corrupt++;
		}
	}
	close_store();
	umount(at);
}

/* At each second batch of swaps, and at some of the steps before that. */
static unsigned make_cuts(int from, unsigned run, char cut[PER_RUN][140])
{
	unsigned n = 0, steps = 0;
	char what;

	while (read(from, &what, 1) == 1) {
		if (n == PER_RUN || (steps++ + run) % (what == 's' ? 2 : 9) != 0)
			continue;
		usleep((run * 7919 + n * 104729) % 3000);
		snprintf(cut[n], 140, "%s/cut%u", fixture_path, n);
		if (clone_file(work, cut[n]) == 0)
			n++;
	}
	return n;
}

static void run_and_cut(unsigned run, bool is_live)
{
	char cut[PER_RUN][140];
	int status = 0, p[2];
	unsigned n;
	pid_t pid;

	if (clone_file(base, work) < 0 || image_mount(work, type, at, NULL) < 0) {
		printf("Bail out! cannot mount %s\n", work);
		exit(99);
	}
	open_store();
	pipe2(p, O_CLOEXEC);
	pid = fork();
	if (pid == 0) {
		close(p[0]);
		tell = p[1];
		unify_all(is_live);
		_exit(0);
	}
	close(p[1]);
	n = make_cuts(p[0], run, cut);
	waitpid(pid, &status, 0);
	close(p[0]);
	sum.failed += status != 0;
	close_store();
	umount(at);
	for (unsigned i = 0; i < n; i++) {
		check_cut(cut[i]);
		unlink(cut[i]);
	}
}

static bool make_base(void)
{
	char outer[100];

	cowfs_close(&store);
	close(fixture_dir);
	snprintf(outer, sizeof(outer), "%s/outer", fixture_path);
	snprintf(at, sizeof(at), "%s/at", fixture_path);
	if (mount("tmpfs", fixture_path, "tmpfs", 0, "size=90%") < 0)
		exit(99);
	if (image_make(outer, "xfs", 8ULL << 30) != 0 ||
	    image_mount(outer, "xfs", fixture_path, NULL) < 0) {
		printf("1..0 # SKIP no xfs in a loop device to clone images on\n");
		return false;
	}
	snprintf(base, sizeof(base), "%s/base", fixture_path);
	snprintf(work, sizeof(work), "%s/work", fixture_path);
	mkdir(at, 0700);
	if (image_make(base, type, IMAGE) != 0 || image_mount(base, type, at, NULL) < 0) {
		printf("1..0 # SKIP no %s in a loop device\n", type);
		return false;
	}
	return true;
}

int main(void)
{
	const char *asked = getenv("COW_CRASH_CUTS");
	unsigned want = asked ? (unsigned)strtoul(asked, NULL, 10) : 12;

	type = getenv("COW_CRASH_FS") ?: "ext4";
	fixture_init();
	if (!make_base())
		return 0;
	fill_base();
	umount(at);
	for (unsigned run = 0; sum.cuts < want && run < want; run++)
		run_and_cut(run, run % 2);
	ok(sum.cuts >= want, "%u cuts on %s, %u in the middle of swapping", sum.cuts, type,
	   sum.mid);
	ok(sum.mid > 0 && sum.failed == 0, "all were mounted");
	ok(sum.corrupt == 0, "%u files or objects were not what they had to be", sum.corrupt);
	return tap_done();
}
