/* bench/overhead-series.c - percentiles, and how far a ratio of two can be trusted */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "bench/overhead.h"

#define DRAWS     1000U
#define LOW_DRAW  25U /* of DRAWS: what lies between them is 95 % */
#define HIGH_DRAW 975U

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double at_percent(double *v, unsigned n, unsigned percent)
{
	if (n == 0)
		return 0;
	qsort(v, n, sizeof(*v), compare);
	return v[((n - 1) * percent + 50) / 100];
}

static double *room(unsigned n)
{
	double *v = malloc((n ? n : 1) * sizeof(*v));

	if (!v)
		abort();
	return v;
}

double series_at(const struct series *s, unsigned percent)
{
	unsigned n = s->epochs * s->rounds;
	double *v = room(n), m;

	memcpy(v, s->ns, n * sizeof(*v));
	m = at_percent(v, n, percent);
	free(v);
	return m;
}

/* Not for secrets: the same table from the same samples each time. */
static unsigned draw(uint64_t *state, unsigned n)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return (unsigned)((*state >> 32) * n >> 32);
}

static void draw_rounds(uint64_t *state, const struct series *a, unsigned *at)
{
	for (unsigned e = 0; e < a->epochs; e++) {
		unsigned from = draw(state, a->epochs) * a->rounds;

		for (unsigned i = 0; i < a->rounds; i++)
			*at++ = from + draw(state, a->rounds);
	}
}

static double drawn_at(const struct series *s, const unsigned *at, double *v, unsigned percent)
{
	unsigned n = s->epochs * s->rounds;

	for (unsigned i = 0; i < n; i++)
		v[i] = s->ns[at[i]];
	return at_percent(v, n, percent);
}

struct ratio series_ratio(const struct series *a, const struct series *b, unsigned percent)
{
	unsigned n = a->epochs * a->rounds;
	double *v = room(n), *drawn = room(DRAWS), below = series_at(b, percent);
	unsigned *at = malloc((n ? n : 1) * sizeof(*at));
	uint64_t state = 0x9e3779b97f4a7c15U;
	struct ratio r = { 0 };

	if (!at)
		abort();
	if (below > 0) {
		r.mid = series_at(a, percent) / below;
		for (unsigned i = 0; i < DRAWS; i++) {
			draw_rounds(&state, a, at);
			drawn[i] = drawn_at(a, at, v, percent) / drawn_at(b, at, v, percent);
		}
		qsort(drawn, DRAWS, sizeof(*drawn), compare);
		r.low = drawn[LOW_DRAW];
		r.high = drawn[HIGH_DRAW];
	}
	free(at);
	free(drawn);
	free(v);
	return r;
}
