/* lib/model/rates.c - a rate card */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/jsonx.h"
#include "lib/base/own.h"
#include "lib/model/rates.h"

#define PRICE_MAX 1000000000ULL

int rates_price(const char *s, uint64_t *ret_nano)
{
	uint64_t whole = 0, part = 0, unit = RATES_NANO;
	const char *p = s;

	if (*p < '0' || *p > '9')
		return -EINVAL;
	for (; *p >= '0' && *p <= '9'; p++) {
		whole = whole * 10 + (uint64_t)(*p - '0');
		if (whole > PRICE_MAX)
			return -EINVAL;
	}
	if (*p == '.') {
		p++;
		if (!*p)
			return -EINVAL;
		for (; *p >= '0' && *p <= '9' && unit > 1; p++) {
			unit /= 10;
			part += (uint64_t)(*p - '0') * unit;
		}
	}
	if (*p || (whole == PRICE_MAX && part))
		return -EINVAL;
	*ret_nano = whole * RATES_NANO + part;
	return 0;
}

struct card {
	char currency[9];
	json_t *rates;
	char note[201];
};

static int take_rates(json_t *obj, struct rates *r, struct cos_err *err)
{
	const char *key;
	json_t *v;

	if (!json_is_object(obj))
		return jsonx_bad(err, "/rates", "not an object");
	json_object_foreach(obj, key, v) {
		enum metric_id id = metric_find(key);
		char at[80];

		snprintf(at, sizeof(at), "/rates/%.60s", key);
		if (id == METRIC__N)
			return cos_advise(err, jsonx_bad(err, at, "is no metric"),
					  "cos-ledger(7) lists the metrics");
		if (!json_is_string(v) || rates_price(json_string_value(v), &r->nano[id]) < 0)
			return jsonx_bad(
				err, at,
				"is not a price such as \"0.012\": a text, at most nine digits "
				"after the point, at most 1000000000");
		r->has[id] = true;
	}
	return 0;
}

int rates_parse(const char *text, size_t len, const char *where, struct rates *ret,
		struct cos_err *err)
{
	static const struct jsonx_field fields[] = {
		{ .name = "currency",
		  .type = JSONX_STR,
		  .offset = offsetof(struct card, currency),
		  .min = 1,
		  .max = 8,
		  .required = true },
		{ .name = "rates",
		  .type = JSONX_ANY,
		  .offset = offsetof(struct card, rates),
		  .required = true },
		{ .name = "note",
		  .type = JSONX_STR,
		  .offset = offsetof(struct card, note),
		  .max = 200 },
	};
	auto_json json_t *doc = NULL;
	struct card card = { 0 };
	struct rates rates = { 0 };
	int r = jsonx_parse(text, len, where, &doc, err);

	if (r < 0)
		return r;
	r = jsonx_fill(doc, "", fields, ARRAY_SIZE(fields), &card, err);
	if (r == 0)
		r = take_rates(card.rates, &rates, err);
	if (r < 0)
		return jsonx_locate(err, r, where, text, len);
	memcpy(rates.currency, card.currency, sizeof(rates.currency));
	*ret = rates;
	return 0;
}

static uint64_t fit(unsigned __int128 v)
{
	return v > UINT64_MAX ? UINT64_MAX : (uint64_t)v;
}

uint64_t rates_cost(const struct rates *r, enum metric_id id, uint64_t value)
{
	uint64_t per = metric_defs[id].per;

	return fit(((unsigned __int128)value * r->nano[id] + per / 2) / per);
}

uint64_t rates_sum(uint64_t a, uint64_t b)
{
	return fit((unsigned __int128)a + b);
}

char *rates_text(uint64_t nano, char *buf)
{
	int n = snprintf(buf, RATES_TEXT_SIZE, "%" PRIu64 ".%09" PRIu64,
			 nano / (uint64_t)RATES_NANO, nano % (uint64_t)RATES_NANO);

	for (int cut = 0; cut < 3 && buf[n - 1] == '0'; cut++)
		buf[--n] = '\0';
	return buf;
}

char *rates_units(enum metric_id id, uint64_t value, char *buf)
{
	uint64_t per = metric_defs[id].per;

	return rates_text(fit(((unsigned __int128)value * RATES_NANO + per / 2) / per), buf);
}
