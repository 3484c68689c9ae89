/* vmm/boot-inner.h - where things lie below 1 MiB, and what the loaders share */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "vmm/boot.h"

#define BOOT_GDT     0x500ULL
#define BOOT_PVH_AT  0x6000ULL /* start info, memory map, modules: a page */
#define BOOT_PARAMS  0x7000ULL /* Linux' "zero page" */
#define BOOT_STACK   0x8ff0ULL
#define BOOT_PML4    0x9000ULL /* then a page of PDPT and four of 2 MiB pages: 4 GiB identity */
#define BOOT_CMDLINE 0x20000ULL
#define BOOT_BASE    0x9fc00ULL  /* end of what the guest may use below 1 MiB */
#define BOOT_MP      0xf0000ULL  /* MP table */
#define BOOT_KERNEL  0x100000ULL /* kernels and initrd lie above */

#define BOOT_RANGES 72

/* What is placed so far. */
struct placed {
	const struct mem *m;
	struct {
		uint64_t from, to;
	} range[BOOT_RANGES];
	unsigned n;
};

struct setup_header;

/* Takes LEN bytes at GPA for WHAT; refuses what is not all memory above BOOT_KERNEL and below the
 * hole, or taken. */
int place(struct placed *p, uint64_t gpa, uint64_t len, const char *what, struct cos_err *err);
/* LEN bytes of FD from AT on to TO: all or an error. */
int read_exactly(int fd, uint64_t at, void *to, uint64_t len, const char *what,
		 struct cos_err *err);

/* SIZE is the file's. ELF: the entry, for PVH that of the note. */
int elf_load(struct placed *p, int fd, uint64_t size, bool pvh, uint64_t *ret_entry,
	     struct cos_err *err);
/* *RET_HDR is the file's header, to be passed on in the boot parameters. */
int bzimage_load(struct placed *p, int fd, uint64_t size, struct setup_header *ret_hdr,
		 uint64_t *ret_entry, struct cos_err *err);
/* What makes the sum of N bytes at P, with it among them, 0 modulo 256. */
uint8_t boot_sum(const void *p, size_t n);
/* The MP table for N vCPUs (at most VM_VCPUS_MAX) and the interrupt controller's pins. */
void mptable_write(const struct mem *m, unsigned n);
