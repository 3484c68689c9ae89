/* lib/base/cpus.c - sets of CPUs and the kernel's way to write them */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/cpus.h"

static int number(const char **s, unsigned *ret)
{
	unsigned v = 0;

	if (**s < '0' || **s > '9')
		return -EINVAL;
	for (; **s >= '0' && **s <= '9'; (*s)++) {
		v = v * 10 + (unsigned)(**s - '0');
		if (v >= CPUS_MAX)
			return -ERANGE;
	}
	*ret = v;
	return 0;
}

int cpus_parse(const char *s, struct cpus *ret)
{
	struct cpus c = { 0 };

	if (strlen(s) >= CPUS_TEXT_SIZE)
		return -ERANGE;
	for (;; s++) {
		unsigned from = 0, to;
		int r = number(&s, &from);

		to = from;
		if (r == 0 && *s == '-') {
			s++;
			r = number(&s, &to);
		}
		if (r < 0)
			return r;
		if (to < from)
			return -EINVAL;
		for (; from <= to; from++)
			cpus_add(&c, from);
		if (*s != ',')
			break;
	}
	if (*s == '\n')
		s++;
	if (*s)
		return -EINVAL;
	*ret = c;
	return 0;
}

bool cpus_print(const struct cpus *c, char *buf)
{
	size_t n = 0;

	buf[0] = '\0';
	for (unsigned from = 0; from < CPUS_MAX; from++) {
		unsigned to = from;
		char range[16];
		size_t len;

		if (!cpus_has(c, from))
			continue;
		while (to + 1 < CPUS_MAX && cpus_has(c, to + 1))
			to++;
		if (to == from)
			snprintf(range, sizeof(range), "%s%u", n ? "," : "", from);
		else
			snprintf(range, sizeof(range), "%s%u-%u", n ? "," : "", from, to);
		len = strlen(range);
		if (n + len >= CPUS_TEXT_SIZE)
			return false;
		memcpy(buf + n, range, len + 1);
		n += len;
		from = to;
	}
	return true;
}

unsigned cpus_count(const struct cpus *c)
{
	unsigned n = 0;

	for (size_t i = 0; i < CPUS_MAX / 64; i++)
		n += (unsigned)__builtin_popcountll(c->bits[i]);
	return n;
}

bool cpus_has(const struct cpus *c, unsigned cpu)
{
	return cpu < CPUS_MAX && c->bits[cpu / 64] >> cpu % 64 & 1;
}

void cpus_add(struct cpus *c, unsigned cpu)
{
	if (cpu < CPUS_MAX)
		c->bits[cpu / 64] |= 1ULL << cpu % 64;
}

struct cpus cpus_without(const struct cpus *a, const struct cpus *b)
{
	struct cpus c;

	for (size_t i = 0; i < CPUS_MAX / 64; i++)
		c.bits[i] = a->bits[i] & ~b->bits[i];
	return c;
}

struct cpus cpus_either(const struct cpus *a, const struct cpus *b)
{
	struct cpus c;

	for (size_t i = 0; i < CPUS_MAX / 64; i++)
		c.bits[i] = a->bits[i] | b->bits[i];
	return c;
}

struct cpus cpus_both(const struct cpus *a, const struct cpus *b)
{
	struct cpus c;

	for (size_t i = 0; i < CPUS_MAX / 64; i++)
		c.bits[i] = a->bits[i] & b->bits[i];
	return c;
}
