/* bench/start.c - what starting a guest costs, beside crun, runc, lxc and the bare system calls
 *
 *	bench/start [--rounds N] [--idle MSEC] [--only NAME,NAME] [--cos-arg WORD]...
 *
 * In each round every contender runs one guest, so that the host's drift hits all alike. "hot" is
 *back to back, "cold" after MSEC of idling. "first" is from the call to the first instruction in
 *the guest, "whole" until the guest and what was made for it are gone. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "bench/contender.h"
#include "bench/daemon.h"
#include "bench/floor.h"
#include "lib/base/own.h"
#include "lib/base/str.h"

#define ROUNDS     50U
#define ROUNDS_MAX 100000U
#define WARM_UP    3U
#define IDLE_MSEC  50U
#define COS_WORDS  16U
#define STEPS_MAX  16U
#define REPLY_MAX  65536U

enum mode { HOT, COLD, MODE__N };

static const char *const mode_name[MODE__N] = { "hot", "cold" };

struct steps {
	char name[STEPS_MAX][32];
	struct samples took[STEPS_MAX];
	unsigned n;
};

struct entry {
	struct contender c;
	bool in;
	struct samples first[MODE__N], whole[MODE__N];
	struct steps steps[MODE__N];
};

struct options {
	uint64_t rounds, idle_msec;
	const char *only; /* ",a,b," or NULL */
	const char *cos_arg[COS_WORDS];
	unsigned n_cos_arg;
};

static struct options opt = { .rounds = ROUNDS, .idle_msec = IDLE_MSEC };
static struct steps *steps; /* where the current run puts its steps, NULL while warming up */

static void step_add(const char *name, uint64_t nsec)
{
	unsigned i = 0;

	if (!steps)
		return;
	while (i < steps->n && strcmp(steps->name[i], name) != 0)
		i++;
	if (i == STEPS_MAX)
		return;
	if (i == steps->n && str_fmt(steps->name[i], sizeof(steps->name[i]), "%s", name))
		steps->n++;
	samples_add(&steps->took[i], nsec);
}

/* ---- the bare system calls ---- */

static int floor_contender_open(struct contender *c, const struct bench *b)
{
	static struct floor f;

	c->b = b;
	c->data = &f;
	return floor_open(&f, b, CONTENDER_ROOT);
}

static int floor_contender_run(struct contender *c, int out)
{
	struct floor_guest g;
	uint64_t from;
	int r = floor_start(c->data, &g, out, false);

	if (r < 0)
		return r;
	from = g.start_nsec;
	for (unsigned i = 0; i < FLOOR__N; i++) {
		step_add(floor_step_name[i], g.end_nsec[i] - from);
		from = g.end_nsec[i];
	}
	c->steps_end_nsec = from;
	return floor_end(c->data, &g, false);
}

static void floor_contender_close(struct contender *c)
{
	floor_close(c->data);
}

static const struct contender floor_contender = {
	.name = "floor",
	.does = "system calls from one small C process: all namespaces, 5 groups, id-mapped overlay",
	.open = floor_contender_open,
	.run = floor_contender_run,
	.close = floor_contender_close,
};

/* ---- cos ---- */

/* HEAD, the words of --cos-arg, "-- /bin/first", and TAIL if it is not NULL. */
static void cos_words(const char **argv, const char *const *head, const char *tail)
{
	while (*head)
		*argv++ = *head++;
	for (unsigned i = 0; i < opt.n_cos_arg; i++)
		*argv++ = opt.cos_arg[i];
	*argv++ = "--";
	*argv++ = "/bin/first";
	*argv++ = tail;
	*argv = NULL;
}

static int cos_open(struct contender *c, const struct bench *b)
{
	static const char *const run[] = {
		"run", "--rm", "--template", "bench", "bench-guest", NULL
	};
	static const char *const create[] = { "create", "--template", "bench", "bench-steps",
					      NULL };
	const char *argv[CONTENDER_WORDS];
	static struct daemon d;
	int r = daemon_open(&d, b, CONTENDER_ROOT);

	if (r < 0)
		return r;
	c->b = b;
	c->data = &d;
	cos_words(c->argv, run, NULL);
	cos_words(argv, create, "stay");
	r = daemon_call(&d, argv, -1);
	if (r != 0) {
		fprintf(stderr, "bench: cos: create: status %d\n", r);
		bench_show_log(b);
		c->detail = NULL;
	}
	return 0;
}

static int cos_run(struct contender *c, int out)
{
	return daemon_call(c->data, c->argv, out);
}

static void take_steps(void *arg, uint64_t start_usec, json_t *times)
{
	void (*step)(const char *name, uint64_t nsec) = *(void (**)(const char *, uint64_t))arg;
	const char *name;
	json_t *usec;

	json_object_foreach(times, name, usec) {
		step(name, (uint64_t)json_integer_value(usec) * 1000);
	}
	step("all", start_usec * 1000);
}

static int cos_detail(struct contender *c, void (*step)(const char *name, uint64_t nsec))
{
	static const char *const stop[] = { "stop", "bench-steps", NULL };
	const struct daemon *d = c->data;
	int r = daemon_start(d, "bench-steps", take_steps, &step);

	return r == 0 ? daemon_call(d, stop, -1) : r;
}

static void cos_undo(struct contender *c)
{
	static const char *const stop_it[] = { "stop", "--timeout", "0", "bench-guest", NULL };
	static const char *const delete_it[] = { "delete", "bench-guest", NULL };

	daemon_call(c->data, stop_it, -1);
	daemon_call(c->data, delete_it, -1);
}

static void cos_close(struct contender *c)
{
	daemon_close(c->data);
}

static const struct contender cos_contender = {
	.name = "cos",
	.does = "cosctl run --rm: user namespace, all groups, id-mapped overlay, filter, by cosd",
	.open = cos_open,
	.run = cos_run,
	.undo = cos_undo,
	.detail = cos_detail,
	.close = cos_close,
};

/* ---- rounds ---- */

/* One guest; false when it did not do what it should. */
static bool one(struct entry *e, uint64_t *ret_first, uint64_t *ret_whole)
{
	if (!contender_time(&e->c, ret_first, ret_whole))
		return false;
	if (e->c.steps_end_nsec)
		step_add("inside", e->c.first_nsec - e->c.steps_end_nsec);
	return true;
}

static void take_detail(struct entry *e, enum mode m)
{
	if (m == COLD)
		bench_idle((unsigned)opt.idle_msec);
	if (e->c.detail(&e->c, step_add) == 0)
		return;
	bench_show_log(e->c.b);
	printf("# %s: no steps after a failure\n", e->c.name);
	e->c.detail = NULL;
}

static void take(struct entry *e, enum mode m, bool warm_up)
{
	uint64_t first, whole;

	if (m == COLD)
		bench_idle((unsigned)opt.idle_msec);
	steps = warm_up ? NULL : &e->steps[m];
	if (!one(e, &first, &whole)) {
		bench_show_log(e->c.b);
		if (e->c.undo)
			e->c.undo(&e->c);
		printf("# %s: left out after a failure\n", e->c.name);
		e->in = false;
		return;
	}
	if (e->c.detail)
		take_detail(e, m);
	if (warm_up)
		return;
	samples_add(&e->first[m], first);
	samples_add(&e->whole[m], whole);
}

static void rounds(struct entry *e, size_t n, enum mode m, uint64_t count, bool warm_up)
{
	for (uint64_t round = 0; round < count; round++) {
		for (size_t i = 0; i < n && !bench_stopped(); i++) {
			if (e[i].in)
				take(&e[i], m, warm_up);
		}
	}
}

/* ---- the table ---- */

static void print_ratio(uint64_t a, uint64_t b)
{
	if (a && b)
		printf("\t%.2f", (double)a / (double)b);
	else
		printf("\t-");
}

struct reference {
	struct samples *floor, *crun;
};

static void row(const char *name, enum mode m, const char *what, struct samples *s,
		const struct reference *ref)
{
	uint64_t p50 = samples_at(s, 50);

	if (s->n == 0)
		return;
	printf("%s\t%s\t%s\t%u\t%.0f\t%.0f", name, mode_name[m], what, s->n, (double)p50 / 1e3,
	       (double)samples_at(s, 90) / 1e3);
	print_ratio(p50, ref->floor ? samples_at(ref->floor, 50) : 0);
	print_ratio(p50, ref->crun ? samples_at(ref->crun, 50) : 0);
	printf("\n");
}

static struct entry *find(struct entry *e, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++) {
		if (strcmp(e[i].c.name, name) == 0)
			return &e[i];
	}
	return NULL;
}

static void print_mode(struct entry *e, size_t n, enum mode m)
{
	struct entry *fl = find(e, n, "floor"), *crun = find(e, n, "crun");
	struct reference first = { &fl->first[m], &crun->first[m] };
	struct reference whole = { &fl->whole[m], &crun->whole[m] };
	struct reference none = { NULL, NULL };

	for (size_t i = 0; i < n; i++) {
		row(e[i].c.name, m, "first", &e[i].first[m], &first);
		row(e[i].c.name, m, "whole", &e[i].whole[m], &whole);
	}
	for (size_t i = 0; i < n; i++) {
		struct steps *s = &e[i].steps[m];

		for (unsigned k = 0; k < s->n; k++) {
			char what[48];

			snprintf(what, sizeof(what), "step:%s", s->name[k]);
			row(e[i].c.name, m, what, &s->took[k], &none);
		}
	}
}

static void print_head(const struct entry *e, size_t n)
{
	struct utsname u;

	uname(&u);
	printf("# Linux %s %s, %ld CPUs; %u rounds, cold after %u ms\n", u.release, u.machine,
	       sysconf(_SC_NPROCESSORS_ONLN), (unsigned)opt.rounds, (unsigned)opt.idle_msec);
	for (size_t i = 0; i < n; i++) {
		if (e[i].in)
			printf("# %s: %s\n", e[i].c.name, e[i].c.does);
	}
	fflush(stdout);
}

/* ---- options ---- */

static int parse(int argc, char **argv)
{
	static const struct option longs[] = { { "rounds", required_argument, NULL, 'r' },
					       { "idle", required_argument, NULL, 'i' },
					       { "only", required_argument, NULL, 'o' },
					       { "cos-arg", required_argument, NULL, 'a' },
					       { NULL, 0, NULL, 0 } };
	int c, r = 0;

	while (r == 0 && (c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (c == 'r')
			r = str_to_u64(optarg, &opt.rounds);
		else if (c == 'i')
			r = str_to_u64(optarg, &opt.idle_msec);
		else if (c == 'o')
			opt.only = optarg;
		else if (c == 'a' && opt.n_cos_arg < COS_WORDS)
			opt.cos_arg[opt.n_cos_arg++] = optarg;
		else
			r = -EINVAL;
	}
	if (r < 0 || optind != argc || opt.rounds == 0 || opt.rounds > ROUNDS_MAX ||
	    opt.idle_msec > 60000) {
		fprintf(stderr, "usage: start [--rounds N] [--idle MSEC] [--only NAME,NAME] "
				"[--cos-arg WORD]...\n");
		return -EINVAL;
	}
	return 0;
}

static bool wanted(const char *name)
{
	size_t len = strlen(name);

	for (const char *at = opt.only; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL) {
		if (strncmp(at, name, len) == 0 && (at[len] == ',' || at[len] == '\0'))
			return true;
	}
	return !opt.only;
}

static void run_all(const struct bench *b, struct entry *e, size_t n)
{
	for (size_t i = 0; i < n; i++)
		e[i].in = wanted(e[i].c.name) && !bench_stopped() && e[i].c.open(&e[i].c, b) == 0;
	rounds(e, n, HOT, WARM_UP, true);
	print_head(e, n);
	rounds(e, n, HOT, opt.rounds, false);
	rounds(e, n, COLD, opt.rounds, false);
	printf("contender\tmode\twhat\tn\tp50_us\tp90_us\tvs_floor\tvs_crun\n");
	for (int m = 0; m < MODE__N; m++)
		print_mode(e, n, (enum mode)m);
	for (size_t i = 0; i < n; i++) {
		if (e[i].c.data)
			e[i].c.close(&e[i].c);
	}
}

int main(int argc, char **argv)
{
	static struct entry e[6];
	struct bench b;
	int r = parse(argc, argv);

	if (r < 0)
		return 2;
	e[0].c = floor_contender;
	e[1].c = cos_contender;
	e[2].c = peer_crun;
	e[3].c = peer_runc;
	e[4].c = peer_unshare;
	e[5].c = peer_lxc;
	r = bench_open(&b);
	if (r == 0)
		r = bench_make_root(&b, CONTENDER_ROOT);
	if (r == 0)
		r = bench_cg_make(&b);
	if (r == 0)
		run_all(&b, e, ARRAY_SIZE(e));
	bench_close(&b);
	return r < 0 || bench_stopped() ? 1 : 0;
}
