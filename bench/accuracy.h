/* bench/accuracy.h - the parts of bench/accuracy: rows that are measured and the table of them,
 * which bench/bucket prints as well */
#pragma once

#include "bench/daemon.h"

#define ACCURACY_GROUPS 3 /* that compete by weight */

enum side { SIDE_COS, SIDE_BARE, SIDE__N };

struct run {
	const struct bench *b;
	const struct daemon *d;
	unsigned rounds, seconds;
	const char *only;
};

/* One line for a guest and one for the bare group: medians of the rounds. */
struct row {
	const char *what, *unit;
	double asked;                   /* 0: no error is told */
	struct samples got[SIDE__N];    /* thousandths of UNIT */
	struct samples others[SIDE__N]; /* CPU time that all else on the host used, % of a CPU */
};

extern const char row_head[];
void row_add(struct row *row, enum side side, double got, double others);
/* Prints and empties it. */
void row_print(struct row *row);

/* What of the host's CPU time went elsewhere than to a few groups. */
struct load {
	uint64_t t, busy, own;
};

/* OWN: CPU time that the groups had used. */
void load_begin(struct load *l, uint64_t own);
/* % of one CPU since then. */
double load_others(const struct load *l, uint64_t own);

/* Whether a measurement of that name was asked for. */
bool run_wants(const struct run *run, const char *what);

/* Each measures, prints its rows and returns 0 or a negative errno, told. */
int accuracy_cpu(const struct run *run);
int accuracy_io(const struct run *run);
