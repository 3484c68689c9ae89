/* vmm/boot-regs.c - the registers that the first vCPU starts with */
#include <errno.h>
#include <linux/kvm.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>

#include "lib/base/own.h"
#include "vmm/boot-inner.h"

#define CR0_PE    (1U << 0)
#define CR0_ET    (1U << 4)
#define CR0_NE    (1U << 5)
#define CR0_PG    (1U << 31)
#define CR4_PAE   (1U << 5)
#define EFER_LME  (1U << 8)
#define EFER_LMA  (1U << 10)
#define RFLAGS_1  2 /* always set */
#define PTE_TABLE 3 /* present, writable */
#define PTE_LARGE 0x83
#define LARGE     (2ULL << 20)

#define LVT_EXTINT      0x700U
#define LVT_NMI         0x400U
#define LAPIC_LVT0      0x350
#define LAPIC_LVT1      0x360
#define MSR_MTRR_DEF    0x2ff
#define MTRR_WRITE_BACK (1U << 11 | 6)

/* Selectors as Linux' boot protocol wants them: code 0x10, data 0x18; a task segment for KVM. */
static const uint64_t gdt_long[] = { 0, 0, 0x00af9b000000ffffULL, 0x00cf93000000ffffULL,
				     0x008f8b000000ffffULL };
static const uint64_t gdt_flat[] = { 0, 0, 0x00cf9b000000ffffULL, 0x00cf93000000ffffULL,
				     0x008f8b000000ffffULL };

static struct kvm_segment segment(const uint64_t *gdt, unsigned index)
{
	uint64_t d = gdt[index];

	return (struct kvm_segment){
		.limit = (uint32_t)((d & 0xffff) | (d >> 32 & 0xf0000)) << 12 | 0xfff,
		.selector = (uint16_t)(index * 8),
		.type = d >> 40 & 15,
		.s = d >> 44 & 1,
		.dpl = d >> 45 & 3,
		.present = d >> 47 & 1,
		.l = d >> 53 & 1,
		.db = d >> 54 & 1,
		.g = d >> 55 & 1,
	};
}

static void write_tables(const struct mem *m, const uint64_t *gdt, size_t size)
{
	uint64_t *t = mem_at(m, BOOT_PML4, 6 * MEM_PAGE);

	memcpy(mem_at(m, BOOT_GDT, size), gdt, size);
	memset(t, 0, 2 * MEM_PAGE);
	t[0] = (BOOT_PML4 + MEM_PAGE) | PTE_TABLE;
	for (unsigned i = 0; i < 4; i++)
		t[512 + i] = (BOOT_PML4 + (2 + i) * MEM_PAGE) | PTE_TABLE;
	for (uint64_t i = 0; i < 4ULL * 512; i++)
		t[1024 + i] = i * LARGE | PTE_LARGE;
}

static void fill_sregs(struct kvm_sregs *s, bool is_long)
{
	const uint64_t *gdt = is_long ? gdt_long : gdt_flat;

	s->cs = segment(gdt, 2);
	s->ds = s->es = s->fs = s->gs = s->ss = segment(gdt, 3);
	s->tr = segment(gdt, 4);
	s->gdt = (struct kvm_dtable){ .base = BOOT_GDT, .limit = sizeof(gdt_long) - 1 };
	s->idt = (struct kvm_dtable){ .base = 0, .limit = 0 };
	s->cr0 = CR0_PE | CR0_ET | CR0_NE;
	if (!is_long)
		return;
	s->cr0 |= CR0_PG;
	s->cr3 = BOOT_PML4;
	s->cr4 |= CR4_PAE;
	s->efer |= EFER_LME | EFER_LMA;
}

/* As firmware leaves them: the old controllers' output and NMI at the local controller's pins, all
 * memory cached. */
static int set_wires(int vcpu, struct cos_err *err)
{
	union {
		struct kvm_msrs head;
		uint8_t room[sizeof(struct kvm_msrs) + sizeof(struct kvm_msr_entry)];
	} msr = { .head = { .nmsrs = 1 } };
	const struct kvm_msr_entry entry = { .index = MSR_MTRR_DEF, .data = MTRR_WRITE_BACK };
	struct kvm_lapic_state lapic;
	uint32_t lvt0 = LVT_EXTINT, lvt1 = LVT_NMI;

	if (ioctl(vcpu, KVM_GET_LAPIC, &lapic) < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "KVM_GET_LAPIC");
	memcpy(&lapic.regs[LAPIC_LVT0], &lvt0, sizeof(lvt0));
	memcpy(&lapic.regs[LAPIC_LVT1], &lvt1, sizeof(lvt1));
	if (ioctl(vcpu, KVM_SET_LAPIC, &lapic) < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "KVM_SET_LAPIC");
	memcpy(msr.room + offsetof(struct kvm_msrs, entries), &entry, sizeof(entry));
	ioctl(vcpu, KVM_SET_MSRS, &msr); /* a host without MTRRs has none to set */
	return 0;
}

int boot_regs(int vcpu, const struct mem *m, const struct boot *b, struct cos_err *err)
{
	bool is_long = b->kind != BOOT_PVH;
	struct kvm_regs regs = {
		.rip = b->entry,
		.rflags = RFLAGS_1,
		.rsp = BOOT_STACK,
		.rsi = is_long ? BOOT_PARAMS : 0,
		.rbx = is_long ? 0 : BOOT_PVH_AT,
	};
	struct kvm_sregs s;

	if (ioctl(vcpu, KVM_GET_SREGS, &s) < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "KVM_GET_SREGS");
	write_tables(m, is_long ? gdt_long : gdt_flat, sizeof(gdt_long));
	fill_sregs(&s, is_long);
	if (ioctl(vcpu, KVM_SET_SREGS, &s) < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "KVM_SET_SREGS");
	if (ioctl(vcpu, KVM_SET_REGS, &regs) < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "KVM_SET_REGS");
	return set_wires(vcpu, err);
}
