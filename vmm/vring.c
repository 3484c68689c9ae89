/* vmm/vring.c - a virtio split ring, whose other side is hostile */
#include <errno.h>
#include <string.h>

#include "vmm/vring.h"

/* What was copied is what is looked at: the compiler may not read the guest's memory again. */
static struct vring_desc read_desc(const uint8_t *p)
{
	struct vring_desc d;

	memcpy(&d, p, sizeof(d));
	__asm__ volatile("" : : : "memory");
	return d;
}

static int break_ring(struct vqueue *r)
{
	r->broken = true;
	return -EPROTO;
}

int vring_start(struct vqueue *r, const struct mem *m, bool event_idx)
{
	uint64_t n = r->size;

	if (n == 0 || n > VRING_SIZE_MAX || (n & (n - 1)) || r->desc % 16 || r->avail % 2 ||
	    r->used % 4)
		return -EINVAL;
	r->d = mem_at(m, r->desc, n * sizeof(struct vring_desc));
	/* both have a word more than the specification of their arrays, for the other's events */
	r->a = mem_at(m, r->avail, sizeof(struct vring_avail) + n * 2 + 2);
	r->u = mem_at(m, r->used,
		      sizeof(struct vring_used) + n * sizeof(struct vring_used_elem) + 2);
	if (!r->d || !r->a || !r->u)
		return -EFAULT;
	r->mem = m;
	r->event_idx = event_idx;
	r->next_avail = r->next_used = r->told = 0;
	r->broken = false;
	r->ready = true;
	return 0;
}

static uint16_t load16(const __virtio16 *p)
{
	return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

bool vring_has(const struct vqueue *r)
{
	return r->ready && !r->broken && load16(&r->a->idx) != r->next_avail;
}

/* One part of a chain; false: it may not be there. */
static bool add_part(const struct vqueue *r, struct vchain *c, const struct vring_desc *d)
{
	unsigned n = c->n_out + c->n_in;
	void *p = mem_at(r->mem, d->addr, d->len);

	if (d->len == 0)
		return true;
	if (!p || n == VRING_IOV_MAX)
		return false;
	c->iov[n] = (struct iovec){ p, d->len };
	if (d->flags & VRING_DESC_F_WRITE) {
		c->n_in++;
		c->in_len += d->len;
		return true;
	}
	c->n_out++;
	c->out_len += d->len;
	return c->n_in == 0; /* what is read comes before what is written */
}

/* The chain that begins at entry I of the table of N at TABLE; each entry at most once. INDIRECT:
 * TABLE is one itself. */
static bool gather(const struct vqueue *r, struct vchain *c, const uint8_t *table, unsigned n,
		   unsigned i, bool indirect)
{
	for (unsigned left = n; left > 0 && i < n; left--) {
		struct vring_desc d = read_desc(table + i * sizeof(d));

		if (d.flags & VRING_DESC_F_INDIRECT) {
			const uint8_t *inner = mem_at(r->mem, d.addr, d.len);
			unsigned inner_n = d.len / sizeof(d);

			return !indirect && !(d.flags & VRING_DESC_F_NEXT) && inner &&
			       d.len % sizeof(d) == 0 && inner_n <= VRING_SIZE_MAX &&
			       gather(r, c, inner, inner_n, 0, true);
		}
		if (!add_part(r, c, &d))
			return false;
		if (!(d.flags & VRING_DESC_F_NEXT))
			return true;
		i = d.next;
	}
	return false;
}

int vring_pop(struct vqueue *r, struct vchain *ret)
{
	uint16_t waiting, head;

	if (!r->ready || r->broken)
		return r->broken ? -EPROTO : 0;
	waiting = (uint16_t)(load16(&r->a->idx) - r->next_avail);
	if (waiting == 0)
		return 0;
	if (waiting > r->size)
		return break_ring(r);
	head = load16(&r->a->ring[r->next_avail & (r->size - 1)]);
	if (head >= r->size)
		return break_ring(r);
	ret->n_out = ret->n_in = 0;
	ret->out_len = ret->in_len = 0;
	ret->head = head;
	if (!gather(r, ret, (const uint8_t *)r->d, r->size, head, false))
		return break_ring(r);
	r->next_avail++;
	return 1;
}

void vring_unpop(struct vqueue *r)
{
	r->next_avail--;
}

void vring_push(struct vqueue *r, uint16_t head, uint32_t written)
{
	struct vring_used_elem *e = &r->u->ring[r->next_used & (r->size - 1)];

	*e = (struct vring_used_elem){ head, written };
	__atomic_store_n(&r->u->idx, ++r->next_used, __ATOMIC_RELEASE);
}

bool vring_should_tell(struct vqueue *r)
{
	uint16_t from = r->told, to = r->next_used, event;

	if (!r->ready || from == to)
		return false;
	r->told = to;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!r->event_idx)
		return !(load16(&r->a->flags) & VRING_AVAIL_F_NO_INTERRUPT);
	event = load16(&r->a->ring[r->size]);
	return (uint16_t)(to - event - 1) < (uint16_t)(to - from);
}

bool vring_arm(struct vqueue *r)
{
	if (!r->ready || r->broken)
		return false;
	if (r->event_idx)
		__atomic_store_n((uint16_t *)&r->u->ring[r->size], r->next_avail, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return vring_has(r);
}

static size_t iov_len(const struct iovec *iov, unsigned n_iov, size_t enough)
{
	size_t sum = 0;

	for (unsigned i = 0; i < n_iov && sum < enough; i++)
		sum += iov[i].iov_len;
	return sum;
}

static bool iov_move(struct iovec *iov, unsigned n_iov, uint8_t *to, const uint8_t *from, size_t n)
{
	if (iov_len(iov, n_iov, n) < n)
		return false;
	for (; n > 0; iov++) {
		size_t part = iov->iov_len < n ? iov->iov_len : n;

		if (part > 0 && to)
			memcpy(to, iov->iov_base, part);
		if (part > 0 && from)
			memcpy(iov->iov_base, from, part);
		to = to ? to + part : NULL;
		from = from ? from + part : NULL;
		iov->iov_base = (char *)iov->iov_base + part;
		iov->iov_len -= part;
		n -= part;
	}
	__asm__ volatile("" : : : "memory");
	return true;
}

bool iov_take(struct iovec *iov, unsigned n_iov, void *to, size_t n)
{
	return iov_move(iov, n_iov, to, NULL, n);
}

bool iov_give(struct iovec *iov, unsigned n_iov, const void *from, size_t n)
{
	return iov_move(iov, n_iov, NULL, from, n);
}
