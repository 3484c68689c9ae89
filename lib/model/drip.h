/* lib/model/drip.h - a token bucket of bytes or operations above a cap; pure functions
 *
 * What a guest leaves of its cap is saved, up to the bucket's size, and may be drawn later beside
 * the cap: at most what there is over DRIP_DRAW_USEC, so that whoever looks twice in that time
 * never lets more through than was saved. Tokens are millionths, so that nothing is lost to
 * rounding. */
#pragma once

#include <stdint.h>

#define DRIP_DRAW_USEC 2000000U /* in which all that is saved would be drawn */
#define DRIP_TICK_USEC 200000U  /* between two looks while it is */
#define DRIP_IDLE_USEC 1000000U /* else */

struct drip_conf {
	uint64_t rate;       /* a second */
	uint64_t burst_usec; /* the bucket holds what the rate gives in that time */
};

/* A full one, in millionths. */
int64_t drip_size(const struct drip_conf *c);
/* TOKENS after ELAPSED_USEC in which USED went through. */
int64_t drip_step(int64_t tokens, const struct drip_conf *c, uint64_t elapsed_usec, uint64_t used);
/* The cap, a second, until the next look. */
uint64_t drip_cap(int64_t tokens, const struct drip_conf *c);
/* Microseconds until that. */
uint64_t drip_wait(int64_t tokens, const struct drip_conf *c);
