/* vmm/vballoon.h - virtio balloon: memory that the guest lends back to the host
 *
 * The host asks by a target; the guest answers when it likes, or never. Statistics are asked for by
 * whoever reads the counters, and are as old as they say. Pages that the guest reports as free go
 * back without being asked for. The guest takes pages back by itself when it runs out of memory. */
#pragma once

#include "vmm/virtio.h"

#define VBALLOON_STATS 10

struct vballoon {
	struct vdev d;
	_Atomic uint64_t stat[VBALLOON_STATS];
	_Atomic uint64_t stats_usec;     /* when they came, CLOCK_MONOTONIC; 0: never */
	_Atomic uint64_t target_usec;    /* when the target was set */
	_Atomic uint32_t target, actual; /* pages of 4 KiB */
	_Atomic bool ask;                /* somebody wants new statistics */
	bool has_buffer;                 /* the guest's buffer for statistics is here */
	uint16_t buffer;
};

extern const char *const vballoon_stat_names[VBALLOON_STATS];

int vballoon_init(struct vballoon *v, const struct mem *mem);
/* Asks the guest to lend PAGES of 4 KiB, in place of what it was asked for before. */
void vballoon_set(struct vballoon *v, uint32_t pages);
/* Asks the guest for new statistics; they come later, or never. */
void vballoon_ask(struct vballoon *v);
