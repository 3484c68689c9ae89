/* lib/model/drip.c - a token bucket of bytes or operations above a cap; pure functions */
#include "lib/model/drip.h"

#define SIZE_MAX_TOKENS (1LL << 62)
#define USEC            1000000

int64_t drip_size(const struct drip_conf *c)
{
	unsigned __int128 size = (unsigned __int128)c->rate * c->burst_usec;

	return size < SIZE_MAX_TOKENS ? (int64_t)size : SIZE_MAX_TOKENS;
}

/* A debt of more than two looks' worth is not the guest's: nobody looked. */
static int64_t least(const struct drip_conf *c)
{
	__int128 v = (__int128)c->rate * DRIP_IDLE_USEC * 2;

	return v < SIZE_MAX_TOKENS ? -(int64_t)v : -SIZE_MAX_TOKENS;
}

int64_t drip_step(int64_t tokens, const struct drip_conf *c, uint64_t elapsed_usec, uint64_t used)
{
	__int128 t = tokens;

	t += (__int128)c->rate * elapsed_usec;
	t -= (__int128)used * USEC;
	if (t > drip_size(c))
		t = drip_size(c);
	if (t < least(c))
		t = least(c);
	return (int64_t)t;
}

uint64_t drip_cap(int64_t tokens, const struct drip_conf *c)
{
	if (tokens >= 0)
		return c->rate + (uint64_t)tokens / DRIP_DRAW_USEC;
	return c->rate / 2 ?: 1;
}

uint64_t drip_wait(int64_t tokens, const struct drip_conf *c)
{
	return tokens < drip_size(c) &&
			       tokens > (int64_t)(c->rate < SIZE_MAX_TOKENS / DRIP_TICK_USEC
							  ? c->rate * DRIP_TICK_USEC
							  : 0)
		       ? DRIP_TICK_USEC
		       : DRIP_IDLE_USEC;
}
