/* cow-fs/cli-guest.c - commands on guests' roots, for who has no daemon */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cow-fs/cli.h"
#include "cow-fs/clone.h"
#include "cow-fs/flatten.h"
#include "cow-fs/freeze.h"
#include "cow-fs/inner.h"
#include "cow-fs/mount.h"
#include "cow-fs/root.h"
#include "cow-fs/snapshot.h"
#include "lib/base/own.h"
#include "lib/kern/mnt.h"

/* ---- a running guest ---- */

/* However this process ends, the guest goes on: a child waits for that. */
static pid_t guard(struct freeze_group *g, int *ret_pipe)
{
	const struct sched_param first = { .sched_priority = 1 };
	int p[2];
	pid_t pid;
	char c;

	if (pipe2(p, O_CLOEXEC) < 0)
		return -errno;
	pid = fork();
	if (pid == 0) {
		setsid();
		sched_setscheduler(0, SCHED_RR, &first); /* who is frozen waits for it */
		close(p[1]);
		while (read(p[0], &c, 1) < 0 && errno == EINTR)
			;
		freeze_group(false, g);
		_exit(0);
	}
	close(p[0]);
	if (pid < 0) {
		close(p[1]);
		return -errno;
	}
	*ret_pipe = p[1];
	return pid;
}

static int open_live(const struct options *o, struct cowfs_live *live, struct freeze_group *g,
		     struct cos_err *err)
{
	int r;

	if (o->merged) {
		live->merged = open(o->merged, O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (live->merged < 0)
			return cos_fail(err, COS_E_INVALID, errno, "open %s", o->merged);
	}
	r = freeze_group_open(o->freeze, g);
	if (r < 0)
		return cos_fail(err, COS_E_INVALID, -r, "open the control group %s", o->freeze);
	live->freeze = freeze_group;
	live->arg = g;
	return 0;
}

int cli_with_live(const struct options *o,
		  int (*fn)(const struct cowfs_live *live, void *arg, struct cos_err *err),
		  void *arg, struct cos_err *err)
{
	struct freeze_group g = { .dir = -1 };
	struct cowfs_live live = { .merged = -1 };
	auto_close int end = -1;
	int r = open_live(o, &live, &g, err);
	pid_t pid = r < 0 ? r : guard(&g, &end);

	if (r == 0 && pid < 0)
		r = cos_fail(err, COS_E_KERNEL, -pid, "start a guard");
	if (r == 0) {
		r = fn(&live, arg, err);
		close_p(&end);
		waitpid(pid, NULL, 0);
	}
	close_p(&live.merged);
	freeze_group_close(&g);
	return r;
}

/* ---- roots ---- */

static int limit_kind(const char *word, enum cowfs_limit_kind *ret, struct cos_err *err)
{
	enum cowfs_limit_kind k = 0;

	*ret = COWFS_LIMIT__N;
	if (!word || strcmp(word, "auto") == 0)
		return 0;
	while (k < COWFS_LIMIT__N && strcmp(word, cowfs_limit_word[k]) != 0)
		k++;
	*ret = k;
	return k < COWFS_LIMIT__N
		       ? 0
		       : cos_advise(err,
				    cos_fail(err, COS_E_INVALID, 0,
					     "--disk-quota: neither auto, project nor loop"),
				    "'cow-fs limits' tells what this host can do");
}

static int do_make(const struct cowfs *c, const struct options *o, char **arg, struct cos_err *err)
{
	struct cowfs_bounds bounds = { .in_userns = true, .max = { o->disk_max, o->disk_inodes } };
	const struct cowfs_source from = {
		.template = arg[1],
		.rootfs = o->rootfs,
		.domain = o->domain,
		.bounds = &bounds,
	};
	int r = limit_kind(o->disk_quota, &bounds.kind, err);

	return r < 0 ? r : cowfs_root_make(c, arg[0], &from, !o->is_volatile, err);
}

static int do_limit(const struct cowfs *c, const struct options *o, char **arg, struct cos_err *err)
{
	const struct cowfs_space max = { o->disk_max, o->disk_inodes };

	return cowfs_root_limit(c, arg[0], &max, err);
}

static int do_remove(const struct cowfs *c, const struct options *o, char **arg,
		     struct cos_err *err)
{
	struct cowfs_root root;
	int r = cowfs_root_open(c, arg[0], &root, err);

	(void)o;
	if (r < 0)
		return r;
	r = cowfs_upper_in_use(root.upper);
	if (r > 0)
		r = cos_fail(err, COS_E_IN_USE, 0, "%s is mounted", arg[0]);
	else if (r < 0)
		cos_fail(err, COS_E_KERNEL, -r, "look whether %s is mounted", arg[0]);
	cowfs_root_close(&root);
	return r < 0 ? r : cowfs_root_remove(c, arg[0], err);
}

/* With --ids in a user namespace of these owners: as the daemon mounts it. */
static int do_mount(const struct cowfs *c, const struct options *o, char **arg, struct cos_err *err)
{
	auto_close int at = open(arg[1], O_PATH | O_DIRECTORY | O_CLOEXEC), mnt = -1, ns = -1;
	struct cowfs_mount m;
	int features = cowfs_probe(c->dir, err), r;
	struct cowfs_root root;

	if (features < 0)
		return features;
	if (at < 0)
		return cos_fail(err, COS_E_INVALID, errno, "open %s", arg[1]);
	if (o->ids)
		ns = cowfs_userns_make(o->ids);
	if (o->ids && ns < 0)
		return cos_fail(err, COS_E_KERNEL, -ns, "make a user namespace");
	r = cowfs_root_open(c, arg[0], &root, err);
	if (r < 0)
		return r;
	m = cowfs_root_mount(&root);
	m.userns = ns;
	m.id_base = o->ids;
	r = cowfs_upper_in_use(root.upper);
	if (r > 0)
		r = cos_fail(err, COS_E_IN_USE, 0, "%s is mounted already", arg[0]);
	else if (r == 0)
		r = mnt = cowfs_mount(&m, (unsigned)features, err);
	if (r >= 0) {
		r = mnt_attach(mnt, at);
		if (r < 0)
			cos_fail(err, COS_E_KERNEL, -r, "mount on %s", arg[1]);
	}
	cowfs_root_close(&root);
	return r < 0 ? r : 0;
}

/* ---- clones and snapshots ---- */

struct cloning {
	const struct cowfs *c;
	struct cowfs_cloning how;
};

static int clone_live(const struct cowfs_live *live, void *arg, struct cos_err *err)
{
	const struct cloning *k = arg;

	return cowfs_clone_live(k->c, &k->how, live, err);
}

static int do_clone(const struct cowfs *c, const struct options *o, char **arg, struct cos_err *err)
{
	struct cloning k = {
		.c = c,
		.how = { .from = arg[0], .to = arg[1], .durable = !o->is_volatile, .anew = true },
	};
	int features = cowfs_probe(c->dir, err);

	if (features < 0)
		return features;
	k.how.features = (unsigned)features;
	if (o->freeze)
		return cli_with_live(o, clone_live, &k, err);
	/* a name that is none is told by the rest */
	return cowfs_check_guest(arg[0], err) == 0 && cowfs_clone_is_image(c, arg[0])
		       ? cowfs_clone_image(c, &k.how, err)
		       : cowfs_clone(c, &k.how, err);
}

static int do_snapshot(const struct cowfs *c, const struct options *o, char **arg,
		       struct cos_err *err)
{
	(void)o;
	return cowfs_snapshot_make(c, arg[0], arg[1], err);
}

static int do_restore(const struct cowfs *c, const struct options *o, char **arg,
		      struct cos_err *err)
{
	(void)o;
	return cowfs_snapshot_restore(c, arg[0], arg[1], err);
}

static int do_delete(const struct cowfs *c, const struct options *o, char **arg,
		     struct cos_err *err)
{
	(void)o;
	return cowfs_snapshot_delete(c, arg[0], arg[1], err);
}

static int do_flatten(const struct cowfs *c, const struct options *o, char **arg,
		      struct cos_err *err)
{
	int features = cowfs_probe(c->dir, err);

	(void)o;
	return features < 0 ? features : cowfs_flatten(c, arg[0], (unsigned)features, err);
}

static int do_list(const struct cowfs *c, const struct options *o, char **arg, struct cos_err *err)
{
	auto_json json_t *list = NULL;
	int r = cowfs_snapshot_list(c, arg[0], &list, err);
	json_t *s;
	size_t i;

	if (r < 0)
		return r;
	if (o->output && strcmp(o->output, "json") == 0) {
		json_dumpf(list, stdout, JSON_COMPACT);
		putchar('\n');
		return 0;
	}
	printf("%-24s %6s %-20s %s\n", "NAME", "LAYERS", "CREATED", "CURRENT");
	json_array_foreach(list, i, s) {
		json_int_t made = json_integer_value(json_object_get(s, "created"));
		char when[CLI_TIME_SIZE];

		printf("%-24s %6zu %-20s %s\n", json_string_value(json_object_get(s, "name")),
		       json_array_size(json_object_get(s, "layers")), cli_time(made, when),
		       json_is_true(json_object_get(s, "current")) ? "yes" : "no");
	}
	return 0;
}

#define FOR_LIMITS (TAKES(DISK_MAX) | TAKES(DISK_INODES))

const struct command cli_guest_commands[] = {
	{ { "root", "make" },
	  1,
	  2,
	  TAKES(DOMAIN) | TAKES(VOLATILE) | TAKES(ROOTFS) | TAKES(DISK_QUOTA) | FOR_LIMITS,
	  do_make },
	{ { "root", "limit" }, 1, 1, FOR_LIMITS, do_limit },
	{ { "root", "remove" }, 1, 1, 0, do_remove },
	{ { "root", "mount" }, 2, 2, TAKES(IDS), do_mount },
	{ { "clone", NULL }, 2, 2, TAKES(FREEZE) | TAKES(VOLATILE), do_clone },
	{ { "flatten", NULL }, 1, 1, 0, do_flatten },
	{ { "snapshot", "make" }, 2, 2, 0, do_snapshot },
	{ { "snapshot", "list" }, 1, 1, TAKES(OUTPUT), do_list },
	{ { "snapshot", "restore" }, 2, 2, 0, do_restore },
	{ { "snapshot", "delete" }, 2, 2, 0, do_delete },
	{ .run = NULL },
};
