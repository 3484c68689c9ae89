/* tests/fuzz/units.c - names, text and numbers with units; input: the string */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/own.h"
#include "lib/base/str.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What the contracts promise whatever the input is. */
static void check(bool good)
{
	if (!good)
		abort();
}

static void check_unit(const char *s, int (*parse)(const char *, uint64_t *),
		       char *(*print)(char *, uint64_t))
{
	const uint64_t untouched = 0x5a5a5a5a5a5a5a5a;
	uint64_t v = untouched, again = 0;
	int r = parse(s, &v);
	char buf[32];

	if (r < 0) {
		check((r == -EINVAL || r == -ERANGE) && v == untouched);
		return;
	}
	check(*s >= '0' && *s <= '9');
	check(parse(print(buf, v), &again) == 0 && again == v);
}

static char *print_u64(char *buf, uint64_t v)
{
	str_fmt(buf, 32, "%llu", (unsigned long long)v);
	return buf;
}

static void check_text(const char *s)
{
	size_t n = strlen(s);
	auto_free char *made = strdup(s);

	if (!made)
		return;
	str_make_text(made);
	check(strlen(made) == n && str_is_text(made, n) && (n == 0 || !str_is_text(made, n - 1)));
	check(str_is_text(s, n) == (strcmp(s, made) == 0));
	check(!str_is_name(s) || (str_is_template(s) && str_is_text(s, 63) && s[0] != '.'));
	check(!str_is_template(s) || (str_is_text(s, 127) && !strchr(s, '/') && !strstr(s, ":.")));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_free char *s = strndup((const char *)data, size);

	if (!s)
		return 0;
	check_unit(s, str_to_u64, print_u64);
	check_unit(s, str_to_bytes, str_from_bytes);
	check_unit(s, str_to_mcpu, str_from_mcpu);
	check_unit(s, str_to_usec, str_from_usec);
	check_text(s);
	return 0;
}
