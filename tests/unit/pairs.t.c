/* tests/unit/pairs.t.c - intervals of bench/isolation against figures made by hand and by chance */
#include <math.h>
#include <stdbool.h>
#include <stdint.h>

#include "bench/pairs.h"
#include "tests/tap.h"

#define TRIALS 4000U
#define PAIRS  6U

static bool near(double a, double b)
{
	return fabs(a - b) < 1e-3 * (fabs(b) + 1e-9);
}

static void by_hand(void)
{
	const double of[] = { 100, 200, 50 }, same[] = { 90, 180, 45 };
	const double up_down[] = { exp(0.1), exp(-0.1) }, one[] = { 1, 1 };
	const double starved[] = { 0, 0 }, no_control[] = { 0, 0 };
	struct ratio r = pairs_ratio(same, of, 3);

	ok(near(r.mid, 0.9) && near(r.low, 0.9) && near(r.high, 0.9),
	   "equal pairs have no spread: %g %g %g", r.mid, r.low, r.high);
	r = pairs_ratio(up_down, one, 2);
	/* deviation 0.1 sqrt(2), of a mean of two 0.1, times 12.706 */
	ok(near(r.mid, 1) && near(r.low, exp(-1.2706)) && near(r.high, exp(1.2706)),
	   "two pairs: %g %g %g", r.mid, r.low, r.high);
	r = pairs_ratio(of, of, 1);
	ok(near(r.mid, 1) && r.low == 0 && isinf(r.high), "one pair has no interval");
	r = pairs_ratio(of, of, 0);
	ok(r.mid == 0 && r.low == 0 && r.high == 0, "no pair, no ratio");
	r = pairs_ratio(starved, of, 2);
	ok(near(r.mid, 1e-3), "nothing left: %g", r.mid);
	r = pairs_ratio(of, no_control, 2);
	ok(r.mid == 0, "nothing to compare with: no ratio");
}

static double chance(uint64_t *state)
{
	double sum = -6;

	for (int i = 0; i < 12; i++) { /* nearly normal, deviation 1 */
		*state = *state * 6364136223846793005U + 1442695040888963407U;
		sum += (double)(*state >> 11) / 9007199254740992.0;
	}
	return sum;
}

static void by_chance(void)
{
	uint64_t state = 42;
	unsigned held = 0;

	for (unsigned i = 0; i < TRIALS; i++) {
		double left[PAIRS], of[PAIRS];
		struct ratio r;

		for (unsigned k = 0; k < PAIRS; k++) {
			of[k] = 1000 * exp(chance(&state)); /* drift of both */
			left[k] = of[k] * 0.98 * exp(0.05 * chance(&state));
		}
		r = pairs_ratio(left, of, PAIRS);
		held += r.low <= 0.98 && r.high >= 0.98;
	}
	ok(held > TRIALS * 0.94 && held < TRIALS * 0.96,
	   "95 %% of intervals hold the truth: %.2f %%", held * 100.0 / TRIALS);
}

int main(void)
{
	by_hand();
	by_chance();
	return tap_done();
}
