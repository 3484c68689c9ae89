/* vmm/vring.h - a virtio split ring, whose other side is hostile
 *
 * Where the three parts lie is checked once, when the ring is started; each descriptor is copied
 * before it is looked at, and every address in it is looked up in the guest's memory. What the
 * guest may not do breaks the ring: nothing more is taken from it until the device is reset. */
#pragma once

#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "vmm/mem.h"

#define VRING_SIZE_MAX 256
#define VRING_IOV_MAX  130 /* parts of a chain: 128 of data, a header, a status */

/* One request. The parts that the device reads come first. */
struct vchain {
	struct iovec iov[VRING_IOV_MAX];
	unsigned n_out, n_in;
	uint64_t out_len, in_len;
	uint16_t head;
};

struct vqueue {
	uint64_t desc, avail, used; /* the guest's addresses, as it wrote them */
	uint16_t size;              /* 0: not set */
	bool ready, broken, event_idx;
	uint16_t next_avail, next_used, told;
	const struct mem *mem;
	const struct vring_desc *d;
	struct vring_avail *a;
	struct vring_used *u;
};

/* Checks the ring that DESC to SIZE describe; -EINVAL: a size or an alignment, -EFAULT: not all of
 * it is memory. */
int vring_start(struct vqueue *r, const struct mem *m, bool event_idx);
/* The next request: 1 and *RET, 0: there is none, -EPROTO: the ring is broken. */
int vring_pop(struct vqueue *r, struct vchain *ret);
/* Gives the last one that was popped back, to be popped again. */
void vring_unpop(struct vqueue *r);
/* Whether vring_pop() would find one, or an error. */
bool vring_has(const struct vqueue *r);
/* The request HEAD is done, WRITTEN bytes were written to it. */
void vring_push(struct vqueue *r, uint16_t head, uint32_t written);
/* Whether the guest wants to be told of what was pushed since the last call. */
bool vring_should_tell(struct vqueue *r);
/* The guest is asked to tell of the next request; true: one came meanwhile. */
bool vring_arm(struct vqueue *r);

/* Takes N bytes off the front of the N_IOV parts at IOV, copied to TO (NULL: not copied). False:
 * they have less, and nothing was taken. Parts that are used up have length 0. */
bool iov_take(struct iovec *iov, unsigned n_iov, void *to, size_t n);
/* Copies N bytes to the front of the parts, which are taken off; as iov_take(). */
bool iov_give(struct iovec *iov, unsigned n_iov, const void *from, size_t n);
