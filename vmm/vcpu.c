/* vmm/vcpu.c - vCPUs: the loop around KVM_RUN, and an answer for each exit */
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/base/log.h"
#include "lib/base/own.h"
#include "vmm/cpuid.h"
#include "vmm/emul.h"
#include "vmm/msr.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

#define KICK SIGUSR1

typedef void exit_fn(struct vcpu *c);

/* A plain store: each counter has one writer. */
static void count(_Atomic uint64_t *n)
{
	atomic_store_explicit(n, atomic_load_explicit(n, memory_order_relaxed) + 1,
			      memory_order_relaxed);
}

/* ---- exits ---- */

static void exit_again(struct vcpu *c)
{
	(void)c;
}

static void exit_other(struct vcpu *c)
{
	log_say(LOG_ERROR, "vCPU %u: exit %u of KVM is not known here", c->index,
		c->run->exit_reason);
	vm_end(c->vm, VM_END_REFUSED, 0);
}

static void load(struct trap_io *io, const uint8_t *data)
{
	io->value = 0;
	memcpy(&io->value, data, io->len);
}

static void exit_io(struct vcpu *c)
{
	struct kvm_run *run = c->run;
	uint8_t *data = (uint8_t *)run + run->io.data_offset;
	struct trap_io io = { .len = run->io.size, .write = run->io.direction == KVM_EXIT_IO_OUT };

	/* A string instruction: as many as KVM put in its page. */
	for (uint32_t i = 0; i < run->io.count; i++, data += io.len) {
		if (io.write)
			load(&io, data);
		if (!traps_io(&c->vm->ports, run->io.port, &io))
			count(&c->stray);
		if (!io.write)
			memcpy(data, &io.value, io.len);
	}
}

static void exit_mmio(struct vcpu *c)
{
	struct kvm_run *run = c->run;
	struct trap_io io = { .len = run->mmio.len, .write = run->mmio.is_write };

	if (io.len > sizeof(io.value))
		io.len = sizeof(io.value);
	if (io.write)
		load(&io, run->mmio.data);
	if (!traps_io(&c->vm->mmio, run->mmio.phys_addr, &io))
		count(&c->stray);
	if (!io.write)
		memcpy(run->mmio.data, &io.value, io.len);
}

static void exit_msr(struct vcpu *c)
{
	msr_refuse(c->run);
}

static void exit_event(struct vcpu *c)
{
	vm_end(c->vm,
	       c->run->system_event.type == KVM_SYSTEM_EVENT_SHUTDOWN ? VM_END_OFF : VM_END_RESET,
	       0);
}

static void exit_shutdown(struct vcpu *c)
{
	vm_end(c->vm, VM_END_TRIPLE, 0);
}

static void exit_internal(struct vcpu *c)
{
	char what[EMUL_TEXT];

	if (c->run->internal.suberror != KVM_INTERNAL_ERROR_EMULATION) {
		log_say(LOG_ERROR, "vCPU %u: KVM gave up, reason %u", c->index,
			c->run->internal.suberror);
		vm_end(c->vm, VM_END_REFUSED, 0);
		return;
	}
	if (emul_step(c, what) == 0) {
		count(&c->emulated);
		return;
	}
	log_say(LOG_ERROR, "vCPU %u: %s", c->index, what);
	vm_end(c->vm, VM_END_EMULATION, 0);
}

static void exit_entry(struct vcpu *c)
{
	log_say(LOG_ERROR, "vCPU %u: the processor refused to enter the guest, reason %#llx",
		c->index, (unsigned long long)c->run->fail_entry.hardware_entry_failure_reason);
	vm_end(c->vm, VM_END_REFUSED, 0);
}

const char *const vcpu_exit_names[VCPU_EXIT__N] = {
#define X(code, number, name, fn, help) [VCPU_EXIT_##code] = (name),
	VCPU_EXITS(X)
#undef X
};

static exit_fn *const handlers[VCPU_EXIT__N] = {
#define X(code, number, name, fn, help) [VCPU_EXIT_##code] = (fn),
	VCPU_EXITS(X)
#undef X
};

/* KVM's numbers to rows; VCPU_EXIT_OTHER is 0. */
static const uint8_t rows[64] = {
#define X(code, number, name, fn, help) [number] = VCPU_EXIT_##code,
	VCPU_EXITS(X)
#undef X
};

/* ---- the thread ---- */

static _Thread_local struct kvm_run *own_run;

static void on_kick(int sig)
{
	(void)sig;
	/* It may come just before KVM_RUN, which then returns at once. */
	if (own_run)
		*(volatile uint8_t *)&own_run->immediate_exit = 1;
}

/* Only this thread can look: KVM holds the vCPU while it runs. */
static void answer_halt(struct vcpu *c)
{
	struct kvm_mp_state mp;
	struct kvm_regs regs;
	unsigned halt = VCPU_HALT_NO;

	if (ioctl(c->fd, KVM_GET_MP_STATE, &mp) == 0 && ioctl(c->fd, KVM_GET_REGS, &regs) == 0) {
		if (mp.mp_state == KVM_MP_STATE_UNINITIALIZED ||
		    mp.mp_state == KVM_MP_STATE_INIT_RECEIVED ||
		    (mp.mp_state == KVM_MP_STATE_HALTED && !(regs.rflags & 1U << 9)))
			halt = VCPU_HALT_YES;
	}
	atomic_store(&c->halt, halt);
}

static void run_failed(struct vcpu *c)
{
	int no = errno;

	if (no != EINTR && no != EAGAIN) {
		log_say(LOG_ERROR, "vCPU %u: KVM_RUN: %s", c->index, strerror(no));
		/* EFAULT is the guest's: a page table, say, where no memory is. */
		vm_end(c->vm, no == EFAULT || no == EINVAL ? VM_END_REFUSED : VM_END_HOST, 0);
		return;
	}
	count(&c->exits[VCPU_EXIT_INTR]);
	*(volatile uint8_t *)&c->run->immediate_exit = 0;
	if (atomic_load(&c->halt) == VCPU_HALT_ASKED)
		answer_halt(c);
}

static void run_guest(struct vcpu *c)
{
	struct vm *vm = c->vm;

	while (atomic_load_explicit(&vm->run_state, memory_order_relaxed) == VM_RUN_GO) {
		unsigned row;

		if (ioctl(c->fd, KVM_RUN, 0) < 0) {
			run_failed(c);
			if (atomic_load(&vm->end))
				return;
			continue;
		}
		row = c->run->exit_reason < ARRAY_SIZE(rows) ? rows[c->run->exit_reason]
							     : VCPU_EXIT_OTHER;
		count(&c->exits[row]);
		handlers[row](c);
		if (atomic_load_explicit(&vm->end, memory_order_relaxed))
			return;
	}
}

static void wait_for_go(struct vm *vm)
{
	while (atomic_load(&vm->run_state) == VM_RUN_WAIT)
		syscall(SYS_futex, &vm->run_state, FUTEX_WAIT_PRIVATE, VM_RUN_WAIT, NULL, NULL, 0);
}

static void vcpu_main(void *arg)
{
	struct vcpu *c = arg;

	own_run = c->run;
	wait_for_go(c->vm);
	run_guest(c);
}

static void vcpu_failed(void *arg)
{
	const struct vcpu *c = arg;

	vm_end(c->vm, VM_END_HOST, 0);
}

/* ---- all of them ---- */

static int make_one(struct vm *vm, unsigned i, struct kvm_cpuid2 *cpuid, unsigned n,
		    struct cos_err *err)
{
	struct vcpu *c = &vm->vcpus[i];
	void *p;

	*c = (struct vcpu){ .vm = vm, .index = i, .fd = -1, .stats = -1 };
	vm->n_vcpus = i + 1;
	c->fd = ioctl(vm->fd, KVM_CREATE_VCPU, (unsigned long)i);
	if (c->fd < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "KVM_CREATE_VCPU %u", i);
	p = mmap(NULL, vm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, c->fd, 0);
	if (p == MAP_FAILED)
		return cos_fail(err, COS_E_KERNEL, errno, "map vCPU %u", i);
	c->run = p;
	c->stats = ioctl(c->fd, KVM_GET_STATS_FD, NULL);
	if (i == 0 && c->stats >= 0 && kvmstat_open(c->stats, &vm->kvmstat) < 0)
		close_p(&c->stats);
	return cpuid_set(c->fd, cpuid, i, n, err);
}

int vcpus_make(struct vm *vm, unsigned n, struct cos_err *err)
{
	auto_free struct kvm_cpuid2 *cpuid = NULL;
	int most = ioctl(vm->kvm, KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPUS), r;

	most = most <= 0 ? 4 : most; /* as KVM's documentation has it */
	most = most > VM_VCPUS_MAX ? VM_VCPUS_MAX : most;
	if (n < 1 || n > (unsigned)most)
		return cos_fail(err, COS_E_INVALID, 0, "vCPUs: %u is not within 1..%d", n, most);
	r = cpuid_template(vm, &cpuid, err);
	if (r < 0)
		return r;
	vm->vcpus = calloc(n, sizeof(*vm->vcpus));
	if (!vm->vcpus)
		return cos_fail(err, COS_E_KERNEL, ENOMEM, "%u vCPUs", n);
	for (unsigned i = 0; r == 0 && i < n; i++)
		r = make_one(vm, i, cpuid, n, err);
	return r;
}

/* The signal leads here in all threads, and stops none but a vCPU's in KVM_RUN. */
static int set_kick(struct cos_err *err)
{
	struct sigaction sa = { .sa_handler = on_kick };

	if (sigaction(KICK, &sa, NULL) < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "sigaction");
	return 0;
}

int vcpus_start(struct vm *vm, const struct filter *filter, struct cos_err *err)
{
	int r = set_kick(err);

	for (unsigned i = 0; r == 0 && i < vm->n_vcpus; i++) {
		struct vcpu *c = &vm->vcpus[i];

		c->thread = (struct thread){
			.fn = vcpu_main,
			.arg = c,
			.filter = filter,
			.failed = vcpu_failed,
		};
		snprintf(c->thread.name, sizeof(c->thread.name), "vcpu/%u", i);
		r = thread_start(&c->thread);
		if (r < 0)
			return cos_fail(err, COS_E_KERNEL, -r, "start vCPU %u", i);
	}
	return r;
}

static void set_state(struct vm *vm, enum vm_run state)
{
	atomic_store(&vm->run_state, state);
	syscall(SYS_futex, &vm->run_state, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

void vcpus_go(struct vm *vm)
{
	set_state(vm, VM_RUN_GO);
}

void vcpu_kick(struct vcpu *c)
{
	if (c->thread.runs)
		pthread_kill(c->thread.id, KICK);
}

int vcpus_stop(struct vm *vm, uint64_t deadline_usec)
{
	int r = 0;

	if (!vm->vcpus)
		return 0;
	set_state(vm, VM_RUN_STOP);
	for (unsigned i = 0; i < vm->n_vcpus; i++)
		vcpu_kick(&vm->vcpus[i]);
	for (unsigned i = 0; i < vm->n_vcpus; i++) {
		int one = thread_join(&vm->vcpus[i].thread, deadline_usec);

		r = one < 0 ? one : r;
	}
	return r;
}

void vcpus_free(struct vm *vm)
{
	for (unsigned i = 0; i < vm->n_vcpus; i++) {
		if (vm->vcpus[i].run)
			munmap(vm->vcpus[i].run, vm->run_size);
		close_p(&vm->vcpus[i].stats);
		close_p(&vm->vcpus[i].fd);
	}
	free(vm->vcpus);
	vm->vcpus = NULL;
	vm->n_vcpus = 0;
}
