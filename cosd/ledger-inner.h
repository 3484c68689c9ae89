/* cosd/ledger-inner.h - inside the ledger: what its files share */
#pragma once

#include <sqlite3.h>

#include "cosd/ledger.h"

#define LEDGER_SCHEMA 1
#define LEDGER_HEADS  1024 /* of the table of guests in memory */

/* Where the counting of a guest stands: the last sample that is in the data base. */
struct ledger_mark {
	bool there, closed; /* CLOSED: that run is over */
	char boot[LEDGER_BOOT];
	uint64_t run, epoch, wall_usec, boot_usec;
	uint64_t value[METRIC__N];
};

struct ledger_chain {
	uint64_t number,
		rolled; /* of the last record; of the last that one of the next level has */
	uint8_t head[USAGE_HASH];
	struct usage_record open; /* sum of those after ROLLED; number 0: there are none */
};

struct ledger_guest {
	struct list link;
	int64_t id;
	char uuid[UUID_SIZE], name[NAME_SIZE];
	uint64_t owner;
	struct ledger_mark mark, saved; /* SAVED: as it is in the data base */
	struct ledger_chain chain[USAGE__LEVELS];
	bool changed;
};

enum ledger_statement {
	ST_FIND, /* a guest by uuid */
	ST_NEW,  /* a guest */
	ST_SAVE, /* where it stands */
	ST_ADD,  /* a record */
	ST_OPEN, /* records of a guest and level after a number */
	ST_OLD,  /* records whose members are old */
	ST_DROP, /* members of a record */
	ST_BARE, /* a record whose members were removed */
	ST_OLD_DAYS,
	ST_WAKE, /* guests behind a number that have ended and whose day is over */
	ST__N
};

struct ledger {
	char *dir;
	struct ledger_conf conf;
	sqlite3 *db;
	sqlite3_stmt *st[ST__N];
	struct list guests[LEDGER_HEADS];
	uint64_t woken_day; /* those that slept were woken for this one, up to number WOKEN */
	int64_t woken;
	uint64_t replaced_usec; /* CLOCK_BOOTTIME since which there is a ledger in place of a lost
				   one of this boot; 0: nothing was lost */
};

/* --- ledger-db.c --- */
/* Opens the file and prepares all; NEW_FILE: it must not be there. */
int ledger_db_open(struct ledger *l, struct cos_err *err);
void ledger_db_close(struct ledger *l);
/* The errno for what SQLite said: -EUCLEAN (damaged), -ENOSPC, -EIO, -EBUSY, -EPROTO. Tells. */
int ledger_db_fail(struct ledger *l, const char *what, struct cos_err *err);
int ledger_db_run(struct ledger *l, const char *sql, struct cos_err *err);
/* 0: not there; 1: *G is filled, with its open sums. */
int ledger_db_load(struct ledger *l, const char *uuid, struct ledger_guest *g, struct cos_err *err);
int ledger_db_new(struct ledger *l, struct ledger_guest *g, struct cos_err *err);
int ledger_db_save(struct ledger *l, struct ledger_guest *g, struct cos_err *err);
int ledger_db_add(struct ledger *l, const struct ledger_guest *g, const struct usage_record *r,
		  struct cos_err *err);
/* Columns of a record from column AT of a row on; hashes too. */
void ledger_db_record(sqlite3_stmt *st, int at, struct usage_record *r);
/* "a, b, ..." of those columns, each with PREFIX. The caller frees. */
char *ledger_db_columns(const char *prefix);

/* --- ledger-roll.c --- */
/* Adds R, whose number and hashes are made here, to its chain; rolls up what that completes. */
int ledger_append(struct ledger *l, struct ledger_guest *g, struct usage_record *r,
		  struct cos_err *err);
/* How late a sample may be, in microseconds: a bucket is complete after that. */
uint64_t ledger_late(const struct ledger *l);
/* Rolls up the sums that nothing will be added to any more. */
int ledger_roll_due(struct ledger *l, struct ledger_guest *g, uint64_t now_usec,
		    struct cos_err *err);
/* Removes old records, a bounded number. 1: there are more. */
int ledger_expire(struct ledger *l, uint64_t now_usec, struct cos_err *err);
