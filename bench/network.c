/* bench/network.c - how near guests come to their rates, what their network costs
 *
 *	bench/network [--rounds N] [--seconds N] [--only NAME,NAME]
 *
 * All networks are namespaces of the bench. Ceilings are measured at a guest and at a bare
 * namespace with an HTB class of the same numbers, made by tc: what the kernel misses shows in
 * both. What costs time is compared in a second table. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "bench/network.h"
#include "lib/base/io.h"
#include "lib/base/own.h"
#include "lib/base/str.h"

#define BUSY_PERCENT 95 /* of all CPUs: they may have been the bound */
#define SHORT_OF     0.99
#define PARTS_MAX    4U /* of one table */

static const char *const side_name[SIDE__N] = { "cos", "bare" };

/* ---- rows ---- */

struct row row_of(const char *what, const char *at, enum way way, const char *unit, double asked)
{
	return (struct row){ .what = what, .at = at, .unit = unit, .way = way, .asked = asked };
}

void row_add(struct row *row, enum side side, double got, double busy)
{
	samples_add(&row->got[side], got > 0 ? (uint64_t)(got * 1000 + 0.5) : 0);
	samples_add(&row->busy[side], (uint64_t)(busy * 1000));
}

static void print_side(struct row *row, enum side side)
{
	struct samples *s = &row->got[side];
	double p50 = (double)samples_at(s, 50) / 1000;
	double busy = (double)samples_at(&row->busy[side], 100) / 1000;

	printf("%s\t%s\t%s\t%s\t%.3f\t%s\t%.3f\t%+.3f\t%.3f\t%.3f\t%u\t%.0f\n", row->what, row->at,
	       way_name[row->way], row->unit, row->asked, side_name[side], p50,
	       (p50 / row->asked - 1) * 100, (double)samples_at(s, 0) / 1000,
	       (double)samples_at(s, 100) / 1000, s->n, busy);
	if (!row->light && busy >= BUSY_PERCENT && p50 < row->asked * SHORT_OF)
		printf("# %s %s, %s, %s: the host's CPUs were busy: they may be the bound, not the class\n",
		       row->what, row->at, way_name[row->way], side_name[side]);
}

void row_print(struct row *row)
{
	for (enum side side = 0; side < SIDE__N; side++) {
		if (row->got[side].n > 0)
			print_side(row, side);
		samples_free(&row->got[side]);
		samples_free(&row->busy[side]);
	}
	fflush(stdout);
}

static void print_ratio(double a, double b)
{
	if (b > 0)
		printf("\t%.3f", a / b);
	else
		printf("\t-");
}

void columns_print(const char *what, const char *at, const char *unit, const struct column *c,
		   unsigned n)
{
	static const unsigned percent[] = { 10, 50, 99 };

	for (unsigned i = 0; i < n; i++) {
		if (c[i].got->n == 0)
			continue;
		printf("%s\t%s\t%s\t%s\t%u", what, at, unit, c[i].by, c[i].got->n);
		for (size_t k = 0; k < ARRAY_SIZE(percent); k++)
			printf("\t%.1f", (double)samples_at(c[i].got, percent[k]) / 1000);
		for (size_t k = 0; k < ARRAY_SIZE(percent); k++)
			print_ratio((double)samples_at(c[i].got, percent[k]),
				    (double)samples_at(c[0].got, percent[k]));
		printf("\n");
	}
	fflush(stdout);
}

/* ---- the host's CPUs ---- */

void busy_begin(struct busy *b)
{
	*b = (struct busy){ bench_nsec(), bench_busy_nsec() };
}

double busy_end(const struct busy *b)
{
	double all = (double)(bench_nsec() - b->t) * (double)sysconf(_SC_NPROCESSORS_ONLN);

	return (double)(bench_busy_nsec() - b->cpu) * 100 / all;
}

/* ---- daemons ---- */

bool bed_wants(const struct bed *bed, const char *what)
{
	return bench_wants(bed->only, what);
}

static int with_daemon(struct bed *bed, uint64_t cap, int (*const *parts)(const struct bed *),
		       unsigned n)
{
	struct daemon d;
	int r = wire_daemon(&d, bed->b, cap);

	if (r < 0)
		return r;
	bed->d = &d;
	for (unsigned i = 0; i < n && r == 0 && !bench_stopped(); i++)
		r = parts[i](bed);
	if (r < 0)
		bench_show_log(bed->b);
	daemon_close(&d);
	bed->d = NULL;
	return r;
}

struct part {
	const char *name;
	int (*fn)(const struct bed *);
};

static unsigned wanted(const struct bed *bed, const struct part *parts, unsigned n,
		       int (**ret)(const struct bed *))
{
	unsigned count = 0;

	for (unsigned i = 0; i < n; i++) {
		if (bed_wants(bed, parts[i].name) && (count == 0 || ret[count - 1] != parts[i].fn))
			ret[count++] = parts[i].fn;
	}
	return count;
}

struct table {
	const char *head;
	uint64_t cap;
	const struct part *parts;
	unsigned n;
};

/* Parts that want the same daemon. */
static int measure_table(struct bed *bed, const struct table *t, const char **head)
{
	int (*fn[PARTS_MAX])(const struct bed *);
	unsigned n = wanted(bed, t->parts, t->n, fn);

	if (n == 0)
		return 0;
	if (*head != t->head)
		printf("%s", t->head);
	*head = t->head;
	fflush(stdout);
	return with_daemon(bed, t->cap, fn, n);
}

static int measure(struct bed *bed)
{
	static const char asked[] =
		"what\tat\tway\tunit\tasked\tby\tgot\terror_%\tmin\tmax\tn\tcpu_%\n";
	static const char compared[] =
		"what\tat\tunit\tby\tn\tp10\tp50\tp99\tp10_ratio\tp50_ratio\tp99_ratio\n";
	static const struct part free_parts[] = { { "net.ceil", network_ceilings },
						  { "udp", network_counts },
						  { "tcp", network_counts } };
	static const struct part capped_parts[] = { { "guarantee", network_guarantee },
						    { "share", network_shares } };
	static const struct part compared_parts[] = { { "path", network_paths },
						      { "flood", network_floods },
						      { "start", network_starts },
						      { "setup", network_setups } };
	static const struct table tables[] = {
		{ asked, 0, free_parts, ARRAY_SIZE(free_parts) },
		{ asked, NETWORK_CAP, capped_parts, ARRAY_SIZE(capped_parts) },
		{ compared, 0, compared_parts, ARRAY_SIZE(compared_parts) },
	};
	const char *head = NULL;
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(tables) && r == 0 && !bench_stopped(); i++)
		r = measure_table(bed, &tables[i], &head);
	return r;
}

/* ---- */

static int parse(int argc, char **argv, struct bed *bed)
{
	const struct bench_option options[] = {
		{ .name = "rounds", .max = 30, .number = &bed->rounds },
		{ .name = "seconds", .max = 30, .number = &bed->seconds },
		{ .name = "only", .word = &bed->only },
	};
	static const char usage[] =
		"usage: network [--rounds N] [--seconds N] [--only NAME,NAME] (1 to 30 each)\n"
		"NAME: net.ceil udp tcp guarantee share path flood start setup\n";

	return bench_parse(argc, argv, options, ARRAY_SIZE(options), usage);
}

int main(int argc, char **argv)
{
	struct bed bed = { .rounds = 3, .seconds = 10 };
	struct bench b;
	int r = parse(argc, argv, &bed);

	if (r < 0)
		return 2;
	r = bench_open(&b);
	if (r == 0) {
		bed.b = &b;
		r = bench_make_root(&b, SUBJECT_ROOT);
		if (r == 0)
			r = bench_add_program(&b, SUBJECT_ROOT, "work");
		if (r == 0)
			r = bench_cg_make(&b);
		if (r == 0)
			r = wire_open(&bed);
		if (r == 0)
			r = wire_serve(&bed);
		if (r == 0)
			r = measure(&bed);
		wire_close(&bed);
	}
	bench_close(&b);
	return r < 0 || bench_stopped() ? 1 : 0;
}
