/* bench/work.h - the parts of bench/work */
#pragma once

#include <stdint.h>
#include <time.h>

/* What a file COUNT holds; who reads it moves the time on, so that work ends soon when nobody does.
 */
struct work_page {
	uint64_t done, until; /* CLOCK_MONOTONIC, nanoseconds */
};

#define WORK_PORT 9009 /* of datagrams: nobody needs a capability for it */

uint64_t work_now(clockid_t clock);
/* Says what failed and why; 1, a status for exit(). */
int work_tell(const char *what);
uint64_t work_number(const char *s);
uint64_t work_random(uint64_t *state);

/* work-count.c: each takes the words behind its name and returns a status for exit(). */
int count_none(char **arg);
int count_cpu(char **arg);
int count_memory(char **arg);
int count_reads(char **arg);
int count_trips(char **arg);
int count_sent(char **arg);
int count_received(char **arg);

/* work-same.c: alike. */
int same(char **arg);
