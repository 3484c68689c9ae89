/* tests/func/probe-cgroup.c - what a guest sees of the control groups and may change there */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "lib/base/own.h"
#include "tests/func/probe.h"

#define CGROUP2_MAGIC 0x63677270
#define TEXT_MAX      65536

/* Every hierarchy says "/", the names above the guest's own group are not shown; a process that was
 * put into the guest is in a group beside it, which gives nothing away either. */
static enum outcome path_shown(const struct check *c, struct finding *f)
{
	char text[4096], *line, *at = text;
	enum outcome got = NO;

	if (slurp(c->path, text, sizeof(text)) <= 0)
		return ABSENT;
	while ((line = strsep(&at, "\n"))) {
		const char *path = strrchr(line, ':');

		if (!path || strcmp(path, ":/") == 0 || strcmp(path, ":/exec") == 0)
			continue;
		note(f, "%s", line);
		got = YES;
	}
	return got;
}

static struct tree {
	struct finding *f;
	unsigned found;
} tree;

/* What a group's owner may write; limits are the host's. */
static bool delegated(const char *name)
{
	static const char *const names[] = { "cgroup.procs", "cgroup.threads",
					     "cgroup.subtree_control", "tasks" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (strcmp(name, names[i]) == 0)
			return true;
	return false;
}

/* A process of the list that is not in our process namespace is shown as 0. */
static void foreign_pids(const char *path)
{
	auto_free char *text = malloc(TEXT_MAX);
	char *line, *at = text;

	if (!text || slurp(path, text, TEXT_MAX) <= 0)
		return;
	while ((line = strsep(&at, "\n"))) {
		if (strcmp(line, "0") != 0)
			continue;
		note(tree.f, "%s has a foreign process", path);
		tree.found++;
		return;
	}
}

/* Opens for writing what is not the guest's to write. Below the top only what the guest made itself
 * could be, and there everything is its own: only files of the top are tried. */
static int cgroup_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	const char *name = path + at->base;
	int fd;

	if (type != FTW_F)
		return 0;
	if (strcmp(name, "cgroup.procs") == 0)
		foreign_pids(path);
	if (at->level == 1 && (st->st_mode & 0222) && !delegated(name)) {
		fd = open(path, O_WRONLY | O_CLOEXEC | O_NONBLOCK);
		if (fd >= 0) {
			close(fd);
			note(tree.f, "%s can be written", path);
			tree.found++;
		}
	}
	return tree.found >= 6;
}

static enum outcome look(const char *top, struct finding *f)
{
	tree = (struct tree){ .f = f };
	if (nftw(top, cgroup_one, 16, FTW_PHYS | FTW_MOUNT) < 0)
		return ABSENT;
	return tree.found ? YES : NO;
}

static int look_below(const char *name, void *arg)
{
	char path[300];

	snprintf(path, sizeof(path), "/sys/fs/cgroup/%s", name);
	return look(path, arg) == YES;
}

/* What the runtime mounted. With version 1 there is a tmpfs with a directory for each hierarchy. */
static enum outcome mounted(const struct check *c, struct finding *f)
{
	struct statfs fs;

	(void)c;
	if (statfs("/sys/fs/cgroup", &fs) < 0) {
		note(f, "no /sys/fs/cgroup");
		return NO;
	}
	if (fs.f_type == CGROUP2_MAGIC)
		return look("/sys/fs/cgroup", f);
	return each_entry("/sys/fs/cgroup", look_below, f) == 1 ? YES : NO;
}

/* Mounted by the guest itself: one of each hierarchy that there is. A new one is never made. */
static enum outcome mount_one(char *line, const char *dir, struct finding *f)
{
	char *ctl = strchr(line, ':'), *end = ctl ? strchr(ctl + 1, ':') : NULL;
	char opts[128];
	enum outcome got;
	int r;

	if (!end)
		return NO;
	*end = '\0';
	ctl++;
	if (*ctl)
		snprintf(opts, sizeof(opts), "%s%s", strncmp(ctl, "name=", 5) ? "" : "none,", ctl);
	r = *ctl ? mount("probe", dir, "cgroup", 0, opts) : mount("probe", dir, "cgroup2", 0, NULL);
	if (r < 0)
		return NO;
	got = look(dir, f);
	umount2(dir, MNT_DETACH);
	return got;
}

static enum outcome mount_all(const struct check *c, struct finding *f)
{
	char text[4096], dir[64], *line, *at = text;
	enum outcome got = NO;
	int r = private_mounts();

	(void)c;
	if (r < 0) {
		note(f, "mount namespace: %s", err_name(-r));
		return NO;
	}
	if (scratch_any(f, dir, sizeof(dir)) < 0 ||
	    slurp("/proc/self/cgroup", text, sizeof(text)) <= 0)
		return ABSENT;
	while ((line = strsep(&at, "\n")))
		if (mount_one(line, dir, f) == YES)
			got = YES;
	return got;
}

/* The top of a mount must be the namespace's root, or the mount shows groups outside it. */
static enum outcome mount_roots(const struct check *c, struct finding *f)
{
	auto_free char *text = malloc(TEXT_MAX);
	enum outcome got = NO;
	char *line, *at = text;

	(void)c;
	if (!text || slurp("/proc/self/mountinfo", text, TEXT_MAX) <= 0)
		return ABSENT;
	while ((line = strsep(&at, "\n"))) {
		char root[256], point[256];

		if (!strstr(line, " - cgroup") ||
		    sscanf(line, "%*d %*d %*s %255s %255s", root, point) != 2 ||
		    strcmp(root, "/") == 0)
			continue;
		note(f, "%s shows %s", point, root);
		got = YES;
	}
	return got;
}

/* systemd in a guest needs groups of its own. A process that was put into the guest is beside it
 * and cannot move in: the kernel asks for rights to the group above both. */
static enum outcome subgroup(const struct check *c, struct finding *f)
{
	struct statfs fs;
	char dir[] = "/sys/fs/cgroup/probe-XXXXXX", text[4096];
	bool beside;
	int r;

	(void)c;
	if (statfs("/sys/fs/cgroup", &fs) < 0 || fs.f_type != CGROUP2_MAGIC) {
		note(f, "no cgroup2 at /sys/fs/cgroup");
		return NO;
	}
	r = mkdtemp(dir) ? 0 : errno;
	beside = slurp("/proc/self/cgroup", text, sizeof(text)) > 0 && strstr(text, "0::/../");
	if (r == 0 && !beside) {
		char procs[64];
		auto_close int fd = -1;

		snprintf(procs, sizeof(procs), "%s/cgroup.procs", dir);
		fd = open(procs, O_WRONLY | O_CLOEXEC);
		if (fd < 0 || write(fd, "0", 1) != 1)
			r = errno;
	}
	note(f, "%s", r ? err_name(r) : beside ? "made one" : "made one and moved there");
	/* It cannot be removed while we are in it; the parent's group takes us back. */
	if (r == 0 && !beside) {
		auto_close int top = open("/sys/fs/cgroup/cgroup.procs", O_WRONLY | O_CLOEXEC);

		if (top < 0 || write(top, "0", 1) != 1)
			note(f, "cannot leave it: %s", err_name(errno));
	}
	rmdir(dir);
	return r ? NO : YES;
}

/* A child group must not reach beyond what its parent has: the parent's limits are not even there.
 */
static enum outcome limits_seen(const struct check *c, struct finding *f)
{
	static const char *const files[] = {
		"memory.max",    "pids.max",          "cpu.max",         "io.max",
		"cgroup.freeze", "cgroup.kill",       "../cgroup.procs", "../memory.max",
		"release_agent", "notify_on_release",
	};
	enum outcome got = NO;

	(void)c;
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		char path[64];
		int fd;

		snprintf(path, sizeof(path), "/sys/fs/cgroup/%s", files[i]);
		fd = open(path, O_WRONLY | O_CLOEXEC);
		if (fd < 0)
			continue;
		close(fd);
		note(f, "%s", files[i]);
		got = YES;
	}
	return got;
}

/* clang-format off */
const struct check checks_cgroup[] = {
	{ "cgroup-path", WANT_NO, WANT_NO, path_shown, "/proc/self/cgroup", 0, { 0 } },
	{ "cgroup-path-init", WANT_NO, WANT_NO, path_shown, "/proc/1/cgroup", 0, { 0 } },
	{ "cgroup-mounted", WANT_NO, WANT_NO, mounted, NULL, 0, { 0 } },
	{ "cgroup-mount", WANT_NO, WANT_NO, mount_all, NULL, 0, { 0 } },
	{ "cgroup-roots", WANT_NO, WANT_NO, mount_roots, NULL, 0, { 0 } },
	{ "cgroup-limits", WANT_NO, WANT_NO, limits_seen, NULL, 0, { 0 } },
	{ "cgroup-subgroup", WANT_YES, WANT_NO, subgroup, NULL, 0, { 0 } },
	{ NULL, WANT_ANY, WANT_ANY, NULL, NULL, 0, { 0 } },
};
