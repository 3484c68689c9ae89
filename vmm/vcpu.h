/* vmm/vcpu.h - vCPUs: one thread each, which runs the guest and answers its exits */
#pragma once

#include <linux/kvm.h>
#include <stdatomic.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "vmm/exit.def"
#include "vmm/thread.h"

enum vcpu_exit {
#define X(code, ...) VCPU_EXIT_##code,
	VCPU_EXITS(X)
#undef X
		VCPU_EXIT__N
};

enum vcpu_halt {
	VCPU_HALT_UNASKED,
	VCPU_HALT_ASKED,
	VCPU_HALT_NO,  /* it runs, or an interrupt can wake it */
	VCPU_HALT_YES, /* halted with interrupts off, or never started: another vCPU must wake it */
};

struct vm;

struct vcpu {
	struct vm *vm;
	unsigned index;
	int fd;
	int stats; /* KVM's counters, -1: it has none */
	struct kvm_run *run;
	struct thread thread;
	_Atomic unsigned halt;                /* enum vcpu_halt */
	_Atomic uint64_t exits[VCPU_EXIT__N]; /* written by its thread alone */
	_Atomic uint64_t stray;               /* accesses to ports and addresses where nobody is */
	_Atomic uint64_t emulated;            /* instructions that KVM refused and emul.c did */
};

extern const char *const vcpu_exit_names[VCPU_EXIT__N];

/* Makes N vCPUs (1..VM_VCPUS_MAX, else -EINVAL); the first has the registers of a reset: see
 * boot_regs(). */
int vcpus_make(struct vm *vm, unsigned n, struct cos_err *err);
/* Starts a thread for each, confined by FILTER (kept until they are stopped); no guest code runs
 * before vcpus_go(). */
int vcpus_start(struct vm *vm, const struct filter *filter, struct cos_err *err);
void vcpus_go(struct vm *vm);
/* Gets all threads out of the guest, and waits for their end until DEADLINE_USEC (CLOCK_MONOTONIC).
 * -ETIMEDOUT: some are still in a call. Idempotent. */
int vcpus_stop(struct vm *vm, uint64_t deadline_usec);
void vcpus_free(struct vm *vm);
/* Makes the thread leave the guest once, so that it sees what it was asked. */
void vcpu_kick(struct vcpu *c);
