/* vmm/virtio.h - a virtio device behind a page of registers (virtio-mmio, version 2)
 *
 * The registers are any vCPU's; the queues are served by the device's worker, called by eventfd.
 * One lock is around both. The interrupt's cause is an atomic of its own, so that a handler in the
 * guest does not wait for a disk. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/base/loop.h"
#include "vmm/mem.h"
#include "vmm/trap.h"
#include "vmm/vring.h"

#define VIRTIO_QUEUES   5
#define VIRTIO_COUNTERS 6
#define VIRTIO_CONFIG   96 /* bytes of a device's own registers at most */
#define VIRTIO_BATCH    64 /* requests of one queue before others have their turn */
#define VIRTIO_PAGE     0x1000ULL

struct vdev;

/* A kind of device. All functions are called with the lock held; NULL: nothing to do. */
struct vdev_kind {
	const char *name;
	uint32_t id; /* of the virtio specification */
	unsigned n_queues;
	uint64_t features; /* beside those of rings, which all have */
	size_t config_size;
	const char *counters[VIRTIO_COUNTERS]; /* names of vdev.count[] */
	/* Serves queue Q, at most VIRTIO_BATCH requests; true: there is more. By the worker. */
	bool (*serve)(struct vdev *d, unsigned q);
	void (*start)(struct vdev *d); /* the driver is ready */
	void (*reset)(struct vdev *d);
	void (*wrote_config)(struct vdev *d, uint64_t at, unsigned len, uint64_t value);
};

struct vdev_kick {
	struct loop_source src;
	struct vdev *d;
	unsigned q;
};

struct vdev {
	const struct vdev_kind *kind;
	const struct mem *mem;
	char name[12]; /* kind and number */
	pthread_mutex_t lock;
	uint64_t features, driver_features;
	uint32_t status, features_sel, driver_sel, queue_sel, generation;
	struct vqueue ring[VIRTIO_QUEUES];
	uint8_t config[VIRTIO_CONFIG];
	_Atomic uint32_t cause;
	int irq; /* eventfd, -1: nobody listens */
	struct vdev_kick kick[VIRTIO_QUEUES];
	_Atomic uint64_t kicks, interrupts, requests, breaks;
	_Atomic uint64_t count[VIRTIO_COUNTERS];
};

/* NUMBER goes into the name. The kicks are made; the caller adds them to a loop. 0 or -errno. */
int vdev_init(struct vdev *d, const struct vdev_kind *kind, unsigned number, const struct mem *mem,
	      uint64_t features);
/* After the worker has ended. Bears zeroes. */
void vdev_done(struct vdev *d);
/* The registers: a trap_fn of VIRTIO_PAGE bytes. */
void vdev_io(void *dev, struct trap_io *io);
/* What a kick of queue Q leads to; for the loop, and for who has none. */
void vdev_serve(struct vdev *d, unsigned q);

/* For devices, with the lock held. */

/* As vring_pop(); a broken ring breaks the device. */
bool vdev_pop(struct vdev *d, unsigned q, struct vchain *ret);
void vdev_push(struct vdev *d, unsigned q, const struct vchain *c, uint64_t written);
/* Tells the guest what was pushed, if it wants to know. */
void vdev_tell(struct vdev *d, unsigned q);
/* The guest broke the rules in a request. */
void vdev_break(struct vdev *d);
/* The device's own registers have changed. */
void vdev_config_changed(struct vdev *d);
bool vdev_is_running(const struct vdev *d);
bool vdev_has(const struct vdev *d, unsigned feature);
void vdev_count(_Atomic uint64_t *n, uint64_t add);
