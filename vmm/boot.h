/* vmm/boot.h - a kernel put in memory, and the registers it starts with
 *
 * Kernel and initrd are files of strangers: every offset and length in them is compared with the
 * file and with the memory before it is used. Nothing but regular files is read. */
#pragma once

#include <stdint.h>

#include "lib/base/err.h"
#include "vmm/mem.h"

#define BOOT_CMDLINE_MAX 2047 /* bytes, what Linux takes */

enum boot_kind {
	BOOT_AUTO,    /* ELF64 in long mode, else bzImage */
	BOOT_ELF,     /* ELF64, at its entry in long mode, with Linux' boot parameters in RSI */
	BOOT_BZIMAGE, /* its 64-bit entry */
	BOOT_PVH,     /* ELF64 with a Xen note: 32-bit protected mode, start info in EBX */
};

struct boot_args {
	enum boot_kind kind;
	int kernel, initrd; /* borrowed; INITRD -1: none */
	const char *cmdline;
	unsigned n_vcpus;
	uint64_t rsdp; /* where ACPI's tables are, 0: there are none */
};

struct boot {
	enum boot_kind kind;
	uint64_t entry;
};

/* Fills the memory. COS_E_IMAGE: the kernel or the initrd is not usable, ERR says how. */
int boot_load(const struct mem *m, const struct boot_args *a, struct boot *ret,
	      struct cos_err *err);
/* Registers of the first vCPU (its descriptor) for what boot_load() did. The others wait for it. */
int boot_regs(int vcpu, const struct mem *m, const struct boot *b, struct cos_err *err);
