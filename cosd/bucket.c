/* cosd/bucket.c - guests whose CPU bucket the kernel cannot keep: the quota follows their tokens */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cosd/bucket.h"
#include "cosd/guest.h"
#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/base/own.h"
#include "lib/kern/cg.h"
#include "lib/model/bucket.h"

#define FILE_NAME      "buckets"
#define FILE_MAGIC     0x636f732d62756b31ULL /* "cos-buk1" */
#define QUOTA_MIN_USEC 1000U                 /* the kernel's least */
#define HOLD_PERIOD    1000000U              /* in which a held guest has that */
#define NEAR           32U                   /* of the quota: less of a change is none */
#define IDLE_HOLD_USEC                                                                             \
	200000U /* of its rate: how long a guest without tokens runs idle at least                 \
		 */
#define IDLE_BURST_USEC 1000000U

/* One guest's bucket as of a look. Two copies and the number of the last whole one: the worker may
 * be killed between any two stores. */
struct saved {
	uint64_t magic, seq;
	struct copy {
		uint64_t pid;
		uint64_t looked_usec, usage_nsec;
		struct bucket b;
	} copy[2];
};

struct cpu_bucket {
	struct list link; /* struct daemon.buckets */
	struct guest *g;
	struct cg_cpu cg;
	struct bucket_conf conf;
	struct bucket b;
	bool idles; /* when it is empty, instead of stopping */
	uint64_t period_usec;
	uint64_t looked_usec, usage_nsec;
	uint64_t due_usec;
};

/* --- what outlives the worker --- */

/* NULL: none is kept, also of a guest that was started when id.count was larger. */
static struct saved *saved_of(const struct cpu_bucket *k)
{
	const struct daemon *d = k->g->d;

	return d->saved_buckets && (unsigned)k->g->slot < d->args->id_count
		       ? (struct saved *)d->saved_buckets + k->g->slot
		       : NULL;
}

static void save(const struct cpu_bucket *k)
{
	struct saved *s = saved_of(k);
	struct copy *to;

	if (!s)
		return;
	to = &s->copy[(s->seq + 1) % 2];
	*to = (struct copy){ (uint64_t)k->g->pid, k->looked_usec, k->usage_nsec, k->b };
	s->magic = FILE_MAGIC;
	__atomic_store_n(&s->seq, s->seq + 1, __ATOMIC_RELEASE);
}

static bool load(struct cpu_bucket *k)
{
	const struct saved *s = saved_of(k);
	const struct copy *c;

	if (!s)
		return false;
	c = &s->copy[s->seq % 2];
	if (s->magic != FILE_MAGIC || c->pid != (uint64_t)k->g->pid ||
	    c->looked_usec > k->looked_usec)
		return false;
	k->b = c->b;
	k->looked_usec = c->looked_usec;
	k->usage_nsec = c->usage_nsec;
	return true;
}

/* --- a look --- */

static uint64_t weight_of(const struct cpu_bucket *k)
{
	return limits_cpu_weight(k->g->cpu_weight ?: k->g->spec.limits.v[LIMIT_CPU_SHARE],
				 k->cg.version);
}

/* Each write gives the guest a whole quota at once, and costs more than a look: one that changes
 * little waits. What it is off by stays in the tokens, until it is more. With cpu.hold the quota
 * has to reach the bucket's end. */
static bool is_near(const struct cpu_bucket *k, uint64_t quota, uint64_t period)
{
	uint64_t is = k->cg.quota_usec, off = quota > is ? quota - is : is - quota;

	return !k->conf.hold_usec && period == k->cg.period_usec && quota != LIMIT_MAX &&
	       is != LIMIT_MAX && off <= is / NEAR;
}

static void apply(struct cpu_bucket *k)
{
	uint64_t allows = k->idles ? LIMIT_MAX : bucket_allows(&k->b, &k->conf),
		 period = allows ? k->period_usec : HOLD_PERIOD, quota = LIMIT_MAX;
	int r;

	if (allows != LIMIT_MAX)
		quota = allows * period / 1000 > QUOTA_MIN_USEC ? allows * period / 1000
								: QUOTA_MIN_USEC;
	r = is_near(k, quota, period) ? 0 : cg_cpu_quota(&k->cg, quota, period);
	if (r == 0 && k->idles)
		r = cg_cpu_idle(&k->cg, k->b.held, weight_of(k));
	if (r < 0 && r != -ENODEV) /* the group goes with the guest */
		log_say(LOG_ERROR, "%s: cpu.rate: %s", k->g->name, strerrorname_np(-r));
}

/* What it uses while it runs idle costs it nothing. */
static void look(struct cpu_bucket *k, uint64_t now)
{
	uint64_t usage, used = 0;

	if (cg_cpu_usage(&k->cg, &usage) == 0) {
		if (!k->cg.is_idle)
			used = usage > k->usage_nsec ? usage - k->usage_nsec : 0;
		k->usage_nsec = usage;
		bucket_step(&k->b, &k->conf, now - k->looked_usec, used);
		k->looked_usec = now;
		save(k);
	}
	apply(k);
	k->due_usec = now + bucket_wait(&k->b, &k->conf);
}

static void plan(struct daemon *d, uint64_t now)
{
	uint64_t next = UINT64_MAX;
	struct list *p;

	list_for_each(p, &d->buckets) {
		const struct cpu_bucket *k = list_entry(p, struct cpu_bucket, link);

		next = k->due_usec < next ? k->due_usec : next;
	}
	if (next == UINT64_MAX)
		loop_timer_clear(&d->bucket_timer);
	else
		loop_timer_set(&d->loop, &d->bucket_timer, next > now ? next - now : 0);
}

static void look_at_due(struct loop_timer *t)
{
	struct daemon *d = container_of(t, struct daemon, bucket_timer);
	uint64_t now = clock_usec();
	struct list *p;

	list_for_each(p, &d->buckets) {
		struct cpu_bucket *k = list_entry(p, struct cpu_bucket, link);

		/* those that are nearly due as well: one wake-up for many */
		if (k->due_usec <= now + BUCKET_TICK_USEC / 10)
			look(k, now);
	}
	plan(d, now);
}

/* --- guests come and go --- */

void buckets_init(struct daemon *d)
{
	size_t size = d->args->id_count * sizeof(struct saved);
	auto_close int fd =
		openat(d->runtime, FILE_NAME, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	void *at;

	d->bucket_timer.fire = look_at_due;
	if (fd < 0 || ftruncate(fd, (off_t)size) < 0) {
		log_say(LOG_ERROR, "buckets: %s: saved CPU time is lost at a restart",
			strerrorname_np(errno));
		return;
	}
	at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	d->saved_buckets = at == MAP_FAILED ? NULL : at;
}

static void set_conf(struct cpu_bucket *k)
{
	const struct guest *g = k->g;
	const uint64_t *v = g->spec.limits.v;
	uint64_t rate = v[LIMIT_CPU_RATE];
	struct cpus shared;

	k->idles = v[LIMIT_CPU_IDLE];
	k->period_usec = limits_cpu_period(&g->spec.limits);
	k->conf = (struct bucket_conf){ rate, v[LIMIT_CPU_BURST], v[LIMIT_CPU_HOLD],
					(unsigned)v[LIMIT_CPU_SET] };
	if (v[LIMIT_CPU_SET] == LIMIT_MAX)
		k->conf.cpus = cpus_parse(g->d->host.topo.shared_cpus, &shared) == 0
				       ? cpus_count(&shared)
				       : 1;
	if (!k->idles)
		return;
	if (k->conf.burst_usec < rate * IDLE_BURST_USEC / 1000)
		k->conf.burst_usec = rate * IDLE_BURST_USEC / 1000;
	if (k->conf.hold_usec < rate * IDLE_HOLD_USEC / 1000)
		k->conf.hold_usec = rate * IDLE_HOLD_USEC / 1000;
}

/* A run that another worker began goes on; a new one has what the last one left. */
static void set_tokens(struct cpu_bucket *k)
{
	struct guest *g = k->g;

	k->looked_usec = clock_usec();
	cg_cpu_usage(&k->cg, &k->usage_nsec);
	bucket_init(&k->b, &k->conf);
	if (load(k))
		return;
	if (g->credit.at_usec) {
		k->b.tokens = g->credit.tokens;
		bucket_step(&k->b, &k->conf, k->looked_usec - g->credit.at_usec, 0);
	}
}

static struct cpu_bucket *open_bucket(struct guest *g, struct cos_err *err)
{
	auto_free struct cpu_bucket *k = calloc(1, sizeof(*k));
	struct cg_guest cg = CG_GUEST_NONE;
	int r = k ? guest_open_groups(g, &cg, err) : -ENOMEM;

	if (r == 0)
		r = cg_cpu_open(&g->d->host.topo, &cg, &k->cg, err);
	cg_close(&cg);
	if (r < 0)
		return NULL;
	k->g = g;
	set_conf(k);
	set_tokens(k);
	list_add_tail(&g->d->buckets, &k->link);
	return take_ptr(k);
}

static void drop(struct guest *g)
{
	list_del(&g->bucket->link);
	cg_cpu_close(&g->bucket->cg);
	free(g->bucket);
	g->bucket = NULL;
}

void bucket_begin(struct guest *g)
{
	struct cos_err err = { .why = "out of memory" };
	uint64_t now;

	if (!bucket_is_needed(&g->spec.limits)) {
		if (g->bucket)
			drop(g);
		g->credit.at_usec = 0;
		return;
	}
	if (g->bucket)
		set_conf(g->bucket);
	else
		g->bucket = open_bucket(g, &err);
	if (!g->bucket) {
		log_say(LOG_ERROR, "%s: cpu.burst is not kept: %s", g->name, err.why);
		return;
	}
	now = clock_usec();
	look(g->bucket, now);
	plan(g->d, now);
}

void bucket_end(struct guest *g)
{
	if (!g->bucket)
		return;
	look(g->bucket, clock_usec());
	g->credit.tokens = g->bucket->b.tokens;
	g->credit.at_usec = g->bucket->looked_usec;
	g->credit.held_usec += g->bucket->b.held_usec;
	drop(g);
}

void bucket_rest(struct guest *g)
{
	struct cpu_bucket *k = g->bucket;
	const struct limits *l = &g->spec.limits;

	if (!k)
		return;
	if (k->idles)
		cg_cpu_idle(&k->cg, false, weight_of(k));
	cg_cpu_quota(&k->cg, l->v[LIMIT_CPU_RATE] * k->period_usec / 1000, k->period_usec);
}

bool bucket_tell(struct guest *g, int64_t *ret_credit_usec, uint64_t *ret_held_usec)
{
	if (!g->bucket)
		return false;
	look(g->bucket, clock_usec());
	*ret_credit_usec = g->bucket->b.tokens / 1000;
	*ret_held_usec = g->credit.held_usec + g->bucket->b.held_usec;
	return true;
}

bool bucket_idled(const struct guest *g, uint64_t *ret_nsec)
{
	if (!g->bucket || !g->bucket->b.idle)
		return false;
	*ret_nsec = g->bucket->usage_nsec;
	return true;
}

bool bucket_is_held(const struct guest *g)
{
	return g->bucket && g->bucket->b.held;
}
