/* tests/fuzz/rates.c - a rate card; input: the file */
#include "lib/model/rates.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint64_t values[] = { 0, 1, 999, 3600000000, INT64_MAX };
	struct rates rates = { .currency = "none" };
	struct cos_err err = { 0 };
	char text[RATES_TEXT_SIZE];
	uint64_t back, sum = 0;
	int r = rates_parse((const char *)data, size, "card", &rates, &err);

	if (r < 0) {
		check_failure(r, &err);
		check(strcmp(rates.currency, "none") == 0);
		return 0;
	}
	check(str_is_text(rates.currency, 8) && rates.currency[0]);
	for (enum metric_id id = 0; id < METRIC__N; id++) {
		check(rates.has[id] || rates.nano[id] == 0);
		/* a price reads back as what it is */
		check(rates_price(rates_text(rates.nano[id], text), &back) == 0 &&
		      back == rates.nano[id]);
		for (size_t i = 0; i < sizeof(values) / sizeof(*values); i++) {
			uint64_t cost = rates_cost(&rates, id, values[i]);

			check(rates.nano[id] || cost == 0);
			check(i == 0 || cost >= rates_cost(&rates, id, values[i - 1]));
			check(rates_sum(sum, cost) >= sum);
			sum = rates_sum(sum, cost);
			check(strlen(rates_units(id, values[i], text)) < RATES_TEXT_SIZE);
		}
	}
	return 0;
}
