/* vmm/vrng.c - virtio entropy */
#include <linux/virtio_ids.h>
#include <sys/random.h>

#include "lib/base/own.h"
#include "vmm/vrng.h"

#define REQUEST_MAX 256 /* bytes for one buffer: getrandom() gives as many without a pause */

enum { BYTES, FAILED };

static bool serve(struct vdev *d, unsigned q)
{
	struct vchain c;
	unsigned n = 0;

	for (; n < VIRTIO_BATCH && vdev_pop(d, q, &c); n++) {
		uint8_t buf[REQUEST_MAX];
		size_t want = c.in_len < sizeof(buf) ? (size_t)c.in_len : sizeof(buf);
		ssize_t have = getrandom(buf, want, 0);

		if (have < 0)
			vdev_count(&d->count[FAILED], 1);
		have = have < 0 ? 0 : have;
		iov_give(c.iov + c.n_out, c.n_in, buf, (size_t)have);
		vdev_push(d, q, &c, (uint64_t)have);
		vdev_count(&d->count[BYTES], (uint64_t)have);
	}
	vdev_tell(d, q);
	return n == VIRTIO_BATCH || vring_arm(&d->ring[q]);
}

static const struct vdev_kind kind = {
	.name = "rng",
	.id = VIRTIO_ID_RNG,
	.n_queues = 1,
	.counters = { [BYTES] = "bytes", [FAILED] = "failed" },
	.serve = serve,
};

int vrng_init(struct vrng *v, const struct mem *mem)
{
	return vdev_init(&v->d, &kind, 0, mem, 0);
}
