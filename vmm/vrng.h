/* vmm/vrng.h - virtio entropy: the host's random numbers, a bounded number at a time */
#pragma once

#include "vmm/virtio.h"

struct vrng {
	struct vdev d;
};

int vrng_init(struct vrng *v, const struct mem *mem);
