/* vmm/vnet.h - virtio network card on a tap
 *
 * Frames go between the guest's memory and the tap by one call each; what they and their offload
 * header say is the kernel's to check. */
#pragma once

#include "vmm/option.h"
#include "vmm/virtio.h"

struct vnet {
	struct vdev d;
	struct loop_source tap;
	bool offload_set; /* the tap knows what this driver takes */
};

/* The tap of SOURCE, "fd:N" or the name of an existing interface, set to the header that virtio
 * has. Returns its descriptor. */
int vnet_open_tap(const char *source, struct cos_err *err);
/* TAP is taken over, also on failure. The caller adds v->tap to the loop with EPOLLIN. */
int vnet_init(struct vnet *v, unsigned number, const struct mem *mem, int tap,
	      const struct option_net *o);
void vnet_done(struct vnet *v);
