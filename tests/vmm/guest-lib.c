/* tests/vmm/guest-lib.c - the mini guest's own library */
#include "tests/vmm/guest.h"

struct gate {
	uint16_t low, selector;
	uint8_t ist, type;
	uint16_t mid;
	uint32_t high, zero;
};

extern char vectors[];
static struct gate gates[48];

void *memset(void *to, int v, size_t n)
{
	void *d = to;

	__asm__ volatile("rep stosb" : "+D"(d), "+c"(n) : "a"(v) : "memory");
	return to;
}

void *memcpy(void *to, const void *from, size_t n)
{
	void *d = to;

	__asm__ volatile("rep movsb" : "+D"(d), "+S"(from), "+c"(n) : : "memory");
	return to;
}

int memcmp(const void *a, const void *b, size_t n)
{
	const uint8_t *x = a, *y = b;

	for (; n > 0; n--, x++, y++) {
		if (*x != *y)
			return *x - *y;
	}
	return 0;
}

void put_text(const char *s)
{
	size_t n = 0;

	while (s[n])
		n++;
	__asm__ volatile("rep outsb" : "+S"(s), "+c"(n) : "d"(COM1) : "memory");
}

void put_number(uint64_t v)
{
	char buf[24], *p = buf + sizeof(buf) - 1;

	*p = '\0';
	do {
		*--p = (char)('0' + v % 10);
		v /= 10;
	} while (v);
	put_text(p);
}

void say(const char *name, uint64_t v)
{
	put_text(name);
	put_text(" ");
	put_number(v);
	put_text("\n");
}

void finish(uint8_t value)
{
	outb(EXIT_PORT, value);
	for (;;)
		__asm__ volatile("hlt");
}

void need(bool cond, const char *what)
{
	if (cond)
		return;
	put_text("failed: ");
	put_text(what);
	put_text("\n");
	finish(1);
}

/* Behind KEY at the start of a word, or NULL. */
static const char *value_of(const char *key)
{
	for (const char *p = cmdline; *p; p++) {
		size_t n = 0;

		if (p != cmdline && p[-1] != ' ')
			continue;
		while (key[n] && p[n] == key[n])
			n++;
		if (!key[n] && p[n] == '=')
			return p + n + 1;
	}
	return NULL;
}

uint64_t number_of(const char *key, uint64_t dflt)
{
	const char *p = value_of(key);
	uint64_t v = 0;

	if (!p)
		return dflt;
	for (; *p >= '0' && *p <= '9'; p++)
		v = v * 10 + (uint64_t)(*p - '0');
	return v;
}

uint32_t address_of(const char *key)
{
	const char *p = value_of(key);
	uint32_t v = 0, part = 0;

	for (; p && ((*p >= '0' && *p <= '9') || *p == '.'); p++) {
		if (*p == '.')
			v = (v | part) << 8;
		part = *p == '.' ? 0 : part * 10 + (uint32_t)(*p - '0');
	}
	return v | part;
}

bool is_test(const char *name)
{
	const char *p = value_of("test");

	while (p && *name && *p == *name) {
		p++;
		name++;
	}
	return p && !*name && (*p == ' ' || *p == '\0');
}

void interrupts_on(uint16_t mask)
{
	struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) idt = { sizeof(gates) - 1, (uint64_t)gates };

	for (unsigned i = 0; i < 48; i++) {
		uint64_t at = (uint64_t)vectors + i * 16UL;

		gates[i] = (struct gate){ (uint16_t)at,         0x10, 0, 0x8e, (uint16_t)(at >> 16),
					  (uint32_t)(at >> 32), 0 };
	}
	__asm__ volatile("lidt %0" : : "m"(idt));
	outb(0x20, 0x11);
	outb(0xa0, 0x11);
	outb(0x21, TICK);
	outb(0xa1, TICK + 8);
	outb(0x21, 4);
	outb(0xa1, 2);
	outb(0x21, 1);
	outb(0xa1, 1);
	outb(0x21, (uint8_t) ~(mask | (mask >> 8 ? 4 : 0)));
	outb(0xa1, (uint8_t)(~mask >> 8));
}

void wait_interrupt(void)
{
	__asm__ volatile("sti; hlt; cli" : : : "memory");
}
