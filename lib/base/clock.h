/* lib/base/clock.h - time in microseconds */
#pragma once

#include <stdint.h>
#include <time.h>

#define USEC_PER_SEC 1000000ULL

static inline uint64_t clock_read_usec(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * USEC_PER_SEC + (uint64_t)ts.tv_nsec / 1000;
}

/* CLOCK_MONOTONIC: for intervals and deadlines. */
static inline uint64_t clock_usec(void)
{
	return clock_read_usec(CLOCK_MONOTONIC);
}

/* CLOCK_REALTIME: for what people and files are told. */
static inline uint64_t clock_wall_usec(void)
{
	return clock_read_usec(CLOCK_REALTIME);
}
