/* tests/vmm/guest-net.c - the mini guest in a network */
#include "tests/vmm/guest-virtio.h"

/* Sends a frame, waits for one and sends it back. */
void test_net(void)
{
	uint64_t at = device_find(ID_NET, 0);
	uint32_t n;

	device_start(at, 1 << 5, 2);
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

static uint32_t sum16(const uint8_t *p, uint32_t n)
{
	uint32_t sum = 0;

	for (uint32_t i = 0; i < n; i += 2)
		sum += (uint32_t)p[i] << 8 | p[i + 1];
	sum = (sum & 0xffff) + (sum >> 16);
	return ~(sum + (sum >> 16)) & 0xffff;
}

static void send_frame(uint64_t at, uint32_t len)
{
	queue_part(&queues[1], pages[1], FRAME + (len < 60 ? 60 : len), false);
	queue_post(at, 1);
	queue_wait(1);
}

/* The next frame of TYPE; it stays until the next call. */
static const uint8_t *next_frame(uint64_t at, uint32_t type)
{
	uint8_t *p = pages[0] + FRAME;

	do {
		queue_part(&queues[0], pages[0], sizeof(pages[0]), true);
		queue_post(at, 0);
		queue_wait(0);
	} while (p[12] != type >> 8 || p[13] != (type & 0xff));
	return p;
}

static void ask_for(uint64_t at, const struct address *us, struct address *who)
{
	static const uint8_t arp[] = { 8, 6, 0, 1, 8, 0, 6, 4, 0, 1 };
	uint8_t *p = pages[1] + FRAME;
	const uint8_t *in;

	memset(p, 0xff, 6);
	memcpy(p + 6, us->mac, 6);
	memcpy(p + 12, arp, sizeof(arp));
	memcpy(p + 22, us->mac, 6);
	put32(p + 28, us->ip);
	put32(p + 38, who->ip);
	send_frame(at, 42);
	do
		in = next_frame(at, 0x0806);
	while (in[21] != 2);
	memcpy(who->mac, in + 22, 6);
}

static void ask_echo(uint64_t at, const struct address *us, const struct address *gateway,
		     uint32_t to, uint32_t size, uint32_t number)
{
	uint8_t *p = pages[1] + FRAME, *ip = p + 14, *icmp = ip + 20;

	memset(p, 0, 42);
	memcpy(p, gateway->mac, 6);
	memcpy(p + 6, us->mac, 6);
	p[12] = 8;
	ip[0] = 0x45;
	put16(ip + 2, 28 + size);
	ip[8] = 64;
	ip[9] = 1;
	put32(ip + 12, us->ip);
	put32(ip + 16, to);
	put16(ip + 10, sum16(ip, 20));
	icmp[0] = 8;
	put16(icmp + 6, number);
	put16(icmp + 2, sum16(icmp, 8)); /* the rest is zero */
	send_frame(at, 42 + size);
}

/* As the kernel's words say who this is: asks to= for count= echoes of size= bytes. */
void test_ping(void)
{
	struct address us = { .ip = address_of("cos.ip") },
		       gateway = { .ip = address_of("cos.gw") };
	uint32_t size = (uint32_t)number_of("size", 56), to = address_of("to");
	uint64_t at = device_find(ID_NET, 0), count = number_of("count", 1);

	device_start(at, 1 << 5, 2);
	for (unsigned i = 0; i < 6; i++)
		us.mac[i] = *(volatile uint8_t *)at_address(at + CONFIG + i);
	memset(pages[1], 0, 4096);
	ask_for(at, &us, &gateway);
	put_text("gateway\n");
	for (uint32_t n = 1; n <= count; n++) {
		const uint8_t *in;

		ask_echo(at, &us, &gateway, to, size, n);
		do
			in = next_frame(at, 0x0800);
		while (in[34] != 0 || (in[40] << 8 | in[41]) != (int)n);
	}
	say("echoes", count);
}
