/* lib/base/str.h - names, numbers with units, bounded formatting; pure functions */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* [a-z0-9][a-z0-9._-]{0,62}: names of guests, templates (without tag) and instances. */
bool str_is_name(const char *s);
/* A template's name: a name, or NAME:TAG with a tag of the same alphabet. */
bool str_is_template(const char *s);
/* No control characters, valid UTF-8, at most MAX bytes. */
bool str_is_text(const char *s, size_t max);
/* Length in bytes of the character that S starts with; 0 if that is the end, a control character or
 * not UTF-8. */
size_t str_char_len(const char *s);
/* Puts '?' in place of each byte that keeps S from being text. */
void str_make_text(char *s);

/* Decimal digits only, no sign, no space; -EINVAL or -ERANGE. */
int str_to_u64(const char *s, uint64_t *ret);
/* Bytes: a number with an optional suffix B K M G T P (powers of 1024, also KiB, MiB, ...). */
int str_to_bytes(const char *s, uint64_t *ret);
/* Bits per second: a number with an optional suffix bit, kbit, Mbit, Gbit (powers of 1000). */
int str_to_bits(const char *s, uint64_t *ret);
/* CPUs: "2", "0.5", "500m", "25%" to thousandths of a CPU. */
int str_to_mcpu(const char *s, uint64_t *ret);
/* Time: "10" (seconds), "1.5s", "200ms", "5us", "2m", "1h", "1d" to microseconds. */
int str_to_usec(const char *s, uint64_t *ret);

/* A whole number of the largest unit that divides V, "0" for 0: reads back to the same value. BUF
 * takes 32 bytes. Returns BUF. */
char *str_from_bytes(char *buf, uint64_t v);
char *str_from_bits(char *buf, uint64_t v);
char *str_from_mcpu(char *buf, uint64_t v);
char *str_from_usec(char *buf, uint64_t v);

/* snprintf() that says whether all fitted. */
__attribute__((format(printf, 3, 4))) bool str_fmt(char *buf, size_t size, const char *fmt, ...);
