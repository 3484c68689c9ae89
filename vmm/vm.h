/* vmm/vm.h - one virtual machine
 *
 * Threads: the main thread (control socket, signals, timers), one for each vCPU, and the devices'
 * workers. A device's state is behind its own lock; what is here is written before the threads are
 * started, but for the atomics. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/model/vmend.def"
#include "vmm/kvmstat.h"
#include "vmm/mem.h"
#include "vmm/trap.h"

#define VM_VCPUS_MAX 64
#define VM_IRQ_MAX   24 /* pins of the interrupt controller */

enum vm_end {
	VM_END_NONE,
#define X(code, ...) VM_END_##code,
	VM_ENDS(X)
#undef X
		VM_END__N
};

struct vm_end_def {
	const char *name;
	int status;
	const char *help;
};

extern const struct vm_end_def vm_end_defs[VM_END__N];

struct vcpu;

struct vm {
	int kvm, fd; /* /dev/kvm, the machine */
	size_t run_size;
	struct mem mem;
	struct traps ports, mmio;
	struct vcpu *vcpus;
	unsigned n_vcpus;
	struct kvmstat kvmstat;
	int ended;                  /* eventfd: readable once END is set */
	_Atomic unsigned end;       /* enum vm_end */
	_Atomic uint32_t end_value; /* of VM_END_EXIT */
	_Atomic bool stopping;      /* the guest was asked to end */
	_Atomic unsigned run_state; /* enum vm_run, a futex of its own */
};

enum vm_run { VM_RUN_WAIT, VM_RUN_GO, VM_RUN_STOP };

/* Opens nothing: KVM is /dev/kvm, taken over. Makes the machine with its interrupt controllers,
 * timer, memory and MSR filter. */
int vm_init(struct vm *vm, int kvm, uint64_t memory, bool mergeable, struct cos_err *err);
/* After vcpus_stop(). Bears a machine of zeroes whose descriptors are -1. */
void vm_done(struct vm *vm);

/* An eventfd whose writes raise pin IRQ by an edge. Its descriptor is the caller's. */
int vm_irq(struct vm *vm, unsigned irq, struct cos_err *err);
/* Writes of VALUE (4 bytes) at ADDR raise eventfd FD without an exit. -ENOTTY ...: not with this
 * kernel; then the write exits as any other. Leaf. */
int vm_write_event(struct vm *vm, uint64_t addr, uint32_t value, int fd);

/* The machine ends for this reason, if it has none yet. From any thread. */
void vm_end(struct vm *vm, enum vm_end end, uint32_t value);
/* What the program should exit with. */
int vm_exit_status(const struct vm *vm);
