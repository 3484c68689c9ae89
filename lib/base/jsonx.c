/* lib/base/jsonx.c - strict JSON: bounded parsing, a table of fields, places in errors */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/jsonx.h"
#include "lib/base/own.h"
#include "lib/base/str.h"

#undef jsonx_bad
#undef jsonx_fill
#define POINTER_MAX 256

/* jansson's own bound is 2048 levels; a document of ours has a handful. Strings are skipped. */
static bool is_too_deep(const char *s, size_t len)
{
	unsigned depth = 0;
	bool in_string = false;

	for (size_t i = 0; i < len; i++) {
		if (in_string) {
			if (s[i] == '\\')
				i++;
			else if (s[i] == '"')
				in_string = false;
		} else if (s[i] == '"') {
			in_string = true;
		} else if (s[i] == '{' || s[i] == '[') {
			if (++depth > JSONX_DEPTH_MAX)
				return true;
		} else if ((s[i] == '}' || s[i] == ']') && depth > 0) {
			depth--;
		}
	}
	return false;
}

static unsigned line_at(const char *s, const char *at)
{
	unsigned line = 1;

	for (; s < at; s++)
		line += *s == '\n';
	return line;
}

int jsonx_parse(const char *s, size_t len, const char *where, json_t **ret, struct cos_err *err)
{
	const char *nul = len ? memchr(s, '\0', len) : NULL;
	json_error_t at;
	json_t *j;

	/* jansson takes a NUL behind a number for nothing at all. */
	if (nul)
		return cos_fail(err, COS_E_INVALID, 0, "%s:%u: NUL byte", where, line_at(s, nul));
	if (is_too_deep(s, len))
		return cos_fail(err, COS_E_INVALID, 0, "%s: nested deeper than %d", where,
				JSONX_DEPTH_MAX);
	j = json_loadb(s, len, JSON_REJECT_DUPLICATES, &at);
	if (!j)
		return cos_fail(err, COS_E_INVALID, 0, "%s:%d: %s", where, at.line, at.text);
	*ret = j;
	return 0;
}

int jsonx_bad(struct cos_err *err, const char *at, const char *fmt, ...)
{
	char text[200];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return cos_fail(err, COS_E_INVALID, 0, "%s: %s", at[0] ? at : "/", text);
}

static int fill_str(json_t *v, const char *at, const struct jsonx_field *f, char *to,
		    struct cos_err *err)
{
	const char *s = json_string_value(v);

	if (!s)
		return jsonx_bad(err, at, "not a string");
	if (strlen(s) != json_string_length(v) || !str_is_text(s, SIZE_MAX))
		return jsonx_bad(err, at, "has control characters");
	if (strlen(s) < f->min || strlen(s) > f->max)
		return jsonx_bad(err, at, "is %zu bytes long, not %" PRIu64 "..%" PRIu64, strlen(s),
				 f->min, f->max);
	if (f->type == JSONX_STR)
		strcpy(to, s);
	else
		*(const char **)(void *)to = s;
	return 0;
}

static int fill_uint(json_t *v, const char *at, const struct jsonx_field *f, uint64_t *to,
		     struct cos_err *err)
{
	json_int_t i = json_integer_value(v);

	if (!json_is_integer(v))
		return jsonx_bad(err, at, "not an integer");
	if (i < 0 || (uint64_t)i < f->min || (uint64_t)i > f->max)
		return jsonx_bad(err, at,
				 "is %" JSON_INTEGER_FORMAT ", not in %" PRIu64 "..%" PRIu64, i,
				 f->min, f->max);
	*to = (uint64_t)i;
	return 0;
}

static int fill_one(json_t *v, const char *at, const struct jsonx_field *f, char *to,
		    struct cos_err *err)
{
	switch (f->type) {
	case JSONX_STR:
	case JSONX_REF:
		return fill_str(v, at, f, to + f->offset, err);
	case JSONX_BOOL:
		if (!json_is_boolean(v))
			return jsonx_bad(err, at, "not true or false");
		*(bool *)(to + f->offset) = json_is_true(v);
		return 0;
	case JSONX_UINT:
		return fill_uint(v, at, f, (uint64_t *)(void *)(to + f->offset), err);
	case JSONX_ANY:
		*(json_t **)(void *)(to + f->offset) = v;
		return 0;
	case JSONX_FN:
		return f->parse(v, at, to, err);
	}
	return jsonx_bad(err, at, "has no parser");
}

/* AT/KEY as a JSON pointer. Keys come from outside: an error repeats only printable ones. */
static void member_pointer(char path[static POINTER_MAX], const char *at, const char *key)
{
	size_t n;

	if (!str_is_text(key, 64))
		key = "(unprintable key)";
	str_fmt(path, POINTER_MAX, "%s/", at);
	n = strlen(path);
	for (; *key && n + 3 <= POINTER_MAX; key++) {
		if (*key == '~' || *key == '/') {
			path[n++] = '~';
			path[n++] = *key == '~' ? '0' : '1';
		} else {
			path[n++] = *key;
		}
	}
	path[n] = '\0';
}

int jsonx_fill(json_t *obj, const char *at, const struct jsonx_field *f, size_t n, void *to,
	       struct cos_err *err)
{
	char path[POINTER_MAX];
	const char *key;
	json_t *v;
	int r;

	if (!json_is_object(obj))
		return jsonx_bad(err, at, "not an object");
	json_object_foreach(obj, key, v) {
		size_t i = 0;

		member_pointer(path, at, key);
		while (i < n && strcmp(f[i].name, key) != 0)
			i++;
		if (i == n)
			return jsonx_bad(err, path, "unknown key");
		r = fill_one(v, path, &f[i], to, err);
		if (r < 0)
			return r;
	}
	for (size_t i = 0; i < n; i++) {
		if (f[i].required && !json_object_get(obj, f[i].name)) {
			member_pointer(path, at, f[i].name);
			return jsonx_bad(err, path, "missing");
		}
	}
	return 0;
}

/* A walk over text that is known to be valid JSON, in step with a pointer's parts. */
struct walk {
	const char *p, *end;
	unsigned line;
};

static char next(struct walk *w)
{
	if (w->p >= w->end)
		return '\0';
	if (*w->p == '\n')
		w->line++;
	return *w->p++;
}

static char peek(struct walk *w)
{
	while (w->p < w->end && strchr(" \t\r\n,:", *w->p))
		next(w);
	if (w->p == w->end)
		return '\0';
	return *w->p;
}

/* Leaves the string's raw bytes, between its quotes, in *RET_S and *RET_N. */
static void skip_string(struct walk *w, const char **ret_s, size_t *ret_n)
{
	next(w);
	*ret_s = w->p;
	for (char c = next(w); c && c != '"'; c = next(w)) {
		if (c == '\\')
			next(w);
	}
	*ret_n = (size_t)(w->p - *ret_s) - (w->p > *ret_s ? 1 : 0);
}

static void skip_value(struct walk *w)
{
	unsigned depth = 0;
	const char *s;
	size_t n;

	do {
		char c = peek(w);

		if (c == '\0')
			return;
		if (c == '"') {
			skip_string(w, &s, &n);
			continue;
		}
		if (c == '{' || c == '[')
			depth++;
		else if (c == '}' || c == ']')
			depth--;
		else
			while (w->p < w->end && !strchr(" \t\r\n,:]}", *w->p))
				next(w);
		if (strchr("{}[]", c))
			next(w);
	} while (depth > 0);
}

/* The value of N hexadecimal digits; 0 for what is none, as in text that is not valid. */
static uint32_t from_hex(const char *s, size_t n)
{
	uint32_t v = 0;

	for (size_t i = 0; i < n; i++) {
		const char *digits = "0123456789abcdef";
		const char *at = s[i] ? strchr(digits, s[i] | 0x20) : NULL;

		if (!at)
			return 0;
		v = v << 4 | (uint32_t)(at - digits);
	}
	return v;
}

/* Writes the UTF-8 form of C to OUT; returns its length. */
static size_t to_utf8(char *out, uint32_t c)
{
	size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
	static const unsigned char lead[] = { 0, 0x00, 0xc0, 0xe0, 0xf0 };

	for (size_t i = n - 1; i > 0; i--, c >>= 6)
		out[i] = (char)(0x80 | (c & 0x3f));
	out[0] = (char)(lead[n] | c);
	return n;
}

/* Decodes the escape after the backslash at S (of LEFT bytes) to OUT, which takes 4 bytes. Returns
 * how many bytes of S it took. */
static size_t unescape(const char *s, size_t left, char *out, size_t *ret_n)
{
	static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
	const char *at = left > 1 && s[1] ? strchr(from, s[1]) : NULL;
	size_t used = 6;
	uint32_t c;

	*ret_n = 1;
	if (left < 6 || s[1] != 'u') {
		out[0] = s[left > 1];
		if (at)
			out[0] = to[at - from];
		return left > 1 ? 2 : 1;
	}
	c = from_hex(s + 2, 4);
	if (c >= 0xd800 && c < 0xdc00 && left >= 12 && s[6] == '\\') {
		c = 0x10000 + ((c & 0x3ff) << 10) + (from_hex(s + 8, 4) & 0x3ff);
		used = 12;
	}
	*ret_n = to_utf8(out, c);
	return used;
}

/* Takes one byte of a pointer's part, where "~1" is '/' and "~0" is '~'. */
static bool part_eats(const char **part, size_t *left, char c)
{
	if (*left == 0)
		return false;
	if (**part == '~' && *left > 1 && ((*part)[1] == '0' || (*part)[1] == '1')) {
		if (c != ((*part)[1] == '0' ? '~' : '/'))
			return false;
		*part += 2;
		*left -= 2;
		return true;
	}
	if (c != **part)
		return false;
	++*part;
	--*left;
	return true;
}

/* Is the key with the raw bytes KEY the one that the pointer's part names? */
static bool is_part(const char *key, size_t n, const char *part, size_t left)
{
	while (n > 0) {
		char c[4] = { key[0] };
		size_t len = 1, used = 1;

		if (key[0] == '\\')
			used = unescape(key, n, c, &len);
		for (size_t i = 0; i < len; i++) {
			if (!part_eats(&part, &left, c[i]))
				return false;
		}
		key += used;
		n -= used;
	}
	return left == 0;
}

/* Moves to the member or element PART of the container that is next; false if there is none. */
static bool enter(struct walk *w, const char *part, size_t len)
{
	char open = peek(w), c;
	const char *key = "";
	unsigned index = 0;
	size_t n = 0;

	if (open != '{' && open != '[')
		return false;
	next(w);
	while ((c = peek(w)) && c != '}' && c != ']') {
		char number[16];

		if (open == '{') {
			skip_string(w, &key, &n);
		} else {
			n = (size_t)snprintf(number, sizeof(number), "%u", index++);
			key = number;
		}
		if (is_part(key, n, part, len))
			return true;
		skip_value(w);
	}
	return false;
}

int jsonx_need_array(json_t *v, size_t max, const char *at, struct cos_err *err)
{
	if (!json_is_array(v))
		return jsonx_bad(err, at, "not an array");
	if (json_array_size(v) > max)
		return jsonx_bad(err, at, "has %zu elements, more than %zu", json_array_size(v),
				 max);
	return 0;
}

unsigned jsonx_line(const char *s, size_t len, const char *pointer)
{
	struct walk w = { .p = s, .end = s + len, .line = 1 };
	unsigned first;

	if (!peek(&w))
		return 0;
	first = w.line;
	if (strcmp(pointer, "/") == 0)
		return enter(&w, "", 0) ? w.line : first;
	while (*pointer == '/') {
		size_t n = strcspn(++pointer, "/");

		if (!enter(&w, pointer, n))
			return 0;
		pointer += n;
	}
	return *pointer ? 0 : w.line;
}

/* The line of the longest pointer that WHY may start with: a key can have a ": " of its own. */
static unsigned line_of(const char *why, const char *s, size_t len)
{
	char pointer[POINTER_MAX];
	size_t n = strnlen(why, sizeof(pointer) - 1);

	for (; n > 0; n--) {
		unsigned line;

		if (why[n] != ':' || why[n + 1] != ' ')
			continue;
		memcpy(pointer, why, n);
		pointer[n] = '\0';
		line = jsonx_line(s, len, pointer);
		if (line)
			return line;
	}
	return 0;
}

int jsonx_locate(struct cos_err *err, int r, const char *file, const char *s, size_t len)
{
	char old[sizeof(err->why)];
	size_t n = strlen(file);
	unsigned line;

	if (err->code != COS_E_INVALID || err->why[0] != '/')
		return r;
	/* jsonx_parse() has told FILE, which may begin like a pointer, with the line */
	if (n > 1 && strncmp(err->why, file, n) == 0 && err->why[n] == ':')
		return r;
	line = line_of(err->why, s, len);
	strcpy(old, err->why);
	if (line)
		str_fmt(err->why, sizeof(err->why), "%.100s:%u: %s", file, line, old);
	else
		str_fmt(err->why, sizeof(err->why), "%.100s: %s", file, old);
	str_make_text(err->why);
	return r;
}

json_t *jsonx_merge(json_t *base, json_t *over)
{
	auto_json json_t *out = NULL;
	const char *key;
	json_t *v;

	if (!json_is_object(base) || !json_is_object(over))
		return json_incref(over);
	out = json_copy(base);
	if (!out)
		return NULL;
	json_object_foreach(over, key, v) {
		json_t *have = json_object_get(base, key);
		json_t *one = have ? jsonx_merge(have, v) : json_incref(v);

		if (!one || json_object_set_new(out, key, one) < 0)
			return NULL;
	}
	return take_ptr(out);
}

json_t *jsonx_patch(json_t *base, json_t *patch)
{
	auto_json json_t *out = NULL;
	const char *key;
	json_t *v;

	if (!json_is_object(patch))
		return json_incref(patch);
	out = json_is_object(base) ? json_copy(base) : json_object();
	if (!out)
		return NULL;
	json_object_foreach(patch, key, v) {
		json_t *one;

		if (json_is_null(v)) {
			json_object_del(out, key);
			continue;
		}
		one = jsonx_patch(json_object_get(out, key), v);
		if (!one || json_object_set_new(out, key, one) < 0)
			return NULL;
	}
	return take_ptr(out);
}

json_t *jsonx_of_err(const struct cos_err *err)
{
	return json_pack("{s:s, s:s, s:s, s:s}", "error", cos_err_defs[err->code].name, "what",
			 err->what, "why", err->why, "todo", cos_err_todo(err));
}

static void take_text(char *to, size_t size, json_t *j, const char *key)
{
	const char *s = json_string_value(json_object_get(j, key));

	str_fmt(to, size, "%s", s && str_is_text(s, size - 1) ? s : "");
}

bool jsonx_to_err(json_t *j, struct cos_err *ret)
{
	const char *name = json_string_value(json_object_get(j, "error"));

	if (!name)
		return false;
	*ret = (struct cos_err){ .code = cos_err_by_name(name) };
	take_text(ret->what, sizeof(ret->what), j, "what");
	take_text(ret->why, sizeof(ret->why), j, "why");
	take_text(ret->todo, sizeof(ret->todo), j, "todo");
	return true;
}
