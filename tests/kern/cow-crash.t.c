/* tests/kern/cow-crash.t.c - power cuts while files are unified: each is the old one or a stub of
 * it
 *
 * The store is on a file system in an image, which lies on an xfs of its own. A reflink clone of
 * the image is what a disk would hold if the power went at that moment. Each clone is mounted,
 * guests are started on it, and all of their files read. COW_CRASH_CUTS=N, COW_CRASH_FS=TYPE. */
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/kern/cow-cut.h"

#define PER_RUN 12

static char base[120], work[120];

static int clone_file(const char *from, const char *to)
{
	int a = open(from, O_RDONLY | O_CLOEXEC), b = open(to, O_RDWR | O_CREAT | O_TRUNC, 0600);
	int r = ioctl(b, FICLONE, a);

	close(a);
	close(b);
	return r;
}

static int tell = -1;

/* Cuts are made where something happens. */
static int tell_progress(const struct cowfs_unified *n, void *arg)
{
	(void)arg;
	return write(tell, n->swapped ? "s" : "h", 1) != 1;
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

	if (clone_file(base, work) < 0 || image_mount(work, type, at, NULL) < 0)
		cut_bail("cannot mount the image");
	open_store();
	pipe2(p, O_CLOEXEC);
	pid = cut_fork();
	if (pid == 0) {
		close(p[0]);
		tell = p[1];
		_exit(unify_all(is_live, tell_progress) < 0);
	}
	close(p[1]);
	n = make_cuts(p[0], run, cut);
	waitpid(pid, &status, 0);
	close(p[0]);
	sum.failed += status != 0;
	close_store();
	umount(at);
	for (unsigned i = 0; i < n; i++) {
		check_cut(cut[i], NULL);
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
	cut_guarded();
	if (!make_base())
		return 0;
	open_store();
	fill_base();
	close_store();
	umount(at);
	for (unsigned run = 0; sum.cuts < want && run < want; run++)
		run_and_cut(run, run % 2);
	ok(sum.cuts >= want, "%u cuts on %s, %u in the middle of swapping", sum.cuts, type,
	   sum.mid);
	ok(sum.mid > 0 && sum.failed == 0, "all were mounted");
	ok(sum.corrupt == 0, "%u files or objects were not what they had to be", sum.corrupt);
	return tap_done();
}
