/* lib/model/usage.h - records of the ledger: what a guest used in an interval, summed, hashed, told
 *
 * A guest's records of one level form a chain: each has the hash of the one before it in its own.
 * A record of a higher level stands for members, consecutive ones of the level below, and names the
 * hash before the first of them and that of the last one, so that it still proves them when they
 * were removed. See cos-ledger(7). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/uuid.h"
#include "lib/model/metrics.def"
#include "lib/model/spec.h"

enum metric_id {
#define X(id, ...) METRIC_##id,
	COS_METRICS(X)
#undef X
		METRIC__N
};

enum metric_kind { METRIC_RUN, METRIC_LIFE, METRIC_SUM, METRIC_TOLD };

struct metric_def {
	const char *key;
	enum metric_kind kind;
	const char *family, *label;
	double scale;
	const char *unit; /* of a price */
	uint64_t per;     /* of the metric make one unit */
	const char *help;
};

extern const struct metric_def metric_defs[METRIC__N];
/* METRIC__N when there is none of that key. */
enum metric_id metric_find(const char *key);

/* X(id, name, length in seconds; 0: as the daemon was told) */
#define USAGE_LEVELS(X)                                                                            \
	X(INTERVAL, "interval", 0)                                                                 \
	X(MINUTE, "minute", 60)                                                                    \
	X(HOUR, "hour", 3600)                                                                      \
	X(DAY, "day", 86400)

enum usage_level {
#define X(id, name, seconds) USAGE_##id,
	USAGE_LEVELS(X)
#undef X
		USAGE__LEVELS
};

extern const char *const usage_level_name[USAGE__LEVELS];
extern const uint64_t usage_level_usec[USAGE__LEVELS];

#define USAGE_HASH      32
#define USAGE_HEX       (2 * USAGE_HASH + 1)
#define USAGE_TEXT_SIZE 4096 /* of usage_text(), whatever the record has */

struct usage_record {
	char uuid[UUID_SIZE], name[NAME_SIZE];
	uint64_t owner; /* uid on the host */
	enum usage_level level;
	uint64_t number;               /* within its chain, from 1 */
	uint64_t begin_usec, end_usec; /* wall clock */
	uint64_t span_usec;            /* for which the guest existed and ran; no clock moves it */
	uint64_t gap_usec;             /* of that: not seen */
	uint64_t first, last;          /* numbers of its members; 0 at level INTERVAL */
	uint8_t from[USAGE_HASH];      /* hash before the first member */
	uint8_t to[USAGE_HASH];        /* of the last one */
	uint64_t value[METRIC__N];
	uint8_t prev[USAGE_HASH], hash[USAGE_HASH];
};

/* Which bucket of LEVEL (MINUTE and above) a record that ends at END_USEC belongs to: when that
 * begins. One that ends with the bucket still belongs to it. */
uint64_t usage_bucket(enum usage_level level, uint64_t end_usec);
/* Adds what R counts to SUM: values, span and gap; a sum that does not fit stays at the most.
 * SUM begins with its first and ends with its last record in the order of calls, and has the
 * names of the last. An empty SUM has number 0. */
void usage_add(struct usage_record *sum, const struct usage_record *r);
/* Adds R, the next member, to SUM, the record of the next level that is being made. */
void usage_add_member(struct usage_record *sum, const struct usage_record *r);
/* What is hashed: lines "KEY VALUE", those of metrics that are not 0 in the order of the table. BUF
 * takes USAGE_TEXT_SIZE bytes. Returns the length. */
size_t usage_text(const struct usage_record *r, char *buf);
/* Lower-case hexadecimal; RET takes USAGE_HEX bytes. Returns RET. */
char *usage_hex(const uint8_t hash[static USAGE_HASH], char *ret);
bool usage_unhex(const char *s, uint8_t ret[static USAGE_HASH]);

/* SHA-256 of usage_text() (usage-hash.c: needs libcrypto). 0 or -ENOMEM. */
int usage_hash(const struct usage_record *r, uint8_t ret[static USAGE_HASH]);

/* --- whether records are those that were written (usage-check.c) --- */

struct usage_checker; /* of one guest; its records come by level, INTERVAL first, then by number */
enum usage_fault {
	USAGE_GOOD,
	USAGE_BAD_HASH,    /* the record is not what was hashed */
	USAGE_BAD_LINK,    /* the one before it is not the one that it names */
	USAGE_BAD_MEMBERS, /* it does not stand for the members that are there, or their sum */
	USAGE_MISSING, /* records between two that are there are not, and nothing stands for them */
};
extern const char *const usage_fault_text[USAGE_MISSING + 1];
struct usage_checker *usage_checker_new(void);
void usage_checker_free(struct usage_checker *c);
/* The next record. USAGE_GOOD or the first fault found in it; negative: -ENOMEM. */
int usage_check(struct usage_checker *c, const struct usage_record *r);
/* After the last one: USAGE_GOOD, or USAGE_MISSING. Days may begin anywhere: the oldest are
 * removed. */
int usage_check_end(struct usage_checker *c);
