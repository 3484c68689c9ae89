/* bench/bucket.c - CPU buckets of any size: the rate in the long run, the first second, what a
 *fleet of them costs
 *
 *	bench/bucket [--rounds N] [--seconds N] [--guests N] [--only NAME,NAME]
 *
 * Beside every guest a bare control group has the same numbers; where the kernel's own bucket is
 * too small, which then the daemon keeps, it has the largest that the kernel can. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/bucket.h"
#include "lib/base/io.h"
#include "lib/base/own.h"
#include "lib/base/str.h"

#define RATES        4U
#define ALONE        3U /* that rate needs the host for itself, those before it share it */
#define BURSTS       3U
#define ASKED        (RATES * BURSTS)
#define LONG_BURST   2U /* of BURSTS: too long to run it dry each time */
#define NUMBER_SIZE  24
#define WORDS_SIZE   48
#define PERIOD_USEC  1000000U /* the longest of the kernel, and of it the largest bucket */
#define NO_BURST_DRY 1500U    /* msec until buckets are empty */
#define BURST_DRY    6000U
#define DRY_USEC     20000 /* of CPU time: no more may be left then */
#define MOST         0.95  /* of all CPUs in a second nobody gets the rest */
#define END_MSEC     4000U /* beyond a window, which begins at a stall; a busy host is late */
#define TRIES        2U
#define ENOUGH       0.98  /* of what was asked for: the host had it, however busy */
#define IDLE_PERCENT 20    /* of one CPU */
#define FILL_MSEC    3500U /* idle before the first second */
#define TURN_MSEC    1400U /* one second, and its end */
#define DRAIN_AFTER  8000U /* msec: the rate alone */
#define DRAIN_LOOK   50U

static const struct asked asked[ASKED] = {
	{ 10, 0, "cpu.rate=10%,cpu.burst=0" },      { 25, 0, "cpu.rate=25%,cpu.burst=0" },
	{ 50, 0, "cpu.rate=50%,cpu.burst=0" },      { 150, 0, "cpu.rate=150%,cpu.burst=0" },
	{ 10, 1000, "cpu.rate=10%,cpu.burst=1" },   { 25, 1000, "cpu.rate=25%,cpu.burst=1" },
	{ 50, 1000, "cpu.rate=50%,cpu.burst=1" },   { 150, 1000, "cpu.rate=150%,cpu.burst=1" },
	{ 10, 30000, "cpu.rate=10%,cpu.burst=30" }, { 25, 30000, "cpu.rate=25%,cpu.burst=30" },
	{ 50, 30000, "cpu.rate=50%,cpu.burst=30" }, { 150, 30000, "cpu.rate=150%,cpu.burst=30" },
};

/* ---- guests and groups ---- */

static int tell(int r, const char *what, const char *name)
{
	fprintf(stderr, "bench: bucket: %s: %s: %s\n", what, name, r < 0 ? strerror(-r) : "failed");
	return r < 0 ? r : -EIO;
}

unsigned bucket_cpus(void)
{
	return (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
}

bool bucket_crowded(double used, double others)
{
	return used + others > 100.0 * bucket_cpus() - IDLE_PERCENT;
}

double bucket_kernel_msec(const struct asked *a)
{
	return a->percent * 10;
}

int bucket_guest(struct subject *s, const struct daemon *d, const char *name, const struct asked *a)
{
	char words[WORDS_SIZE];
	const char *limits[] = { words, NULL, NULL };

	snprintf(words, sizeof(words), "%s", a->words);
	*strchr(words, ',') = '\0';
	limits[1] = words + strlen(words) + 1;
	return subject_guest(s, d, name, limits, NULL);
}

/* Each file takes only what fits the others. */
static int set_largest(const struct subject *s, const struct asked *a)
{
	unsigned quota = (unsigned)(PERIOD_USEC * a->percent / 100);
	char text[2][64];
	int r;

	snprintf(text[0], sizeof(text[0]), "%u", quota);
	if (bench_cg_find(s->d->b, "cpu")) {
		snprintf(text[1], sizeof(text[1]), "%u", PERIOD_USEC);
		r = subject_write(s, "cpu", "cpu.cfs_quota_us", "-1");
		if (r == 0)
			r = subject_write(s, "cpu", "cpu.cfs_period_us", text[1]);
		if (r == 0)
			r = subject_write(s, "cpu", "cpu.cfs_quota_us", text[0]);
		return r < 0 ? r : subject_write(s, "cpu", "cpu.cfs_burst_us", text[0]);
	}
	snprintf(text[1], sizeof(text[1]), "%u %u", quota, PERIOD_USEC);
	r = subject_write(s, NULL, "cpu.max", text[1]);
	return r < 0 ? r : subject_write(s, NULL, "cpu.max.burst", text[0]);
}

int bucket_bare(struct subject *s, const char *name, const struct subject *like,
		const struct asked *a)
{
	int r = subject_bare(s, name, like);

	if (r == 0 && a->burst_msec > bucket_kernel_msec(a)) {
		r = set_largest(s, a);
		r = r < 0 ? tell(r, "bare group", name) : 0;
	}
	return r;
}

static int make_pair(struct subject s[static SIDE__N], const struct daemon *d, unsigned i)
{
	char name[16];
	int r;

	snprintf(name, sizeof(name), "bucket%02u", i);
	r = bucket_guest(&s[SIDE_COS], d, name, &asked[i]);
	return r < 0 ? r : bucket_bare(&s[SIDE_BARE], name, &s[SIDE_COS], &asked[i]);
}

static void remove_pairs(struct subject s[][SIDE__N], unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		subject_remove(&s[i][SIDE_COS]);
		subject_remove(&s[i][SIDE_BARE]);
	}
}

pid_t bucket_spin(const struct subject *s, unsigned procs, uint64_t from, uint64_t end)
{
	char text[3][NUMBER_SIZE];
	const char *args[] = { "spin", text[0], text[1], text[2], NULL };

	snprintf(text[0], sizeof(text[0]), "%u", procs);
	snprintf(text[1], sizeof(text[1]), "%llu", (unsigned long long)from);
	snprintf(text[2], sizeof(text[2]), "%llu", (unsigned long long)end);
	return subject_start(s, args, -1);
}

int bucket_reap(const pid_t *pid, unsigned n)
{
	int r = 0;

	for (unsigned i = 0; i < n; i++) {
		if (pid[i] <= 0 || bench_wait(pid[i]) != 0)
			r = -EIO;
	}
	return r < 0 && !bench_stopped() ? tell(0, "work", "spin") : r;
}

/* ---- the rate in the long run ---- */

int bucket_resize(const struct subject *s, unsigned msec)
{
	char word[40];
	const char *args[] = { "set", s->name, word, NULL };
	int r;

	snprintf(word, sizeof(word), "cpu.burst=%ums", msec);
	r = daemon_call(s->d, args, -1);
	return r == 0 ? 0 : tell(r, word, s->name);
}

/* CPU time that the daemon says is left, in microseconds. */
static long credit_of(const struct subject *s)
{
	const char *args[] = { "stats", "-o", "json", s->name, NULL };
	static const char key[] = "\"cpu_credit_usec\":";
	char text[8192];
	const char *at = daemon_ask(s->d, args, text, sizeof(text)) == 0 ? strstr(text, key) : NULL;

	return at ? strtol(at + strlen(key), NULL, 10) : 0;
}

struct window {
	const struct subject *s;
	struct row *row;
	struct load load;
	double used;
	uint64_t end;
};

/* What is not of the batch is the others'. */
static bool take(struct window *w, unsigned n)
{
	struct load all = { w[0].load.t, w[0].load.busy, 0 };
	double others, sum = 0;
	bool all_got = true;
	uint64_t own = 0;

	for (unsigned i = 0; i < n; i++) {
		uint64_t used;

		bench_sleep_until(w[i].end);
		used = subject_cpu_nsec(w[i].s) - w[i].load.own;
		w[i].used = (double)used * 100 / (double)(bench_nsec() - w[i].load.t);
		own += used;
		sum += w[i].used;
		all_got &= w[i].used >= w[i].row->asked * ENOUGH;
	}
	others = load_others(&all, own);
	if (!all_got && bucket_crowded(sum, others)) {
		for (unsigned i = 0; i < n; i++)
			printf("# left out, no idle time: %s, %s: %.2f\n", w[i].row->what,
			       w[i].s->bare ? "bare" : "cos", w[i].used);
		return false;
	}
	for (unsigned i = 0; i < n; i++)
		row_add(w[i].row, w[i].s->bare ? SIDE_BARE : SIDE_COS, w[i].used, others);
	return true;
}

/* Rates FIRST to LAST of a burst, all at once; 1, or 0 when the host was too busy. */
static int batch(const struct run *run, struct subject s[][SIDE__N], struct row *rows,
		 enum side side, unsigned first, unsigned last, unsigned burst)
{
	uint64_t dry = (burst ? BURST_DRY : NO_BURST_DRY) * (uint64_t)BUCKET_MSEC,
		 window = run->seconds * 1000ULL * BUCKET_MSEC, from = bench_nsec();
	bool cut = burst == LONG_BURST && side == SIDE_COS, good;
	uint64_t end = from + dry + window + END_MSEC * (uint64_t)BUCKET_MSEC;
	struct window w[RATES];
	pid_t pid[RATES];
	unsigned n = 0;
	int r = 0;

	for (unsigned i = first; i <= last && r == 0; i++) {
		if (cut) /* the least that is still the daemon's */
			r = bucket_resize(&s[i][side], (unsigned)bucket_kernel_msec(&asked[i]) + 1);
		w[n] = (struct window){ .s = &s[i][side], .row = &rows[i] };
		pid[n++] = bucket_spin(&s[i][side], bucket_cpus(), 0, end);
	}
	bench_sleep_until(from + dry);
	for (unsigned i = 0; i < n && r == 0; i++) {
		if (cut)
			r = bucket_resize(w[i].s, asked[(size_t)burst * RATES].burst_msec);
		if (side == SIDE_COS && credit_of(w[i].s) > DRY_USEC)
			printf("# %s: the bucket is not empty yet\n", w[i].row->what);
		subject_await_stall(w[i].s);
		load_begin(&w[i].load, subject_cpu_nsec(w[i].s));
		w[i].end = w[i].load.t + window;
	}
	if (r == 0 && w[n - 1].end > end) {
		printf("# %s: left out: the host is too busy\n", w[0].row->what);
		good = false;
	} else {
		good = r == 0 && take(w, n);
	}
	if (bucket_reap(pid, n) < 0)
		r = -EIO;
	return r < 0 ? r : good;
}

static int batch_again(const struct run *run, struct subject s[][SIDE__N], struct row *rows,
		       enum side side, unsigned burst, bool alone)
{
	unsigned first = alone ? ALONE : 0, last = alone ? ALONE : ALONE - 1;
	int r = 0;

	if (asked[last].percent > 100.0 * bucket_cpus() - IDLE_PERCENT)
		return 0;
	for (unsigned i = 0; i < TRIES && r == 0 && !bench_stopped(); i++)
		r = batch(run, s, rows, side, first, last, burst);
	return r < 0 ? r : 0;
}

static int rates_of(const struct run *run, unsigned burst)
{
	struct subject s[RATES][SIDE__N] = { 0 };
	struct row rows[RATES];
	int r = 0;

	for (unsigned i = 0; i < RATES && r == 0; i++) {
		rows[i] = (struct row){ .what = asked[burst * RATES + i].words,
					.unit = "% of a CPU",
					.asked = asked[i].percent };
		r = make_pair(s[i], run->d, burst * RATES + i);
	}
	for (unsigned i = 0; i < run->rounds * SIDE__N * 2 && r == 0 && !bench_stopped(); i++)
		r = batch_again(run, s, rows, i % SIDE__N, burst, i / SIDE__N % 2);
	remove_pairs(s, RATES);
	for (unsigned i = 0; i < RATES && r == 0; i++)
		row_print(&rows[i]);
	return r;
}

static int rates(const struct run *run)
{
	int r = 0;

	for (unsigned burst = 0; burst < BURSTS && r == 0 && !bench_stopped(); burst++)
		r = rates_of(run, burst);
	return r;
}

/* ---- the first second after idling ---- */

struct first {
	struct row got, over;
	unsigned left_out;
	char name[2][WORDS_SIZE + 16];
};

static double allowed_msec(const struct asked *a, double msec)
{
	return a->burst_msec + a->percent / 100 * msec;
}

static void name_first(struct first *f, const struct asked *a)
{
	double most = 1000.0 * bucket_cpus(), all = allowed_msec(a, 1000);

	snprintf(f->name[0], sizeof(f->name[0]), "first %s", a->words);
	snprintf(f->name[1], sizeof(f->name[1]), "first_over %s", a->words);
	f->got = (struct row){ .what = f->name[0],
			       .unit = "ms of CPU time",
			       .asked = all < most ? all : most };
	f->over = (struct row){ .what = f->name[1], .unit = "ms of CPU time" };
}

/* Its processes wait until FROM. The clock is read before the one look and after the other, so
 * that lateness is not taken for CPU time. */
static void first_second(const struct subject *s, const struct asked *a, uint64_t from,
			 struct first *f)
{
	enum side side = s->bare ? SIDE_BARE : SIDE_COS;
	double used, others, msec;
	struct load load;
	uint64_t own;

	bench_sleep_until(from - BUCKET_MSEC);
	load_begin(&load, subject_cpu_nsec(s));
	bench_sleep_until(from + 1000ULL * BUCKET_MSEC);
	own = subject_cpu_nsec(s);
	msec = (double)(bench_nsec() - from) / BUCKET_MSEC;
	used = (double)(own - load.own) / BUCKET_MSEC;
	others = load_others(&load, own);
	if (used < f->got.asked * MOST && bucket_crowded(used / 10, others)) {
		f->left_out++;
		return;
	}
	row_add(&f->got, side, used, others);
	row_add(&f->over, side, used - allowed_msec(a, msec), others);
}

static int first_round(const struct run *run, struct first *f)
{
	struct subject s[ASKED][SIDE__N] = { 0 };
	uint64_t turn = TURN_MSEC * (uint64_t)BUCKET_MSEC, begin;
	pid_t pid[ASKED * SIDE__N];
	unsigned n = 0;
	int r = 0;

	for (unsigned i = 0; i < ASKED && r == 0; i++)
		r = make_pair(s[i], run->d, i);
	begin = bench_nsec() + FILL_MSEC * (uint64_t)BUCKET_MSEC;
	for (; n < ASKED * SIDE__N && r == 0; n++) {
		uint64_t from = begin + n * turn;

		pid[n] = bucket_spin(&s[n / SIDE__N][n % SIDE__N], bucket_cpus(), from,
				     from + 1100ULL * BUCKET_MSEC);
	}
	for (unsigned i = 0; i < n && r == 0 && !bench_stopped(); i++)
		first_second(&s[i / SIDE__N][i % SIDE__N], &asked[i / SIDE__N], begin + i * turn,
			     &f[i / SIDE__N]);
	r = bucket_reap(pid, n) < 0 ? -EIO : r;
	remove_pairs(s, ASKED);
	return r;
}

static int firsts(const struct run *run)
{
	static struct first f[ASKED];
	int r = 0;

	for (unsigned i = 0; i < ASKED; i++)
		name_first(&f[i], &asked[i]);
	for (unsigned i = 0; i < run->rounds && r == 0 && !bench_stopped(); i++)
		r = first_round(run, f);
	for (unsigned i = 0; i < ASKED && r == 0; i++) {
		row_print(&f[i].got);
		row_print(&f[i].over);
		if (f[i].left_out > 0)
			printf("# %s: %u left out: the host had no idle time\n", f[i].name[0],
			       f[i].left_out);
	}
	return r;
}

/* ---- a full bucket run dry ---- */

/* All that it used from its first moment on is bucket and rate; never was it more. */
static int drain(const struct run *run)
{
	const struct asked *a = &asked[LONG_BURST * RATES + 2];
	double speed = bucket_cpus() - a->percent / 100, over = 0, msec = 0, used = 0, others;
	struct row row = { .what = "drain cpu.rate=50%,cpu.burst=30", .unit = "ms of CPU time" };
	struct row above = { .what = "drain_over cpu.rate=50%,cpu.burst=30",
			     .unit = "ms of CPU time" };
	uint64_t from = bench_nsec() + FILL_MSEC * (uint64_t)BUCKET_MSEC, end, own = 0;
	struct subject s = { 0 };
	struct load load;
	pid_t pid;
	int r;

	end = from + (uint64_t)((a->burst_msec / speed + DRAIN_AFTER) * BUCKET_MSEC);
	r = bucket_guest(&s, run->d, "drain", a);
	pid = r < 0 ? r : bucket_spin(&s, bucket_cpus(), from, end);
	bench_sleep_until(from - BUCKET_MSEC);
	load_begin(&load, subject_cpu_nsec(&s));
	for (unsigned i = 1; r == 0 && bench_nsec() + 2ULL * DRAIN_LOOK * BUCKET_MSEC < end; i++) {
		bench_sleep_until(from + i * (uint64_t)DRAIN_LOOK * BUCKET_MSEC);
		if (bench_stopped())
			r = -EINTR;
		own = subject_cpu_nsec(&s);
		msec = (double)(bench_nsec() - from) / BUCKET_MSEC;
		used = (double)(own - load.own) / BUCKET_MSEC;
		over = used - allowed_msec(a, msec) > over ? used - allowed_msec(a, msec) : over;
	}
	if (r == 0) {
		row.asked = allowed_msec(a, msec);
		others = load_others(&load, own);
		row_add(&row, SIDE_COS, used, others);
		row_add(&above, SIDE_COS, over, others);
		if (used < row.asked && bucket_crowded(used / msec * 100, others))
			printf("# %s: the host had no idle time\n", row.what);
		r = bucket_reap(&pid, 1);
	}
	subject_remove(&s);
	row_print(&row);
	row_print(&above);
	return r;
}

/* ---- */

static int parse(int argc, char **argv, struct bucket_run *b)
{
	const struct bench_option options[] = {
		{ .name = "rounds", .max = 30, .number = &b->run.rounds },
		{ .name = "seconds", .max = 300, .number = &b->run.seconds },
		{ .name = "guests", .max = 1000, .number = &b->guests },
		{ .name = "only", .word = &b->run.only },
	};
	static const char usage[] =
		"usage: bucket [--rounds N] [--seconds N] [--guests N] [--only NAME,NAME]\n"
		"NAME: rate first drain fleet\n";

	return bench_parse(argc, argv, options, ARRAY_SIZE(options), usage);
}

static int measure(struct bucket_run *b, const struct bench *bench)
{
	struct run *run = &b->run;
	struct daemon d;
	int r = daemon_open(&d, bench, SUBJECT_ROOT);

	if (r < 0)
		return r;
	run->b = bench;
	run->d = &d;
	fputs(row_head, stdout);
	if (run_wants(run, "rate"))
		r = rates(run);
	if (r == 0 && run_wants(run, "first") && !bench_stopped())
		r = firsts(run);
	if (r == 0 && run_wants(run, "drain") && !bench_stopped())
		r = drain(run);
	if (r == 0 && run_wants(run, "fleet") && !bench_stopped())
		r = bucket_fleet(b);
	if (r < 0)
		bench_show_log(bench);
	daemon_close(&d);
	run->d = NULL;
	return r;
}

int main(int argc, char **argv)
{
	struct bucket_run run = { .run = { .rounds = 1, .seconds = 30 }, .guests = 300 };
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
