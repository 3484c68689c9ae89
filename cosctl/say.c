/* cosctl/say.c - errors as three lines: what, why, what to do */
#include <stdio.h>
#include <string.h>

#include "cosctl/cosctl.h"
#include "lib/base/str.h"

int say_error(const struct args *a, const char *object, const struct cos_err *err)
{
	const struct cos_err_def *def = &cos_err_defs[err->code];
	char own[200];

	/* the daemon's context often begins with the same words */
	snprintf(own, sizeof(own), "%s%s%s", a->command, object ? " " : "", object ?: "");
	str_make_text(own);
	if (err->what[0] && strncmp(err->what, own, strlen(own)) == 0)
		fprintf(stderr, "cosctl: %s: %s\n", err->what, def->title);
	else
		fprintf(stderr, "cosctl: %s: %s%s%s\n", own, err->what, err->what[0] ? ": " : "",
			def->title);
	fprintf(stderr, "  why: %s\n  do:  %s\n", err->why, cos_err_todo(err));
	return def->exit_status;
}

int say_error_125(const struct args *a, const char *object, const struct cos_err *err)
{
	int status = say_error(a, object, err);

	return status == 126 || status == 127 ? status : EXIT_OURS;
}

int say_usage(const struct args *a, const char *why)
{
	const char *sep = a->command[0] ? ": " : "", *space = a->command[0] ? " " : "";

	fprintf(stderr, "cosctl: %s%s%s\n  why: %s\n  do:  'cosctl %s%s--help' tells how\n",
		a->command, sep, cos_err_defs[COS_E_INVALID].title, why, a->command, space);
	return EXIT_USAGE;
}
