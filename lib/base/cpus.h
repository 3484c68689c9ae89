/* lib/base/cpus.h - sets of CPUs and the kernel's way to write them, "0-3,7"; pure functions */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CPUS_MAX 1024
#define CPUS_TEXT_SIZE                                                                             \
	256 /* of a list that cpus_parse() takes, and of what cpus_print() writes                  \
	     */

struct cpus {
	uint64_t bits[CPUS_MAX / 64];
};

/* Numbers and ranges in any order, at least one; a trailing newline is allowed. -EINVAL, or -ERANGE
 * for a CPU of CPUS_MAX or more and for a text longer than CPUS_TEXT_SIZE - 1. */
int cpus_parse(const char *s, struct cpus *ret);
/* In order, neighbours joined: never longer than what was parsed. BUF takes CPUS_TEXT_SIZE bytes;
 * what does not fit (a set that was computed) is cut at a comma and false returned. */
bool cpus_print(const struct cpus *c, char *buf);
unsigned cpus_count(const struct cpus *c);
bool cpus_has(const struct cpus *c, unsigned cpu);
void cpus_add(struct cpus *c, unsigned cpu);
/* A without B, A and B together, in both. */
struct cpus cpus_without(const struct cpus *a, const struct cpus *b);
struct cpus cpus_either(const struct cpus *a, const struct cpus *b);
struct cpus cpus_both(const struct cpus *a, const struct cpus *b);
