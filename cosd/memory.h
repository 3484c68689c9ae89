/* cosd/memory.h - who gives memory when the host is short of it, or guests hold too much together
 *
 * Once a second the worker compares what is free with memory.spare, and what guests hold with
 * memory.cap. If there is too little, a child process works out who gives how much
 * (lib/model/tax.h) and makes the kernel take it. Where no more can be taken, guests that hold more
 * than their shares pay for are kept from growing: what then ends is a process of theirs. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct daemon;
struct guest;

/* Of a guest's run. */
struct memory_given {
	uint64_t bytes, last_usec;       /* taken from it; wall clock */
	uint64_t told_bytes, told_usec;  /* of that in events; monotonic */
	uint64_t idle_bytes, asked_usec; /* of what swap could take, when that was last asked for */
	uint64_t lent;                   /* by a machine, as it was asked to */
	uint64_t bound;                  /* it may not grow beyond; 0: what its limit says */
};

void memory_init(struct daemon *d);
/* A run has begun. */
void memory_begin(struct guest *g);
/* Its limits were BEFORE: what was bound has perhaps become free. */
struct limits;
void memory_changed(struct guest *g, const struct limits *before);
/* A run goes on with another worker: the last may have died while it took memory. */
void memory_adopted(struct guest *g);
