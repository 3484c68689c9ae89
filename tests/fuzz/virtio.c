/* tests/fuzz/virtio.c - a guest at a device's registers and rings; input: DEVICE (1 byte) ACT...
 *
 * An act is a byte and what it takes. The guest has 4 MiB; rings lie where acts 4 puts them, or
 * where registers say. */
#include <fcntl.h>
#include <linux/virtio_mmio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/log.h"
#include "lib/base/own.h"
#include "tests/fuzz/bytes.h"
#include "tests/fuzz/fuzz.h"
#include "vmm/devices.h"

#define DISK  (1UL << 20)
#define RINGS 0x1000UL /* of queue Q: + Q * 0x1000 */
#define ACTS  400

enum device { CONSOLE, BALLOON, RNG, RAW, COW, NET, DEVICES };
enum act { REGISTER, MEMORY, SERVE, ANY, PRESET, DESC, AVAIL, TYPE, TARGET, SENT, ACTS_N };

struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

static struct mem mem;
static struct worker worker;
static struct console console;
static struct vconsole vconsole;
static struct vballoon balloon;
static struct vrng rng;
static struct vblk raw, cow;
static struct vnet net;
static int peer;
static struct vdev *const devs[DEVICES] = {
	&vconsole.d, &balloon.d, &rng.d, &raw.d, &cow.d, &net.d
};

static void broken(void *arg)
{
	(void)arg;
	abort();
}

static int new_file(size_t size)
{
	int fd = memfd_create("disk", MFD_CLOEXEC);

	check(fd >= 0 && ftruncate(fd, (off_t)size) == 0);
	return fd;
}

/* Once: devices are reset between inputs, as a guest would. */
static void setup(void)
{
	static const struct option_net card = { .mac = { 2, 0, 0, 0, 0, 1 }, .mtu = 9000 };
	struct console_taker taker;
	struct cos_err err;
	struct disk disk;
	int sv[2];

	if (mem.base)
		return;
	check(mem_init(&mem, MEM_MIN, false, &err) == 0);
	check(worker_init(&worker, "fuzz", broken, NULL, &err) == 0);
	check(console_init(&console, -1, open("/dev/null", O_RDWR | O_CLOEXEC), &worker, &err) ==
	      0);
	check(vconsole_init(&vconsole, &mem, &console) == 0);
	taker = vconsole_taker(&vconsole);
	console_add_taker(&console, &taker, true);
	check(vballoon_init(&balloon, &mem) == 0 && vrng_init(&rng, &mem) == 0);
	check(disk_open_raw(&disk, new_file(DISK), false, &err) == 0);
	check(vblk_init(&raw, 0, &mem, &disk) == 0);
	check(disk_open_cow(&disk, new_file(0), new_file(DISK), 2 * DISK + 512, &err) == 0);
	check(vblk_init(&cow, 1, &mem, &disk) == 0);
	check(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, sv) == 0);
	peer = sv[1];
	check(vnet_init(&net, 0, &mem, sv[0], &card) == 0);
}

static void write_register(struct vdev *d, uint64_t at, uint64_t value)
{
	struct trap_io io = { .at = at, .value = value, .len = 4, .write = true };

	vdev_io(d, &io);
}

/* What every driver does; rings of 16. */
static void preset(struct vdev *d, uint64_t features)
{
	write_register(d, VIRTIO_MMIO_STATUS, 3);
	write_register(d, VIRTIO_MMIO_DRIVER_FEATURES, features);
	write_register(d, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	write_register(d, VIRTIO_MMIO_DRIVER_FEATURES, 1);
	write_register(d, VIRTIO_MMIO_STATUS, 11);
	for (unsigned q = 0; q < VIRTIO_QUEUES; q++) {
		uint64_t at = RINGS + q * 0x1000UL;

		write_register(d, VIRTIO_MMIO_QUEUE_SEL, q);
		write_register(d, VIRTIO_MMIO_QUEUE_NUM, 16);
		write_register(d, VIRTIO_MMIO_QUEUE_DESC_LOW, at);
		write_register(d, VIRTIO_MMIO_QUEUE_AVAIL_LOW, at + 0x400);
		write_register(d, VIRTIO_MMIO_QUEUE_USED_LOW, at + 0x800);
		write_register(d, VIRTIO_MMIO_QUEUE_READY, 1);
	}
	write_register(d, VIRTIO_MMIO_STATUS, 15);
}

static void put_desc(struct bytes *b)
{
	uint64_t at =
		RINGS + (bytes_take(b, 1) % VIRTIO_QUEUES) * 0x1000 + bytes_take(b, 1) % 16 * 16;
	struct desc d = { bytes_take(b, 4), 0, 0, 0 };

	d.len = (uint32_t)bytes_take(b, 3);
	d.flags = (uint16_t)bytes_take(b, 1);
	d.next = (uint16_t)bytes_take(b, 1);
	memcpy(mem.base + at, &d, sizeof(d));
}

static void put_avail(struct bytes *b)
{
	uint8_t *avail = mem.base + RINGS + 0x400 + (bytes_take(b, 1) % VIRTIO_QUEUES) * 0x1000;
	uint16_t head = (uint16_t)bytes_take(b, 1), idx;

	memcpy(&idx, avail + 2, 2);
	memcpy(avail + 4 + (idx++ % 16) * 2UL, &head, 2);
	memcpy(avail + 2, &idx, 2);
}

static void put_memory(struct bytes *b)
{
	uint64_t at = bytes_take(b, 2);
	size_t n = bytes_take(b, 1);

	n = n < b->left ? n : b->left;
	memcpy(mem.base + at, b->s, n);
	b->s += n;
	b->left -= n;
}

/* An access of any width to any register. */
static void any(struct vdev *d, struct bytes *b)
{
	struct trap_io io = { .at = bytes_take(b, 2) % VIRTIO_PAGE,
			      .len = 1U << bytes_take(b, 1) % 4 };

	io.write = bytes_take(b, 1) & 1;
	io.value = io.write ? bytes_take(b, io.len) : UINT64_MAX;
	vdev_io(d, &io);
}

static void type(void)
{
	static const uint8_t text[] = "typed";
	const struct console_taker *t = &console.taker[0];

	if (t->room(t->arg) >= sizeof(text))
		t->put(t->arg, text, sizeof(text));
	t->drained(t->arg);
	console_flush(&console, UINT64_MAX);
}

static void act(struct vdev *d, struct bytes *b)
{
	static const uint8_t frame[100];
	uint64_t at;

	switch (bytes_take(b, 1) % ACTS_N) {
	case REGISTER:
		at = bytes_take(b, 1) % 64 * 4;
		write_register(d, at, bytes_take(b, 4));
		break;
	case MEMORY:
		put_memory(b);
		break;
	case SERVE:
		at = bytes_take(b, 1) % d->kind->n_queues;
		vdev_serve(d, (unsigned)at);
		break;
	case ANY:
		any(d, b);
		break;
	case PRESET:
		preset(d, bytes_take(b, 4));
		break;
	case DESC:
		put_desc(b);
		break;
	case AVAIL:
		put_avail(b);
		break;
	case TYPE:
		type();
		break;
	case TARGET:
		vballoon_set(&balloon, (uint32_t)bytes_take(b, 4));
		vballoon_ask(&balloon);
		break;
	case SENT:
		check(send(peer, frame, sizeof(frame), MSG_DONTWAIT) != 0);
		net.tap.ready(&net.tap, 1);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes b = { data, size };
	uint8_t frame[2048];
	struct vdev *d;

	setup();
	d = devs[bytes_take(&b, 1) % DEVICES];
	memset(mem.base, 0, 0x20000);
	for (unsigned n = 0; b.left > 0 && n < ACTS; n++)
		act(d, &b);
	write_register(d, VIRTIO_MMIO_STATUS, 0);
	check(!vdev_is_running(d) && d->driver_features == 0);
	while (recv(peer, frame, sizeof(frame), MSG_DONTWAIT) > 0 ||
	       recv(net.tap.fd, frame, sizeof(frame), MSG_DONTWAIT) > 0)
		;
	return 0;
}
