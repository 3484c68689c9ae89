/* cosd/api-snapshot.c - snapshots of a guest's files: made, listed, gone back to, deleted */
#include <string.h>

#include "cosd/api.h"
#include "cosd/guest.h"
#include "cow-fs/snapshot.h"
#include "lib/base/jsonx.h"
#include "lib/base/own.h"
#include "lib/base/str.h"

struct params {
	char name[NAME_SIZE], tag[NAME_SIZE];
};

static int take(struct call *c, json_t *params, bool tagged, struct params *p, struct guest **ret,
		struct cos_err *err)
{
	static const struct jsonx_field fields[] = {
		{ .name = "name",
		  .type = JSONX_STR,
		  .offset = offsetof(struct params, name),
		  .min = 1,
		  .max = NAME_SIZE - 1,
		  .required = true },
		{ .name = "tag",
		  .type = JSONX_STR,
		  .offset = offsetof(struct params, tag),
		  .min = 1,
		  .max = NAME_SIZE - 1,
		  .required = true },
	};
	int r;

	memset(p, 0, sizeof(*p));
	r = jsonx_fill(params, "", fields, tagged ? 2 : 1, p, err);
	if (r == 0 && tagged && !str_is_name(p->tag))
		return jsonx_bad(err, "/tag", "not a name");
	if (r == 0)
		r = guest_need(c->d, p->name, ret, err);
	if (r == 0)
		r = api_may(c, *ret, err);
	return r < 0 ? r : api_need_container(*ret, err);
}

/* What a guest that runs has written is not all on the disk, and a layer under it cannot change. */
static int need_down(const struct guest *g, struct cos_err *err)
{
	if (guest_is_down(g))
		return 0;
	return cos_advise(
		err, cos_fail(err, COS_E_STATE, 0, "%s is %s", g->name, guest_state_name[g->state]),
		"stop it first");
}

typedef int snapshot_fn(const struct cowfs *cow, const char *guest, const char *tag,
			struct cos_err *err);

static int change(struct call *c, json_t *params, snapshot_fn *fn, bool down, struct params *p,
		  struct guest **ret, struct cos_err *err)
{
	int r = take(c, params, true, p, ret, err);

	if (r == 0 && down)
		r = need_down(*ret, err);
	if (r == 0 && down)
		r = jobs_check(c->d, (*ret)->name, err);
	return r < 0 ? r : fn(&c->d->cow, (*ret)->name, p->tag, err);
}

static int done(struct call *c)
{
	jobs_sweep(c->d); /* layers that nobody names any more */
	call_reply(c, NULL, NULL, 0);
	return 0;
}

int api_guest_snapshot(struct call *c, json_t *params, struct cos_err *err)
{
	struct guest *g = NULL;
	struct params p;
	int r = change(c, params, cowfs_snapshot_make, true, &p, &g, err);

	if (r < 0)
		return r;
	event_say(c->d, g->name, "snapshot", json_pack("{s:s}", "tag", p.tag));
	return done(c);
}

int api_guest_restore(struct call *c, json_t *params, struct cos_err *err)
{
	struct guest *g = NULL;
	struct params p;
	int r = change(c, params, cowfs_snapshot_restore, true, &p, &g, err);

	if (r < 0)
		return r;
	event_say(c->d, g->name, "restore", json_pack("{s:s}", "tag", p.tag));
	return done(c);
}

int api_guest_drop_snapshot(struct call *c, json_t *params, struct cos_err *err)
{
	struct guest *g = NULL;
	struct params p;
	int r = change(c, params, cowfs_snapshot_delete, false, &p, &g, err);

	if (r < 0)
		return r;
	event_say(c->d, g->name, "snapshot-deleted", json_pack("{s:s}", "tag", p.tag));
	return done(c);
}

int api_guest_snapshots(struct call *c, json_t *params, struct cos_err *err)
{
	struct guest *g = NULL;
	json_t *list = NULL, *e;
	struct params p;
	size_t i;
	int r = take(c, params, false, &p, &g, err);

	if (r == 0)
		r = cowfs_snapshot_list(&c->d->cow, g->name, &list, err);
	if (r < 0)
		return r;
	json_array_foreach(list, i, e) {
		json_object_set_new(e, "tag", json_incref(json_object_get(e, "name")));
		json_object_set_new(e, "created_usec", json_incref(json_object_get(e, "created")));
		json_object_set_new(
			e, "layers",
			json_integer((json_int_t)json_array_size(json_object_get(e, "layers"))));
		json_object_del(e, "name");
		json_object_del(e, "created");
	}
	call_reply(c, json_pack("{s:o}", "snapshots", list), NULL, 0);
	return 0;
}
