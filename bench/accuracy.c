/* bench/accuracy.c - how near guests come to the limits that were asked for
 *
 *	bench/accuracy [--rounds N] [--seconds N] [--only NAME,NAME]
 *
 * Every row is measured in a guest of a private cosd and in a bare control group with the same
 * numbers, in turn, round after round: what the kernel, the disk and the neighbours miss shows in
 * both. */
#include <errno.h>
#include <stdio.h>

#include "bench/accuracy.h"
#include "bench/subject.h"
#include "lib/base/own.h"

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
		printf("%s\t%s\t%.2f\t%s\t%.2f\t%+.2f\t%.2f\t%.2f\t%u\t%.0f\n", row->what,
		       row->unit, row->asked, side_name[side], p50, (p50 / row->asked - 1) * 100,
		       (double)samples_at(s, 0) / 1000, (double)samples_at(s, 100) / 1000, s->n,
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

/* ---- */

static int parse(int argc, char **argv, struct run *run)
{
	const struct bench_option options[] = {
		{ .name = "rounds", .max = 30, .number = &run->rounds },
		{ .name = "seconds", .max = 30, .number = &run->seconds },
		{ .name = "only", .word = &run->only },
	};
	static const char usage[] =
		"usage: accuracy [--rounds N] [--seconds N] [--only NAME,NAME] (1 to 30 each)\n"
		"NAME: cpu.rate cpu.burst cpu.share io.weight io.rbps io.wbps io.riops io.wiops\n";

	return bench_parse(argc, argv, options, ARRAY_SIZE(options), usage);
}

static int measure(struct run *run, const struct bench *b)
{
	struct daemon d;
	int r = daemon_open(&d, b, SUBJECT_ROOT);

	if (r < 0)
		return r;
	run->b = b;
	run->d = &d;
	printf("what\tunit\tasked\tby\tgot\terror_%%\tmin\tmax\tn\tothers_cpu_%%\n");
	r = accuracy_cpu(run);
	if (r == 0)
		r = accuracy_io(run);
	daemon_close(&d);
	run->d = NULL;
	return r;
}

int main(int argc, char **argv)
{
	struct run run = { .rounds = 3, .seconds = 5 };
	struct bench b;
	int r = parse(argc, argv, &run);

	if (r < 0)
		return 2;
	r = bench_open(&b);
	if (r == 0)
		r = bench_make_root(&b, SUBJECT_ROOT);
	if (r == 0)
		r = bench_add_program(&b, SUBJECT_ROOT, "work");
	if (r == 0)
		r = bench_cg_make(&b);
	if (r == 0)
		r = measure(&run, &b);
	bench_close(&b);
	return r < 0 || bench_stopped() ? 1 : 0;
}
