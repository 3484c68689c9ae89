/* tests/fuzz/limits.c - limits as an object and as texts; input: JSON, or NAME=VALUE */
#include "lib/base/jsonx.h"
#include "lib/base/own.h"
#include "lib/model/limits.h"
#include "tests/fuzz/fuzz.h"

/* What is in range is printed as it is read, and the kernel's texts are made of it. */
static void check_value(enum limit_id id, const struct limits *l)
{
	const struct limit_def *d = &limit_defs[id];
	struct cos_err err = { 0 };
	struct limits again = { 0 };
	char buf[LIMIT_TEXT_SIZE], text[KNOB_TEXT_SIZE];

	check(l->v[id] == LIMIT_MAX || (l->v[id] >= d->min && l->v[id] <= d->max));
	check(limit_parse(&again, id, limit_text(l, id, buf), d->name, &err) == 0 &&
	      again.v[id] == l->v[id]);
	for (unsigned i = 0; i < n_knobs; i++) {
		const struct knob_host h = { knobs[i].version, "0-3", "8:0" };

		knobs[i].text(text, knobs[i].limit, l, &h);
		check(strlen(text) < sizeof(text));
	}
	check(limit_range(id, buf)[0] != '\0');
}

static void run_text(char *text)
{
	char *eq = strchr(text, '=');
	struct cos_err err = { 0 };
	enum limit_id id;
	struct limits l;
	int r;

	if (!eq)
		return;
	*eq = '\0';
	id = limit_find(text);
	if (id == LIMIT__N)
		return;
	check(strcmp(limit_defs[id].name, text) == 0);
	limits_init(&l);
	r = limit_parse(&l, id, eq + 1, text, &err);
	if (r < 0)
		check_failure(r, &err);
	else
		check_value(id, &l);
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
	if (r == 0)
		r = limits_check(&l, "/limits", &err);
	if (r < 0)
		check_failure(r, &err);
	for (enum limit_id id = 0; id < LIMIT__N && r == 0; id++) {
		if (l.set[id])
			check_value(id, &l);
	}
	return 0;
}
