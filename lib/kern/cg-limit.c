/* lib/kern/cg-limit.c - limits written to a guest's control groups, all or nothing */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "lib/base/io.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "lib/kern/cg-inner.h"

#define DISKS_MAX 1024

/* --- disks --- */

/* Calls FN with each disk's directory below /sys/block until it returns other than 0. Disks without
 * a medium do not count: no limit can be set on them. */
static int each_disk(int (*fn)(int disk, const char *dev, void *to), void *to)
{
	DIR *d = opendir("/sys/block");
	struct dirent *e;
	int r = 0;

	if (!d)
		return -errno;
	for (unsigned n = 0; r == 0 && n < DISKS_MAX && (e = readdir(d)); n++) {
		auto_close int disk = -1;
		char size[32], dev[32];

		if (e->d_name[0] == '.')
			continue;
		disk = openat(dirfd(d), e->d_name, O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (io_read_at(disk, "size", size, sizeof(size)) <= 0 || strcmp(size, "0\n") == 0 ||
		    io_read_at(disk, "dev", dev, sizeof(dev)) <= 0)
			continue;
		dev[strcspn(dev, "\n")] = '\0';
		r = fn(disk, dev, to);
	}
	closedir(d);
	return r;
}

static int is_bfq(int disk, const char *dev, void *to)
{
	char text[256];

	(void)dev;
	(void)to;
	return io_read_at(disk, "queue/scheduler", text, sizeof(text)) > 0 && strstr(text, "[bfq]");
}

static bool has_io_cost(const struct cg_topo *t)
{
	int h = t->where[CTL_IO];
	char text[4096];

	return t->h[h].version == CG_V2 &&
	       io_read_at(t->h[h].root, "../io.cost.qos", text, sizeof(text)) > 0 &&
	       strstr(text, "enable=1");
}

/* --- what this host can do --- */

static bool is_here(const struct cg_topo *t, const struct knob *k)
{
	int h = t->where[limit_defs[k->limit].ctl];

	return h >= 0 && t->h[h].version == k->version && t->knobs >> (k - knobs) & 1;
}

static bool weight_works(const struct cg_topo *t, uint64_t v, char *why)
{
	bool cost = has_io_cost(t);

	if (v > BFQ_WEIGHT_MAX && !cost)
		return str_fmt(why, CG_WHY_SIZE, "bfq knows weights up to %d", BFQ_WEIGHT_MAX) &&
		       false;
	if (cost || each_disk(is_bfq, NULL) == 1)
		return true;
	str_fmt(why, CG_WHY_SIZE, "no disk is scheduled by bfq, and io.cost is off");
	return false;
}

/* Processes are in groups below the guest's own, which have no reserve of theirs. */
static bool reserve_works(const struct cg_topo *t, char *why)
{
	if (!t->hands_down)
		str_fmt(why, CG_WHY_SIZE, "cgroup v2 is mounted without memory_recursiveprot");
	return t->hands_down;
}

bool cg_can(const struct cg_topo *t, enum limit_id id, uint64_t v, char why[static CG_WHY_SIZE])
{
	const struct limit_def *d = &limit_defs[id];
	const char *file = NULL;
	bool here = false, carried = false; /* by files; others are the daemon's own work */
	int h;

	if (id >= LIMIT__CG)
		return true;
	h = t->where[d->ctl];
	if (h < 0) {
		str_fmt(why, CG_WHY_SIZE, "the %s controller is mounted nowhere",
			cg_ctl_name[d->ctl][CG_V1]);
		return false;
	}
	for (const struct knob *k = knobs; k < knobs + n_knobs; k++) {
		carried = carried || k->limit == id;
		if (k->limit == id && k->version == t->h[h].version) {
			file = k->file;
			here = here || is_here(t, k);
		}
	}
	if (here && id == LIMIT_MEMORY_RESERVE)
		return reserve_works(t, why);
	if (here || !carried)
		return id != LIMIT_IO_WEIGHT || weight_works(t, v, why);
	if (file)
		str_fmt(why, CG_WHY_SIZE, "this kernel has no %s", file);
	else
		str_fmt(why, CG_WHY_SIZE, "the %s controller of cgroup v%d has no such control",
			cg_ctl_name[d->ctl][t->h[h].version], t->h[h].version);
	return false;
}

int cg_online(const struct cg_topo *t, struct cpus *ret)
{
	int h = t->where[CTL_CPUSET];
	char text[4096];

	if (h < 0)
		return -ENOENT;
	if (io_read_at(t->h[h].root,
		       t->h[h].version == CG_V2 ? "cpuset.cpus.effective" : "cpuset.effective_cpus",
		       text, sizeof(text)) <= 0)
		return -EIO;
	return cpus_parse(text, ret);
}

/* --- writing --- */

struct change {
	const struct cg_topo *t;
	const struct cg_guest *g;
	const struct limits *from, *to;
	const char *from_cpus;
	struct cos_err *err;
	bool all; /* go on after a failure */
};

static int write_text(const struct change *c, const struct knob *k, const char *text)
{
	const char *name = limit_defs[k->limit].name;
	int h = c->t->where[limit_defs[k->limit].ctl];
	int r = io_write_at(c->g->dir[h], k->file, text, strlen(text));

	if (r == -EBUSY)
		return cos_advise(
			c->err,
			cos_fail(c->err, COS_E_ADMISSION, EBUSY, "%s: write \"%s\" to %s", name,
				 text, k->file),
			"the guest uses more than that now: stop it first, or choose more");
	if (r < 0)
		cos_fail(c->err, COS_E_KERNEL, -r, "%s: write \"%s\" to %s/.../%s", name, text,
			 c->t->h[h].path, k->file);
	if (r == -EINVAL || r == -EACCES)
		cos_advise(c->err, r,
			   "a group above the guests' allows less: see the same file in %s",
			   c->t->h[h].path);
	return r < 0 ? r : 0;
}

struct disk_write {
	const struct change *c;
	const struct knob *k;
};

static int write_disk(int disk, const char *dev, void *to)
{
	const struct disk_write *w = to;
	const struct knob_host host = { .version = w->k->version, .disk = dev };
	char text[KNOB_TEXT_SIZE];
	int r;

	(void)disk;
	w->k->text(text, w->k->limit, w->c->to, &host);
	r = write_text(w->c, w->k, text);
	return r == -ENODEV ? 0 : r; /* it has gone meanwhile */
}

static int change_knob(const struct change *c, const struct knob *k)
{
	const struct knob_host was = { .version = k->version, .cpus = c->from_cpus },
			       is = { .version = k->version, .cpus = c->t->shared_cpus };
	char old[KNOB_TEXT_SIZE], new[KNOB_TEXT_SIZE];

	if (k->each_disk)
		return c->from->v[k->limit] == c->to->v[k->limit]
			       ? 0
			       : each_disk(write_disk, &(struct disk_write){ c, k });
	k->text(old, k->limit, c->from, &was);
	k->text(new, k->limit, c->to, &is);
	if (strcmp(old, new) == 0 || !new[0] || (k->rest && strcmp(old, k->rest) == 0))
		return 0;
	return write_text(c, k, k->rest ?: new);
}

static int change_all(const struct change *c)
{
	int r = 0;

	for (const struct knob *k = knobs; k < knobs + n_knobs && (r == 0 || c->all); k++) {
		if (is_here(c->t, k))
			r = change_knob(c, k);
	}
	return r;
}

/* --- before anything is written --- */

static int check_cpus(const struct cg_topo *t, const struct limits *l, struct cos_err *err)
{
	char want[CPUS_TEXT_SIZE], have[CPUS_TEXT_SIZE];
	struct cpus online, off;
	int r;

	if (l->v[LIMIT_CPU_SET] == LIMIT_MAX || t->where[CTL_CPUSET] < 0)
		return 0;
	r = cg_online(t, &online);
	if (r < 0)
		return cos_fail(err, COS_E_KERNEL, -r, "read the CPUs of %s",
				t->h[t->where[CTL_CPUSET]].path);
	off = cpus_without(&l->cpus, &online);
	if (cpus_count(&off) == 0)
		return 0;
	cpus_print(&off, want);
	cpus_print(&online, have);
	return cos_fail(err, COS_E_INVALID, 0, "cpu.set: CPU %.80s is not online; %.80s are", want,
			have);
}

/* Memory that reclaim cannot bring down: all but the page cache. */
static uint64_t firm_memory(const struct cg_topo *t, const struct cg_guest *g)
{
	int h = t->where[CTL_MEMORY];
	bool v1 = t->h[h].version == CG_V1;
	char text[8192], num[64];
	uint64_t used, cache;

	if (io_read_at(g->dir[h], v1 ? "memory.usage_in_bytes" : "memory.current", num,
		       sizeof(num)) <= 0 ||
	    io_read_at(g->dir[h], "memory.stat", text, sizeof(text)) <= 0)
		return 0;
	used = strtoull(num, NULL, 10);
	cache = cg_flat_value(text, v1 ? "total_inactive_file" : "inactive_file") +
		cg_flat_value(text, v1 ? "total_active_file" : "active_file");
	return used > cache ? used - cache : 0;
}

static int check_memory(const struct cg_topo *t, const struct cg_guest *g, const struct limits *l,
			const struct limits *old, struct cos_err *err)
{
	char want[LIMIT_TEXT_SIZE];
	uint64_t used;

	if (l->v[LIMIT_MEMORY_MAX] >= old->v[LIMIT_MEMORY_MAX])
		return 0;
	used = firm_memory(t, g);
	if (used <= l->v[LIMIT_MEMORY_MAX])
		return 0;
	return cos_advise(
		err,
		cos_fail(err, COS_E_ADMISSION, 0,
			 "memory.max=%.40s: the guest holds %" PRIu64
			 " bytes that are no page cache",
			 limit_print(LIMIT_MEMORY_MAX, l->v[LIMIT_MEMORY_MAX], want), used),
		"choose more, or --force: the kernel then swaps, or ends processes of the "
		"guest");
}

static int check(const struct cg_topo *t, const struct cg_guest *g, const struct limits *l,
		 const struct limits *old, bool force, struct cos_err *err)
{
	for (enum limit_id id = 0; id < LIMIT__CG; id++) {
		char why[CG_WHY_SIZE];

		if (l->set[id] && l->v[id] != limit_defs[id].kernel && l->v[id] != old->v[id] &&
		    !cg_can(t, id, l->v[id], why))
			return cos_advise(err,
					  cos_fail(err, COS_E_UNSUPPORTED, 0, "%s: %s",
						   limit_defs[id].name, why),
					  "'cosctl doctor' lists what this host cannot enforce");
	}
	if (!force) {
		int r = check_memory(t, g, l, old, err);

		if (r < 0)
			return r;
	}
	return check_cpus(t, l, err);
}

/* cg_reclaim() moves a limit of v1 for a moment. */
static int lock_memory(const struct cg_topo *t, const struct cg_guest *g, int how,
		       struct cos_err *err)
{
	int h = t->where[CTL_MEMORY];

	if (t->h[h].version == CG_V1 && flock(g->dir[h], how) < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "lock %s/...", t->h[h].path);
	return 0;
}

int cg_apply(const struct cg_topo *t, const struct cg_guest *g, const struct limits *l,
	     const struct limits *old, bool force, struct cos_err *err)
{
	struct limits kernel;
	struct cos_err ignored;
	struct change c = {
		.t = t, .g = g, .from = old, .to = l, .from_cpus = t->shared_cpus, .err = err
	};
	int r;

	if (!old) {
		limits_kernel(&kernel);
		c.from = &kernel;
		c.from_cpus = t->cpus;
		force = true; /* it is empty */
	}
	r = check(t, g, l, c.from, force, err);
	if (r == 0)
		r = lock_memory(t, g, LOCK_EX, err);
	if (r < 0)
		return r;
	r = change_all(&c);
	if (r < 0 && old) {
		struct change back = c;

		back.from = l;
		back.to = old;
		back.err = &ignored;
		back.all = true;
		change_all(&back);
	}
	lock_memory(t, g, LOCK_UN, &ignored);
	if (r == 0 && l->v[LIMIT_MEMORY_RESERVE] != c.from->v[LIMIT_MEMORY_RESERVE])
		cg_sum_reserves(t);
	return r;
}

int cg_share_cpus(const struct cg_topo *t, const char *slot)
{
	char path[64], now[4096];
	int h = t->where[CTL_CPUSET], r;

	if (h < 0 || !str_fmt(path, sizeof(path), "%s/cpuset.cpus", slot) ||
	    io_read_at(t->h[h].root, path, now, sizeof(now)) < 0)
		return 0;
	now[strcspn(now, "\n")] = '\0';
	/* v2 leaves it empty until somebody writes: then it has what the groups above have */
	if (strcmp(now[0] ? now : t->cpus, t->shared_cpus) == 0)
		return 0;
	r = io_write_at(t->h[h].root, path, t->shared_cpus, strlen(t->shared_cpus));
	return r == -ENODEV ? 0 : r;
}

/* --- guarantees of memory --- */

static uint64_t reserve_of(int dir, const char *group)
{
	char path[300], text[64];

	return str_fmt(path, sizeof(path), "%s/memory.min", group) &&
			       io_read_at(dir, path, text, sizeof(text)) > 0
		       ? strtoull(text, NULL, 10)
		       : 0;
}

bool cg_has_reserve(const struct cg_topo *t, const char *slot)
{
	int h = t->where[CTL_MEMORY];

	return h >= 0 && t->h[h].version == CG_V2 && reserve_of(t->h[h].root, slot) > 0;
}

void cg_sum_reserves(const struct cg_topo *t)
{
	int h = t->where[CTL_MEMORY], dir;
	uint64_t sum = 0;
	struct dirent *e;
	DIR *d;

	if (h < 0 || t->h[h].version != CG_V2)
		return;
	dir = openat(t->h[h].root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	d = dir < 0 ? NULL : fdopendir(dir); /* takes it */
	if (!d) {
		close_p(&dir);
		return;
	}
	while ((e = readdir(d))) {
		if (e->d_type == DT_DIR && e->d_name[0] != '.')
			sum += reserve_of(dirfd(d), e->d_name);
	}
	io_writef_at(dirfd(d), "memory.min", "%" PRIu64, sum);
	closedir(d);
}
