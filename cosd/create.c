/* cosd/create.c - a new guest: its root, and then its specification
 *
 * A root is made at once, but for one with a file system of its own: that is a child's work. Until
 * the specification is written there is no guest, and what is left of one is taken away by who
 * finds it (recover.c). */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cosd/call.h"
#include "cosd/disk.h"
#include "cosd/guest.h"
#include "cosd/points.h"
#include "cow-fs/root.h"
#include "lib/base/own.h"
#include "lib/base/str.h"

struct creating {
	json_t *own;
	struct spec spec;
	guest_made *then;
};

static void creating_free(struct creating *k)
{
	json_decref(k->own);
	spec_done(&k->spec);
	free(k);
}

/* SPEC is emptied. */
static int define(struct call *c, json_t *own, struct spec *spec, guest_made *then,
		  struct cos_err *err)
{
	struct guest *g = NULL;
	int r;

	POINT_BEFORE("create", "spec");
	r = guest_define(c->d, own, spec, &g, err);
	POINT_AFTER("create", "spec");
	if (r < 0)
		return r;
	event_say(c->d, g->name, "create", NULL);
	return then(c, g, err);
}

static void root_made(const struct job_end *e)
{
	struct creating *k = e->arg;
	struct call *c = e->call;
	struct cos_err err;
	int r = guest_root_made(e, &k->spec, &err);

	c->client_gone = NULL;
	if (r == 0)
		r = define(c, k->own, &k->spec, k->then, &err);
	if (r < 0)
		call_fail(c, &err);
	creating_free(k);
}

static int run_job(struct call *c, struct creating *k, const struct cowfs_space *max,
		   struct cos_err *err)
{
	const char *args[14] = { "root", "make", "--disk-quota", "loop", "--disk-max" };
	const struct job_order o = {
		.args = args, .input = -1, .makes = k->spec.name, .done = root_made, .arg = k
	};
	char bytes[24], inodes[24];
	unsigned n = 5;

	str_fmt(bytes, sizeof(bytes), "%" PRIu64, max->bytes);
	args[n++] = bytes;
	if (max->inodes != COWFS_NO_LIMIT) {
		str_fmt(inodes, sizeof(inodes), "%" PRIu64, max->inodes);
		args[n++] = "--disk-inodes";
		args[n++] = inodes;
	}
	if (k->spec.ephemeral)
		args[n++] = "--volatile";
	if (k->spec.rootfs) {
		args[n++] = "--rootfs";
		args[n++] = k->spec.rootfs;
	}
	args[n++] = k->spec.name;
	args[n++] = k->spec.template; /* or NULL */
	args[n] = NULL;
	return job_run(c, &o, err);
}

/* SPEC is emptied on success. */
static int start_job(struct call *c, json_t *own, struct spec *spec, guest_made *then,
		     const struct cowfs_space *max, struct cos_err *err)
{
	struct creating *k = calloc(1, sizeof(*k));
	int r;

	if (!k)
		return cos_fail(err, COS_E_KERNEL, ENOMEM, "create");
	*k = (struct creating){ .own = json_incref(own), .spec = *spec, .then = then };
	if (spec->hostname == spec->name)
		k->spec.hostname = k->spec.name;
	r = run_job(c, k, max, err);
	if (r < 0) {
		json_decref(k->own);
		free(k);
		return r;
	}
	*spec = (struct spec){ 0 };
	return 0;
}

/* 1: it is being made, and the call goes on when it is there. A machine without a template has no
 * files of its own. */
static int make_root(struct call *c, json_t *own, struct spec *s, guest_made *then,
		     struct cos_err *err)
{
	enum cowfs_limit_kind kind = COWFS_LIMIT__N;
	struct cowfs_bounds bounds;
	struct cowfs_source from = { .template = s->template,
				     .rootfs = s->rootfs,
				     .bounds = &bounds };
	int r = 0;

	if (s->type == GUEST_VM && !s->template)
		return 0;
	disk_bounds(s, &bounds);
	if (bounds.max.bytes != COWFS_NO_LIMIT)
		r = cowfs_limit_choose(&c->d->cow, &bounds, &kind, err);
	if (r < 0)
		return r;
	if (kind != COWFS_LIMIT_LOOP)
		return cowfs_root_make(&c->d->cow, s->name, &from, !s->ephemeral, err);
	r = start_job(c, own, s, then, &bounds.max, err);
	return r < 0 ? r : 1;
}

int guest_create(struct call *c, json_t *own, guest_made *then, struct cos_err *err)
{
	struct spec spec;
	int r = guest_plan(c->d, own, &spec, err);

	if (r < 0)
		return r;
	POINT_BEFORE("create", "root");
	r = make_root(c, own, &spec, then, err);
	POINT_AFTER("create", "root");
	if (r == 0)
		return define(c, own, &spec, then, err);
	spec_done(&spec);
	return r < 0 ? r : 0;
}
