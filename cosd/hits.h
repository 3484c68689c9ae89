/* cosd/hits.h - events when guests meet their limits */
#pragma once

#include "cosd/guest.h"

/* Starts looking at all guests every two seconds. */
void hits_init(struct daemon *d);
/* What the kernel has counted so far is no event: for a guest that was adopted. */
void hits_forget(struct guest *g);
/* The last look at a guest that has ended, before its groups go. What was seen is kept until
 * hits_free(). */
void hits_last(struct guest *g);
/* How often the run was seen to meet limit ID, and when last, by the wall clock; 0: never. */
uint64_t hits_seen(const struct guest *g, enum limit_id id, uint64_t *ret_met_usec);
/* At a start nothing was counted yet; and before a guest is freed. */
void hits_free(struct guest *g);
