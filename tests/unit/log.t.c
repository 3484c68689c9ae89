/* tests/unit/log.t.c - one record is one line, whatever a guest or a client puts into it */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/log.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "tests/tap.h"

static int out; /* where the records go: the read end of what is stderr meanwhile */

/* The records since the last call, "" if there are none. */
static const char *said(void)
{
	static char buf[8192];
	ssize_t n = read(out, buf, sizeof(buf) - 1);

	buf[n > 0 ? n : 0] = '\0';
	return buf;
}

static unsigned lines(const char *s)
{
	unsigned n = 0;

	for (; *s; s++)
		n += *s == '\n';
	return n;
}

/* The text between msg=" and the closing quote is WANT. */
static bool has_msg(const char *line, const char *want)
{
	const char *msg = strstr(line, " msg=\"");
	size_t n = strlen(want);

	return msg && strncmp(msg + 6, want, n) == 0 && strcmp(msg + 6 + n, "\"\n") == 0;
}

static void test_form(void)
{
	char want[64];
	const char *s;

	log_say(LOG_INFO, "guest %s is %d", "web", 7);
	s = said();
	str_fmt(want, sizeof(want), " prog=cos pid=%d level=info msg=\"guest web is 7\"\n",
		getpid());
	ok(strncmp(s, "t=", 2) == 0 && isdigit((unsigned char)s[2]) && strchr(s, '.'),
	   "form: begins with the time");
	ok(strstr(s, want) && lines(s) == 1, "form: program, pid, level, text; one line");
}

static void test_levels(void)
{
	static const char *const names[] = { "error", "warn", "info", "debug" };

	log_say(LOG_DEBUG, "hidden");
	ok(said()[0] == '\0', "levels: debug is off by default");
	for (int max = LOG_ERROR; max <= LOG_DEBUG; max++) {
		log_open("t", (enum log_level)max);
		for (int l = LOG_ERROR; l <= LOG_DEBUG; l++) {
			char want[32];
			const char *s;

			log_say((enum log_level)l, "x");
			s = said();
			str_fmt(want, sizeof(want), " prog=t pid=%d level=%s ", getpid(), names[l]);
			ok(l <= max ? strstr(s, want) != NULL : s[0] == '\0',
			   "levels: %s with the bound %s", names[l], names[max]);
		}
	}
	log_open("cos", LOG_INFO);
}

static void test_escape(void)
{
	static const struct {
		const char *in, *out;
	} row[] = {
		{ "", "" },
		{ "a b=c", "a b=c" },
		{ "a\"b", "a\\\"b" },
		{ "a\\x0a", "a\\\\x0a" },
		{ "a\nt=1 level=error msg=\"x\"", "a\\x0at=1 level=error msg=\\\"x\\\"" },
		{ "\r\t\x1b[2J\x7f\x01", "\\x0d\\x09\\x1b[2J\\x7f\\x01" },
		{ "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80" },
		{ "\xc2\x9b"
		  "2J",
		  "\\xc2\\x9b2J" },
		{ "\x9b"
		  "2J",
		  "\\x9b2J" },
		{ "\xff\xc0\xaf", "\\xff\\xc0\\xaf" },
		{ "cut\xe2\x82", "cut\\xe2\\x82" },
		{ "%s%n", "%s%n" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(row); i++) {
		log_say(LOG_ERROR, "%s", row[i].in);
		ok(has_msg(said(), row[i].out), "escape: row %zu", i);
	}
}

/* For each length: one line, ended, with nothing but text in it. */
static void test_long(const char *what, const char *unit)
{
	static const size_t lens[] = { 250, 349, 350, 351, 699, 700, 1020, 1023, 1024, 1025, 4000 };

	for (size_t i = 0; i < ARRAY_SIZE(lens); i++) {
		char in[4100];
		const char *s;
		char *end;
		size_t n = 0;

		while (n < lens[i]) {
			strcpy(in + n, unit);
			n += strlen(unit);
		}
		log_say(LOG_WARN, "%s", in);
		s = said();
		end = strchr(s, '\n');
		ok(end && end[1] == '\0' && end[-1] == '"', "long: %zu bytes of %s, one line", n,
		   what);
		if (end)
			*end = '\0';
		ok(str_is_text(s, 1600), "long: %zu bytes of %s, text only", n, what);
	}
}

static void test_program(void)
{
	static char name[4000];
	const char *s;

	memset(name, 'p', sizeof(name) - 1);
	log_open(name, LOG_INFO);
	log_say(LOG_INFO, "%01023d", 7);
	s = said();
	ok(lines(s) == 1 && strlen(s) < 1600 && s[strlen(s) - 1] == '\n',
	   "program: a long name is cut, the line is whole");
	log_open("cos", LOG_INFO);
}

static void test_errno(void)
{
	int err2 = dup(STDERR_FILENO);

	errno = EXDEV;
	log_say(LOG_INFO, "%m");
	ok(errno == EXDEV && has_msg(said(), "Invalid cross-device link"), "errno: %%m and kept");
	close(STDERR_FILENO);
	errno = EXDEV;
	log_say(LOG_INFO, "nobody reads this");
	ok(errno == EXDEV, "errno: kept when stderr is closed");
	dup2(err2, STDERR_FILENO);
	close(err2);
}

int main(void)
{
	int p[2], err2 = dup(STDERR_FILENO);

	if (pipe2(p, O_CLOEXEC | O_NONBLOCK) < 0 || dup2(p[1], STDERR_FILENO) < 0)
		return 1;
	out = p[0];
	test_form();
	test_levels();
	test_escape();
	test_long("newlines", "\n");
	test_long("quotes", "\"");
	test_long("plain", "x");
	test_long("three-byte characters", "\xe2\x82\xac");
	test_long("four-byte characters", "\xf0\x9f\x98\x80");
	test_long("broken bytes", "\xff");
	test_program();
	test_errno();
	dup2(err2, STDERR_FILENO);
	close(err2);
	close(p[0]);
	close(p[1]);
	return tap_done();
}
