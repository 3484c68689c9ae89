/* vmm/vballoon.c - virtio balloon: memory that the guest lends back to the host */
#include <assert.h>
#include <linux/virtio_balloon.h>
#include <linux/virtio_ids.h>
#include <stddef.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/own.h"
#include "vmm/vballoon.h"
#include "vmm/worker.h"

#define PFN_SHIFT VIRTIO_BALLOON_PFN_SHIFT
#define PFNS      256   /* looked at in one go */
#define PFNS_MAX  65536 /* of one request: 256 MiB */
#define STATS_MAX 32    /* entries of one request that are looked at */

enum { INFLATE, DEFLATE };
enum { INFLATED, DEFLATED, FREED_BYTES, REPORTED_BYTES, STRAY };

static_assert(VBALLOON_STATS == VIRTIO_BALLOON_S_NR, "statistics that Linux knows");

const char *const vballoon_stat_names[VBALLOON_STATS] = {
	[VIRTIO_BALLOON_S_SWAP_IN] = "swap_in_bytes",
	[VIRTIO_BALLOON_S_SWAP_OUT] = "swap_out_bytes",
	[VIRTIO_BALLOON_S_MAJFLT] = "major_faults",
	[VIRTIO_BALLOON_S_MINFLT] = "minor_faults",
	[VIRTIO_BALLOON_S_MEMFREE] = "free_bytes",
	[VIRTIO_BALLOON_S_MEMTOT] = "total_bytes",
	[VIRTIO_BALLOON_S_AVAIL] = "available_bytes",
	[VIRTIO_BALLOON_S_CACHES] = "cache_bytes",
	[VIRTIO_BALLOON_S_HTLB_PGALLOC] = "huge_pages",
	[VIRTIO_BALLOON_S_HTLB_PGFAIL] = "huge_page_failures",
};

/* How many of the N numbers at PFN follow each other, upwards (STEP 1) or downwards (-1). */
static unsigned run_of(const uint32_t *pfn, unsigned n, uint32_t step)
{
	unsigned run = 1;

	while (run < n && pfn[run] == pfn[run - 1] + step)
		run++;
	return run;
}

/* Frees the N pages, neighbours together: Linux takes them from the top down as well as upwards. */
static void release(struct vballoon *v, const uint32_t *pfn, unsigned n)
{
	for (unsigned i = 0, run; i < n; i += run) {
		uint64_t first = pfn[i], len;
		void *p;

		run = run_of(pfn + i, n - i, 1);
		if (run == 1) {
			run = run_of(pfn + i, n - i, UINT32_MAX);
			first = pfn[i + run - 1];
		}
		len = (uint64_t)run << PFN_SHIFT;
		p = mem_at(v->d.mem, first << PFN_SHIFT, len);
		if (p)
			vdev_count(&v->d.count[FREED_BYTES], mem_release(p, len));
		else
			vdev_count(&v->d.count[STRAY], run);
	}
}

/* One request: numbers of pages. False: more than there may be. */
static bool take_pages(struct vballoon *v, unsigned q, struct vchain *c)
{
	uint32_t pfn[PFNS];

	if (c->out_len > PFNS_MAX * sizeof(pfn[0]))
		return false;
	while (c->out_len >= sizeof(pfn[0])) {
		unsigned n = c->out_len / sizeof(pfn[0]) < PFNS
				     ? (unsigned)(c->out_len / sizeof(pfn[0]))
				     : PFNS;

		if (!iov_take(c->iov, c->n_out, pfn, n * sizeof(pfn[0])))
			return false;
		c->out_len -= n * sizeof(pfn[0]);
		vdev_count(&v->d.count[q == INFLATE ? INFLATED : DEFLATED], n);
		if (q == INFLATE)
			release(v, pfn, n);
	}
	return true;
}

static bool serve_pages(struct vballoon *v, unsigned q)
{
	struct vchain c;
	unsigned n = 0;

	for (; n < VIRTIO_BATCH && vdev_pop(&v->d, q, &c); n++) {
		if (!take_pages(v, q, &c)) {
			vdev_break(&v->d);
			return false;
		}
		vdev_push(&v->d, q, &c, 0);
	}
	vdev_tell(&v->d, q);
	return n == VIRTIO_BATCH || vring_arm(&v->d.ring[q]);
}

static void take_stats(struct vballoon *v, struct vchain *c)
{
	struct virtio_balloon_stat s;

	for (unsigned n = 0; n < STATS_MAX && iov_take(c->iov, c->n_out, &s, sizeof(s)); n++) {
		if (s.tag < VBALLOON_STATS)
			atomic_store(&v->stat[s.tag], s.val);
	}
	atomic_store(&v->stats_usec, clock_usec());
}

/* The guest fills its buffer when it gets it back: it stays here until somebody asks. */
static bool serve_stats(struct vballoon *v, unsigned q)
{
	struct vchain c = { 0 };

	if (!v->has_buffer && vdev_pop(&v->d, q, &c)) {
		take_stats(v, &c);
		v->has_buffer = true;
		v->buffer = c.head;
	}
	if (v->has_buffer && atomic_exchange(&v->ask, false)) {
		c.head = v->buffer;
		v->has_buffer = false;
		vdev_push(&v->d, q, &c, 0);
	}
	vdev_tell(&v->d, q);
	vring_arm(&v->d.ring[q]);
	return false;
}

/* The parts of the request are the pages themselves. */
static bool serve_reports(struct vballoon *v, unsigned q)
{
	struct vchain c;
	unsigned n = 0;

	for (; n < VIRTIO_BATCH && vdev_pop(&v->d, q, &c); n++) {
		for (unsigned i = 0; i < c.n_in; i++) {
			const struct iovec *part = &c.iov[c.n_out + i];

			vdev_count(&v->d.count[REPORTED_BYTES],
				   mem_release(part->iov_base, part->iov_len));
		}
		vdev_push(&v->d, q, &c, 0);
	}
	vdev_tell(&v->d, q);
	return n == VIRTIO_BATCH || vring_arm(&v->d.ring[q]);
}

/* Queues of features that the driver did not take are left out of the numbering. */
static bool serve(struct vdev *d, unsigned q)
{
	struct vballoon *v = container_of(d, struct vballoon, d);
	unsigned next = 2;

	if (q == INFLATE || q == DEFLATE)
		return serve_pages(v, q);
	if (vdev_has(d, VIRTIO_BALLOON_F_STATS_VQ) && q == next++)
		return serve_stats(v, q);
	if (vdev_has(d, VIRTIO_BALLOON_F_REPORTING) && q == next)
		return serve_reports(v, q);
	return false;
}

static void reset(struct vdev *d)
{
	struct vballoon *v = container_of(d, struct vballoon, d);

	v->has_buffer = false;
	atomic_store(&v->stats_usec, 0);
	atomic_store(&v->actual, 0);
	memset(d->config + offsetof(struct virtio_balloon_config, actual), 0, 4);
}

static void wrote_config(struct vdev *d, uint64_t at, unsigned len, uint64_t value)
{
	struct vballoon *v = container_of(d, struct vballoon, d);
	uint32_t actual = (uint32_t)value;

	if (at != offsetof(struct virtio_balloon_config, actual) || len != 4)
		return;
	memcpy(d->config + at, &actual, 4);
	atomic_store(&v->actual, actual);
}

static const struct vdev_kind kind = {
	.name = "balloon",
	.id = VIRTIO_ID_BALLOON,
	.n_queues = 4,
	.features = 1ULL << VIRTIO_BALLOON_F_STATS_VQ | 1ULL << VIRTIO_BALLOON_F_DEFLATE_ON_OOM |
		    1ULL << VIRTIO_BALLOON_F_REPORTING,
	.config_size = 8, /* target and actual pages */
	.counters = { [INFLATED] = "inflated_pages",
		      [DEFLATED] = "deflated_pages",
		      [FREED_BYTES] = "freed_bytes",
		      [REPORTED_BYTES] = "reported_bytes",
		      [STRAY] = "stray_pages" },
	.serve = serve,
	.reset = reset,
	.wrote_config = wrote_config,
};

void vballoon_set(struct vballoon *v, uint32_t pages)
{
	pthread_mutex_lock(&v->d.lock);
	atomic_store(&v->target, pages);
	atomic_store(&v->target_usec, clock_usec());
	memcpy(v->d.config + offsetof(struct virtio_balloon_config, num_pages), &pages, 4);
	vdev_config_changed(&v->d);
	pthread_mutex_unlock(&v->d.lock);
}

void vballoon_ask(struct vballoon *v)
{
	atomic_store(&v->ask, true);
	event_raise(v->d.kick[2].src.fd);
}

int vballoon_init(struct vballoon *v, const struct mem *mem)
{
	*v = (struct vballoon){ 0 };
	return vdev_init(&v->d, &kind, 0, mem, 0);
}
