/* tests/kern/cow-cut.h - a store on a disk whose power goes, and what must be true of it then
 *
 * The store is on a file system in an image. Its guests' files are unified; whenever the power
 * goes, each file is the old one or a stub of it, and both read the same. */
#pragma once

#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cow-fs/gc.h"
#include "tests/kern/cow-guest.h"
#include "tests/kern/cow-image.h"

#define ID_A   "00000000000000000000000000000aaa"
#define FILES  900
#define GUESTS 2
#define IMAGE  (384ULL << 20)

static const char *type; /* of the file system */
static char at[120];     /* where it is mounted */
static struct {
	unsigned cuts, mid, corrupt, failed;
} sum;

/* Guests that need not be there, but if they are, are whole: with the files of guest OF. */
struct cut_other {
	const char *name;
	unsigned of;
};

static inline size_t size_of(unsigned i)
{
	return 9000 + i % 10 * 700;
}

/* Half of them are the same in both guests. */
static inline unsigned seed_of(unsigned guest, unsigned i)
{
	return i % 2 ? 1000 + i : 5000 + guest * 1000 + i;
}

static inline void cut_bail(const char *why)
{
	printf("Bail out! %s\n", why);
	fflush(stdout);
	exit(99);
}

/* A child that ends with its parent. */
static inline pid_t cut_fork(void)
{
	pid_t parent = getpid(), pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0 && (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent))
		_exit(99);
	return pid;
}

/* Returns in a child, which does the work; the fixture is cleared when that ends or is killed, or a
 * signal asks for the end. */
static inline void cut_guarded(void)
{
	int status = 0, sig = 0;
	sigset_t set, before;
	pid_t pid;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, &before);
	pid = cut_fork();
	if (pid < 0)
		exit(99);
	if (pid == 0) {
		sigprocmask(SIG_SETMASK, &before, NULL);
		return;
	}
	sigwait(&set, &sig);
	if (sig != SIGCHLD)
		kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	exit(sig != SIGCHLD      ? 128 + sig
	     : WIFEXITED(status) ? WEXITSTATUS(status)
				 : 128 + WTERMSIG(status));
}

static inline void open_store(void)
{
	int state;

	fixture_dir = open(at, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	state = io_dir_at(fixture_dir, "state", 0700);
	if (state < 0 || cowfs_open(state, &store, &err) < 0)
		cut_bail(err.why);
	close(state);
}

static inline void close_store(void)
{
	cowfs_close(&store);
	close(fixture_dir);
}

/* The guest NAME with the files of guest G. */
static inline void fill_guest(const char *name, unsigned g)
{
	char file[16];
	int up;

	make_guest(name, "t", NULL);
	up = upper_of(name);
	for (unsigned i = 0; i < FILES; i++) {
		snprintf(file, sizeof(file), "f%u", i);
		put_data(up, file, seed_of(g, i), size_of(i), i % 3 ? 0644 : 0755);
	}
	close(up);
}

static inline void fill_base(void)
{
	char name[16];

	guests_init();
	close(make_layer(ID_A));
	make_template("t", ID_A);
	for (unsigned g = 0; g < GUESTS; g++) {
		snprintf(name, sizeof(name), "g%u", g);
		fill_guest(name, g);
	}
	syncfs(store.dir);
}

static inline int no_freeze(bool on, void *arg)
{
	(void)on;
	(void)arg;
	return 0;
}

/* Returns what cowfs_unify() does; the reason is printed. */
static inline int unify_guest(const char *name, bool is_live,
			      int (*progress)(const struct cowfs_unified *n, void *arg))
{
	struct cowfs_live live = { .merged = is_live ? mount_guest(name) : -1,
				   .freeze = no_freeze };
	const struct cowfs_unify u = { .live = is_live ? &live : NULL, .progress = progress };
	struct cowfs_unified n;
	int r = cowfs_unify(&store, name, &u, &n, &err);

	close(live.merged);
	if (r < 0)
		printf("# unify %s: %s\n", name, err.why);
	fflush(stdout);
	return r;
}

static inline int unify_all(bool is_live, int (*progress)(const struct cowfs_unified *n, void *arg))
{
	char name[16];
	int r = 0;

	for (unsigned g = 0; r == 0 && g < GUESTS; g++) {
		snprintf(name, sizeof(name), "g%u", g);
		r = unify_guest(name, is_live, progress);
	}
	return r;
}

/* ---- what a disk holds ---- */

/* Counts the files that are stubs, or in a layer, whose files are not touched any more. */
static inline unsigned check_guest(const char *name, unsigned g)
{
	unsigned done = 0;
	char file[16];
	int up, m;

	m = mount_guest(name);
	if (m < 0) {
		printf("# cut %u, %s: %s\n", sum.cuts, name, err.why);
		sum.corrupt++;
		return 0;
	}
	up = upper_of(name);
	for (unsigned i = 0; i < FILES; i++) {
		snprintf(file, sizeof(file), "f%u", i);
		done += !has(up, file) || is_stub(up, file);
		if (!has_data(m, file, seed_of(g, i), size_of(i))) {
			printf("# cut %u, %s: %s is not what it was\n", sum.cuts, name, file);
			sum.corrupt++;
		}
	}
	if (entries_in(m) != FILES) {
		printf("# cut %u, %s: %u entries\n", sum.cuts, name, entries_in(m));
		sum.corrupt++;
	}
	close(up);
	close(m);
	return done;
}

/* Of all guests; OTHERS ends with a NULL, as does it itself when there are none. */
static inline unsigned check_guests(const struct cut_other *others)
{
	unsigned done = 0;
	char name[16];

	for (unsigned g = 0; g < GUESTS; g++) {
		snprintf(name, sizeof(name), "g%u", g);
		done += check_guest(name, g);
	}
	for (; others && others->name; others++)
		if (has(store.guests, others->name))
			check_guest(others->name, others->of);
	return done;
}

/* What follows a crash works: what nobody names goes, and all is unified in the end. */
static inline void check_sequel(const struct cut_other *others)
{
	const struct cowfs_gc all = { .trim = sum.cuts % 8 == 0 };
	struct cowfs_collected gone;
	unsigned done;

	if (cowfs_gc(&store, NULL, &all, &gone, &err) < 0) {
		printf("# cut %u: gc: %s\n", sum.cuts, err.why);
		sum.corrupt++;
	}
	check_guests(others);
	if (unify_all(false, NULL) < 0)
		sum.corrupt++;
	done = check_guests(others);
	if (done != GUESTS * FILES) {
		printf("# cut %u: %u stubs after another run\n", sum.cuts, done);
		sum.corrupt++;
	}
}

/* What the disk IMAGE was left with. It is written to. */
static inline void check_cut(const char *image, const struct cut_other *others)
{
	const struct cowfs_scrub look = { .from = -1, .dry_run = true };
	struct cowfs_scrubbed found = { 0 };
	unsigned done;

	sum.cuts++;
	if (image_mount(image, type, at, NULL) < 0) {
		printf("# cut %u: does not mount\n", sum.cuts);
		sum.failed++;
		return;
	}
	open_store();
	done = check_guests(others);
	sum.mid += done > 0 && done < GUESTS * FILES;
	if (cowfs_scrub(&store, NULL, &look, &found, &err) < 0 || found.bad > 0) {
		printf("# cut %u: %u objects are not what they say\n", sum.cuts,
		       (unsigned)found.bad);
		sum.corrupt++;
	}
	if (sum.cuts % 4 == 0)
		check_sequel(others);
	close_store();
	umount(at);
}
