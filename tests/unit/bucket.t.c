/* tests/unit/bucket.t.c - token buckets of CPU time: no drift, no overshoot, hold */
#include <stdlib.h>

#include "lib/base/own.h"
#include "lib/model/bucket.h"
#include "tests/tap.h"

#define STEPS 1000000
#define MSEC  1000ULL /* microseconds */

/* A fixed sequence, so that a failure can be seen again. */
static uint64_t next(uint64_t *state, uint64_t below)
{
	*state = *state * 6364136223846793005ULL + 1442695040888963407ULL;
	return (*state >> 33) % below;
}

/* Tokens that came and were not spilled are those that were spent and those that are there. */
static void test_no_drift(void)
{
	static const uint64_t rates[] = { 10, 33, 250, 777, 1500, 1024000 };

	for (size_t i = 0; i < ARRAY_SIZE(rates); i++) {
		const struct bucket_conf c = { rates[i], UINT64_C(86400000000), 0, 2 };
		struct bucket b;
		__int128 sum;
		uint64_t rnd = 12345 + i;

		bucket_init(&b, &c);
		b.tokens /= 2; /* far from either end */
		sum = b.tokens;
		for (int n = 0; n < STEPS; n++) {
			uint64_t elapsed = next(&rnd, 200000), used = next(&rnd, 2 * rates[i] + 1);

			used = rates[i] > 2000 ? elapsed * rates[i] : elapsed * used;
			bucket_step(&b, &c, elapsed, used);
			sum += (__int128)elapsed * rates[i];
			sum -= used;
		}
		ok(b.tokens == (int64_t)sum, "%d steps at %llum: nothing is lost to rounding",
		   STEPS, (unsigned long long)rates[i]);
	}
}

/* A guest that takes all it may, on its CPUs, stepped as often as the bucket wants. Returns the
 * CPU time it got in USEC, in nanoseconds. */
static uint64_t run(struct bucket *b, const struct bucket_conf *c, uint64_t usec, uint64_t *steps)
{
	uint64_t got = 0, at = 0;

	while (at < usec) {
		uint64_t allows = bucket_allows(b, c), wait = bucket_wait(b, c), used;

		if (wait > usec - at)
			wait = usec - at;
		used = wait * (allows < c->cpus * 1000ULL ? allows : c->cpus * 1000ULL);
		bucket_step(b, c, wait, used);
		got += used;
		at += wait;
		(*steps)++;
	}
	return got;
}

static void test_long_run(void)
{
	static const uint64_t rates[] = { 10, 100, 250, 500, 1500 };
	static const uint64_t bursts[] = { 0, 1000000, 30000000 };

	for (size_t i = 0; i < ARRAY_SIZE(rates); i++) {
		for (size_t k = 0; k < ARRAY_SIZE(bursts); k++) {
			const struct bucket_conf c = { rates[i], bursts[k], 0, 2 };
			uint64_t steps = 0, usec = 600000 * MSEC, got, wanted;
			struct bucket b;

			bucket_init(&b, &c);
			got = run(&b, &c, usec, &steps);
			wanted = usec * rates[i] + bursts[k] * 1000;
			ok(got <= wanted + wanted / 1000 && got >= wanted - wanted / 1000,
			   "%llum with %llu s saved: %llu of %llu ms in ten minutes",
			   (unsigned long long)rates[i], (unsigned long long)bursts[k] / 1000000,
			   (unsigned long long)got / 1000000, (unsigned long long)wanted / 1000000);
			ok(steps <= usec / BUCKET_TICK_USEC + 20, "and no more steps than ticks");
		}
	}
}

/* Its quota keeps it where it is: it need not be looked at ten times a second. */
static void test_steady(void)
{
	const struct bucket_conf c = { 50, 1000000, 0, 2 };
	uint64_t steps = 0, got;
	struct bucket b;

	bucket_init(&b, &c);
	run(&b, &c, 5000 * MSEC, &steps);
	steps = 0;
	got = run(&b, &c, 100000 * MSEC, &steps);
	ok(steps <= 101, "a busy guest with an empty bucket is looked at %llu times in 100 s",
	   (unsigned long long)steps);
	ok(got >= 4990 * MSEC * 1000 && got <= 5010 * MSEC * 1000, "and gets its rate: %llu ms",
	   (unsigned long long)got / 1000000);
	bucket_step(&b, &c, 1000 * MSEC, 0);
	ok(!b.steady && bucket_wait(&b, &c) <= 1000 * MSEC, "until it rests");
}

static void test_first_second(void)
{
	const struct bucket_conf c = { 250, 1000000, 0, 4 };
	struct bucket b;
	uint64_t steps = 0, got;

	bucket_init(&b, &c);
	got = run(&b, &c, 1000 * MSEC, &steps);
	ok(got <= 1250 * MSEC * 1000, "the first second has no more than rate and bucket: %llu ms",
	   (unsigned long long)got / 1000000);
	ok(got > 1000 * MSEC * 1000, "and most of that");
}

/* What comes to a full bucket is gone, also when nobody looked between idling and running. */
static void test_late_look(void)
{
	const struct bucket_conf c = { 500, 30000000, 0, 2 };
	struct bucket b;

	bucket_init(&b, &c);
	bucket_step(&b, &c, 5000 * MSEC, 3000 * MSEC * 1000);
	ok(b.tokens == (30000 + 100 + 750 - 3000) * (int64_t)MSEC * 1000,
	   "3.5 s idle and 1.5 s on both CPUs in one step: two ticks more are left: %lld ms",
	   (long long)b.tokens / 1000000);
	bucket_init(&b, &c);
	for (int i = 0; i < 100; i++)
		bucket_step(&b, &c, 1000 * MSEC, 500 * MSEC * 1000);
	ok(b.tokens >= (30000 - 500) * (int64_t)MSEC * 1000 &&
		   b.tokens <= 30000 * (int64_t)MSEC * 1000,
	   "a guest that uses its rate keeps its bucket: %lld ms", (long long)b.tokens / 1000000);
}

static void test_hold(void)
{
	const struct bucket_conf c = { 200, 2000000, 1000000, 2 };
	struct bucket b;
	uint64_t steps = 0, waited = 0;

	bucket_init(&b, &c);
	while (!b.held && steps < 1000)
		run(&b, &c, BUCKET_TICK_USEC, &steps);
	ok(b.held && bucket_allows(&b, &c) == 0, "an empty one is held");
	ok(b.tokens > -50000000, "before it owes much: %lld ms", (long long)b.tokens / 1000000);
	while (b.held && waited < 60000 * MSEC) {
		uint64_t wait = bucket_wait(&b, &c);

		bucket_step(&b, &c, wait, 0);
		waited += wait;
	}
	ok(b.tokens >= 1000000000 && b.tokens < 1100000000, "until it has what it has to: %lld ms",
	   (long long)b.tokens / 1000000);
	ok(waited >= 5000 * MSEC && waited < 5500 * MSEC, "which takes %llu ms",
	   (unsigned long long)waited / 1000);
	ok(b.held_usec == waited, "and is counted");
	ok(bucket_allows(&b, &c) == LIMIT_MAX, "then it runs");
}

/* One that did nothing is looked at once a second, and has spent no more than it had by then. */
static void test_idle(void)
{
	const struct bucket_conf c = { 100, 1000000, 0, 2 }, small = { 100, 200000, 0, 2 },
				 large = { 100, 30000000, 0, 2 };
	struct bucket b;

	bucket_init(&b, &c);
	bucket_step(&b, &c, 1000000, 0);
	ok(bucket_allows(&b, &c) == 1000 && bucket_wait(&b, &c) == 1000000,
	   "a second that was saved is to be had in the next");
	bucket_step(&b, &c, 1000000, 1000000000);
	ok(b.tokens >= 0, "who takes it owes nothing");
	ok(bucket_wait(&b, &c) == BUCKET_TICK_USEC, "and is looked at again soon");
	bucket_init(&b, &small);
	bucket_step(&b, &small, 1000000, 0);
	ok(bucket_allows(&b, &small) == 200 && bucket_wait(&b, &small) == 1000000,
	   "so is less than a second");
	bucket_init(&b, &large);
	bucket_step(&b, &large, 1000000, 0);
	ok(bucket_allows(&b, &large) == LIMIT_MAX && bucket_wait(&b, &large) == 5000000,
	   "who has saved much is not held back");
}

static void test_ends(void)
{
	struct bucket_conf c = { 250, 1000000, 0, 2 };
	struct bucket b;

	bucket_init(&b, &c);
	bucket_step(&b, &c, UINT64_C(31536000000000), 0);
	ok(b.tokens == 1000000000, "a year of silence saves what the bucket holds");
	bucket_step(&b, &c, 1000, UINT64_C(1000000000000000));
	ok(b.tokens == -2000000000, "what was used unseen is owed up to a second of each CPU");
	ok(bucket_allows(&b, &c) == 0, "nothing is allowed meanwhile");
	ok(bucket_wait(&b, &c) == BUCKET_TICK_USEC, "one looks again soon");
	c.burst_usec = 100000;
	bucket_init(&b, &c);
	b.tokens = 5000000000;
	bucket_step(&b, &c, 0, 0);
	ok(b.tokens == 100000000, "a smaller bucket spills");
	c = (struct bucket_conf){ 1024000, UINT64_C(86400000000), 0, 1024 };
	bucket_init(&b, &c);
	bucket_step(&b, &c, UINT64_C(86400000000), UINT64_C(86400000000) * 1024000);
	ok(b.tokens == 86400000000000, "1024 CPUs for a day are no more than fits");
	ok(bucket_allows(&b, &c) == LIMIT_MAX, "a rate of all CPUs is no limit");
}

static void test_needed(void)
{
	struct limits l;

	limits_init(&l);
	ok(!bucket_is_needed(&l), "without a rate there is no bucket");
	l.v[LIMIT_CPU_RATE] = 250;
	l.v[LIMIT_CPU_BURST] = 250000;
	ok(!bucket_is_needed(&l), "one second of the rate is the kernel's");
	l.v[LIMIT_CPU_BURST] = 250001;
	ok(bucket_is_needed(&l), "more is not");
	l.v[LIMIT_CPU_BURST] = 0;
	l.v[LIMIT_CPU_IDLE] = 1;
	ok(bucket_is_needed(&l), "nor is idle time instead of a stop");
}

int main(void)
{
	test_no_drift();
	test_long_run();
	test_steady();
	test_first_second();
	test_late_look();
	test_hold();
	test_idle();
	test_ends();
	test_needed();
	return tap_done();
}
