/* cow-fs/cli-pool.c - commands on the pool: unify, gc, scrub, usage, selftest */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/ioprio.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cow-fs/cli.h"
#include "cow-fs/gc.h"
#include "cow-fs/mount.h"
#include "cow-fs/selftest.h"
#include "cow-fs/unify.h"
#include "cow-fs/space.h"
#include "cow-fs/usage.h"
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

/* CPU time and input that nobody else wants. */
static void stay_behind(void)
{
	const struct sched_param none = { 0 };

	setpriority(PRIO_PROCESS, 0, 19);
	sched_setscheduler(0, SCHED_IDLE, &none);
	syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_PRIO_VALUE(IOPRIO_CLASS_IDLE, 0));
}

struct count {
	const char *name;
	size_t offset; /* of a uint64_t */
};

static const struct count unify_counts[] = {
#define ROW(field)                                                                                 \
	{                                                                                          \
#field, offsetof(struct cowfs_unified, field)                                      \
	}
	ROW(seen),      ROW(candidates),  ROW(hashed_bytes), ROW(found),
	ROW(added),     ROW(added_bytes), ROW(swapped),      ROW(freed_bytes),
	ROW(busy),      ROW(excluded),    ROW(unable),       ROW(too_deep),
	ROW(sync_usec), ROW(batches),     ROW(frozen_usec),  ROW(frozen_max_usec),
#undef ROW
};

static void say_counts(const struct options *o, const struct count *rows, size_t n_rows,
		       const void *from)
{
	bool json = o->output && strcmp(o->output, "json") == 0;

	for (size_t i = 0; i < n_rows; i++) {
		uint64_t v = *(const uint64_t *)(const void *)((const char *)from + rows[i].offset);

		if (json)
			printf("%s\"%s\":%" PRIu64, i ? "," : "{", rows[i].name, v);
		else
			printf("%-16s %14" PRIu64 "\n", rows[i].name, v);
	}
	if (json)
		puts("}");
}

/* Who reads the progress has gone: that ends the work as it should be ended. */
static int say_unify_progress(const struct cowfs_unified *n, void *arg)
{
	(void)arg;
	printf("progress %" PRIu64 " %" PRIu64 "\n", n->seen, n->hashed_bytes);
	return fflush(stdout) < 0;
}

struct asked {
	const struct cowfs *c;
	const char *guest;
	struct cowfs_unify u;
	struct cowfs_unified n;
};

static int unify_live(const struct cowfs_live *live, void *arg, struct cos_err *err)
{
	struct asked *a = arg;

	a->u.live = live;
	return cowfs_unify(a->c, a->guest, &a->u, &a->n, err);
}

static int do_unify(const struct cowfs *c, const struct options *o, char **arg, struct cos_err *err)
{
	struct asked a = {
		.c = c,
		.guest = arg[0],
		.u = { .exclude = o->exclude,
		       .min_bytes = o->min_bytes,
		       .dry_run = o->dry_run,
		       .progress = o->progress ? say_unify_progress : NULL },
	};
	int r;

	if (o->background)
		stay_behind();
	if (o->progress)
		signal(SIGPIPE, SIG_IGN);
	if (!o->merged != !o->freeze)
		return cos_fail(err, COS_E_INVALID, 0,
				"a running guest needs both --merged and --freeze");
	if (o->merged)
		r = cli_with_live(o, unify_live, &a, err);
	else
		r = cowfs_unify(c, arg[0], &a.u, &a.n, err);
	if (r == 0 || a.n.seen > 0)
		say_counts(o, unify_counts, ARRAY_SIZE(unify_counts), &a.n);
	return r;
}

/* ---- gc, scrub ---- */

static int do_gc(const struct cowfs *c, const struct options *o, char **arg, struct cos_err *err)
{
	static const struct count counts[] = {
#define ROW(field) { #field, offsetof(struct cowfs_collected, field) }
		ROW(objects), ROW(bytes),   ROW(marked),      ROW(young),
		ROW(trimmed), ROW(removed), ROW(freed_bytes),
#undef ROW
	};
	const struct cowfs_gc gc = {
		.dry_run = o->dry_run,
		.trim = true,
		.grace_usec = o->grace_usec,
	};
	struct cowfs_collected n;
	int r = cowfs_gc(c, o->domain, &gc, &n, err);

	(void)arg;
	if (r == 0)
		say_counts(o, counts, ARRAY_SIZE(counts), &n);
	return r;
}

static int say_scrub_progress(uint64_t objects, uint64_t bytes, void *arg)
{
	(void)arg;
	printf("progress %" PRIu64 " %" PRIu64 "\n", objects, bytes);
	return fflush(stdout) < 0;
}

static void say_found(const char *object, enum cowfs_finding what, void *arg)
{
	const struct options *o = arg;

	if (o->progress || !o->output || strcmp(o->output, "json") != 0)
		printf("%s%s %s\n", o->progress ? "found " : "", object, cowfs_finding_name[what]);
	fflush(stdout);
}

static int do_scrub(const struct cowfs *c, const struct options *o, char **arg, struct cos_err *err)
{
	static const struct count counts[] = {
#define ROW(field) { #field, offsetof(struct cowfs_scrubbed, field) }
		ROW(objects), ROW(bytes), ROW(bad), ROW(repaired), ROW(quarantined),
#undef ROW
	};
	auto_close int from = o->from ? open(o->from, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	const struct cowfs_scrub s = {
		.from = from,
		.dry_run = o->dry_run,
		.progress = o->progress ? say_scrub_progress : NULL,
		.found = say_found,
		.arg = (void *)o,
	};
	struct cowfs_scrubbed n = { 0 };
	int r;

	(void)arg;
	if (o->from && from < 0)
		return cos_fail(err, COS_E_INVALID, errno, "open %s", o->from);
	if (o->background)
		stay_behind();
	r = cowfs_scrub(c, o->domain, &s, &n, err);
	if (r == 0 || n.objects > 0)
		say_counts(o, counts, ARRAY_SIZE(counts), &n);
	if (r == 0 && n.bad > n.repaired)
		return cos_advise(
			err,
			cos_fail(err, COS_E_KERNEL, EUCLEAN, "%" PRIu64 " damaged objects%s",
				 n.bad - n.repaired, o->dry_run ? "" : " were put aside"),
			"name a directory that has whole copies with --from, or restore the "
			"state directory from a backup");
	return r;
}

/* ---- usage, limits ---- */

static int do_usage(const struct cowfs *c, const struct options *o, char **arg, struct cos_err *err)
{
	static const struct count counts[] = {
#define ROW(field) { #field, offsetof(struct cowfs_usage, field) }
		ROW(own_bytes), ROW(inodes), ROW(stubs), ROW(shared_bytes), ROW(layer_bytes),
#undef ROW
	};
	struct cowfs_usage u;
	int r = cowfs_usage(c, arg[0], true, &u, err);

	if (r == 0)
		say_counts(o, counts, ARRAY_SIZE(counts), &u);
	return r;
}

static int do_limits(const struct cowfs *c, const struct options *o, char **arg,
		     struct cos_err *err)
{
	struct cowfs_limit_found found[COWFS_LIMIT__N];

	(void)o;
	(void)arg;
	(void)err;
	cowfs_limit_probe(c->dir, found);
	for (size_t i = 0; i < COWFS_LIMIT__N; i++)
		printf("%-4s %-14s %s%s%s\n", found[i].works ? "ok" : "NO", found[i].name,
		       found[i].meaning, found[i].why[0] ? ": " : "", found[i].why);
	return 0;
}

const struct command cli_pool_commands[] = {
	{ { "unify", NULL },
	  1,
	  1,
	  TAKES(DRY_RUN) | TAKES(EXCLUDE) | TAKES(MIN_SIZE) | TAKES(MERGED) | TAKES(FREEZE) |
		  TAKES(BACKGROUND) | TAKES(OUTPUT),
	  do_unify },
	{ { "gc", NULL },
	  0,
	  0,
	  TAKES(DOMAIN) | TAKES(DRY_RUN) | TAKES(GRACE) | TAKES(OUTPUT),
	  do_gc },
	{ { "scrub", NULL },
	  0,
	  0,
	  TAKES(DOMAIN) | TAKES(DRY_RUN) | TAKES(FROM) | TAKES(BACKGROUND) | TAKES(OUTPUT),
	  do_scrub },
	{ { "usage", NULL }, 1, 1, TAKES(OUTPUT), do_usage },
	{ { "limits", NULL }, 0, 0, 0, do_limits },
	{ { "selftest", NULL }, 0, 0, 0, do_selftest },
	{ .run = NULL },
};
