/* vmm/vconsole.c - virtio console */
#include <linux/virtio_ids.h>
#include <string.h>

#include "lib/base/own.h"
#include "vmm/vconsole.h"
#include "vmm/worker.h"

enum { RX, TX };
enum { IN_BYTES, OUT_BYTES };

/* Whatever is typed goes into as few buffers as it fits in. */
static void fill_buffers(struct vconsole *v)
{
	struct vchain c;

	while (v->in_used > 0 && vdev_pop(&v->d, RX, &c)) {
		size_t n = c.in_len < v->in_used ? (size_t)c.in_len : v->in_used;

		iov_give(c.iov + c.n_out, c.n_in, v->in, n);
		v->in_used -= n;
		memmove(v->in, v->in + n, v->in_used);
		vdev_push(&v->d, RX, &c, n);
		vdev_count(&v->d.count[IN_BYTES], n);
	}
}

/* What is left waits for buffers, of which the driver has to tell. */
static void pass_input(struct vconsole *v)
{
	do
		fill_buffers(v);
	while (v->in_used > 0 && vdev_is_running(&v->d) && vring_arm(&v->d.ring[RX]));
	vdev_tell(&v->d, RX);
}

/* False: later. Of a request that is larger than the whole ring the rest is lost. */
static bool pass_output(struct vconsole *v, struct vchain *c)
{
	if (!console_fits(v->console, c->out_len))
		return false;
	for (unsigned i = 0; i < c->n_out; i++)
		vdev_count(&v->d.count[OUT_BYTES],
			   console_put(v->console, c->iov[i].iov_base, c->iov[i].iov_len));
	return true;
}

static bool serve_output(struct vconsole *v)
{
	struct vchain c;
	unsigned n = 0;

	for (; n < VIRTIO_BATCH && vdev_pop(&v->d, TX, &c); n++) {
		if (!pass_output(v, &c)) {
			vring_unpop(&v->d.ring[TX]); /* drained() comes back to it */
			vdev_tell(&v->d, TX);
			return false;
		}
		vdev_push(&v->d, TX, &c, 0);
	}
	vdev_tell(&v->d, TX);
	return n == VIRTIO_BATCH || vring_arm(&v->d.ring[TX]);
}

static bool serve(struct vdev *d, unsigned q)
{
	struct vconsole *v = container_of(d, struct vconsole, d);

	if (q == TX)
		return serve_output(v);
	pass_input(v);
	console_wake(v->console);
	vring_arm(&d->ring[RX]);
	return false;
}

static void reset(struct vdev *d)
{
	container_of(d, struct vconsole, d)->in_used = 0;
}

static const struct vdev_kind kind = {
	.name = "console",
	.id = VIRTIO_ID_CONSOLE,
	.n_queues = 2,
	.counters = { [IN_BYTES] = "in_bytes", [OUT_BYTES] = "out_bytes" },
	.serve = serve,
	.reset = reset,
};

static size_t room(void *arg)
{
	struct vconsole *v = arg;
	size_t n;

	pthread_mutex_lock(&v->d.lock);
	n = vdev_is_running(&v->d) ? VCONSOLE_IN - v->in_used : 0;
	pthread_mutex_unlock(&v->d.lock);
	return n;
}

static void put(void *arg, const uint8_t *s, size_t n)
{
	struct vconsole *v = arg;

	pthread_mutex_lock(&v->d.lock);
	/* a reset since room() was asked only made more of it */
	memcpy(v->in + v->in_used, s, n);
	v->in_used += n;
	pass_input(v);
	pthread_mutex_unlock(&v->d.lock);
}

static void drained(void *arg)
{
	struct vconsole *v = arg;

	event_raise(v->d.kick[TX].src.fd);
}

struct console_taker vconsole_taker(struct vconsole *v)
{
	return (struct console_taker){ room, put, drained, v };
}

int vconsole_init(struct vconsole *v, const struct mem *mem, struct console *console)
{
	*v = (struct vconsole){ .console = console };
	return vdev_init(&v->d, &kind, 0, mem, 0);
}
