/* bench/same.h - work that a process and the mini guest of tests/vmm do alike: no call, no library
 *
 * It is compiled without vector instructions wherever it runs. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define SAME_BYTES (16UL << 20) /* more than most caches */

/* N steps of a random number. */
static inline uint64_t same_steps(uint64_t n)
{
	uint64_t x = 88172645463325252;

	for (; n > 0; n--) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
	}
	return x;
}

/* Writes SAME_BYTES at AT, and N times copies one half of them over the other. */
static inline uint64_t same_copies(uint64_t *at, uint64_t n)
{
	const size_t half = SAME_BYTES / 2 / sizeof(*at);
	uint64_t sum = 0;

	for (size_t i = 0; i < half; i++)
		at[i] = i;
	for (; n > 0; n--) {
		for (size_t i = 0; i < half; i++)
			at[half + i] = at[i] + n;
		sum += at[half + n % half];
	}
	return sum;
}
