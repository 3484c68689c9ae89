/* tests/vmm/guest-virtio.c - drivers of the mini guest, as small as they can be */
#include "tests/vmm/guest-virtio.h"

#define FIRST 0xd0000000UL
#define STEP  0x1000UL
#define SLOTS 13

struct queue queues[QUEUES];
uint8_t pages[PAGES][4096] __attribute__((aligned(4096)));

uint64_t device_find(uint32_t id, unsigned nth)
{
	for (uint64_t at = FIRST; at < FIRST + SLOTS * STEP; at += STEP) {
		if (mmio_read(at + MAGIC) == 0x74726976 && mmio_read(at + ID) == id && nth-- == 0)
			return at;
	}
	need(false, "no such device");
	return 0;
}

static void set_address(uint64_t at, const volatile void *p)
{
	mmio_write(at, (uint32_t)(uint64_t)p);
	mmio_write(at + 4, (uint32_t)((uint64_t)p >> 32));
}

void device_start(uint64_t at, uint32_t features, unsigned n)
{
	mmio_write(at + STATUS, 0);
	mmio_write(at + STATUS, 3);
	mmio_write(at + DRIVER_SEL, 0);
	mmio_write(at + DRIVER, features);
	mmio_write(at + DRIVER_SEL, 1);
	mmio_write(at + DRIVER, 1);
	mmio_write(at + STATUS, 11);
	need(mmio_read(at + STATUS) == 11, "features refused");
	for (unsigned q = 0; q < n; q++) {
		memset(&queues[q], 0, sizeof(queues[q]));
		mmio_write(at + QUEUE_SEL, q);
		mmio_write(at + QUEUE_NUM, SIZE);
		set_address(at + DESC, queues[q].desc);
		set_address(at + AVAIL, &queues[q].avail);
		set_address(at + USED, &queues[q].used);
		mmio_write(at + READY, 1);
		need(mmio_read(at + READY) == 1, "queue not ready");
	}
	mmio_write(at + STATUS, 15);
}

void queue_part(struct queue *q, const volatile void *p, uint32_t len, bool writes)
{
	struct desc *d = &q->desc[q->n];

	if (q->n > 0) {
		d[-1].flags |= 1;
		d[-1].next = q->n;
	}
	*d = (struct desc){ (uint64_t)p, len, writes ? 2 : 0, 0 };
	q->n++;
}

void queue_post(uint64_t at, unsigned index)
{
	struct queue *q = &queues[index];

	q->avail.ring[q->avail.idx % SIZE] = 0;
	q->n = 0;
	__atomic_store_n(&q->avail.idx, (uint16_t)(q->avail.idx + 1), __ATOMIC_RELEASE);
	mmio_write(at + NOTIFY, index);
}

uint32_t queue_wait(unsigned index)
{
	struct queue *q = &queues[index];

	while (__atomic_load_n(&q->used.idx, __ATOMIC_ACQUIRE) == q->seen)
		__asm__ volatile("pause");
	return q->used.ring[q->seen++ % SIZE].len;
}

static void test_list(void)
{
	for (uint64_t at = FIRST; at < FIRST + SLOTS * STEP; at += STEP) {
		uint32_t id = mmio_read(at + MAGIC) == 0x74726976 ? mmio_read(at + ID) : 0;

		if (id)
			say("device", id);
	}
}

static void test_console(void)
{
	uint64_t at = device_find(ID_CONSOLE, 0);

	device_start(at, 0, 2);
	queue_part(&queues[1], "from the ", 9, false);
	queue_part(&queues[1], "virtio console\n", 15, false);
	queue_post(at, 1);
	queue_wait(1);
	for (;;) {
		uint32_t n;

		queue_part(&queues[0], pages[0], 4096, true);
		queue_post(at, 0);
		n = queue_wait(0);
		queue_part(&queues[1], pages[0], n, false);
		queue_post(at, 1);
		queue_wait(1);
		if (pages[0][n - 1] == '\n')
			return;
	}
}

/* More than the ring of the host holds, in requests of a page. */
static void test_flood(void)
{
	uint64_t at = device_find(ID_CONSOLE, 0), n = number_of("pages", 40);

	device_start(at, 0, 2);
	memset(pages[0], 'f', sizeof(pages[0]));
	for (; n > 0; n--) {
		queue_part(&queues[1], pages[0], 4096, false);
		queue_post(at, 1);
		queue_wait(1);
	}
	put_text("\nflooded\n");
}

struct blk_head {
	uint32_t type, reserved;
	uint64_t sector;
};

static uint8_t blk(uint64_t at, uint32_t type, uint64_t sector, void *p, uint32_t len, bool writes)
{
	static struct blk_head h;
	static volatile uint8_t status;

	h = (struct blk_head){ type, 0, sector };
	status = 0xff;
	queue_part(&queues[0], &h, sizeof(h), false);
	if (len)
		queue_part(&queues[0], p, len, writes);
	queue_part(&queues[0], &status, 1, true);
	queue_post(at, 0);
	queue_wait(0);
	return status;
}

static void test_blk(void)
{
	uint64_t at = device_find(ID_BLK, number_of("disk", 0)), sector = number_of("sector", 0);
	uint64_t capacity;

	device_start(at, 0, 1);
	memcpy(&capacity, at_address(at + CONFIG), 8);
	say("sectors", capacity);
	need(blk(at, 0, sector, pages[0], 4096, true) == 0, "read");
	put_text("was ");
	for (unsigned i = 0; i < 8; i++)
		outb(COM1, pages[0][i]);
	put_text("\n");
	if (number_of("write", 0)) {
		memset(pages[1], 'w', 4096);
		need(blk(at, 1, sector, pages[1], 4096, false) == 0, "write");
		need(blk(at, 1, sector + 9, pages[1], 512, false) == 0, "write of one sector");
		need(blk(at, 0, sector, pages[2], 4096, true) == 0, "read again");
		need(memcmp(pages[1], pages[2], 4096) == 0, "what was written");
		need(blk(at, 0, sector + 8, pages[2], 4096, true) == 0, "read the next");
		need(pages[2][511] != 'w' && pages[2][512] == 'w' && pages[2][1024] != 'w',
		     "the sectors beside are what they were");
	}
	if (number_of("flush", 0))
		need(blk(at, 4, 0, NULL, 0, false) == 0, "flush");
	put_text("good\n");
}

/* Writes 32 KiB after the other, each to the disk, without end. */
static void test_blkfill(void)
{
	uint64_t at = device_find(ID_BLK, 0), sector = 0;

	device_start(at, 0, 1);
	memset(pages, 'f', sizeof(pages));
	put_text("writing\n");
	for (;; sector = (sector + sizeof(pages) / 512) % (32 << 11)) {
		need(blk(at, 1, sector, pages, sizeof(pages), false) == 0, "write");
		need(blk(at, 4, 0, NULL, 0, false) == 0, "flush");
	}
}

static void test_blkbad(void)
{
	struct {
		uint64_t sector;
		uint32_t n, flags;
	} zero = { 0, 8, 0 };
	uint64_t at = device_find(ID_BLK, 0), capacity;

	device_start(at, 0, 1);
	memcpy(&capacity, at_address(at + CONFIG), 8);
	say("beyond", blk(at, 0, capacity, pages[0], 512, true));
	say("across", blk(at, 0, capacity - 1, pages[0], 1024, true));
	say("wraps", blk(at, 1, ~0UL, pages[0], 512, false));
	say("odd", blk(at, 0, 0, pages[0], 511, true));
	say("empty", blk(at, 0, 0, NULL, 0, true));
	say("unknown", blk(at, 77, 0, pages[0], 512, true));
	memset(pages[0], 'x', 4096);
	say("write", blk(at, 1, 0, pages[0], 4096, false));
	say("zero", blk(at, 13, 0, &zero, sizeof(zero), false));
	say("read", blk(at, 0, 0, pages[1], 4096, true));
	say("first", pages[1][0]);
	zero.n = 1 << 20;
	say("much", blk(at, 13, 0, &zero, sizeof(zero), false));
	memset(pages[2], 0, 20);
	say("id", blk(at, 8, 0, pages[2], 20, true));
	put_text((char *)pages[2]);
	put_text("\n");
}

static void test_rng(void)
{
	uint64_t at = device_find(ID_RNG, 0);

	device_start(at, 0, 1);
	for (unsigned i = 0; i < 2; i++) {
		queue_part(&queues[0], pages[i], 4096, true);
		queue_post(at, 0);
		say("random", queue_wait(0));
	}
	need(memcmp(pages[0], pages[1], 256) != 0, "twice the same");
}

/* A used buffer raises the device's pin, here through the old controllers: 4K@ADDR:PIN. */
static void test_irq(void)
{
	static const uint8_t pins[] = { 5, 6, 7, 10, 11, 14 };
	uint64_t at = device_find(ID_RNG, 0);
	uint8_t pin = pins[(at - FIRST) / STEP];

	device_start(at, 0, 1);
	interrupts_on((uint16_t)(1U << pin));
	queue_part(&queues[0], pages[0], 16, true);
	queue_post(at, 0);
	while (irq_count[TICK + pin] == 0)
		wait_interrupt();
	say("cause", mmio_read(at + CAUSE));
	mmio_write(at + ACK, 1);
	say("after", mmio_read(at + CAUSE));
	say("length", queue_wait(0));
}

struct stat {
	uint16_t tag;
	uint64_t value;
} __attribute__((packed));

/* Uses touch=MIB from 16 MiB on. Gives what it is asked for, a page at a time from there on,
 * answers for statistics (available=MIB), and reports the memory from 32 MiB on as free; until the
 * target is 0 again. */
static void test_balloon(void)
{
	static uint32_t pfn[256];
	static struct stat stats[2];
	uint64_t at = device_find(ID_BALLOON, 0);
	uint32_t actual = 0, target, next = 0x1000;

	device_start(at, 1 << 1 | 1 << 2 | 1 << 5, 4);
	stats[0] = (struct stat){ 4, 4444 };
	stats[1] = (struct stat){ 6, number_of("available", 0) << 20 };
	if (!stats[1].value)
		stats[1].value = 6666;
	for (uint64_t page = 0; page < number_of("touch", 0) << 8; page++)
		*(volatile uint8_t *)at_address(0x1000000UL + (page << 12)) = 't';
	queue_part(&queues[2], stats, sizeof(stats), false);
	queue_post(at, 2);
	memset(at_address(0x2000000UL), 'r', 8 << 20);
	queue_part(&queues[3], at_address(0x2000000UL), 8 << 20, true);
	queue_post(at, 3);
	queue_wait(3);
	say("reported", *(volatile uint8_t *)at_address(0x2000000UL));
	if (number_of("deaf", 0)) {
		put_text("deaf\n");
		for (;;)
			__asm__ volatile("pause");
	}
	do {
		target = mmio_read(at + CONFIG);
		if (queues[2].used.idx != queues[2].seen) {
			queue_wait(2);
			stats[0].value++;
			queue_part(&queues[2], stats, sizeof(stats), false);
			queue_post(at, 2);
		}
		for (; actual < target; actual += 256) {
			for (unsigned i = 0; i < 256; i++)
				pfn[i] = next++;
			queue_part(&queues[0], pfn, sizeof(pfn), false);
			queue_post(at, 0);
			queue_wait(0);
		}
		if (actual && !target) {
			queue_part(&queues[1], pfn, sizeof(pfn), false);
			queue_post(at, 1);
			queue_wait(1);
			mmio_write(at + CONFIG + 4, 0);
			break;
		}
		mmio_write(at + CONFIG + 4, actual);
	} while (1);
	put_text("deflated\n");
}

/* Requests that break the rules: each must break the device, which a reset heals. */
static void test_hostile(void)
{
	uint64_t at = device_find(ID_RNG, 0);
	struct queue *q = &queues[0];

	for (unsigned i = 0; i < 8; i++) {
		device_start(at, 0, 1);
		queue_part(q, pages[0], 16, true);
		switch (i) {
		case 0: /* a head beyond the queue */
			q->avail.ring[0] = SIZE;
			break;
		case 1: /* a loop */
			q->desc[0].flags |= 1;
			q->desc[0].next = 0;
			break;
		case 2: /* a next beyond the queue */
			q->desc[0].flags |= 1;
			q->desc[0].next = 999;
			break;
		case 3: /* no memory */
			q->desc[0].addr = 0xd0000000UL;
			break;
		case 4: /* around the end of the address space */
			q->desc[0].addr = ~0UL - 4;
			break;
		case 5: /* an indirect table of half an entry */
			q->desc[0].flags = 4;
			q->desc[0].len = 8;
			break;
		case 6: /* more requests than the queue has */
			q->avail.idx = 1000;
			break;
		case 7: /* an indirect table that is itself */
			q->desc[0] = (struct desc){ (uint64_t)q->desc, 16, 4, 0 };
			break;
		}
		if (i != 0)
			q->avail.ring[0] = 0;
		if (i != 6)
			q->avail.idx = 1;
		mmio_write(at + NOTIFY, 0);
		while (!(mmio_read(at + STATUS) & 0x40))
			__asm__ volatile("pause");
	}
	test_rng();
	put_text("healed\n");
}

static const struct {
	const char *name;
	void (*fn)(void);
} tests[] = {
	{ "list", test_list },   { "vconsole", test_console }, { "flood", test_flood },
	{ "blk", test_blk },     { "blkbad", test_blkbad },    { "rng", test_rng },
	{ "irq", test_irq },     { "balloon", test_balloon },  { "net", test_net },
	{ "ping", test_ping },   { "hostile", test_hostile },  { "blkfill", test_blkfill },
	{ "serve", test_serve },
};

bool virtio_test(void)
{
	for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) {
		if (!is_test(tests[i].name))
			continue;
		tests[i].fn();
		return true;
	}
	return false;
}
