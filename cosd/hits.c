/* cosd/hits.c - events when guests meet their limits
 *
 * The kernel's counts are read every two seconds, for limits that a guest has and if it ran
 * meanwhile, through files that stay open. A limit's first hit is an event at once; while more come
 * there is one event a minute with their number. */
#include <stdlib.h>

#include "cosd/bucket.h"
#include "cosd/hits.h"
#include "cosd/meter.h"
#include "lib/base/clock.h"
#include "lib/base/own.h"

#define LOOK_USEC  (2 * USEC_PER_SEC)
#define PAUSE_USEC (60 * USEC_PER_SEC)

struct hits {
	uint64_t ran; /* CPU time before the last look; 0: not known */
	bool due;     /* an event that waits for the end of a pause */
	struct hit {
		int fd;             /* of the count; -1: not open */
		uint64_t told;      /* the count at the last event */
		uint64_t told_usec; /* and when that was; 0: never */
		uint64_t seen;      /* at the last look */
		uint64_t met_usec;  /* wall clock of growth */
	} of[LIMIT__CG];
};

static struct hits *hits_of(struct guest *g)
{
	if (g->hits || !(g->hits = calloc(1, sizeof(*g->hits))))
		return g->hits;
	for (enum limit_id id = 0; id < LIMIT__CG; id++)
		g->hits->of[id].fd = -1;
	return g->hits;
}

static void look_at_limit(struct guest *g, const char *slot, enum limit_id id, bool last)
{
	struct hit *h = &g->hits->of[id];
	uint64_t now = clock_usec(), count;

	if (!cg_told(&g->d->host.topo, slot, id, &h->fd, &count))
		return;
	if (count > h->seen)
		h->met_usec = clock_wall_usec();
	h->seen = count;
	if (count <= h->told)
		return;
	if (!last && h->told_usec && now - h->told_usec < PAUSE_USEC) {
		g->hits->due = true;
		return;
	}
	event_say(g->d, g->name, "limit-hit",
		  json_pack("{s:s, s:I}", "limit", limit_defs[id].name, "hits",
			    (json_int_t)(count - h->told)));
	h->told = count;
	h->told_usec = now;
}

static void look(struct guest *g, bool last)
{
	char slot[SLOT_NAME_SIZE];

	if (!hits_of(g))
		return;
	g->hits->due = false;
	slot_name(g->slot, slot);
	for (enum limit_id id = 0; id < LIMIT__CG; id++) {
		if (g->spec.limits.v[id] != limit_defs[id].kernel)
			look_at_limit(g, slot, id, last);
	}
}

/* Who did not run since the last look has met no limit. */
static bool has_run(struct guest *g)
{
	struct hits *h = hits_of(g);
	uint64_t ran, was;

	if (!h || h->due || (!bucket_idled(g, &ran) && !meter_ran(g, &ran)))
		return true;
	was = h->ran;
	h->ran = ran;
	return !ran || ran != was;
}

static void look_at_all(struct loop_timer *t)
{
	struct daemon *d = container_of(t, struct daemon, sampling);
	struct list *p;

	list_for_each(p, &d->guests) {
		struct guest *g = list_entry(p, struct guest, link);

		if (g->pid > 0 && has_run(g))
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

	if (!hits_of(g))
		return;
	slot_name(g->slot, slot);
	for (enum limit_id id = 0; id < LIMIT__CG; id++) {
		struct hit *h = &g->hits->of[id];

		if (cg_told(&g->d->host.topo, slot, id, &h->fd, &h->told))
			h->seen = h->told;
	}
}

static void close_files(struct hits *h)
{
	for (enum limit_id id = 0; id < LIMIT__CG; id++)
		close_p(&h->of[id].fd);
}

void hits_last(struct guest *g)
{
	look(g, true);
	if (g->hits)
		close_files(g->hits);
}

uint64_t hits_seen(const struct guest *g, enum limit_id id, uint64_t *ret_met_usec)
{
	*ret_met_usec = g->hits ? g->hits->of[id].met_usec : 0;
	return g->hits ? g->hits->of[id].seen : 0;
}

void hits_free(struct guest *g)
{
	if (!g->hits)
		return;
	close_files(g->hits);
	free(g->hits);
	g->hits = NULL;
}
