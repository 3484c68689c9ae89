/* bench/bucket-fleet.c - many guests whose buckets the daemon keeps, few of them busy */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "bench/bucket.h"
#include "bench/meter.h"
#include "lib/base/own.h"

#define BUSY        20U
#define SETTLE_MSEC 5000U /* the starts' own work */
#define BEGIN_MSEC  2000U /* clients' way into guests */
#define DRY_MSEC    6500U /* until busy ones have their rate alone */
#define END_MSEC    3000U /* a busy host answers late */
#define COST_AIM    0.5   /* % of a CPU */

static const struct asked one = { 5, 1000, "cpu.rate=5%,cpu.burst=1" };

struct fleet {
	const struct run *run;
	unsigned guests;
	struct subject s[SIDE__N][BUSY];
	struct row error;
};

/* What the daemon's worker has used. */
struct cost {
	uint64_t t;
	double cpu, sampling;
	struct meter_calls calls;
};

static void ignore(void *arg, uint64_t start_usec, json_t *steps)
{
	(void)arg;
	(void)start_usec;
	(void)steps;
}

static int start(struct fleet *f)
{
	char range[40];
	const char *args[] = { "create",      "--template", "bench",     range,  "cpu.rate=5%",
			       "cpu.burst=1", "--",         "/bin/work", "stay", NULL };
	int r;

	snprintf(range, sizeof(range), "fleet{0001..%04u}", f->guests);
	r = daemon_call(f->run->d, args, -1);
	if (r == 0)
		r = daemon_start(f->run->d, range, ignore, NULL);
	for (unsigned i = 0; i < BUSY && r == 0; i++) {
		char name[16];

		snprintf(name, sizeof(name), "fleet%04u", 1 + i * f->guests / BUSY);
		r = subject_find(&f->s[SIDE_COS][i], f->run->d, name);
		if (r == 0)
			r = bucket_bare(&f->s[SIDE_BARE][i], name, &f->s[SIDE_COS][i], &one);
	}
	return r > 0 ? -EIO : r;
}

/* ---- cost ---- */

static void look(const struct fleet *f, struct cost *c)
{
	pid_t worker = meter_worker(f->run->d);

	c->cpu = meter_cpu(worker);
	c->calls = meter_calls(worker);
	c->t = bench_nsec();
}

/* The answer itself is no part of what is measured. */
static double sampling(const struct fleet *f)
{
	auto_json json_t *m = meter_ask(f->run->d);

	return meter_of(m, "sampling_usec") / 1e6;
}

static void cost_begin(const struct fleet *f, struct cost *c)
{
	c->sampling = sampling(f);
	look(f, c);
}

static void print(const char *what, const char *when, const char *unit, double aim, double got)
{
	char name[48];
	struct row row = { .what = name, .unit = unit, .asked = aim };

	snprintf(name, sizeof(name), "fleet_%s %s", what, when);
	row_add(&row, SIDE_COS, got, 0);
	row_print(&row);
}

static void cost_end(const struct fleet *f, const char *when, const struct cost *from)
{
	struct cost to;
	double sec, own;

	look(f, &to);
	to.sampling = sampling(f);
	sec = (double)(to.t - from->t) / 1e9;
	own = to.cpu - from->cpu - (to.sampling - from->sampling);
	print("controller", when, "% of a CPU", COST_AIM, own * 100 / sec);
	print("worker", when, "% of a CPU", 0, (to.cpu - from->cpu) * 100 / sec);
	print("reads", when, "1/s", 0, (to.calls.reads - from->calls.reads) / sec);
	print("writes", when, "1/s", 0, (to.calls.writes - from->calls.writes) / sec);
}

/* ---- error ---- */

static void read_all(const struct subject *s, uint64_t *t, uint64_t *cpu)
{
	for (unsigned i = 0; i < BUSY; i++) {
		cpu[i] = subject_cpu_nsec(&s[i]);
		t[i] = bench_nsec();
	}
}

static uint64_t sum(const uint64_t *v)
{
	uint64_t all = 0;

	for (unsigned i = 0; i < BUSY; i++)
		all += v[i];
	return all;
}

static void window(struct fleet *f, enum side side)
{
	uint64_t t[2][BUSY], cpu[2][BUSY];
	double worst = 0, others;
	struct cost cost = { 0 };
	struct load load;

	if (side == SIDE_COS)
		cost_begin(f, &cost);
	read_all(f->s[side], t[0], cpu[0]);
	load_begin(&load, sum(cpu[0]));
	bench_sleep_until(load.t + f->run->seconds * 1000ULL * BUCKET_MSEC);
	read_all(f->s[side], t[1], cpu[1]);
	others = load_others(&load, sum(cpu[1]));
	for (unsigned i = 0; i < BUSY; i++) {
		double got = (double)(cpu[1][i] - cpu[0][i]) * 100 / (double)(t[1][i] - t[0][i]);
		double error = (got / one.percent - 1) * 100;

		worst = error > worst ? error : -error > worst ? -error : worst;
		row_add(&f->error, side, got, others);
	}
	printf("# fleet, %s: largest error of %u busy ones %.2f %%\n",
	       side == SIDE_COS ? "cos" : "bare", BUSY, worst);
	if (side == SIDE_COS)
		cost_end(f, "busy", &cost);
}

/* Work that ended in the window would be taken for an error of the bucket. */
static int check_end(uint64_t end)
{
	if (bench_nsec() < end)
		return 0;
	fprintf(stderr,
		"bench: bucket: fleet: the host is too busy: work ended before its window\n");
	return -ETIME;
}

static int busy(struct fleet *f, enum side side)
{
	uint64_t begin = bench_nsec() + BEGIN_MSEC * (uint64_t)BUCKET_MSEC, dry, end;
	unsigned least = (unsigned)bucket_kernel_msec(&one) + 1; /* that is still the daemon's */
	pid_t pid[BUSY];
	int r = 0;

	dry = begin + DRY_MSEC * (uint64_t)BUCKET_MSEC;
	end = dry + (f->run->seconds * 1000ULL + END_MSEC) * BUCKET_MSEC;
	for (unsigned i = 0; i < BUSY; i++)
		pid[i] = bucket_spin(&f->s[side][i], 1, begin, end);
	for (unsigned i = 0; i < BUSY && r == 0 && side == SIDE_COS; i++)
		r = bucket_resize(&f->s[side][i], least);
	bench_sleep_until(dry - DRY_MSEC * (uint64_t)BUCKET_MSEC / 4);
	for (unsigned i = 0; i < BUSY && r == 0 && side == SIDE_COS; i++)
		r = bucket_resize(&f->s[side][i], one.burst_msec);
	bench_sleep_until(dry);
	if (r == 0 && !bench_stopped()) {
		window(f, side);
		r = check_end(end);
	}
	return bucket_reap(pid, BUSY) < 0 ? -EIO : r;
}

static void idle(const struct fleet *f)
{
	struct cost cost;

	bench_idle(SETTLE_MSEC);
	cost_begin(f, &cost);
	bench_sleep_until(cost.t + f->run->seconds * 1000ULL * BUCKET_MSEC);
	cost_end(f, "idle", &cost);
}

int bucket_fleet(const struct bucket_run *b)
{
	static struct fleet f;
	int r;

	f = (struct fleet){ .run = &b->run,
			    .guests = b->guests < BUSY ? BUSY : b->guests,
			    .error = { .what = "fleet cpu.rate=5%,cpu.burst=1",
				       .unit = "% of a CPU",
				       .asked = one.percent } };
	r = start(&f);
	if (r == 0)
		idle(&f);
	for (enum side side = 0; side < SIDE__N && r == 0 && !bench_stopped(); side++)
		r = busy(&f, side);
	if (r == 0)
		row_print(&f.error);
	for (unsigned i = 0; i < BUSY; i++)
		subject_remove(&f.s[SIDE_BARE][i]);
	return r;
}
