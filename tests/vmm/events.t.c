/* tests/vmm/events.t.c - who wakes whom: a driver that tells only what it is asked to, and what is
 * behind a console; without KVM */
#include <fcntl.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/own.h"
#include "tests/tap.h"
#include "vmm/serial.h"
#include "vmm/vconsole.h"
#include "vmm/vnet.h"

#define SIZE  16U /* of a ring */
#define DESC  0x1000UL
#define AVAIL (DESC + 0x400)
#define USED  (DESC + 0x800)
#define PAGES 0x10000UL /* a page for each buffer */

static struct mem mem;
static struct worker worker;
static struct cos_err err;

static void broken(void *arg)
{
	(void)arg;
	abort();
}

static void on_time(struct loop_timer *t)
{
	(void)t;
	worker.loop.stop = true;
}

/* Rounds of the loop until nothing is to be done; false: there is no end of it. */
static bool settles(void)
{
	struct loop_timer now = { .fire = on_time };
	struct pollfd p = { .fd = worker.loop.epfd, .events = POLLIN };

	for (int rounds = 0; rounds < 100; rounds++) {
		worker.loop.stop = false;
		loop_timer_set(&worker.loop, &now, 0);
		if (loop_run(&worker.loop) < 0)
			abort();
		if (poll(&p, 1, 0) == 0)
			return true;
	}
	return false;
}

static void begin(void)
{
	if (mem_init(&mem, MEM_MIN, false, &err) < 0 ||
	    worker_init(&worker, "test", broken, NULL, &err) < 0)
		abort();
}

static void end(void)
{
	worker_done(&worker);
	mem_done(&mem);
}

/* ---- a driver that was given EVENT_IDX ---- */

static void write_register(struct vdev *d, uint64_t at, uint64_t value)
{
	struct trap_io io = { .at = at, .value = value, .len = 4, .write = true };

	vdev_io(d, &io);
}

/* Queue 0 has buffers for input. */
static void start(struct vdev *d)
{
	struct vring_desc *desc = mem_at(&mem, DESC, SIZE * sizeof(*desc));

	for (unsigned q = 0; q < d->kind->n_queues; q++) {
		if (loop_add(&worker.loop, &d->kick[q].src, EPOLLIN) < 0)
			abort();
	}
	for (unsigned i = 0; i < SIZE; i++)
		desc[i] =
			(struct vring_desc){ PAGES + i * 0x1000UL, 0x1000, VRING_DESC_F_WRITE, 0 };
	write_register(d, VIRTIO_MMIO_STATUS, 3);
	write_register(d, VIRTIO_MMIO_DRIVER_FEATURES, 1U << VIRTIO_RING_F_EVENT_IDX);
	write_register(d, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
	write_register(d, VIRTIO_MMIO_DRIVER_FEATURES, 1);
	write_register(d, VIRTIO_MMIO_STATUS, 11);
	write_register(d, VIRTIO_MMIO_QUEUE_NUM, SIZE);
	write_register(d, VIRTIO_MMIO_QUEUE_DESC_LOW, DESC);
	write_register(d, VIRTIO_MMIO_QUEUE_AVAIL_LOW, AVAIL);
	write_register(d, VIRTIO_MMIO_QUEUE_USED_LOW, USED);
	write_register(d, VIRTIO_MMIO_QUEUE_READY, 1);
	write_register(d, VIRTIO_MMIO_STATUS, 15);
}

/* Gives all buffers that are not the device's, and tells as the specification says. */
static void refill(struct vdev *d)
{
	struct vring_avail *a = mem_at(&mem, AVAIL, 6 + 2UL * SIZE);
	const struct vring_used *u = mem_at(&mem, USED, 6 + 8UL * SIZE);
	uint16_t old = a->idx, event;

	while ((uint16_t)(a->idx - u->idx) < SIZE) {
		a->ring[a->idx % SIZE] = a->idx % SIZE;
		a->idx++;
	}
	memcpy(&event, &u->ring[SIZE], sizeof(event));
	if (vring_need_event(event, a->idx, old))
		event_raise(d->kick[0].src.fd);
}

static uint16_t used(void)
{
	const struct vring_used *u = mem_at(&mem, USED, 4);

	return u->idx;
}

static void frames_come_when_there_are_buffers_again(void)
{
	static const struct option_net card = { .mac = { 2, 0, 0, 0, 0, 1 } };
	const char frame[72] = "";
	struct vnet net;
	int sv[2];

	begin();
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, sv) < 0 ||
	    vnet_init(&net, 0, &mem, sv[0], &card) < 0 ||
	    loop_add(&worker.loop, &net.tap, EPOLLIN) < 0)
		abort();
	start(&net.d);
	refill(&net.d);
	ok(settles() && used() == 0, "a card waits for frames");
	for (unsigned i = 0; i < 40; i++) {
		if (send(sv[1], frame, sizeof(frame), 0) != (ssize_t)sizeof(frame))
			abort();
	}
	ok(settles() && used() == SIZE, "%u of 40 have found a buffer", used());
	refill(&net.d);
	ok(settles() && used() == 2 * SIZE, "new buffers, more frames: %u", used());
	refill(&net.d);
	ok(settles() && used() == 40, "and the last ones: %u", used());
	vnet_done(&net);
	close(sv[1]);
	end();
}

/* ---- consoles ---- */

static void open_console(struct console *c, int sv[2])
{
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0 ||
	    console_init(c, sv[0], open("/dev/null", O_WRONLY | O_CLOEXEC), &worker, &err) < 0)
		abort();
}

static void type(int fd, size_t n)
{
	static const char text[2048];

	if (write(fd, text, n) != (ssize_t)n)
		abort();
}

static void what_is_typed_comes_when_there_are_buffers_again(void)
{
	struct console_taker taker;
	struct vconsole v;
	struct console c;
	int sv[2];

	begin();
	open_console(&c, sv);
	if (vconsole_init(&v, &mem, &c) < 0)
		abort();
	taker = vconsole_taker(&v);
	console_add_taker(&c, &taker, true);
	start(&v.d);
	refill(&v.d);
	for (unsigned i = 0; i < SIZE; i++) {
		type(sv[1], 1);
		settles();
	}
	ok(used() == SIZE, "a key is a buffer");
	type(sv[1], 2UL * VCONSOLE_IN);
	ok(settles() && used() == SIZE && v.in_used == VCONSOLE_IN, "further ones wait");
	refill(&v.d);
	ok(settles() && used() > SIZE && v.in_used == 0 && c.in_bytes == SIZE + 2 * VCONSOLE_IN,
	   "and come: %u", used());
	console_done(&c);
	vdev_done(&v.d);
	close(sv[1]);
	end();
}

static void write_port(struct serial *s, uint64_t at, uint8_t value)
{
	struct trap_io io = { .at = at, .value = value, .len = 1, .write = true };

	serial_io(s, &io);
}

static uint8_t read_port(struct serial *s, uint64_t at)
{
	struct trap_io io = { .at = at, .len = 1 };

	serial_io(s, &io);
	return (uint8_t)io.value;
}

static void a_full_port_is_cleared_and_hung_up(void)
{
	struct console_taker taker;
	struct console c;
	struct serial s;
	int sv[2];

	begin();
	open_console(&c, sv);
	serial_init(&s, &c, -1);
	taker = serial_taker(&s);
	console_add_taker(&c, &taker, true);
	type(sv[1], 3UL * SERIAL_RX);
	ok(settles() && c.in_bytes == SERIAL_RX, "a port takes what it has room for");
	write_port(&s, 2, 7);
	ok(settles() && c.in_bytes == 2UL * SERIAL_RX, "when it is cleared, more");
	close(sv[1]);
	ok(settles(), "it is full, and the other end goes: nobody asks again and again");
	for (unsigned i = 0; i < SERIAL_RX; i++)
		read_port(&s, 0);
	ok(settles() && c.in_bytes == 3UL * SERIAL_RX, "what it had sent still comes");
	for (unsigned i = 0; i < SERIAL_RX; i++)
		read_port(&s, 0);
	ok(settles() && !(read_port(&s, 5) & 1), "then nothing more");
	serial_done(&s);
	console_done(&c);
	end();
}

int main(void)
{
	frames_come_when_there_are_buffers_again();
	what_is_typed_comes_when_there_are_buffers_again();
	a_full_port_is_cleared_and_hung_up();
	return tap_done();
}
