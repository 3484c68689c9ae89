/* cosd/io-bucket.c - io.burst: what guests leave of their io caps is saved, and drawn later */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cosd/guest.h"
#include "cosd/io-bucket.h"
#include "cosd/meter.h"
#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/base/own.h"
#include "lib/kern/cg-meter.h"
#include "lib/model/drip.h"

static const struct {
	enum limit_id limit;
	size_t counter;
} kinds[] = {
	{ LIMIT_IO_RBPS, offsetof(struct cg_counters, io_read_bytes) },
	{ LIMIT_IO_WBPS, offsetof(struct cg_counters, io_write_bytes) },
	{ LIMIT_IO_RIOPS, offsetof(struct cg_counters, io_read_ops) },
	{ LIMIT_IO_WIOPS, offsetof(struct cg_counters, io_write_ops) },
};

struct io_bucket {
	struct list link; /* struct daemon.io_buckets */
	struct guest *g;
	int64_t tokens[ARRAY_SIZE(kinds)];
	uint64_t seen[ARRAY_SIZE(kinds)];
	uint64_t looked_usec, due_usec; /* looked at 0: never */
	struct limits now;              /* what the kernel has */
};

static struct drip_conf conf_of(const struct guest *g, size_t i)
{
	const uint64_t *v = g->spec.limits.v;

	return (struct drip_conf){ v[kinds[i].limit], v[LIMIT_IO_BURST] };
}

static uint64_t counted(const struct cg_counters *c, size_t i)
{
	return *(const uint64_t *)((const char *)c + kinds[i].counter);
}

static bool has_cap(const struct guest *g, size_t i)
{
	return g->spec.limits.v[kinds[i].limit] != LIMIT_MAX;
}

/* --- a look --- */

static void put(struct io_bucket *b, const struct limits *want)
{
	struct cg_guest cg = CG_GUEST_NONE;
	struct cos_err err;
	int r;

	if (memcmp(want->v, b->now.v, sizeof(want->v)) == 0)
		return;
	r = guest_open_groups(b->g, &cg, &err);
	if (r == 0)
		r = cg_apply(&b->g->d->host.topo, &cg, want, &b->now, true, &err);
	cg_close(&cg);
	if (r == 0)
		b->now = *want;
	else if (b->g->pid > 0)
		log_say(LOG_ERROR, "%s: io.burst: %s", b->g->name, err.why);
}

/* A cap moves in steps of a hundredth: each write makes the kernel begin a new slice. */
static bool differs(uint64_t a, uint64_t b)
{
	uint64_t d = a > b ? a - b : b - a;

	return d > b / 100;
}

static void look(struct io_bucket *b, uint64_t now)
{
	struct limits want = b->now;
	struct cg_counters read;
	uint64_t wait = DRIP_IDLE_USEC, passed = b->looked_usec ? now - b->looked_usec : 0;

	b->due_usec = now + wait;
	if (!meter_io(b->g, &read))
		return;
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		const struct drip_conf c = conf_of(b->g, i);
		uint64_t total = counted(&read, i), used, cap, soon;

		used = b->looked_usec && total > b->seen[i] ? total - b->seen[i] : 0;
		b->seen[i] = total;
		if (!has_cap(b->g, i))
			continue;
		b->tokens[i] = drip_step(b->tokens[i], &c, passed, used);
		cap = drip_cap(b->tokens[i], &c);
		if (cap == c.rate || differs(cap, want.v[kinds[i].limit]))
			want.v[kinds[i].limit] = cap;
		soon = drip_wait(b->tokens[i], &c);
		wait = soon < wait ? soon : wait;
	}
	b->looked_usec = now;
	b->due_usec = now + wait;
	put(b, &want);
}

static void plan(struct daemon *d, uint64_t now)
{
	uint64_t next = UINT64_MAX;
	struct list *p;

	list_for_each(p, &d->io_buckets) {
		const struct io_bucket *b = list_entry(p, struct io_bucket, link);

		next = b->due_usec < next ? b->due_usec : next;
	}
	if (next == UINT64_MAX)
		loop_timer_clear(&d->io_timer);
	else
		loop_timer_set(&d->loop, &d->io_timer, next > now ? next - now : 0);
}

static void look_at_due(struct loop_timer *t)
{
	struct daemon *d = container_of(t, struct daemon, io_timer);
	uint64_t now = clock_usec();
	struct list *p;

	list_for_each(p, &d->io_buckets) {
		struct io_bucket *b = list_entry(p, struct io_bucket, link);

		/* those that are nearly due as well: one wake-up for many */
		if (b->due_usec <= now + DRIP_TICK_USEC / 4)
			look(b, now);
	}
	plan(d, now);
}

/* --- guests come and go --- */

void io_buckets_init(struct daemon *d)
{
	list_init(&d->io_buckets);
	d->io_timer.fire = look_at_due;
}

static struct io_bucket *make(struct guest *g, bool fresh)
{
	struct io_bucket *b = calloc(1, sizeof(*b));

	if (!b)
		return NULL;
	b->g = g;
	b->now = g->spec.limits;
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		const struct drip_conf c = conf_of(g, i);

		if (fresh && has_cap(g, i))
			b->tokens[i] = drip_size(&c);
		if (!fresh) /* the last worker may have raised it */
			b->now.v[kinds[i].limit] = has_cap(g, i) ? 0 : LIMIT_MAX;
	}
	list_add_tail(&g->d->io_buckets, &b->link);
	return b;
}

void io_bucket_end(struct guest *g)
{
	if (!g->io_bucket)
		return;
	list_del(&g->io_bucket->link);
	free(g->io_bucket);
	g->io_bucket = NULL;
}

void io_bucket_begin(struct guest *g, bool fresh)
{
	uint64_t now = clock_usec();

	if (!g->spec.limits.v[LIMIT_IO_BURST]) {
		io_bucket_end(g);
		return;
	}
	if (g->io_bucket)
		g->io_bucket->now = g->spec.limits;
	else
		g->io_bucket = make(g, fresh);
	if (!g->io_bucket) {
		log_say(LOG_ERROR, "%s: io.burst is not kept: out of memory", g->name);
		return;
	}
	look(g->io_bucket, now);
	plan(g->d, now);
}

void io_bucket_rest(struct guest *g)
{
	if (g->io_bucket)
		put(g->io_bucket, &g->spec.limits);
}

json_t *io_bucket_json(struct guest *g)
{
	json_t *j;

	if (!g->io_bucket)
		return NULL;
	j = json_object();
	look(g->io_bucket, clock_usec());
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (has_cap(g, i))
			json_object_set_new(j, limit_defs[kinds[i].limit].name,
					    json_integer(g->io_bucket->tokens[i] / 1000000));
	}
	return j;
}
