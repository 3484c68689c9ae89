/* bench/accuracy-cpu.c - cpu.rate, cpu.burst and cpu.share beside bare groups */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/accuracy.h"
#include "bench/subject.h"
#include "lib/base/io.h"
#include "lib/base/own.h"

#define MSEC          1000000U
#define SETTLE_MSEC   500U /* a client's way into a guest */
#define SHARE_SECONDS 10U
#define BURST_TIMES   5U /* samples in a round */
#define BURST_USEC    250000.0
#define BURST_PERIOD  1000000.0
#define BURST_FULL    (2 * BURST_USEC)
#define BURST_IDLE    2500U    /* msec: two periods fill the bucket */
#define BURST_STALL   100000.0 /* usec: what bench/work takes for one */
#define BURST_SLACK   5000.0
/* A group may run on until the next tick, 4 ms, and pays that back later: a window in which it is
 * to get less CPU time than this shows the debt of its ends. */
#define RATE_CPU_NSEC    500000000.0
#define TOGETHER_PERCENT 25 /* at most: a guest and the bare group then do not meet */
#define NUMBER_SIZE      24
#define SURE_PERCENT     10 /* a busy host has as much left for one group of many */
#define IDLE_PERCENT     20 /* of one CPU */
#define TRIES            3U

static void print_number(char buf[static NUMBER_SIZE], uint64_t v)
{
	snprintf(buf, NUMBER_SIZE, "%llu", (unsigned long long)v);
}

static unsigned cpus(void)
{
	return (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
}

/* As many processes as there are CPUs. */
static pid_t start_spin(const struct subject *s, uint64_t end)
{
	char procs[NUMBER_SIZE], until[NUMBER_SIZE];
	const char *args[] = { "spin", procs, "0", until, NULL };

	print_number(procs, cpus());
	print_number(until, end);
	return subject_start(s, args, -1);
}

/* ---- cpu.rate ---- */

static uint64_t period_nsec(const struct subject *s)
{
	char text[64], *at;

	if (subject_read(s, "cpu", "cpu.max", text, sizeof(text)) > 0) {
		at = strchr(text, ' ');
		return at ? strtoull(at, NULL, 10) * 1000 : 0;
	}
	return subject_number(s, "cpu", "cpu.cfs_period_us", NULL) * 1000;
}

struct rate_run {
	const struct subject *s;
	pid_t pid;
	uint64_t window;
	struct load load;
};

static int rate_begin(struct rate_run *w)
{
	uint64_t period = period_nsec(w->s);

	if (period == 0)
		return -ENOENT;
	w->window = (w->window + period - 1) / period * period;
	w->pid =
		start_spin(w->s, bench_nsec() + w->window + 4 * period + 6ULL * SETTLE_MSEC * MSEC);
	return w->pid < 0 ? w->pid : 0;
}

static void rate_from(struct rate_run *w)
{
	subject_await_stall(w->s);
	load_begin(&w->load, subject_cpu_nsec(w->s));
}

/* A host without idle time may have had too little for the group: no sample then. */
static bool rate_to(struct rate_run *w, struct row *row)
{
	double used, others;
	uint64_t own;

	bench_sleep_until(w->load.t + w->window);
	own = subject_cpu_nsec(w->s);
	used = (double)(own - w->load.own) * 100 / (double)(bench_nsec() - w->load.t);
	others = load_others(&w->load, own);
	if (row->asked > SURE_PERCENT && used + others > 100.0 * cpus() - IDLE_PERCENT)
		return false;
	row_add(row, w->s->bare ? SIDE_BARE : SIDE_COS, used, others);
	return true;
}

/* N subjects at once; 1 when all of them gave a sample, 0 when not. */
static int rate_once(const struct run *run, const struct subject *s, unsigned n, struct row *row)
{
	uint64_t window = run->seconds * 1000ULL * MSEC, least;
	struct rate_run w[SIDE__N];
	int r = 0, all = 1;

	least = (uint64_t)(RATE_CPU_NSEC * 100 / row->asked);
	for (unsigned i = 0; i < n && r == 0; i++) {
		w[i] = (struct rate_run){ .s = &s[i], .window = window > least ? window : least };
		r = rate_begin(&w[i]);
	}
	if (r < 0)
		return r;
	bench_idle(SETTLE_MSEC);
	for (unsigned i = 0; i < n; i++)
		rate_from(&w[i]);
	for (unsigned i = 0; i < n; i++)
		all &= rate_to(&w[i], row);
	for (unsigned i = 0; i < n; i++) {
		if (bench_wait(w[i].pid) != 0)
			r = -EIO;
	}
	return r < 0 ? r : all;
}

/* Repeats what the host was too busy for, within bounds. */
static int rate_rounds(const struct run *run, const struct subject *s, bool together,
		       struct row *row)
{
	unsigned good[SIDE__N] = { 0 }, busy = 0;
	int r = 0;

	for (unsigned i = 0; i < run->rounds * TRIES && r >= 0 && !bench_stopped(); i++) {
		for (unsigned k = 0; k < (together ? 1 : SIDE__N) && r >= 0; k++) {
			if (good[k] == run->rounds)
				continue;
			r = rate_once(run, &s[k], together ? SIDE__N : 1, row);
			good[k] += r == 1;
			busy += r == 0;
		}
	}
	if (busy > 0)
		printf("# %s: %u windows left out: the host had no idle time\n", row->what, busy);
	return r < 0 ? r : 0;
}

static int rate(const struct run *run, const char *limit, double percent)
{
	const char *limits[] = { limit, NULL };
	struct row row = { .what = limit, .unit = "% of a CPU", .asked = percent };
	struct subject s[SIDE__N] = { 0 };
	int r = subject_guest(&s[SIDE_COS], run->d, "rate", limits, NULL);

	if (r == 0)
		r = subject_bare(&s[SIDE_BARE], "rate", &s[SIDE_COS]);
	if (r == 0)
		r = rate_rounds(run, s, percent <= TOGETHER_PERCENT, &row);
	subject_remove(&s[SIDE_COS]);
	subject_remove(&s[SIDE_BARE]);
	row_print(&row);
	return r;
}

static int rates(const struct run *run)
{
	static const struct {
		const char *limit;
		double percent;
	} asked[] = { { "cpu.rate=1%", 1 },   { "cpu.rate=2%", 2 },   { "cpu.rate=10%", 10 },
		      { "cpu.rate=25%", 25 }, { "cpu.rate=50%", 50 }, { "cpu.rate=150%", 150 } };
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(asked) && r == 0 && !bench_stopped(); i++)
		r = rate(run, asked[i].limit, asked[i].percent);
	return r;
}

/* ---- cpu.burst ---- */

/* What a full bucket gives before the first stall: the kernel adds a quota at the end of each
 * period, which lies AT microseconds behind the start, and never holds more than a full one. */
static double burst_expected(double at)
{
	double left = BURST_FULL - at;

	if (left < 0)
		return BURST_FULL;
	left += BURST_USEC;
	return at + (left < BURST_FULL ? left : BURST_FULL);
}

/* No sample is what others' turns on the CPU have reached into, or a stall that could be one. */
static int burst_once(const struct subject *s, unsigned phase, struct row *row,
		      struct samples *stalls)
{
	char idle[NUMBER_SIZE], text[128];
	const char *args[] = { "stall", idle, NULL };
	auto_close int fd = openat(s->d->b->dirfd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	double used, begin, end, at;
	struct load load;
	ssize_t n;
	pid_t pid;

	load_begin(&load, 0);
	snprintf(idle, sizeof(idle), "%u", BURST_IDLE + phase);
	pid = subject_start(s, args, fd);
	if (pid < 0)
		return pid;
	if (bench_wait(pid) != 0)
		return -EIO;
	n = pread(fd, text, sizeof(text) - 1, 0);
	text[n > 0 ? n : 0] = '\0';
	if (sscanf(text, "%lf %lf %lf", &used, &begin, &end) != 3)
		return -EBADMSG;
	at = end - BURST_PERIOD * (double)(long)(end / BURST_PERIOD);
	if (begin - used > BURST_SLACK || (at > BURST_FULL && at < BURST_FULL + 2 * BURST_STALL))
		return 0;
	row_add(row, s->bare ? SIDE_BARE : SIDE_COS, used * 100 / burst_expected(at),
		load_others(&load, (uint64_t)(used * 1000)));
	if (!s->bare)
		samples_add(stalls, (uint64_t)used);
	return 0;
}

static int burst(const struct run *run)
{
	static const char *const limits[] = { "cpu.rate=250m", "cpu.burst=250ms", NULL };
	struct row row = { .what = "cpu.burst=250ms,cpu.rate=250m",
			   .unit = "% of what the bucket holds",
			   .asked = 100 };
	struct samples stalls = { 0 };
	struct subject s[SIDE__N] = { 0 };
	int r = subject_guest(&s[SIDE_COS], run->d, "burst", limits, NULL);

	if (r == 0)
		r = subject_bare(&s[SIDE_BARE], "burst", &s[SIDE_COS]);
	for (unsigned i = 0; i < run->rounds * BURST_TIMES && r == 0 && !bench_stopped(); i++) {
		unsigned phase = i * 137 % 1000; /* starts all over the period */

		r = burst_once(&s[SIDE_COS], phase, &row, &stalls);
		if (r == 0)
			r = burst_once(&s[SIDE_BARE], phase, &row, &stalls);
	}
	subject_remove(&s[SIDE_COS]);
	subject_remove(&s[SIDE_BARE]);
	if (stalls.n > 0)
		printf("# cpu.burst: first stall of an idle guest after %.3f to %.3f s of CPU time, "
		       "median %.3f\n",
		       (double)samples_at(&stalls, 0) / 1e6, (double)samples_at(&stalls, 100) / 1e6,
		       (double)samples_at(&stalls, 50) / 1e6);
	samples_free(&stalls);
	row_print(&row);
	return r;
}

/* ---- cpu.share ---- */

static uint64_t sum_cpu(const struct subject *s, uint64_t *each)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < ACCURACY_GROUPS; i++) {
		each[i] = subject_cpu_nsec(&s[i]);
		sum += each[i];
	}
	return sum;
}

static int share_once(const struct subject *s, struct row *rows)
{
	uint64_t end = bench_nsec() + (SHARE_SECONDS * 1000ULL + 4ULL * SETTLE_MSEC) * MSEC;
	uint64_t from[ACCURACY_GROUPS], to[ACCURACY_GROUPS], all;
	pid_t pid[ACCURACY_GROUPS];
	struct load load;
	int r = 0;

	for (unsigned i = 0; i < ACCURACY_GROUPS; i++)
		pid[i] = start_spin(&s[i], end);
	bench_idle(2 * SETTLE_MSEC);
	load_begin(&load, sum_cpu(s, from));
	bench_sleep_until(load.t + SHARE_SECONDS * 1000ULL * MSEC);
	all = sum_cpu(s, to);
	for (unsigned i = 0; i < ACCURACY_GROUPS; i++) {
		row_add(&rows[i], s[i].bare ? SIDE_BARE : SIDE_COS,
			(double)(to[i] - from[i]) * 100 / (double)(all - load.own),
			load_others(&load, all));
	}
	for (unsigned i = 0; i < ACCURACY_GROUPS; i++) {
		if (pid[i] < 0 || bench_wait(pid[i]) != 0)
			r = -EIO;
	}
	return r;
}

static int shares(const struct run *run)
{
	static const char *const limit[] = { "cpu.share=100", "cpu.share=200", "cpu.share=400" };
	static const char *const name[] = { "share1", "share2", "share4" };
	struct subject s[SIDE__N][ACCURACY_GROUPS] = { 0 };
	struct row rows[ACCURACY_GROUPS];
	int r = 0;

	for (unsigned i = 0; i < ACCURACY_GROUPS; i++)
		rows[i] = (struct row){ .what = limit[i],
					.unit = "% of three",
					.asked = 100.0 * (1U << i) / 7 };
	for (unsigned i = 0; i < ACCURACY_GROUPS && r == 0; i++) {
		const char *limits[] = { limit[i], NULL };

		r = subject_guest(&s[SIDE_COS][i], run->d, name[i], limits, NULL);
		if (r == 0)
			r = subject_bare(&s[SIDE_BARE][i], name[i], &s[SIDE_COS][i]);
	}
	for (unsigned i = 0; i < run->rounds && r == 0 && !bench_stopped(); i++) {
		r = share_once(s[SIDE_COS], rows);
		if (r == 0)
			r = share_once(s[SIDE_BARE], rows);
	}
	for (unsigned i = 0; i < ACCURACY_GROUPS; i++) {
		subject_remove(&s[SIDE_COS][i]);
		subject_remove(&s[SIDE_BARE][i]);
		row_print(&rows[i]);
	}
	return r;
}

int accuracy_cpu(const struct run *run)
{
	int r = 0;

	if (run_wants(run, "cpu.rate"))
		r = rates(run);
	if (r == 0 && run_wants(run, "cpu.burst"))
		r = burst(run);
	if (r == 0 && run_wants(run, "cpu.share"))
		r = shares(run);
	if (r < 0)
		bench_show_log(run->b);
	return r;
}
