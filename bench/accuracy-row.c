/* bench/accuracy-row.c - lines of bench/accuracy and bench/bucket: what was asked for, what was got
 */
#include <stdio.h>

#include "bench/accuracy.h"

const char row_head[] = "what\tunit\tasked\tby\tgot\terror_%\tmin\tmax\tn\tothers_cpu_%\n";

static const char *const side_name[SIDE__N] = { "cos", "bare" };

/* ---- rows ---- */

void row_add(struct row *row, enum side side, double got, double others)
{
	samples_add(&row->others[side], (uint64_t)others);
	samples_add(&row->got[side], got > 0 ? (uint64_t)(got * 1000 + 0.5) : 0);
}

void row_print(struct row *row)
{
	for (enum side side = 0; side < SIDE__N; side++) {
		struct samples *s = &row->got[side];
		double p50 = (double)samples_at(s, 50) / 1000;

		if (s->n == 0)
			continue;
		printf("%s\t%s\t%.2f\t%s\t%.2f\t", row->what, row->unit, row->asked,
		       side_name[side], p50);
		if (row->asked > 0)
			printf("%+.2f", (p50 / row->asked - 1) * 100);
		else
			printf("-");
		printf("\t%.2f\t%.2f\t%u\t%.0f\n", (double)samples_at(s, 0) / 1000,
		       (double)samples_at(s, 100) / 1000, s->n,
		       (double)samples_at(&row->others[side], 50));
		samples_free(s);
		samples_free(&row->others[side]);
	}
	fflush(stdout);
}

/* ---- the host's other load ---- */

void load_begin(struct load *l, uint64_t own)
{
	*l = (struct load){ bench_nsec(), bench_busy_nsec(), own };
}

double load_others(const struct load *l, uint64_t own)
{
	double busy = (double)(bench_busy_nsec() - l->busy), mine = (double)(own - l->own);

	return busy > mine ? (busy - mine) * 100 / (double)(bench_nsec() - l->t) : 0;
}

bool run_wants(const struct run *run, const char *what)
{
	return bench_wants(run->only, what);
}
