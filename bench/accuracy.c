/* bench/accuracy.c - how near guests come to the limits that were asked for
 *
 *	bench/accuracy [--rounds N] [--seconds N] [--only NAME,NAME]
 *
 * Every row is measured in a guest of a private cosd and in a bare control group with the same
 * numbers, in turn, round after round: what the kernel, the disk and the neighbours miss shows in
 * both. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bench/accuracy.h"
#include "bench/subject.h"
#include "lib/base/io.h"
#include "lib/base/own.h"
#include "lib/base/str.h"

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

static uint64_t busy_nsec(void)
{
	unsigned long long v[8] = { 0 }, sum;
	char text[65536];

	if (io_read_at(AT_FDCWD, "/proc/stat", text, sizeof(text)) <= 0 ||
	    sscanf(text, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &v[0], &v[1], &v[2], &v[3],
		   &v[4], &v[5], &v[6], &v[7]) != 8)
		return 0;
	sum = v[0] + v[1] + v[2] + v[5] + v[6] + v[7]; /* without idle and waiting for disks */
	return sum * 1000000000U / (unsigned long)sysconf(_SC_CLK_TCK);
}

void load_begin(struct load *l, uint64_t own)
{
	*l = (struct load){ bench_nsec(), busy_nsec(), own };
}

double load_others(const struct load *l, uint64_t own)
{
	double busy = (double)(busy_nsec() - l->busy), mine = (double)(own - l->own);

	return busy > mine ? (busy - mine) * 100 / (double)(bench_nsec() - l->t) : 0;
}

/* ---- */

void sleep_until(uint64_t nsec)
{
	const struct timespec ts = { (time_t)(nsec / 1000000000U), (long)(nsec % 1000000000U) };

	while (!bench_stopped() && clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) != 0)
		;
}

bool run_wants(const struct run *run, const char *what)
{
	size_t len = strlen(what);
	const char *at = run->only;

	while (at && (strncmp(at, what, len) != 0 || (at[len] && at[len] != ','))) {
		at = strchr(at, ',');
		at = at ? at + 1 : NULL;
	}
	return !run->only || at;
}

static int parse_number(const char *s, unsigned *ret)
{
	uint64_t v;
	int r = str_to_u64(s, &v);

	if (r < 0 || v < 1 || v > 30)
		return -ERANGE;
	*ret = (unsigned)v;
	return 0;
}

static int parse(int argc, char **argv, struct run *run)
{
	static const struct option longs[] = { { "rounds", required_argument, NULL, 'r' },
					       { "seconds", required_argument, NULL, 's' },
					       { "only", required_argument, NULL, 'o' },
					       { NULL, 0, NULL, 0 } };
	int c, r = 0;

	while (r == 0 && (c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (c == 'r')
			r = parse_number(optarg, &run->rounds);
		else if (c == 's')
			r = parse_number(optarg, &run->seconds);
		else if (c == 'o')
			run->only = optarg;
		else
			r = -EINVAL;
	}
	if (r == 0 && optind == argc)
		return 0;
	fprintf(stderr,
		"usage: accuracy [--rounds N] [--seconds N] [--only NAME,NAME] (1 to 30 each)\n"
		"NAME: cpu.rate cpu.burst cpu.share io.weight io.rbps io.wbps io.riops io.wiops\n");
	return -EINVAL;
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
