/* tests/tap.h - all that a test in C needs; automake's driver and prove both read the output */
#pragma once

#include <stdbool.h>
#include <stdio.h>

static unsigned tap_n, tap_failed;

#define ok(cond, ...)                                                                              \
	do {                                                                                       \
		bool ok_ = (cond);                                                                 \
		printf("%sok %u - ", ok_ ? "" : "not ", ++tap_n);                                  \
		printf(__VA_ARGS__);                                                               \
		printf(ok_ ? "\n" : "\n# %s:%d: %s\n", __FILE__, __LINE__, #cond);                 \
		fflush(stdout);                                                                    \
		tap_failed += !ok_;                                                                \
	} while (0)

/* One test that this host cannot run; WHAT names what is missing. */
static inline void tap_skip(const char *name, const char *what)
{
	printf("ok %u - %s # SKIP %s\n", ++tap_n, name, what);
}

static inline int tap_done(void)
{
	printf("1..%u\n", tap_n);
	return tap_failed != 0;
}
