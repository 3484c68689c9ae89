/* vmm/mem.h - the guest's memory: one private mapping of ours, addressed as the guest sees it
 *
 * Physical addresses below MEM_HOLE and from MEM_HIGH on are memory; devices lie between. The
 * mapping stays where it is for the machine's life and has a guard page on either side: a pointer
 * that mem_at() gave stays good. What it points to can change under our eyes at any time: values
 * are copied once, then checked. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/err.h"

#define MEM_PAGE 4096ULL
#define MEM_MIN  (4ULL << 20)
#define MEM_MAX  (1ULL << 40)
#define MEM_HOLE 0xc0000000ULL
#define MEM_HIGH 0x100000000ULL

struct mem {
	uint8_t *base;
	uint64_t size; /* bytes in all */
	uint64_t low;  /* bytes below MEM_HOLE */
};

/* SIZE is a multiple of MEM_PAGE within MEM_MIN..MEM_MAX, else -EINVAL (InvalidParameter). With
 * MERGEABLE the kernel may share pages of equal content (KSM): a side channel between guests. */
int mem_init(struct mem *m, uint64_t size, bool mergeable, struct cos_err *err);
void mem_done(struct mem *m);

/* Where the LEN bytes at GPA are, or NULL if not all of them are memory. LEN 0 is NULL too. */
void *mem_at(const struct mem *m, uint64_t gpa, uint64_t len);
/* Whether the N bytes at P, which mem_at() gave, hold whole pages; those go back to the host and
 * read as zeroes from then on. Returns the bytes freed. Leaf. */
uint64_t mem_release(void *p, uint64_t len);
