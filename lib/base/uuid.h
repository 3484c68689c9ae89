/* lib/base/uuid.h - names that are given once: random UUIDs (RFC 9562, version 4) as text */
#pragma once

#include <stdbool.h>

#define UUID_SIZE 37 /* with its NUL */

/* A new one. 0, or -errno when the kernel has no random bytes. */
int uuid_make(char ret[static UUID_SIZE]);
/* Lower-case hexadecimal digits in the five groups, of any version. */
bool uuid_is(const char *s);
