/* lib/kern/cg-topo.c - which controller is where, found once */
#include <errno.h>
#include <fcntl.h>
#include <libcgroup.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "lib/base/io.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "lib/kern/cg.h"

#define GROUP_NAME_SIZE 80

static bool has_word(const char *text, const char *word)
{
	size_t len = strlen(word);

	for (const char *p = text; (p = strstr(p, word)); p += len) {
		if ((p == text || p[-1] == ' ') && (p[len] == ' ' || p[len] == '\n' || !p[len]))
			return true;
	}
	return false;
}

/* On v2 controllers have to be switched on in each group above the slots. */
static uint32_t enable_v2(int dir)
{
	char have[512];
	uint32_t has = 0;

	if (io_read_at(dir, "cgroup.controllers", have, sizeof(have)) < 0)
		return 0;
	for (int c = 0; c < CTL__N; c++) {
		const char *name = cg_ctl_name[c][CG_V2];

		if (name && has_word(have, name) &&
		    io_writef_at(dir, "cgroup.subtree_control", "+%s", name) == 0)
			has |= 1U << c;
	}
	return has;
}

/* A new v1 cpuset has no CPU and no memory node, and takes no process: each level gets its
 * parent's, once, and hands them down by itself from then on. Leaves other hierarchies alone. */
static int fill_cpuset(int parent, int dir)
{
	static const char *const files[] = { "cpuset.cpus", "cpuset.mems" };
	char text[4096];

	if (io_read_at(dir, files[0], text, sizeof(text)) < 0)
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		ssize_t n = io_read_at(dir, files[i], text, sizeof(text));
		int r;

		if (n > 1)
			continue;
		n = io_read_at(parent, files[i], text, sizeof(text));
		r = n < 0 ? (int)n : io_write_at(dir, files[i], text, (size_t)n);
		if (r < 0)
			return r;
	}
	return io_write_at(dir, "cgroup.clone_children", "1", 1);
}

/* "cos.INSTANCE" */
static void group_name(const char *instance, char name[static GROUP_NAME_SIZE])
{
	str_fmt(name, GROUP_NAME_SIZE, "cos.%s", instance);
}

/* MOUNT/cos.INSTANCE, made if missing. One level, because each costs the scheduler at every switch
 * and the memory controller at every charge. Not below a group that systemd delegates to
 * cosd.service: on v2 it could not start the service again while guests' groups have controllers
 * there. */
static int open_hier(const char *mount, const char *instance, enum cg_version version,
		     struct cg_hier *h, struct cos_err *err)
{
	auto_close int top = open(mount, O_RDONLY | O_DIRECTORY | O_CLOEXEC), root = -1;
	char name[GROUP_NAME_SIZE];
	int r;

	if (top < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "open %s", mount);
	group_name(instance, name);
	str_fmt(h->path, sizeof(h->path), "%s/%s", mount, name);
	if (version == CG_V2)
		enable_v2(top);
	root = io_dir_at(top, name, 0755);
	if (root < 0)
		return cos_fail(err, COS_E_KERNEL, -root, "mkdir %s", h->path);
	r = version == CG_V1 ? fill_cpuset(top, root) : 0;
	if (r < 0)
		return cos_fail(err, COS_E_KERNEL, -r, "give %s CPUs and memory nodes", h->path);
	if (version == CG_V2)
		h->has =
			enable_v2(root) | 1U << CTL_DEVICES | 1U << CTL_CPUACCT | 1U << CTL_FREEZER;
	h->version = version;
	h->root = take_fd(root);
	return 0;
}

static void use_hier(struct cg_topo *t, unsigned i)
{
	for (int c = 0; c < CTL__N; c++) {
		if ((t->h[i].has & 1U << c) && t->where[c] < 0)
			t->where[c] = (int)i;
	}
}

static int add_v2(struct cg_topo *t, const char *instance, struct cos_err *err)
{
	auto_free char *text = NULL;
	char *save = NULL;

	if (io_slurp_at(AT_FDCWD, "/proc/self/mountinfo", 4U << 20, &text) < 0)
		return cos_fail(err, COS_E_KERNEL, EIO, "read /proc/self/mountinfo");
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char at[160];
		int r;

		if (!strstr(line, " - cgroup2 ") || sscanf(line, "%*s %*s %*s / %159s", at) != 1)
			continue;
		r = open_hier(at, instance, CG_V2, &t->h[t->n], err);
		if (r < 0)
			return r;
		t->v2 = (int)t->n;
		t->hands_down = strstr(line, "memory_recursiveprot");
		use_hier(t, t->n++);
		return 0;
	}
	return 0;
}

/* Co-mounted controllers (cpu,cpuacct) are one hierarchy with two names. */
static int add_v1(struct cg_topo *t, enum cg_ctl c, const char *mount, const char *instance,
		  struct cos_err *err)
{
	size_t len = strlen(mount);
	int r;

	for (unsigned i = 0; i < t->n; i++) {
		if (t->h[i].version == CG_V1 && strncmp(t->h[i].path, mount, len) == 0 &&
		    t->h[i].path[len] == '/') {
			t->h[i].has |= 1U << c;
			t->where[c] = (int)i;
			return 0;
		}
	}
	r = open_hier(mount, instance, CG_V1, &t->h[t->n], err);
	if (r < 0)
		return r;
	t->h[t->n].has = 1U << c;
	t->where[c] = (int)t->n++;
	return 0;
}

static int add_all_v1(struct cg_topo *t, const char *instance, struct cos_err *err)
{
	struct cgroup_mount_point mp;
	void *it = NULL;
	int r = 0;

	for (int e = cgroup_get_controller_begin(&it, &mp); e == 0;
	     e = cgroup_get_controller_next(&it, &mp)) {
		struct statfs fs;

		if (statfs(mp.path, &fs) < 0 || fs.f_type == CGROUP2_SUPER_MAGIC)
			continue;
		for (int c = 0; c < CTL__N && r == 0; c++) {
			/* What v2 does already (freezer, cpu time, perhaps all) is not asked of
			 * v1, but for devices: files are easier to look at than a program. */
			if (strcmp(cg_ctl_name[c][CG_V1], mp.name) == 0 &&
			    (c == CTL_DEVICES || t->where[c] < 0))
				r = add_v1(t, c, mp.path, instance, err);
		}
	}
	cgroup_get_controller_end(&it);
	return r;
}

/* Which rows of knobs[] have their file. The guests' own parent has the same files as they. */
static void find_knobs(struct cg_topo *t)
{
#define X(...) +1
	_Static_assert(0 COS_CG_KNOBS(X) <= 64, "a bit for each row");
#undef X

	for (unsigned i = 0; i < n_knobs; i++) {
		int h = t->where[limit_defs[knobs[i].limit].ctl];

		if (h >= 0 && t->h[h].version == knobs[i].version &&
		    faccessat(t->h[h].root, knobs[i].file, F_OK, 0) == 0)
			t->knobs |= 1ULL << i;
	}
}

static void find_cpus(struct cg_topo *t)
{
	struct cpus all;

	if (cg_online(t, &all) == 0)
		cpus_print(&all, t->cpus);
	memcpy(t->shared_cpus, t->cpus, sizeof(t->shared_cpus));
}

int cg_topo_open(const char *instance, struct cg_topo *ret, struct cos_err *err)
{
	static const enum cg_ctl needed[] = { CTL_CPU, CTL_MEMORY, CTL_PIDS };
	struct cg_topo t = { .v2 = -1 };
	int r;

	for (int c = 0; c < CTL__N; c++)
		t.where[c] = -1;
	r = cgroup_init();
	if (r != 0)
		return cos_fail(err, COS_E_UNSUPPORTED, 0, "find control groups: %s",
				cgroup_strerror(r));
	r = add_v2(&t, instance, err);
	if (r == 0)
		r = add_all_v1(&t, instance, err);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(needed); i++) {
		if (t.where[needed[i]] < 0)
			r = cos_fail(err, COS_E_UNSUPPORTED, 0,
				     "the %s controller is mounted nowhere",
				     cg_ctl_name[needed[i]][CG_V1]);
	}
	if (r < 0) {
		cg_topo_close(&t, instance, false);
		return r;
	}
	find_knobs(&t);
	find_cpus(&t);
	*ret = t;
	return 0;
}

static void remove_empty(int root, const char *instance)
{
	auto_close int top = openat(root, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char name[GROUP_NAME_SIZE];

	group_name(instance, name);
	if (top >= 0)
		unlinkat(top, name, AT_REMOVEDIR);
}

void cg_topo_close(struct cg_topo *t, const char *instance, bool remove)
{
	for (unsigned i = 0; i < t->n; i++) {
		if (remove)
			remove_empty(t->h[i].root, instance);
		close_p(&t->h[i].root);
	}
	t->n = 0;
}
