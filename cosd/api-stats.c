/* cosd/api-stats.c - calls that tell what guests use, how they stand to their limits, and what the
 * host has to give */
#include <errno.h>
#include <fcntl.h>
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
#include "cosd/vmstat.h"
#include "lib/base/io.h"
#include "lib/base/jsonx.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "lib/kern/cg.h"

struct ask {
	char name[NAME_SIZE];
	bool limits, pressure;
};

static json_t *limit_json(const struct limits *l, enum limit_id id)
{
	const struct limit_def *d = &limit_defs[id];
	char text[LIMIT_TEXT_SIZE];

	if (l->v[id] == LIMIT_MAX || d->unit == UNIT_MCPU || d->unit == UNIT_CPUS)
		return json_string(limit_text(l, id, text));
	if (d->unit == UNIT_BOOL)
		return json_boolean(l->v[id]);
	return json_integer((json_int_t)l->v[id]);
}

static json_t *limits_json(const struct limits *l)
{
	json_t *j = json_object();

	for (enum limit_id id = 0; id < LIMIT__DISK; id++)
		json_object_set_new(j, limit_defs[id].name, limit_json(l, id));
	return j;
}

/* Each way: what it used of a quota, how often it had to wait for its rate. */
static void put_net_stands(json_t *list, const struct guest *g)
{
	const struct limits *l = &g->spec.limits;
	uint64_t used[NET__WAYS], over = 0;

	if (!g->net || g->net->lower)
		return;
	for (int w = 0; w < NET__WAYS; w++)
		over += g->lease.over[w];
	json_array_append_new(
		list, json_pack("{s:s, s:o, s:I}", "limit", limit_defs[LIMIT_NET_CEIL].name, "max",
				limit_json(l, LIMIT_NET_CEIL), "failcnt", (json_int_t)over));
	if (net_quota_used(g, used))
		json_array_append_new(
			list,
			json_pack("{s:s, s:o, s:I}", "limit", limit_defs[LIMIT_NET_QUOTA].name,
				  "max", limit_json(l, LIMIT_NET_QUOTA), "held",
				  (json_int_t)(used[NET_OUT] > used[NET_IN] ? used[NET_OUT]
									    : used[NET_IN])));
}

static void put_disk_stands(json_t *list, struct guest *g)
{
	const struct limits *l = &g->spec.limits;
	struct cowfs_space used;

	if (!disk_used(g, &used))
		return;
	json_array_append_new(
		list, json_pack("{s:s, s:o, s:I}", "limit", limit_defs[LIMIT_DISK_MAX].name, "max",
				limit_json(l, LIMIT_DISK_MAX), "held", (json_int_t)used.bytes));
	if (used.inodes != COWFS_NO_LIMIT)
		json_array_append_new(list, json_pack("{s:s, s:o, s:I}", "limit",
						      limit_defs[LIMIT_DISK_INODES].name, "max",
						      limit_json(l, LIMIT_DISK_INODES), "held",
						      (json_int_t)used.inodes));
}

/* What OpenVZ's user_beancounters show: held, most held, barrier, limit, times it was met. */
static json_t *stands_json(struct guest *g, const struct cg_guest *cg)
{
	const struct limits *l = &g->spec.limits;
	json_t *list = json_array();

	for (enum limit_id id = 0; id < LIMIT__CG; id++) {
		struct cg_stand s;
		json_t *row;

		if (!cg_stand(&g->d->host.topo, cg, id, &s))
			continue;
		row = json_pack("{s:s, s:o}", "limit", limit_defs[id].name, "max",
				limit_json(l, id));
		if (id == LIMIT_MEMORY_MAX)
			json_object_set_new(row, "barrier", limit_json(l, LIMIT_MEMORY_HIGH));
		if (s.held != LIMIT_MAX)
			json_object_set_new(row, "held", json_integer((json_int_t)s.held));
		if (s.most != LIMIT_MAX)
			json_object_set_new(row, "maxheld", json_integer((json_int_t)s.most));
		if (s.hits != LIMIT_MAX)
			json_object_set_new(row, "failcnt", json_integer((json_int_t)s.hits));
		json_array_append_new(list, row);
	}
	put_net_stands(list, g);
	put_disk_stands(list, g);
	return list;
}

static json_t *pressure_json(const struct guest *g, const struct cg_guest *cg)
{
	json_t *j = json_object();

	for (enum cg_psi i = 0; i < PSI__N; i++) {
		struct cg_pressure p;

		if (cg_pressure(&g->d->host.topo, cg, i, &p) < 0)
			continue;
		json_object_set_new(j, cg_psi_name[i],
				    json_pack("{s:f, s:f, s:I, s:f, s:f, s:I}", "some_avg10",
					      p.some_avg10, "some_avg60", p.some_avg60, "some_usec",
					      (json_int_t)p.some_usec, "full_avg10", p.full_avg10,
					      "full_avg60", p.full_avg60, "full_usec",
					      (json_int_t)p.full_usec));
	}
	return j;
}

/* As the guest sees it; from its first start until it is deleted. */
void api_put_net(json_t *j, const struct guest *g)
{
	struct net_count c[NET__STREAMS];
	char key[32];

	net_count(g, c);
	for (int i = 0; g->net && i < NET__STREAMS; i++) {
		str_fmt(key, sizeof(key), "net_%s", net_streams[i].key);
		if (g->net->class[net_streams[i].branch].id)
			json_object_set_new(j, key,
					    json_pack("{s:I, s:I, s:I}", "bytes",
						      (json_int_t)c[i].bytes, "packets",
						      (json_int_t)c[i].packets, "drops",
						      (json_int_t)c[i].drops));
	}
}

void api_put_disk(json_t *j, struct guest *g)
{
	struct cowfs_space used;

	if (!disk_used(g, &used))
		return;
	json_object_set_new(j, "disk_bytes", json_integer((json_int_t)used.bytes));
	if (used.inodes != COWFS_NO_LIMIT)
		json_object_set_new(j, "disk_inodes", json_integer((json_int_t)used.inodes));
}

static json_t *stats_of(struct guest *g, const struct ask *ask)
{
	struct cg_guest cg = CG_GUEST_NONE;
	struct cg_usage u = { 0 };
	struct cos_err err;
	uint64_t held;
	int64_t credit;
	json_t *j, *credits;

	if (guest_open_groups(g, &cg, &err) == 0)
		cg_usage(&g->d->host.topo, &cg, &u);
	j = json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:o}", "name", g->name, "state",
		      guest_state_name[g->state], "cpu_usec", (json_int_t)u.cpu_usec,
		      "throttled_usec", (json_int_t)u.throttled_usec, "memory_bytes",
		      (json_int_t)u.memory_bytes, "pids", (json_int_t)u.pids, "limits",
		      limits_json(&g->spec.limits));
	if (u.has_peak)
		json_object_set_new(j, "memory_peak_bytes",
				    json_integer((json_int_t)u.memory_peak_bytes));
	if (ask->limits)
		json_object_set_new(j, "counters", stands_json(g, &cg));
	if (ask->pressure)
		json_object_set_new(j, "pressure", pressure_json(g, &cg));
	if (bucket_tell(g, &credit, &held)) {
		json_object_set_new(j, "cpu_credit_usec", json_integer(credit));
		json_object_set_new(j, "cpu_held_usec", json_integer((json_int_t)held));
	}
	credits = io_bucket_json(g);
	if (credits)
		json_object_set_new(j, "io_credit", credits);
	if (g->memory.bytes)
		json_object_set_new(j, "memory_taken_bytes",
				    json_integer((json_int_t)g->memory.bytes));
	if (g->memory.lent)
		json_object_set_new(j, "memory_lent_bytes",
				    json_integer((json_int_t)g->memory.lent));
	if (g->memory.bound)
		json_object_set_new(j, "memory_bound_bytes",
				    json_integer((json_int_t)g->memory.bound));
	if (g->vm_stats)
		json_object_set(j, "vm", g->vm_stats);
	cg_close(&cg);
	api_put_net(j, g);
	api_put_disk(j, g);
	return j;
}

int api_guest_stats(struct call *c, json_t *params, struct cos_err *err)
{
	static const struct jsonx_field fields[] = {
		{ .name = "name",
		  .type = JSONX_STR,
		  .offset = offsetof(struct ask, name),
		  .min = 1,
		  .max = NAME_SIZE - 1 },
		{ .name = "limits", .type = JSONX_BOOL, .offset = offsetof(struct ask, limits) },
		{ .name = "pressure",
		  .type = JSONX_BOOL,
		  .offset = offsetof(struct ask, pressure) },
	};
	struct ask ask = { .name = "" };
	struct guest *g = NULL;
	struct list *i;
	json_t *list;
	int r = jsonx_fill(params, "", fields, ARRAY_SIZE(fields), &ask, err);

	if (r == 0 && ask.name[0])
		r = guest_need(c->d, ask.name, &g, err);
	if (r >= 0 && g)
		r = api_may(c, g, err);
	if (r >= 0 && g && g->slot < 0)
		r = cos_fail(err, COS_E_NOT_RUNNING, 0, "%s is %s", g->name,
			     guest_state_name[g->state]);
	if (r < 0)
		return r;
	if (vmstat_gather(c, g))
		return 0;
	list = json_array();
	if (g)
		net_look_at(g);
	else
		net_look(c->d);
	list_for_each(i, &c->d->guests) {
		struct guest *e = list_entry(i, struct guest, link);

		if ((!g || e == g) && e->slot >= 0 && (c->root || c->uid == e->spec.owner))
			json_array_append_new(list, stats_of(e, &ask));
	}
	call_reply(c, json_pack("{s:o}", "guests", list), NULL, 0);
	return 0;
}

/* --- what the host has to give --- */

static void set_number(json_t *row, const char *key, uint64_t v)
{
	if (v != LIMIT_MAX)
		json_object_set_new(row, key, json_integer((json_int_t)v));
}

static json_t *resource_json(const char *name, const char *unit, const struct amount *a)
{
	json_t *row = json_pack("{s:s, s:s}", "resource", name, "unit", unit);

	set_number(row, "total", a->total);
	set_number(row, "limit", a->limit);
	set_number(row, "reserved", a->reserved);
	set_number(row, "promised", a->promised);
	set_number(row, "used", a->used);
	return row;
}

/* What nobody reserves. */
static struct amount plain(uint64_t total, uint64_t used)
{
	return (struct amount){ total, LIMIT_MAX, LIMIT_MAX, LIMIT_MAX, used };
}

static json_t *resources_json(const struct daemon *d)
{
	static const char *const unit[ADMIT__N] = { "mcpu", "bytes", "bits", "bytes" };
	json_t *list = json_array();
	struct amount a;
	struct list *p;
	uint64_t used = 0;

	for (enum admit_id id = 0; id < ADMIT__N; id++) {
		admit_sum(d, id, &a);
		if (id != ADMIT_NETWORK || d->net.on)
			json_array_append_new(list, resource_json(admit_name[id], unit[id], &a));
	}
	a = plain(admit_meminfo("SwapTotal:"),
		  admit_meminfo("SwapTotal:") - admit_meminfo("SwapFree:"));
	json_array_append_new(list, resource_json("swap", "bytes", &a));
	list_for_each(p, &d->guests)
		used += list_entry(p, struct guest, link)->slot >= 0;
	a = plain(d->args->id_count, used);
	json_array_append_new(list, resource_json("guests", "count", &a));
	return list;
}

static json_t *owners_json(const struct daemon *d)
{
	json_t *list = json_array();
	char text[CPUS_TEXT_SIZE];
	struct list *p;

	list_for_each(p, &d->guests) {
		const struct guest *g = list_entry(p, struct guest, link);

		if (g->slot < 0 || g->spec.limits.v[LIMIT_CPU_SET] == LIMIT_MAX)
			continue;
		cpus_print(&g->spec.limits.cpus, text);
		json_array_append_new(list, json_pack("{s:s, s:s, s:b}", "guest", g->name, "cpus",
						      text, "dedicated",
						      (int)g->spec.limits.v[LIMIT_CPU_DEDICATED]));
	}
	return list;
}

int api_host_capacity(struct call *c, json_t *params, struct cos_err *err)
{
	const struct daemon *d = c->d;
	int r = jsonx_fill(params, "", NULL, 0, NULL, err);

	if (r < 0)
		return r;
	call_reply(c,
		   json_pack("{s:o, s:s, s:s, s:o}", "resources", resources_json(d), "cpus",
			     d->host.topo.cpus, "shared_cpus", d->host.topo.shared_cpus, "pinned",
			     owners_json(d)),
		   NULL, 0);
	return 0;
}
