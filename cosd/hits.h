/* cosd/hits.h - events when guests meet their limits */
#pragma once

#include "cosd/guest.h"

/* Starts looking at all guests every two seconds. */
void hits_init(struct daemon *d);
/* What the kernel has counted so far is no event: for a guest that was adopted. */
void hits_forget(struct guest *g);
/* The last look at a guest that has ended, before its groups go. */
void hits_last(struct guest *g);
/* When its run was last seen to meet limit ID, by the wall clock; 0: never. */
uint64_t hits_met(const struct guest *g, enum limit_id id);
void hits_free(struct guest *g);
