/* tests/vmm/guest-net.c - the mini guest in a network */
#include "tests/vmm/guest-virtio.h"

/* Says which MTU the link has, if it is told. */
static void net_device(uint64_t at)
{
	uint32_t mtu = 1 << 3;

	mmio_write(at + FEATURES_SEL, 0);
	mtu &= mmio_read(at + FEATURES);
	device_start(at, 1 << 5 | mtu, 2);
	if (mtu)
		say("mtu", *(volatile uint16_t *)at_address(at + CONFIG + 10));
}

/* Sends a frame, waits for one and sends it back. */
void test_net(void)
{
	uint64_t at = device_find(ID_NET, 0);
	uint32_t n;

	net_device(at);
	queue_part(&queues[0], pages[0], 2048, true);
	queue_post(at, 0);
	memset(pages[1], 0, 12);
	memset(pages[1] + 12, 0xff, 6);
	for (unsigned i = 0; i < 6; i++)
		pages[1][18 + i] = *(volatile uint8_t *)at_address(at + CONFIG + i);
	pages[1][24] = 0x88;
	pages[1][25] = 0xb5; /* for experiments */
	memcpy(pages[1] + 26, "from the guest", 14);
	queue_part(&queues[1], pages[1], 12 + 60, false);
	queue_post(at, 1);
	queue_wait(1);
	put_text("sent\n");
	/* the host may have something to say of its own */
	while (n = queue_wait(0), pages[0][24] != 0x88 || pages[0][25] != 0xb5) {
		queue_part(&queues[0], pages[0], 2048, true);
		queue_post(at, 0);
	}
	say("got", n);
	say("buffers", pages[0][10]);
	memset(pages[0], 0, 12);
	queue_part(&queues[1], pages[0], n, false);
	queue_post(at, 1);
	queue_wait(1);
}

/* --- as little of IPv4 as it takes --- */

#define FRAME 12 /* in a buffer, behind virtio's header */

struct address {
	uint8_t mac[6];
	uint32_t ip;
};

static void put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static void put32(uint8_t *p, uint32_t v)
{
	put16(p, v >> 16);
	put16(p + 2, v);
}

static uint32_t get16(const uint8_t *p)
{
	return (uint32_t)p[0] << 8 | p[1];
}

static uint32_t get32(const uint8_t *p)
{
	return get16(p) << 16 | get16(p + 2);
}

static uint32_t sum16(const uint8_t *p, uint32_t n)
{
	uint32_t sum = 0;

	for (uint32_t i = 0; i < n; i += 2)
		sum += get16(p + i);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~(sum + (sum >> 16)) & 0xffff;
}

static void send_frame(uint64_t at, uint32_t len)
{
	queue_part(&queues[1], pages[1], FRAME + (len < 60 ? 60 : len), false);
	queue_post(at, 1);
	queue_wait(1);
}

/* The next frame; it stays until the next call. */
static const uint8_t *any_frame(uint64_t at)
{
	queue_part(&queues[0], pages[0], sizeof(pages[0]), true);
	queue_post(at, 0);
	queue_wait(0);
	return pages[0] + FRAME;
}

static const uint8_t *next_frame(uint64_t at, uint32_t type)
{
	const uint8_t *p;

	do
		p = any_frame(at);
	while (get16(p + 12) != type);
	return p;
}

/* OP 1 asks everybody who WHO is, 2 tells WHO who we are. */
static void send_arp(uint64_t at, const struct address *us, const struct address *who, uint8_t op)
{
	static const uint8_t arp[] = { 8, 6, 0, 1, 8, 0, 6, 4, 0 };
	uint8_t *p = pages[1] + FRAME;

	memset(p, 0xff, 6);
	if (op != 1)
		memcpy(p, who->mac, 6);
	memcpy(p + 6, us->mac, 6);
	memcpy(p + 12, arp, sizeof(arp));
	p[21] = op;
	memcpy(p + 22, us->mac, 6);
	put32(p + 28, us->ip);
	memcpy(p + 32, who->mac, 6);
	put32(p + 38, who->ip);
	send_frame(at, 42);
}

static void ask_for(uint64_t at, const struct address *us, struct address *who)
{
	const uint8_t *in;

	send_arp(at, us, who, 1);
	do
		in = next_frame(at, 0x0806);
	while (in[21] != 2);
	memcpy(who->mac, in + 22, 6);
}

/* An Ethernet and an IPv4 header in front of SIZE bytes; returns where they begin. */
static uint8_t *put_ip(const struct address *us, const struct address *next, uint32_t to,
		       uint8_t protocol, uint32_t size)
{
	uint8_t *p = pages[1] + FRAME, *ip = p + 14;

	memset(p, 0, 42);
	memcpy(p, next->mac, 6);
	memcpy(p + 6, us->mac, 6);
	p[12] = 8;
	ip[0] = 0x45;
	put16(ip + 2, 20 + size);
	ip[8] = 64;
	ip[9] = protocol;
	put32(ip + 12, us->ip);
	put32(ip + 16, to);
	put16(ip + 10, sum16(ip, 20));
	return ip + 20;
}

static void ask_echo(uint64_t at, const struct address *us, const struct address *gateway,
		     uint32_t to, uint32_t size, uint32_t number)
{
	uint8_t *icmp = put_ip(us, gateway, to, 1, 8 + size);

	icmp[0] = 8;
	put16(icmp + 6, number);
	put16(icmp + 2, sum16(icmp, 8)); /* the rest is zero */
	send_frame(at, 42 + size);
}

/* Who we are, as the kernel's words and the card say, and who is the way out. */
static uint64_t net_start(struct address *us, struct address *gateway)
{
	uint64_t at = device_find(ID_NET, 0);

	us->ip = address_of("cos.ip");
	*gateway = (struct address){ .ip = address_of("cos.gw") };
	net_device(at);
	for (unsigned i = 0; i < 6; i++)
		us->mac[i] = *(volatile uint8_t *)at_address(at + CONFIG + i);
	memset(pages[1], 0, sizeof(pages[1]));
	return at;
}

/* Asks to= for count= echoes of size= bytes. */
void test_ping(void)
{
	uint32_t size = (uint32_t)number_of("size", 56), to = address_of("to");
	uint64_t count = number_of("count", 1);
	struct address us, gateway;
	uint64_t at = net_start(&us, &gateway);

	ask_for(at, &us, &gateway);
	put_text("gateway\n");
	for (uint32_t n = 1; n <= count; n++) {
		const uint8_t *in;

		ask_echo(at, &us, &gateway, to, size, n);
		do
			in = next_frame(at, 0x0800);
		while (in[34] != 0 || get16(in + 40) != n);
	}
	say("echoes", count);
}

/* --- a stream on request --- */

/* The same frame COUNT times, as fast as it is taken: all descriptors are made once, so that half a
 * ring costs a few instructions, each of which may be emulated. */
static void send_many(uint64_t at, uint32_t len, uint32_t count)
{
	struct queue *q = &queues[1];
	uint16_t under_way, n;

	for (uint16_t i = 0; i < SIZE; i++) {
		q->desc[i] = (struct desc){ (uint64_t)pages[1], FRAME + len, 0, 0 };
		q->avail.ring[i] = i;
	}
	do {
		n = count < SIZE / 2 ? (uint16_t)count : SIZE / 2;
		count -= n;
		__atomic_store_n(&q->avail.idx, (uint16_t)(q->avail.idx + n), __ATOMIC_RELEASE);
		if (n)
			mmio_write(at + NOTIFY, 1);
		do
			under_way = (uint16_t)(q->avail.idx -
					       __atomic_load_n(&q->used.idx, __ATOMIC_ACQUIRE));
		while (under_way > (count ? SIZE / 2 : 0));
	} while (count > 0);
	q->seen = q->used.idx;
}

/* A datagram to us "SEND", a count (4 bytes) and a size (2 bytes, of content) is answered by that
 * many datagrams of that size. */
static void obey(uint64_t at, const struct address *us, const uint8_t *in)
{
	const uint8_t *order = in + 42;
	struct address from;
	uint32_t count, size;
	uint8_t *udp;

	if (in[14] != 0x45 || in[23] != 17 || get32(in + 30) != us->ip ||
	    memcmp(order, "SEND", 4) != 0)
		return;
	count = get32(order + 4);
	size = get16(order + 8);
	if (size < 18 || size > 1472)
		return;
	memcpy(from.mac, in + 6, 6);
	udp = put_ip(us, &from, get32(in + 26), 17, 8 + size);
	memcpy(udp, in + 36, 2);
	memcpy(udp + 2, in + 34, 2);
	put16(udp + 4, 8 + size);
	send_many(at, 42 + size, count);
	say("sent", count);
}

/* Answers who asks for our address, and who wants datagrams; takes all else. */
void test_serve(void)
{
	struct address us, other;
	uint64_t at = net_start(&us, &other);

	put_text("serving\n");
	for (;;) {
		const uint8_t *in = any_frame(at);

		if (get16(in + 12) == 0x0800) {
			obey(at, &us, in);
		} else if (get16(in + 12) == 0x0806 && in[21] == 1 && get32(in + 38) == us.ip) {
			memcpy(other.mac, in + 22, 6);
			other.ip = get32(in + 28);
			send_arp(at, &us, &other, 2);
		}
	}
}
