/* lib/model/bucket.c - a token bucket of CPU time, of any size; pure functions */
#include <stdlib.h>

#include "lib/model/bucket.h"

#define WAIT_MAX_USEC 5000000U
#define DEBT_USEC                                                                                  \
	1000000 /* what a guest can owe at most, of each CPU: nobody looked for that long */
#define SPILL_USEC (UINT64_C(2) * BUCKET_TICK_USEC)
#define IDLE_USEC  1000000U /* between two looks at a guest that did nothing, at least */
#define IDLE_SPEED 10       /* thousandths of a CPU: less is nothing */
#define SPEED      1000     /* thousandths of a CPU that one CPU is */
/* A bucket with what comes in that time, or with as large a debt, is empty; of a guest that used
 * most of what came it is left so, and corrected over STEADY_USEC. What comes in that time has to
 * fit in. */
#define EMPTY_USEC  300000
#define STEADY_USEC 1000000

bool bucket_is_needed(const struct limits *l)
{
	uint64_t rate = l->v[LIMIT_CPU_RATE];

	return rate != LIMIT_MAX && (l->v[LIMIT_CPU_BURST] > rate * 1000 || l->v[LIMIT_CPU_HOLD] ||
				     l->v[LIMIT_CPU_IDLE]);
}

static int64_t size_of(const struct bucket_conf *c)
{
	return (int64_t)(c->burst_usec * 1000);
}

static uint64_t full_speed(const struct bucket_conf *c)
{
	return (uint64_t)(c->cpus ?: 1) * SPEED;
}

void bucket_init(struct bucket *b, const struct bucket_conf *c)
{
	*b = (struct bucket){ .tokens = size_of(c) };
}

void bucket_step(struct bucket *b, const struct bucket_conf *c, uint64_t elapsed_usec,
		 uint64_t used_nsec)
{
	const int64_t size = size_of(c), least = -(int64_t)full_speed(c) * DEBT_USEC;
	uint64_t busy = used_nsec / full_speed(c), came = c->rate_mcpu * SPILL_USEC;
	__int128 tokens = b->tokens;

	/* The time it took at full speed is taken for the last: what had come to a full bucket
	 * before is spilled and not spent, but for what one looks too seldom to tell. */
	if (busy > elapsed_usec)
		busy = elapsed_usec;
	tokens += (__int128)c->rate_mcpu * (elapsed_usec - busy);
	if (tokens > size + (__int128)came)
		tokens = size + (__int128)came;
	tokens += (__int128)c->rate_mcpu * busy;
	tokens -= used_nsec;
	if (b->held)
		b->held_usec += elapsed_usec;
	b->idle = !b->held && used_nsec < elapsed_usec * IDLE_SPEED;
	if (tokens > size)
		tokens = size;
	if (tokens < least)
		tokens = least;
	b->tokens = (int64_t)tokens;
	b->steady = !c->hold_usec && size >= (int64_t)c->rate_mcpu * STEADY_USEC &&
		    llabs(b->tokens) <= (int64_t)c->rate_mcpu * EMPTY_USEC &&
		    (__int128)used_nsec * 10 >= (__int128)c->rate_mcpu * elapsed_usec * 9;
	if (b->tokens <= 0 && c->hold_usec)
		b->held = true;
	else if (b->tokens >= (int64_t)(c->hold_usec * 1000) || b->tokens >= size)
		b->held = false;
}

/* Tokens that two ticks at full speed take beyond what comes: with less the quota has to bite. */
static int64_t near_empty(const struct bucket_conf *c)
{
	return (int64_t)full_speed(c) * BUCKET_TICK_USEC * 3 / 2;
}

/* Until one that did nothing is looked at again it may use what it has saved, and no more: so it
 * need not be looked at as often as one that runs. */
static uint64_t while_idle(const struct bucket *b, const struct bucket_conf *c)
{
	uint64_t allows = (uint64_t)b->tokens / IDLE_USEC;

	if (allows < c->rate_mcpu)
		allows = c->rate_mcpu;
	return allows < full_speed(c) ? allows : LIMIT_MAX;
}

uint64_t bucket_allows(const struct bucket *b, const struct bucket_conf *c)
{
	int64_t more;

	if (b->held)
		return 0;
	if (b->idle && b->tokens > 0)
		return while_idle(b, c);
	if (b->tokens > near_empty(c) || c->rate_mcpu >= full_speed(c))
		return LIMIT_MAX;
	/* what is left, or owed, over two ticks; all of it in one if emptiness is to be reached */
	if (b->steady)
		more = b->tokens / STEADY_USEC;
	else
		more = c->hold_usec ? b->tokens / (int64_t)BUCKET_TICK_USEC + 1
				    : b->tokens / (2 * (int64_t)BUCKET_TICK_USEC);
	return more < 0 && (uint64_t)-more >= c->rate_mcpu ? 0 : c->rate_mcpu + (uint64_t)more;
}

uint64_t bucket_wait(const struct bucket *b, const struct bucket_conf *c)
{
	uint64_t speed = full_speed(c), wait = BUCKET_TICK_USEC;

	if (b->held)
		wait = ((uint64_t)(c->hold_usec * 1000) - (uint64_t)b->tokens) / c->rate_mcpu + 1;
	else if (c->rate_mcpu >= speed)
		return WAIT_MAX_USEC;
	else if (b->steady)
		return STEADY_USEC;
	else if (b->tokens > near_empty(c))
		wait = (uint64_t)(b->tokens - near_empty(c)) / (speed - c->rate_mcpu);
	if (b->idle && b->tokens > 0 && wait < IDLE_USEC)
		wait = IDLE_USEC;
	if (wait < BUCKET_TICK_USEC)
		return BUCKET_TICK_USEC;
	return wait < WAIT_MAX_USEC ? wait : WAIT_MAX_USEC;
}
