/* lib/base/err.h - one error object for each request: never allocated, never logged twice
 *
 * A telling function takes struct cos_err *err last, returns a negative errno and has filled *err
 * when it fails. Leaf functions return a negative errno and no text. Three texts answer the user's
 * three questions: what failed (outermost context first), why (the call and its object), what to
 * do. They are always text as str_is_text() means it: a name that a guest chose cannot move a
 * terminal's cursor or make a reply that is not JSON. */
#pragma once

#include "lib/base/errors.def"

enum cos_err_code {
	COS_E_NONE,
#define X(code, ...) COS_E_##code,
	COS_ERRORS(X)
#undef X
		COS_E__N
};

struct cos_err {
	enum cos_err_code code;
	int sys;        /* errno of the kernel call that failed, 0 if there was none */
	char what[160]; /* context, outermost first, "start: root"; cut, never grown */
	char why[320];  /* the call and its object, with the kernel's word for it */
	char todo[240]; /* empty: the table's advice for the code */
};

struct cos_err_def {
	int no;
	const char *name; /* without the interface prefix */
	int exit_status;
	const char *title, *todo;
};

extern const struct cos_err_def cos_err_defs[COS_E__N];

/* Fills *ERR and returns the negative errno to return, so that failing is one line in the caller.
 * SYS is an errno (positive) or 0; its text is appended to the formatted reason. */
__attribute__((format(printf, 4, 5))) int cos_fail(struct cos_err *err, enum cos_err_code code,
						   int sys, const char *fmt, ...);

/* Puts the formatted words and ": " before the context of a failure passed on; returns R. */
__attribute__((format(printf, 3, 4))) int cos_context(struct cos_err *err, int r, const char *fmt,
						      ...);

/* Sets what the user should do; returns R. */
__attribute__((format(printf, 3, 4))) int cos_advise(struct cos_err *err, int r, const char *fmt,
						     ...);

/* What to do: the advice that was set, else that on a full disk, else the table's. Never NULL. */
const char *cos_err_todo(const struct cos_err *err);

/* The row whose API name is NAME (without prefix); COS_E_INTERNAL if there is none. */
enum cos_err_code cos_err_by_name(const char *name);

#ifdef __clang_analyzer__
/* It does not look into other files and would follow paths on which a failure returns 0. */
#define cos_fail(...)            ((cos_fail)(__VA_ARGS__), -1)
#define cos_context(err, r, ...) ((cos_context)(err, r, __VA_ARGS__), (r))
#endif
