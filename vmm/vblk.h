/* vmm/vblk.h - virtio block device */
#pragma once

#include "vmm/disk.h"
#include "vmm/virtio.h"

struct vblk {
	struct vdev d;
	struct disk disk;
};

/* DISK is taken over, also on failure. */
int vblk_init(struct vblk *v, unsigned number, const struct mem *mem, const struct disk *disk);
/* Flushes; by the worker, as its last act. */
void vblk_last(void *vblk);
void vblk_done(struct vblk *v);
