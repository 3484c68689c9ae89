/* bench/pairs.c - ratios of figures that were measured in pairs */
#include <math.h>

#include "bench/pairs.h"
#include "lib/base/own.h"

#define LEAST 1e-3

/* Two-sided, 95 %. */
static double student_t(unsigned freedom)
{
	static const double t[] = { 12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306,
				    2.262,  2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120,
				    2.110,  2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064,
				    2.060,  2.056, 2.052, 2.048, 2.045, 2.042 };

	if (freedom <= ARRAY_SIZE(t))
		return t[freedom - 1];
	return 1.960 + 2.46 / freedom; /* right to a thousandth */
}

static double log_ratio(double left, double of)
{
	return log(left > of * LEAST ? left / of : LEAST);
}

struct ratio pairs_ratio(const double *left, const double *of, unsigned n)
{
	double mean = 0, squares = 0, half;
	unsigned good = 0;

	for (unsigned i = 0; i < n; i++) {
		if (of[i] > 0) {
			mean += log_ratio(left[i], of[i]);
			good++;
		}
	}
	if (good == 0)
		return (struct ratio){ 0 };
	mean /= good;
	if (good == 1)
		return (struct ratio){ exp(mean), 0, INFINITY };
	for (unsigned i = 0; i < n; i++) {
		double off = of[i] > 0 ? log_ratio(left[i], of[i]) - mean : 0;

		squares += off * off;
	}
	half = student_t(good - 1) * sqrt(squares / (good - 1) / good);
	return (struct ratio){ exp(mean), exp(mean - half), exp(mean + half) };
}
