/* bench/accuracy-io.c - caps and weights of disk work beside bare groups, see bench/disk.h */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "bench/accuracy.h"
#include "bench/disk.h"
#include "bench/subject.h"
#include "lib/base/own.h"

#define MSEC         1000000U
#define WARM_MSEC    1500U /* a client's way into a guest, and the throttle's first slices */
#define NUMBER_SIZE  24
#define DEVICE_DEPTH "4"
#define WEIGHT_DEPTH "32" /* a competitor whose queue runs empty gives way */

/* ---- work ---- */

struct load_io {
	const char *verb, *block, *depth;
};

struct worker {
	pid_t pid;
	int out;
};

static int worker_start(const struct subject *s, const char *dir, const struct load_io *io,
			unsigned index, const uint64_t *window, struct worker *w)
{
	char file[96], from[NUMBER_SIZE], to[NUMBER_SIZE];
	const char *args[] = { io->verb, file, io->block, io->depth, from, to, NULL };

	snprintf(file, sizeof(file), "%s/%u", dir, index);
	snprintf(from, sizeof(from), "%llu", (unsigned long long)window[0]);
	snprintf(to, sizeof(to), "%llu", (unsigned long long)window[1]);
	w->out = openat(s->d->b->dirfd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	w->pid = w->out < 0 ? -errno : subject_start(s, args, w->out);
	return w->pid < 0 ? w->pid : 0;
}

static int worker_end(struct worker *w, double *ret_done)
{
	char text[64];
	int r = w->pid < 0 ? w->pid : bench_wait(w->pid);
	ssize_t n = w->out < 0 ? 0 : pread(w->out, text, sizeof(text) - 1, 0);

	close_p(&w->out);
	text[n > 0 ? n : 0] = '\0';
	if (r != 0)
		return r < 0 ? r : -EIO;
	return sscanf(text, "%lf", ret_done) == 1 ? 0 : -EBADMSG;
}

/* N subjects do the same in the same window; DONE: operations of each in a second. */
static int work(const struct run *run, const struct disk *d, const struct subject *s, unsigned n,
		const struct load_io *io, double *done)
{
	uint64_t from = bench_nsec() + (uint64_t)WARM_MSEC * MSEC;
	const uint64_t window[] = { from, from + run->seconds * 1000ULL * MSEC };
	struct worker w[ACCURACY_GROUPS];
	int r = 0;

	for (unsigned i = 0; i < n; i++)
		worker_start(&s[i], s[i].bare ? d->place : DISK_INSIDE, io, i, window, &w[i]);
	for (unsigned i = 0; i < n; i++) {
		int end = worker_end(&w[i], &done[i]);

		done[i] = end < 0 ? 0 : done[i] / run->seconds;
		r = r < 0 ? r : end;
	}
	return r;
}

/* ---- caps ---- */

static const struct cap {
	const char *what, *limit, *unit;
	double asked;
	double each; /* of the unit in one operation */
	struct load_io io;
} caps[] = {
	{ "io.rbps", "io.rbps=8M", "MiB/s", 8, 1.0 / 16, { "read", "65536", "16" } },
	{ "io.wbps", "io.wbps=4M", "MiB/s", 4, 1.0 / 16, { "write", "65536", "16" } },
	{ "io.riops", "io.riops=200", "1/s", 200, 1, { "read", "4096", "16" } },
	{ "io.wiops", "io.wiops=100", "1/s", 100, 1, { "write", "4096", "16" } },
};

static int cap_measure(const struct run *run, const struct disk *d, const struct cap *cap)
{
	char binds[160];
	const char *limits[] = { cap->limit, binds, NULL };
	struct row row = { .what = cap->limit, .unit = cap->unit, .asked = cap->asked };
	struct subject s[SIDE__N] = { 0 };
	int r;

	disk_bind_word(d, binds, sizeof(binds));
	r = subject_guest(&s[SIDE_COS], run->d, "cap", limits, NULL);
	if (r == 0)
		r = subject_bare(&s[SIDE_BARE], "cap", &s[SIDE_COS]);
	for (unsigned i = 0; i < run->rounds * SIDE__N && r == 0 && !bench_stopped(); i++) {
		enum side side = i % SIDE__N;
		struct load load;
		double done;

		load_begin(&load, 0);
		r = work(run, d, &s[side], 1, &cap->io, &done);
		if (r == 0)
			row_add(&row, side, done * cap->each, load_others(&load, 0));
	}
	subject_remove(&s[SIDE_COS]);
	subject_remove(&s[SIDE_BARE]);
	row_print(&row);
	return r;
}

/* ---- weights ---- */

static int weigh(const struct run *run, const struct disk *d, struct subject s[][ACCURACY_GROUPS],
		 struct row *rows)
{
	static const struct load_io io = { "read", "65536", WEIGHT_DEPTH };
	int r = 0;

	for (unsigned i = 0; i < run->rounds * SIDE__N && r == 0 && !bench_stopped(); i++) {
		enum side side = i % SIDE__N;
		double done[ACCURACY_GROUPS], all = 0, others;
		struct load load;

		load_begin(&load, 0);
		r = work(run, d, s[side], ACCURACY_GROUPS, &io, done);
		others = load_others(&load, 0);
		for (unsigned g = 0; g < ACCURACY_GROUPS; g++)
			all += done[g];
		printf("# io.weight, %s: %.0f reads/s\n", side == SIDE_COS ? "cos" : "bare", all);
		for (unsigned g = 0; g < ACCURACY_GROUPS && r == 0; g++)
			row_add(&rows[g], side, done[g] * 100 / all, others);
	}
	return r;
}

static int weights(const struct run *run, const struct disk *d)
{
	static const char *const limit[] = { "io.weight=100", "io.weight=200", "io.weight=400" };
	static const char *const name[] = { "weight1", "weight2", "weight4" };
	struct subject s[SIDE__N][ACCURACY_GROUPS] = { 0 };
	struct row rows[ACCURACY_GROUPS];
	char binds[160];
	int r;

	/* only what waits in bfq's own queue has an order: the device is to take little at once */
	disk_queue_write(d, "nr_requests", DEVICE_DEPTH);
	r = disk_queue_write(d, "scheduler", "bfq");
	if (r < 0) {
		printf("# io.weight: no bfq: %s\n", strerror(-r));
		return 0;
	}
	disk_queue_write(d, "iosched/low_latency", "0");
	disk_bind_word(d, binds, sizeof(binds));
	for (unsigned i = 0; i < ACCURACY_GROUPS; i++)
		rows[i] = (struct row){ .what = limit[i],
					.unit = "% of three",
					.asked = 100.0 * (1U << i) / 7 };
	for (unsigned i = 0; i < ACCURACY_GROUPS && r == 0; i++) {
		const char *limits[] = { limit[i], binds, NULL };

		r = subject_guest(&s[SIDE_COS][i], run->d, name[i], limits, NULL);
		if (r == 0)
			r = subject_bare(&s[SIDE_BARE][i], name[i], &s[SIDE_COS][i]);
	}
	if (r == 0)
		r = weigh(run, d, s, rows);
	for (unsigned i = 0; i < ACCURACY_GROUPS; i++) {
		subject_remove(&s[SIDE_COS][i]);
		subject_remove(&s[SIDE_BARE][i]);
		row_print(&rows[i]);
	}
	return r;
}

static bool wants_any(const struct run *run)
{
	bool any = run_wants(run, "io.weight");

	for (size_t i = 0; i < ARRAY_SIZE(caps); i++)
		any = any || run_wants(run, caps[i].what);
	return any;
}

int accuracy_io(const struct run *run)
{
	struct disk d;
	int r;

	if (!wants_any(run))
		return 0;
	r = disk_open(&d, run->b, DISK_IN_FILE, ACCURACY_GROUPS);
	for (size_t i = 0; i < ARRAY_SIZE(caps) && r == 0 && !bench_stopped(); i++) {
		if (run_wants(run, caps[i].what))
			r = cap_measure(run, &d, &caps[i]);
	}
	if (r == 0 && run_wants(run, "io.weight"))
		r = weights(run, &d);
	if (r < 0)
		bench_show_log(run->b);
	disk_close(&d);
	return r;
}
