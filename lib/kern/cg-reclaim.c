/* lib/kern/cg-reclaim.c - memory that is taken from a guest before it meets its own limit */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "lib/base/io.h"
#include "lib/base/own.h"
#include "lib/kern/cg-inner.h"

#define DEPTH_MAX 8 /* of groups that a guest may make below its own */

/* The file names of a version of the memory controller. */
static const struct {
	const char *held, *limit, *none, *active_file, *idle_file, *active_anon, *idle_anon;
} names[] = {
	[CG_V1] = { "memory.usage_in_bytes", "memory.limit_in_bytes", "-1", "total_active_file",
		    "total_inactive_file", "total_active_anon", "total_inactive_anon" },
	[CG_V2] = { "memory.current", "memory.max", "max", "active_file", "inactive_file",
		    "active_anon", "inactive_anon" },
};

static enum cg_version version_of(const struct cg_topo *t)
{
	return t->h[t->where[CTL_MEMORY]].version;
}

static int open_slot(const struct cg_topo *t, const char *slot)
{
	int fd = openat(t->h[t->where[CTL_MEMORY]].root, slot,
			O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static int read_number(int dir, const char *file, uint64_t *ret)
{
	char text[64];
	ssize_t n = io_read_at(dir, file, text, sizeof(text));

	if (n < 0)
		return (int)n;
	*ret = strtoull(text, NULL, 10);
	return 0;
}

int cg_memory(const struct cg_topo *t, const char *slot, struct cg_memory *ret)
{
	enum cg_version v = version_of(t);
	auto_close int dir = open_slot(t, slot);
	struct cg_memory m = { 0 };
	char text[8192];
	int r = dir < 0 ? dir : read_number(dir, names[v].held, &m.held);

	if (r < 0)
		return r;
	r = (int)io_read_at(dir, "memory.stat", text, sizeof(text));
	if (r < 0)
		return r;
	m.idle_file = cg_flat_value(text, names[v].idle_file);
	m.active_file = cg_flat_value(text, names[v].active_file);
	m.anon =
		cg_flat_value(text, names[v].active_anon) + cg_flat_value(text, names[v].idle_anon);
	*ret = m;
	return 0;
}

/* The v1 controller has no file for that: its limit is lowered and raised again. Where the limit
 * cannot go down that far the kernel takes what it can and leaves it. In the moment between
 * the two writes the guest would rather wait than have a process ended. */
static int reclaim_v1(int dir, uint64_t bytes)
{
	char limit[64];
	uint64_t held = 0;
	ssize_t n;
	int r;

	if (flock(dir, LOCK_EX) < 0)
		return -errno;
	n = io_read_at(dir, names[CG_V1].limit, limit, sizeof(limit));
	r = n < 0 ? (int)n : read_number(dir, names[CG_V1].held, &held);
	if (r < 0)
		return r;
	io_write_at(dir, "memory.oom_control", "1", 1);
	r = io_writef_at(dir, names[CG_V1].limit, "%" PRIu64, held > bytes ? held - bytes : 0);
	io_write_at(dir, names[CG_V1].limit, limit, (size_t)n);
	io_write_at(dir, "memory.oom_control", "0", 1);
	return r == -EBUSY ? 0 : r;
}

int cg_reclaim(const struct cg_topo *t, const char *slot, uint64_t bytes)
{
	auto_close int dir = open_slot(t, slot);
	int r;

	if (dir < 0)
		return dir;
	if (version_of(t) == CG_V1)
		return reclaim_v1(dir, bytes);
	r = io_writef_at(dir, "memory.reclaim", "%" PRIu64, bytes);
	return r == -EAGAIN ? 0 : r;
}

int cg_memory_bound(const struct cg_topo *t, const char *slot, uint64_t bytes)
{
	enum cg_version v = version_of(t);
	auto_close int dir = open_slot(t, slot);
	int r;

	if (dir < 0)
		return dir;
	if (v == CG_V1 && flock(dir, LOCK_EX) < 0)
		return -errno;
	if (v == CG_V1)
		io_write_at(dir, "memory.oom_control", "0", 1);
	if (bytes == LIMIT_MAX)
		r = io_write_at(dir, names[v].limit, names[v].none, strlen(names[v].none));
	else
		r = io_writef_at(dir, names[v].limit, "%" PRIu64, bytes);
	return r < 0 ? r : 0;
}

/* --- processes --- */

struct walk {
	cg_process_fn *fn;
	void *arg;
	int dir;
	unsigned depth;
};

static int each_below(const char *name, void *arg);

static int each_in(int dir, const struct walk *from)
{
	struct walk w = { from->fn, from->arg, dir, from->depth + 1 };
	auto_free char *procs = NULL;
	char *save = NULL;

	if (io_slurp_at(dir, "cgroup.procs", 4U << 20, &procs) < 0)
		return 0; /* it has gone meanwhile */
	for (char *p = strtok_r(procs, "\n", &save); p; p = strtok_r(NULL, "\n", &save))
		w.fn((pid_t)strtol(p, NULL, 10), w.arg);
	return w.depth < DEPTH_MAX ? io_each_entry(dir, each_below, &w) : 0;
}

static int each_below(const char *name, void *arg)
{
	const struct walk *w = arg;
	auto_close int dir = openat(w->dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	return dir < 0 ? 0 : each_in(dir, w);
}

int cg_each_process(const struct cg_topo *t, const char *slot, cg_process_fn *fn, void *arg)
{
	const struct walk w = { .fn = fn, .arg = arg };
	auto_close int dir = open_slot(t, slot);

	return dir < 0 ? dir : each_in(dir, &w);
}
