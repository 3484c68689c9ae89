/* vmm/emul.c - the few instructions that KVM refuses in a guest's kernel
 *
 * 64-bit code of privilege level 0 only: user mode runs on the processor itself. Operands in memory
 * are found by walking the guest's page tables; each byte of those, and of the code, is the guest's
 * to change while we look, so it is read once. */
#include <errno.h>
#include <inttypes.h>
#include <linux/kvm.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "lib/base/own.h"
#include "vmm/emul.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

#define INSN_MAX 15

#define CR0_MP       (1ULL << 1)
#define CR0_TS       (1ULL << 3)
#define RFLAGS_CF    (1ULL << 0)
#define RFLAGS_ZF    (1ULL << 6)
#define RFLAGS_ARITH 0x8d5ULL /* CF PF AF ZF SF OF */
#define RFLAGS_RF    (1ULL << 16)
#define RFLAGS_AC    (1ULL << 18)
#define EFER_LMA     (1ULL << 10)
#define FSW_ES       0x80

#define PTE_PRESENT  1ULL
#define PTE_WRITE    2ULL
#define PTE_ACCESSED 0x20ULL
#define PTE_DIRTY    0x40ULL
#define PTE_LARGE    0x80ULL
#define PTE_ADDR     0x000ffffffffff000ULL

enum exception { DB = 1, BP = 3, UD = 6, NM = 7, GP = 13, PF = 14, MF = 16 };

struct insn {
	uint8_t b[INSN_MAX];
	unsigned n, at; /* bytes there are; bytes decoded */
	uint8_t rex, modrm;
	bool rep, lock, opsize;
	uint64_t segment; /* base of FS or GS */
};

struct step {
	struct vcpu *c;
	struct kvm_regs r;
	struct kvm_sregs s;
	struct insn i;
};

/* ---- the guest's memory ---- */

/* Where LINEAR leads to, as the processor would find it; -EFAULT: nowhere, or not for writing.
 * Four levels. */
static int walk(const struct step *st, uint64_t linear, bool write, uint64_t *ret)
{
	uint64_t table = st->s.cr3 & PTE_ADDR;

	for (int level = 3; level >= 0; level--) {
		unsigned shift = 12 + 9 * (unsigned)level;
		uint64_t *p = mem_at(&st->c->vm->mem, table + (linear >> shift & 511) * 8, 8), pte;

		if (!p)
			return -EFAULT;
		pte = __atomic_load_n(p, __ATOMIC_RELAXED);
		if (!(pte & PTE_PRESENT) || (write && !(pte & PTE_WRITE)))
			return -EFAULT;
		if (level == 0 || (level < 3 && pte & PTE_LARGE)) {
			uint64_t mask = (1ULL << shift) - 1;

			__atomic_fetch_or(p, PTE_ACCESSED | (write ? PTE_DIRTY : 0),
					  __ATOMIC_RELAXED);
			*ret = (pte & PTE_ADDR & ~mask) | (linear & mask);
			return 0;
		}
		table = pte & PTE_ADDR;
	}
	return -EFAULT;
}

/* LEN bytes at LINEAR that lie within one page. */
static void *operand(const struct step *st, uint64_t linear, uint64_t len, bool write)
{
	uint64_t gpa;

	if ((linear & (MEM_PAGE - 1)) + len > MEM_PAGE || walk(st, linear, write, &gpa) < 0)
		return NULL;
	return mem_at(&st->c->vm->mem, gpa, len);
}

/* KVM passes the bytes that it could not execute; older ones do not. */
static void fetch(struct step *st)
{
	const struct kvm_run *run = st->c->run;
	uint64_t gpa;

	if (run->internal.ndata >= 3 &&
	    run->emulation_failure.flags & KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES &&
	    run->emulation_failure.insn_size > 0) {
		st->i.n = run->emulation_failure.insn_size;
		if (st->i.n > INSN_MAX)
			st->i.n = INSN_MAX;
		memcpy(st->i.b, run->emulation_failure.insn_bytes, st->i.n);
		return;
	}
	for (; st->i.n < INSN_MAX && walk(st, st->r.rip + st->i.n, false, &gpa) == 0; st->i.n++) {
		const uint8_t *p = mem_at(&st->c->vm->mem, gpa, 1);

		if (!p)
			return;
		st->i.b[st->i.n] = __atomic_load_n(p, __ATOMIC_RELAXED);
	}
}

/* ---- results ---- */

static int set_regs(struct step *st)
{
	st->r.rflags &= ~RFLAGS_RF;
	return ioctl(st->c->fd, KVM_SET_REGS, &st->r) < 0 ? -errno : 0;
}

static int finish(struct step *st)
{
	st->r.rip += st->i.at;
	return set_regs(st);
}

static int raise_at(struct step *st, enum exception nr, bool has_code, uint32_t code)
{
	struct kvm_vcpu_events ev;

	if (ioctl(st->c->fd, KVM_GET_VCPU_EVENTS, &ev) < 0)
		return -errno;
	ev.exception.injected = 1;
	ev.exception.nr = (uint8_t)nr;
	ev.exception.has_error_code = has_code;
	ev.exception.error_code = code;
	return ioctl(st->c->fd, KVM_SET_VCPU_EVENTS, &ev) < 0 ? -errno : 0;
}

static int raise_pf(struct step *st, uint64_t addr, bool write)
{
	st->s.cr2 = addr;
	if (ioctl(st->c->fd, KVM_SET_SREGS, &st->s) < 0)
		return -errno;
	/* whether something is there, but for reading only, decides bit 0 */
	return raise_at(st, PF, true, (write ? 2 : 0) | (operand(st, addr, 1, false) ? 1 : 0));
}

/* ---- operands ---- */

static uint64_t *gpr(struct step *st, unsigned n)
{
	struct kvm_regs *r = &st->r;
	uint64_t *const regs[16] = {
		(uint64_t *)&r->rax, (uint64_t *)&r->rcx, (uint64_t *)&r->rdx, (uint64_t *)&r->rbx,
		(uint64_t *)&r->rsp, (uint64_t *)&r->rbp, (uint64_t *)&r->rsi, (uint64_t *)&r->rdi,
		(uint64_t *)&r->r8,  (uint64_t *)&r->r9,  (uint64_t *)&r->r10, (uint64_t *)&r->r11,
		(uint64_t *)&r->r12, (uint64_t *)&r->r13, (uint64_t *)&r->r14, (uint64_t *)&r->r15,
	};

	return regs[n & 15];
}

/* The next N bytes, sign extended; false: the instruction is cut. */
static bool take(struct insn *i, unsigned n, int64_t *ret)
{
	uint64_t v = 0;

	if (i->n - i->at < n)
		return false;
	memcpy(&v, i->b + i->at, n);
	i->at += n;
	*ret = n == 1 ? (int8_t)v : n == 4 ? (int32_t)v : (int64_t)v;
	return true;
}

static bool take_sib(struct step *st, unsigned mod, uint64_t *ret)
{
	struct insn *i = &st->i;
	unsigned index, base;
	int64_t sib, disp = 0;

	if (!take(i, 1, &sib))
		return false;
	index = ((unsigned)sib >> 3 & 7) | (i->rex & 2 ? 8 : 0);
	base = ((unsigned)sib & 7) | (i->rex & 1 ? 8 : 0);
	*ret = 0;
	if (index != 4)
		*ret = *gpr(st, index) << ((unsigned)sib >> 6 & 3);
	if ((base & 7) != 5 || mod != 0)
		*ret += *gpr(st, base);
	else if (!take(i, 4, &disp))
		return false;
	*ret += (uint64_t)disp;
	return true;
}

/* The address that ModRM, whose byte was taken, and what follows it name. */
static bool take_address(struct step *st, uint64_t *ret)
{
	struct insn *i = &st->i;
	unsigned mod = i->modrm >> 6, rm = i->modrm & 7;
	bool relative = mod == 0 && rm == 5;
	int64_t disp = 0;

	if (rm == 4) {
		if (!take_sib(st, mod, ret))
			return false;
	} else {
		*ret = relative ? 0 : *gpr(st, rm | (i->rex & 1 ? 8 : 0));
	}
	if (mod == 1 && !take(i, 1, &disp))
		return false;
	if ((mod == 2 || relative) && !take(i, 4, &disp))
		return false;
	/* no immediate follows in any row of the table: this is the end */
	*ret += (uint64_t)disp + i->segment + (relative ? st->r.rip + i->at : 0);
	return true;
}

/* ---- instructions ---- */

static int do_int3(struct step *st)
{
	int r = finish(st);

	return r < 0 ? r : raise_at(st, BP, false, 0);
}

static int do_fwait(struct step *st)
{
	struct kvm_fpu fpu;

	if ((st->s.cr0 & (CR0_MP | CR0_TS)) == (CR0_MP | CR0_TS))
		return raise_at(st, NM, false, 0);
	if (ioctl(st->c->fd, KVM_GET_FPU, &fpu) == 0 && fpu.fsw & FSW_ES)
		return raise_at(st, MF, false, 0);
	return finish(st);
}

static int do_clac(struct step *st)
{
	st->r.rflags &= ~RFLAGS_AC;
	return finish(st);
}

static int do_stac(struct step *st)
{
	st->r.rflags |= RFLAGS_AC;
	return finish(st);
}

static int do_cmpxchg16b(struct step *st)
{
	uint64_t addr, lo = st->r.rax, hi = st->r.rdx;
	bool equal;
	void *p;

	/* without REX.W it is cmpxchg8b, which KVM knows; register operands are others */
	if ((st->i.modrm >> 3 & 7) != 1 || st->i.modrm >> 6 == 3 || !(st->i.rex & 8) ||
	    !take_address(st, &addr))
		return -ENOSYS;
	if (addr & 15)
		return raise_at(st, GP, true, 0);
	p = operand(st, addr, 16, true);
	if (!p)
		return raise_pf(st, addr, true);
	__asm__ volatile("lock cmpxchg16b %1"
			 : "=@ccz"(equal), "+m"(*(uint8_t(*)[16])p), "+a"(lo), "+d"(hi)
			 : "b"(st->r.rbx), "c"(st->r.rcx)
			 : "memory");
	st->r.rax = lo;
	st->r.rdx = hi;
	st->r.rflags = (st->r.rflags & ~RFLAGS_ZF) | (equal ? RFLAGS_ZF : 0);
	return finish(st);
}

static int do_popcnt(struct step *st)
{
	unsigned len = st->i.rex & 8 ? 8 : st->i.opsize ? 2 : 4;
	uint64_t *to = gpr(st, (st->i.modrm >> 3 & 7) | (st->i.rex & 4 ? 8 : 0)), v = 0, addr;

	if (st->i.modrm >> 6 == 3) {
		memcpy(&v, gpr(st, (st->i.modrm & 7) | (st->i.rex & 1 ? 8 : 0)), len);
	} else {
		const void *p;

		if (!take_address(st, &addr))
			return -ENOSYS;
		p = operand(st, addr, len, false);
		if (!p && (addr & (MEM_PAGE - 1)) + len > MEM_PAGE)
			return -ENOSYS;
		if (!p)
			return raise_pf(st, addr, false);
		memcpy(&v, p, len);
	}
	st->r.rflags &= ~RFLAGS_ARITH;
	st->r.rflags |= v ? 0 : RFLAGS_ZF;
	v = (uint64_t)__builtin_popcountll(v);
	*to = len == 2 ? (*to & ~0xffffULL) | v : v;
	return finish(st);
}

#define MODRM  1
#define REPEAT 2 /* F3 is part of the instruction */

static const struct insn_row {
	const char *name;
	uint8_t op[3];
	uint8_t n_op, flags;
	int (*fn)(struct step *st);
} rows[] = {
	{ "int3", { 0xcc }, 1, 0, do_int3 },
	{ "fwait", { 0x9b }, 1, 0, do_fwait },
	{ "clac", { 0x0f, 0x01, 0xca }, 3, 0, do_clac },
	{ "stac", { 0x0f, 0x01, 0xcb }, 3, 0, do_stac },
	{ "cmpxchg16b", { 0x0f, 0xc7 }, 2, MODRM, do_cmpxchg16b },
	{ "popcnt", { 0x0f, 0xb8 }, 2, MODRM | REPEAT, do_popcnt },
};

static void take_prefixes(struct step *st)
{
	struct insn *i = &st->i;

	for (; i->at < i->n; i->at++) {
		switch (i->b[i->at]) {
		case 0x66:
			i->opsize = true;
			break;
		case 0xf0:
			i->lock = true;
			break;
		case 0xf3:
			i->rep = true;
			break;
		case 0x64:
			i->segment = st->s.fs.base;
			break;
		case 0x65:
			i->segment = st->s.gs.base;
			break;
		case 0x26:
		case 0x2e:
		case 0x36:
		case 0x3e:
			break; /* without effect in 64-bit code */
		default:
			if ((i->b[i->at] & 0xf0) == 0x40)
				i->rex = i->b[i->at++];
			return;
		}
	}
}

static int decode(struct step *st)
{
	struct insn *i = &st->i;

	take_prefixes(st);
	for (size_t k = 0; k < ARRAY_SIZE(rows); k++) {
		const struct insn_row *row = &rows[k];

		if (i->n - i->at < row->n_op || memcmp(i->b + i->at, row->op, row->n_op) != 0 ||
		    !(row->flags & REPEAT) != !i->rep)
			continue;
		if (i->lock && row->fn != do_cmpxchg16b)
			return raise_at(st, UD, false, 0);
		i->at += row->n_op;
		if (row->flags & MODRM) {
			if (i->at == i->n)
				return -ENOSYS;
			i->modrm = i->b[i->at++];
		}
		return row->fn(st);
	}
	return -ENOSYS;
}

static void describe(const struct step *st, char what[EMUL_TEXT])
{
	int n = snprintf(what, EMUL_TEXT,
			 "KVM cannot execute what is at %#llx, and it is not known here:",
			 (unsigned long long)st->r.rip);

	for (unsigned k = 0; k < st->i.n && n > 0 && n < EMUL_TEXT; k++)
		n += snprintf(what + n, EMUL_TEXT - (size_t)n, " %02x", st->i.b[k]);
}

int emul_step(struct vcpu *c, char what[EMUL_TEXT])
{
	struct step st = { .c = c };
	int r;

	if (ioctl(c->fd, KVM_GET_REGS, &st.r) < 0 || ioctl(c->fd, KVM_GET_SREGS, &st.s) < 0) {
		snprintf(what, EMUL_TEXT,
			 "registers of an instruction that KVM cannot execute: %m");
		return -ENOSYS;
	}
	fetch(&st);
	r = -ENOSYS;
	if (st.s.efer & EFER_LMA && st.s.cs.l && st.s.ss.dpl == 0)
		r = decode(&st);
	if (r < 0)
		describe(&st, what);
	return r < 0 ? -ENOSYS : 0;
}
