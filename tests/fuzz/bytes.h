/* tests/fuzz/bytes.h - an input taken piece by piece */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct bytes {
	const uint8_t *s;
	size_t left;
};

/* The next N bytes (at most 8) as a little-endian number; zeroes behind the end. */
static inline uint64_t bytes_take(struct bytes *b, size_t n)
{
	size_t have = b->left < n ? b->left : n;
	uint64_t v = 0;

	if (have > 0)
		memcpy(&v, b->s, have);
	b->s += have;
	b->left -= have;
	return v;
}
