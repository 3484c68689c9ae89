/* tests/vmm/guest-user.c - work in user mode, which runs on the processor itself on any KVM
 *
 * The work is bench/same.h's: what a process does as well. */
#include "bench/same.h"
#include "tests/vmm/guest.h"

#define KERNEL_CODE 0x10
#define KERNEL_DATA 0x18
#define USER_CODE   0x23
#define USER_DATA   0x2b
#define TASK        0x30
#define USER_PAGE   4U /* in an entry of a page table */
#define ENTRIES     512U
#define ARENA       0x2000000UL /* memory for the work: behind the kernel and its stack */

static struct {
	uint32_t reserved;
	uint64_t rsp0;
	uint32_t rest[23];
} __attribute__((packed)) task;

static uint64_t descriptors[8] __attribute__((aligned(16)));
static uint8_t user_stack[16384] __attribute__((aligned(16)));
static uint8_t trap_stack[16384] __attribute__((aligned(16)));
static uint64_t kernel_stack;
static volatile uint64_t n, result;

/* All that is mapped is the user's as well. */
static void open_tables(uint64_t table, int level)
{
	uint64_t *e = at_address(table & ~0xfffUL);

	for (unsigned i = 0; i < ENTRIES; i++) {
		if (!(e[i] & 1))
			continue;
		e[i] |= USER_PAGE;
		if (level > 2 && !(e[i] & 0x80))
			open_tables(e[i], level - 1);
	}
}

static void make_descriptors(void)
{
	const struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) at = { sizeof(descriptors) - 1, (uint64_t)descriptors };
	uint64_t t = (uint64_t)&task;

	task.rsp0 = (uint64_t)trap_stack + sizeof(trap_stack);
	descriptors[KERNEL_CODE / 8] = 0x00af9b000000ffff;
	descriptors[KERNEL_DATA / 8] = 0x00cf93000000ffff;
	descriptors[USER_CODE / 8] = 0x00affb000000ffff;
	descriptors[USER_DATA / 8] = 0x00cff3000000ffff;
	descriptors[TASK / 8] = 0x0000890000000067 | (t & 0xffffff) << 16 | (t >> 24 & 0xff) << 56;
	descriptors[TASK / 8 + 1] = t >> 32;
	__asm__ volatile("lgdt %0; ltr %w1" : : "m"(at), "r"(TASK));
}

static void leave(void)
{
	__asm__ volatile("hlt"); /* refused: see user_trap() */
}

/* Back to where run_user() went on from, in kernel mode. */
bool user_trap(uint64_t *frame)
{
	extern char user_done[];

	if (!kernel_stack || frame[1] != USER_CODE)
		return false;
	frame[0] = (uint64_t)user_done;
	frame[1] = KERNEL_CODE;
	frame[3] = kernel_stack;
	frame[4] = KERNEL_DATA;
	return true;
}

static void run_user(void (*fn)(void))
{
	__asm__ volatile(
		"push %%rbp; push %%rbx; push %%r12; push %%r13; push %%r14; push %%r15\n"
		"mov %%rsp, %0\n"
		"push %1; push %2; push $2; push %3; push %4; iretq\n"
		".globl user_done\nuser_done:\n"
		"pop %%r15; pop %%r14; pop %%r13; pop %%r12; pop %%rbx; pop %%rbp\n"
		: "=m"(kernel_stack)
		: "i"(USER_DATA), "r"(user_stack + sizeof(user_stack) - 8), "i"(USER_CODE), "r"(fn)
		: "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "cc", "memory");
}

static void steps(void)
{
	result = same_steps(n);
	leave();
}

static void copies(void)
{
	result = same_copies(at_address(ARENA), n);
	leave();
}

/* Cycles that N rounds of the work take, ROUNDS times, and what came of it. */
static void user_rounds(void (*fn)(void))
{
	uint64_t cr3;

	interrupts_on(0);
	make_descriptors();
	__asm__ volatile("mov %%cr3, %0" : "=r"(cr3));
	open_tables(cr3, 4);
	__asm__ volatile("mov %0, %%cr3" : : "r"(cr3) : "memory");
	n = number_of("n", 1);
	for (uint64_t rounds = number_of("rounds", 1); rounds > 0; rounds--) {
		uint64_t start = cycles();

		run_user(fn);
		say("cycles", cycles() - start);
	}
	say("result", result);
}

void test_user_steps(void)
{
	user_rounds(steps);
}

void test_user_copies(void)
{
	user_rounds(copies);
}
