/* bench/overhead.h - what an operation costs inside a guest: places, workers, ratios
 *
 * A place is somewhere a worker (overhead-work.c) can run: the host, a guest of cos, a container of
 * crun. The worker waits for orders on its input and measures itself, so that a place can be asked
 * for a few milliseconds of work at a time, in turn with the others. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "bench/bench.h"
#include "bench/daemon.h"
#include "bench/overhead-rows.def"
#include "bench/plot.h"

enum row_id {
#define X(id, ...) ROW_##id,
	OVERHEAD_ROWS(X)
#undef X
		ROW__N
};

enum place_kind { PLACE_NATIVE, PLACE_COS, PLACE_CRUN };

struct place {
	const char *name, *does;
	enum place_kind kind;
	bool extra; /* takes part only when it is asked for */
	/* What a container of crun has; for cos the guest's defaults count. */
	bool filter, overlay, userns, deep;

	bool in;
	pid_t pid; /* what holds the worker: itself, cosctl or crun; -1: none */
	int to, from;
};

struct place_host {
	const struct bench *b;
	const struct daemon *d;     /* NULL: no cos */
	const char *filter_file;    /* the list of calls that Docker and podman use */
	const char *const *cos_arg; /* words for `cosctl run`, NULL ends them; PLACE_COS only */
	unsigned cpu;               /* the one that all workers run on */
};

/* A root file system with the worker in it, NAME of the bench's directory. Telling. */
int place_make_root(const struct bench *b, const char *name);

/* Both print their reason; -errno. open makes the root and what else outlives the worker; start
 * may be called again after stop. */
int place_open(struct place *p, const struct place_host *h);
int place_start(struct place *p, const struct place_host *h);
/* Does ROW *OPS times; sets *OPS to how many were done and returns their nanoseconds, or -errno. */
int64_t place_measure(struct place *p, enum row_id row, unsigned *ops);
void place_stop(struct place *p);
void place_close(struct place *p, const struct place_host *h);

/* Makes NAME-bundle for P with NAME as root; prints what it had to leave out. */
int bundle_make(const struct place *p, const struct place_host *h);

/* One row's samples of one place, nanoseconds for each operation, in the order of measuring; EPOCHS
 * times as many rounds. */
struct series {
	double *ns;
	unsigned epochs, rounds;
};

/* PERCENT 0 to 100. */
double series_at(const struct series *s, unsigned percent);
/* That percentile of A by that of B, and the interval that holds 95 % of it when first epochs, then
 * rounds in them, are drawn again with replacement; the same rounds for both, so that drift
 * cancels. */
struct ratio series_ratio(const struct series *a, const struct series *b, unsigned percent);
