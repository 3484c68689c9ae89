/* cosd/api-pool.c - unification of guests' files, and the care of what they share
 *
 * All of it is long work, done by cow-fs as a child that takes what nobody else wants of CPUs and
 * disks. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cosd/api.h"
#include "cosd/guest.h"
#include "lib/base/clock.h"
#include "lib/base/jsonx.h"
#include "lib/base/own.h"
#include "lib/base/str.h"

struct params {
	char name[NAME_SIZE];
	bool dry_run;
	uint64_t grace;
};

#define FIELD(n, t, m, lo, hi, req)                                                                \
	{                                                                                          \
		.name = n, .type = JSONX_##t, .offset = offsetof(struct params, m), .min = lo,     \
		.max = hi, .required = req                                                         \
	}
#define F_DRY_RUN FIELD("dry_run", BOOL, dry_run, 0, 0, false)

static json_int_t count(json_t *result, const char *key)
{
	return json_integer_value(json_object_get(result, key));
}

/* ---- unify ---- */

static bool is_dry(const struct call *c)
{
	return json_is_true(json_object_get(c->params, "dry_run"));
}

static void unified(const struct job_end *e)
{
	const char *name = json_string_value(json_object_get(e->call->params, "name"));

	if (e->result && !is_dry(e->call) && count(e->result, "swapped") > 0)
		event_say(e->d, name, "unify",
			  json_pack("{s:I, s:I, s:I}", "files", count(e->result, "swapped"),
				    "freed_bytes", count(e->result, "freed_bytes"), "added_bytes",
				    count(e->result, "added_bytes")));
	if (e->err)
		call_fail(e->call, e->err);
	else
		call_reply(e->call, json_pack("{s:O*}", "unified", e->result), NULL, 0);
}

/* The root of the guest as it sees it. Its process is the guest's still after the look. */
static int open_root(const struct guest *g, struct cos_err *err)
{
	struct pollfd p = { .fd = g->pidfd, .events = POLLIN };
	auto_close int fd = -1;
	char path[32];

	str_fmt(path, sizeof(path), "/proc/%d/root", (int)g->pid);
	fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 && errno != ENOENT)
		return cos_fail(err, COS_E_KERNEL, errno, "open the root of %s", g->name);
	if (fd < 0 || poll(&p, 1, 0) != 0)
		return cos_fail(err, COS_E_NOT_RUNNING, 0, "%s has ended", g->name);
	return take_fd(fd);
}

static int unify(struct call *c, struct guest *g, bool dry_run, struct cos_err *err)
{
	const char *args[12] = { "unify", "--background", "-o", "json" };
	auto_close int root = -1;
	char group[256];
	unsigned n = 4;

	if (dry_run)
		args[n++] = "--dry-run";
	if (!guest_is_down(g)) {
		root = open_root(g, err);
		if (root < 0)
			return root;
		if (!guest_freezer(g, group, sizeof(group)))
			return cos_fail(err, COS_E_UNSUPPORTED, 0,
					"%s runs, and there is neither cgroup v2 nor a v1 freezer",
					g->name);
		args[n++] = "--merged";
		args[n++] = "/proc/self/fd/3";
		args[n++] = "--freeze";
		args[n++] = group;
	}
	args[n++] = g->name;
	args[n] = NULL;
	return job_run(c,
		       &(struct job_order){
			       .args = args,
			       .input = root,
			       .guest = g,
			       .how = "unified",
			       .yields = true,
			       .background = true,
			       .done = unified,
		       },
		       err);
}

int api_guest_unify(struct call *c, json_t *params, struct cos_err *err)
{
	static const struct jsonx_field fields[] = {
		FIELD("name", STR, name, 1, NAME_SIZE - 1, true), F_DRY_RUN
	};
	struct params p = { .name = "" };
	struct guest *g = NULL;
	int r = jsonx_fill(params, "", fields, ARRAY_SIZE(fields), &p, err);

	if (r == 0)
		r = guest_need(c->d, p.name, &g, err);
	if (r == 0)
		r = api_need_container(g, err);
	if (r == 0)
		r = guest_free_for_job(g, err);
	if (r == 0)
		r = unify(c, g, p.dry_run, err);
	return r;
}

/* ---- gc, scrub ---- */

static void collected(const struct job_end *e)
{
	if (e->err) {
		call_fail(e->call, e->err);
		return;
	}
	if (!is_dry(e->call))
		event_say(e->d, NULL, "gc",
			  json_pack("{s:I, s:I}", "removed", count(e->result, "removed"),
				    "freed_bytes", count(e->result, "freed_bytes")));
	call_reply(e->call, json_pack("{s:O*}", "collected", e->result), NULL, 0);
}

int api_host_gc(struct call *c, json_t *params, struct cos_err *err)
{
	static const struct jsonx_field fields[] = { F_DRY_RUN, FIELD("grace", UINT, grace, 0,
								      31536000, false) };
	struct params p = { .grace = 3600 };
	int r = jsonx_fill(params, "", fields, ARRAY_SIZE(fields), &p, err);
	char grace[32];

	if (r < 0)
		return r;
	str_fmt(grace, sizeof(grace), "%" PRIu64 "s", p.grace);
	return job_run(c,
		       &(struct job_order){
			       .args = (const char *[]){ "gc", "-o", "json", "--grace", grace,
							 p.dry_run ? "--dry-run" : NULL, NULL },
			       .input = -1,
			       .done = collected,
		       },
		       err);
}

/* Damage that was found is a result, not a failure of the search. */
static void scrubbed(const struct job_end *e)
{
	json_t *f;
	size_t i;

	json_array_foreach(e->found, i, f)
		event_say(e->d, NULL, "damage", json_deep_copy(f));
	if (e->err && !(e->result && count(e->result, "bad") > 0 && !e->killed)) {
		call_fail(e->call, e->err);
		return;
	}
	if (!is_dry(e->call))
		event_say(e->d, NULL, "scrub",
			  json_pack("{s:I, s:I, s:I}", "objects", count(e->result, "objects"),
				    "bad", count(e->result, "bad"), "repaired",
				    count(e->result, "repaired")));
	call_reply(e->call, json_pack("{s:O*, s:O}", "scrubbed", e->result, "found", e->found),
		   NULL, 0);
}

int api_host_scrub(struct call *c, json_t *params, struct cos_err *err)
{
	static const struct jsonx_field fields[] = { F_DRY_RUN };
	struct params p = { .name = "" };
	int r = jsonx_fill(params, "", fields, ARRAY_SIZE(fields), &p, err);

	if (r < 0)
		return r;
	return job_run(c,
		       &(struct job_order){
			       .args = (const char *[]){ "scrub", "--background", "-o", "json",
							 p.dry_run ? "--dry-run" : NULL, NULL },
			       .input = -1,
			       .background = true,
			       .done = scrubbed,
		       },
		       err);
}
