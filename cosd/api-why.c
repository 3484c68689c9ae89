/* cosd/api-why.c - what held a guest back: which limit, how often, how long, and when last */
#include <stdlib.h>
#include <string.h>

#include "cosd/api.h"
#include "cosd/bucket.h"
#include "cosd/disk.h"
#include "cosd/guest.h"
#include "cosd/hits.h"
#include "lib/base/clock.h"
#include "lib/base/jsonx.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "lib/kern/cg.h"

#define NOW_USEC (5 * USEC_PER_SEC) /* hits are looked for every two seconds */

struct cause;
typedef void ask_fn(struct guest *g, const struct cg_guest *cg, struct cause *c);
static ask_fn ask_group, ask_hold, ask_share, ask_net, ask_quota, ask_disk;

/* What meeting a limit means, and what helps. */
static const struct meaning {
	enum limit_id limit;
	ask_fn *ask; /* fills times (0: it is no cause) and what else is known */
	const char *what, *todo;
} meanings[] = {
	{ LIMIT_CPU_RATE, ask_group,
	  "wanted more CPU time than its rate gives, and was stopped meanwhile",
	  "raise cpu.rate, or let it save more: cpu.burst" },
	{ LIMIT_CPU_HOLD, ask_hold,
	  "had spent what it had saved, and waited until cpu.hold was there again",
	  "raise cpu.rate, or lower cpu.hold" },
	{ LIMIT_MEMORY_MAX, ask_group,
	  "met its memory limit: memory was taken back, or a process ended", "raise memory.max" },
	{ LIMIT_MEMORY_HIGH, ask_group, "was slowed down above its soft memory limit",
	  "raise memory.high" },
	{ LIMIT_MEMORY_SHARE, ask_share,
	  "held more memory than its share pays for while there was too little: it was taken back",
	  "raise memory.share, or give it memory.reserve" },
	{ LIMIT_MEMORY_SWAP, ask_group, "could not swap", "raise memory.swap" },
	{ LIMIT_PIDS_MAX, ask_group, "was refused a process or thread", "raise pids.max" },
	{ LIMIT_HUGEPAGES_2M, ask_group, "was refused a huge page of 2 MiB", "raise hugepages.2m" },
	{ LIMIT_HUGEPAGES_1G, ask_group, "was refused a huge page of 1 GiB", "raise hugepages.1g" },
	{ LIMIT_NET_CEIL, ask_net, "had packets wait for its ceiling or for other guests",
	  "raise net.ceil, or net.rate" },
	{ LIMIT_NET_QUOTA, ask_quota,
	  "has used up most of its quota: its ceiling is lowered until the period ends",
	  "raise net.quota" },
	{ LIMIT_DISK_MAX, ask_disk, "has no space left for its files",
	  "raise disk.max, or remove files" },
	{ LIMIT_DISK_INODES, ask_disk, "has as many files as it may",
	  "raise disk.inodes, or remove files" },
};

struct cause {
	const struct meaning *m;
	uint64_t times, usec, last_usec; /* LIMIT_MAX: not known */
	bool now;
};

static void tell(json_t *list, const struct guest *g, const struct cause *c)
{
	char text[LIMIT_TEXT_SIZE];
	json_t *j = json_pack("{s:s, s:s, s:b, s:s, s:s}", "limit", limit_defs[c->m->limit].name,
			      "max", limit_text(&g->spec.limits, c->m->limit, text), "now", c->now,
			      "what", c->m->what, "todo", c->m->todo);

	if (c->times != LIMIT_MAX)
		json_object_set_new(j, "times", json_integer((json_int_t)c->times));
	if (c->usec != LIMIT_MAX)
		json_object_set_new(j, "usec", json_integer((json_int_t)c->usec));
	if (c->last_usec != LIMIT_MAX)
		json_object_set_new(j, "last_usec", json_integer((json_int_t)c->last_usec));
	json_array_append_new(list, j);
}

static void was_last(struct cause *c, uint64_t usec)
{
	c->last_usec = usec;
	c->now = clock_wall_usec() - usec < NOW_USEC;
}

static void ask_group(struct guest *g, const struct cg_guest *cg, struct cause *c)
{
	enum limit_id id = c->m->limit;
	struct cg_stand s;
	struct cg_usage u;
	uint64_t met_usec;

	c->times = cg_stand(&g->d->host.topo, cg, id, &s) && s.hits != LIMIT_MAX ? s.hits : 0;
	if (id == LIMIT_CPU_RATE && cg_usage(&g->d->host.topo, cg, &u) == 0)
		c->usec = u.throttled_usec;
	hits_seen(g, id, &met_usec);
	if (met_usec)
		was_last(c, met_usec);
}

static void ask_hold(struct guest *g, const struct cg_guest *cg, struct cause *c)
{
	int64_t credit;

	(void)cg;
	c->times = 0;
	if (!bucket_tell(g, &credit, &c->usec) || !c->usec)
		return;
	c->times = LIMIT_MAX;
	c->now = bucket_is_held(g);
}

static void ask_share(struct guest *g, const struct cg_guest *cg, struct cause *c)
{
	(void)cg;
	c->times = g->memory.last_usec || g->memory.bound || g->memory.lent ? LIMIT_MAX : 0;
	if (g->memory.last_usec)
		was_last(c, g->memory.last_usec);
	c->now = c->now || g->memory.bound || g->memory.lent;
}

static void ask_net(struct guest *g, const struct cg_guest *cg, struct cause *c)
{
	(void)cg;
	c->times = 0;
	for (int w = 0; g->net && !g->net->lower && w < NET__WAYS; w++)
		c->times += g->lease.over[w];
}

static void ask_quota(struct guest *g, const struct cg_guest *cg, struct cause *c)
{
	(void)cg;
	c->times = c->now = net_quota_binds(g);
}

static void ask_disk(struct guest *g, const struct cg_guest *cg, struct cause *c)
{
	struct cowfs_space used;

	(void)cg;
	c->times = 0;
	if (!disk_used(g, &used) || !disk_is_full(g, c->m->limit, &used))
		return;
	c->times = LIMIT_MAX;
	c->now = true;
}

/* Of a guest that has ended: what was seen at the last look. */
static json_t *last_causes_of(struct guest *g)
{
	json_t *list = json_array();

	for (size_t i = 0; i < ARRAY_SIZE(meanings); i++) {
		struct cause c = { &meanings[i], 0, LIMIT_MAX, LIMIT_MAX, false };
		uint64_t met_usec;

		if (c.m->ask != ask_group)
			continue;
		c.times = hits_seen(g, c.m->limit, &met_usec);
		if (!c.times)
			continue;
		if (met_usec)
			c.last_usec = met_usec;
		tell(list, g, &c);
	}
	return list;
}

static json_t *causes_of(struct guest *g, const struct cg_guest *cg)
{
	json_t *list = json_array();

	net_look_at(g);
	for (size_t i = 0; i < ARRAY_SIZE(meanings); i++) {
		struct cause c = { &meanings[i], LIMIT_MAX, LIMIT_MAX, LIMIT_MAX, false };

		c.m->ask(g, cg, &c);
		if (c.times)
			tell(list, g, &c);
	}
	return list;
}

/* How long all or some of its processes waited for a resource, whoever used it. */
static json_t *waits_of(struct guest *g, const struct cg_guest *cg)
{
	json_t *list = json_array();

	for (enum cg_psi i = 0; i < PSI__N; i++) {
		struct cg_pressure p;

		if (cg_pressure(&g->d->host.topo, cg, i, &p) == 0 && p.some_usec)
			json_array_append_new(list, json_pack("{s:s, s:I, s:I, s:f}", "resource",
							      cg_psi_name[i], "some_usec",
							      (json_int_t)p.some_usec, "full_usec",
							      (json_int_t)p.full_usec, "some_avg10",
							      p.some_avg10));
	}
	return list;
}

int api_guest_why(struct call *c, json_t *params, struct cos_err *err)
{
	struct ask {
		char name[NAME_SIZE];
	} ask = { .name = "" };
	static const struct jsonx_field fields[] = {
		{ .name = "name",
		  .type = JSONX_STR,
		  .offset = offsetof(struct ask, name),
		  .min = 1,
		  .max = NAME_SIZE - 1,
		  .required = true },
	};
	struct cg_guest cg = CG_GUEST_NONE;
	struct guest *g = NULL;
	struct cos_err ignored;
	bool runs;
	json_t *answer;
	int r = jsonx_fill(params, "", fields, ARRAY_SIZE(fields), &ask, err);

	if (r == 0)
		r = guest_need(c->d, ask.name, &g, err);
	if (r >= 0)
		r = api_may(c, g, err);
	if (r < 0)
		return r;
	answer = json_pack("{s:s}", "state", guest_state_name[g->state]);
	if (g->reason[0])
		json_object_set_new(answer, "reason", json_string(g->reason));
	runs = g->slot >= 0 && guest_open_groups(g, &cg, &ignored) == 0;
	json_object_set_new(answer, "causes", runs ? causes_of(g, &cg) : last_causes_of(g));
	json_object_set_new(answer, "waits", runs ? waits_of(g, &cg) : json_array());
	cg_close(&cg);
	call_reply(c, answer, NULL, 0);
	return 0;
}
