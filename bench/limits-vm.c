/* bench/limits-vm.c - how near a container and a machine come to the same limit
 *
 *	bench/limits-vm [--rounds N] [--seconds N] [--only NAME,NAME]
 *
 * Both are guests of one private daemon and are measured by the counters of their groups, in turn.
 * The machine runs the mini guest of tests/vmm. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/bench.h"
#include "bench/daemon.h"
#include "bench/subject.h"
#include "lib/base/own.h"
#include "lib/base/str.h"

#define MSEC      1000000U
#define WARM_MSEC 2000U /* a start, and what a limit lets through at first */
#define MIB       1048576.0

enum side { CONTAINER, MACHINE, SIDE__N };

static const char *const side_name[SIDE__N] = { "container", "machine" };

static struct {
	unsigned rounds, seconds;
	const char *only;
} opt = { .rounds = 5, .seconds = 4 };

/* What is limited, and what both do against it. MEASURE: what the group got of UNIT. */
struct row {
	const char *name, *limit, *unit;
	double asked;
	const char *const command[8]; /* of the container */
	const char *words[4];         /* of the machine, beside its kernel and the limit */
	double (*measure)(const struct subject *s);
};

/* ---- what their groups count ---- */

static double cpu_of(const struct subject *s)
{
	uint64_t used, t;

	subject_await_stall(s);
	used = subject_cpu_nsec(s);
	t = bench_nsec();
	bench_sleep_until(t + opt.seconds * 1000ULL * MSEC);
	used = subject_cpu_nsec(s) - used;
	return (double)used * 100 / (double)(bench_nsec() - t);
}

static double peak_of(const struct subject *s)
{
	uint64_t v;

	bench_idle(WARM_MSEC);
	v = subject_number(s, "memory", "memory.max_usage_in_bytes", NULL);
	return (double)(v ? v : subject_number(s, "memory", "memory.peak", NULL)) / MIB;
}

/* Of all devices: "7:0 Write 4096", or "7:0 rbytes=0 wbytes=4096 ...". */
static uint64_t written_by(const struct subject *s)
{
	static const char *const file[] = { "blkio.throttle.io_service_bytes", "io.stat" };
	static const char *const key[] = { " Write ", " wbytes=" };
	uint64_t sum = 0;

	for (size_t i = 0; i < ARRAY_SIZE(file); i++) {
		char text[8192];
		const char *at = text;

		if (subject_read(s, "blkio", file[i], text, sizeof(text)) <= 0)
			continue;
		while ((at = strstr(at, key[i]))) {
			at += strlen(key[i]);
			sum += strtoull(at, NULL, 10);
		}
	}
	return sum;
}

static double written_of(const struct subject *s)
{
	uint64_t bytes = written_by(s), t = bench_nsec();

	bench_sleep_until(t + opt.seconds * 1000ULL * MSEC);
	return (double)(written_by(s) - bytes) / MIB * 1e9 / (double)(bench_nsec() - t);
}

/* ---- rows ---- */

#define ROW_CPU(limit, percent)                                                                    \
	{                                                                                          \
		"cpu.rate", limit, "% of a CPU", percent,                                          \
			{ "/bin/sh", "-c", "while :; do :; done", NULL },                          \
			{ "test=spin", "vm.memory=64M", NULL }, cpu_of                             \
	}

/* The least memory.max of a machine is its memory and 16.5 MiB for cos-vmm and its tables. */
static const struct row rows[] = {
	ROW_CPU("cpu.rate=10%", 10),
	ROW_CPU("cpu.rate=25%", 25),
	ROW_CPU("cpu.rate=50%", 50),
	{ "memory.max",
	  "memory.max=84410368",
	  "MiB at most",
	  80.5,
	  { "/bin/sh", "-c", "while :; do dd if=/dev/zero of=/dev/null bs=200M count=1; done",
	    NULL },
	  { "test=balloon touch=47", "vm.memory=64M", NULL },
	  peak_of },
	{ "io.wbps",
	  "io.wbps=2M",
	  "MiB/s",
	  2,
	  { "/bin/sh", "-c",
	    "while :; do dd if=/dev/zero of=/f bs=32k count=1024 conv=notrunc oflag=direct; done",
	    NULL },
	  { "test=blkfill", "vm.memory=64M", "--template", "bench" },
	  written_of },
};

static int machine(struct subject *s, const struct daemon *d, const struct row *w)
{
	char kernel[PATH_MAX];
	const char *create[SUBJECT_WORDS] = { "create",    "--type",    "vm", "--kernel", kernel,
					      "--cmdline", w->words[0], "vm", w->limit };
	const char *start[] = { "start", "vm", NULL };
	int r;

	if (!str_fmt(kernel, sizeof(kernel), "%s/../tests/vmm/guest", d->b->home))
		return -ENAMETOOLONG;
	for (size_t i = 1, n = 9; i < ARRAY_SIZE(w->words); i++)
		create[n++] = w->words[i];
	r = daemon_call(d, create, -1);
	if (r == 0)
		r = daemon_call(d, start, -1);
	if (r != 0)
		return r < 0 ? r : -EIO;
	return subject_find(s, d, "vm");
}

static int once(const struct daemon *d, const struct row *w, enum side side, struct samples *got)
{
	const char *limits[] = { w->limit, NULL };
	struct subject s = { 0 };
	int r = side == MACHINE ? machine(&s, d, w)
				: subject_guest(&s, d, "box", limits, w->command);

	if (r == 0) {
		bench_idle(WARM_MSEC);
		samples_add(got, (uint64_t)(w->measure(&s) * 1000 + 0.5));
	}
	subject_remove(&s);
	return r;
}

static int measure(const struct daemon *d, const struct row *w)
{
	struct samples got[SIDE__N] = { 0 };
	int r = 0;

	for (unsigned i = 0; i < opt.rounds * SIDE__N && r == 0 && !bench_stopped(); i++)
		r = once(d, w, i % SIDE__N, &got[i % SIDE__N]);
	for (enum side side = 0; side < SIDE__N; side++) {
		double p50 = (double)samples_at(&got[side], 50) / 1000;

		printf("%s\t%s\t%.2f\t%s\t%.2f\t%+.2f\t%.2f\t%.2f\t%u\n", w->limit, w->unit,
		       w->asked, side_name[side], p50, (p50 / w->asked - 1) * 100,
		       (double)samples_at(&got[side], 0) / 1000,
		       (double)samples_at(&got[side], 100) / 1000, got[side].n);
		samples_free(&got[side]);
	}
	fflush(stdout);
	return r;
}

static int run(const struct bench *b)
{
	struct daemon d;
	int r = daemon_open(&d, b, SUBJECT_ROOT);

	if (r < 0)
		return r;
	printf("what\tunit\tasked\tby\tgot\terror_%%\tmin\tmax\tn\n");
	for (size_t i = 0; i < ARRAY_SIZE(rows) && r == 0 && !bench_stopped(); i++) {
		if (bench_wants(opt.only, rows[i].name))
			r = measure(&d, &rows[i]);
	}
	printf("# memory.max: none below a machine's memory is accepted: it stays under it\n");
	printf("# net.ceil is left out: the mini guest waits for each echo and sends no stream\n");
	if (r < 0)
		bench_show_log(b);
	daemon_close(&d);
	return r;
}

int main(int argc, char **argv)
{
	const struct bench_option options[] = {
		{ .name = "rounds", .max = 30, .number = &opt.rounds },
		{ .name = "seconds", .max = 30, .number = &opt.seconds },
		{ .name = "only", .word = &opt.only },
	};
	struct bench b;
	int r = bench_parse(
		argc, argv, options, ARRAY_SIZE(options),
		"usage: limits-vm [--rounds N] [--seconds N] [--only NAME,NAME] (1 to 30 each)\n"
		"NAME: cpu.rate memory.max io.wbps\n");

	if (r < 0)
		return 2;
	r = subject_bench(&b);
	if (r == 0)
		r = run(&b);
	if (r < 0)
		fprintf(stderr, "limits-vm: %s\n", strerror(-r));
	bench_close(&b);
	return r < 0 || bench_stopped() ? 1 : 0;
}
