/* cosd/guest.c - the registry: guests by name, made and deleted */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cosd/admit.h"
#include "cosd/call.h"
#include "cosd/disk.h"
#include "cosd/guest.h"
#include "cosd/health.h"
#include "cosd/hits.h"
#include "cosd/hook.h"
#include "cosd/meter.h"
#include "cosd/points.h"
#include "cosd/requires.h"
#include "cow-fs/disk.h"
#include "cow-fs/root.h"
#include "lib/base/clock.h"
#include "lib/base/jsonx.h"
#include "lib/base/log.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "lib/kern/proc.h"

#undef guest_need

struct guest *guest_find(struct daemon *d, const char *name)
{
	struct list *p;

	list_for_each(p, &d->guests) {
		struct guest *g = list_entry(p, struct guest, link);

		if (strcmp(g->name, name) == 0)
			return g;
	}
	return NULL;
}

int guest_need(struct daemon *d, const char *name, struct guest **ret, struct cos_err *err)
{
	struct guest *g = guest_find(d, name);

	if (!g)
		return cos_fail(err, COS_E_NO_GUEST, 0, "there is no guest named %.64s", name);
	*ret = g;
	return 0;
}

/* The guest before which NAME comes: the list is kept in the order of names. Most are the last. */
static struct list *place_of(struct daemon *d, const char *name)
{
	struct list *p = d->guests.prev;

	while (p != &d->guests && strcmp(list_entry(p, struct guest, link)->name, name) > 0)
		p = p->prev;
	return p->next;
}

struct guest *guest_new(struct daemon *d, json_t *own, struct spec *spec, struct cos_err *err)
{
	struct guest *g = calloc(1, sizeof(*g));

	if (!g) {
		cos_fail(err, COS_E_KERNEL, ENOMEM, "guest");
		return NULL;
	}
	g->d = d;
	g->own = own;
	g->spec = *spec;
	g->name = g->spec.name;
	if (spec->hostname == spec->name)
		g->spec.hostname = g->spec.name;
	g->slot = g->pidfd = g->console = g->view = g->disk = -1;
	memset(g->stdio, -1, sizeof(g->stdio));
	list_init(&g->waits);
	g->status = STATUS_NONE;
	list_init(&g->waiters);
	net_load(g);
	list_add_tail(place_of(d, g->name), &g->link);
	d->n_guests++;
	*spec = (struct spec){ 0 };
	return g;
}

static void guest_free_now(struct loop_timer *t)
{
	struct guest *g = container_of(t, struct guest, timer);

	json_decref(g->own);
	json_decref(g->steps);
	json_decref(g->vm_stats);
	free(g->net);
	free(g->why);
	disk_end(g);
	hits_free(g);
	meter_free(g);
	spec_done(&g->spec);
	free(g);
}

static void guest_free(struct guest *g)
{
	list_del(&g->link);
	g->d->n_guests--;
	hook_forget(g);
	requires_tell(g);
	loop_timer_clear(&g->timer);
	g->timer.fire = guest_free_now; /* when the loop knows nothing of its sources any more */
	loop_timer_set(&g->d->loop, &g->timer, 0);
}

/* A later guest of the name, perhaps another owner's, must not be shown them. */
static void drop_logs(const struct daemon *d, const char *name)
{
	static const char *const suffix[] = { ".log", ".log.1" };

	for (size_t i = 0; i < ARRAY_SIZE(suffix); i++) {
		char path[80];

		str_fmt(path, sizeof(path), "log/%s%s", name, suffix[i]);
		unlinkat(d->state, path, 0);
	}
}

static int check_spec(struct daemon *d, const struct spec *spec, struct cos_err *err)
{
	struct list *p;
	int r;

	if (guest_find(d, spec->name))
		return cos_fail(err, COS_E_EXISTS, 0, "there is a guest named %s already",
				spec->name);
	list_for_each(p, &d->guests) {
		const struct guest *g = list_entry(p, struct guest, link);

		if (g->spec.uuid && strcmp(g->spec.uuid, spec->uuid) == 0)
			return cos_advise(
				err,
				cos_fail(err, COS_E_EXISTS, 0, "the uuid is that of %s", g->name),
				"leave the uuid out, and a new one is made");
	}
	r = admit_check_disk(d, NULL, &spec->limits, err);
	return r < 0 ? r : requires_check(d, spec, err);
}

/* Neither its name nor what the ledger knows it by is another guest's. */
static int check_new(struct daemon *d, const struct spec *spec, struct cos_err *err)
{
	if (jobs_make(d, spec->name))
		return cos_fail(err, COS_E_EXISTS, 0, "a guest named %s is being made", spec->name);
	return check_spec(d, spec, err);
}

/* Parses OWN, which gets a "uuid" first. */
static int parse_new(struct daemon *d, json_t *own, struct spec *ret, struct cos_err *err)
{
	auto_json json_t *doc = NULL;
	int r = spec_name_uuid(own);

	if (r < 0)
		return cos_fail(err, COS_E_KERNEL, -r, "uuid");
	r = profile_expand(d, own, &doc, err);
	return r < 0 ? r : spec_parse(doc, ret, err);
}

/* What would keep a start from succeeding is told now. */
static int check_startable(struct daemon *d, const struct spec *s, struct cos_err *err)
{
	if (!rules_get(d, s, err))
		return -EINVAL;
	return s->type == GUEST_VM ? launch_vm_check(&d->host, s, err) : 0;
}

int guest_lacks_disk(struct daemon *d, json_t *own, char template[static COWFS_NAME_SIZE],
		     struct cos_err *err)
{
	struct spec spec;
	int r = parse_new(d, own, &spec, err);

	if (r < 0)
		return r;
	if (spec.type == GUEST_VM && spec.template) {
		str_fmt(template, COWFS_NAME_SIZE, "%s", spec.template);
		r = check_new(d, &spec, err);
		if (r == 0)
			r = check_startable(d, &spec, err);
		if (r == 0)
			r = cowfs_disk_is_made(&d->cow, template, err);
		r = r < 0 ? r : !r;
	}
	spec_done(&spec);
	return r;
}

/* Files of nobody: a delete, or the undoing of a create, has failed in the end. */
static int clear_stray(struct daemon *d, const char *name, struct cos_err *err)
{
	if (faccessat(d->cow.guests, name, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
		return 0;
	log_say(LOG_WARN, "files of a guest %s that is none are removed", name);
	return cowfs_root_remove(&d->cow, name, err);
}

int guest_plan(struct daemon *d, json_t *own, struct spec *ret, struct cos_err *err)
{
	struct spec spec;
	int r = parse_new(d, own, &spec, err);

	if (r < 0)
		return r;
	r = check_new(d, &spec, err);
	if (r == 0)
		r = check_startable(d, &spec, err);
	if (r == 0)
		r = clear_stray(d, spec.name, err);
	if (r < 0) {
		spec_done(&spec);
		return r;
	}
	*ret = spec;
	if (spec.hostname == spec.name)
		ret->hostname = ret->name;
	return 0;
}

int guest_define(struct daemon *d, json_t *own, struct spec *spec, struct guest **ret,
		 struct cos_err *err)
{
	struct cos_err ignored;
	char name[NAME_SIZE];
	struct guest *g;
	int r;

	str_fmt(name, sizeof(name), "%s", spec->name);
	json_incref(own);
	g = guest_new(d, own, spec, err);
	if (!g) {
		json_decref(own);
		spec_done(spec);
	}
	r = g ? store_put_spec(g, err) : -ENOMEM;
	if (r < 0) {
		cowfs_root_remove(&d->cow, name, &ignored);
		if (g)
			guest_free(g);
		return r;
	}
	drop_logs(d, g->name); /* written behind the back of the last one's delete */
	*ret = g;
	return 0;
}

void guest_drop_root(struct daemon *d, const char *name)
{
	struct cos_err err;

	if (!guest_find(d, name) && cowfs_root_remove(&d->cow, name, &err) < 0)
		log_say(LOG_ERROR, "root of %s: %s", name, err.why);
}

int guest_root_made(const struct job_end *e, const struct spec *spec, struct cos_err *err)
{
	int r = e->err ? -1 : check_spec(e->d, spec, err);

	if (e->err)
		*err = *e->err;
	if (r < 0 && (!e->err || e->killed)) /* one that failed has left nothing */
		guest_drop_root(e->d, spec->name);
	return r;
}

int guest_delete(struct guest *g, struct cos_err *err)
{
	struct daemon *d = g->d;
	int r;

	if (!guest_is_down(g))
		return cos_advise(err,
				  cos_fail(err, COS_E_STATE, 0, "%s is %s", g->name,
					   guest_state_name[g->state]),
				  "stop it first, or use delete --force");
	jobs_hold(d, g->name); /* what is to be deleted need not be unified */
	/* The specification goes first: what a crash leaves is a root that no guest claims. */
	POINT_BEFORE("delete", "spec");
	store_drop_spec(g);
	POINT_AFTER("delete", "spec");
	POINT_BEFORE("delete", "record");
	record_drop(d, g->name);
	keeplink_unlog(d, g->name);
	POINT_AFTER("delete", "record");
	drop_logs(d, g->name);
	net_forget(g);
	POINT_BEFORE("delete", "root");
	r = cowfs_root_remove(&d->cow, g->name, err);
	POINT_AFTER("delete", "root");
	event_say(d, g->name, "delete", NULL);
	guest_free(g);
	jobs_sweep(d);
	return r;
}

char *status_text(int status, char *buf)
{
	if (status == STATUS_NONE)
		snprintf(buf, 32, "none");
	else if (status == STATUS_UNKNOWN)
		snprintf(buf, 32, "unknown");
	else if (WIFSIGNALED(status))
		snprintf(buf, 32, "signal %d", WTERMSIG(status));
	else
		snprintf(buf, 32, "exit %d", WEXITSTATUS(status));
	return buf;
}

int status_code(int status)
{
	if (status == STATUS_NONE || status == STATUS_UNKNOWN)
		return -1;
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

json_t *guest_state_json(struct guest *g)
{
	json_t *j = json_pack("{s:s, s:s, s:s}", "name", g->name, "state",
			      guest_state_name[g->state], "type", guest_kind_name[g->spec.type]);
	char text[32];

	if (g->spec.template)
		json_object_set_new(j, "template", json_string(g->spec.template));
	else if (g->spec.rootfs)
		json_object_set_new(j, "rootfs", json_string(g->spec.rootfs));
	if (g->pid > 0) {
		json_object_set_new(j, "pid", json_integer(g->pid));
		json_object_set_new(j, "started_usec", json_integer((json_int_t)g->started_usec));
		json_object_set_new(j, "start_cost_usec",
				    json_integer((json_int_t)g->start_cost_usec));
	}
	if (g->slot >= 0) {
		json_object_set_new(j, "slot", json_integer(g->slot));
		if (g->spec.userns)
			json_object_set_new(j, "id_base",
					    json_integer(slot_id_base(g->d, (unsigned)g->slot)));
	}
	if (g->steps)
		json_object_set(j, "steps_usec", g->steps);
	if (g->status != STATUS_NONE) {
		json_object_set_new(j, "last_end", json_string(status_text(g->status, text)));
		if (status_code(g->status) >= 0)
			json_object_set_new(j, "last_status", json_integer(status_code(g->status)));
	}
	if (g->reason[0])
		json_object_set_new(j, "reason", json_string(g->reason));
	if (g->spec.autostart)
		json_object_set_new(j, "autostart", json_true());
	if (g->spec.priority)
		json_object_set_new(j, "priority", json_integer((json_int_t)g->spec.priority));
	if (json_array_size(g->spec.requires))
		json_object_set(j, "requires", g->spec.requires);
	if (health_name(g))
		json_object_set_new(j, "health", json_string(health_name(g)));
	if (g->net && !g->net->lower)
		json_object_set_new(j, "link", json_string(g->net->link));
	for (int i = 0; i < NET_FAMILIES; i++) {
		char ip[IP_TEXT_SIZE];

		if (g->lease.ip[i].family)
			json_object_set_new(j, i ? "ipv6" : "ipv4",
					    json_string(ip_text(&g->lease.ip[i], ip)));
	}
	if (g->due && guest_is_down(g))
		json_object_set_new(j, "restart_due", json_true());
	if (g->restarts)
		json_object_set_new(j, "restarts", json_integer(g->restarts));
	return j;
}
