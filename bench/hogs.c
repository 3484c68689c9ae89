/* bench/hogs.c - how fast a guest and the host answer while four limited guests do their worst
 *
 *	bench/hogs [--rounds N] [--times N] [--each]
 *
 * A CPU hog, a memory hog, a fork bomb and a writer stand at their limits; a fifth guest has the
 * defaults. Each round takes the times without hogs and with all four, with --each also beside
 *every hog alone. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/subject.h"
#include "lib/base/io.h"
#include "lib/base/own.h"

#define HOGS        4U
#define MODES       (2 + HOGS) /* none, all, each alone */
#define SETTLE_MSEC 1000U      /* the hogs reach their limits */
#define NUMBER_SIZE 24
#define TIMES_MAX   1000U
#define LINE_SIZE   24U
#define END_OF_TIME "18446744073709551615" /* of work: they are killed */

static const struct hog {
	const char *name, *limit;
	const char *command[6];
	/* where the kernel counts what met the limit, v1's and v2's file and key */
	const char *tells, *ctl, *file[2], *key[2];
} hogs[HOGS] = {
	{ "cpu",
	  "cpu.rate=25%",
	  { "/bin/work", "spin", "4", "0", END_OF_TIME, NULL },
	  "throttled periods",
	  "cpu",
	  { "cpu.stat", NULL },
	  { "nr_throttled", NULL } },
	{ "memory",
	  "memory.max=64M",
	  { "/bin/work", "eat", END_OF_TIME, NULL },
	  "processes killed",
	  "memory",
	  { "memory.oom_control", "memory.events" },
	  { "oom_kill", "oom_kill" } },
	{ "fork",
	  "pids.max=200",
	  { "/bin/work", "bomb", END_OF_TIME, NULL },
	  "forks refused",
	  "pids",
	  { "pids.events", NULL },
	  { "max", NULL } },
	{ "disk",
	  "io.wbps=4M",
	  { "/bin/busybox", "sh", "-c",
	    "while :; do /bin/busybox dd if=/dev/zero of=/big bs=64k count=512 conv=notrunc "
	    "oflag=direct; done",
	    NULL },
	  "bytes written",
	  "blkio",
	  { "blkio.throttle.io_service_bytes", "io.stat" },
	  { "Write ", "wbytes=" } },
};

enum timed { TIMED_EXEC, TIMED_INSIDE, TIMED_HOST, TIMED__N };

static const char *const timed_name[TIMED__N] = { "cosctl exec", "in the guest", "on the host" };

struct mode {
	const char *name;
	unsigned which; /* bits */
	struct samples t[TIMED__N];
};

struct bed {
	const struct bench *b;
	const struct daemon *d;
	struct subject fifth, hog[HOGS];
	char text[TIMES_MAX * LINE_SIZE];
	char times[NUMBER_SIZE];
	unsigned n_times;
};

/* ---- hogs ---- */

/* The most that one disk of those in the file counts. */
static uint64_t most_bytes(const char *text, const char *key)
{
	uint64_t most = 0;

	for (const char *at = strstr(text, key); at; at = strstr(at, key)) {
		uint64_t v;

		at += strlen(key);
		v = strtoull(at, NULL, 10);
		most = v > most ? v : most;
	}
	return most;
}

static uint64_t hits_of(const struct subject *s, const struct hog *h)
{
	uint64_t most = 0;
	char text[8192];

	for (unsigned i = 0; i < ARRAY_SIZE(h->file) && h->file[i]; i++) {
		if (strcmp(h->ctl, "blkio") != 0)
			most += subject_number(s, h->ctl, h->file[i], h->key[i]);
		else if (subject_read(s, h->ctl, h->file[i], text, sizeof(text)) > 0)
			most += most_bytes(text, h->key[i]);
	}
	return most;
}

static int start_hogs(struct bed *bed, unsigned which)
{
	int r = 0;

	for (unsigned i = 0; i < HOGS && r == 0; i++) {
		const char *limits[] = { hogs[i].limit, NULL };

		if (which >> i & 1)
			r = subject_guest(&bed->hog[i], bed->d, hogs[i].name, limits,
					  hogs[i].command);
	}
	if (which)
		bench_idle(SETTLE_MSEC);
	return r;
}

/* How often each hog met its limit since then. */
static void tell_hits(const struct bed *bed, const char *mode, uint64_t since, const uint64_t *was)
{
	for (unsigned i = 0; i < HOGS; i++) {
		const struct hog *h = &hogs[i];

		if (bed->hog[i].name[0])
			printf("# %s: %s hog, %s: %s %.1f/s\n", mode, h->name, h->limit, h->tells,
			       (double)(hits_of(&bed->hog[i], h) - was[i]) * 1e9 /
				       (double)(bench_nsec() - since));
	}
}

static void end_hogs(struct bed *bed)
{
	for (unsigned i = 0; i < HOGS; i++)
		subject_remove(&bed->hog[i]);
}

/* ---- times ---- */

static int time_exec(struct bed *bed, struct samples *s)
{
	const char *args[] = { "exec", "--no-tty", bed->fifth.name, "--", "/bin/true", NULL };

	for (unsigned i = 0; i < bed->n_times && !bench_stopped(); i++) {
		uint64_t t = bench_nsec();

		if (daemon_call(bed->d, args, -1) != 0)
			return -EIO;
		samples_add(s, bench_nsec() - t);
	}
	return 0;
}

/* OUT holds what `work run` wrote. */
static int take_times(struct bed *bed, pid_t pid, int out, struct samples *s)
{
	int r = pid < 0 ? pid : bench_wait(pid);
	ssize_t n = r == 0 ? pread(out, bed->text, sizeof(bed->text) - 1, 0) : 0;
	char *save, *line;

	bed->text[n > 0 ? n : 0] = '\0';
	for (line = strtok_r(bed->text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		samples_add(s, strtoull(line, NULL, 10));
	return r == 0 && n > 0 ? 0 : -EIO;
}

static int time_inside(struct bed *bed, struct samples *s)
{
	const char *args[] = { "run", bed->times, "/bin/true", NULL };
	auto_close int out = openat(bed->b->dirfd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	return take_times(bed, subject_start(&bed->fifth, args, out), out, s);
}

static int time_host(struct bed *bed, struct samples *s)
{
	char work[80], program[80];
	const char *argv[] = { work, "run", bed->times, program, NULL };
	auto_close int out = openat(bed->b->dirfd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	snprintf(work, sizeof(work), "%s/" SUBJECT_ROOT "/bin/work", bed->b->dir);
	snprintf(program, sizeof(program), "%s/" SUBJECT_ROOT "/bin/true", bed->b->dir);
	return take_times(bed, bench_spawn(bed->b, argv, out), out, s);
}

static int one_mode(struct bed *bed, struct mode *m)
{
	static int (*const timed[TIMED__N])(
		struct bed *, struct samples *) = { time_exec, time_inside, time_host };
	int r = start_hogs(bed, m->which);
	uint64_t since = bench_nsec(), was[HOGS];

	for (unsigned i = 0; i < HOGS; i++)
		was[i] = bed->hog[i].name[0] ? hits_of(&bed->hog[i], &hogs[i]) : 0;
	for (unsigned i = 0; i < TIMED__N && r == 0 && !bench_stopped(); i++)
		r = timed[i](bed, &m->t[i]);
	tell_hits(bed, m->name, since, was);
	end_hogs(bed);
	return r;
}

/* ---- the table ---- */

static void print_mode(struct mode *m)
{
	for (unsigned i = 0; i < TIMED__N; i++) {
		struct samples *s = &m->t[i];

		if (s->n > 0)
			printf("%s\t%s\t%u\t%.2f\t%.2f\t%.2f\t%.2f\n", m->name, timed_name[i], s->n,
			       (double)samples_at(s, 50) / 1e6, (double)samples_at(s, 90) / 1e6,
			       (double)samples_at(s, 99) / 1e6, (double)samples_at(s, 100) / 1e6);
		samples_free(s);
	}
}

struct options {
	unsigned rounds, times;
	bool each;
};

static int measure(const struct bench *b, const struct daemon *d, const struct options *opt)
{
	static struct bed bed;
	const char *const none[] = { NULL };
	struct mode mode[MODES] = { { .name = "none" },
				    { .name = "all", .which = (1U << HOGS) - 1 } };
	unsigned modes = opt->each ? MODES : 2;
	int r;

	bed = (struct bed){ .b = b, .d = d, .n_times = opt->times };
	snprintf(bed.times, sizeof(bed.times), "%u", opt->times);
	for (unsigned i = 0; i < HOGS; i++)
		mode[2 + i] = (struct mode){ .name = hogs[i].name, .which = 1U << i };
	r = subject_guest(&bed.fifth, d, "fifth", none, NULL);
	for (unsigned i = 0; i < opt->rounds * modes && r == 0 && !bench_stopped(); i++)
		r = one_mode(&bed, &mode[i % modes]);
	printf("hogs\ttrue\tn\tp50_ms\tp90_ms\tp99_ms\tmax_ms\n");
	for (unsigned i = 0; i < modes; i++)
		print_mode(&mode[i]);
	if (r < 0)
		bench_show_log(b);
	return r;
}

/* ---- */

static int parse(int argc, char **argv, struct options *opt)
{
	static const struct option longs[] = { { "rounds", required_argument, NULL, 'r' },
					       { "times", required_argument, NULL, 't' },
					       { "each", no_argument, NULL, 'e' },
					       { NULL, 0, NULL, 0 } };
	int c, r = 0;

	while (r == 0 && (c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (c == 'r')
			r = bench_parse_number(optarg, 100, &opt->rounds);
		else if (c == 't')
			r = bench_parse_number(optarg, TIMES_MAX, &opt->times);
		else if (c == 'e')
			opt->each = true;
		else
			r = -EINVAL;
	}
	if (r == 0 && optind == argc)
		return 0;
	fprintf(stderr, "usage: hogs [--rounds N] [--times N] [--each]\n");
	return -EINVAL;
}

int main(int argc, char **argv)
{
	struct options opt = { .rounds = 3, .times = 200 };
	struct daemon d;
	struct bench b;
	int r = parse(argc, argv, &opt);

	if (r < 0)
		return 2;
	r = subject_bench(&b);
	if (r == 0)
		r = daemon_open(&d, &b, SUBJECT_ROOT);
	if (r == 0) {
		r = measure(&b, &d, &opt);
		daemon_close(&d);
	}
	bench_close(&b);
	return r < 0 || bench_stopped() ? 1 : 0;
}
