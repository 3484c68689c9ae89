/* cosd/api-clone.c - a guest that is made of another: its specification and a clone of its files
 *
 * The files are cow-fs's work, a child's. Its end makes the guest: until the specification is
 * written there is none, and what is left of one is taken away by who finds it (recover.c). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cosd/api.h"
#include "cosd/guest.h"
#include "cosd/points.h"
#include "lib/base/jsonx.h"
#include "lib/base/log.h"
#include "lib/base/own.h"
#include "lib/base/str.h"

struct cloning {
	json_t *own, *warnings;
	struct spec spec;
	char from[NAME_SIZE];
};

static void cloning_free(struct cloning *k)
{
	json_decref(k->own);
	json_decref(k->warnings);
	spec_done(&k->spec);
	free(k);
}

/* What there can be only one of. KEY's value is told with WHY, unless that is NULL. */
static const struct {
	const char *key, *why;
} unique[] = {
	{ "uuid", NULL },
	{ "hostname", "it is its name" },
	{ "net.address", "it gets addresses of its own" },
	{ "net.gateway", "it went with the addresses" },
	{ "net.forward", "a port of the host leads to one guest" },
};

/* The specification of a clone NAME of the guest with OWN, and what is to be said about it. */
static int adapt(json_t *own, const char *name, struct cloning *k, struct cos_err *err)
{
	k->own = json_deep_copy(own);
	k->warnings = json_array();
	if (!k->own || !k->warnings || json_object_set_new(k->own, "name", json_string(name)) < 0)
		return cos_fail(err, COS_E_KERNEL, ENOMEM, "copy the specification");
	for (size_t i = 0; i < ARRAY_SIZE(unique); i++) {
		json_t *v = json_object_get(k->own, unique[i].key);
		auto_free char *text = v ? json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;

		if (text && unique[i].why)
			json_array_append_new(k->warnings,
					      json_sprintf("%s=%.400s is not taken over: %s",
							   unique[i].key, text, unique[i].why));
		json_object_del(k->own, unique[i].key);
	}
	return 0;
}

static void cloned(const struct job_end *e)
{
	struct cloning *k = e->arg;
	struct cos_err err;
	struct guest *g = NULL;
	int r = guest_root_made(e, &k->spec, &err);

	POINT_BEFORE("clone", "spec");
	if (r == 0)
		r = guest_define(e->d, k->own, &k->spec, &g, &err);
	POINT_AFTER("clone", "spec");
	if (r == 0) {
		event_say(e->d, g->name, "clone", json_pack("{s:s}", "from", k->from));
		json_array_extend(k->warnings, e->warnings);
		call_reply(e->call, json_pack("{s:O}", "warnings", k->warnings), NULL, 0);
	} else {
		call_fail(e->call, &err);
	}
	cloning_free(k);
}

static int start(struct call *c, struct guest *g, struct cloning *k, struct cos_err *err)
{
	const char *args[8] = { "clone" };
	const struct job_order o = {
		.args = args,
		.input = -1,
		.guest = g,
		.how = "cloned",
		.makes = k->spec.name,
		.done = cloned,
		.arg = k,
	};
	char group[256];
	unsigned n = 1;

	if (k->spec.ephemeral)
		args[n++] = "--volatile";
	if (!guest_is_down(g)) {
		if (!guest_freezer(g, group, sizeof(group)))
			return cos_fail(err, COS_E_UNSUPPORTED, 0,
					"%s runs, and there is neither cgroup v2 nor a v1 freezer",
					g->name);
		args[n++] = "--freeze";
		args[n++] = group;
	}
	args[n++] = g->name;
	args[n++] = k->spec.name;
	args[n] = NULL;
	return job_run(c, &o, err);
}

int api_guest_clone(struct call *c, json_t *params, struct cos_err *err)
{
	struct params {
		char from[NAME_SIZE], name[NAME_SIZE];
	} p = { .from = "" };
	static const struct jsonx_field fields[] = {
		{ .name = "from",
		  .type = JSONX_STR,
		  .offset = offsetof(struct params, from),
		  .min = 1,
		  .max = NAME_SIZE - 1,
		  .required = true },
		{ .name = "name",
		  .type = JSONX_STR,
		  .offset = offsetof(struct params, name),
		  .min = 1,
		  .max = NAME_SIZE - 1,
		  .required = true },
	};
	struct guest *g = NULL;
	struct cloning *k;
	int r = jsonx_fill(params, "", fields, ARRAY_SIZE(fields), &p, err);

	if (r == 0)
		r = guest_need(c->d, p.from, &g, err);
	if (r == 0)
		r = api_need_container(g, err);
	if (r == 0)
		r = guest_free_for_job(g, err);
	if (r < 0)
		return r;
	k = calloc(1, sizeof(*k));
	if (!k)
		return cos_fail(err, COS_E_KERNEL, ENOMEM, "clone");
	str_fmt(k->from, sizeof(k->from), "%s", g->name);
	r = adapt(g->own, p.name, k, err);
	if (r == 0)
		r = guest_plan(c->d, k->own, &k->spec, err);
	POINT_BEFORE("clone", "job");
	if (r == 0)
		r = start(c, g, k, err);
	POINT_AFTER("clone", "job");
	if (r < 0)
		cloning_free(k);
	return r < 0 ? cos_context(err, r, "clone %s", p.from) : 0;
}
