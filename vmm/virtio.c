/* vmm/virtio.c - a virtio device behind a page of registers (virtio-mmio, version 2) */
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

#include "lib/base/own.h"
#include "vmm/virtio.h"
#include "vmm/worker.h"

#define MAGIC        0x74726976 /* "virt" */
#define VENDOR       0x00534f43 /* "COS" */
#define MMIO_VERSION 2
#define CAUSE_QUEUE  1U
#define CAUSE_CONFIG 2U
#define BIT(n)       (1ULL << (n))

#define RING_FEATURES                                                                              \
	(BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_RING_F_INDIRECT_DESC) | BIT(VIRTIO_RING_F_EVENT_IDX))

void vdev_count(_Atomic uint64_t *n, uint64_t add)
{
	atomic_fetch_add_explicit(n, add, memory_order_relaxed);
}

bool vdev_has(const struct vdev *d, unsigned feature)
{
	return d->driver_features >> feature & 1;
}

bool vdev_is_running(const struct vdev *d)
{
	return (d->status & (VIRTIO_CONFIG_S_DRIVER_OK | VIRTIO_CONFIG_S_NEEDS_RESET)) ==
	       VIRTIO_CONFIG_S_DRIVER_OK;
}

static void interrupt(struct vdev *d, uint32_t cause)
{
	atomic_fetch_or(&d->cause, cause);
	vdev_count(&d->interrupts, 1);
	if (d->irq >= 0)
		event_raise(d->irq);
}

void vdev_break(struct vdev *d)
{
	if (d->status & VIRTIO_CONFIG_S_NEEDS_RESET)
		return;
	d->status |= VIRTIO_CONFIG_S_NEEDS_RESET;
	vdev_count(&d->breaks, 1);
	if (d->status & VIRTIO_CONFIG_S_DRIVER_OK)
		interrupt(d, CAUSE_CONFIG);
}

void vdev_config_changed(struct vdev *d)
{
	d->generation++;
	if (d->status & VIRTIO_CONFIG_S_DRIVER_OK)
		interrupt(d, CAUSE_CONFIG);
}

bool vdev_pop(struct vdev *d, unsigned q, struct vchain *ret)
{
	int r = vdev_is_running(d) ? vring_pop(&d->ring[q], ret) : 0;

	if (r < 0)
		vdev_break(d);
	return r > 0;
}

void vdev_push(struct vdev *d, unsigned q, const struct vchain *c, uint64_t written)
{
	vring_push(&d->ring[q], c->head, (uint32_t)written);
	vdev_count(&d->requests, 1);
}

void vdev_tell(struct vdev *d, unsigned q)
{
	if (vring_should_tell(&d->ring[q]))
		interrupt(d, CAUSE_QUEUE);
}

void vdev_serve(struct vdev *d, unsigned q)
{
	bool more;

	pthread_mutex_lock(&d->lock);
	vdev_count(&d->kicks, 1);
	more = vdev_is_running(d) && d->ring[q].ready && d->kind->serve(d, q);
	pthread_mutex_unlock(&d->lock);
	/* the others in the loop first */
	if (more)
		event_raise(d->kick[q].src.fd);
}

static void on_kick(struct loop_source *s, uint32_t events)
{
	const struct vdev_kick *k = container_of(s, struct vdev_kick, src);

	(void)events;
	event_clear(s->fd);
	vdev_serve(k->d, k->q);
}

/* ---- registers ---- */

static void reset(struct vdev *d)
{
	if (d->kind->reset)
		d->kind->reset(d);
	memset(d->ring, 0, sizeof(d->ring));
	d->status = d->features_sel = d->driver_sel = d->queue_sel = 0;
	d->driver_features = 0;
	atomic_store(&d->cause, 0);
}

static void write_status(struct vdev *d, uint32_t v)
{
	uint32_t added = v & ~d->status & 0xff;

	if (v == 0) {
		reset(d);
		return;
	}
	if (added & VIRTIO_CONFIG_S_FEATURES_OK &&
	    (d->driver_features & ~d->features || !vdev_has(d, VIRTIO_F_VERSION_1)))
		added &= ~(uint32_t)VIRTIO_CONFIG_S_FEATURES_OK;
	/* a driver may not come without an agreement */
	if (added & VIRTIO_CONFIG_S_DRIVER_OK &&
	    !((d->status | added) & VIRTIO_CONFIG_S_FEATURES_OK))
		added &= ~(uint32_t)VIRTIO_CONFIG_S_DRIVER_OK;
	d->status |= added & ~(uint32_t)VIRTIO_CONFIG_S_NEEDS_RESET;
	if (added & VIRTIO_CONFIG_S_DRIVER_OK && d->kind->start)
		d->kind->start(d);
}

static void set_half(uint64_t *to, bool high, uint32_t v)
{
	*to = high ? (*to & UINT32_MAX) | (uint64_t)v << 32 : (*to & ~(uint64_t)UINT32_MAX) | v;
}

static void write_ready(struct vdev *d, struct vqueue *r, uint32_t v)
{
	if (!(v & 1))
		r->ready = false;
	else if (!r->ready && vring_start(r, d->mem, vdev_has(d, VIRTIO_RING_F_EVENT_IDX)) < 0)
		vdev_break(d);
}

/* A ring that runs keeps its place. */
static void write_queue(struct vdev *d, uint64_t at, uint32_t v)
{
	struct vqueue *r = d->queue_sel < d->kind->n_queues ? &d->ring[d->queue_sel] : NULL;

	if (!r || (r->ready && at != VIRTIO_MMIO_QUEUE_READY))
		return;
	switch (at) {
	case VIRTIO_MMIO_QUEUE_NUM:
		r->size = v <= VRING_SIZE_MAX ? (uint16_t)v : 0;
		break;
	case VIRTIO_MMIO_QUEUE_READY:
		write_ready(d, r, v);
		break;
	case VIRTIO_MMIO_QUEUE_DESC_LOW:
	case VIRTIO_MMIO_QUEUE_DESC_HIGH:
		set_half(&r->desc, at == VIRTIO_MMIO_QUEUE_DESC_HIGH, v);
		break;
	case VIRTIO_MMIO_QUEUE_AVAIL_LOW:
	case VIRTIO_MMIO_QUEUE_AVAIL_HIGH:
		set_half(&r->avail, at == VIRTIO_MMIO_QUEUE_AVAIL_HIGH, v);
		break;
	case VIRTIO_MMIO_QUEUE_USED_LOW:
	case VIRTIO_MMIO_QUEUE_USED_HIGH:
		set_half(&r->used, at == VIRTIO_MMIO_QUEUE_USED_HIGH, v);
		break;
	default:
		break;
	}
}

static void write_register(struct vdev *d, uint64_t at, uint32_t v)
{
	switch (at) {
	case VIRTIO_MMIO_DEVICE_FEATURES_SEL:
		d->features_sel = v;
		break;
	case VIRTIO_MMIO_DRIVER_FEATURES_SEL:
		d->driver_sel = v;
		break;
	case VIRTIO_MMIO_DRIVER_FEATURES:
		if (d->driver_sel < 2 && !(d->status & VIRTIO_CONFIG_S_FEATURES_OK))
			set_half(&d->driver_features, d->driver_sel, v);
		break;
	case VIRTIO_MMIO_QUEUE_SEL:
		d->queue_sel = v;
		break;
	case VIRTIO_MMIO_STATUS:
		write_status(d, v);
		break;
	default:
		write_queue(d, at, v);
		break;
	}
}

static uint32_t read_register(const struct vdev *d, uint64_t at)
{
	bool queue = d->queue_sel < d->kind->n_queues;

	switch (at) {
	case VIRTIO_MMIO_MAGIC_VALUE:
		return MAGIC;
	case VIRTIO_MMIO_VERSION:
		return MMIO_VERSION;
	case VIRTIO_MMIO_DEVICE_ID:
		return d->kind->id;
	case VIRTIO_MMIO_VENDOR_ID:
		return VENDOR;
	case VIRTIO_MMIO_DEVICE_FEATURES:
		return d->features_sel < 2 ? (uint32_t)(d->features >> 32 * d->features_sel) : 0;
	case VIRTIO_MMIO_QUEUE_NUM_MAX:
		return queue ? VRING_SIZE_MAX : 0;
	case VIRTIO_MMIO_QUEUE_READY:
		return queue && d->ring[d->queue_sel].ready;
	case VIRTIO_MMIO_STATUS:
		return d->status;
	case VIRTIO_MMIO_CONFIG_GENERATION:
		return d->generation;
	case VIRTIO_MMIO_SHM_LEN_LOW: /* no shared memory: its length is all ones */
	case VIRTIO_MMIO_SHM_LEN_HIGH:
		return UINT32_MAX;
	default:
		return 0;
	}
}

/* The device's own registers, of any width; what is behind them is zero. */
static void config_io(struct vdev *d, struct trap_io *io)
{
	uint64_t at = io->at - VIRTIO_MMIO_CONFIG;

	if (at >= d->kind->config_size || io->len > d->kind->config_size - at) {
		io->value = io->write ? io->value : 0;
		return;
	}
	if (io->write && d->kind->wrote_config)
		d->kind->wrote_config(d, at, io->len, io->value);
	if (!io->write) {
		io->value = 0;
		memcpy(&io->value, d->config + at, io->len);
	}
}

void vdev_io(void *dev, struct trap_io *io)
{
	struct vdev *d = dev;

	if (io->at == VIRTIO_MMIO_INTERRUPT_STATUS && !io->write) {
		io->value = atomic_load(&d->cause);
		return;
	}
	if (io->at == VIRTIO_MMIO_INTERRUPT_ACK && io->write) {
		atomic_fetch_and(&d->cause, ~(uint32_t)io->value);
		return;
	}
	/* with an ioeventfd this does not get here */
	if (io->at == VIRTIO_MMIO_QUEUE_NOTIFY && io->write) {
		if (io->value < d->kind->n_queues)
			event_raise(d->kick[io->value].src.fd);
		return;
	}
	pthread_mutex_lock(&d->lock);
	if (io->at >= VIRTIO_MMIO_CONFIG)
		config_io(d, io);
	else if (io->len != 4 || io->at % 4)
		io->value = io->write ? io->value : 0; /* the specification has no other width */
	else if (io->write)
		write_register(d, io->at, (uint32_t)io->value);
	else
		io->value = read_register(d, io->at);
	pthread_mutex_unlock(&d->lock);
}

int vdev_init(struct vdev *d, const struct vdev_kind *kind, unsigned number, const struct mem *mem,
	      uint64_t features)
{
	*d = (struct vdev){
		.kind = kind,
		.mem = mem,
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.features = RING_FEATURES | kind->features | features,
		.irq = -1,
	};
	snprintf(d->name, sizeof(d->name), "%.7s%u", kind->name, number % 100);
	for (unsigned q = 0; q < VIRTIO_QUEUES; q++)
		d->kick[q] = (struct vdev_kick){ { .fd = -1, .ready = on_kick }, d, q };
	for (unsigned q = 0; q < kind->n_queues; q++) {
		d->kick[q].src.fd = event_open();
		if (d->kick[q].src.fd < 0)
			return d->kick[q].src.fd;
	}
	return 0;
}

void vdev_done(struct vdev *d)
{
	if (!d->kind)
		return;
	for (unsigned q = 0; q < VIRTIO_QUEUES; q++) {
		loop_del(&d->kick[q].src);
		close_p(&d->kick[q].src.fd);
	}
	close_p(&d->irq);
	d->kind = NULL;
}
