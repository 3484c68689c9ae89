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
	fputs(row_head, stdout);
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
	r = subject_bench(&b);
	if (r == 0)
		r = bench_cg_make(&b);
	if (r == 0)
		r = measure(&run, &b);
	bench_close(&b);
	return r < 0 || bench_stopped() ? 1 : 0;
}
