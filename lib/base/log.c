/* lib/base/log.c - one line per record, key=value, to stderr */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/base/str.h"

static const char *log_program = "cos";
static enum log_level log_max = LOG_INFO;

void log_open(const char *program, enum log_level level)
{
	log_program = program;
	log_max = level;
}

/* Escapes as much of S as fits; no character takes more than 4 bytes. */
static void escape(char *out, size_t size, const char *s)
{
	size_t n = 0;

	while (*s && n + 5 <= size) {
		size_t len = str_char_len(s);

		if (len == 0) {
			n += (size_t)snprintf(out + n, size - n, "\\x%02x", (unsigned char)*s++);
			continue;
		}
		if (*s == '"' || *s == '\\')
			out[n++] = '\\';
		memcpy(out + n, s, len);
		n += len;
		s += len;
	}
	out[n] = '\0';
}

void log_say(enum log_level level, const char *fmt, ...)
{
	static const char *const names[] = { "error", "warn", "info", "debug" };
	char text[1024], safe[1400], line[1600];
	int saved = errno, n;
	uint64_t now;
	va_list ap;

	if (level > log_max)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	escape(safe, sizeof(safe), text);
	now = clock_wall_usec();
	n = snprintf(line, sizeof(line), "t=%llu.%06llu prog=%.64s pid=%d level=%s msg=\"%s\"\n",
		     (unsigned long long)(now / USEC_PER_SEC),
		     (unsigned long long)(now % USEC_PER_SEC), log_program, (int)getpid(),
		     names[level], safe);
	if (n > 0 && write(STDERR_FILENO, line, (size_t)n) < 0)
		errno = saved; /* nobody reads the log: there is nobody to tell */
	errno = saved;
}
