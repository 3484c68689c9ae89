/* tests/vmm/guest.c - the mini guest: one test for each run, named on the command line
 *
 * What it writes to the serial port and the value that it writes to the exit port are the result. A
 * host that emulates kernel mode takes about 1 us for each instruction: there are few of them. */
#include "tests/vmm/guest.h"

#define APIC 0xfee00000UL

void guest_main(const uint8_t *params, const uint32_t *pvh);
void guest_trap(uint64_t vector, uint64_t *rip);
void ap_main(uint32_t number);

extern char ap_start[], ap_end[];

const char *cmdline;
volatile uint32_t irq_count[48];
static volatile uint32_t cpus_up;
static uint64_t fault_next; /* where to go on after a fault that was expected */

void guest_trap(uint64_t vector, uint64_t *rip)
{
	irq_count[vector]++;
	if (vector >= TICK) {
		if (vector >= TICK + 8)
			outb(0xa0, 0x20);
		outb(0x20, 0x20);
		return;
	}
	if (fault_next) {
		*rip = fault_next;
		fault_next = 0;
		return;
	}
	if (vector == 3 || (vector == 13 && user_trap(rip)))
		return;
	say("exception", vector);
	finish(2);
}

void ap_main(uint32_t number)
{
	(void)number;
	__atomic_fetch_add(&cpus_up, 1, __ATOMIC_SEQ_CST);
}

static void test_hello(void)
{
	put_text("hello\n");
}

static void test_status(void)
{
	finish((uint8_t)number_of("value", 5));
}

static void test_reset(void)
{
	outb(0x64, 0xfe);
}

static void test_triple(void)
{
	struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) none = { 0, 0 };

	__asm__ volatile("lidt %0; ud2" : : "m"(none));
}

static void test_halt(void)
{
	put_text("halting\n");
	for (;;)
		__asm__ volatile("cli; hlt");
}

static void test_spin(void)
{
	put_text("spinning\n");
	for (;;)
		__asm__ volatile("pause");
}

/* Reads a register that the filter refuses: #GP, and the guest goes on. */
static void test_msr(void)
{
	uint32_t lo = 0, hi;

	interrupts_on(0);
	__asm__ volatile("lea 1f(%%rip), %%rax; mov %%rax, %0; rdmsr; 1:"
			 : "=m"(fault_next), "=&a"(lo), "=d"(hi)
			 : "c"(0x186)
			 : "memory");
	say("gp", irq_count[13]);
}

/* 100 times a second, through the old controllers. */
static void test_timer(void)
{
	interrupts_on(1 << 0);
	outb(0x43, 0x34);
	outb(0x40, 11932 & 0xff);
	outb(0x40, 11932 >> 8);
	while (irq_count[TICK] < 5)
		wait_interrupt();
	put_text("5 ticks\n");
}

static void test_smp(void)
{
	uint32_t want = (uint32_t)number_of("cpus", 1) - 1;

	memcpy(at_address(AP_START), ap_start, (size_t)(ap_end - ap_start));
	mmio_write(APIC + 0xf0, 0x1ff);
	mmio_write(APIC + 0x300, 0x000c4500); /* INIT to all others */
	mmio_write(APIC + 0x300, 0x000c4600 | AP_START >> 12);
	while (cpus_up < want)
		__asm__ volatile("pause");
	say("cpus", cpus_up + 1);
}

static void test_echo(void)
{
	put_text("ready\n");
	for (;;) {
		uint8_t c;

		while (!(inb(COM1 + 5) & 1))
			;
		c = inb(COM1);
		outb(COM1, c);
		if (c == '\n')
			return;
	}
}

/* Ends by itself when Ctrl-Alt-Del is pressed, and in no other way. */
static void test_button(void)
{
	uint8_t seen = 0;

	outb(0x64, 0x60);
	outb(0x60, 0x41); /* interrupts, scan codes of set 1 */
	interrupts_on(1 << 1);
	put_text("waiting\n");
	for (;;) {
		uint8_t c;

		if (!(inb(0x64) & 1)) {
			wait_interrupt();
			continue;
		}
		c = inb(0x60);
		seen |= c == 0x1d ? 1 : c == 0x38 ? 2 : c == 0x53 ? 4 : 0;
		if (seen == 7) {
			put_text("pressed\n");
			outb(0x64, 0xfe);
		}
	}
}

static uint16_t inw(uint16_t port)
{
	uint16_t v;

	__asm__ volatile("inw %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}

static void outw(uint16_t port, uint16_t v)
{
	__asm__ volatile("outw %0, %1" : : "a"(v), "Nd"(port));
}

/* Waits for ACPI's power button, and turns itself off. */
static void test_power(void)
{
	interrupts_on(1 << 9);
	need((inw(0x604) & 1) == 1, "ACPI is on");
	outw(0x602, 1 << 8);
	put_text("waiting\n");
	while (irq_count[TICK + 9] == 0)
		wait_interrupt();
	say("status", inw(0x600));
	outw(0x600, 1 << 8);
	say("cleared", inw(0x600));
	outw(0x604, 1 << 13 | 5 << 10);
}

static void test_emul(void)
{
	static struct {
		uint64_t v[2];
	} __attribute__((aligned(16))) pair = { { 7, 8 } };
	uint64_t lo = 7, hi = 8, flags, bits;
	bool equal;

	interrupts_on(0);
	__asm__ volatile("int3");
	say("int3", irq_count[3]);
	__asm__ volatile("stac; pushfq; pop %0" : "=r"(flags));
	say("stac", flags >> 18 & 1);
	__asm__ volatile("clac; pushfq; pop %0" : "=r"(flags));
	say("clac", flags >> 18 & 1);
	__asm__ volatile("fwait");
	__asm__ volatile("lock cmpxchg16b %1"
			 : "=@ccz"(equal), "+m"(pair), "+a"(lo), "+d"(hi)
			 : "b"(9UL), "c"(10UL));
	say("cmpxchg16b", equal && pair.v[0] == 9 && pair.v[1] == 10);
	__asm__ volatile("lock cmpxchg16b %1"
			 : "=@ccz"(equal), "+m"(pair), "+a"(lo), "+d"(hi)
			 : "b"(1UL), "c"(2UL));
	say("differs", !equal && lo == 9 && hi == 10);
	__asm__ volatile("lea 1f(%%rip), %%rax; mov %%rax, %0; lock cmpxchg16b 8(%1); 1:"
			 : "=m"(fault_next)
			 : "r"(&pair)
			 : "rax", "rdx", "rbx", "rcx", "cc", "memory");
	say("unaligned", irq_count[13]);
	__asm__ volatile("popcnt %1, %0" : "=r"(bits) : "r"(0xf0f1UL));
	say("popcnt", bits);
}

/* An instruction that no table has, where memory is not: KVM cannot fetch it. */
static void test_wild(void)
{
	((void (*)(void))at_address(0xe0000000UL))();
}

/* What the machine says it has: ranges of memory, MP table. */
static void test_memory(const uint8_t *params)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < params[0x1e8]; i++) {
		const uint8_t *e = params + 0x2d0 + i * 20UL;
		uint64_t size;

		memcpy(&size, e + 8, 8);
		if (e[16] == 1)
			sum += size;
	}
	say("usable", sum);
	say("mp", memcmp(at_address(0xf0000), "_MP_", 4) == 0);
}

static void test_initrd(const uint8_t *params)
{
	uint32_t at, size;

	memcpy(&at, params + 0x218, 4);
	memcpy(&size, params + 0x21c, 4);
	say("initrd", size);
	for (uint32_t i = 0; i < size && i < 16; i++)
		outb(COM1, *(uint8_t *)at_address(at + i));
}

/* Cycles that N reads of a port take, or of an address; ROUNDS times. */
static void test_exits(void)
{
	uint64_t n = number_of("n", 1000), at = number_of("mmio", 0);

	for (uint64_t rounds = number_of("rounds", 1); rounds > 0; rounds--) {
		uint64_t start = cycles(), i;

		for (i = n; i > 0 && !at; i--)
			inb(0x80);
		for (; i > 0; i--)
			mmio_read(at);
		say("cycles", cycles() - start);
	}
}

static void test_garbage(void)
{
	uint64_t x = number_of("seed", 1), n = number_of("n", 2000);

	for (; n > 0; n--) {
		uint16_t port;

		x = x * 6364136223846793005UL + 1442695040888963407UL;
		port = (uint16_t)(x >> 40);
		/* the ends of the machine are other tests' */
		if (port == EXIT_PORT || port == 0x64 || port == 0x60)
			continue;
		if (x >> 60 & 1)
			outl(port, (uint32_t)(x >> 8));
		else
			inb(port);
		mmio_write(0xd0000000UL + (x >> 24 & 0xffffc), (uint32_t)x);
	}
	outb(COM1 + 3, 3);
	outb(COM1 + 1, 0);
	outb(COM1 + 4, 0);
	put_text("\nsurvived\n");
}

static const struct {
	const char *name;
	void (*fn)(void);
} tests[] = {
	{ "hello", test_hello },     { "status", test_status },    { "reset", test_reset },
	{ "triple", test_triple },   { "halt", test_halt },        { "spin", test_spin },
	{ "msr", test_msr },         { "timer", test_timer },      { "smp", test_smp },
	{ "echo", test_echo },       { "power", test_power },      { "button", test_button },
	{ "emul", test_emul },       { "wild", test_wild },        { "exits", test_exits },
	{ "garbage", test_garbage }, { "steps", test_user_steps }, { "copies", test_user_copies },
};

/* One of the two is NULL. */
void guest_main(const uint8_t *params, const uint32_t *pvh)
{
	uint32_t at = 0;

	if (pvh)
		at = pvh[6]; /* the low half of cmdline_paddr */
	else
		memcpy(&at, params + 0x228, 4);
	cmdline = at_address(at);
	if (pvh)
		put_text(pvh[0] == 0x336ec578 ? "pvh\n" : "no magic\n");
	if (params && is_test("memory"))
		test_memory(params);
	else if (params && is_test("initrd"))
		test_initrd(params);
	for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) {
		if (is_test(tests[i].name))
			tests[i].fn();
	}
	virtio_test();
	finish(0);
}
