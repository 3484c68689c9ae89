/* lib/model/rates.h - a rate card: what a unit of each metric costs; exact decimal arithmetic
 *
 *	{"currency": "EUR", "rates": {"cpu_user_usec": "0.012", "memory_kib_sec": "0.004"}}
 *
 * Keys are those of metrics.def, prices are for one unit of its row (CPU-hour, GiB-hour, ...), as
 * texts, because JSON's numbers are no decimals. What has no price costs nothing. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/model/usage.h"

#define RATES_BYTES_MAX (64U << 10)
#define RATES_NANO      1000000000ULL
#define RATES_TEXT_SIZE 40

struct rates {
	char currency[9];
	bool has[METRIC__N];
	uint64_t nano[METRIC__N]; /* thousand millionths of the currency */
};

/* Strict: unknown keys are errors that name WHERE and the line. */
int rates_parse(const char *text, size_t len, const char *where, struct rates *ret,
		struct cos_err *err);
/* "12.5" to 12500000000; at most nine digits after the point, at most 1000000000. -EINVAL. */
int rates_price(const char *s, uint64_t *ret_nano);
/* What VALUE of the metric ID costs, rounded half up; UINT64_MAX if that does not fit. */
uint64_t rates_cost(const struct rates *r, enum metric_id id, uint64_t value);
/* A sum that does not fit stays at UINT64_MAX. */
uint64_t rates_sum(uint64_t a, uint64_t b);
/* "12.500000": exact, with at least six digits after the point. BUF takes RATES_TEXT_SIZE bytes.
 * Returns BUF. */
char *rates_text(uint64_t nano, char *buf);
/* As many units as VALUE of ID makes, in the same form. */
char *rates_units(enum metric_id id, uint64_t value, char *buf);
