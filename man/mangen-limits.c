/* man/mangen-limits.c - the tables of limits for the manual's pages, and for tests */
#include <stdint.h>
#include <stdio.h>

#include "lib/base/own.h"
#include "lib/model/limits.h"
#include "man/mangen.h"

static const char *const unit_words[] = {
	[UNIT_MCPU] = "CPUs",
	[UNIT_USEC] = "seconds",
	[UNIT_WEIGHT] = "weight",
	[UNIT_BOOL] = "true or false",
	[UNIT_CPUS] = "list of CPUs",
	[UNIT_BYTES] = "bytes",
	[UNIT_BITS] = "bits per second",
	[UNIT_PERIOD] = "period",
	[UNIT_COUNT] = "count",
};

/* A value of each unit to show what is written for it. */
static const uint64_t samples[] = {
	[UNIT_MCPU] = 500,      [UNIT_USEC] = 250000, [UNIT_WEIGHT] = 200,
	[UNIT_BOOL] = 1,        [UNIT_CPUS] = 1,      [UNIT_BYTES] = 512ULL << 20,
	[UNIT_BITS] = 20000000, [UNIT_COUNT] = 200,   [UNIT_PERIOD] = 86400,
};

/* A value for the examples. */
static void sample_of(enum limit_id id, struct limits *l)
{
	limits_init(l);
	l->v[id] = samples[limit_defs[id].unit];
	if (id == LIMIT_CPU_BURST)
		l->v[LIMIT_CPU_RATE] = 1000;
	if (id == LIMIT_HUGEPAGES_1G)
		l->v[id] = 2ULL << 30;
	cpus_add(&l->cpus, 1);
}

/* What a limit needs beside it. */
static const char *beside(enum limit_id id)
{
	switch (id) {
	case LIMIT_CPU_BURST:
		return "cpu.rate=1";
	case LIMIT_CPU_HOLD:
		return "cpu.rate=1 cpu.burst=1";
	case LIMIT_CPU_DEDICATED:
		return "cpu.set=1";
	case LIMIT_IO_BURST:
		return "io.wbps=1M";
	default:
		return "";
	}
}

/* The file of the last of a limit's knobs, and what it holds for the sample; NULL: there is none.
 */
static const char *knob_of(enum limit_id id, enum cg_version ver, char text[KNOB_TEXT_SIZE])
{
	const struct knob_host host = { ver, "0-3", "8:0" };
	const char *file = NULL;
	struct limits l;

	sample_of(id, &l);
	for (unsigned i = 0; i < n_knobs; i++) {
		if (knobs[i].limit == id && knobs[i].version == ver) {
			knobs[i].text(text, id, &l, &host);
			file = knobs[i].file;
		}
	}
	return file;
}

int print_limits(const char *arg)
{
	(void)arg;
	for (enum limit_id id = 0; id < LIMIT__CG; id++) {
		const struct limit_def *d = &limit_defs[id];
		char range[LIMIT_TEXT_SIZE], value[LIMIT_TEXT_SIZE];
		struct limits l;

		sample_of(id, &l);
		put_bold(d->name);
		printf(" (%s)\n\t%s\n\n", unit_words[d->unit], d->help);
		printf("\tRange %s; default *%s*.", limit_range(id, range),
		       limit_print(id, d->dflt, value));
		for (enum cg_version ver = CG_V1; ver <= CG_V2; ver++) {
			char text[KNOB_TEXT_SIZE];
			const char *file = knob_of(id, ver, text);

			if (!file)
				continue;
			printf(" v%d file ", ver);
			put_bold(file);
			printf(": *%s* for *%s*.", text, limit_text(&l, id, value));
		}
		printf("\n\n");
	}
	return 0;
}

static void print_range(enum limit_id from, enum limit_id to)
{
	for (enum limit_id id = from; id < to; id++) {
		const struct limit_def *d = &limit_defs[id];
		char range[LIMIT_TEXT_SIZE], value[LIMIT_TEXT_SIZE];

		put_bold(d->name);
		printf(" (%s)\n\t%s\n\n", unit_words[d->unit], d->help);
		printf("\tRange %s; default *%s*.\n\n", limit_range(id, range),
		       limit_print(id, d->dflt, value));
	}
}

int print_net_limits(const char *arg)
{
	(void)arg;
	print_range(LIMIT__CG, LIMIT__NET);
	return 0;
}

int print_disk_limits(const char *arg)
{
	(void)arg;
	print_range(LIMIT__NET, LIMIT__DISK);
	return 0;
}

int print_rlimits(const char *arg)
{
	(void)arg;
	for (enum limit_id id = LIMIT__DISK; id < LIMIT__N; id++) {
		put_bold(limit_defs[id].name);
		printf(" (%s)\n\t%s\n\n", unit_words[limit_defs[id].unit], limit_defs[id].help);
	}
	return 0;
}

void tsv_limits(void)
{
	for (enum limit_id id = 0; id < LIMIT__N; id++) {
		const struct limit_def *d = &limit_defs[id];
		char value[LIMIT_TEXT_SIZE], v1[KNOB_TEXT_SIZE] = "-", v2[KNOB_TEXT_SIZE] = "-";
		struct limits l;

		sample_of(id, &l);
		if (id < LIMIT__CG) {
			const char *f1 = knob_of(id, CG_V1, v1), *f2 = knob_of(id, CG_V2, v2);

			printf("limit\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", d->name,
			       limit_text(&l, id, value), cg_ctl_name[d->ctl][CG_V1], f1 ?: "-", v1,
			       f2 ?: "-", v2, beside(id));
		} else if (id < LIMIT__NET)
			printf("net-limit\t%s\t%s\n", d->name, limit_text(&l, id, value));
		else if (id < LIMIT__DISK)
			printf("disk-limit\t%s\t%s\n", d->name, limit_text(&l, id, value));
		else
			printf("rlimit\t%s\t%s\n", d->name, unit_words[d->unit]);
	}
}
