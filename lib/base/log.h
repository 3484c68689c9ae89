/* lib/base/log.h - one line per record, key=value, to stderr */
#pragma once

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* Records above LEVEL are dropped; PROGRAM (kept, not copied) goes into each record. Default:
 * LOG_INFO, "cos". */
void log_open(const char *program, enum log_level level);

/* The formatted text becomes msg="..." with quotes, backslashes, control characters and what is not
 * UTF-8 escaped: what a guest or a client wrote cannot start a line of its own. Keeps errno. */
__attribute__((format(printf, 2, 3))) void log_say(enum log_level level, const char *fmt, ...);
