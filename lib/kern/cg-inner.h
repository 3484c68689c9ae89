/* lib/kern/cg-inner.h - what the files of cg*.c share among themselves */
#pragma once

#include "lib/kern/cg.h"

/* The number after KEY at the start of a line of TEXT; 0 if there is none. */
uint64_t cg_flat_value(const char *text, const char *key);

/* Whether the slot has a guaranteed amount of memory. */
bool cg_has_reserve(const struct cg_topo *t, const char *slot);
/* A guarantee holds only as far as the group above has one: it gets the sum of the slots'. */
void cg_sum_reserves(const struct cg_topo *t);
