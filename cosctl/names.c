/* cosctl/names.c - ranges of names: w{001..100} */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cosctl/cosctl.h"
#include "lib/base/own.h"
#include "lib/base/str.h"

struct names {
	char **v;
	unsigned n, room;
};

static int add(struct names *s, const char *name, struct cos_err *err)
{
	if (s->n == NAMES_MAX)
		return cos_fail(err, COS_E_INVALID, 0, "more than %d names", NAMES_MAX);
	if (s->n == s->room) {
		unsigned room = s->room ? s->room * 2 : 64;
		char **more = realloc(s->v, room * sizeof(*more));

		if (!more)
			return cos_fail(err, COS_E_KERNEL, ENOMEM, "names");
		s->v = more;
		s->room = room;
	}
	s->v[s->n] = strdup(name);
	return s->v[s->n++] ? 0 : cos_fail(err, COS_E_KERNEL, ENOMEM, "names");
}

/* PREFIX{FIRST..LAST}SUFFIX; leading zeros of FIRST give the width. */
static int add_range(struct names *s, const char *text, struct cos_err *err)
{
	const char *open = strchr(text, '{'), *dots = strstr(open, ".."), *end = strchr(open, '}');
	char first[16], last[16], name[256];
	uint64_t from, to;
	int width, r = 0;

	if (!dots || !end || dots > end || dots - open > 15 || end - dots > 15)
		return cos_fail(err, COS_E_INVALID, 0, "%.80s: a range is NAME{FIRST..LAST}", text);
	str_fmt(first, sizeof(first), "%.*s", (int)(dots - open - 1), open + 1);
	str_fmt(last, sizeof(last), "%.*s", (int)(end - dots - 2), dots + 2);
	if (str_to_u64(first, &from) < 0 || str_to_u64(last, &to) < 0 || from > to)
		return cos_fail(err, COS_E_INVALID, 0, "%.80s: a range is NAME{FIRST..LAST}", text);
	width = (int)strlen(first);
	for (; from <= to && r == 0; from++) {
		if (!str_fmt(name, sizeof(name), "%.*s%0*" PRIu64 "%s", (int)(open - text), text,
			     width, from, end + 1))
			return cos_fail(err, COS_E_INVALID, 0, "%.80s: too long", text);
		r = add(s, name, err);
	}
	return r;
}

int names_expand(char *const *argv, int argc, char ***ret, unsigned *ret_n, struct cos_err *err)
{
	struct names s = { 0 };
	int r = 0;

	for (int i = 0; i < argc && r == 0; i++) {
		unsigned had = s.n;

		r = strchr(argv[i], '{') ? add_range(&s, argv[i], err) : add(&s, argv[i], err);
		for (unsigned k = had; k < s.n && r == 0; k++) {
			if (!str_is_name(s.v[k]))
				r = cos_fail(
					err, COS_E_INVALID, 0,
					"\"%.80s\" is not of the form [a-z0-9][a-z0-9._-]{0,62}",
					str_is_text(s.v[k], 4096) ? s.v[k] : "(unprintable)");
		}
	}
	if (r < 0) {
		names_free(s.v, s.n);
		return r;
	}
	*ret = s.v;
	*ret_n = s.n;
	return 0;
}

void names_free(char **names, unsigned n)
{
	while (n > 0)
		free(names[--n]);
	free(names);
}
