/* lib/base/err.c - the table of errors and the object that carries one */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/err.h"
#include "lib/base/str.h"

#undef cos_fail
#undef cos_context

const struct cos_err_def cos_err_defs[COS_E__N] = {
#define X(code, no, name, status, title, todo) [COS_E_##code] = { no, name, status, title, todo },
	COS_ERRORS(X)
#undef X
};

int cos_fail(struct cos_err *err, enum cos_err_code code, int sys, const char *fmt, ...)
{
	size_t n;
	va_list ap;

	err->code = code;
	err->sys = sys;
	err->what[0] = err->todo[0] = '\0';
	va_start(ap, fmt);
	vsnprintf(err->why, sizeof(err->why), fmt, ap);
	va_end(ap);
	n = strlen(err->why);
	if (sys)
		snprintf(err->why + n, sizeof(err->why) - n, ": %s",
			 strerrordesc_np(sys) ?: "unknown error");
	str_make_text(err->why);
	return -(sys ? sys : cos_err_defs[code].no);
}

int cos_context(struct cos_err *err, int r, const char *fmt, ...)
{
	char head[sizeof(err->what)], tail[sizeof(err->what)];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(head, sizeof(head), fmt, ap);
	va_end(ap);
	strcpy(tail, err->what);
	if (snprintf(err->what, sizeof(err->what), tail[0] ? "%s: %s" : "%s", head, tail) < 0)
		err->what[0] = '\0';
	str_make_text(err->what);
	return r;
}

int cos_advise(struct cos_err *err, int r, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(err->todo, sizeof(err->todo), fmt, ap);
	va_end(ap);
	str_make_text(err->todo);
	return r;
}

const char *cos_err_todo(const struct cos_err *err)
{
	if (err->todo[0])
		return err->todo;
	if (err->code == COS_E_KERNEL && (err->sys == ENOSPC || err->sys == EDQUOT))
		return "if a file system is full, free space or inodes on it: that of the state "
		       "directory first";
	return cos_err_defs[err->code].todo ?: "";
}

enum cos_err_code cos_err_by_name(const char *name)
{
	for (int c = COS_E_NONE + 1; c < COS_E__N; c++) {
		if (strcmp(cos_err_defs[c].name, name) == 0)
			return c;
	}
	return COS_E_INTERNAL;
}
