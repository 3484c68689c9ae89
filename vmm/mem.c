/* vmm/mem.c - the guest's memory: one private mapping of ours, addressed as the guest sees it */
#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <sys/mman.h>

#include "vmm/mem.h"

int mem_init(struct mem *m, uint64_t size, bool mergeable, struct cos_err *err)
{
	uint8_t *p;

	if (size < MEM_MIN || size > MEM_MAX || size % MEM_PAGE != 0)
		return cos_fail(err, COS_E_INVALID, 0,
				"memory: %" PRIu64 " bytes, not whole pages within 4M..1T", size);
	p = mmap(NULL, size + 2 * MEM_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		 -1, 0);
	if (p == MAP_FAILED)
		return cos_fail(err, COS_E_KERNEL, errno, "map %" PRIu64 " bytes of memory", size);
	if (mprotect(p + MEM_PAGE, size, PROT_READ | PROT_WRITE) < 0) {
		int no = errno;

		munmap(p, size + 2 * MEM_PAGE);
		return cos_fail(err, COS_E_KERNEL, no, "%" PRIu64 " bytes of memory", size);
	}
	*m = (struct mem){ p + MEM_PAGE, size, size < MEM_HOLE ? size : MEM_HOLE };
	/* Both are wishes: a kernel without KSM or a core file with zeroes harms nobody. */
	madvise(m->base, size, MADV_DONTDUMP);
	if (mergeable)
		madvise(m->base, size, MADV_MERGEABLE);
	return 0;
}

void mem_done(struct mem *m)
{
	if (m->base)
		munmap(m->base - MEM_PAGE, m->size + 2 * MEM_PAGE);
	*m = (struct mem){ 0 };
}

void *mem_at(const struct mem *m, uint64_t gpa, uint64_t len)
{
	uint64_t first = 0, end = m->low;

	if (gpa >= MEM_HIGH) {
		first = m->low;
		end = m->size;
		gpa = gpa - MEM_HIGH + m->low;
		if (gpa < first)
			return NULL;
	}
	if (len == 0 || gpa < first || gpa >= end || len > end - gpa)
		return NULL;
	return m->base + gpa;
}

uint64_t mem_release(void *p, uint64_t len)
{
	uintptr_t from = ((uintptr_t)p + MEM_PAGE - 1) & ~(uintptr_t)(MEM_PAGE - 1);
	uintptr_t to = ((uintptr_t)p + len) & ~(uintptr_t)(MEM_PAGE - 1);

	if (from >= to || madvise((char *)p + (from - (uintptr_t)p), to - from, MADV_DONTNEED) < 0)
		return 0;
	return to - from;
}
