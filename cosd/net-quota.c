/* cosd/net-quota.c - bytes in a period: past a threshold the ceiling is what is left over the time
 * that is left
 *
 * As PlanetLab's bwmon did, but for each direction by itself, recomputed within a minute, and with
 * periods that follow the clock: what is used is known after any restart, and a clock that steps
 * back gives nothing back. */
#include <stdlib.h>
#include <time.h>

#include "cosd/guest.h"
#include "cosd/net.h"
#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/base/own.h"

#define LOOK_MIN 1 /* seconds between two looks at a guest's counters */
#define LOOK_MAX 60
#define LOOKS    50 /* at least, in what is left of a period past the threshold */

static uint64_t now_sec(void)
{
	return clock_wall_usec() / USEC_PER_SEC;
}

/* The period around NOW: calendar months, or multiples of its length since 1970. */
static void period_of(uint64_t period, uint64_t now, struct net_quota *ret)
{
	time_t t = (time_t)now;
	struct tm tm;

	ret->period = period;
	ret->begin = now - now % (period == LIMIT_MAX ? 1 : period);
	ret->end = ret->begin + period;
	if (period != LIMIT_MAX || !gmtime_r(&t, &tm))
		return;
	tm = (struct tm){ .tm_year = tm.tm_year, .tm_mon = tm.tm_mon, .tm_mday = 1 };
	ret->begin = (uint64_t)timegm(&tm);
	tm = (struct tm){ .tm_year = tm.tm_year, .tm_mon = tm.tm_mon + 1, .tm_mday = 1 };
	ret->end = (uint64_t)timegm(&tm);
}

bool net_quota_lasts(const struct net_quota *q)
{
	return now_sec() < q->end;
}

static uint64_t total(const struct guest *g, int way)
{
	return g->lease.past[way].bytes + g->lease.seen[way].bytes;
}

static uint64_t used(const struct guest *g, int way)
{
	return total(g, way) - g->lease.quota.before[way];
}

bool net_quota_used(const struct guest *g, uint64_t ret[static NET__WAYS])
{
	if (g->spec.limits.v[LIMIT_NET_QUOTA] == LIMIT_MAX || !g->lease.quota.end)
		return false;
	for (int w = 0; w < NET__WAYS; w++)
		ret[w] = used(g, w);
	return true;
}

/* A period of the same kind that has not ended goes on. If it has not begun, the clock was put
 * back, perhaps by years: it is the one of today then, and what was used stays used. */
static void renew(struct guest *g, uint64_t now)
{
	uint64_t period = g->spec.limits.v[LIMIT_NET_QUOTA_PERIOD];
	struct net_quota *q = &g->lease.quota;
	bool same = q->period == period && now < q->end;
	struct cos_err err;

	if (same && now >= q->begin)
		return;
	if (!same)
		*q = (struct net_quota){ 0 };
	period_of(period, now, q);
	for (int w = 0; w < NET__WAYS && !same; w++)
		q->before[w] = total(g, w);
	if (net_put_lease(g, &err) < 0)
		log_say(LOG_ERROR, "%s: quota: %s", g->name, err.why);
}

static uint64_t threshold(const struct guest *g)
{
	const uint64_t *v = g->spec.limits.v;

	return (uint64_t)((unsigned __int128)v[LIMIT_NET_QUOTA] * v[LIMIT_NET_QUOTA_THRESHOLD] /
			  100);
}

/* The ceiling in bits per second; LIMIT_MAX: the quota sets none yet. */
static uint64_t bound_of(const struct guest *g, int way, uint64_t now)
{
	uint64_t max = g->spec.limits.v[LIMIT_NET_QUOTA], had = used(g, way), seconds, ceil;

	if (had < threshold(g))
		return LIMIT_MAX;
	seconds = g->lease.quota.end > now ? g->lease.quota.end - now : 1;
	ceil = had < max ? (uint64_t)((unsigned __int128)(max - had) * 8 / seconds) : 0;
	return ceil > g->spec.limits.v[LIMIT_NET_RATE] ? ceil : g->spec.limits.v[LIMIT_NET_RATE];
}

/* Seconds until it has to be looked at again. */
static uint64_t wait_of(const struct guest *g, int way, uint64_t now)
{
	uint64_t left = g->lease.quota.end > now ? g->lease.quota.end - now : 1, had = used(g, way),
		 limit = threshold(g), wait;

	if (had < limit)
		wait = (uint64_t)((unsigned __int128)(limit - had) * 8 /
				  (g->net->class[NET_CAPPED].ceil ?: 1));
	else
		wait = left / LOOKS;
	wait = wait < left ? wait : left;
	return wait < LOOK_MIN ? LOOK_MIN : wait < LOOK_MAX ? wait : LOOK_MAX;
}

/* One event in a period. */
static void tell(struct guest *g)
{
	struct cos_err err;

	g->lease.quota.told = true;
	event_say(g->d, g->name, "limit-hit",
		  json_pack("{s:s, s:I, s:I, s:I}", "limit", limit_defs[LIMIT_NET_QUOTA].name,
			    "out_bytes", (json_int_t)used(g, NET_OUT), "in_bytes",
			    (json_int_t)used(g, NET_IN), "until_usec",
			    (json_int_t)(g->lease.quota.end * USEC_PER_SEC)));
	if (net_put_lease(g, &err) < 0)
		log_say(LOG_ERROR, "%s: quota: %s", g->name, err.why);
}

/* Returns whether a bound has changed. */
static bool set_bounds(struct guest *g, uint64_t now)
{
	bool limited = g->spec.limits.v[LIMIT_NET_QUOTA] != LIMIT_MAX, changed = false;

	if (limited)
		renew(g, now);
	for (int w = 0; w < NET__WAYS; w++) {
		enum net_tree tree = net_streams[w].tree;
		uint64_t bound = limited ? bound_of(g, w, now) : LIMIT_MAX;

		changed = changed || bound != g->net->bound[tree];
		g->net->bound[tree] = bound;
		if (bound != LIMIT_MAX && !g->lease.quota.told)
			tell(g);
	}
	return changed;
}

static bool has_quota(const struct guest *g)
{
	return g->net && g->spec.limits.v[LIMIT_NET_QUOTA] != LIMIT_MAX;
}

bool net_quota_binds(const struct guest *g)
{
	return g->net && (g->net->bound[NET_TREE_OUT] != LIMIT_MAX ||
			  g->net->bound[NET_TREE_IN] != LIMIT_MAX);
}

static void look(struct loop_timer *t)
{
	struct daemon *d = container_of(container_of(t, struct net, quota), struct daemon, net);
	uint64_t now = now_sec(), next = 0;
	struct cos_err err;
	struct list *p;

	list_for_each(p, &d->guests) {
		struct guest *g = list_entry(p, struct guest, link);

		if (!has_quota(g) &&
		    !net_quota_binds(g)) /* a quota that was taken away binds once more */
			continue;
		net_look_at(g);
		if (set_bounds(g, now) && g->net->attached && launch_net_classes(g->net, &err) < 0)
			log_say(LOG_ERROR, "%s: net.quota: %s", g->name, err.why);
		for (int w = 0; w < NET__WAYS && has_quota(g); w++) {
			uint64_t wait = wait_of(g, w, now);

			next = next && next < wait ? next : wait;
		}
	}
	if (next)
		loop_timer_set(&d->loop, t, next * USEC_PER_SEC);
}

void net_quota_init(struct daemon *d)
{
	d->net.quota.fire = look;
}

void net_quota_begin(struct guest *g)
{
	if (!has_quota(g))
		return;
	set_bounds(g, now_sec());
	loop_timer_set(&g->d->loop, &g->d->net.quota, LOOK_MIN * USEC_PER_SEC);
}

void net_quota_touch(struct daemon *d)
{
	loop_timer_set(&d->loop, &d->net.quota, 0);
}
