/* cosd/api-set.c - changing a guest's specification, live where that can be done, all or nothing */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cosd/admit.h"
#include "cosd/api.h"
#include "cosd/bucket.h"
#include "cosd/cpus.h"
#include "cosd/disk.h"
#include "cosd/guest.h"
#include "cosd/io-bucket.h"
#include "cosd/health.h"
#include "cosd/requires.h"
#include "lib/base/jsonx.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "lib/kern/cg.h"

/* Whether KEY is one, or, from another version, is there all the same. */
static int may_remove(json_t *from, const char *key, bool known, const char *at,
		      struct cos_err *err)
{
	return known || json_object_get(from, key)
		       ? 0
		       : cos_fail(err, COS_E_INVALID, 0, "%s/%.64s: unknown key", at, key);
}

static int check_removed(json_t *own, json_t *change, struct cos_err *err)
{
	json_t *limits = json_object_get(change, "limits"), *v;
	const char *key;
	int r = 0;

	json_object_foreach(change, key, v) {
		if (r == 0 && json_is_null(v))
			r = may_remove(own, key, spec_key_find(key), "", err);
	}
	json_object_foreach(limits, key, v) {
		if (r == 0 && json_is_null(v))
			r = may_remove(json_object_get(own, "limits"), key,
				       limit_find(key) != LIMIT__N, "/limits", err);
	}
	return r;
}

/* What is set has to be good as far as it goes alone. */
static int check_change(json_t *own, json_t *change, struct cos_err *err)
{
	auto_json json_t *set = jsonx_patch(NULL, change);
	const char *key;
	json_t *v;
	int r = set ? spec_check_part(set, err) : cos_fail(err, COS_E_KERNEL, ENOMEM, "set");

	if (r == 0)
		r = check_removed(own, change, err);
	if (r < 0)
		return r;
	json_object_foreach(change, key, v) {
		const struct spec_key *k = spec_key_find(key);

		if (k && k->when == S_FIXED)
			return cos_advise(err,
					  cos_fail(err, COS_E_INVALID, 0,
						   "/%s: is fixed when a guest is created", key),
					  "create a new guest with it");
	}
	return 0;
}

/* The new limits on the running guest's groups; cg_apply() takes back what it wrote when one fails.
 */
static int apply_live(struct guest *g, const struct spec *next, bool force, struct cos_err *err)
{
	struct cos_err ignored;
	struct cg_guest cg;
	int r;

	if (g->slot < 0)
		return 0;
	for (enum limit_id id = LIMIT__DISK; id < LIMIT__N; id++) {
		if (next->limits.v[id] != g->spec.limits.v[id])
			return cos_advise(err,
					  cos_fail(err, COS_E_STATE, 0,
						   "%s: cannot reach the processes that run",
						   limit_defs[id].name),
					  "stop the guest, set it, and start it again");
	}
	if (g->state == GS_STARTING)
		return cos_fail(err, COS_E_STATE, 0, "%s is starting", g->name);
	r = cpus_admit(g, &next->limits, err);
	if (r == 0)
		r = admit_check(g, &next->limits, err);
	if (r == 0)
		r = guest_open_groups(g, &cg, err);
	if (r < 0)
		return r;
	bucket_rest(g);
	io_bucket_rest(g);
	r = cg_apply(&g->d->host.topo, &cg, &next->limits, &g->spec.limits, force, err);
	if (r == 0 && (r = net_change(g, next, err)) < 0)
		cg_apply(&g->d->host.topo, &cg, &g->spec.limits, &next->limits, true, &ignored);
	cg_close(&cg);
	return r;
}

static void take_back_live(struct guest *g, const struct spec *next)
{
	struct spec now = g->spec;
	struct cos_err ignored;

	g->spec = *next;
	apply_live(g, &now, true, &ignored);
	g->spec = now;
}

static void swap(struct guest *g, json_t **own, struct spec *spec)
{
	json_t *old_own = g->own;
	struct spec old = g->spec;

	g->own = *own;
	g->spec = *spec;
	*own = old_own;
	*spec = old;
	g->name = g->spec.name;
	if (!json_object_get(g->spec.doc, "hostname"))
		g->spec.hostname = g->spec.name;
}

/* What else hangs on the specification that was BEFORE. */
static void follow(struct guest *g, const struct spec *before)
{
	health_changed(g, before);
	if (before->limits.v[LIMIT_CPU_SHARE] != g->spec.limits.v[LIMIT_CPU_SHARE] ||
	    before->limits.v[LIMIT_CPU_IDLE] != g->spec.limits.v[LIMIT_CPU_IDLE])
		g->cpu_weight = 0; /* the group has what cpu.share says */
	if (g->pid > 0) {
		bucket_begin(g);
		io_bucket_begin(g, false);
	}
	memory_changed(g, &before->limits);
	admit_weigh(g->d);
	if (g->slot >= 0 &&
	    (before->limits.v[LIMIT_CPU_DEDICATED] || g->spec.limits.v[LIMIT_CPU_DEDICATED]))
		cpus_share(g->d);
}

/* What a guest was before it was changed: until the change is whole, the way back. */
struct changing {
	json_t *own;
	struct spec spec;
	bool refused; /* the specification before was */
};

static void changing_free(struct changing *k)
{
	json_decref(k->own);
	spec_done(&k->spec);
	free(k);
}

/* K has what it shall be, and then what it was. */
static int keep(struct guest *g, struct changing *k, struct cos_err *err)
{
	int r;

	swap(g, &k->own, &k->spec);
	r = store_put_spec(g, err);
	if (r < 0)
		swap(g, &k->own, &k->spec);
	return r;
}

/* K has what it was, and then what it should have become. */
static void take_back(struct guest *g, struct changing *k)
{
	struct cos_err ignored;

	swap(g, &k->own, &k->spec);
	store_put_spec(g, &ignored);
	disk_set(g, &k->spec.limits, &ignored);
	take_back_live(g, &k->spec);
}

static void settle(struct call *c, struct guest *g, const struct changing *k)
{
	if (k->refused)
		guest_accepted(g);
	follow(g, &k->spec);
	event_say(c->d, g->name, "set",
		  json_pack("{s:O}", "spec", json_object_get(c->params, "spec")));
	call_reply(c, NULL, NULL, 0);
}

static void resized(const struct job_end *e)
{
	struct changing *k = e->arg;
	const char *name = json_string_value(json_object_get(e->call->params, "name"));
	struct guest *g = guest_find(e->d, name);
	struct cos_err err;
	int r = 0;

	if (!g || g->changing != k) {
		cos_fail(&err, COS_E_NO_GUEST, 0, "%s was deleted meanwhile", name);
		cos_context(&err, 0, "set %s", name);
		call_fail(e->call, &err);
		changing_free(k);
		return;
	}
	g->changing = NULL;
	if (e->err) {
		err = *e->err;
		/* It may have begun: that is gone on with. */
		r = e->killed ? disk_set(g, &k->spec.limits, &err) : -EIO;
	}
	if (r == 0) {
		settle(e->call, g, k);
	} else {
		take_back(g, k);
		cos_context(&err, r, "set %s", name);
		call_fail(e->call, &err);
	}
	changing_free(k);
}

/* A large file system takes its time to grow. It goes on when the client goes. */
static int resize(struct call *c, struct guest *g, struct changing *k, struct cos_err *err)
{
	char bytes[24];
	const struct job_order o = {
		.args = (const char *[]){ "root", "limit", "--disk-max", bytes, g->name, NULL },
		.input = -1,
		.guest = g,
		.how = "given more space",
		.done = resized,
		.arg = k,
	};
	int r;

	str_fmt(bytes, sizeof(bytes), "%" PRIu64, g->spec.limits.v[LIMIT_DISK_MAX]);
	r = job_run(c, &o, err);
	if (r < 0)
		return r;
	c->client_gone = NULL;
	g->changing = k;
	return 0;
}

/* Disk limits come last: a file system that has grown stays so. 1: it grows, and K is the job's. */
static int change(struct call *c, struct guest *g, struct changing *k, struct cos_err *err)
{
	bool grows = disk_grows(g, &k->spec);
	int r = grows ? jobs_check(g->d, g->name, err) : 0;

	if (r == 0)
		r = keep(g, k, err);
	if (r < 0) {
		take_back_live(g, &k->spec);
		return r;
	}
	r = grows ? resize(c, g, k, err) : disk_set(g, &k->spec.limits, err);
	if (r < 0)
		take_back(g, k);
	return r == 0 && grows ? 1 : r;
}

/* What G shall be, into K, which is the caller's also on failure. */
static int plan(struct guest *g, json_t *change_doc, bool force, struct changing *k,
		struct cos_err *err)
{
	auto_json json_t *doc = NULL;
	int r;

	k->refused = guest_is_refused(g);
	k->own = jsonx_patch(g->own, change_doc);
	r = k->own ? profile_expand(g->d, k->own, &doc, err)
		   : cos_fail(err, COS_E_KERNEL, ENOMEM, "merge");
	if (r == 0)
		r = spec_parse(doc, &k->spec, err);
	if (r == 0)
		r = requires_check(g->d, &k->spec, err);
	if (r == 0)
		r = rules_get(g->d, &k->spec, err) ? disk_check(g, &k->spec, force, err) : -EINVAL;
	return r;
}

static int set(struct call *c, struct guest *g, json_t *change_doc, bool force, struct cos_err *err)
{
	struct changing *k = calloc(1, sizeof(*k));
	int r;

	if (!k)
		return cos_fail(err, COS_E_KERNEL, ENOMEM, "set");
	r = g->changing ? jobs_check(g->d, g->name, err) : plan(g, change_doc, force, k, err);
	if (r == 0)
		r = apply_live(g, &k->spec, force, err);
	if (r == 0)
		r = change(c, g, k, err);
	if (r == 0)
		settle(c, g, k);
	if (r != 1)
		changing_free(k);
	return r < 0 ? r : 0;
}

int api_guest_set(struct call *c, json_t *params, struct cos_err *err)
{
	struct set {
		char name[NAME_SIZE];
		json_t *spec;
		bool force;
	} p = { .name = "" };
	static const struct jsonx_field fields[] = {
		{ .name = "name",
		  .type = JSONX_STR,
		  .offset = offsetof(struct set, name),
		  .min = 1,
		  .max = NAME_SIZE - 1,
		  .required = true },
		{ .name = "spec",
		  .type = JSONX_ANY,
		  .offset = offsetof(struct set, spec),
		  .required = true },
		{ .name = "force", .type = JSONX_BOOL, .offset = offsetof(struct set, force) },
	};
	struct guest *g = NULL;
	int r = jsonx_fill(params, "", fields, ARRAY_SIZE(fields), &p, err);

	if (r == 0)
		r = guest_need(c->d, p.name, &g, err);
	if (r == 0)
		r = check_change(g->own, p.spec, err);
	if (r == 0)
		r = set(c, g, p.spec, p.force, err);
	return r < 0 ? cos_context(err, r, "set %s", p.name) : 0;
}
