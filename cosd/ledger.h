/* cosd/ledger.h - the ledger: a SQLite data base of what guests used, with one writer
 *
 * S/ledger/ledger.db has two tables: "guest", a row for each guest there ever was with where its
 * counting and its chains stand, and "record", which only grows, but for what retention removes.
 * The writer is the accountant (acct.c); anybody who may read the file may query it meanwhile.
 *
 * Samples tell what counters stand at, not what was added: one that comes twice adds nothing, and
 * what a lost one would have told is in the next. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/base/list.h"
#include "lib/model/usage.h"

#define LEDGER_DIR      "ledger"
#define LEDGER_FILE     "ledger.db"
#define LEDGER_BOOT     37
#define LEDGER_SPARE_US 100000 /* less than that, unseen, is no gap */

struct ledger_sample {
	char uuid[UUID_SIZE], name[NAME_SIZE], boot[LEDGER_BOOT];
	uint64_t owner;
	uint64_t run;            /* within the boot: RUN counters began at 0 with it */
	uint64_t epoch;          /* of the worker: SUM counters began at 0 with it */
	uint64_t wall_usec;      /* CLOCK_REALTIME */
	uint64_t boot_usec;      /* CLOCK_BOOTTIME; both of now */
	uint64_t run_began_usec; /* CLOCK_BOOTTIME */
	uint64_t value[METRIC__N];
	uint64_t base[METRIC__N]; /* LIFE counters when the run began, if KNOWN */
	bool known, last;         /* LAST: the run is over */
};

struct ledger_conf {
	uint64_t keep_usec[USAGE__LEVELS]; /* for how long records of each level stay */
	uint64_t interval_usec;
	uint64_t booted_usec; /* CLOCK_REALTIME when this boot began */
	char boot[LEDGER_BOOT];
};

struct ledger;

/* Opens or makes the data base in DIR, an existing directory's path (kept), which this process has
 * locked. One that is damaged is moved aside: then *RET_MOVED is its new name, for the caller to
 * free; else NULL. Runs of earlier boots are closed. Fails with -ENOSPC and others; -EUCLEAN never.
 */
int ledger_open(const char *dir, const struct ledger_conf *conf, struct ledger **ret,
		char **ret_moved, struct cos_err *err);
void ledger_close(struct ledger *l);
void ledger_configure(struct ledger *l, const struct ledger_conf *conf);

/* Takes N samples in one transaction: all or none. -EUCLEAN: the data base is damaged; see
 * ledger_replace(). After any failure the ledger stands where it stood; later samples make up for
 * those that were not taken, as long as the last one of each run comes again. */
int ledger_take(struct ledger *l, const struct ledger_sample *s, unsigned n, struct cos_err *err);
/* Rolls up what is complete and removes what is old, a bounded part of it; to be called now and
 * then with the wall clock. *RET_MORE: there is more to remove. */
int ledger_tend(struct ledger *l, uint64_t now_usec, bool *ret_more, struct cos_err *err);
/* Moves the damaged data base aside and goes on with a new one: counting stands where it stood.
 * *RET_MOVED as in ledger_open(). */
int ledger_replace(struct ledger *l, char **ret_moved, struct cos_err *err);
/* Whether the data base is whole, by SQLite's own check: 0 or -EUCLEAN. Reads all of it. */
int ledger_check(struct ledger *l, struct cos_err *err);

/* --- queries, by a process of their own (ledger-query.c) --- */

enum ledger_by { LEDGER_BY_GUEST, LEDGER_BY_OWNER, LEDGER_BY_INTERVAL, LEDGER_RECORDS };

#define LEDGER_NAMES_MAX 1000
#define LEDGER_ROWS_MAX  100000 /* of an answer that is not RECORDS */

struct ledger_query {
	enum ledger_by by;
	uint64_t since_usec, until_usec; /* what ended after SINCE, and not after UNTIL */
	uint64_t step_usec; /* BY_INTERVAL; a multiple of a level's length or of none */
	int64_t owner;      /* whose guests; -1: anybody's */
	unsigned n_names;   /* 0: all guests */
	char names[LEDGER_NAMES_MAX][NAME_SIZE];
};

/* Writes the answer to OUT: one JSON object a line, the last one {"end": true}, or {"error": ...}.
 * 0; -EUCLEAN when the data base is damaged; else a negative errno, also told to OUT. */
int ledger_answer(const char *dir, const struct ledger_query *q, int out);
