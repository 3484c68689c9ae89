/* tests/unit/str.t.c - names, text, numbers with units, against hostile input */
#include <errno.h>
#include <inttypes.h>
#include <stdint.h>
#include <string.h>

#include "lib/base/own.h"
#include "lib/base/str.h"
#include "tests/tap.h"

#define X10 "xxxxxxxxxx"
#define X63 X10 X10 X10 X10 X10 X10 "xxx"

static void test_names(void)
{
	static const char *const good[] = { "a", "0", "web-1", "a.b_c-d", "9..", "a--", X63 };
	static const char *const bad[] = {
		"",    ".",   "..", "-a",  "_a",  ".a", "A",   "aB",       "a b",   "a/b",   "a\nb",
		"a:b", "a\t", "a*", "a%s", "a\\", "a~", "a@b", "\xc3\xa4", "a\xff", X63 "x",
	};

	for (size_t i = 0; i < ARRAY_SIZE(good); i++)
		ok(str_is_name(good[i]), "name: good row %zu", i);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		ok(!str_is_name(bad[i]), "name: bad row %zu", i);
}

static void test_templates(void)
{
	static const char *const good[] = { "deb", "deb:12", "deb:12.1-a_b", X63 ":" X63 };
	static const char *const bad[] = { "",     ":",       "deb:",      ":12", "a:b:c",
					   "a::b", "a:B",     "a:.",       "A:1", "a:../b",
					   "a: b", X63 "x:1", "a:" X63 "x" };

	for (size_t i = 0; i < ARRAY_SIZE(good); i++)
		ok(str_is_template(good[i]), "template: good row %zu", i);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		ok(!str_is_template(bad[i]), "template: bad row %zu", i);
}

/* What each row has after its last good character must not be read: sanitizers watch the arrays. */
static void test_text(void)
{
	static const struct {
		const char *s, *what;
		bool good;
	} row[] = {
		{ "", "empty", true },
		{ "plain ~ text", "ASCII", true },
		{ "\xc2\xa0", "U+00A0, the first after C1", true },
		{ "\xdf\xbf", "U+07FF", true },
		{ "\xe0\xa0\x80", "U+0800", true },
		{ "\xed\x9f\xbf", "U+D7FF, before the surrogates", true },
		{ "\xee\x80\x80", "U+E000, after the surrogates", true },
		{ "\xef\xbf\xbf", "U+FFFF", true },
		{ "\xf0\x90\x80\x80", "U+10000", true },
		{ "\xf4\x8f\xbf\xbf", "U+10FFFF, the last", true },
		{ "a\x01", "C0", false },
		{ "a\n", "newline", false },
		{ "a\tb", "tab", false },
		{ "\x1b[2J", "terminal sequence", false },
		{ "a\x7f", "DEL", false },
		{ "\xc2\x80", "U+0080, the first C1", false },
		{ "\xc2\x9b", "U+009B, C1 CSI", false },
		{ "\xc2\x9f", "U+009F, the last C1", false },
		{ "\x9b", "a bare 8-bit CSI", false },
		{ "\x80", "a bare continuation", false },
		{ "\xc0\x80", "overlong NUL", false },
		{ "\xc1\xbf", "overlong, 2 bytes", false },
		{ "\xc0\xaf", "overlong slash", false },
		{ "\xe0\x9f\xbf", "overlong, 3 bytes", false },
		{ "\xe0\x80\xaf", "overlong slash, 3 bytes", false },
		{ "\xf0\x8f\xbf\xbf", "overlong, 4 bytes", false },
		{ "\xed\xa0\x80", "U+D800", false },
		{ "\xed\xbf\xbf", "U+DFFF", false },
		{ "\xf4\x90\x80\x80", "U+110000", false },
		{ "\xf7\xbf\xbf\xbf", "U+1FFFFF", false },
		{ "\xf8\x88\x80\x80\x80", "5 bytes", false },
		{ "\xfe", "0xfe", false },
		{ "\xff", "0xff", false },
		{ "a\xc3", "cut after 1 of 2", false },
		{ "a\xe2\x82", "cut after 2 of 3", false },
		{ "a\xf0\x9f\x98", "cut after 3 of 4", false },
		{ "\xc3(", "lead and ASCII", false },
		{ "\xe2\x82(", "two thirds and ASCII", false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(row); i++) {
		char exact[16], *at = exact + sizeof(exact) - strlen(row[i].s) - 1;

		strcpy(at, row[i].s);
		ok(str_is_text(at, SIZE_MAX) == row[i].good, "text: %s", row[i].what);
	}
	ok(str_is_text("abc", 3) && !str_is_text("abcd", 3), "text: the bound is in bytes");
	ok(!str_is_text("\xc3\xa4\xc3\xa4", 3), "text: not in characters");
	ok(str_is_text("", 0), "text: nothing fits in 0 bytes");
}

static void test_make_text(void)
{
	static const struct {
		const char *in, *out;
	} row[] = {
		{ "", "" },
		{ "plain \xc3\xa4", "plain \xc3\xa4" },
		{ "a\nb\x1b[1m", "a?b?[1m" },
		{ "\xc2\x9b"
		  "2J",
		  "??2J" },
		{ "cut\xe2\x82", "cut??" },
		{ "\xff\xfe\xc0\xaf", "????" },
		{ "\xed\xa0\x80|\xf0\x9f\x98\x80", "???|\xf0\x9f\x98\x80" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(row); i++) {
		char s[32];

		strcpy(s, row[i].in);
		str_make_text(s);
		ok(strcmp(s, row[i].out) == 0 && str_is_text(s, SIZE_MAX), "make text: row %zu", i);
	}
	for (unsigned c = 1; c < 256; c++) {
		char s[] = { (char)c, 'a', '\0' };

		str_make_text(s);
		if (!str_is_text(s, 2) || s[1] != 'a') {
			ok(false, "make text: byte %#x", c);
			return;
		}
	}
	ok(true, "make text: every byte before an ASCII character");
	ok(str_char_len("") == 0 && str_char_len("a") == 1 && str_char_len("\xc3\xa4") == 2 &&
		   str_char_len("\n") == 0,
	   "length of a character");
}

struct number {
	const char *s;
	int r;
	uint64_t v;
};

static void test_numbers(const char *what, int (*parse)(const char *, uint64_t *),
			 const struct number *row, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint64_t v = 4711;
		int r = parse(row[i].s, &v);

		ok(r == row[i].r && v == (r < 0 ? 4711 : row[i].v),
		   "%s: '%.*s' gives %d (got %d, %" PRIu64 ")", what, (int)strcspn(row[i].s, "\n"),
		   row[i].s, row[i].r, r, v);
	}
}

static void test_u64(void)
{
	static const struct number row[] = {
		{ "0", 0, 0 },
		{ "007", 0, 7 },
		{ "18446744073709551615", 0, UINT64_MAX },
		{ "18446744073709551616", -ERANGE, 0 },
		{ "18446744073709551620", -ERANGE, 0 },
		{ "99999999999999999999999", -ERANGE, 0 },
		{ "", -EINVAL, 0 },
		{ "-1", -EINVAL, 0 },
		{ "+1", -EINVAL, 0 },
		{ " 1", -EINVAL, 0 },
		{ "1 ", -EINVAL, 0 },
		{ "0x10", -EINVAL, 0 },
		{ "1e3", -EINVAL, 0 },
		{ "1.0", -EINVAL, 0 },
		{ "1\n", -EINVAL, 0 },
		{ "\xd9\xa1", -EINVAL, 0 },
	};

	test_numbers("u64", str_to_u64, row, ARRAY_SIZE(row));
}

static void test_bytes(void)
{
	static const struct number row[] = {
		{ "0", 0, 0 },
		{ "17", 0, 17 },
		{ "17B", 0, 17 },
		{ "1K", 0, 1024 },
		{ "1KiB", 0, 1024 },
		{ "1.5K", 0, 1536 },
		{ "512M", 0, 512ULL << 20 },
		{ "512MiB", 0, 512ULL << 20 },
		{ "1.5G", 0, 3ULL << 29 },
		{ "2GiB", 0, 2ULL << 30 },
		{ "0.25T", 0, 1ULL << 38 },
		{ "1P", 0, 1ULL << 50 },
		{ "16383P", 0, 16383ULL << 50 },
		{ "0.5P", 0, 1ULL << 49 },
		{ "0.500000000P", 0, 1ULL << 49 },
		{ "1.000000000", 0, 1 },
		{ "18446744073709551615", 0, UINT64_MAX },
		{ "16384P", -ERANGE, 0 },
		{ "18446744073709551615K", -ERANGE, 0 },
		{ "18446744073709551616", -ERANGE, 0 },
		{ "17592186044415.5M", 0, 17592186044415ULL << 20 | 1ULL << 19 },
		{ "1.0000000000", -ERANGE, 0 },
		{ "0.123456789P", -EINVAL, 0 },
		{ "0.1K", -EINVAL, 0 },
		{ "1.5", -EINVAL, 0 },
		{ "1.5B", -EINVAL, 0 },
		{ "1.", -EINVAL, 0 },
		{ "1.G", -EINVAL, 0 },
		{ ".5G", -EINVAL, 0 },
		{ "1,5G", -EINVAL, 0 },
		{ "1.5.5G", -EINVAL, 0 },
		{ "1k", -EINVAL, 0 },
		{ "1Kb", -EINVAL, 0 },
		{ "1 K", -EINVAL, 0 },
		{ "1KK", -EINVAL, 0 },
		{ "1Ki", -EINVAL, 0 },
		{ "1E", -EINVAL, 0 },
		{ "-1K", -EINVAL, 0 },
		{ "K", -EINVAL, 0 },
		{ "", -EINVAL, 0 },
		{ "max", -EINVAL, 0 },
		{ "1K\n", -EINVAL, 0 },
	};

	test_numbers("bytes", str_to_bytes, row, ARRAY_SIZE(row));
}

static void test_mcpu(void)
{
	static const struct number row[] = {
		{ "0", 0, 0 },
		{ "2", 0, 2000 },
		{ "0.5", 0, 500 },
		{ "500m", 0, 500 },
		{ "25%", 0, 250 },
		{ "150%", 0, 1500 },
		{ "0.1%", 0, 1 },
		{ "12.5%", 0, 125 },
		{ "0.001", 0, 1 },
		{ "0.0010", 0, 1 },
		{ "1.25", 0, 1250 },
		{ "0.0005", -EINVAL, 0 },
		{ "0.05%", -EINVAL, 0 },
		{ "0.5m", -EINVAL, 0 },
		{ "1.0001", -EINVAL, 0 },
		{ "18446744073709551615m", 0, UINT64_MAX },
		{ "18446744073709551.615", 0, UINT64_MAX },
		{ "18446744073709551.616", -ERANGE, 0 },
		{ "18446744073709552", -ERANGE, 0 },
		{ "500M", -EINVAL, 0 },
		{ "50 %", -EINVAL, 0 },
		{ "%", -EINVAL, 0 },
		{ "m", -EINVAL, 0 },
		{ "-1", -EINVAL, 0 },
		{ "nan", -EINVAL, 0 },
		{ "inf", -EINVAL, 0 },
	};

	test_numbers("mcpu", str_to_mcpu, row, ARRAY_SIZE(row));
}

static void test_usec(void)
{
	static const struct number row[] = {
		{ "0", 0, 0 },
		{ "10", 0, 10000000 },
		{ "1.5s", 0, 1500000 },
		{ "200ms", 0, 200000 },
		{ "0.5ms", 0, 500 },
		{ "5us", 0, 5 },
		{ "2m", 0, 120000000 },
		{ "2min", 0, 120000000 },
		{ "1.5h", 0, 5400000000 },
		{ "1d", 0, 86400000000 },
		{ "0.000000001d", -EINVAL, 0 },
		{ "0.500000000d", 0, 43200000000 },
		{ "0.000001", 0, 1 },
		{ "0.0000001", -EINVAL, 0 },
		{ "0.5us", -EINVAL, 0 },
		{ "213503982d", 0, 213503982ULL * 86400000000ULL },
		{ "213503983d", -ERANGE, 0 },
		{ "18446744073709551615us", 0, UINT64_MAX },
		{ "18446744073709.551616", -ERANGE, 0 },
		{ "1w", -EINVAL, 0 },
		{ "1S", -EINVAL, 0 },
		{ "1ns", -EINVAL, 0 },
		{ "1h30m", -EINVAL, 0 },
		{ "", -EINVAL, 0 },
		{ "-5s", -EINVAL, 0 },
	};

	test_numbers("usec", str_to_usec, row, ARRAY_SIZE(row));
}

static void test_from(void)
{
	char buf[32];

	ok(strcmp(str_from_bytes(buf, 0), "0") == 0, "from bytes: 0 has no unit");
	ok(strcmp(str_from_bytes(buf, 1023), "1023") == 0, "from bytes: below a unit");
	ok(strcmp(str_from_bytes(buf, 3ULL << 29), "1536M") == 0, "from bytes: whole units");
	ok(strcmp(str_from_bytes(buf, 1ULL << 60), "1024P") == 0, "from bytes: the largest unit");
	ok(strcmp(str_from_mcpu(buf, 0), "0") == 0, "from mcpu: 0 has no unit");
	ok(strcmp(str_from_mcpu(buf, 500), "500m") == 0, "from mcpu: part of a CPU");
	ok(strcmp(str_from_mcpu(buf, 2000), "2") == 0, "from mcpu: whole CPUs");
	ok(strcmp(str_from_usec(buf, 0), "0") == 0, "from usec: 0 has no unit");
	ok(strcmp(str_from_usec(buf, 1500000), "1500ms") == 0, "from usec: milliseconds");
	ok(strcmp(str_from_usec(buf, 90000000), "90s") == 0, "from usec: seconds");
	ok(strcmp(str_from_usec(buf, 2ULL * 86400000000), "2d") == 0, "from usec: days");
	ok(str_from_usec(buf, UINT64_MAX) == buf && strlen(buf) == 22, "from usec: the largest");
}

static void test_round_trip(const char *what, char *(*print)(char *, uint64_t),
			    int (*parse)(const char *, uint64_t *))
{
	static const uint64_t step[] = { 1, 2, 7, 10, 1000, 1024, 60, 3600, 86400 };
	uint64_t x = 88172645463325252ULL; /* xorshift64 */
	unsigned wrong = 0;
	char buf[32];

	for (unsigned i = 0; i < 20000; i++) {
		uint64_t v, got = 0;

		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		v = (x >> (i % 64)) * step[i % ARRAY_SIZE(step)];
		wrong += parse(print(buf, v), &got) < 0 || got != v;
	}
	for (unsigned bit = 0; bit < 64; bit++) {
		for (int d = -1; d <= 1; d++) {
			uint64_t v = (1ULL << bit) + (uint64_t)(int64_t)d, got = 0;

			wrong += parse(print(buf, v), &got) < 0 || got != v;
		}
	}
	ok(wrong == 0, "%s: all values read back (%u do not)", what, wrong);
}

static void test_fmt(void)
{
	char buf[4] = "zzz";

	ok(str_fmt(buf, sizeof(buf), "%s", "abc") && strcmp(buf, "abc") == 0, "fmt: just fits");
	ok(!str_fmt(buf, sizeof(buf), "%s", "abcd") && strcmp(buf, "abc") == 0,
	   "fmt: says that it was cut, and ends it");
	ok(!str_fmt(buf, 0, "%s", "x") && buf[0] == 'a', "fmt: no room, nothing written");
	ok(str_fmt(buf, 1, "%s", "") && buf[0] == '\0', "fmt: nothing fits in 1 byte");
}

int main(void)
{
	test_names();
	test_templates();
	test_text();
	test_make_text();
	test_u64();
	test_bytes();
	test_mcpu();
	test_usec();
	test_from();
	test_round_trip("bytes", str_from_bytes, str_to_bytes);
	test_round_trip("mcpu", str_from_mcpu, str_to_mcpu);
	test_round_trip("usec", str_from_usec, str_to_usec);
	test_fmt();
	return tap_done();
}
