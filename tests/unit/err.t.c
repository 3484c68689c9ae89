/* tests/unit/err.t.c - the error object: what it says, and that no input makes it overflow */
#include <errno.h>
#include <string.h>

#include "lib/base/err.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "tests/tap.h"

/* An error between two guards that nothing may touch. */
struct guarded {
	char before[16];
	struct cos_err err;
	char after[16];
};

static void guard(struct guarded *g)
{
	memset(g, 0x5a, sizeof(*g));
}

static bool is_whole(const struct guarded *g)
{
	for (size_t i = 0; i < sizeof(g->before); i++) {
		if (g->before[i] != 0x5a || g->after[i] != 0x5a)
			return false;
	}
	return true;
}

static void test_table(void)
{
	for (int c = COS_E_NONE + 1; c < COS_E__N; c++) {
		const struct cos_err_def *d = &cos_err_defs[c];
		bool full = d->no > 0 && d->name && d->name[0] && d->exit_status > 0 &&
			    d->exit_status < 128 && d->title && d->title[0] && d->todo &&
			    d->todo[0];

		ok(full, "table: row %d is complete", c);
		ok(full && cos_err_by_name(d->name) == (enum cos_err_code)c,
		   "table: the name of row %d leads back to it", c);
	}
	ok(cos_err_by_name("") == COS_E_INTERNAL, "by name: empty");
	ok(cos_err_by_name("NoSuchError") == COS_E_INTERNAL, "by name: unknown");
	ok(cos_err_by_name("nosuchguest") == COS_E_INTERNAL, "by name: case counts");
}

static void test_fail(void)
{
	struct cos_err e;
	int r;

	memset(&e, 0xff, sizeof(e));
	r = cos_fail(&e, COS_E_NO_GUEST, 0, "no guest '%s'", "web");
	ok(r == -ENOENT && e.code == COS_E_NO_GUEST && e.sys == 0, "fail: the table's errno");
	ok(strcmp(e.why, "no guest 'web'") == 0, "fail: the reason as it was formatted");
	ok(e.what[0] == '\0' && e.todo[0] == '\0', "fail: context and advice start empty");
	cos_fail(&e, COS_E_KERNEL, ENOSPC, "write");
	ok(strstr(cos_err_todo(&e), "free space"), "advice: on a full disk");
	cos_fail(&e, COS_E_NO_GUEST, 0, "there is no guest named x");
	ok(strcmp(cos_err_todo(&e), cos_err_defs[COS_E_NO_GUEST].todo) == 0,
	   "fail: the table's advice");

	r = cos_fail(&e, COS_E_KERNEL, EACCES, "open %s", "/x");
	ok(r == -EACCES && e.sys == EACCES, "fail: the errno of the call wins");
	ok(strcmp(e.why, "open /x: Permission denied") == 0, "fail: the kernel's word is appended");
	r = cos_fail(&e, COS_E_KERNEL, 4000, "x");
	ok(r == -4000 && strcmp(e.why, "x: unknown error") == 0, "fail: an errno without a name");
	cos_fail(&e, COS_E_INVALID, 0, "%s", "100%s%n");
	ok(strcmp(e.why, "100%s%n") == 0, "fail: arguments are not formats");
}

static void test_context(void)
{
	struct cos_err e;
	int r = cos_fail(&e, COS_E_KERNEL, ENOENT, "mount proc");

	ok(cos_context(&e, r, "root") == -ENOENT, "context: passes the value on");
	ok(strcmp(e.what, "root") == 0, "context: the first has no colon");
	cos_context(&e, r, "step %d", 4);
	cos_context(&e, r, "start '%s'", "web");
	ok(strcmp(e.what, "start 'web': step 4: root") == 0, "context: outermost first");
	ok(strcmp(e.why, "mount proc: No such file or directory") == 0 && e.code == COS_E_KERNEL &&
		   e.sys == ENOENT,
	   "context: leaves the rest alone");
	ok(cos_context(&e, 7, "x") == 7, "context: any value is passed on");

	ok(cos_advise(&e, r, "try %s", "again") == r && strcmp(cos_err_todo(&e), "try again") == 0,
	   "advise: set advice wins over the table's");
	cos_fail(&e, COS_E_KERNEL, EIO, "again");
	ok(strcmp(cos_err_todo(&e), cos_err_defs[COS_E_KERNEL].todo) == 0,
	   "advise: a new failure forgets it");
}

static void test_bounds(void)
{
	static const size_t lens[] = { 1,   78,  157, 158, 159, 160, 161,  238, 239,
				       240, 241, 318, 319, 320, 321, 1000, 3999 };
	struct guarded g;
	char in[4000];

	for (size_t i = 0; i < ARRAY_SIZE(lens); i++) {
		size_t n = lens[i];
		bool good;

		guard(&g);
		memset(in, 'x', n);
		in[n] = '\0';
		cos_fail(&g.err, COS_E_KERNEL, ENOENT, "%s", in);
		good = strlen(g.err.why) < sizeof(g.err.why) && is_whole(&g);
		if (n < 280)
			good = good && strcmp(g.err.why + n, ": No such file or directory") == 0;
		for (unsigned k = 0; k < 5; k++) {
			cos_context(&g.err, -1, "%u%s", k, in);
			good = good && strlen(g.err.what) < sizeof(g.err.what) &&
			       g.err.what[0] == (char)('0' + k) && is_whole(&g);
		}
		cos_advise(&g.err, -1, "%s", in);
		good = good && strlen(g.err.todo) < sizeof(g.err.todo) && is_whole(&g);
		ok(good, "bounds: words of %zu bytes are cut, outermost kept", n);
	}
}

static void test_nesting(void)
{
	struct guarded g;
	bool good = true;

	guard(&g);
	cos_fail(&g.err, COS_E_INTERNAL, 0, "deep");
	for (unsigned i = 0; i < 1000; i++) {
		char want[32];

		cos_context(&g.err, -1, "level %u", i);
		str_fmt(want, sizeof(want), i ? "level %u: level %u" : "level %u", i, i - 1);
		good = good && strncmp(g.err.what, want, strlen(want)) == 0 && is_whole(&g);
	}
	ok(good && strlen(g.err.what) == sizeof(g.err.what) - 1,
	   "nesting: 1000 levels, the last kept");
	ok(strcmp(g.err.why, "deep") == 0, "nesting: the reason is not pushed out");
	cos_context(&g.err, -1, "%s", "");
	ok(strncmp(g.err.what, ": level 999", 11) == 0, "nesting: empty words");
}

static void test_text(void)
{
	struct cos_err e;
	char in[400];

	cos_fail(&e, COS_E_INVALID, 0, "key '%s'", "\x1b[2J\nroot: ok\x9b\xc2\x9b");
	ok(str_is_text(e.why, SIZE_MAX), "text: no control characters in a reason");
	cos_context(&e, -1, "%s", "a\r\xff");
	ok(strcmp(e.what, "a??") == 0, "text: nor in a context");
	cos_advise(&e, -1, "%s", "do\b\xc0\xaf");
	ok(strcmp(e.todo, "do???") == 0, "text: nor in advice");
	for (size_t shift = 0; shift < 3; shift++) {
		memset(in, 'x', shift);
		for (size_t i = shift; i + 3 < sizeof(in); i += 3)
			memcpy(in + i, "\xe2\x82\xac", 4);
		cos_fail(&e, COS_E_INVALID, 0, "%s", in);
		ok(str_is_text(e.why, SIZE_MAX) && strlen(e.why) == sizeof(e.why) - 1,
		   "text: cut inside a character, shift %zu", shift);
	}
	cos_fail(&e, COS_E_INVALID, 0, "\xc3\xa4\xe2\x82\xac");
	ok(strcmp(e.why, "\xc3\xa4\xe2\x82\xac") == 0, "text: UTF-8 is kept");
}

int main(void)
{
	test_table();
	test_fail();
	test_context();
	test_bounds();
	test_nesting();
	test_text();
	return tap_done();
}
