/* lib/base/str.c - names, numbers with units, bounded formatting */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/own.h"
#include "lib/base/str.h"

#define NAME_MAX_LEN 63

static bool is_name_part(const char *s, size_t len)
{
	if (len == 0 || len > NAME_MAX_LEN)
		return false;
	for (size_t i = 0; i < len; i++) {
		bool alnum = (s[i] >= 'a' && s[i] <= 'z') || (s[i] >= '0' && s[i] <= '9');

		if (!alnum && (i == 0 || !strchr("._-", s[i])))
			return false;
	}
	return true;
}

bool str_is_name(const char *s)
{
	return is_name_part(s, strlen(s));
}

bool str_is_template(const char *s)
{
	const char *tag = strchr(s, ':');

	if (!tag)
		return str_is_name(s);
	return is_name_part(s, (size_t)(tag - s)) && str_is_name(tag + 1);
}

/* Length of the UTF-8 sequence at S, 0 if it is not one; refuses overlong forms and surrogates. */
static size_t utf8_len(const unsigned char *s)
{
	static const struct {
		unsigned char mask, lead;
		uint32_t min;
	} form[] = { { 0x80, 0x00, 0 },
		     { 0xe0, 0xc0, 0x80 },
		     { 0xf0, 0xe0, 0x800 },
		     { 0xf8, 0xf0, 0x10000 } };

	for (size_t n = 0; n < ARRAY_SIZE(form); n++) {
		uint32_t c = s[0] & (unsigned char)~form[n].mask;

		if ((s[0] & form[n].mask) != form[n].lead)
			continue;
		for (size_t i = 1; i <= n; i++) {
			if ((s[i] & 0xc0) != 0x80)
				return 0;
			c = c << 6 | (s[i] & 0x3f);
		}
		if (c < form[n].min || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
			return 0;
		return n + 1;
	}
	return 0;
}

size_t str_char_len(const char *s)
{
	const unsigned char *p = (const unsigned char *)s;
	size_t n = utf8_len(p);

	if (*p < 0x20 || *p == 0x7f)
		return 0;
	if (n == 2 && *p == 0xc2 && p[1] < 0xa0) /* C1 controls */
		return 0;
	return n;
}

bool str_is_text(const char *s, size_t max)
{
	size_t n;

	if (strlen(s) > max)
		return false;
	while ((n = str_char_len(s)) > 0)
		s += n;
	return *s == '\0';
}

void str_make_text(char *s)
{
	while (*s) {
		size_t n = str_char_len(s);

		if (n == 0)
			*s = '?';
		s += n ? n : 1;
	}
}

static int parse_u64(const char **s, uint64_t *ret)
{
	uint64_t v = 0;
	const char *p = *s;

	if (*p < '0' || *p > '9')
		return -EINVAL;
	for (; *p >= '0' && *p <= '9'; p++) {
		if (__builtin_mul_overflow(v, 10, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(*p - '0'), &v))
			return -ERANGE;
	}
	*s = p;
	*ret = v;
	return 0;
}

int str_to_u64(const char *s, uint64_t *ret)
{
	uint64_t v;
	int r = parse_u64(&s, &v);

	if (r < 0)
		return r;
	if (*s)
		return -EINVAL;
	*ret = v;
	return 0;
}

struct unit {
	const char *suffix;
	uint64_t factor;
};

/* NUMBER[.FRACTION]SUFFIX times the suffix's factor; a fraction that does not come out even is an
 * error, because a limit must be what was written. */
static int parse_unit(const char *s, const struct unit *u, size_t n, uint64_t *ret)
{
	uint64_t whole, frac = 0, scale = 1, v;
	int r = parse_u64(&s, &whole);

	if (r < 0)
		return r;
	if (*s == '.') {
		for (s++; *s >= '0' && *s <= '9'; s++) {
			if (scale > 100000000)
				return -ERANGE;
			frac = frac * 10 + (uint64_t)(*s - '0');
			scale *= 10;
		}
		if (scale == 1)
			return -EINVAL;
	}
	for (size_t i = 0; i < n; i++) {
		unsigned __int128 part;

		if (strcmp(s, u[i].suffix) != 0)
			continue;
		part = (unsigned __int128)frac * u[i].factor;
		if (part % scale)
			return -EINVAL;
		if (__builtin_mul_overflow(whole, u[i].factor, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(part / scale), &v))
			return -ERANGE;
		*ret = v;
		return 0;
	}
	return -EINVAL;
}

static const struct unit byte_units[] = {
	{ "", 1 },           { "B", 1 },
	{ "K", 1ULL << 10 }, { "KiB", 1ULL << 10 },
	{ "M", 1ULL << 20 }, { "MiB", 1ULL << 20 },
	{ "G", 1ULL << 30 }, { "GiB", 1ULL << 30 },
	{ "T", 1ULL << 40 }, { "TiB", 1ULL << 40 },
	{ "P", 1ULL << 50 }, { "PiB", 1ULL << 50 },
};
static const struct unit bit_units[] = {
	{ "", 1 }, { "bit", 1 }, { "kbit", 1000 }, { "Mbit", 1000000 }, { "Gbit", 1000000000 },
};
static const struct unit cpu_units[] = { { "", 1000 }, { "m", 1 }, { "%", 10 } };
static const struct unit time_units[] = {
	{ "", 1000000 },   { "us", 1 },         { "ms", 1000 },      { "s", 1000000 },
	{ "m", 60000000 }, { "min", 60000000 }, { "h", 3600000000 }, { "d", 86400000000 },
};

int str_to_bytes(const char *s, uint64_t *ret)
{
	return parse_unit(s, byte_units, ARRAY_SIZE(byte_units), ret);
}

int str_to_bits(const char *s, uint64_t *ret)
{
	return parse_unit(s, bit_units, ARRAY_SIZE(bit_units), ret);
}

int str_to_mcpu(const char *s, uint64_t *ret)
{
	return parse_unit(s, cpu_units, ARRAY_SIZE(cpu_units), ret);
}

int str_to_usec(const char *s, uint64_t *ret)
{
	return parse_unit(s, time_units, ARRAY_SIZE(time_units), ret);
}

/* With the largest of UNITS (smallest first) that divides V. */
static char *from_unit(char *buf, uint64_t v, const struct unit *u, size_t n)
{
	size_t best = 0;

	for (size_t i = 1; i < n; i++) {
		if (v % u[i].factor == 0)
			best = i;
	}
	snprintf(buf, 32, "%" PRIu64 "%s", v / u[best].factor, v ? u[best].suffix : "");
	return buf;
}

char *str_from_bytes(char *buf, uint64_t v)
{
	static const struct unit u[] = { { "", 1 },           { "K", 1ULL << 10 },
					 { "M", 1ULL << 20 }, { "G", 1ULL << 30 },
					 { "T", 1ULL << 40 }, { "P", 1ULL << 50 } };

	return from_unit(buf, v, u, ARRAY_SIZE(u));
}

char *str_from_bits(char *buf, uint64_t v)
{
	static const struct unit u[] = {
		{ "bit", 1 }, { "kbit", 1000 }, { "Mbit", 1000000 }, { "Gbit", 1000000000 }
	};

	return from_unit(buf, v, u, ARRAY_SIZE(u));
}

char *str_from_mcpu(char *buf, uint64_t v)
{
	static const struct unit u[] = { { "m", 1 }, { "", 1000 } };

	return from_unit(buf, v, u, ARRAY_SIZE(u));
}

char *str_from_usec(char *buf, uint64_t v)
{
	static const struct unit u[] = { { "us", 1 },         { "ms", 1000 },
					 { "s", 1000000 },    { "m", 60000000 },
					 { "h", 3600000000 }, { "d", 86400000000 } };

	return from_unit(buf, v, u, ARRAY_SIZE(u));
}

bool str_fmt(char *buf, size_t size, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(buf, size, fmt, ap);
	va_end(ap);
	return n >= 0 && (size_t)n < size;
}
