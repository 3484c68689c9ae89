/* tests/fuzz/jsonx.c - strict JSON, from text to errors; input: TEXT [NUL POINTER] */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/jsonx.h"
#include "lib/base/own.h"
#include "lib/base/str.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct sample {
	char name[17];
	bool on;
	uint64_t count;
	json_t *any;
	const char *ref;
	uint64_t weight;
};

struct text {
	const char *s;
	size_t len;
	unsigned lines;
};

/* What the contracts promise whatever the input is. */
static void check(bool good)
{
	if (!good)
		abort();
}

static int parse_sub(json_t *v, const char *at, void *to, struct cos_err *err)
{
	static const struct jsonx_field fields[] = {
		{ "weight", JSONX_UINT, offsetof(struct sample, weight), 1, 10000, true, NULL },
	};

	return jsonx_fill(v, at, fields, ARRAY_SIZE(fields), to, err);
}

static const struct jsonx_field fields[] = {
	{ "name", JSONX_STR, offsetof(struct sample, name), 1, 16, false, NULL },
	{ "on", JSONX_BOOL, offsetof(struct sample, on), 0, 0, false, NULL },
	{ "count", JSONX_UINT, offsetof(struct sample, count), 2, 1000, false, NULL },
	{ "any", JSONX_ANY, offsetof(struct sample, any), 0, 0, false, NULL },
	{ "ref", JSONX_REF, offsetof(struct sample, ref), 0, 64, false, NULL },
	{ "sub", JSONX_FN, 0, 0, 0, false, parse_sub },
};

static void check_err(const struct cos_err *err, int r)
{
	check(r < 0 && err->code == COS_E_INVALID && strlen(err->why) < sizeof(err->why) &&
	      str_is_text(err->why, SIZE_MAX));
}

/* Appends "/KEY" as RFC 6901 has it; false if there is no room. */
static bool descend(char *to, size_t size, const char *at, const char *key)
{
	size_t n = strlen(at);

	if (n + 2 * strlen(key) + 2 > size)
		return false;
	memcpy(to, at, n);
	for (to[n++] = '/'; *key; key++) {
		if (*key != '~' && *key != '/') {
			to[n++] = *key;
			continue;
		}
		to[n++] = '~';
		to[n++] = '0';
		if (*key == '/')
			to[n - 1] = '1';
	}
	to[n] = '\0';
	return true;
}

/* All that the parser found has a line, and none before that of its container. */
static void check_lines(json_t *v, const struct text *t, const char *at, unsigned from,
			unsigned *budget)
{
	char path[512], number[24];
	const char *key;
	json_t *child;
	unsigned line;
	size_t i;

	json_object_foreach(v, key, child) {
		if (*budget == 0 || !descend(path, sizeof(path), at, key))
			return;
		--*budget;
		line = jsonx_line(t->s, t->len, path);
		check(line >= from && line <= t->lines);
		check_lines(child, t, path, line, budget);
	}
	json_array_foreach(v, i, child) {
		str_fmt(number, sizeof(number), "%zu", i);
		if (*budget == 0 || !descend(path, sizeof(path), at, number))
			return;
		--*budget;
		line = jsonx_line(t->s, t->len, path);
		check(line >= from && line <= t->lines);
		check_lines(child, t, path, line, budget);
	}
}

static void check_fill(json_t *doc, const struct text *t)
{
	struct sample s = { .count = 2, .weight = 1 };
	struct cos_err err;
	int r = jsonx_fill(doc, "", fields, ARRAY_SIZE(fields), &s, &err);

	check(s.count >= 2 && s.count <= 1000 && s.weight >= 1 && s.weight <= 10000);
	check(str_is_text(s.name, 16) && (!s.ref || str_is_text(s.ref, 64)));
	if (r == 0)
		return;
	check_err(&err, r);
	check(jsonx_locate(&err, r, "input", t->s, t->len) == r);
	check_err(&err, r);
	check(strncmp(err.why, "input:", 6) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *end = size ? memchr(data, '\0', size) : NULL;
	struct text t = { (const char *)data, end ? (size_t)(end - (const char *)data) : size, 1 };
	auto_json json_t *doc = NULL, *whole = NULL, *merged = NULL;
	unsigned budget = 200, line;
	struct cos_err err;
	char pointer[512];
	int r;

	r = jsonx_parse(t.s, size, "input", &whole, &err);
	check(r == 0 ? !end : !whole);
	for (size_t i = 0; i < t.len; i++)
		t.lines += t.s[i] == '\n';
	str_fmt(pointer, sizeof(pointer), "%.*s", end ? (int)(size - t.len - 1) : 0,
		end ? end + 1 : "");
	/* Not valid text perhaps: it need not be found, but must come back. */
	line = jsonx_line(t.s, t.len, pointer);
	r = jsonx_parse(t.s, t.len, "input", &doc, &err);
	if (r < 0) {
		check_err(&err, r);
		return 0;
	}
	check(line <= t.lines && jsonx_line(t.s, t.len, "") > 0);
	check_lines(doc, &t, "", 1, &budget);
	check_fill(doc, &t);
	merged = jsonx_merge(doc, doc);
	check(!merged || json_equal(merged, doc));
	return 0;
}
