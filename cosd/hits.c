/* cosd/hits.c - events when guests meet their limits
 *
 * The kernel's counts are read every two seconds, for limits that a guest has (300 guests with two
 * each: 0.35 % of a CPU). A limit's first hit is an
 * event at once; while more come there is one event a minute with their number. */
#include <string.h>

#include "cosd/hits.h"
#include "lib/base/clock.h"
#include "lib/base/own.h"

#define LOOK_USEC  (2 * USEC_PER_SEC)
#define PAUSE_USEC (60 * USEC_PER_SEC)

static void look_at_limit(struct guest *g, const char *slot, enum limit_id id, bool last)
{
	uint64_t now = clock_usec(), count;

	if (!cg_told(&g->d->host.topo, slot, id, &count))
		return;
	if (count > g->seen[id])
		g->met_usec[id] = clock_wall_usec();
	g->seen[id] = count;
	if (count <= g->told[id])
		return;
	if (!last && g->told_usec[id] && now - g->told_usec[id] < PAUSE_USEC)
		return;
	event_say(g->d, g->name, "limit-hit",
		  json_pack("{s:s, s:I}", "limit", limit_defs[id].name, "hits",
			    (json_int_t)(count - g->told[id])));
	g->told[id] = count;
	g->told_usec[id] = now;
}

static void look(struct guest *g, bool last)
{
	char slot[SLOT_NAME_SIZE];

	slot_name(g->slot, slot);
	for (enum limit_id id = 0; id < LIMIT__CG; id++) {
		if (g->spec.limits.v[id] != limit_defs[id].kernel)
			look_at_limit(g, slot, id, last);
	}
}

static void look_at_all(struct loop_timer *t)
{
	struct daemon *d = container_of(t, struct daemon, sampling);
	struct list *p;

	list_for_each(p, &d->guests) {
		struct guest *g = list_entry(p, struct guest, link);

		if (g->pid > 0)
			look(g, false);
	}
	loop_timer_set(&d->loop, t, LOOK_USEC);
}

void hits_init(struct daemon *d)
{
	d->sampling.fire = look_at_all;
	loop_timer_set(&d->loop, &d->sampling, LOOK_USEC);
}

void hits_forget(struct guest *g)
{
	char slot[SLOT_NAME_SIZE];

	slot_name(g->slot, slot);
	for (enum limit_id id = 0; id < LIMIT__CG; id++)
		if (cg_told(&g->d->host.topo, slot, id, &g->told[id]))
			g->seen[id] = g->told[id];
}

void hits_last(struct guest *g)
{
	look(g, true);
	memset(g->told, 0, sizeof(g->told));
	memset(g->told_usec, 0, sizeof(g->told_usec));
	memset(g->seen, 0, sizeof(g->seen));
	memset(g->met_usec, 0, sizeof(g->met_usec));
}
