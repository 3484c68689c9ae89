/* cow-fs/unify-swap.c - stubs in the place of files, in batches; a running guest is frozen for each
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cow-fs/inner.h"
#include "cow-fs/mount.h"
#include "cow-fs/unify-inner.h"
#include "lib/base/clock.h"
#include "lib/base/io.h"
#include "lib/base/own.h"
#include "lib/base/str.h"

#define DISK_BLOCK 512U
#define WAIT_MSEC  1000 /* for a guest that is being started */
#define NOT_ELSEWHERE                                                                              \
	(RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV)

struct batch {
	struct unify *f;
	size_t from, n;       /* candidates */
	int fd[BATCH_MAX];    /* the files; -1: has no stub */
	bool gone[BATCH_MAX]; /* the stub is in its place */
	char name[48];        /* of the directory that the stubs are in */
	int stubs;            /* that directory */
	int live;             /* the same through the guest's root; -1 */
	int parent;           /* where the last file was swapped, and its path */
	char parent_path[TREE_PATH_SIZE];
};

static void name_of(size_t i, char name[16])
{
	snprintf(name, 16, "%u", (unsigned)i);
}

/* ---- preparing: the guest runs ---- */

static int prepare_one(struct batch *b, size_t i)
{
	const struct candidate *c = &b->f->cand[b->from + i];
	auto_close int fd = -1;
	struct stat st;
	char name[16];
	int r;

	if (c->lost)
		return 0;
	fd = io_open2(b->f->top, c->path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_NOATIME,
		      0, NOT_ELSEWHERE);
	if (fd < 0 || fstat(fd, &st) < 0 || !unify_is_same(c, &st)) {
		b->f->count.busy++;
		return 0;
	}
	name_of(i, name);
	r = stub_make(b->stubs, name, &c->digest, fd, &st);
	if (r == -ENOSPC || r == -EDQUOT || r == -ENOMEM || r == -EIO)
		return r;
	if (r < 0)
		b->f->count.unable++;
	else
		b->fd[i] = take_fd(fd);
	return 0;
}

static int prepare(struct batch *b)
{
	struct unify *f = b->f;
	int r = 0;

	snprintf(b->name, sizeof(b->name), "%s-%u", f->prefix, f->batch_no++);
	b->stubs = io_dir_at(f->place, b->name, 0700);
	if (b->stubs < 0)
		return b->stubs;
	for (size_t i = 0; i < b->n && r == 0; i++)
		r = prepare_one(b, i);
	return r;
}

static void batch_done(struct batch *b)
{
	for (size_t i = 0; i < b->n; i++)
		close_p(&b->fd[i]);
	close_p(&b->parent);
	close_p(&b->stubs);
	close_p(&b->live);
	io_remove_tree(b->f->place, b->name, 0);
}

/* ---- swapping: nobody of the guest runs ---- */

/* The directory of PATH below where the renames happen; borrowed until the next call. */
static int parent_of(struct batch *b, const char *path, const char **ret_name)
{
	int root = b->f->u->live ? b->f->u->live->merged : b->f->top;
	const char *slash = strrchr(path, '/');
	size_t len = slash ? (size_t)(slash - path) : 0;

	*ret_name = slash ? slash + 1 : path;
	if (b->parent >= 0 && strlen(b->parent_path) == len &&
	    memcmp(b->parent_path, path, len) == 0)
		return b->parent;
	close_p(&b->parent);
	memcpy(b->parent_path, path, len);
	b->parent_path[len] = '\0';
	b->parent =
		io_open2(root, len ? b->parent_path : ".", O_PATH | O_DIRECTORY, 0, NOT_ELSEWHERE);
	return b->parent;
}

/* Who has a program or a library open maps it, and gets another file when that is replaced. */
static bool may_have_readers(const struct candidate *c, const struct stat *st)
{
	return (st->st_mode & 0111) || strstr(c->path, ".so");
}

static int swap_one(struct batch *b, size_t i)
{
	const struct candidate *c = &b->f->cand[b->from + i];
	auto_close int now = io_open2(b->f->top, c->path, O_PATH | O_NOFOLLOW, 0, NOT_ELSEWHERE);
	char stub[16];
	const char *name;
	struct stat st, at;
	int dir, r;

	if (now < 0 || fstat(now, &at) < 0 || fstat(b->fd[i], &st) < 0 || !unify_is_same(c, &st) ||
	    at.st_ino != st.st_ino)
		return -EAGAIN;
	r = unify_lease(b->fd[i], may_have_readers(c, &st));
	if (r < 0)
		return r;
	name_of(i, stub);
	dir = parent_of(b, c->path, &name);
	if (dir < 0 || renameat(b->live >= 0 ? b->live : b->stubs, stub, dir, name) < 0) {
		r = dir < 0 ? dir : -errno;
		unify_unlease(b->fd[i]);
		return r;
	}
	b->gone[i] = true;
	b->f->count.swapped++;
	b->f->count.freed_bytes += c->blocks * DISK_BLOCK;
	return 0;
}

/* As many as the time allows, but one; returns how many were dealt with. */
static size_t swap_some(struct batch *b)
{
	uint64_t until = clock_usec() + COWFS_FREEZE_USEC;
	size_t i;

	for (i = 0; i < b->n; i++) {
		if (b->fd[i] < 0)
			continue;
		/* The file stays open, and leased: freeing what it takes is for later. */
		if (swap_one(b, i) < 0)
			b->f->count.busy++;
		if (clock_usec() >= until)
			return i + 1;
	}
	return i;
}

/* ---- a guest that does not run ---- */

static int lock_home(struct unify *f)
{
	const struct timespec pause = { .tv_nsec = 1000000 };
	int r;

	if (!f->is_guest)
		return 0;
	for (int tries = 0; (r = io_lock(f->home)) == -EWOULDBLOCK && tries < WAIT_MSEC; tries++)
		nanosleep(&pause, NULL);
	if (r == 0)
		r = cowfs_upper_in_use(f->top);
	if (r == 0)
		return 0;
	flock(f->home, LOCK_UN);
	if (r > 0 || r == -EWOULDBLOCK)
		return cos_advise(f->err, cos_fail(f->err, COS_E_IN_USE, 0, "the guest runs"),
				  "stop it, or unify it as a running one");
	return cos_fail(f->err, COS_E_KERNEL, -r, "look whether the guest runs");
}

static int swap_stopped(struct batch *b, size_t *ret_done)
{
	int r = lock_home(b->f);

	if (r < 0)
		return r;
	*ret_done = swap_some(b);
	if (b->f->is_guest)
		flock(b->f->home, LOCK_UN);
	return 0;
}

/* ---- a guest that runs ---- */

/* The stubs appear in the guest's root; through it, so that the overlay knows. */
static int show_stubs(struct batch *b)
{
	struct unify *f = b->f;

	f->is_dirty = true;
	if (renameat(f->place, b->name, f->top, b->name) < 0) {
		f->is_dirty = false;
		return -errno;
	}
	b->live = io_open2(f->u->live->merged, b->name, O_PATH | O_DIRECTORY, 0, NOT_ELSEWHERE);
	if (b->live >= 0)
		return 0;
	/* Not this guest's root. */
	if (renameat(f->top, b->name, f->place, b->name) == 0)
		f->is_dirty = false;
	return b->live;
}

/* Through the guest's root as well, or the overlay would remember them. */
static int hide_stubs(struct batch *b)
{
	char name[16];

	for (size_t i = 0; i < b->n; i++) {
		name_of(i, name);
		if (b->fd[i] >= 0 && !b->gone[i] && unlinkat(b->live, name, 0) < 0)
			return -errno;
	}
	if (unlinkat(b->f->u->live->merged, b->name, AT_REMOVEDIR) < 0)
		return -errno;
	b->f->is_dirty = false;
	return 0;
}

/* Stubs that were shown and not used cost time as well: batches are as large as the file system is
 * fast. */
static void count_frozen(struct unify *f, uint64_t usec)
{
	if (usec > COWFS_FREEZE_USEC / 2 && f->batch_max > 4)
		f->batch_max /= 2;
	else if (usec < COWFS_FREEZE_USEC / 4 && f->batch_max < BATCH_MAX)
		f->batch_max *= 2;

	f->count.batches++;
	f->count.frozen_usec += usec;
	if (usec > f->count.frozen_max_usec)
		f->count.frozen_max_usec = usec;
}

struct urgency {
	int policy; /* negative: it was not changed */
	struct sched_param param;
};

/* While a guest waits for us, nobody shall make us wait, least of all who is to work in the
 * background. Where that is not allowed it takes longer. */
static struct urgency hurry(void)
{
	const struct sched_param least = { .sched_priority = 1 };
	struct urgency was = { .policy = sched_getscheduler(0) };

	if (was.policy < 0 || sched_getparam(0, &was.param) < 0 ||
	    sched_setscheduler(0, SCHED_RR | SCHED_RESET_ON_FORK, &least) < 0)
		was.policy = -1;
	return was;
}

static void calm_down(const struct urgency *was)
{
	if (was->policy >= 0)
		sched_setscheduler(0, was->policy, &was->param);
}

static int swap_live(struct batch *b, size_t *ret_done)
{
	const struct cowfs_live *live = b->f->u->live;
	const struct urgency was = hurry();
	uint64_t start = clock_usec();
	int r = live->freeze(true, live->arg), e;

	if (r < 0) {
		live->freeze(false, live->arg);
		calm_down(&was);
		return cos_fail(b->f->err, COS_E_KERNEL, -r, "freeze the guest");
	}
	r = show_stubs(b);
	if (r == 0) {
		*ret_done = swap_some(b);
		r = hide_stubs(b);
	}
	e = live->freeze(false, live->arg);
	count_frozen(b->f, clock_usec() - start);
	calm_down(&was);
	if (e < 0)
		return cos_fail(b->f->err, COS_E_KERNEL, -e, "thaw the guest");
	if (r == -ENOENT)
		return cos_fail(
			b->f->err, COS_E_STATE, 0,
			"what was given as the guest's root is not an overlay on its files");
	return r < 0 ? cos_fail(b->f->err, COS_E_KERNEL, -r, "swap files") : 0;
}

/* ---- all ---- */

static int swap_batch(struct unify *f, size_t *from)
{
	struct batch b = { .f = f, .from = *from, .stubs = -1, .live = -1, .parent = -1 };
	const size_t max = f->u->live ? f->batch_max : BATCH_MAX;
	size_t done = 0;
	int r;

	b.n = f->n - *from < max ? f->n - *from : max;
	for (size_t i = 0; i < BATCH_MAX; i++)
		b.fd[i] = -1;
	r = prepare(&b);
	if (r < 0)
		cos_fail(f->err, COS_E_KERNEL, -r, "make stubs");
	else
		r = f->u->live ? swap_live(&b, &done) : swap_stopped(&b, &done);
	batch_done(&b);
	*from += done;
	return r;
}

int unify_swap_all(struct unify *f)
{
	size_t from = 0;
	int r = 0;

	while (r == 0 && from < f->n) {
		r = swap_batch(f, &from);
		if (r == 0 && f->u->progress && f->u->progress(&f->count, f->u->arg) != 0)
			return cos_fail(f->err, COS_E_KERNEL, ECANCELED, "asked to end");
	}
	return r;
}
