/* vmm/vnet.c - virtio network card on a tap */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <stddef.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "lib/base/own.h"
#include "vmm/vnet.h"

#define HEADER sizeof(struct virtio_net_hdr_v1)
#define FRAME_MAX                                                                                  \
	(HEADER + 65550) /* the largest that segmentation makes, with its Ethernet header */
#define BIT(n) (1ULL << (n))

enum { RX, TX };
enum { RX_BYTES, RX_FRAMES, TX_BYTES, TX_FRAMES, TX_DROPPED };

/* ---- the tap ---- */

static int attach(const char *name, struct cos_err *err)
{
	auto_close int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	struct ifreq ifr = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };

	if (fd < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "net: open /dev/net/tun");
	if (strlen(name) >= sizeof(ifr.ifr_name))
		return cos_fail(err, COS_E_INVALID, ENAMETOOLONG, "net: %.40s", name);
	memcpy(ifr.ifr_name, name, strlen(name));
	if (ioctl(fd, TUNSETIFF, &ifr) < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "net: attach to %s", name);
	return take_fd(fd);
}

int vnet_open_tap(const char *source, struct cos_err *err)
{
	auto_close int fd = source_fd(source) >= 0 ? source_open(source, O_RDWR, "net", err)
						   : attach(source, err);
	int size = HEADER, flags;
	struct ifreq ifr = { 0 };

	if (fd < 0)
		return fd;
	if (ioctl(fd, TUNGETIFF, &ifr) < 0 ||
	    (ifr.ifr_flags & (IFF_TAP | IFF_NO_PI | IFF_VNET_HDR)) !=
		    (IFF_TAP | IFF_NO_PI | IFF_VNET_HDR))
		return cos_fail(err, COS_E_INVALID, 0,
				"net: not a tap with IFF_TAP, IFF_NO_PI and IFF_VNET_HDR");
	flags = fcntl(fd, F_GETFL);
	if (ioctl(fd, TUNSETVNETHDRSZ, &size) < 0 || ioctl(fd, TUNSETOFFLOAD, 0) < 0 || flags < 0 ||
	    fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "net: set up the tap");
	return take_fd(fd);
}

/* ---- queues ---- */

/* One frame into the guest's next buffer; false: there is none of the one or the other. */
static bool receive(struct vnet *v)
{
	static const uint16_t one = 1;
	struct iovec head[VRING_IOV_MAX];
	struct vchain c;
	ssize_t n;

	if (!vdev_pop(&v->d, RX, &c)) {
		if (!vring_arm(&v->d.ring[RX])) /* else they came just now */
			loop_mod(&v->tap, 0);
		return false;
	}
	memcpy(head, c.iov + c.n_out, c.n_in * sizeof(head[0]));
	n = c.n_in > 0 ? readv(v->tap.fd, c.iov + c.n_out, (int)c.n_in) : 0;
	if (n < 0) {
		vring_unpop(&v->d.ring[RX]);
		return false;
	}
	/* the last field of the header, of which the tap knows nothing: the frame is in one buffer
	 */
	if (iov_take(head, c.n_in, NULL, HEADER - sizeof(one)))
		iov_give(head, c.n_in, &one, sizeof(one));
	vdev_push(&v->d, RX, &c, (uint64_t)n);
	vdev_count(&v->d.count[RX_BYTES], (uint64_t)n);
	vdev_count(&v->d.count[RX_FRAMES], 1);
	return true;
}

static void receive_all(struct vnet *v)
{
	for (unsigned n = 0; n < VIRTIO_BATCH && receive(v); n++)
		;
	vdev_tell(&v->d, RX);
}

static void on_tap(struct loop_source *s, uint32_t events)
{
	struct vnet *v = container_of(s, struct vnet, tap);

	pthread_mutex_lock(&v->d.lock);
	if (events & (EPOLLERR | EPOLLHUP) && !(events & EPOLLIN))
		loop_del(s); /* the interface is gone */
	else if (vdev_is_running(&v->d) && v->d.ring[RX].ready)
		receive_all(v);
	else
		loop_mod(s, 0);
	pthread_mutex_unlock(&v->d.lock);
}

static void transmit(struct vnet *v, struct vchain *c)
{
	ssize_t n = -1;

	if (c->out_len > HEADER && c->out_len <= FRAME_MAX)
		n = writev(v->tap.fd, c->iov, (int)c->n_out);
	/* as a cable that is not plugged in, or a frame that is none */
	vdev_count(&v->d.count[n < 0 ? TX_DROPPED : TX_FRAMES], 1);
	if (n > 0)
		vdev_count(&v->d.count[TX_BYTES], (uint64_t)n);
}

/* The tap may leave sums out of the frames that it gives, if the guest does not need them. Filters
 * have this call for the worker alone, so it waits for the first kick. */
static void set_offload(struct vnet *v)
{
	bool sums = vdev_has(&v->d, VIRTIO_NET_F_GUEST_CSUM);

	if (v->offload_set)
		return;
	v->offload_set = true;
	ioctl(v->tap.fd, TUNSETOFFLOAD, sums ? TUN_F_CSUM : 0);
}

static bool serve(struct vdev *d, unsigned q)
{
	struct vnet *v = container_of(d, struct vnet, d);
	struct vchain c;
	unsigned n = 0;

	set_offload(v);
	if (q == RX) {
		vring_arm(&d->ring[RX]);
		loop_mod(&v->tap, EPOLLIN);
		return false;
	}
	for (; n < VIRTIO_BATCH && vdev_pop(d, q, &c); n++) {
		transmit(v, &c);
		vdev_push(d, q, &c, 0);
	}
	vdev_tell(d, q);
	return n == VIRTIO_BATCH || vring_arm(&d->ring[q]);
}

/* ---- life ---- */

static void reset(struct vdev *d)
{
	container_of(d, struct vnet, d)->offload_set = false;
}

static const struct vdev_kind kind = {
	.name = "net",
	.id = VIRTIO_ID_NET,
	.n_queues = 2,
	.features = BIT(VIRTIO_NET_F_MAC) | BIT(VIRTIO_NET_F_STATUS) | BIT(VIRTIO_NET_F_CSUM) |
		    BIT(VIRTIO_NET_F_GUEST_CSUM) | BIT(VIRTIO_NET_F_HOST_TSO4) |
		    BIT(VIRTIO_NET_F_HOST_TSO6),
	.config_size = offsetof(struct virtio_net_config, speed),
	.counters = { [RX_BYTES] = "rx_bytes",
		      [RX_FRAMES] = "rx_frames",
		      [TX_BYTES] = "tx_bytes",
		      [TX_FRAMES] = "tx_frames",
		      [TX_DROPPED] = "tx_dropped" },
	.serve = serve,
	.reset = reset,
};

int vnet_init(struct vnet *v, unsigned number, const struct mem *mem, int tap,
	      const struct option_net *o)
{
	struct virtio_net_config config = { .status = VIRTIO_NET_S_LINK_UP, .mtu = o->mtu };
	int r;

	*v = (struct vnet){ .tap = { .fd = tap, .ready = on_tap } };
	r = vdev_init(&v->d, &kind, number, mem, o->mtu ? BIT(VIRTIO_NET_F_MTU) : 0);
	memcpy(config.mac, o->mac, sizeof(config.mac));
	memcpy(v->d.config, &config, kind.config_size);
	return r;
}

void vnet_done(struct vnet *v)
{
	loop_del(&v->tap);
	close_p(&v->tap.fd);
	vdev_done(&v->d);
}
