/* tests/vmm/boot.t.c - kernels that are none, and requests for machines that cannot be */
#include <asm/bootparam.h>
#include <elf.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/io.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "tests/tap.h"
#include "tests/vmm/run.h"
#include "vmm/boot.h"

#define MEMORY (64ULL << 20)

static struct mem mem;

struct image {
	Elf64_Ehdr h;
	Elf64_Phdr ph[2];
	char code[256];
};

static struct image good_elf(void)
{
	struct image i = {
		.h = { .e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT },
		       .e_type = ET_EXEC,
		       .e_machine = EM_X86_64,
		       .e_entry = 0x200000,
		       .e_phoff = offsetof(struct image, ph),
		       .e_phentsize = sizeof(Elf64_Phdr),
		       .e_phnum = 2 },
	};

	for (unsigned k = 0; k < 2; k++)
		i.ph[k] = (Elf64_Phdr){ .p_type = PT_LOAD,
					.p_offset = offsetof(struct image, code),
					.p_paddr = 0x200000 + k * 0x10000UL,
					.p_filesz = 256,
					.p_memsz = 4096 };
	return i;
}

static void spoil_magic(struct image *i)
{
	i->h.e_ident[1] = 'e';
}
static void spoil_class(struct image *i)
{
	i->h.e_ident[EI_CLASS] = ELFCLASS32;
}
static void spoil_machine(struct image *i)
{
	i->h.e_machine = EM_AARCH64;
}
static void spoil_type(struct image *i)
{
	i->h.e_type = ET_REL;
}
static void spoil_no_headers(struct image *i)
{
	i->h.e_phnum = 0;
}
static void spoil_many_headers(struct image *i)
{
	i->h.e_phnum = 65;
}
static void spoil_header_size(struct image *i)
{
	i->h.e_phentsize = 8;
}
static void spoil_headers_far(struct image *i)
{
	i->h.e_phoff = 1 << 20;
}
static void spoil_headers_wrap(struct image *i)
{
	i->h.e_phoff = UINT64_MAX - 8;
}
static void spoil_overlap(struct image *i)
{
	i->ph[1].p_paddr = 0x200800;
}
static void spoil_same(struct image *i)
{
	i->ph[1].p_paddr = 0x200000;
}
static void spoil_low(struct image *i)
{
	i->ph[0].p_paddr = 0x7000;
}
static void spoil_zero(struct image *i)
{
	i->ph[0].p_paddr = 0;
}
static void spoil_high(struct image *i)
{
	i->ph[1].p_paddr = MEMORY - 4095;
}
static void spoil_beyond(struct image *i)
{
	i->ph[1].p_paddr = 1ULL << 40;
}
static void spoil_wrap(struct image *i)
{
	i->ph[1].p_paddr = UINT64_MAX - 100;
}
static void spoil_huge(struct image *i)
{
	i->ph[1].p_memsz = UINT64_MAX;
}
static void spoil_file_larger(struct image *i)
{
	i->ph[1].p_memsz = 255;
}
static void spoil_offset(struct image *i)
{
	i->ph[1].p_offset = 1 << 20;
}
static void spoil_offset_wrap(struct image *i)
{
	i->ph[1].p_offset = UINT64_MAX - 10;
}
static void spoil_length(struct image *i)
{
	i->ph[1].p_filesz = i->ph[1].p_memsz = 1 << 20;
}
static void spoil_entry(struct image *i)
{
	i->h.e_entry = 0x300000;
}

static const struct {
	const char *what;
	void (*spoil)(struct image *i);
} elfs[] = {
	{ "no magic", spoil_magic },
	{ "32 bits", spoil_class },
	{ "another machine", spoil_machine },
	{ "an object file", spoil_type },
	{ "no headers", spoil_no_headers },
	{ "65 headers", spoil_many_headers },
	{ "headers of another size", spoil_header_size },
	{ "headers behind the end", spoil_headers_far },
	{ "headers at the end of 64 bits", spoil_headers_wrap },
	{ "overlapping segments", spoil_overlap },
	{ "two segments at one place", spoil_same },
	{ "a segment on the boot parameters", spoil_low },
	{ "a segment at 0", spoil_zero },
	{ "a segment across the end of memory", spoil_high },
	{ "a segment beyond memory", spoil_beyond },
	{ "a segment at the end of 64 bits", spoil_wrap },
	{ "a segment of 16 EiB", spoil_huge },
	{ "more bytes in the file than in memory", spoil_file_larger },
	{ "bytes behind the end of the file", spoil_offset },
	{ "bytes at the end of 64 bits", spoil_offset_wrap },
	{ "more bytes than the file has", spoil_length },
	{ "an entry in no segment", spoil_entry },
};

/* Loads the bytes; returns what boot_load() does, and checks that a failure says why. */
static int load(const void *s, size_t len, enum boot_kind kind, int initrd)
{
	auto_close int fd = run_file(s, len);
	struct boot_args a = {
		.kind = kind, .kernel = fd, .initrd = initrd, .cmdline = "", .n_vcpus = 1
	};
	struct cos_err err = { 0 };
	struct boot b;
	int r = boot_load(&mem, &a, &b, &err);

	return r < 0 && err.why[0] ? -1 : r;
}

static void elf_kernels(void)
{
	struct image good = good_elf();

	ok(load(&good, sizeof(good), BOOT_AUTO, -1) == 0, "a good ELF kernel");
	ok(load(&good, sizeof(good), BOOT_PVH, -1) == -1, "but without an entry for PVH");
	ok(load(&good, sizeof(good), BOOT_BZIMAGE, -1) == -1, "and no bzImage");
	for (size_t i = 0; i < ARRAY_SIZE(elfs); i++) {
		struct image bad = good;

		elfs[i].spoil(&bad);
		ok(load(&bad, sizeof(bad), BOOT_ELF, -1) == -1, "%s", elfs[i].what);
	}
	for (size_t n = 0; n < sizeof(good); n++) {
		if (load(&good, n, BOOT_ELF, -1) == 0)
			ok(false, "cut to %zu bytes", n);
	}
	ok(true, "cut to any length");
}

struct bzimage {
	uint8_t before[0x1f1];
	struct setup_header h;
	uint8_t rest[4096];
};

static struct bzimage good_bzimage(void)
{
	struct bzimage b = { .h = { .setup_sects = 1,
				    .boot_flag = 0xaa55,
				    .header = 0x53726448,
				    .version = 0x20c,
				    .loadflags = LOADED_HIGH,
				    .xloadflags = XLF_KERNEL_64,
				    .kernel_alignment = 0x200000,
				    .relocatable_kernel = 1,
				    .pref_address = 0x1000000,
				    .init_size = 0x100000,
				    .jump = 0x66eb } };

	return b;
}

static void bzimages(void)
{
	struct bzimage good = good_bzimage(), b = good;

	ok(load(&good, sizeof(good), BOOT_AUTO, -1) == 0, "a good bzImage");
	b.h.pref_address = 1ULL << 40;
	ok(load(&b, sizeof(b), BOOT_AUTO, -1) == 0, "it goes elsewhere if it can");
	b.h.relocatable_kernel = 0;
	ok(load(&b, sizeof(b), BOOT_AUTO, -1) == -1, "and is refused if not");
	b = good;
	b.h.init_size = UINT32_MAX;
	ok(load(&b, sizeof(b), BOOT_AUTO, -1) == -1, "it needs more than there is");
	b = good;
	b.h.kernel_alignment = UINT32_MAX;
	b.h.pref_address = 0;
	ok(load(&b, sizeof(b), BOOT_AUTO, -1) == -1, "it wants an alignment of 4 GiB");
	b = good;
	b.h.version = 0x204;
	ok(load(&b, sizeof(b), BOOT_AUTO, -1) == -1, "of an old protocol");
	b = good;
	b.h.xloadflags = 0;
	ok(load(&b, sizeof(b), BOOT_AUTO, -1) == -1, "without a 64-bit entry");
	b = good;
	b.h.setup_sects = 255;
	ok(load(&b, sizeof(b), BOOT_AUTO, -1) == -1, "all of it is setup");
	b = good;
	b.h.jump = 0xffeb;
	ok(load(&b, sizeof(b), BOOT_AUTO, -1) == 0, "a header that claims to be longer than any");
	for (size_t n = 0; n < 1025; n += 7) {
		if (load(&good, n, BOOT_AUTO, -1) == 0)
			ok(false, "cut to %zu bytes", n);
	}
	ok(true, "cut to any length");
}

static void initrds(void)
{
	struct image good = good_elf();
	auto_close int fits = run_file("x", 1), large = run_file("x", 1), exact = run_file("x", 1);
	auto_close int none = run_file("", 0), dir = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (ftruncate(large, (off_t)MEMORY * 2) < 0 || ftruncate(exact, MEMORY - 0x200800) < 0)
		abort();
	ok(load(&good, sizeof(good), BOOT_ELF, fits) == 0, "a small initrd");
	ok(load(&good, sizeof(good), BOOT_ELF, large) == -1, "larger than memory");
	ok(load(&good, sizeof(good), BOOT_ELF, exact) == -1, "on the kernel");
	ok(load(&good, sizeof(good), BOOT_ELF, none) == -1, "empty");
	ok(load(&good, sizeof(good), BOOT_ELF, dir) == -1, "a directory");
}

/* Command lines that are refused, with status and a word of why. */
static const struct {
	const char *arg[4];
	int status;
	const char *why;
} refused[] = {
	{ { "--vcpus", "0" }, 2, "vCPUs: 0 is not within 1.." },
	{ { "--vcpus", "1000" }, 2, "vCPUs: 1000 is not within 1.." },
	{ { "--vcpus", "-1" }, 2, "--vcpus" },
	{ { "--vcpus", "99999999999" }, 2, "--vcpus" },
	{ { "--memory", "0" }, 2, "memory" },
	{ { "--memory", "1M" }, 2, "memory" },
	{ { "--memory", "5T" }, 2, "memory" },
	{ { "--memory", "4194305" }, 2, "memory" },
	{ { "--memory", "lots" }, 2, "--memory" },
	{ { "--kvm", "/nonexistent" }, 2, "KVM: open /nonexistent" },
	{ { "--kvm", "/dev/null" }, 1, "not /dev/kvm" },
	{ { "--kernel", "/nonexistent" }, 2, "kernel: open" },
	{ { "--kernel", "/dev/zero" }, 1, "not a regular file" },
	{ { "--kernel", "/etc/passwd" }, 1, "neither ELF nor bzImage" },
	{ { "--kernel", "fd:99" }, 2, "fd:99" },
	{ { "--boot", "bios" }, 2, "--boot" },
	{ { "--user", "root" }, 2, "--user" },
	{ { "--control", "fd:0" }, 2, "control" },
	{ { "--sync", "/tmp" }, 2, "--sync" },
	{ { "--wings" }, 2, "no such option" },
	{ { "--memory" }, 2, "its value is missing" },
	{ { "word" }, 2, "not an option" },
};

static void refusals(void)
{
	static struct run r;
	static char long_line[4096];

	for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
		int status = run_whole(&r, refused[i].arg);

		ok(status == refused[i].status && run_logged(&r, refused[i].why),
		   "%s %s: status %d", refused[i].arg[0], refused[i].arg[1] ?: "", status);
		run_done(&r);
	}
	memset(long_line, 'x', sizeof(long_line) - 1);
	ok(run_whole(&r, (const char *const[]){ "--cmdline", long_line, NULL }) == 2 &&
		   run_logged(&r, "command line"),
	   "a command line of 4095 bytes");
	run_done(&r);
}

int main(void)
{
	const char *skip = run_skip();
	struct cos_err err;

	if (mem_init(&mem, MEMORY, false, &err) < 0)
		return 1;
	elf_kernels();
	bzimages();
	initrds();
	mem_done(&mem);
	if (skip)
		tap_skip("refusals", skip);
	else
		refusals();
	return tap_done();
}
