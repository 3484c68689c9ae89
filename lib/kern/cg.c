/* lib/kern/cg.c - a guest's control groups: made, limited, entered, frozen, killed, read, removed
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/io.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "lib/kern/cg.h"
#include "lib/kern/cg-inner.h"

#define GROUP_DEPTH_MAX 64
#define GROUPS_MAX      2000
#define KERNEL_GROUP    "kernel"

/* The files of a delegated v2 group that its owner may write; see the kernel's cgroup-v2 text. */
static int delegate(int slot, int payload, uid_t owner)
{
	static const char *const files[] = { "cgroup.procs", "cgroup.threads",
					     "cgroup.subtree_control" };

	if (fchownat(slot, "payload", owner, owner, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		if (fchownat(payload, files[i], owner, owner, AT_SYMLINK_NOFOLLOW) < 0)
			return -errno;
	}
	return 0;
}

static int make_v2(const struct cg_hier *h, int dir, uid_t owner, int *ret_payload)
{
	auto_close int payload = io_dir_at(dir, "payload", 0755);
	int r;

	if (payload < 0)
		return payload;
	for (int c = 0; c < CTL__N; c++) {
		if (!(h->has & 1U << c) || !cg_ctl_name[c][CG_V2])
			continue;
		r = io_writef_at(dir, "cgroup.subtree_control", "+%s", cg_ctl_name[c][CG_V2]);
		if (r < 0)
			return r;
	}
	/* What the guest makes below is removed by the daemon: neither deep nor endless. On the
	 * payload, so that exec always has its group. */
	r = io_writef_at(payload, "cgroup.max.depth", "%d", GROUP_DEPTH_MAX / 2);
	if (r == 0)
		r = io_writef_at(payload, "cgroup.max.descendants", "%d", GROUPS_MAX);
	if (r == 0)
		r = delegate(dir, payload, owner);
	if (r < 0)
		return r;
	*ret_payload = take_fd(payload);
	return 0;
}

int cg_make(const struct cg_topo *t, const char *slot, uid_t owner, struct cg_guest *ret,
	    struct cos_err *err)
{
	struct cg_guest g = CG_GUEST_NONE;
	int r = 0;

	for (unsigned i = 0; i < t->n && r == 0; i++) {
		g.dir[i] = io_dir_at(t->h[i].root, slot, 0755);
		if (g.dir[i] < 0)
			r = cos_fail(err, COS_E_KERNEL, -g.dir[i], "mkdir %s/%s", t->h[i].path,
				     slot);
		else if ((int)i == t->v2) {
			r = make_v2(&t->h[i], g.dir[i], owner, &g.payload);
			if (r < 0)
				r = cos_fail(err, COS_E_KERNEL, -r, "delegate %s/%s", t->h[i].path,
					     slot);
		}
	}
	if (r < 0) {
		cg_close(&g);
		cg_remove(t, slot);
		return r;
	}
	*ret = g;
	return 0;
}

int cg_open(const struct cg_topo *t, const char *slot, struct cg_guest *ret)
{
	struct cg_guest g = CG_GUEST_NONE;
	bool any = false;

	for (unsigned i = 0; i < t->n; i++) {
		g.dir[i] =
			openat(t->h[i].root, slot, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		any = any || g.dir[i] >= 0;
		if (g.dir[i] >= 0 && (int)i == t->v2)
			g.payload = openat(g.dir[i], "payload",
					   O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	}
	if (!any)
		return -ENOENT;
	*ret = g;
	return 0;
}

void cg_close(struct cg_guest *g)
{
	for (size_t i = 0; i < ARRAY_SIZE(g->dir); i++)
		close_p(&g->dir[i]);
	close_p(&g->payload);
}

/* Groups that the guest made below its own are removed from the bottom up. */
static int remove_groups(int parent, const char *name, unsigned depth)
{
	auto_close int fd = -1;
	struct dirent *e;
	DIR *d;
	int r = 0;

	if (unlinkat(parent, name, AT_REMOVEDIR) == 0 || errno == ENOENT)
		return 0;
	if (depth == GROUP_DEPTH_MAX)
		return -ELOOP;
	fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	d = fdopendir(fd);
	if (!d)
		return -errno;
	(void)take_fd(fd); /* it is D's */
	while ((e = readdir(d))) {
		if (e->d_type == DT_DIR && e->d_name[0] != '.') {
			int one = remove_groups(dirfd(d), e->d_name, depth + 1);

			r = r < 0 ? r : one;
		}
	}
	closedir(d);
	if (r == 0 && unlinkat(parent, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		r = -errno;
	return r;
}

int cg_remove(const struct cg_topo *t, const char *slot)
{
	bool reserved = cg_has_reserve(t, slot);
	int r = 0;

	for (unsigned i = 0; i < t->n; i++) {
		int one = remove_groups(t->h[i].root, slot, 0);

		r = r < 0 ? r : one;
	}
	if (reserved)
		cg_sum_reserves(t);
	return r;
}

int cg_open_tasks(const struct cg_topo *t, const struct cg_guest *g, int *ret_fds,
		  struct cos_err *err)
{
	int fds[CG_HIER_MAX + 1];
	unsigned n = 0;

	for (unsigned i = 0; i < t->n; i++) {
		if (t->h[i].version == CG_V2)
			continue;
		fds[n] = openat(g->dir[i], "tasks", O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
		if (fds[n] < 0) {
			int r = cos_fail(err, COS_E_KERNEL, errno, "open %s/tasks", t->h[i].path);

			while (n > 0)
				close(fds[--n]);
			return r;
		}
		n++;
	}
	fds[n++] = -1;
	memcpy(ret_fds, fds, n * sizeof(int));
	return 0;
}

int cg_enter_self(const int *tasks)
{
	for (; *tasks >= 0; tasks++) {
		if (write(*tasks, "0", 1) != 1)
			return -errno;
	}
	return 0;
}

int cg_take_thread(const struct cg_topo *t, const struct cg_guest *g, pid_t tid)
{
	int r = 0;

	for (unsigned i = 0; i < t->n && r == 0; i++) {
		auto_close int dir = -1;

		if (t->h[i].version == CG_V1) {
			r = io_writef_at(g->dir[i], "tasks", "%d", (int)tid);
		} else {
			dir = io_dir_at(g->dir[i], KERNEL_GROUP, 0755);
			r = dir < 0 ? dir : io_writef_at(dir, "cgroup.procs", "%d", (int)tid);
		}
	}
	return r;
}

int cg_inner_dir(const struct cg_guest *g)
{
	return g->payload < 0 ? -1 : io_dir_at(g->payload, "exec", 0755);
}

int cg_exec_dir(const struct cg_topo *t, const struct cg_guest *g, struct cos_err *err)
{
	int fd;

	if (t->v2 < 0)
		return -1;
	fd = io_dir_at(g->dir[t->v2], "exec", 0755);
	return fd < 0 ? cos_fail(err, COS_E_KERNEL, -fd, "mkdir %s/.../exec", t->h[t->v2].path)
		      : fd;
}

/* What is frozen: on v2 not the slot as a whole if threads of the kernel are in it. */
static int freezer_dir(const struct cg_topo *t, const struct cg_guest *g)
{
	int dir = g->dir[t->where[CTL_FREEZER]];

	if (t->where[CTL_FREEZER] == t->v2 && faccessat(dir, KERNEL_GROUP, F_OK, 0) == 0)
		return g->payload;
	return dir;
}

static int ask_freeze(int dir, enum cg_version ver, bool on)
{
	if (ver == CG_V2)
		return io_write_at(dir, "cgroup.freeze", on ? "1" : "0", 1);
	return io_write_at(dir, "freezer.state", on ? "FROZEN" : "THAWED", 6);
}

static int kill_v1(int dir, int freezer)
{
	for (int round = 0; round < 100; round++) {
		auto_free char *procs = NULL;
		char *save = NULL;
		ssize_t n = io_slurp_at(dir, "cgroup.procs", 4U << 20, &procs);

		if (n <= 0)
			return (int)n;
		for (char *p = strtok_r(procs, "\n", &save); p; p = strtok_r(NULL, "\n", &save))
			kill((pid_t)strtol(p, NULL, 10), SIGKILL);
		if (freezer >= 0) /* a frozen process of v1 dies when it is thawed */
			ask_freeze(freezer, CG_V1, false);
		usleep(1000);
	}
	return -EBUSY;
}

int cg_kill(const struct cg_topo *t, const struct cg_guest *g)
{
	if (t->v2 >= 0 && g->dir[t->v2] >= 0)
		return io_write_at(g->dir[t->v2], "cgroup.kill", "1", 1);
	return kill_v1(g->dir[t->where[CTL_PIDS]],
		       t->where[CTL_FREEZER] < 0 ? -1 : g->dir[t->where[CTL_FREEZER]]);
}

/* Whether the file NAME of the freezer has TEXT. */
static bool freezer_says(const struct cg_topo *t, const struct cg_guest *g, const char *name,
			 const char *text)
{
	char buf[256];

	return io_read_at(freezer_dir(t, g), name, buf, sizeof(buf)) > 0 && strstr(buf, text);
}

bool cg_is_freezing(const struct cg_topo *t, const struct cg_guest *g)
{
	int h = t->where[CTL_FREEZER];

	if (h < 0)
		return false;
	return t->h[h].version == CG_V2 ? freezer_says(t, g, "cgroup.freeze", "1")
					: !freezer_says(t, g, "freezer.state", "THAWED");
}

bool cg_is_frozen(const struct cg_topo *t, const struct cg_guest *g)
{
	int h = t->where[CTL_FREEZER];

	if (h < 0)
		return false;
	return t->h[h].version == CG_V2 ? freezer_says(t, g, "cgroup.events", "frozen 1")
					: freezer_says(t, g, "freezer.state", "FROZEN");
}

int cg_freeze(const struct cg_topo *t, const struct cg_guest *g, bool on, struct cos_err *err)
{
	int h = t->where[CTL_FREEZER], r;

	if (h < 0)
		return cos_fail(err, COS_E_UNSUPPORTED, 0,
				"neither cgroup v2 nor a v1 freezer is mounted");
	r = ask_freeze(freezer_dir(t, g), t->h[h].version, on);
	return r < 0 ? cos_fail(err, COS_E_KERNEL, -r, "%s", on ? "freeze" : "thaw") : 0;
}

uint64_t cg_flat_value(const char *text, const char *key)
{
	size_t len = strlen(key);

	for (const char *p = text; p; p = strchr(p, '\n') ? strchr(p, '\n') + 1 : NULL) {
		if (strncmp(p, key, len) == 0 && p[len] == ' ')
			return strtoull(p + len + 1, NULL, 10);
	}
	return 0;
}

static uint64_t read_u64(int dir, const char *name, bool *ret_there)
{
	char buf[64];
	bool there = dir >= 0 && io_read_at(dir, name, buf, sizeof(buf)) > 0;

	if (ret_there)
		*ret_there = there;
	return there ? strtoull(buf, NULL, 10) : 0;
}

int cg_usage(const struct cg_topo *t, const struct cg_guest *g, struct cg_usage *ret)
{
	int cpu = t->where[CTL_CPU], mem = t->where[CTL_MEMORY], pids = t->where[CTL_PIDS];
	struct cg_usage u = { 0 };
	char buf[1024];

	if (g->dir[pids] < 0)
		return -ENOENT;
	if (t->v2 >= 0 && io_read_at(g->dir[t->v2], "cpu.stat", buf, sizeof(buf)) > 0)
		u.cpu_usec = cg_flat_value(buf, "usage_usec");
	else if (t->where[CTL_CPUACCT] >= 0)
		u.cpu_usec = read_u64(g->dir[t->where[CTL_CPUACCT]], "cpuacct.usage", NULL) / 1000;
	if (io_read_at(g->dir[cpu], "cpu.stat", buf, sizeof(buf)) > 0)
		u.throttled_usec = t->h[cpu].version == CG_V2
					   ? cg_flat_value(buf, "throttled_usec")
					   : cg_flat_value(buf, "throttled_time") / 1000;
	if (t->h[mem].version == CG_V2) {
		u.memory_bytes = read_u64(g->dir[mem], "memory.current", NULL);
		u.memory_peak_bytes = read_u64(g->dir[mem], "memory.peak", &u.has_peak);
	} else {
		u.memory_bytes = read_u64(g->dir[mem], "memory.usage_in_bytes", NULL);
		u.memory_peak_bytes =
			read_u64(g->dir[mem], "memory.max_usage_in_bytes", &u.has_peak);
	}
	u.pids = read_u64(g->dir[pids], "pids.current", NULL);
	*ret = u;
	return 0;
}
