/* vmm/cpuid.c - what a guest is told of its processor */
#include <errno.h>
#include <linux/kvm.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "lib/base/own.h"
#include "vmm/cpuid.h"
#include "vmm/vm.h"

#define ENTRIES_MAX 256

enum reg { EAX, EBX, ECX, EDX };

#define BIT(n) (1U << (n))

/* Bits taken away and added. Taken away is what the machine does not have or the MSR filter
 * refuses; a guest that believed in it would meet #GP later. */
static const struct row {
	uint32_t leaf;
	uint32_t sub;
	enum reg reg;
	uint32_t clear, set;
	const char *what;
} rows[] = {
	{ 0x1, 0, ECX, BIT(3) | BIT(5) | BIT(6) | BIT(7) | BIT(8) | BIT(15), 0,
	  "no MONITOR, VMX, SMX, EST, thermal monitor, PDCM" },
	{ 0x1, 0, ECX, 0, BIT(31), "a hypervisor is there" },
	{ 0x1, 0, EDX, BIT(21) | BIT(22) | BIT(29), 0, "no debug store, thermal control" },
	{ 0x6, 0, EAX, ~BIT(2), 0, "of power management only the timer that never stops" },
	{ 0x6, 0, ECX, ~0U, 0, "no frequency feedback" },
	{ 0x7, 0, EBX, BIT(2) | BIT(12) | BIT(15) | BIT(25), 0, "no SGX, RDT, processor trace" },
	{ 0x7, 0, ECX, BIT(5), 0, "no WAITPKG" },
	{ 0x7, 0, ECX, BIT(16), 0, "no page tables of five levels: emul.c walks four" },
	{ 0xa, 0, EAX, ~0U, 0, "no performance counters" },
	{ 0xa, 0, EBX, ~0U, 0, "no performance counters" },
	{ 0xa, 0, EDX, ~0U, 0, "no performance counters" },
	/* clock, I/O delay, clock 2, steal time, end of interrupt, unhalt, send IPI, stable clock
	 */
	{ 0x40000001, 0, EAX,
	  ~(BIT(0) | BIT(1) | BIT(3) | BIT(5) | BIT(6) | BIT(7) | BIT(11) | BIT(24)), 0,
	  "of KVM's own what needs no help of ours" },
	{ 0x80000001, 0, ECX, BIT(2) | BIT(23) | BIT(24) | BIT(28), 0,
	  "no SVM, performance counters" },
	{ 0x8000000a, 0, EAX, ~0U, 0, "no SVM" },
	{ 0x8000000a, 0, EBX, ~0U, 0, "no SVM" },
	{ 0x8000000a, 0, EDX, ~0U, 0, "no SVM" },
};

static uint32_t *reg_of(struct kvm_cpuid_entry2 *e, enum reg reg)
{
	switch (reg) {
	case EAX:
		return &e->eax;
	case EBX:
		return &e->ebx;
	case ECX:
		return &e->ecx;
	case EDX:
		break;
	}
	return &e->edx;
}

static void apply_rows(struct kvm_cpuid_entry2 *e)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		uint32_t *reg = reg_of(e, rows[i].reg);

		if (rows[i].leaf == e->function && rows[i].sub == e->index)
			*reg = (*reg & ~rows[i].clear) | rows[i].set;
	}
}

int cpuid_template(const struct vm *vm, struct kvm_cpuid2 **ret, struct cos_err *err)
{
	auto_free struct kvm_cpuid2 *t = NULL;
	bool deadline = ioctl(vm->fd, KVM_CHECK_EXTENSION, KVM_CAP_TSC_DEADLINE_TIMER) > 0;

	t = calloc(1, sizeof(*t) + ENTRIES_MAX * sizeof(t->entries[0]));
	if (!t)
		return cos_fail(err, COS_E_KERNEL, ENOMEM, "CPUID");
	t->nent = ENTRIES_MAX;
	if (ioctl(vm->kvm, KVM_GET_SUPPORTED_CPUID, t) < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "KVM_GET_SUPPORTED_CPUID");
	for (uint32_t i = 0; i < t->nent; i++) {
		apply_rows(&t->entries[i]);
		if (t->entries[i].function == 1 && deadline)
			t->entries[i].ecx |= BIT(24);
	}
	*ret = take_ptr(t);
	return 0;
}

/* Bits of an APIC's number that tell N vCPUs apart. */
static unsigned id_bits(unsigned n)
{
	unsigned bits = 0;

	while (1U << bits < n)
		bits++;
	return bits;
}

/* Each vCPU is a core of its own of one package. */
static void place(struct kvm_cpuid_entry2 *e, unsigned index, unsigned n)
{
	switch (e->function) {
	case 0x1:
		e->ebx = (e->ebx & 0xffff) | n << 16 | index << 24;
		e->edx = n > 1 ? e->edx | BIT(28) : e->edx & ~BIT(28);
		break;
	case 0x4:
		if (e->eax & 0x1f)
			e->eax = (e->eax & 0x3fff) | (BIT(id_bits(n)) - 1) << 26;
		break;
	case 0xb:
	case 0x1f:
		e->edx = index;
		e->eax = e->index == 0 ? 0 : e->index == 1 ? id_bits(n) : 0;
		e->ebx = e->index == 0 ? 1 : e->index == 1 ? n : 0;
		e->ecx = e->index | (e->index == 0 ? 0x100 : e->index == 1 ? 0x200 : 0);
		break;
	case 0x80000008:
		e->ecx = (e->ecx & ~0xf0ffU) | id_bits(n) << 12 | (n - 1);
		break;
	case 0x8000001e:
		e->eax = index;
		e->ebx = index & 0xff;
		e->ecx = 0;
		break;
	default:
		break;
	}
}

int cpuid_set(int vcpu, struct kvm_cpuid2 *t, unsigned index, unsigned n, struct cos_err *err)
{
	for (uint32_t i = 0; i < t->nent; i++)
		place(&t->entries[i], index, n);
	if (ioctl(vcpu, KVM_SET_CPUID2, t) < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "KVM_SET_CPUID2 of vCPU %u", index);
	return 0;
}
