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

#include "bench/limits-vm.h"
#include "lib/base/own.h"
#include "lib/base/str.h"

#define MSEC 1000000U
#define MIB  1048576.0

static const char *const by_name[BY__N] = { "container", "machine" };

static struct limits opt = { .rounds = 5, .seconds = 4 };

/* What is limited, and what both do against it. MEASURE: what the group got of UNIT. */
struct row {
	const char *name, *limit, *unit;
	double asked;
	const char *const command[8]; /* of the container */
	const char *const words[8];   /* of the machine */
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

	bench_idle(LIMITS_WARM_MSEC);
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
			{ "test=spin", limit, "vm.memory=64M", NULL }, cpu_of                      \
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
	  { "test=balloon touch=47", "memory.max=84410368", "vm.memory=64M", NULL },
	  peak_of },
	{ "io.wbps",
	  "io.wbps=2M",
	  "MiB/s",
	  2,
	  { "/bin/sh", "-c",
	    "while :; do dd if=/dev/zero of=/f bs=32k count=1024 conv=notrunc oflag=direct; done",
	    NULL },
	  { "test=blkfill", "io.wbps=2M", "vm.memory=64M", "--template", "bench", NULL },
	  written_of },
};

int limits_machine(const struct daemon *d, const char *const *words)
{
	char kernel[PATH_MAX];
	const char *create[SUBJECT_WORDS + 1] = { "create", "--type",    "vm",   "--kernel",
						  kernel,   "--cmdline", *words, "vm" };
	const char *start[] = { "start", "vm", NULL };
	unsigned n = 8;
	int r;

	if (!str_fmt(kernel, sizeof(kernel), "%s/../tests/vmm/guest", d->b->home))
		return -ENAMETOOLONG;
	while (*++words && n < SUBJECT_WORDS)
		create[n++] = *words;
	r = daemon_call(d, create, -1);
	if (r == 0)
		r = daemon_call(d, start, -1);
	return r > 0 ? -EIO : r;
}

static int once(const struct daemon *d, const struct row *w, enum by by, struct limits_row *got)
{
	const char *limits[] = { w->limit, NULL };
	struct subject s = { 0 };
	int r;

	if (by == BY_CONTAINER) {
		r = subject_guest(&s, d, "box", limits, w->command);
	} else {
		r = limits_machine(d, w->words);
		r = r < 0 ? r : subject_find(&s, d, "vm");
	}
	if (r == 0) {
		bench_idle(LIMITS_WARM_MSEC);
		limits_add(got, by, w->measure(&s));
	}
	subject_remove(&s);
	return r;
}

void limits_add(struct limits_row *row, enum by by, double got)
{
	samples_add(&row->got[by], got > 0 ? (uint64_t)(got * 1000 + 0.5) : 0);
}

void limits_print(struct limits_row *row)
{
	for (enum by by = 0; by < BY__N; by++) {
		struct samples *s = &row->got[by];
		double p50 = (double)samples_at(s, 50) / 1000;

		printf("%s\t%s\t%.2f\t%s\t%.2f\t%+.2f\t%.2f\t%.2f\t%u\n", row->what, row->unit,
		       row->asked, by_name[by], p50, (p50 / row->asked - 1) * 100,
		       (double)samples_at(s, 0) / 1000, (double)samples_at(s, 100) / 1000, s->n);
		samples_free(s);
	}
	fflush(stdout);
}

static int measure(const struct daemon *d, const struct row *w)
{
	struct limits_row got = { .what = w->limit, .unit = w->unit, .asked = w->asked };
	int r = 0;

	for (unsigned i = 0; i < opt.rounds * BY__N && r == 0 && !bench_stopped(); i++)
		r = once(d, w, i % BY__N, &got);
	limits_print(&got);
	return r;
}

/* Those that need no network. */
static int groups(const struct bench *b)
{
	struct daemon d;
	int r = daemon_open(&d, b, SUBJECT_ROOT);

	if (r < 0)
		return r;
	for (size_t i = 0; i < ARRAY_SIZE(rows) && r == 0 && !bench_stopped(); i++) {
		if (bench_wants(opt.only, rows[i].name))
			r = measure(&d, &rows[i]);
	}
	printf("# memory.max: none below a machine's memory is accepted: it stays under it\n");
	if (r < 0)
		bench_show_log(b);
	daemon_close(&d);
	return r;
}

static int run(const struct bench *b)
{
	int r = 0;

	printf("what\tunit\tasked\tby\tgot\terror_%%\tmin\tmax\tn\n");
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		if (bench_wants(opt.only, rows[i].name)) {
			r = groups(b);
			break;
		}
	}
	if (r == 0 && !bench_stopped() && bench_wants(opt.only, "net.ceil"))
		r = limits_network(b, &opt);
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
		"NAME: cpu.rate memory.max io.wbps net.ceil\n");

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
