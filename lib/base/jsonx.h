/* lib/base/jsonx.h - strict JSON: bounded parsing, dispatch by a table of fields, places in errors
 *
 * A document is described by an array of struct jsonx_field. Unknown keys, wrong types and values
 * out of range are errors that name the JSON pointer; jsonx_locate() adds the line where the text
 * is had. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"

#define JSONX_DEPTH_MAX 32

enum jsonx_type {
	JSONX_STR,  /* char [max + 1]: text without control characters */
	JSONX_REF,  /* const char *, borrowed from the document; the same rules */
	JSONX_BOOL, /* bool */
	JSONX_UINT, /* uint64_t in min..max */
	JSONX_ANY,  /* json_t *, borrowed from the document */
	JSONX_FN,   /* parse() does all */
};

struct jsonx_field {
	const char *name;
	enum jsonx_type type;
	size_t offset;     /* in the struct that is filled */
	uint64_t min, max; /* STR, REF: length in bytes; UINT: value */
	bool required;
	/* JSONX_FN: AT is the field's pointer, TO the struct that is filled. */
	int (*parse)(json_t *v, const char *at, void *to, struct cos_err *err);
};

/* Parses LEN bytes: one object or array, no duplicate keys, no NUL in strings, bounded depth.
 * Errors name WHERE and the line. *RET is the caller's. */
int jsonx_parse(const char *s, size_t len, const char *where, json_t **ret, struct cos_err *err);

/* Fills TO from the object OBJ. AT is OBJ's own pointer ("" for the document). TO is filled in part
 * when it fails. */
int jsonx_fill(json_t *obj, const char *at, const struct jsonx_field *f, size_t n, void *to,
	       struct cos_err *err);

/* Says "AT: REASON"; returns the negative errno. */
__attribute__((format(printf, 3, 4))) int jsonx_bad(struct cos_err *err, const char *at,
						    const char *fmt, ...);

/* Refuses V, which is at AT, unless it is an array of at most MAX elements. */
int jsonx_need_array(json_t *v, size_t max, const char *at, struct cos_err *err);

/* Line (from 1) of the key or element at POINTER (RFC 6901) in the valid JSON text S; 0 if it is
 * not there. "" and, without a key "", "/" are the document. */
unsigned jsonx_line(const char *s, size_t len, const char *pointer);

/* Turns "/a/b: reason" of an invalid-parameter error into "FILE:LINE: /a/b: reason"; returns R. */
int jsonx_locate(struct cos_err *err, int r, const char *file, const char *s, size_t len);

/* Objects are merged key by key, anything else in OVER replaces what BASE has. New reference or
 * NULL when memory is out. BASE and OVER are not changed. */
json_t *jsonx_merge(json_t *base, json_t *over);

/* RFC 7396: as jsonx_merge(), but null in PATCH removes that key. BASE may be NULL: what PATCH
 * sets, without its nulls. */
json_t *jsonx_patch(json_t *base, json_t *patch);

/* An error as a program tells it to the one that started it. New reference or NULL. */
json_t *jsonx_of_err(const struct cos_err *err);
/* The other side. False: J is no such object. Texts are what err.h says, or empty. */
bool jsonx_to_err(json_t *j, struct cos_err *ret);

#ifdef __clang_analyzer__
#define jsonx_bad(...)  ((jsonx_bad)(__VA_ARGS__), -1)           /* as in lib/base/err.h */
#define jsonx_fill(...) ((jsonx_fill)(__VA_ARGS__) < 0 ? -1 : 0) /* nor is it ever positive */
#endif
