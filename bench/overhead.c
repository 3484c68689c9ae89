/* bench/overhead.c - what operations cost in a guest, beside the host and crun
 *
 *	bench/overhead [--rounds N] [--epochs N] [--batch USEC] [--at PERCENT] [--cpu N]
 *		[--rows ROW,ROW] [--with PLACE,PLACE] [--svg FILE] [--crun-filter FILE] [--cos-arg
 *WORD]...
 *
 * In each round every place does a batch of each row, in an order that changes. In each epoch the
 * workers are new ones: where their memory lies by chance is in the spread, not in the figure. */
#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "bench/overhead.h"
#include "lib/base/own.h"
#include "lib/base/str.h"

#define ROUNDS     200U
#define EPOCHS     5U
#define ROUNDS_MAX 100000U
#define BATCH_USEC 2000U
#define OPS_MAX    200000U
#define ARGS_MAX   16U
#define TEMPLATE   "root"
#define AIM        1.02 /* of crun's figure; above it a row is told */

/* Those that ratios are made of. */
enum { NATIVE, COS, CRUN, CRUN_OVERLAY };

static struct place places[] = {
	[NATIVE] = { .name = "native", .does = "on the host, no namespace or group of its own" },
	[COS] = { .name = "cos",
		  .does = "cosctl run --rm: user namespace, id-mapped overlay, filter",
		  .kind = PLACE_COS,
		  .userns = true },
	[CRUN] = { .name = "crun",
		   .does = "no user namespace, plain directory, filter",
		   .kind = PLACE_CRUN,
		   .filter = true },
	[CRUN_OVERLAY] = { .name = "crun-overlay",
			   .does = "as crun, on an overlay",
			   .kind = PLACE_CRUN,
			   .filter = true,
			   .overlay = true },
	{ .name = "native-again",
	  .does = "a second worker on the host: what ratios of equals are" },
	{ .name = "cos-nouserns",
	  .does = "as cos, userns=false",
	  .kind = PLACE_COS,
	  .extra = true },
	{ .name = "crun-userns",
	  .does = "as crun, with a user namespace",
	  .kind = PLACE_CRUN,
	  .extra = true,
	  .filter = true,
	  .userns = true },
	{ .name = "crun-userns-overlay",
	  .does = "as crun-overlay, with a user namespace",
	  .kind = PLACE_CRUN,
	  .extra = true,
	  .filter = true,
	  .overlay = true,
	  .userns = true },
	{ .name = "crun-nofilter",
	  .does = "as crun, without a filter",
	  .kind = PLACE_CRUN,
	  .extra = true },
	{ .name = "crun-deep",
	  .does = "as crun, two groups deeper",
	  .kind = PLACE_CRUN,
	  .extra = true,
	  .filter = true,
	  .deep = true },
};

#define N_PLACES ARRAY_SIZE(places)

static const struct {
	const char *word, *name;
	bool files;
} rows[ROW__N] = {
#define X(id, fn, name, files) { #fn, name, files },
	OVERHEAD_ROWS(X)
#undef X
};

static struct {
	uint64_t rounds, epochs, batch_usec, percent, cpu;
	const char *rows, *with, *svg, *filter;
	const char *cos_arg[ARGS_MAX + 1];
	unsigned n_cos_arg;
} opt = {
	.rounds = ROUNDS,
	.epochs = EPOCHS,
	.batch_usec = BATCH_USEC,
	.percent = 50,
	.cpu = UINT64_MAX,
	.filter = "/usr/share/containers/seccomp.json",
};

static struct series samples[ROW__N][N_PLACES];
static unsigned ops_of[ROW__N];

/* ---- options ---- */

/* Whether NAME is a word of the list with commas. */
static bool listed(const char *list, const char *name)
{
	size_t len = strlen(name);

	for (const char *at = list; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL) {
		if (strncmp(at, name, len) == 0 && (at[len] == ',' || at[len] == '\0'))
			return true;
	}
	return false;
}

static bool row_wanted(unsigned row)
{
	return !opt.rows || listed(opt.rows, rows[row].word);
}

static int usage(void)
{
	fprintf(stderr,
		"usage: overhead [--rounds N] [--epochs N] [--batch USEC] [--cpu N] "
		"[--rows ROW,ROW]\n\t[--with PLACE,PLACE] [--svg FILE] [--crun-filter FILE] "
		"[--cos-arg WORD]...\nrows:");
	for (unsigned i = 0; i < ROW__N; i++)
		fprintf(stderr, " %s", rows[i].word);
	fprintf(stderr, "\nplaces for --with:");
	for (unsigned i = 0; i < N_PLACES; i++) {
		if (places[i].extra)
			fprintf(stderr, " %s", places[i].name);
	}
	fprintf(stderr, "\n");
	return -EINVAL;
}

static int take_option(int c)
{
	switch (c) {
	case 'r':
		return str_to_u64(optarg, &opt.rounds);
	case 'e':
		return str_to_u64(optarg, &opt.epochs);
	case 'b':
		return str_to_u64(optarg, &opt.batch_usec);
	case 'p':
		return str_to_u64(optarg, &opt.percent);
	case 'c':
		return str_to_u64(optarg, &opt.cpu);
	case 'R':
		opt.rows = optarg;
		return 0;
	case 'w':
		opt.with = optarg;
		return 0;
	case 's':
		opt.svg = optarg;
		return 0;
	case 'f':
		opt.filter = optarg;
		return 0;
	case 'a':
		if (opt.n_cos_arg == ARGS_MAX)
			return -E2BIG;
		opt.cos_arg[opt.n_cos_arg++] = optarg;
		return 0;
	}
	return -EINVAL;
}

/* The host's last CPU that we may use: the first serves most interrupts. */
static uint64_t last_cpu(void)
{
	cpu_set_t set;
	uint64_t last = 0;

	if (sched_getaffinity(0, sizeof(set), &set) < 0)
		return 0;
	for (unsigned i = 0; i < CPU_SETSIZE; i++)
		last = CPU_ISSET(i, &set) ? i : last;
	return last;
}

static int parse(int argc, char **argv)
{
	static const struct option longs[] = { { "rounds", required_argument, NULL, 'r' },
					       { "epochs", required_argument, NULL, 'e' },
					       { "batch", required_argument, NULL, 'b' },
					       { "at", required_argument, NULL, 'p' },
					       { "cpu", required_argument, NULL, 'c' },
					       { "rows", required_argument, NULL, 'R' },
					       { "with", required_argument, NULL, 'w' },
					       { "svg", required_argument, NULL, 's' },
					       { "crun-filter", required_argument, NULL, 'f' },
					       { "cos-arg", required_argument, NULL, 'a' },
					       { NULL, 0, NULL, 0 } };
	int c, r = 0;

	while (r == 0 && (c = getopt_long(argc, argv, "", longs, NULL)) != -1)
		r = take_option(c);
	if (opt.cpu == UINT64_MAX)
		opt.cpu = last_cpu();
	if (opt.epochs == 0 || opt.epochs > opt.rounds)
		opt.epochs = 1;
	if (r < 0 || optind != argc || opt.rounds == 0 || opt.rounds > ROUNDS_MAX ||
	    opt.batch_usec == 0 || opt.batch_usec > 1000000 || opt.percent > 100 ||
	    opt.cpu >= CPU_SETSIZE)
		return usage();
	opt.rounds -= opt.rounds % opt.epochs;
	return 0;
}

/* ---- rounds ---- */

/* How often the host does ROW in a batch's time. */
static int calibrate(unsigned row)
{
	double want = (double)opt.batch_usec * 1e3;
	unsigned ops = 1;

	for (;;) {
		unsigned done = ops;
		int64_t took = place_measure(&places[NATIVE], (enum row_id)row, &done);
		double each = (double)took / done;

		if (took < 0)
			return (int)took;
		ops_of[row] = each * OPS_MAX < want ? OPS_MAX : (unsigned)(want / each + 1);
		/* A batch of a few operations is mostly their beginning. */
		if (ops * each * 4 > want || done < ops || ops == OPS_MAX)
			return 0;
		ops = ops * 8 < OPS_MAX ? ops * 8 : OPS_MAX;
	}
}

static void leave_out(struct place *p, const char *what, int r)
{
	if (!bench_stopped())
		printf("# %s: left out: %s: %s\n", p->name, what, strerror(-r));
	p->in = false;
}

static void batch(unsigned row, unsigned place, unsigned at)
{
	unsigned ops = ops_of[row];
	int64_t took = place_measure(&places[place], (enum row_id)row, &ops);

	if (took < 0)
		leave_out(&places[place], rows[row].name, (int)took);
	else
		samples[row][place].ns[at] = (double)took / ops;
}

/* Each place comes first as often as the others, and after each of its two neighbours. */
static void one_round(unsigned round)
{
	for (unsigned row = 0; row < ROW__N; row++) {
		unsigned turn = round + row;

		for (unsigned i = 0; i < N_PLACES && row_wanted(row); i++) {
			unsigned k = turn / N_PLACES % 2 ? N_PLACES - 1 - i : i;
			unsigned place = (turn + k) % N_PLACES;

			if (places[place].in && !bench_stopped())
				batch(row, place, round);
		}
	}
}

static void start_all(const struct place_host *h)
{
	for (unsigned i = 0; i < N_PLACES; i++) {
		int r = places[i].in && !bench_stopped() ? place_start(&places[i], h) : 0;

		if (r < 0)
			leave_out(&places[i], "start", r);
	}
}

static void stop_all(void)
{
	for (unsigned i = 0; i < N_PLACES; i++)
		place_stop(&places[i]);
}

static int measure(const struct place_host *h)
{
	unsigned each = (unsigned)(opt.rounds / opt.epochs);
	int r = 0;

	for (unsigned epoch = 0; epoch < opt.epochs && r == 0 && !bench_stopped(); epoch++) {
		start_all(h);
		for (unsigned row = 0; row < ROW__N && epoch == 0 && r == 0; row++)
			r = row_wanted(row) ? calibrate(row) : 0;
		for (unsigned i = 0; i < each && r == 0; i++)
			one_round(epoch * each + i);
		stop_all();
	}
	return r;
}

/* ---- the table ---- */

static struct ratio against(unsigned row, unsigned place, unsigned other)
{
	if (!places[other].in)
		return (struct ratio){ 0 };
	return series_ratio(&samples[row][place], &samples[row][other], (unsigned)opt.percent);
}

static void print_ratio(struct ratio r)
{
	if (r.mid > 0)
		printf("\t%.3f\t%.3f\t%.3f", r.mid, r.low, r.high);
	else
		printf("\t-\t-\t-");
}

static void print_row(unsigned row, struct bar *bars, unsigned *n_bars)
{
	for (unsigned i = 0; i < N_PLACES; i++) {
		struct ratio native;

		if (!places[i].in)
			continue;
		native = against(row, i, NATIVE);
		printf("%s\t%s\t%u\t%.0f", rows[row].name, places[i].name, (unsigned)opt.rounds,
		       series_at(&samples[row][i], (unsigned)opt.percent));
		print_ratio(native);
		print_ratio(against(row, i, CRUN));
		print_ratio(against(row, i, CRUN_OVERLAY));
		printf("\n");
		if (i > 0)
			bars[(*n_bars)++] = (struct bar){ rows[row].name, places[i].name, native };
	}
}

/* The rows in which cos is dearer than crun, on an overlay like its own where files are used. */
static void print_verdict(void)
{
	for (unsigned row = 0; row < ROW__N; row++) {
		unsigned other = rows[row].files ? CRUN_OVERLAY : CRUN;
		struct ratio r = { 0 };

		if (row_wanted(row) && places[COS].in)
			r = against(row, COS, other);
		if (r.mid > AIM)
			printf("# over %s by more than %.0f %%%s: %s %.3f (%.3f to %.3f)\n",
			       places[other].name, AIM * 100 - 100, r.low > AIM ? "" : ", perhaps",
			       rows[row].name, r.mid, r.low, r.high);
	}
}

static void print_head(void)
{
	struct utsname u;

	uname(&u);
	printf("# Linux %s %s, %ld CPUs, workers on CPU %u; %u rounds in %u epochs, batches of %u us\n",
	       u.release, u.machine, sysconf(_SC_NPROCESSORS_ONLN), (unsigned)opt.cpu,
	       (unsigned)opt.rounds, (unsigned)opt.epochs, (unsigned)opt.batch_usec);
	for (unsigned i = 0; i < N_PLACES; i++) {
		if (places[i].in)
			printf("# %s: %s\n", places[i].name, places[i].does);
	}
	fflush(stdout);
}

static int print_all(void)
{
	static struct bar bars[ROW__N * N_PLACES];
	unsigned n = 0;
	int r = 0;

	printf("row\tplace\tn\tp%u_ns\tvs_native\tlow\thigh\tvs_crun\tlow\thigh\tvs_overlay\tlow\thigh\n",
	       (unsigned)opt.percent);
	for (unsigned row = 0; row < ROW__N; row++) {
		if (row_wanted(row))
			print_row(row, bars, &n);
	}
	print_verdict();
	if (opt.svg)
		r = plot_write(opt.svg,
			       "Time of an operation, host = 1 (bar: ratio, line: 95 % of it)",
			       bars, n);
	if (r < 0)
		fprintf(stderr, "bench: %s: %s\n", opt.svg, strerror(-r));
	return r;
}

/* ---- all of it ---- */

static int make_room(void)
{
	for (unsigned row = 0; row < ROW__N; row++) {
		for (unsigned i = 0; i < N_PLACES; i++) {
			samples[row][i].epochs = (unsigned)opt.epochs;
			samples[row][i].rounds = (unsigned)(opt.rounds / opt.epochs);
			samples[row][i].ns = calloc(opt.rounds, sizeof(double));
			if (!samples[row][i].ns)
				return -ENOMEM;
		}
	}
	return 0;
}

static int run_all(const struct bench *b, const struct daemon *d)
{
	struct place_host h = {
		.b = b,
		.d = d,
		.filter_file = opt.filter,
		.cos_arg = opt.cos_arg,
		.cpu = (unsigned)opt.cpu,
	};
	int r = make_room();

	for (unsigned i = 0; i < N_PLACES && r == 0; i++) {
		struct place *p = &places[i];

		p->pid = p->to = p->from = -1;
		p->in = (!p->extra || listed(opt.with, p->name)) && !bench_stopped() &&
			place_open(p, &h) == 0;
	}
	if (r == 0 && !places[NATIVE].in)
		r = -EIO;
	if (r == 0) {
		print_head();
		r = measure(&h);
		stop_all();
		r = r == 0 && !bench_stopped() ? print_all() : r;
	}
	for (unsigned i = 0; i < N_PLACES; i++)
		place_close(&places[i], &h);
	return r;
}

int main(int argc, char **argv)
{
	struct daemon d;
	struct bench b;
	bool has_daemon = false;
	int r = parse(argc, argv);

	if (r < 0)
		return 2;
	r = bench_open(&b);
	if (r == 0)
		r = place_make_root(&b, TEMPLATE);
	if (r == 0)
		r = bench_cg_make(&b);
	if (r == 0) {
		has_daemon = daemon_open(&d, &b, TEMPLATE) == 0;
		r = run_all(&b, has_daemon ? &d : NULL);
	}
	if (has_daemon)
		daemon_close(&d);
	bench_close(&b);
	return r < 0 || bench_stopped() ? 1 : 0;
}
