/* vmm/trap.c - ranges of ports and of addresses that lead to handlers */
#include <errno.h>
#include <string.h>

#include "vmm/trap.h"

/* The first row that ends behind ADDR; t->n if there is none. */
static unsigned row_for(const struct traps *t, uint64_t addr)
{
	unsigned lo = 0, hi = t->n;

	while (lo < hi) {
		unsigned mid = (lo + hi) / 2;

		if (addr >= t->row[mid].base + t->row[mid].len)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

int traps_add(struct traps *t, const struct trap *add)
{
	unsigned i = row_for(t, add->base);

	if (add->len == 0 || add->base + add->len < add->base)
		return -EINVAL;
	if (t->n == TRAPS_MAX)
		return -ENOSPC;
	if (i < t->n && t->row[i].base < add->base + add->len)
		return -EEXIST;
	memmove(&t->row[i + 1], &t->row[i], (t->n - i) * sizeof(t->row[0]));
	t->row[i] = *add;
	t->n++;
	return 0;
}

bool traps_io(const struct traps *t, uint64_t addr, struct trap_io *io)
{
	unsigned i = row_for(t, addr);

	if (!io->write)
		io->value = UINT64_MAX;
	if (i == t->n || addr < t->row[i].base)
		return false;
	io->at = addr - t->row[i].base;
	t->row[i].fn(t->row[i].dev, io);
	return true;
}
