/* vmm/kvmstat.c - KVM's own counters, as its binary statistics give them */
#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/own.h"
#include "vmm/kvmstat.h"

#define DESCS_MAX  256
#define NAME_BYTES 128

const char *const kvmstat_names[KVMSTAT_N] = {
	"exits",     "io_exits",       "mmio_exits",          "halt_exits",
	"irq_exits", "signal_exits",   "irq_injections",      "nmi_injections",
	"pf_taken",  "insn_emulation", "insn_emulation_fail", "halt_wait_ns",
};

static void note(struct kvmstat *k, const struct kvm_stats_desc *d, uint64_t data_offset)
{
	for (unsigned i = 0; i < KVMSTAT_N; i++) {
		/* histograms have several values */
		if (d->size == 1 && strcmp(d->name, kvmstat_names[i]) == 0)
			k->at[i] = data_offset + d->offset;
	}
}

int kvmstat_open(int fd, struct kvmstat *ret)
{
	struct kvm_stats_header h;
	struct kvmstat k = { 0 };
	auto_free struct kvm_stats_desc *d = NULL;
	size_t size;

	if (pread(fd, &h, sizeof(h), 0) != sizeof(h))
		return -EIO;
	if (h.num_desc > DESCS_MAX || h.name_size == 0 || h.name_size > NAME_BYTES)
		return -EPROTO;
	size = sizeof(*d) + h.name_size;
	d = calloc(1, size + 1);
	if (!d)
		return -ENOMEM;
	for (uint32_t i = 0; i < h.num_desc; i++) {
		if (pread(fd, d, size, (off_t)(h.desc_offset + i * size)) != (ssize_t)size)
			return -EIO;
		note(&k, d, h.data_offset);
	}
	*ret = k;
	return 0;
}

void kvmstat_add(const struct kvmstat *k, int fd, uint64_t sum[KVMSTAT_N])
{
	for (unsigned i = 0; i < KVMSTAT_N; i++) {
		uint64_t v;

		if (k->at[i] && pread(fd, &v, sizeof(v), (off_t)k->at[i]) == sizeof(v))
			sum[i] += v;
	}
}
