/* cosd/api-set.c - changing a guest's specification, live where that can be done, all or nothing */
#include <errno.h>
#include <stdio.h>
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

/* Disk limits come last: a file system that has grown stays so. */
static int keep(struct guest *g, json_t **own, struct spec *next, struct cos_err *err)
{
	struct cos_err ignored;
	int r;

	swap(g, own, next);
	r = store_put_spec(g, err);
	if (r == 0 && (r = disk_set(g, &next->limits, err)) < 0) {
		swap(g, own, next);
		store_put_spec(g, &ignored);
		disk_set(g, &next->limits, &ignored);
	} else if (r < 0) {
		swap(g, own, next);
	}
	return r;
}

static int change(struct guest *g, json_t *change_doc, bool force, struct cos_err *err)
{
	auto_json json_t *own = jsonx_patch(g->own, change_doc), *doc = NULL;
	bool refused = guest_is_refused(g);
	struct spec next = { 0 };
	int r = own ? profile_expand(g->d, own, &doc, err)
		    : cos_fail(err, COS_E_KERNEL, ENOMEM, "merge");

	if (r == 0)
		r = spec_parse(doc, &next, err);
	if (r < 0)
		return r;
	r = requires_check(g->d, &next, err);
	if (r < 0) {
		spec_done(&next);
		return r;
	}
	r = rules_get(g->d, &next, err) ? disk_check(g, &next, force, err) : -EINVAL;
	if (r == 0)
		r = apply_live(g, &next, force, err);
	if (r == 0) {
		r = keep(g, &own, &next, err);
		if (r < 0) {
			take_back_live(g, &next);
		} else {
			if (refused)
				guest_accepted(g);
			follow(g, &next);
		}
	}
	spec_done(&next);
	return r;
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
		r = change(g, p.spec, p.force, err);
	if (r < 0)
		return cos_context(err, r, "set %s", p.name);
	event_say(c->d, g->name, "set", json_pack("{s:O}", "spec", p.spec));
	call_reply(c, NULL, NULL, 0);
	return 0;
}
