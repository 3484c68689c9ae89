/* cosd/bucket.h - guests whose CPU bucket the kernel cannot keep: the quota follows their tokens
 *
 * A guest is looked at when its bucket may be nearly empty, ten times a second until it is, else
 * seldom.
 * What it has saved is in a file that the worker maps, R/buckets, so that it outlives the worker at
 * no cost. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct daemon;
struct guest;

/* Without the file guests have full buckets after a restart of the worker, and the log says so. */
void buckets_init(struct daemon *d);
/* A run has begun, goes on with another worker, or has other limits. */
void bucket_begin(struct guest *g);
/* It has ended: what is saved is kept for the next. */
void bucket_end(struct guest *g);
/* Before the running guest's limits change: the kernel has what they say, and nothing else. */
void bucket_rest(struct guest *g);
/* What it had used at the last look, in nanoseconds, if it idled then: a second ago at most. */
bool bucket_idled(const struct guest *g, uint64_t *ret_nsec);
/* Whether it waits now for cpu.hold. */
bool bucket_is_held(const struct guest *g);
/* What is saved (below 0: owed) and how long the guest was held, both in microseconds. False: the
 * kernel keeps its bucket, or it has none. One look: 5 us. */
bool bucket_tell(struct guest *g, int64_t *ret_credit_usec, uint64_t *ret_held_usec);
