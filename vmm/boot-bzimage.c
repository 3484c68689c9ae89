/* vmm/boot-bzimage.c - Linux' own format, entered in long mode */
#include <asm/bootparam.h>
#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#include "vmm/boot-inner.h"

/* Documentation/arch/x86/boot.rst of Linux */
#define HEADER_AT    0x1f1
#define HEADER_MAGIC 0x53726448 /* "HdrS" */
#define VERSION_MIN  0x20c      /* the first with a 64-bit entry */
#define ENTRY_64     0x200      /* from the load address */
#define SECTOR       512

static int check_header(const struct setup_header *h, struct cos_err *err)
{
	const char *why = NULL;

	if (h->boot_flag != 0xaa55 || h->header != HEADER_MAGIC)
		why = "neither ELF nor bzImage";
	else if (h->version < VERSION_MIN)
		why = "a bzImage of a boot protocol before 2.12";
	else if (!(h->loadflags & LOADED_HIGH) || !(h->xloadflags & XLF_KERNEL_64))
		why = "a bzImage without a 64-bit entry";
	return why ? cos_fail(err, COS_E_IMAGE, 0, "kernel: %s", why) : 0;
}

/* What the header does not reach is of later versions, and not for us to pass on. */
static void cut_header(struct setup_header *h)
{
	/* the jump that is the header's second field leads behind it */
	size_t end = 0x202 + (h->jump >> 8), len = end > HEADER_AT ? end - HEADER_AT : 0;

	if (len < sizeof(*h))
		memset((char *)h + len, 0, sizeof(*h) - len);
}

/* Where its author wants it; where that is no memory and it can go elsewhere, at the lowest place.
 */
static uint64_t address_for(const struct placed *p, const struct setup_header *h, uint64_t len)
{
	uint64_t align = h->kernel_alignment ?: 1, low;

	if (h->pref_address >= BOOT_KERNEL && h->pref_address < p->m->low &&
	    len <= p->m->low - h->pref_address)
		return h->pref_address;
	low = (BOOT_KERNEL + align - 1) / align * align;
	return h->relocatable_kernel ? low : h->pref_address;
}

int bzimage_load(struct placed *p, int fd, uint64_t size, struct setup_header *ret_hdr,
		 uint64_t *ret_entry, struct cos_err *err)
{
	struct setup_header h;
	uint64_t setup, len, at;
	int r;

	if (size < HEADER_AT + sizeof(h))
		return cos_fail(err, COS_E_IMAGE, 0, "kernel: neither ELF nor bzImage");
	r = read_exactly(fd, HEADER_AT, &h, sizeof(h), "kernel", err);
	if (r == 0)
		r = check_header(&h, err);
	if (r < 0)
		return r;
	cut_header(&h);
	setup = ((h.setup_sects ? h.setup_sects : 4) + 1ULL) * SECTOR;
	if (setup >= size)
		return cos_fail(err, COS_E_IMAGE, 0, "kernel: %" PRIu64 " bytes, all of them setup",
				size);
	len = size - setup > h.init_size ? size - setup : h.init_size;
	at = address_for(p, &h, len);
	r = place(p, at, len, "kernel", err);
	if (r == 0)
		r = read_exactly(fd, setup, mem_at(p->m, at, len), size - setup, "kernel", err);
	if (r < 0)
		return r;
	*ret_hdr = h;
	*ret_entry = at + ENTRY_64;
	return 0;
}
