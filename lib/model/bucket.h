/* lib/model/bucket.h - a token bucket of CPU time, of any size; pure functions
 *
 * As Linux-VServer's: tokens come at a rate and are spent by running; what an idle guest saves is
 * bounded by the bucket's size. The kernel's own bucket holds one second of its rate at most, so
 * larger ones, and those that have to fill again before they run, are kept here and the kernel's
 * quota follows. Tokens are nanoseconds of CPU time in whole numbers: a thousandth of a CPU for a
 * microsecond is one, so nothing is lost to rounding however often it is counted. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/model/limits.h"

#define BUCKET_TICK_USEC 100000U /* between two looks at one that is nearly empty */

struct bucket_conf {
	uint64_t rate_mcpu;  /* thousandths of a CPU */
	uint64_t burst_usec; /* its size */
	uint64_t hold_usec;  /* an empty one runs again from here on; 0: at once */
	unsigned cpus;       /* that the guest can use at a time */
};

struct bucket {
	int64_t tokens;     /* may be below 0: spent before the quota bit */
	bool held;          /* it was empty, and has not reached hold_usec */
	bool idle;          /* nothing was used since the last step */
	bool steady;        /* it is empty, and what comes was used: the quota alone will do */
	uint64_t held_usec; /* how long it was, in all */
};

/* Whether L asks for what the kernel cannot do alone. */
bool bucket_is_needed(const struct limits *l);
/* Full, which is what a guest that never ran has saved. */
void bucket_init(struct bucket *b, const struct bucket_conf *c);
/* ELAPSED_USEC went by, in which the guest used USED_NSEC. */
void bucket_step(struct bucket *b, const struct bucket_conf *c, uint64_t elapsed_usec,
		 uint64_t used_nsec);
/* What the guest may use until the next step, in thousandths of a CPU: LIMIT_MAX without limit, 0
 * nothing (it is held). */
uint64_t bucket_allows(const struct bucket *b, const struct bucket_conf *c);
/* Microseconds until the next step has to be: until it may be nearly empty, or is out of hold. */
uint64_t bucket_wait(const struct bucket *b, const struct bucket_conf *c);
