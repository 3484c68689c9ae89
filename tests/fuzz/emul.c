/* tests/fuzz/emul.c - instructions that KVM gave up on; input: HOW (1 byte) LENGTH (1) CODE
 * REGISTERS... MEMORY
 *
 * KVM is a pair of registers here: the emulator is compiled into the target with calls of its own.
 */
#include <errno.h>
#include <linux/kvm.h>
#include <stdarg.h>
#include <sys/ioctl.h>

#include "tests/fuzz/bytes.h"
#include "tests/fuzz/fuzz.h"

static int kvm_ioctl(int fd, unsigned long what, ...);
#define ioctl kvm_ioctl
#include "vmm/emul.c" /* NOLINT(bugprone-suspicious-include): with our ioctl() */
#undef ioctl

/* Page tables: 2 MiB pages at 0, the same again read-only from 1 GiB on. */
#define PML4 0x1000UL
#define PDPT 0x2000UL
#define PD   0x3000UL
#define CODE 0x10000UL

static struct kvm_regs regs;
static struct kvm_sregs sregs;
static struct kvm_vcpu_events events;
static struct kvm_fpu fpu;

static int kvm_ioctl(int fd, unsigned long what, ...)
{
	va_list ap;
	void *p;

	(void)fd;
	va_start(ap, what);
	p = va_arg(ap, void *);
	va_end(ap);
	switch (what) {
	case KVM_GET_REGS:
		memcpy(p, &regs, sizeof(regs));
		break;
	case KVM_SET_REGS:
		memcpy(&regs, p, sizeof(regs));
		break;
	case KVM_GET_SREGS:
		memcpy(p, &sregs, sizeof(sregs));
		break;
	case KVM_SET_SREGS:
		memcpy(&sregs, p, sizeof(sregs));
		break;
	case KVM_GET_VCPU_EVENTS:
		memcpy(p, &events, sizeof(events));
		break;
	case KVM_SET_VCPU_EVENTS:
		memcpy(&events, p, sizeof(events));
		break;
	case KVM_GET_FPU:
		memcpy(p, &fpu, sizeof(fpu));
		break;
	default:
		errno = EINVAL;
		return -1;
	}
	return 0;
}

static void put(struct mem *m, uint64_t at, uint64_t v)
{
	memcpy(mem_at(m, at, sizeof(v)), &v, sizeof(v));
}

static void write_tables(struct mem *m)
{
	put(m, PML4, PDPT | 3);
	put(m, PDPT, PD | 3);
	put(m, PDPT + 8, PD | 1);
	for (uint64_t i = 0; i < 8; i++)
		put(m, PD + i * 8, i << 21 | 0x83);
}

static void take_regs(struct bytes *b)
{
	uint8_t *p = (uint8_t *)&regs;

	/* rax to r15 are the struct's first sixteen */
	for (unsigned i = 0; i < 16; i++) {
		uint64_t v = bytes_take(b, 4) | bytes_take(b, 1) % 3 << 62;

		memcpy(p + i * sizeof(v), &v, sizeof(v));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct vm vm;
	static struct kvm_run run;
	struct vcpu c = { .vm = &vm, .fd = -1, .run = &run };
	struct bytes b = { data, size };
	unsigned how = (unsigned)bytes_take(&b, 1), n = (unsigned)bytes_take(&b, 1) % 17;
	struct cos_err err;
	char what[EMUL_TEXT] = "";
	uint8_t code[17];
	int r;

	if (!vm.mem.base)
		check(mem_init(&vm.mem, MEM_MIN, false, &err) == 0);
	memset(&run, 0, sizeof(run));
	events = (struct kvm_vcpu_events){ 0 };
	sregs = (struct kvm_sregs){ .cr3 = how & 1 ? PML4 : bytes_take(&b, 8),
				    .efer = EFER_LMA,
				    .cr0 = how & 2 ? CR0_MP | CR0_TS : 0,
				    .cs.l = !(how & 4) };
	fpu.fsw = how & 8 ? FSW_ES : 0;
	write_tables(&vm.mem);
	for (unsigned i = 0; i < n; i++)
		code[i] = (uint8_t)bytes_take(&b, 1);
	take_regs(&b);
	regs.rip = CODE;
	if (how & 16) {
		run.internal.ndata = 4;
		run.emulation_failure.flags = KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES;
		run.emulation_failure.insn_size = (uint8_t)n;
		memcpy(run.emulation_failure.insn_bytes, code, n < 15 ? n : 15);
	} else {
		memcpy(mem_at(&vm.mem, CODE, n + 1), code, n);
	}
	/* the rest is the guest's to put where its tables are */
	if (b.left > 0)
		memcpy(mem_at(&vm.mem, PDPT, 0x2000), b.s, b.left < 0x2000 ? b.left : 0x2000);
	r = emul_step(&c, what);
	check(r == 0 || (r == -ENOSYS && what[0] && memchr(what, '\0', sizeof(what))));
	check(r < 0 || regs.rip - CODE <= INSN_MAX || events.exception.injected);
	return 0;
}
