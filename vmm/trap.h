/* vmm/trap.h - ranges of ports and of addresses that lead to handlers, in one table each */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define TRAPS_MAX 32

/* One access. LEN is 1 to 8 bytes; VALUE has the bytes written, or takes those read (all ones when
 * the handler leaves it alone). */
struct trap_io {
	uint64_t at; /* offset within the range */
	uint64_t value;
	unsigned len;
	bool write;
};

/* Called by any vCPU's thread, several at once: the device locks. Whatever the guest writes and
 * wherever it reads, a handler returns. */
typedef void trap_fn(void *dev, struct trap_io *io);

struct trap {
	uint64_t base, len;
	const char *name; /* kept, not copied */
	trap_fn *fn;
	void *dev;
};

struct traps {
	struct trap row[TRAPS_MAX]; /* by base, none overlap */
	unsigned n;
};

/* -EEXIST: it overlaps another; -ENOSPC: the table is full; -EINVAL: empty, or past the end. */
int traps_add(struct traps *t, const struct trap *add);
/* Carries out the access at ADDR. False: nobody is there; a read then has all ones. An access that
 * begins in a range and ends beyond is the handler's. */
bool traps_io(const struct traps *t, uint64_t addr, struct trap_io *io);
