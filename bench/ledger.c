/* bench/ledger.c - the ledger: what sampling costs, how long queries take, whether CPU time adds up
 *
 *	ledger [--only sampling|query|closure] [--guests N] [--seconds N] [--records N] [--kills N]
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/daemon.h"
#include "bench/meter.h"
#include "cosd/ledger.h"
#include "lib/base/clock.h"
#include "lib/base/io.h"
#include "lib/base/own.h"
#include "lib/base/str.h"

#define CLOSURE_GUESTS 50
#define CLOSURE_BUSY   10
#define LOOK_AGAIN     20000 /* microseconds between two questions whether an interval has closed */

static struct {
	const char *only;
	unsigned guests, seconds, records, kills;
} opt = { .guests = 300, .seconds = 60, .records = 1000000, .kills = 10 };

static void row(const char *what, const char *name, double value, const char *unit)
{
	printf("%s\t%s\t%.6g\t%s\n", what, name, value, unit);
	fflush(stdout);
}

static void pause_sec(unsigned sec)
{
	for (unsigned i = 0; i < sec * 10 && !bench_stopped(); i++)
		bench_idle(100);
}

static void ignore(void *arg, uint64_t start_usec, json_t *steps)
{
	(void)arg;
	(void)start_usec;
	(void)steps;
}

static int start_guests(struct daemon *d, const char *range, const char *const *words)
{
	const char *args[DAEMON_ARGS] = { "create", "--template", "bench", range };
	unsigned n = 4;
	int r;

	while (*words && n + 1 < DAEMON_ARGS)
		args[n++] = *words++;
	args[n] = NULL;
	r = daemon_call(d, args, -1);
	return r ? r : daemon_start(d, range, ignore, NULL);
}

/* --- sampling --- */

static int sampling(struct daemon *d)
{
	static const char *const words[] = { "--", "/bin/sleep", "100000", NULL };
	json_t *before, *after;
	pid_t worker, acct;
	double used, passed;
	char range[40];
	int r;

	str_fmt(range, sizeof(range), "s{001..%03u}", opt.guests);
	r = start_guests(d, range, words);
	if (r)
		return r;
	pause_sec(15); /* the starts' own work, and a whole interval */
	worker = meter_worker(d);
	acct = meter_accountant(worker);
	before = meter_ask(d);
	passed = (double)bench_nsec();
	used = meter_cpu(acct);
	pause_sec(opt.seconds);
	after = meter_ask(d);
	passed = ((double)bench_nsec() - passed) / 1e9;
	row("sampling", "guests", opt.guests, "");
	row("sampling", "cost",
	    (meter_of(after, "sampling_usec") - meter_of(before, "sampling_usec")) / passed / 1e4,
	    "% of a CPU");
	row("sampling", "looks", (meter_of(after, "looks") - meter_of(before, "looks")) / passed,
	    "per second");
	row("sampling", "readings of all counters",
	    (meter_of(after, "readings") - meter_of(before, "readings")) / passed, "per second");
	row("sampling", "whole worker",
	    (meter_of(after, "cpu_usec") - meter_of(before, "cpu_usec")) / passed / 1e4,
	    "% of a CPU");
	row("sampling", "accountant", (meter_cpu(acct) - used) / passed * 100, "% of a CPU");
	json_decref(before);
	json_decref(after);
	return daemon_call(
		d, (const char *[]){ "delete", "--force", "--all", "--parallel", "32", NULL }, -1);
}

/* --- queries --- */

static struct ledger_sample *fleet(unsigned n, uint64_t began)
{
	struct ledger_sample *s = calloc(n, sizeof(*s));

	if (!s)
		exit(1);
	for (unsigned i = 0; i < n; i++) {
		s[i] = (struct ledger_sample){ .run = i + 1, .epoch = 1, .known = true };
		str_fmt(s[i].uuid, sizeof(s[i].uuid), "00000000-0000-4000-8000-%012x", i);
		str_fmt(s[i].name, sizeof(s[i].name), "g%u", i);
		str_fmt(s[i].boot, sizeof(s[i].boot), "boot");
		s[i].wall_usec = began;
	}
	return s;
}

/* RECORDS of intervals of 10 s, and what they are rolled up to. */
static int fill(const char *dir, uint64_t began, unsigned guests)
{
	struct ledger_conf c = { .interval_usec = 10 * USEC_PER_SEC, .boot = "boot" };
	struct ledger_sample *s = fleet(guests, began);
	struct ledger *l = NULL;
	struct cos_err err;
	char *moved = NULL;
	uint64_t from;
	int r = ledger_open(dir, &c, &l, &moved, &err);

	free(moved);
	from = bench_nsec();
	for (unsigned k = 0; k < opt.records / guests && r == 0 && !bench_stopped(); k++) {
		for (unsigned i = 0; i < guests; i++) {
			s[i].wall_usec += 10 * USEC_PER_SEC;
			s[i].boot_usec += 10 * USEC_PER_SEC;
			for (int m = 0; m < METRIC__N; m++)
				s[i].value[m] += 1000 + i + (unsigned)m;
			s[i].value[METRIC_SEEN] = s[i].boot_usec;
		}
		r = ledger_take(l, s, guests, &err);
	}
	row("query", "time of a commit of all guests",
	    (double)(bench_nsec() - from) / 1e6 / ((double)opt.records / guests), "ms");
	ledger_close(l);
	free(s);
	if (r < 0)
		fprintf(stderr, "ledger: %s\n", err.why);
	return r < 0 || !bench_stopped() ? r : -EINTR;
}

static void timed(const char *dir, const char *name, enum ledger_by by, uint64_t since,
		  uint64_t until, uint64_t step_sec, const char *guest)
{
	struct ledger_query *q = calloc(1, sizeof(*q));
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	double worst = 0, best = 1e9;

	if (!q)
		exit(1);
	q->by = by;
	q->since_usec = since;
	q->until_usec = until;
	q->step_usec = step_sec * USEC_PER_SEC;
	q->owner = -1;
	if (guest) {
		str_fmt(q->names[0], sizeof(q->names[0]), "%s", guest);
		q->n_names = 1;
	}
	for (int i = 0; i < 5 && !bench_stopped(); i++) {
		uint64_t from = bench_nsec();
		double ms;

		if (ledger_answer(dir, q, null) < 0)
			exit(1);
		ms = (double)(bench_nsec() - from) / 1e6;
		worst = ms > worst ? ms : worst;
		best = ms < best ? ms : best;
	}
	if (!bench_stopped()) {
		row("query", name, best, "ms, best of 5");
		row("query", name, worst, "ms, worst of 5");
	}
	close(null);
	free(q);
}

static int queries(const struct bench *b)
{
	const uint64_t noon = 1795262400000000ULL;
	unsigned guests = opt.guests;
	uint64_t end = noon + (uint64_t)(opt.records / guests) * 10 * USEC_PER_SEC;
	char dir[PATH_MAX];
	int r;

	str_fmt(dir, sizeof(dir), "%s/ledger", b->dir);
	mkdir(dir, 0700);
	/* the data base is in memory: a disk would measure its flushes, and others' */
	if (mount("tmpfs", dir, "tmpfs", MS_NOSUID | MS_NODEV, "size=4g,mode=0700") < 0)
		return -errno;
	r = fill(dir, noon, guests);
	if (r < 0)
		return r;
	row("query", "records", opt.records - opt.records % guests, "");
	timed(dir, "all, by guest", LEDGER_BY_GUEST, 0, INT64_MAX / 2, 0, NULL);
	timed(dir, "all but ragged ends, by guest", LEDGER_BY_GUEST, noon + 1234567890,
	      end - 1234567890, 0, NULL);
	timed(dir, "all, by hour", LEDGER_BY_INTERVAL, 0, INT64_MAX / 2, 3600, NULL);
	timed(dir, "all, by minute", LEDGER_BY_INTERVAL, 0, INT64_MAX / 2, 60, NULL);
	timed(dir, "all, in steps of 10 s: every record", LEDGER_BY_INTERVAL, 0, INT64_MAX / 2, 10,
	      NULL);
	timed(dir, "one guest, in steps of 10 s", LEDGER_BY_INTERVAL, 0, INT64_MAX / 2, 10, "g7");
	timed(dir, "every record with its proof", LEDGER_RECORDS, 0, 0, 0, NULL);
	umount2(dir, MNT_DETACH);
	return 0;
}

/* --- closure --- */

struct clock {
	double wall, idle, irq, steal, all, guests, daemon, seen;
};

static double ledger_sum(const struct daemon *d)
{
	char buf[65536];
	double sum = 0;
	char *at = buf;

	if (daemon_ask(
		    d,
		    (const char *[]){ "usage", "-o", "csv", "--no-headers", "--by", "owner", NULL },
		    buf, sizeof(buf)) != 0)
		return -1;
	/* owner, from, to, seen, user, system */
	for (int i = 0; i < 5 && (at = strchr(at, ',')); i++) {
		at++;
		if (i >= 3)
			sum += strtod(at, NULL) / 1e6;
	}
	return sum;
}

/* /proc/stat has what nobody ran for: idle and iowait, irq and softirq, steal. */
static void read_stat(struct clock *c)
{
	double v[9] = { 0 }, hz = (double)sysconf(_SC_CLK_TCK);
	char buf[512];
	char *at = buf + 4;

	if (io_read_at(AT_FDCWD, "/proc/stat", buf, sizeof(buf)) != -E2BIG && !strchr(buf, '\n'))
		return;
	for (int i = 0; i < 8; i++)
		v[i] = strtod(at, &at) / hz;
	c->idle = v[3] + v[4];
	c->irq = v[5] + v[6];
	c->steal = v[7];
}

static double read_counter(const char *dir, const char *group, const char *file, double unit)
{
	char path[PATH_MAX], buf[512];
	const char *p;

	str_fmt(path, sizeof(path), "%s/%s%s", dir, group, file);
	if (io_read_at(AT_FDCWD, path, buf, sizeof(buf)) <= 0)
		return 0;
	p = strstr(buf, "usage_usec ");
	return strtod(p ? p + 11 : buf, NULL) / unit;
}

/* All tasks of the host by the scheduler's own clock, and those of guests. */
static void read_groups(const struct daemon *d, struct clock *c)
{
	const struct bench_cg *v1 = bench_cg_find(d->b, "cpuacct"), *v2 = bench_cg_find(d->b, NULL);
	char group[80];

	str_fmt(group, sizeof(group), "cos.%s/", d->instance);
	/* where there is v2 cosd has no groups for the v1 controller */
	if (v2)
		c->guests = read_counter(v2->path, group, "cpu.stat", 1e6);
	else if (v1)
		c->guests = read_counter(v1->path, group, "cpuacct.usage", 1e9);
	if (v1)
		c->all = read_counter(v1->path, "", "cpuacct.usage", 1e9);
	else if (v2)
		c->all = read_counter(v2->path, "", "cpu.stat", 1e6);
}

/* Workers and accountants that were killed count with what they had used when last looked at. */
static double daemon_cpu(const struct daemon *d)
{
	static struct {
		pid_t pid;
		double cpu;
	} seen[256];
	static unsigned n;
	pid_t worker = meter_worker(d);
	pid_t now[] = { d->pid, worker, meter_accountant(worker) };
	double sum = 0;

	for (size_t i = 0; i < ARRAY_SIZE(now); i++) {
		double cpu = meter_cpu(now[i]);
		unsigned k = 0;

		while (k < n && seen[k].pid != now[i])
			k++;
		if (k == ARRAY_SIZE(seen) || cpu <= 0)
			continue;
		n = k == n ? n + 1 : n;
		seen[k].pid = now[i];
		seen[k].cpu = cpu;
	}
	for (unsigned k = 0; k < n; k++)
		sum += seen[k].cpu;
	return sum;
}

/* All clocks, right after an interval has closed: then the ledger is as fresh as they are. */
static struct clock read_clocks(const struct daemon *d)
{
	double before = ledger_sum(d);
	struct clock c = { 0 };

	do {
		usleep(LOOK_AGAIN);
		c.wall = (double)bench_nsec() / 1e9;
		read_stat(&c);
		read_groups(d, &c);
		c.daemon = daemon_cpu(d);
		c.seen = ledger_sum(d);
	} while ((c.seen <= before || before < 0) && !bench_stopped());
	return c;
}

static void print_closure(const struct clock *a, const struct clock *b)
{
	double cpus = (double)sysconf(_SC_NPROCESSORS_ONLN), wall = (b->wall - a->wall) * cpus;
	double guests = b->seen - a->seen, daemon = b->daemon - a->daemon, idle = b->idle - a->idle;
	double irq = b->irq - a->irq, steal = b->steal - a->steal;
	double other = (b->all - a->all) - (b->guests - a->guests) - daemon;
	double rest = wall - guests - daemon - other - idle - irq - steal;

	row("closure", "wall x CPUs", wall, "s");
	row("closure", "guests (ledger)", guests, "s");
	row("closure", "guests (their group)", b->guests - a->guests, "s");
	row("closure", "daemon (schedstat)", daemon, "s");
	row("closure", "daemon per guest", daemon / CLOSURE_GUESTS / (b->wall - a->wall) * 100,
	    "% of a CPU");
	row("closure", "other (root's group)", other, "s");
	row("closure", "idle", idle, "s");
	row("closure", "irq", irq, "s");
	row("closure", "steal", steal, "s");
	row("closure", "residual", rest, "s");
	row("closure", "residual", rest / wall * 100, "% of wall x CPUs");
}

static int closure(struct daemon *d)
{
	static const char *const idle[] = { "--", "/bin/sleep", "100000", NULL };
	static const char *const busy[] = { "cpu.rate=80m", "cpu.burst=0",         "--", "/bin/sh",
					    "-c",           "while :; do :; done", NULL };
	struct clock before, after;
	char a[40], i[40];
	int r;

	str_fmt(a, sizeof(a), "b{01..%02u}", CLOSURE_BUSY);
	str_fmt(i, sizeof(i), "i{01..%02u}", CLOSURE_GUESTS - CLOSURE_BUSY);
	r = start_guests(d, i, idle);
	if (r == 0)
		r = start_guests(d, a, busy);
	if (r)
		return r;
	pause_sec(3);
	before = read_clocks(d);
	for (unsigned k = 0; k < opt.kills && !bench_stopped(); k++) {
		bench_idle(opt.seconds * 1000 / (opt.kills + 1));
		daemon_cpu(d);
		kill(meter_worker(d), SIGKILL);
	}
	bench_idle(opt.seconds * 1000 / (opt.kills + 1));
	after = read_clocks(d);
	row("closure", "guests", CLOSURE_GUESTS, "");
	row("closure", "workers killed", opt.kills, "");
	print_closure(&before, &after);
	row("closure", "chains that are not good",
	    daemon_call(d, (const char *[]){ "usage", "--verify", NULL }, -1), "");
	return 0;
}

/* --- arguments --- */

static int parse(int argc, char **argv)
{
	static const struct option longs[] = { { "only", required_argument, NULL, 'o' },
					       { "guests", required_argument, NULL, 'g' },
					       { "seconds", required_argument, NULL, 's' },
					       { "records", required_argument, NULL, 'r' },
					       { "kills", required_argument, NULL, 'k' },
					       { NULL, 0, NULL, 0 } };
	uint64_t v;
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		unsigned *const to = c == 'g'   ? &opt.guests
				     : c == 's' ? &opt.seconds
				     : c == 'r' ? &opt.records
						: &opt.kills;

		if (c == 'o')
			opt.only = optarg;
		else if (c == '?' || str_to_u64(optarg, &v) < 0 || v > 100000000 ||
			 (v == 0 && c != 'k'))
			return -EINVAL;
		else
			*to = (unsigned)v;
	}
	return optind == argc && opt.guests <= opt.records ? 0 : -EINVAL;
}

static bool wanted(const char *what)
{
	return !opt.only || strcmp(opt.only, what) == 0;
}

int main(int argc, char **argv)
{
	struct daemon d;
	struct bench b;
	int r = parse(argc, argv);

	if (r < 0) {
		fputs("usage: ledger [--only sampling|query|closure] [--guests N] [--seconds N]\n"
		      "              [--records N] [--kills N]\n",
		      stderr);
		return 2;
	}
	r = bench_open(&b);
	if (r == 0)
		r = bench_make_root(&b, "root");
	printf("part\twhat\tvalue\tunit\n");
	if (r == 0 && wanted("query"))
		r = queries(&b);
	if (r == 0 && (wanted("sampling") || wanted("closure"))) {
		r = daemon_open(&d, &b, "root");
		if (r == 0) {
			if (wanted("sampling"))
				r = sampling(&d);
			if (r == 0 && wanted("closure"))
				r = closure(&d);
			daemon_close(&d);
		}
	}
	if (r)
		bench_show_log(&b);
	bench_close(&b);
	return r || bench_stopped() ? 1 : 0;
}
