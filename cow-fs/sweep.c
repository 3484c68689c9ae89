/* cow-fs/sweep.c - removing what was renamed away or left behind
 *
 * What is removed was a guest's: it may be nested deeper than any stack or table of descriptors. So
 * a directory inside a piece of trash is not entered: its entries are unlinked or, if they are
 * directories with content, renamed up into the piece. Each step frees something or makes the tree
 * flatter. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cow-fs/inner.h"
#include "cow-fs/store.h"
#include "lib/base/io.h"
#include "lib/base/own.h"

#define OPEN_DIR (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

struct emptying {
	int dir;   /* that is read */
	int piece; /* takes DIR's subdirectories, -1: DIR is the piece */
	unsigned *budget;
	unsigned done; /* entries removed or moved in this pass */
	int failed;    /* the last failure, 0 if none */
};

static int empty_dir(struct emptying *e, int (*fn)(const char *, void *));

/* Unlinks NAME; -ENOTEMPTY for a directory with content. */
static int unlink_any(int dir, const char *name)
{
	if (unlinkat(dir, name, 0) == 0)
		return 0;
	if (errno == EISDIR && unlinkat(dir, name, AT_REMOVEDIR) == 0)
		return 0;
	return errno == ENOENT ? 0 : -errno;
}

static int spend(struct emptying *e)
{
	e->done++;
	return --*e->budget == 0 ? -EAGAIN : 0;
}

static int remove_or_lift(const char *name, void *arg)
{
	struct emptying *e = arg;
	char id[COWFS_ID_SIZE];
	int r = unlink_any(e->dir, name);

	if (r == -ENOTEMPTY) {
		r = cowfs_id_make(id);
		if (r == 0 && renameat(e->dir, name, e->piece, id) < 0)
			r = -errno;
	}
	if (r < 0) {
		e->failed = r;
		return 0;
	}
	return spend(e);
}

static int remove_from_piece(const char *name, void *arg)
{
	struct emptying *e = arg;
	auto_close int fd = -1;
	struct emptying below = { .piece = e->dir, .budget = e->budget };
	int r = unlink_any(e->dir, name);

	if (r == -ENOTEMPTY) {
		fd = openat(e->dir, name, OPEN_DIR);
		below.dir = fd;
		r = fd < 0 ? -errno : empty_dir(&below, remove_or_lift);
		e->done += below.done;
		if (r == 0)
			r = unlink_any(e->dir, name);
	}
	if (r == -EAGAIN)
		return r;
	if (r < 0) {
		e->failed = r;
		return 0;
	}
	return spend(e);
}

/* Reading a directory while it changes may skip entries: again, as long as there is progress. */
static int empty_dir(struct emptying *e, int (*fn)(const char *, void *))
{
	int r;

	do {
		e->done = 0;
		e->failed = 0;
		r = io_each_entry(e->dir, fn, e);
	} while (r == 0 && e->done > 0);
	return r < 0 ? r : e->failed;
}

int cowfs_trash_empty(const struct cowfs *c, const char *name, unsigned *budget)
{
	auto_close int fd = -1;
	struct emptying e = { .piece = -1, .budget = budget };
	int r = unlink_any(c->trash, name);

	if (r != -ENOTEMPTY)
		return r;
	fd = e.dir = openat(c->trash, name, OPEN_DIR);
	if (fd < 0)
		return -errno;
	r = empty_dir(&e, remove_from_piece);
	return r < 0 ? r : unlink_any(c->trash, name);
}

struct sweeping {
	const struct cowfs *c;
	unsigned *budget;
	unsigned retired;
	bool locked; /* exclusively */
	int failed;
};

static int sweep_piece(const char *name, void *arg)
{
	struct sweeping *s = arg;
	int r = cowfs_trash_empty(s->c, name, s->budget);

	if (r < 0 && r != -EAGAIN)
		s->failed = r;
	if (r == -EAGAIN)
		return r;
	return --*s->budget == 0 ? -EAGAIN : 0;
}

/* A live import holds its directory's lock, a guest being made the store's. */
static int retire_abandoned(const char *name, void *arg)
{
	struct sweeping *s = arg;
	auto_close int fd = -1;
	int r;

	if (strncmp(name, "g-", 2) == 0 && !s->locked)
		return 0;
	fd = openat(s->c->tmp, name, OPEN_DIR);
	if (fd >= 0 && io_lock(fd) < 0)
		return 0;
	r = cowfs_retire(s->c, s->c->tmp, name);
	if (r == 0)
		s->retired++;
	else if (r != -ENOENT)
		s->failed = r;
	return 0;
}

int cowfs_sweep(const struct cowfs *c, unsigned max_entries)
{
	unsigned budget = max_entries ? max_entries : (unsigned)-1;
	struct sweeping s = { .c = c, .budget = &budget };
	struct cos_err err;
	int r;

	r = io_each_entry(c->trash, sweep_piece, &s);
	if (r < 0)
		return r;
	/* Searching costs more than looking into an empty trash: only when that is done. */
	s.locked = cowfs_lock(c, LOCK_EX | LOCK_NB) == 0;
	r = io_each_entry(c->tmp, retire_abandoned, &s);
	if (r == 0 && s.locked) {
		r = cowfs_layers_collect(c, &err);
		s.retired += r > 0 ? (unsigned)r : 0;
	}
	if (s.locked)
		cowfs_unlock(c);
	if (r < 0)
		return r;
	if (s.retired > 0 || !s.locked)
		return -EAGAIN;
	return s.failed;
}
