/* vmm/msr.c - which model specific registers a guest may touch */
#include <assert.h>
#include <errno.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>

#include "lib/base/own.h"
#include "vmm/msr.h"
#include "vmm/vm.h"

/* What KVM would emulate or pass on, but a guest of ours was not offered by CPUID: counters and
 * traces that measure the host, its energy among them, and interfaces of other hypervisors. */
static const struct {
	uint32_t base, n;
	const char *why;
} refused[] = {
	{ 0xc1, 8, "performance counters" },
	{ 0x186, 8, "performance event selectors" },
	{ 0x1d9, 1, "branch traces (DEBUGCTL)" },
	{ 0x309, 8, "fixed counters" },
	{ 0x38d, 4, "counter control" },
	{ 0x560, 48, "processor trace" },
	{ 0x606, 60, "energy counters" },
	{ 0x40000000, 256, "Hyper-V's registers" },
	{ 0xc0010000, 8, "AMD performance counters" },
	{ 0xc0010200, 12, "AMD performance counters" },
	{ 0xc0010299, 3, "AMD energy counters" },
};

static_assert(ARRAY_SIZE(refused) <= KVM_MSR_FILTER_MAX_RANGES, "more than KVM takes");

int msr_filter(struct vm *vm, struct cos_err *err)
{
	static uint8_t none[256 / 8]; /* bit 0: refused; KVM does not write it */
	struct kvm_enable_cap cap = {
		.cap = KVM_CAP_X86_USER_SPACE_MSR,
		.args = { KVM_MSR_EXIT_REASON_FILTER },
	};
	struct kvm_msr_filter f = { .flags = KVM_MSR_FILTER_DEFAULT_ALLOW };

	if (ioctl(vm->fd, KVM_CHECK_EXTENSION, KVM_CAP_X86_MSR_FILTER) <= 0)
		return 0;
	if (ioctl(vm->fd, KVM_ENABLE_CAP, &cap) < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "KVM_CAP_X86_USER_SPACE_MSR");
	for (size_t i = 0; i < ARRAY_SIZE(refused); i++)
		f.ranges[i] = (struct kvm_msr_filter_range){
			.flags = KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE,
			.nmsrs = refused[i].n,
			.base = refused[i].base,
			.bitmap = none,
		};
	if (ioctl(vm->fd, KVM_X86_SET_MSR_FILTER, &f) < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "KVM_X86_SET_MSR_FILTER");
	return 0;
}

void msr_refuse(struct kvm_run *run)
{
	run->msr.error = 1;
}
