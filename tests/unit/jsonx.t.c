/* tests/unit/jsonx.t.c - strict JSON: what is refused, where an error is said to be, merging */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/jsonx.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "tests/tap.h"

struct sample {
	char name[9];
	bool on;
	uint64_t count;
	json_t *any;
	const char *ref;
	struct {
		uint64_t weight;
	} sub;
	unsigned items;
};

static int parse_sub(json_t *v, const char *at, void *to, struct cos_err *err)
{
	static const struct jsonx_field fields[] = {
		{ "weight", JSONX_UINT, offsetof(struct sample, sub.weight), 1, 10000, true, NULL },
	};

	return jsonx_fill(v, at, fields, ARRAY_SIZE(fields), to, err);
}

static int parse_items(json_t *v, const char *at, void *to, struct cos_err *err)
{
	struct sample *s = to;
	size_t i;
	json_t *item;

	if (!json_is_array(v))
		return jsonx_bad(err, at, "not an array");
	json_array_foreach(v, i, item) {
		char path[128];
		int r;

		str_fmt(path, sizeof(path), "%s/%zu", at, i);
		r = parse_sub(item, path, to, err);
		if (r < 0)
			return r;
		s->items++;
	}
	return 0;
}

static const struct jsonx_field fields[] = {
	{ "name", JSONX_STR, offsetof(struct sample, name), 1, 8, true, NULL },
	{ "on", JSONX_BOOL, offsetof(struct sample, on), 0, 0, false, NULL },
	{ "count", JSONX_UINT, offsetof(struct sample, count), 2, 1000, false, NULL },
	{ "any", JSONX_ANY, offsetof(struct sample, any), 0, 0, false, NULL },
	{ "ref", JSONX_REF, offsetof(struct sample, ref), 0, 4, false, NULL },
	{ "sub", JSONX_FN, 0, 0, 0, false, parse_sub },
	{ "items", JSONX_FN, 0, 0, 0, false, parse_items },
};

static int parse(const char *s, json_t **ret, struct cos_err *err)
{
	return jsonx_parse(s, strlen(s), "doc", ret, err);
}

/* Parses and fills as a reader of a file would; the reason is located in "f.json". */
static int read_sample(const char *text, struct sample *to, json_t **ret, struct cos_err *err)
{
	int r = parse(text, ret, err);

	if (r < 0)
		return r;
	*to = (struct sample){ .count = 99 };
	r = jsonx_fill(*ret, "", fields, ARRAY_SIZE(fields), to, err);
	return r < 0 ? jsonx_locate(err, r, "f.json", text, strlen(text)) : r;
}

static void test_parse_bad(void)
{
	static const struct {
		const char *what, *s;
		size_t len;
		const char *where;
	} row[] = {
#define ROW(what, s, where) { what, s, sizeof(s) - 1, where }
		ROW("nothing", "", "doc:"),
		ROW("white space", "\n\n", "doc:"),
		ROW("a scalar", "1", "doc:1: "),
		ROW("a string", "\"a\"", "doc:1: "),
		ROW("two values", "{}\n{}", "doc:2: "),
		ROW("rubbish behind", "{}\n\n]", "doc:3: "),
		ROW("a duplicate", "{\n\"a\":1,\n\"a\":1}", "doc:3: "),
		ROW("a duplicate by escape", "{\"a\":1,\n\"\\u0061\":1}", "doc:2: "),
		ROW("a duplicate below", "{\"x\":[{\"a\":1,\n\"a\":1}]}", "doc:2: "),
		ROW("NUL in a string", "{\"a\":\"x\\u0000y\"}", "doc:1: "),
		ROW("NUL in a key", "{\"a\\u0000\":1}", "doc:1: "),
		ROW("a raw NUL in a string", "{\"a\":\"x\0y\"}", "doc:1: "),
		ROW("a raw NUL behind a number", "{\n\"a\":1\0}", "doc:2: "),
		ROW("a raw NUL behind", "{}\0", "doc:1: "),
		ROW("a raw newline in a string", "{\"a\":\"x\n\"}", "doc:1: "),
		ROW("broken UTF-8", "{\"a\":\"\xff\"}", "doc:1: "),
		ROW("overlong UTF-8", "{\"a\":\"\xc0\xaf\"}", "doc:1: "),
		ROW("a surrogate in UTF-8", "{\"a\":\"\xed\xa0\x80\"}", "doc:1: "),
		ROW("a lone surrogate escape", "{\"a\":\"\\ud800\"}", "doc:1: "),
		ROW("a trailing comma", "{\"a\":1,\n}", "doc:2: "),
		ROW("a comment", "{/* */}", "doc:1: "),
		ROW("single quotes", "{'a':1}", "doc:1: "),
		ROW("NaN", "[NaN]", "doc:1: "),
		ROW("a hexadecimal number", "[0x1]", "doc:1: "),
		ROW("a leading zero", "[01]", "doc:1: "),
		ROW("a number beyond 64 bits", "[9223372036854775808]", "doc:1: "),
		ROW("a byte order mark", "\xef\xbb\xbf{}", "doc:1: "),
		ROW("an open object", "{\"a\":{", "doc:1: "),
		ROW("an open string", "{\"a", "doc:1: "),
		ROW("an open escape", "{\"a\\", "doc:1: "),
		ROW("a terminal sequence", "{\x1b[2J}", "doc:1: "),
#undef ROW
	};

	for (size_t i = 0; i < ARRAY_SIZE(row); i++) {
		json_t *none = (json_t *)&row, *j = none;
		struct cos_err err;
		/* Exactly as long as it is said to be: reading on is an error that ASan sees. */
		auto_free char *s = malloc(row[i].len ?: 1);
		int r;

		if (!s)
			return;
		memcpy(s, row[i].s, row[i].len);
		r = jsonx_parse(s, row[i].len, "doc", &j, &err);
		ok(r == -EINVAL && j == none && err.code == COS_E_INVALID,
		   "parse: refuses %s, leaves the output", row[i].what);
		ok(strncmp(err.why, row[i].where, strlen(row[i].where)) == 0 &&
			   str_is_text(err.why, SIZE_MAX),
		   "parse: says where %s is", row[i].what);
	}
}

static void test_parse_good(void)
{
	static const char *const good[] = { "{}", "[]", " [1,\"\\u00e4\",null,true,1.5e3,-0]\n",
					    "{\"\":{\"a b\":[[[]]]}}", "[\"\\ud83d\\ude00\"]" };

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		auto_json json_t *j = NULL;
		struct cos_err err;

		ok(parse(good[i], &j, &err) == 0 && j, "parse: good row %zu", i);
	}
}

static void test_depth(void)
{
	static const char pair[2][2] = { { '[', ']' }, { '{', '}' } };
	char s[40000];
	struct cos_err err;

	for (unsigned depth = JSONX_DEPTH_MAX - 1; depth <= JSONX_DEPTH_MAX + 1; depth++) {
		auto_json json_t *j = NULL;
		int r;

		memset(s, pair[0][0], depth);
		memset(s + depth, pair[0][1], depth);
		s[2 * (size_t)depth] = '\0';
		r = parse(s, &j, &err);
		ok(r == (depth <= JSONX_DEPTH_MAX ? 0 : -EINVAL), "depth: %u arrays", depth);
	}
	for (unsigned k = 0; k < 2; k++) {
		json_t *j = NULL;

		memset(s, pair[k][0], sizeof(s));
		ok(jsonx_parse(s, sizeof(s), "doc", &j, &err) == -EINVAL && !j &&
			   strstr(err.why, "nested deeper"),
		   "depth: 40000 times '%c'", pair[k][0]);
	}
	{
		auto_json json_t *j = NULL;

		memset(s, '[', 200);
		memcpy(s, "[\"\\\"", 4);
		memcpy(s + 200, "\"]", 3);
		ok(parse(s, &j, &err) == 0, "depth: brackets in a string do not count");
	}
	{
		auto_json json_t *j = NULL;

		s[0] = '[';
		for (unsigned i = 0; i < 5000; i++)
			memcpy(s + 1 + 3 * (size_t)i, "[],", 3);
		memcpy(s + 15000, "]", 2);
		ok(parse(s, &j, &err) == 0 && json_array_size(j) == 5000, "depth: width is free");
	}
}

static void test_fill_good(void)
{
	auto_json json_t *j = NULL;
	struct sample s;
	struct cos_err err;
	int r = read_sample("{\"name\":\"12345678\",\"on\":true,\"count\":1000,\"any\":[1],"
			    "\"ref\":\"\",\"sub\":{\"weight\":7},\"items\":[{\"weight\":1}]}",
			    &s, &j, &err);

	ok(r == 0, "fill: a whole document");
	ok(r == 0 && strcmp(s.name, "12345678") == 0, "fill: a string of the largest length");
	ok(r == 0 && s.on && s.count == 1000, "fill: bool and integer");
	ok(r == 0 && s.any == json_object_get(j, "any"), "fill: any value is borrowed");
	ok(r == 0 && s.ref == json_string_value(json_object_get(j, "ref")),
	   "fill: a string is borrowed");
	ok(r == 0 && s.sub.weight == 1 && s.items == 1, "fill: own parsers");
	json_decref(take_ptr(j));
	r = read_sample("{\"name\":\"\xc3\xa4\"}", &s, &j, &err);
	ok(r == 0 && s.count == 99 && !s.on && !s.any, "fill: what is absent keeps its value");
}

/* DOC is refused with the reason WANT. */
struct refusal {
	const char *doc, *want;
};

static void refuse(const struct refusal *row, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		auto_json json_t *j = NULL;
		struct cos_err err = { 0 };
		struct sample s;
		int r = read_sample(row[i].doc, &s, &j, &err);

		ok(r == -EINVAL && strcmp(err.why, row[i].want) == 0, "fill: %s", row[i].want);
		if (r == 0 || strcmp(err.why, row[i].want) != 0)
			printf("# got %d, %s\n", r, err.why);
	}
}

static void test_fill_bad(void)
{
	static const struct refusal row[] = {
		{ "[]", "f.json:1: /: not an object" },
		{ "\n\n [1]", "f.json:3: /: not an object" },
		{ "{\n\"on\":true}", "f.json: /name: missing" },
		{ "{\"name\":1}", "f.json:1: /name: not a string" },
		{ "{\"name\":null}", "f.json:1: /name: not a string" },
		{ "{\"name\":\"\"}", "f.json:1: /name: is 0 bytes long, not 1..8" },
		{ "{\"name\":\"123456789\"}", "f.json:1: /name: is 9 bytes long, not 1..8" },
		{ "{\"name\":\"\\u00e4\\u00e4\\u00e4\\u00e4x\"}",
		  "f.json:1: /name: is 9 bytes long, not 1..8" },
		{ "{\"name\":\"a\\nb\"}", "f.json:1: /name: has control characters" },
		{ "{\"name\":\"\\u009b2J\"}", "f.json:1: /name: has control characters" },
		{ "{\"ref\":\"\\u007f\"}", "f.json:1: /ref: has control characters" },
		{ "{\"ref\":\"12345\"}", "f.json:1: /ref: is 5 bytes long, not 0..4" },
		{ "{\"on\":1}", "f.json:1: /on: not true or false" },
		{ "{\"on\":\"true\"}", "f.json:1: /on: not true or false" },
		{ "{\"count\":1.5}", "f.json:1: /count: not an integer" },
		{ "{\"count\":\"2\"}", "f.json:1: /count: not an integer" },
		{ "{\"count\":1}", "f.json:1: /count: is 1, not in 2..1000" },
		{ "{\"count\":1001}", "f.json:1: /count: is 1001, not in 2..1000" },
		{ "{\"count\":-5}", "f.json:1: /count: is -5, not in 2..1000" },
		{ "{\"count\":-9223372036854775808}",
		  "f.json:1: /count: is -9223372036854775808, not in 2..1000" },
		{ "{\"sub\":[]}", "f.json:1: /sub: not an object" },
		{ "{\"sub\":\n{\n\"weight\":0}}", "f.json:3: /sub/weight: is 0, not in 1..10000" },
		{ "{\"sub\":{}}", "f.json: /sub/weight: missing" },
		{ "{\"items\":{}}", "f.json:1: /items: not an array" },
		{ "{\"items\":[{\"weight\":1},\n{\"weight\":2},\n7]}",
		  "f.json:3: /items/2: not an object" },
	};

	refuse(row, ARRAY_SIZE(row));
}

static void test_unknown(void)
{
	static const struct refusal row[] = {
		{ "{\n  \"name\": \"a\",\n  \"nmae\": 1\n}", "f.json:3: /nmae: unknown key" },
		{ "{\"Name\":\"a\"}", "f.json:1: /Name: unknown key" },
		{ "{\n\"sub\": {\"weight\": 1,\n\n\"w\": 2}}", "f.json:4: /sub/w: unknown key" },
		{ "{\"any\": {\"w\": [\n1,\n2\n]},\n\"items\": [\n{\"weight\":1},\n{\"w\":1}]}",
		  "f.json:7: /items/1/w: unknown key" },
		{ "{\"any\":\"{\\\"w\\\":[\",\n\"w\\u0065\":1}", "f.json:2: /we: unknown key" },
		{ "{\"name\":\"a\",\n\"a/b\":1}", "f.json:2: /a~1b: unknown key" },
		{ "{\"name\":\"a\",\n\"a\\/b\":1}", "f.json:2: /a~1b: unknown key" },
		{ "{\"name\":\"a\",\n\"a~1b\":1}", "f.json:2: /a~01b: unknown key" },
		{ "{\"name\":\"a\",\n\"~\":1}", "f.json:2: /~0: unknown key" },
		{ "{\"name\":\"a\",\n\"8080:80\":1}", "f.json:2: /8080:80: unknown key" },
		{ "{\"name\":\"a\",\n\"name: x\":1}", "f.json:2: /name: x: unknown key" },
		{ "{\"name\":\"a\",\n\"q\\\"\\\\\":1}", "f.json:2: /q\"\\: unknown key" },
		{ "{\"name\":\"a\",\n\"\":1}", "f.json:2: /: unknown key" },
		{ "{\"name\":\"a\",\n\"\\ud83d\\ude00\":1}",
		  "f.json:2: /\xf0\x9f\x98\x80: unknown key" },
		{ "{\"name\":\"a\",\n\"\xc3\xa4\":1}", "f.json:2: /\xc3\xa4: unknown key" },
		{ "{\"a\\nb\":1}", "f.json: /(unprintable key): unknown key" },
		{ "{\"\\u001b[2J\":1}", "f.json: /(unprintable key): unknown key" },
	};

	refuse(row, ARRAY_SIZE(row));
}

static void test_line(void)
{
	static const char doc[] =
		"\n{\n\"a\": [1, \"]}\",\n  {\"b\":\n\ttrue}, [\n[],\n[2]\n]],\n"
		"\"c\\\"\\u00e4\\/~\": null, \"e\": {}, \"\":\n{\"x\":\n-1.5e3}}\n";
	static const struct {
		const char *pointer;
		unsigned line;
	} row[] = {
		{ "", 2 },         { "/", 9 },        { "/a", 3 },
		{ "/a/0", 3 },     { "/a/1", 3 },     { "/a/2", 4 },
		{ "/a/2/b", 4 },   { "/a/3", 5 },     { "/a/3/0", 6 },
		{ "/a/3/1", 7 },   { "/a/3/1/0", 7 }, { "/c\"\xc3\xa4~1~0", 9 },
		{ "/e", 9 },       { "//x", 10 },     { "/a/4", 0 },
		{ "/a/01", 0 },    { "/a/-1", 0 },    { "/a/-", 0 },
		{ "/a/2/b/c", 0 }, { "/a/1/x", 0 },   { "/b", 0 },
		{ "/e/x", 0 },     { "/a/", 0 },      { "/a/2/", 0 },
		{ "a", 0 },        { "/a/3/0/0", 0 }, { "/a/18446744073709551616", 0 },
		{ "/A", 0 },       { "/aa", 0 },      { "/~", 0 },
		{ "/~2", 0 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(row); i++) {
		unsigned line = jsonx_line(doc, strlen(doc), row[i].pointer);

		ok(line == row[i].line, "line: %s is in %u (got %u)", row[i].pointer, row[i].line,
		   line);
	}
	ok(jsonx_line("{}", 2, "/") == 1, "line: without a key \"\", / is the document");
	ok(jsonx_line("", 0, "") == 0 && jsonx_line(" \n", 2, "/a") == 0, "line: no text");
}

/* Not its contract, but a file that changed meanwhile must not make it read beyond the end. */
static void test_line_broken(void)
{
	static const char *const doc[] = { "{\"a\\u00",    "{\"a\":[1,", "{\"a",
					   "}}]]",         "[[[[",       "{\"\\",
					   "{\"\\ud83d\\", "{1:2}",      "{\"a\":\"x\\" };

	for (size_t i = 0; i < ARRAY_SIZE(doc); i++) {
		size_t n = strlen(doc[i]);
		auto_free char *s = malloc(n);

		if (!s)
			return;
		memcpy(s, doc[i], n);
		jsonx_line(s, n, "/a/1/0");
		jsonx_line(s, n, "/\xf0\x9f\x98\x80");
		ok(true, "line: broken text, row %zu, comes back", i);
	}
}

static void test_locate(void)
{
	static const char doc[] = "{\n\"a\":1}";
	struct cos_err err = { 0 };
	json_t *j = NULL;
	char name[400];

	ok(jsonx_bad(&err, "/a", "is %d", 1) == -EINVAL && strcmp(err.why, "/a: is 1") == 0,
	   "bad: pointer and reason");
	ok(jsonx_locate(&err, -EINVAL, "f", doc, strlen(doc)) == -EINVAL &&
		   strcmp(err.why, "f:2: /a: is 1") == 0,
	   "locate: file and line");
	ok(jsonx_locate(&err, -EINVAL, "g", doc, strlen(doc)) == -EINVAL &&
		   strcmp(err.why, "f:2: /a: is 1") == 0,
	   "locate: not twice");
	jsonx_parse("{", 1, "/dir/f", &j, &err);
	jsonx_locate(&err, -EINVAL, "/dir/f", "{", 1);
	ok(strncmp(err.why, "/dir/f:1: ", 10) == 0 && !strstr(err.why + 10, "/dir/f"),
	   "locate: nor an absolute path");
	cos_fail(&err, COS_E_KERNEL, EIO, "/a: read");
	jsonx_locate(&err, -EIO, "f", doc, strlen(doc));
	ok(strncmp(err.why, "/a: read", 8) == 0, "locate: leaves other errors alone");
	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	jsonx_bad(&err, "/a", "%s", name);
	jsonx_locate(&err, -EINVAL, name, doc, strlen(doc));
	ok(strlen(err.why) < sizeof(err.why) && strstr(err.why, "nn:2: /a: nn"),
	   "locate: a long name and a long reason are cut");
}

/* A path longer than a pointer may be: cut, and never beyond its room. */
static void test_long_pointer(void)
{
	struct cos_err err = { 0 };
	char at[600], key[65], doc[80];
	auto_json json_t *j = NULL;
	struct sample s;

	memset(key, '/', 64);
	key[64] = '\0';
	str_fmt(doc, sizeof(doc), "{\"%s\":1}", key);
	if (parse(doc, &j, &err) < 0)
		return;
	for (size_t n = 0; n < sizeof(at); n++) {
		memset(at, 'x', n);
		at[n] = '\0';
		if (jsonx_fill(j, at, fields, ARRAY_SIZE(fields), &s, &err) != -EINVAL ||
		    strlen(err.why) >= sizeof(err.why)) {
			ok(false, "long pointer: %zu bytes", n);
			return;
		}
	}
	ok(true, "long pointer: every length up to %zu bytes", sizeof(at) - 1);
}

static void test_merge(void)
{
	static const struct {
		const char *base, *over, *want;
	} row[] = {
		{ "{}", "{}", "{}" },
		{ "{\"a\":1}", "{}", "{\"a\":1}" },
		{ "{}", "{\"a\":1}", "{\"a\":1}" },
		{ "{\"a\":1,\"b\":2}", "{\"b\":3,\"c\":4}", "{\"a\":1,\"b\":3,\"c\":4}" },
		{ "{\"a\":{\"x\":1,\"y\":{\"z\":1}}}", "{\"a\":{\"y\":{\"w\":2}}}",
		  "{\"a\":{\"x\":1,\"y\":{\"z\":1,\"w\":2}}}" },
		{ "{\"a\":[1,2]}", "{\"a\":[3]}", "{\"a\":[3]}" },
		{ "{\"a\":{\"x\":1}}", "{\"a\":5}", "{\"a\":5}" },
		{ "{\"a\":5}", "{\"a\":{\"x\":1}}", "{\"a\":{\"x\":1}}" },
		{ "{\"a\":{\"x\":1}}", "{\"a\":null}", "{\"a\":null}" },
		{ "{\"a\":1}", "[1]", "[1]" },
		{ "[1]", "{\"a\":1}", "{\"a\":1}" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(row); i++) {
		auto_json json_t *base = json_loads(row[i].base, 0, NULL);
		auto_json json_t *over = json_loads(row[i].over, 0, NULL);
		auto_json json_t *want = json_loads(row[i].want, 0, NULL);
		auto_json json_t *base_was = json_deep_copy(base), *got = NULL;
		auto_json json_t *over_was = json_deep_copy(over);

		got = jsonx_merge(base, over);
		ok(json_equal(got, want), "merge: row %zu", i);
		ok(json_equal(base, base_was) && json_equal(over, over_was),
		   "merge: row %zu leaves both as they were", i);
	}
}

/* RFC 7396, appendix A, and what its text says beside. */
static void test_patch(void)
{
	static const struct {
		const char *base, *patch, *want;
	} row[] = {
		{ "{\"a\":\"b\"}", "{\"a\":\"c\"}", "{\"a\":\"c\"}" },
		{ "{\"a\":\"b\"}", "{\"b\":\"c\"}", "{\"a\":\"b\",\"b\":\"c\"}" },
		{ "{\"a\":\"b\"}", "{\"a\":null}", "{}" },
		{ "{\"a\":\"b\",\"b\":\"c\"}", "{\"a\":null}", "{\"b\":\"c\"}" },
		{ "{\"a\":[\"b\"]}", "{\"a\":\"c\"}", "{\"a\":\"c\"}" },
		{ "{\"a\":{\"b\":\"c\"}}", "{\"a\":{\"b\":\"d\",\"c\":null}}",
		  "{\"a\":{\"b\":\"d\"}}" },
		{ "{\"a\":[{\"b\":\"c\"}]}", "{\"a\":[1]}", "{\"a\":[1]}" },
		{ "{\"e\":null}", "{\"a\":1}", "{\"e\":null,\"a\":1}" },
		{ "[1,2]", "{\"a\":\"b\",\"c\":null}", "{\"a\":\"b\"}" },
		{ "{}", "{\"a\":{\"bb\":{\"ccc\":null}}}", "{\"a\":{\"bb\":{}}}" },
		{ "{\"a\":1}", "{\"none\":null}", "{\"a\":1}" },
	};
	auto_json json_t *set = json_loads("{\"a\":1,\"b\":{\"c\":null}}", 0, NULL), *alone = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(row); i++) {
		auto_json json_t *base = json_loads(row[i].base, 0, NULL);
		auto_json json_t *patch = json_loads(row[i].patch, 0, NULL);
		auto_json json_t *want = json_loads(row[i].want, 0, NULL);
		auto_json json_t *base_was = json_deep_copy(base), *got = NULL;
		auto_json json_t *patch_was = json_deep_copy(patch);

		got = jsonx_patch(base, patch);
		ok(json_equal(got, want), "patch: row %zu", i);
		ok(json_equal(base, base_was) && json_equal(patch, patch_was),
		   "patch: row %zu leaves both as they were", i);
	}
	alone = jsonx_patch(NULL, set);
	ok(json_object_size(alone) == 2 && json_object_size(json_object_get(alone, "b")) == 0,
	   "patch: of nothing");
}

static void test_merge_more(void)
{
	auto_json json_t *a = json_loads("{\"a\":{\"x\":[1]}}", 0, NULL);
	auto_json json_t *one = jsonx_merge(a, a), *two = NULL;

	ok(json_equal(one, a), "merge: with itself");
	two = jsonx_merge(one, a);
	json_decref(take_ptr(a));
	json_decref(take_ptr(one));
	ok(json_array_size(json_object_get(json_object_get(two, "a"), "x")) == 1,
	   "merge: the result lives on without its parts");
}

int main(void)
{
	test_parse_bad();
	test_parse_good();
	test_depth();
	test_fill_good();
	test_fill_bad();
	test_unknown();
	test_line();
	test_line_broken();
	test_locate();
	test_long_pointer();
	test_merge();
	test_patch();
	test_merge_more();
	return tap_done();
}
