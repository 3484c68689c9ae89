/* vmm/vblk.c - virtio block device */
#include <assert.h>
#include <errno.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_ids.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/log.h"
#include "lib/base/own.h"
#include "vmm/vblk.h"

#define SEGMENTS     (VRING_IOV_MAX - 2)
#define SEGMENT_MAX  (1U << 20)
#define ZERO_SECTORS (1U << 16) /* of one discard: 32 MiB */
#define BIT(n)       (1ULL << (n))

enum { READ_BYTES, WRITTEN_BYTES, FLUSHES, ZEROED_BYTES, ERRORS };

/* What is left of a request when header and status are off. */
struct request {
	struct virtio_blk_outhdr h;
	struct iovec *out, *in;
	unsigned n_out, n_in;
	uint64_t out_len, in_len;
};

/* Whether the bytes are whole sectors of the disk; *RET_AT is where. */
static bool is_within(const struct vblk *v, uint64_t sector, uint64_t len, uint64_t *ret_at)
{
	uint64_t sectors = v->disk.size / DISK_SECTOR;

	if (len == 0 || len % DISK_SECTOR || sector >= sectors ||
	    len / DISK_SECTOR > sectors - sector)
		return false;
	*ret_at = sector * DISK_SECTOR;
	return true;
}

static int do_read(struct vblk *v, struct request *q)
{
	uint64_t at;
	int r;

	if (!is_within(v, q->h.sector, q->in_len, &at))
		return -EINVAL;
	r = disk_read(&v->disk, q->in, q->n_in, at, q->in_len);
	if (r == 0)
		vdev_count(&v->d.count[READ_BYTES], q->in_len);
	return r;
}

static int do_write(struct vblk *v, struct request *q)
{
	uint64_t at;
	int r;

	if (!is_within(v, q->h.sector, q->out_len, &at))
		return -EINVAL;
	r = disk_write(&v->disk, q->out, q->n_out, at, q->out_len);
	if (r == 0)
		vdev_count(&v->d.count[WRITTEN_BYTES], q->out_len);
	return r;
}

static int do_flush(struct vblk *v, struct request *q)
{
	(void)q;
	vdev_count(&v->d.count[FLUSHES], 1);
	return disk_flush(&v->disk);
}

static int do_id(struct vblk *v, struct request *q)
{
	char id[VIRTIO_BLK_ID_BYTES] = { 0 };

	snprintf(id, sizeof(id), "cos-%s", v->d.name);
	return iov_give(q->in, q->n_in, id, q->in_len < sizeof(id) ? (size_t)q->in_len : sizeof(id))
		       ? 0
		       : -EINVAL;
}

/* One range, as the device's registers say. */
static int do_zero(struct vblk *v, struct request *q)
{
	struct virtio_blk_discard_write_zeroes z;
	uint64_t at;
	int r;

	if (q->out_len != sizeof(z) || !iov_take(q->out, q->n_out, &z, sizeof(z)))
		return -EINVAL;
	if (z.num_sectors > ZERO_SECTORS ||
	    !is_within(v, z.sector, z.num_sectors * DISK_SECTOR, &at))
		return -EINVAL;
	r = disk_zero(&v->disk, at, z.num_sectors * DISK_SECTOR);
	if (r == 0)
		vdev_count(&v->d.count[ZEROED_BYTES], z.num_sectors * DISK_SECTOR);
	return r;
}

static const struct {
	uint32_t type;
	bool writes;
	int (*fn)(struct vblk *v, struct request *q);
} types[] = {
	{ VIRTIO_BLK_T_IN, false, do_read },     { VIRTIO_BLK_T_OUT, true, do_write },
	{ VIRTIO_BLK_T_FLUSH, false, do_flush }, { VIRTIO_BLK_T_GET_ID, false, do_id },
	{ VIRTIO_BLK_T_DISCARD, true, do_zero }, { VIRTIO_BLK_T_WRITE_ZEROES, true, do_zero },
};

static uint8_t carry_out(struct vblk *v, struct request *q)
{
	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		int r;

		if (types[i].type != q->h.type)
			continue;
		r = types[i].writes && v->disk.ro ? -EROFS : types[i].fn(v, q);
		if (r == 0)
			return VIRTIO_BLK_S_OK;
		vdev_count(&v->d.count[ERRORS], 1);
		return VIRTIO_BLK_S_IOERR;
	}
	return VIRTIO_BLK_S_UNSUPP;
}

/* Takes the last byte off the parts that the device writes, for the status; NULL: there is none. */
static uint8_t *take_status(struct vchain *c)
{
	for (unsigned i = c->n_in; i-- > 0;) {
		struct iovec *part = &c->iov[c->n_out + i];

		if (part->iov_len > 0) {
			c->in_len--;
			return (uint8_t *)part->iov_base + --part->iov_len;
		}
	}
	return NULL;
}

/* False: no request at all. */
static bool serve_one(struct vblk *v, struct vchain *c)
{
	struct request q = {
		.out = c->iov, .in = c->iov + c->n_out, .n_out = c->n_out, .n_in = c->n_in
	};
	uint8_t *status = take_status(c);

	if (!status || !iov_take(q.out, q.n_out, &q.h, sizeof(q.h)))
		return false;
	q.out_len = c->out_len - sizeof(q.h);
	q.in_len = c->in_len;
	*status = carry_out(v, &q);
	vdev_push(&v->d, 0, c, c->in_len + 1);
	return true;
}

static bool serve(struct vdev *d, unsigned q)
{
	struct vblk *v = container_of(d, struct vblk, d);
	struct vchain c;
	unsigned n = 0;

	for (; n < VIRTIO_BATCH && vdev_pop(d, q, &c); n++) {
		if (!serve_one(v, &c)) {
			vdev_break(d);
			return false;
		}
	}
	vdev_tell(d, q);
	return n == VIRTIO_BATCH || vring_arm(&d->ring[q]);
}

static const struct vdev_kind kind = {
	.name = "blk",
	.id = VIRTIO_ID_BLOCK,
	.n_queues = 1,
	.features =
		BIT(VIRTIO_BLK_F_SIZE_MAX) | BIT(VIRTIO_BLK_F_SEG_MAX) | BIT(VIRTIO_BLK_F_FLUSH),
	.config_size = sizeof(struct virtio_blk_config),
	.counters = { [READ_BYTES] = "read_bytes",
		      [WRITTEN_BYTES] = "written_bytes",
		      [FLUSHES] = "flushes",
		      [ZEROED_BYTES] = "zeroed_bytes",
		      [ERRORS] = "errors" },
	.serve = serve,
};

static_assert(sizeof(struct virtio_blk_config) <= VIRTIO_CONFIG, "room for the registers");

int vblk_init(struct vblk *v, unsigned number, const struct mem *mem, const struct disk *disk)
{
	const struct virtio_blk_config config = {
		.capacity = disk->size / DISK_SECTOR,
		.size_max = SEGMENT_MAX,
		.seg_max = SEGMENTS,
		.max_discard_sectors = ZERO_SECTORS,
		.max_discard_seg = 1,
		.discard_sector_alignment = 8,
		.max_write_zeroes_sectors = ZERO_SECTORS,
		.max_write_zeroes_seg = 1,
		.write_zeroes_may_unmap = 1,
	};
	uint64_t more = disk->ro ? BIT(VIRTIO_BLK_F_RO)
				 : BIT(VIRTIO_BLK_F_DISCARD) | BIT(VIRTIO_BLK_F_WRITE_ZEROES);
	int r;

	*v = (struct vblk){ .disk = *disk };
	r = vdev_init(&v->d, &kind, number, mem, more);
	memcpy(v->d.config, &config, sizeof(config));
	return r;
}

void vblk_last(void *vblk)
{
	struct vblk *v = vblk;
	int r = v->disk.ro ? 0 : disk_flush(&v->disk);

	if (r < 0)
		log_say(LOG_ERROR, "%s: what was written last may be lost: errno %d", v->d.name,
			-r);
}

void vblk_done(struct vblk *v)
{
	vdev_done(&v->d);
	disk_close(&v->disk);
}
