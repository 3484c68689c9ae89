/* vmm/vm.c - one virtual machine: what KVM keeps of it beside the vCPUs */
#include <errno.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "lib/base/own.h"
#include "vmm/msr.h"
#include "vmm/vm.h"

/* Intel before "unrestricted guest" needs three pages and one of the guest's address space. They
 * lie between the devices and the firmware's place, where no memory is. */
#define TSS_ADDR      0xfffbd000UL
#define IDENTITY_ADDR 0xfffbc000UL

const struct vm_end_def vm_end_defs[VM_END__N] = {
#define X(code, name, status, help) [VM_END_##code] = { name, status, help },
	VM_ENDS(X)
#undef X
};

static const struct {
	int cap;
	const char *what;
} needed[] = {
	{ KVM_CAP_USER_MEMORY, "user memory" },
	{ KVM_CAP_IRQCHIP, "interrupt controllers" },
	{ KVM_CAP_PIT2, "the timer" },
	{ KVM_CAP_IRQFD, "irqfd" },
	{ KVM_CAP_IOEVENTFD, "ioeventfd" },
	{ KVM_CAP_EXT_CPUID, "CPUID" },
	{ KVM_CAP_IMMEDIATE_EXIT, "immediate exit" },
	{ KVM_CAP_MP_STATE, "states of vCPUs" },
};

static int check_kvm(int kvm, struct cos_err *err)
{
	int api = ioctl(kvm, KVM_GET_API_VERSION, 0);

	if (api != KVM_API_VERSION)
		return cos_fail(err, COS_E_UNSUPPORTED, api < 0 ? errno : 0,
				"the descriptor is not /dev/kvm with version %d", KVM_API_VERSION);
	for (size_t i = 0; i < ARRAY_SIZE(needed); i++) {
		if (ioctl(kvm, KVM_CHECK_EXTENSION, needed[i].cap) <= 0)
			return cos_fail(err, COS_E_UNSUPPORTED, 0, "this KVM lacks %s",
					needed[i].what);
	}
	return 0;
}

/* Some hosts kill a machine whose creation is interrupted and say EINTR. */
static int make_vm(int kvm)
{
	int fd;

	do
		fd = ioctl(kvm, KVM_CREATE_VM, 0);
	while (fd < 0 && errno == EINTR);
	return fd;
}

static int make_chips(struct vm *vm, struct cos_err *err)
{
	struct kvm_pit_config pit = { .flags = KVM_PIT_SPEAKER_DUMMY };
	uint64_t identity = IDENTITY_ADDR;

	/* Where they are not needed some kernels refuse them. */
	ioctl(vm->fd, KVM_SET_IDENTITY_MAP_ADDR, &identity);
	ioctl(vm->fd, KVM_SET_TSS_ADDR, TSS_ADDR);
	if (ioctl(vm->fd, KVM_CREATE_IRQCHIP, 0) < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "KVM_CREATE_IRQCHIP");
	if (ioctl(vm->fd, KVM_CREATE_PIT2, &pit) < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "KVM_CREATE_PIT2");
	return 0;
}

static int add_slot(struct vm *vm, uint32_t slot, uint64_t gpa, uint64_t from, uint64_t len)
{
	struct kvm_userspace_memory_region r = {
		.slot = slot,
		.guest_phys_addr = gpa,
		.memory_size = len,
		.userspace_addr = (uintptr_t)(vm->mem.base + from),
	};

	return len > 0 && ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &r) < 0 ? -errno : 0;
}

static int make_memory(struct vm *vm, uint64_t memory, bool mergeable, struct cos_err *err)
{
	int r = mem_init(&vm->mem, memory, mergeable, err);

	if (r < 0)
		return r;
	r = add_slot(vm, 0, 0, 0, vm->mem.low);
	if (r == 0)
		r = add_slot(vm, 1, MEM_HIGH, vm->mem.low, vm->mem.size - vm->mem.low);
	return r < 0 ? cos_fail(err, COS_E_KERNEL, -r, "KVM_SET_USER_MEMORY_REGION") : 0;
}

int vm_init(struct vm *vm, int kvm, uint64_t memory, bool mergeable, struct cos_err *err)
{
	int r;

	*vm = (struct vm){ .kvm = kvm, .fd = -1, .ended = -1 };
	r = check_kvm(kvm, err);
	if (r < 0)
		return r;
	vm->fd = make_vm(kvm);
	if (vm->fd < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "KVM_CREATE_VM");
	vm->ended = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (vm->ended < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "eventfd");
	r = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (r < (int)sizeof(struct kvm_run))
		return cos_fail(err, COS_E_KERNEL, r < 0 ? errno : EPROTO,
				"KVM_GET_VCPU_MMAP_SIZE");
	vm->run_size = (size_t)r;
	/* The first two wait for readers of KVM's tables, of which a new machine has none: 0.1 ms.
	   Behind the chips they wait for what those have registered, too, to which Linux 6.18 gives
	   8 to 20 ms; and the filter is waited for without haste if the memory was just before. */
	r = msr_filter(vm, err);
	if (r == 0)
		r = make_memory(vm, memory, mergeable, err);
	if (r == 0)
		r = make_chips(vm, err);
	return r;
}

void vm_done(struct vm *vm)
{
	close_p(&vm->ended);
	close_p(&vm->fd);
	close_p(&vm->kvm);
	mem_done(&vm->mem);
}

int vm_irq(struct vm *vm, unsigned irq, struct cos_err *err)
{
	auto_close int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct kvm_irqfd set = { .fd = (uint32_t)fd, .gsi = irq };

	if (fd < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "eventfd");
	if (ioctl(vm->fd, KVM_IRQFD, &set) < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "KVM_IRQFD of pin %u", irq);
	return take_fd(fd);
}

int vm_write_event(struct vm *vm, uint64_t addr, uint32_t value, int fd)
{
	struct kvm_ioeventfd set = {
		.datamatch = value,
		.addr = addr,
		.len = 4,
		.fd = fd,
		.flags = KVM_IOEVENTFD_FLAG_DATAMATCH,
	};

	return ioctl(vm->fd, KVM_IOEVENTFD, &set) < 0 ? -errno : 0;
}

/* What the guest does of itself after it was asked to end is what it was asked for. */
static enum vm_end as_asked(struct vm *vm, enum vm_end end)
{
	if (atomic_load(&vm->stopping) && (end == VM_END_RESET || end == VM_END_OFF))
		return VM_END_STOPPED;
	return end;
}

void vm_end(struct vm *vm, enum vm_end end, uint32_t value)
{
	unsigned none = VM_END_NONE;
	uint64_t one = 1;

	if (!atomic_compare_exchange_strong(&vm->end, &none, as_asked(vm, end)))
		return;
	atomic_store(&vm->end_value, value);
	if (vm->ended >= 0 && write(vm->ended, &one, sizeof(one)) < 0)
		_exit(vm_end_defs[VM_END_HOST].status); /* nobody would ever hear of it */
}

int vm_exit_status(const struct vm *vm)
{
	unsigned end = atomic_load(&vm->end);
	uint32_t low = atomic_load(&vm->end_value) & 63;

	if (end == VM_END_EXIT)
		return vm_end_defs[end].status + (low ? (int)low : 1);
	return end == VM_END_NONE ? vm_end_defs[VM_END_HOST].status : vm_end_defs[end].status;
}
