/* tests/vmm/guest.h - the mini guest's own library: ports, text, interrupts */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EXIT_PORT 0xf4
#define COM1      0x3f8
#define TICK      32 /* vector of the timer, the first of the old controllers' */
#define KEYBOARD  33
#define AP_START  0x8000

extern const char *cmdline;
extern volatile uint32_t irq_count[48];

static inline void outb(uint16_t port, uint8_t v)
{
	__asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port));
}

static inline uint8_t inb(uint16_t port)
{
	uint8_t v;

	__asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}

static inline void outl(uint16_t port, uint32_t v)
{
	__asm__ volatile("outl %0, %1" : : "a"(v), "Nd"(port));
}

static inline uint32_t mmio_read(uint64_t at)
{
	return *(volatile uint32_t *)at; /* NOLINT(performance-no-int-to-ptr) */
}

static inline void mmio_write(uint64_t at, uint32_t v)
{
	*(volatile uint32_t *)at = v; /* NOLINT(performance-no-int-to-ptr) */
}

static inline uint64_t cycles(void)
{
	uint32_t lo, hi;

	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
	return (uint64_t)hi << 32 | lo;
}

/* An address of this machine as a pointer. */
static inline void *at_address(uint64_t at)
{
	return (void *)at; /* NOLINT(performance-no-int-to-ptr) */
}

void put_text(const char *s);
void put_number(uint64_t v);
/* "NAME VALUE\n" */
void say(const char *name, uint64_t v);
__attribute__((noreturn)) void finish(uint8_t value);
/* Ends the machine with a word of why, unless COND holds. */
void need(bool cond, const char *what);
/* The value of KEY=NUMBER on the command line, DFLT without it. */
uint64_t number_of(const char *key, uint64_t dflt);
/* The IPv4 address of KEY=A.B.C.D, 0 without it. */
uint32_t address_of(const char *key);
/* Whether the command line has test=NAME. */
bool is_test(const char *name);

/* Loads the table of vectors; the old controllers raise TICK and on for the lines in MASK alone. */
void interrupts_on(uint16_t mask);
/* One halt, from which an interrupt wakes. */
void wait_interrupt(void);

void *memset(void *to, int v, size_t n);
void *memcpy(void *to, const void *from, size_t n);
int memcmp(const void *a, const void *b, size_t n);

/* guest-virtio.c: runs the test that the command line names; false: it is none of its own. */
bool virtio_test(void);

/* guest-user.c */
/* Whether the exception whose frame this is ends work in user mode; what was before it goes on. */
bool user_trap(uint64_t *frame);
void test_user_steps(void);
void test_user_copies(void);
