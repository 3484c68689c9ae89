/* cow-fs/cli-pool.c - commands on the pool: unify, selftest */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/ioprio.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cow-fs/cli.h"
#include "cow-fs/freeze.h"
#include "cow-fs/mount.h"
#include "cow-fs/selftest.h"
#include "cow-fs/unify.h"
#include "lib/base/own.h"

/* ---- selftest ---- */

static void say_rule(const char *rule, int r, const char *why, void *arg)
{
	(void)arg;
	printf("%-4s %s%s%s\n", r == 0 ? "ok" : "NO", rule, why[0] ? ": " : "", why);
}

static int do_selftest(const struct cowfs *c, const struct options *o, char **arg,
		       struct cos_err *err)
{
	int r = cowfs_probe(c->dir, err);

	(void)o;
	(void)arg;
	if (r < 0)
		return r;
	return cowfs_selftest(c->dir, (unsigned)r, say_rule, NULL, err);
}

/* ---- unify ---- */

/* However this process ends, the guest goes on: a child waits for that. */
static pid_t guard(struct freeze_group *g, int *ret_pipe)
{
	int p[2];
	pid_t pid;
	char c;

	if (pipe2(p, O_CLOEXEC) < 0)
		return -errno;
	pid = fork();
	if (pid == 0) {
		setsid();
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

/* CPU time and input that nobody else wants. */
static void stay_behind(void)
{
	const struct sched_param none = { 0 };

	setpriority(PRIO_PROCESS, 0, 19);
	sched_setscheduler(0, SCHED_IDLE, &none);
	syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_PRIO_VALUE(IOPRIO_CLASS_IDLE, 0));
}

static const struct {
	const char *name;
	size_t offset;
} counts[] = {
#define ROW(field) { #field, offsetof(struct cowfs_unified, field) }
	ROW(seen),	  ROW(candidates),  ROW(hashed_bytes), ROW(found),	ROW(added),
	ROW(added_bytes), ROW(swapped),	    ROW(freed_bytes),  ROW(busy),	ROW(excluded),
	ROW(unable),	  ROW(too_deep),    ROW(batches),      ROW(frozen_usec), ROW(frozen_max_usec),
#undef ROW
};

static void say_unified(const struct options *o, const struct cowfs_unified *n)
{
	bool json = o->output && strcmp(o->output, "json") == 0;

	for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
		uint64_t v = *(const uint64_t *)(const void *)((const char *)n + counts[i].offset);

		if (json)
			printf("%s\"%s\":%" PRIu64, i ? "," : "{", counts[i].name, v);
		else
			printf("%-16s %14" PRIu64 "\n", counts[i].name, v);
	}
	if (json)
		puts("}");
}

static int say_unify_progress(const struct cowfs_unified *n, void *arg)
{
	(void)arg;
	printf("progress %" PRIu64 " %" PRIu64 "\n", n->seen, n->hashed_bytes);
	return fflush(stdout) < 0;
}

static int open_live(const struct options *o, struct cowfs_live *live, struct freeze_group *g,
		     struct cos_err *err)
{
	int r;

	if (!o->merged || !o->freeze)
		return cos_fail(err, COS_E_INVALID, 0,
				"a running guest needs both --merged and --freeze");
	live->merged = open(o->merged, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (live->merged < 0)
		return cos_fail(err, COS_E_INVALID, errno, "open %s", o->merged);
	r = freeze_group_open(o->freeze, g);
	if (r < 0)
		return cos_fail(err, COS_E_INVALID, -r, "open the control group %s", o->freeze);
	live->freeze = freeze_group;
	live->arg = g;
	return 0;
}

static int unify_live(const struct cowfs *c, const char *guest, struct cowfs_unify *u,
		      const struct options *o, struct cowfs_unified *n, struct cos_err *err)
{
	struct freeze_group g = { .dir = -1 };
	struct cowfs_live live = { .merged = -1 };
	auto_close int end = -1;
	int r = open_live(o, &live, &g, err);
	pid_t pid = r < 0 ? r : guard(&g, &end);

	if (r == 0 && pid < 0)
		r = cos_fail(err, COS_E_KERNEL, -pid, "start a guard");
	if (r == 0) {
		u->live = &live;
		r = cowfs_unify(c, guest, u, n, err);
		close_p(&end);
		waitpid(pid, NULL, 0);
	}
	close_p(&live.merged);
	freeze_group_close(&g);
	return r;
}

static int do_unify(const struct cowfs *c, const struct options *o, char **arg,
		    struct cos_err *err)
{
	struct cowfs_unified n = { 0 };
	struct cowfs_unify u = {
		.exclude = o->exclude,
		.min_bytes = o->min_bytes,
		.dry_run = o->dry_run,
		.progress = o->progress ? say_unify_progress : NULL,
	};
	int r;

	if (o->background)
		stay_behind();
	if (o->merged || o->freeze)
		r = unify_live(c, arg[0], &u, o, &n, err);
	else
		r = cowfs_unify(c, arg[0], &u, &n, err);
	if (r == 0 || n.seen > 0)
		say_unified(o, &n);
	return r;
}

const struct command cli_pool_commands[] = {
	{ { "unify", NULL }, 1, 1, do_unify },
	{ { "selftest", NULL }, 0, 0, do_selftest },
	{ .run = NULL },
};
