/* vmm/boot.c - a kernel put in memory, with all that it is told */
#include <asm/bootparam.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/own.h"
#include "vmm/boot-inner.h"

/* Linux before 3.8 could not reach higher, and says so in its header. */
#define INITRD_MAX 0x7fffffffULL

/* Xen's include/public/arch-x86/hvm/start_info.h */
#define PVH_MAGIC 0x336ec578U

struct pvh_start {
	uint32_t magic, version, flags, n_modules;
	uint64_t modules, cmdline, rsdp, map;
	uint32_t n_map, reserved;
};

struct pvh_module {
	uint64_t at, size, cmdline, reserved;
};

struct pvh_map {
	uint64_t at, size;
	uint32_t type, reserved;
};

struct pvh_page {
	struct pvh_start start;
	struct pvh_module module;
	struct pvh_map map[8];
};

struct initrd {
	uint64_t at, size;
};

int place(struct placed *p, uint64_t gpa, uint64_t len, const char *what, struct cos_err *err)
{
	if (gpa < BOOT_KERNEL || gpa >= p->m->low || len > p->m->low - gpa)
		return cos_fail(err, COS_E_IMAGE, 0,
				"%s: %" PRIu64 " bytes at %#" PRIx64
				" are not in the memory from %#llx to %#" PRIx64,
				what, len, gpa, BOOT_KERNEL, p->m->low);
	for (unsigned i = 0; i < p->n; i++) {
		if (gpa < p->range[i].to && gpa + len > p->range[i].from)
			return cos_fail(err, COS_E_IMAGE, 0,
					"%s: %#" PRIx64 " to %#" PRIx64
					" overlaps what is loaded at %#" PRIx64,
					what, gpa, gpa + len, p->range[i].from);
	}
	if (p->n == BOOT_RANGES)
		return cos_fail(err, COS_E_IMAGE, 0, "%s: more than %d parts", what, BOOT_RANGES);
	p->range[p->n].from = gpa;
	p->range[p->n++].to = gpa + len;
	return 0;
}

int read_exactly(int fd, uint64_t at, void *to, uint64_t len, const char *what, struct cos_err *err)
{
	uint64_t have = 0;

	if (at > INT64_MAX || len > INT64_MAX - at)
		return cos_fail(err, COS_E_IMAGE, 0, "%s: offset %#" PRIx64, what, at);
	while (have < len) {
		ssize_t n = pread(fd, (char *)to + have, len - have, (off_t)(at + have));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return cos_fail(err, COS_E_IMAGE, errno, "%s: read", what);
		if (n == 0)
			return cos_fail(err, COS_E_IMAGE, 0,
					"%s: ends after %" PRIu64 " bytes, %" PRIu64 " are missing",
					what, at + have, len - have);
		have += (uint64_t)n;
	}
	return 0;
}

static int size_of(int fd, const char *what, uint64_t *ret, struct cos_err *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return cos_fail(err, COS_E_IMAGE, errno, "%s: stat", what);
	if (!S_ISREG(st.st_mode) || st.st_size <= 0)
		return cos_fail(err, COS_E_IMAGE, 0, "%s: not a regular file, or empty", what);
	*ret = (uint64_t)st.st_size;
	return 0;
}

/* As high as it goes: a kernel that unpacks itself needs the room above its own. */
static int load_initrd(struct placed *p, int fd, uint64_t max, struct initrd *ret,
		       struct cos_err *err)
{
	uint64_t size, top = p->m->low < max + 1 ? p->m->low : max + 1, at;
	int r = size_of(fd, "initrd", &size, err);

	if (r < 0)
		return r;
	if (size > top - BOOT_KERNEL)
		return cos_fail(err, COS_E_IMAGE, 0,
				"initrd: %" PRIu64 " bytes are more than the memory has", size);
	at = (top - size) & ~(MEM_PAGE - 1);
	r = place(p, at, size, "initrd", err);
	if (r == 0)
		r = read_exactly(fd, 0, mem_at(p->m, at, size), size, "initrd", err);
	if (r == 0)
		*ret = (struct initrd){ at, size };
	return r;
}

/* Usable and reserved ranges; returns their number. */
static unsigned memory_map(const struct mem *m, struct boot_e820_entry map[8])
{
	unsigned n = 0;

	map[n++] = (struct boot_e820_entry){ 0, BOOT_BASE, 1 };
	map[n++] = (struct boot_e820_entry){ BOOT_BASE, BOOT_KERNEL - BOOT_BASE, 2 };
	map[n++] = (struct boot_e820_entry){ BOOT_KERNEL, m->low - BOOT_KERNEL, 1 };
	if (m->size > m->low)
		map[n++] = (struct boot_e820_entry){ MEM_HIGH, m->size - m->low, 1 };
	return n;
}

static void write_params(const struct mem *m, const struct setup_header *hdr,
			 const struct initrd *rd, uint64_t rsdp)
{
	struct boot_params *bp = mem_at(m, BOOT_PARAMS, sizeof(*bp));

	memset(bp, 0, sizeof(*bp));
	bp->hdr = *hdr;
	bp->hdr.type_of_loader = 0xff;
	bp->hdr.cmd_line_ptr = BOOT_CMDLINE;
	bp->hdr.ramdisk_image = (uint32_t)rd->at;
	bp->hdr.ramdisk_size = (uint32_t)rd->size;
	bp->acpi_rsdp_addr = rsdp;
	bp->e820_entries = (uint8_t)memory_map(m, bp->e820_table);
}

static void write_pvh(const struct mem *m, const struct initrd *rd, uint64_t rsdp)
{
	struct pvh_page *pg = mem_at(m, BOOT_PVH_AT, sizeof(*pg));
	struct boot_e820_entry map[8];

	*pg = (struct pvh_page){
		.start = {
			.magic = PVH_MAGIC,
			.version = 1,
			.n_modules = rd->size > 0,
			.modules = BOOT_PVH_AT + offsetof(struct pvh_page, module),
			.cmdline = BOOT_CMDLINE,
			.rsdp = rsdp,
			.map = BOOT_PVH_AT + offsetof(struct pvh_page, map),
			.n_map = memory_map(m, map),
		},
		.module = { rd->at, rd->size, 0, 0 },
	};
	for (unsigned i = 0; i < pg->start.n_map; i++)
		pg->map[i] = (struct pvh_map){ map[i].addr, map[i].size, map[i].type, 0 };
}

static int load_kernel(struct placed *p, const struct boot_args *a, struct setup_header *hdr,
		       struct boot *ret, struct cos_err *err)
{
	char magic[4] = { 0 };
	uint64_t size;
	int r = size_of(a->kernel, "kernel", &size, err);

	if (r < 0)
		return r;
	ret->kind = a->kind;
	if (size >= sizeof(magic))
		r = read_exactly(a->kernel, 0, magic, sizeof(magic), "kernel", err);
	if (r < 0)
		return r;
	if (ret->kind == BOOT_AUTO)
		ret->kind = memcmp(magic, "\177ELF", 4) == 0 ? BOOT_ELF : BOOT_BZIMAGE;
	if (ret->kind == BOOT_BZIMAGE)
		return bzimage_load(p, a->kernel, size, hdr, &ret->entry, err);
	hdr->boot_flag = 0xaa55;
	hdr->header = 0x53726448; /* "HdrS": an ELF kernel looks for its command line only then */
	hdr->version = 0x20c;
	return elf_load(p, a->kernel, size, ret->kind == BOOT_PVH, &ret->entry, err);
}

int boot_load(const struct mem *m, const struct boot_args *a, struct boot *ret, struct cos_err *err)
{
	struct placed p = { .m = m };
	struct setup_header hdr = { 0 };
	struct initrd rd = { 0 };
	struct boot b = { 0 };
	size_t len = strlen(a->cmdline);
	int r = load_kernel(&p, a, &hdr, &b, err);

	if (r < 0)
		return r;
	if (len > BOOT_CMDLINE_MAX || (hdr.cmdline_size && len > hdr.cmdline_size))
		return cos_fail(err, COS_E_INVALID, 0,
				"the command line has %zu bytes with its devices, more than %u",
				len, hdr.cmdline_size ?: BOOT_CMDLINE_MAX);
	if (a->initrd >= 0)
		r = load_initrd(&p, a->initrd, hdr.initrd_addr_max ?: INITRD_MAX, &rd, err);
	if (r < 0)
		return r;
	memcpy(mem_at(m, BOOT_CMDLINE, len + 1), a->cmdline, len + 1);
	mptable_write(m, a->n_vcpus);
	if (b.kind == BOOT_PVH)
		write_pvh(m, &rd, a->rsdp);
	else
		write_params(m, &hdr, &rd, a->rsdp);
	*ret = b;
	return 0;
}

uint8_t boot_sum(const void *p, size_t n)
{
	const uint8_t *s = p;
	uint8_t sum = 0;

	while (n-- > 0)
		sum += *s++;
	return (uint8_t)-sum;
}
