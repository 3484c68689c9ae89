/* tests/unit/drip.t.c - buckets of bytes: no drift, no more than was saved */
#include "lib/base/own.h"
#include "lib/model/drip.h"
#include "tests/tap.h"

#define STEPS 1000000
#define SEC   1000000ULL

static uint64_t next(uint64_t *state, uint64_t below)
{
	*state = *state * 6364136223846793005ULL + 1442695040888963407ULL;
	return (*state >> 24) % below;
}

static void test_no_drift(void)
{
	static const uint64_t rates[] = { 1, 7, 4096, 1000003, 1ULL << 30 };

	for (size_t i = 0; i < ARRAY_SIZE(rates); i++) {
		const struct drip_conf c = { rates[i], 4000 * SEC };
		int64_t tokens = drip_size(&c) / 2;
		__int128 sum = tokens;
		uint64_t rnd = 99 + i;

		for (int n = 0; n < STEPS; n++) {
			uint64_t elapsed = next(&rnd, 2ULL * DRIP_TICK_USEC),
				 used = next(&rnd, 2) ? rates[i] * elapsed / SEC * 2 : 0;

			tokens = drip_step(tokens, &c, elapsed, used);
			sum += (__int128)rates[i] * elapsed - (__int128)used * 1000000;
			if (sum > drip_size(&c)) /* it was full */
				sum = tokens;
		}
		ok(tokens == (int64_t)sum, "%d steps at %llu: nothing is lost to rounding", STEPS,
		   (unsigned long long)rates[i]);
	}
}

/* A guest that takes all it may from a full bucket on, looked at as late as that may be. */
static void test_all_out(void)
{
	static const uint64_t bursts[] = { 0, 1 * SEC, 30 * SEC };

	for (size_t i = 0; i < ARRAY_SIZE(bursts); i++) {
		const struct drip_conf c = { 1000000, bursts[i] };
		int64_t tokens = drip_size(&c);
		uint64_t got = 0, first = 0, wait = DRIP_IDLE_USEC, at, all;

		for (at = 0; at < 100 * SEC; at += wait) {
			uint64_t used;

			wait = at ? drip_wait(tokens, &c) : DRIP_IDLE_USEC;
			used = drip_cap(tokens, &c) * wait / SEC;
			tokens = drip_step(tokens, &c, wait, used);
			got += used;
			if (at == 0)
				first = got;
		}
		all = (at + bursts[i]) * c.rate / SEC;
		ok(got <= all, "a bucket of %llu s: no more than that and the rate: %llu of %llu",
		   (unsigned long long)(bursts[i] / SEC), (unsigned long long)got,
		   (unsigned long long)all);
		ok(got + c.rate / 2 >= all, "and little less");
		ok(first == c.rate + (uint64_t)drip_size(&c) / 2 / SEC,
		   "in the first second the rate and half of what was saved");
	}
}

static void test_ends(void)
{
	const struct drip_conf c = { 1ULL << 46, 86400 * SEC }, none = { 1, 0 };

	ok(drip_step(drip_size(&c), &c, 1ULL << 60, 0) == drip_size(&c), "a full one stays full");
	ok(drip_step(0, &c, 0, UINT64_MAX) < 0 && drip_cap(-1, &c) == c.rate / 2,
	   "who owes has half its cap");
	ok(drip_cap(drip_step(0, &none, 0, 1000), &none) == 1, "a cap is never nothing");
	ok(drip_size(&none) == 0 && drip_wait(0, &none) == DRIP_IDLE_USEC, "no bucket, no hurry");
}

int main(void)
{
	test_no_drift();
	test_all_out();
	test_ends();
	return tap_done();
}
