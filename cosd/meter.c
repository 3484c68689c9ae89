/* cosd/meter.c - the sampler: once a second a look at each guest, all counters when an interval
 * closes
 *
 * Sums are of what was seen: a look that comes late (a daemon that was stopped, a host that slept)
 * stands for one second, and the rest is a gap that the ledger finds by itself. */
#include <errno.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "cosd/disk.h"
#include "cosd/guest.h"
#include "cosd/meter.h"
#include "cosd/vmstat.h"
#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "lib/kern/cg-meter.h"

#define LOOK_USEC USEC_PER_SEC
#define LATE_USEC (3 * USEC_PER_SEC) /* between two looks: what is longer was not seen */
#define AT_ONCE   64                 /* guests whose counters are read before the loop goes on */
#define STEP_USEC (2 * USEC_PER_SEC) /* of the wall clock that is an event */
#define TICK_HZ   100                /* of start times in /proc */
#define KIB_SEC   1024000000ULL      /* byte x microseconds */

/* A sum whose parts are finer than its unit: nothing is lost in between. */
struct sum {
	uint64_t whole, rest;
};

/* Bytes that are looked at when an interval closes. */
struct seldom {
	struct sum kib_sec;
	uint64_t bytes;     /* UINT64_MAX: not known */
	uint64_t seen_usec; /* METRIC_SEEN when they were looked at */
};

struct meter {
	struct cg_meter cg;
	bool open, running, fresh; /* FRESH: no look yet */
	uint64_t at_usec;          /* of the last look */
	uint64_t pass;             /* of the last reading */
	uint64_t memory_bytes, cache_bytes, pids;
	struct sum memory, cache, processes;
	struct seldom disk, balloon;
	struct ledger_sample s;
};

static uint64_t boot_usec(void)
{
	return clock_read_usec(CLOCK_BOOTTIME);
}

/* --- looking --- */

static bool open_files(struct guest *g)
{
	struct meter *m = g->meter;
	struct cg_guest cg = CG_GUEST_NONE;
	struct cos_err err;

	if (!m->open && g->slot >= 0 && guest_open_groups(g, &cg, &err) == 0) {
		m->open = cg_meter_open(&g->d->host.topo, &cg, &m->cg) == 0;
		cg_close(&cg);
	}
	if (m->open)
		m->s.run = m->cg.run;
	return m->open;
}

static void add(struct sum *s, uint64_t v, uint64_t unit)
{
	s->rest += v;
	s->whole += s->rest / unit;
	s->rest %= unit;
}

static uint64_t less(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

/* Between two looks there was the middle of what they saw. */
static uint64_t middle(uint64_t a, uint64_t b)
{
	return a / 2 + b / 2;
}

static void look(struct guest *g, uint64_t now)
{
	struct meter *m = g->meter;
	uint64_t passed = now - m->at_usec, memory, pids, used, cache;

	if (passed > LATE_USEC)
		passed = LOOK_USEC;
	cg_meter_now(&m->cg, &memory, &pids);
	if (m->fresh) {
		m->memory_bytes = memory;
		m->pids = pids;
		m->fresh = false;
	}
	used = middle(m->memory_bytes, memory);
	cache = m->cache_bytes < used ? m->cache_bytes : used;
	add(&m->memory, (used - cache) * passed, KIB_SEC);
	add(&m->cache, cache * passed, KIB_SEC);
	add(&m->processes, (m->pids + pids) * passed, 2 * USEC_PER_SEC);
	m->s.value[METRIC_SEEN] += passed;
	m->memory_bytes = memory;
	m->pids = pids;
	m->at_usec = now;
	g->d->meters.looks++;
}

static void put_net(struct guest *g, uint64_t *to)
{
	static const enum metric_id first[NET__STREAMS] = {
		[NET_OUT] = METRIC_NET_OUT,
		[NET_IN] = METRIC_NET_IN,
		[NET_OUT_EXEMPT] = METRIC_NET_OUT_EXEMPT,
		[NET_IN_EXEMPT] = METRIC_NET_IN_EXEMPT,
	};
	struct net_count c[NET__STREAMS];

	net_count(g, c);
	for (int i = 0; i < NET__STREAMS; i++) {
		to[first[i]] = c[i].bytes;
		to[first[i] + 1] = c[i].packets;
	}
}

static void look_seldom(struct meter *m, struct seldom *s, uint64_t bytes)
{
	uint64_t seen = m->s.value[METRIC_SEEN], before = s->bytes;

	s->bytes = bytes;
	if (before != UINT64_MAX && bytes != UINT64_MAX)
		add(&s->kib_sec, middle(before, bytes) / 1024 * (seen - s->seen_usec),
		    USEC_PER_SEC);
	s->seen_usec = seen;
}

/* Seldom: it takes some calls, and does not change fast. */
static void look_at_disk(struct guest *g)
{
	struct cowfs_space s;

	look_seldom(g->meter, &g->meter->disk, disk_taken(g, &s) ? s.bytes : UINT64_MAX);
}

/* What it told last: when it has told nothing since, that is still so. */
static void look_at_balloon(struct guest *g)
{
	struct seldom *s = &g->meter->balloon;
	uint64_t bytes = s->bytes;

	vmstat_balloon(g, &bytes);
	look_seldom(g->meter, s, bytes);
}

/* All counters, as of the look that was just made; those of the network as of the last one there.
 */
static void read_counters(struct guest *g)
{
	struct meter *m = g->meter;
	uint64_t *v = m->s.value;
	struct cg_counters c;

	cg_meter_counters(&m->cg, &c);
	v[METRIC_CPU_USER] = c.cpu_user_usec;
	v[METRIC_CPU_SYSTEM] = c.cpu_system_usec;
	v[METRIC_CPU_THROTTLED] = c.cpu_throttled_usec;
	v[METRIC_CPU_WAIT] = c.cpu_wait_usec;
	v[METRIC_IO_READ] = c.io_read_bytes;
	v[METRIC_IO_WRITE] = c.io_write_bytes;
	v[METRIC_IO_READ_OPS] = c.io_read_ops;
	v[METRIC_IO_WRITE_OPS] = c.io_write_ops;
	v[METRIC_MEMORY] = m->memory.whole;
	v[METRIC_CACHE] = m->cache.whole;
	v[METRIC_PIDS] = m->processes.whole;
	look_at_disk(g);
	v[METRIC_DISK] = m->disk.kib_sec.whole;
	if (g->spec.type == GUEST_VM) {
		vmstat_count(g, less(m->at_usec, m->s.run_began_usec), v);
		look_at_balloon(g);
		v[METRIC_BALLOON] = m->balloon.kib_sec.whole;
	}
	put_net(g, v);
	m->cache_bytes = c.cache_bytes;
	m->s.boot_usec = m->at_usec;
	m->s.wall_usec = clock_wall_usec();
	m->s.owner = g->spec.owner;
	str_fmt(m->s.name, sizeof(m->s.name), "%s", g->name);
	g->d->meters.readings++;
}

static bool is_watched(const struct guest *g)
{
	return g->meter && g->meter->running;
}

bool meter_ran(struct guest *g, uint64_t *ret_nsec)
{
	return is_watched(g) && open_files(g) && cg_meter_cpu(&g->meter->cg, ret_nsec);
}

bool meter_io(struct guest *g, struct cg_counters *ret)
{
	if (!is_watched(g) || !open_files(g))
		return false;
	cg_meter_io(&g->meter->cg, ret);
	return true;
}

/* --- once a second --- */

struct cost {
	struct meters *of;
	uint64_t from;
};

static struct cost cost_begin(struct daemon *d)
{
	return (struct cost){ &d->meters, clock_read_usec(CLOCK_THREAD_CPUTIME_ID) };
}

static void cost_end(const struct cost *c)
{
	c->of->cost_usec += clock_read_usec(CLOCK_THREAD_CPUTIME_ID) - c->from;
}

/* Some guests, then the loop goes on; until all were read. */
static void close_some(struct loop_timer *t)
{
	struct daemon *d = container_of(t, struct daemon, meters.closing);
	struct cost cost = cost_begin(d);
	unsigned n = 0;
	struct list *p;

	list_for_each(p, &d->guests) {
		struct guest *g = list_entry(p, struct guest, link);

		if (!is_watched(g) || g->meter->pass == d->meters.pass || !open_files(g))
			continue;
		if (n++ == AT_ONCE)
			break;
		g->meter->pass = d->meters.pass;
		look(g, boot_usec());
		read_counters(g);
		meter_link_add(d->meters.link, &g->meter->s);
	}
	if (n > AT_ONCE)
		loop_timer_set(&d->loop, t, 0);
	else
		meter_link_end(d->meters.link);
	cost_end(&cost);
}

static void close_interval(struct daemon *d)
{
	struct cost cost = cost_begin(d);
	bool wanted = meter_link_begin(d->meters.link);

	d->meters.pass++;
	if (wanted)
		net_look(d);
	cost_end(&cost);
	if (wanted)
		close_some(&d->meters.closing);
}

static void look_at_clock(struct daemon *d)
{
	int64_t offset = (int64_t)(clock_wall_usec() - boot_usec());
	int64_t step = offset - d->meters.clock_offset;

	if (d->meters.clock_offset && llabs(step) > (int64_t)STEP_USEC)
		event_say(d, NULL, "clock-step",
			  json_pack("{s:f}", "seconds", (double)step / USEC_PER_SEC));
	d->meters.clock_offset = offset;
}

static void tick(struct loop_timer *t)
{
	struct daemon *d = container_of(t, struct daemon, meters.tick);
	bool closes = ++d->meters.ticks % d->conf.ledger_interval == 0;
	uint64_t now = clock_usec();
	struct cost cost = cost_begin(d);
	struct list *p;

	list_for_each(p, &d->guests) {
		struct guest *g = list_entry(p, struct guest, link);

		if (!closes && is_watched(g) && open_files(g))
			look(g, boot_usec());
	}
	look_at_clock(d);
	if ((d->meters.ticks + 1) % d->conf.ledger_interval == 0)
		vmstat_refresh(d); /* machines answer before the interval closes */
	cost_end(&cost);
	if (closes)
		close_interval(d);
	/* in step with the clock, whatever a round takes */
	d->meters.next_usec += LOOK_USEC;
	if (d->meters.next_usec <= now)
		d->meters.next_usec = now + LOOK_USEC;
	loop_timer_set(&d->loop, t, d->meters.next_usec - now);
}

/* --- a guest's run --- */

void meter_begin(struct guest *g, bool adopted, uint64_t start_ticks)
{
	uint64_t now = boot_usec(), began = start_ticks * (USEC_PER_SEC / TICK_HZ);
	struct meter *m = g->meter;

	if (!g->spec.uuid || (!m && !(m = calloc(1, sizeof(*m)))))
		return;
	g->meter = m;
	str_fmt(m->s.uuid, sizeof(m->s.uuid), "%s", g->spec.uuid);
	str_fmt(m->s.boot, sizeof(m->s.boot), "%s", g->d->boot_id);
	m->s.epoch = g->d->meters.epoch;
	m->s.run_began_usec = adopted && began && began < now ? began : now;
	m->s.known = !adopted;
	m->s.last = false;
	put_net(g, m->s.base);
	m->at_usec = now;
	m->memory_bytes = m->cache_bytes = m->pids = 0;
	m->disk.bytes = m->balloon.bytes = UINT64_MAX;
	for (int i = 0; i < METRIC__N; i++) {
		if (metric_defs[i].kind == METRIC_TOLD)
			m->s.value[i] = 0;
	}
	m->running = m->fresh = true;
	look_at_disk(g);
}

void meter_last(struct guest *g)
{
	struct meter *m = g->meter;
	struct cost cost = cost_begin(g->d);

	if (!is_watched(g))
		return;
	if (open_files(g)) {
		look(g, boot_usec());
		net_look_at(g);
		m->s.value[METRIC_EXITS]++;
		read_counters(g);
		m->s.last = true;
		meter_link_add(g->d->meters.link, &m->s);
		cg_meter_close(&m->cg);
	}
	m->open = m->running = false;
	cost_end(&cost);
}

void meter_free(struct guest *g)
{
	if (g->meter && g->meter->open)
		cg_meter_close(&g->meter->cg);
	free(g->meter);
	g->meter = NULL;
}

bool meter_view(const struct guest *g, struct meter_view *ret)
{
	const struct meter *m = g->meter;

	if (!is_watched(g) || !m->open)
		return false;
	memcpy(ret->value, m->s.value, sizeof(ret->value));
	ret->memory_bytes = m->memory_bytes;
	ret->cache_bytes = m->cache_bytes;
	ret->pids = m->pids;
	ret->disk_bytes = m->disk.bytes;
	return true;
}

/* --- all of them --- */

static void find_user(struct daemon *d)
{
	const struct passwd *u = d->conf.metrics_user[0] ? getpwnam(d->conf.metrics_user) : NULL;

	d->meters.user = u ? (int64_t)u->pw_uid : -1;
}

int meters_open(struct daemon *d, struct cos_err *err)
{
	d->meters.link = meter_link_open(d);
	if (!d->meters.link || getrandom(&d->meters.epoch, sizeof(d->meters.epoch), 0) < 0)
		return cos_fail(err, COS_E_KERNEL, ENOMEM, "meters");
	d->meters.epoch >>= 1; /* a data base's integers have a sign */
	d->meters.tick.fire = tick;
	d->meters.closing.fire = close_some;
	find_user(d);
	return 0;
}

void meters_start(struct daemon *d)
{
	meter_link_start(d->meters.link);
	d->meters.next_usec = clock_usec() + LOOK_USEC;
	loop_timer_set(&d->loop, &d->meters.tick, LOOK_USEC);
}

void meters_reload(struct daemon *d)
{
	find_user(d);
	meter_link_configure(d->meters.link);
}

void meters_close(struct daemon *d)
{
	struct list *p;

	if (!d->meters.link)
		return;
	d->meters.pass++;
	if (meter_link_begin(d->meters.link)) {
		list_for_each(p, &d->guests) {
			struct guest *g = list_entry(p, struct guest, link);

			if (!is_watched(g) || !open_files(g))
				continue;
			look(g, boot_usec());
			net_look_at(g);
			read_counters(g);
			meter_link_add(d->meters.link, &g->meter->s);
		}
		meter_link_end(d->meters.link);
	}
	meter_link_close(d->meters.link);
}

void meters_cost(const struct daemon *d, uint64_t *ret_usec, uint64_t *ret_looks,
		 uint64_t *ret_readings)
{
	*ret_usec = d->meters.cost_usec;
	*ret_looks = d->meters.looks;
	*ret_readings = d->meters.readings;
}

int64_t meters_user(const struct daemon *d)
{
	return d->meters.user;
}
