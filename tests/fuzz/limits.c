/* tests/fuzz/limits.c - limits as an object and as texts; input: JSON, or NAME=VALUE */
#include "lib/base/jsonx.h"
#include "lib/base/own.h"
#include "lib/model/limits.h"
#include "tests/fuzz/fuzz.h"

/* What is in range is printed as it is read. */
static void check_value(enum limit_id id, uint64_t v)
{
	const struct limit_def *d = &limit_defs[id];
	struct cos_err err = { 0 };
	uint64_t again = ~v;
	char buf[80];

	check(v == LIMIT_MAX || (v >= d->min && v <= d->max));
	check(limit_parse(id, limit_print(id, v, buf), d->name, &again, &err) == 0 && again == v);
	check(limit_range(id, buf)[0] != '\0');
}

static void run_text(char *text)
{
	char *eq = strchr(text, '=');
	struct cos_err err = { 0 };
	enum limit_id id;
	uint64_t v = 1;
	int r;

	if (!eq)
		return;
	*eq = '\0';
	id = limit_find(text);
	if (id == LIMIT__N)
		return;
	check(strcmp(limit_defs[id].name, text) == 0);
	r = limit_parse(id, eq + 1, text, &v, &err);
	if (r < 0)
		check_failure(r, &err);
	else
		check_value(id, v);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_free char *text = strndup((const char *)data, size);
	auto_json json_t *doc = NULL;
	struct cos_err err = { 0 };
	struct limits l;
	int r;

	if (!text)
		return 0;
	limits_init(&l);
	r = jsonx_parse(text, strlen(text), "input", &doc, &err);
	if (r < 0) {
		run_text(text);
		return 0;
	}
	r = limits_parse(&l, doc, "/limits", &err);
	if (r < 0)
		check_failure(r, &err);
	for (enum limit_id id = 0; id < LIMIT__N && r == 0; id++) {
		if (l.set[id])
			check_value(id, l.v[id]);
	}
	return 0;
}
