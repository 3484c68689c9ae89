/* tests/fuzz/profile.c - a profile's words; input: JSON with capabilities, devices and seccomp */
#include "lib/base/jsonx.h"
#include "lib/base/own.h"
#include "lib/kern/cap.h"
#include "lib/kern/devbpf.h"
#include "lib/kern/filter.h"
#include "tests/fuzz/fuzz.h"

static void check_devices(json_t *list)
{
	struct dev_rules rules;
	struct cos_err err = { 0 };
	int r = dev_rules_parse(list, "/devices", &rules, &err);

	if (r < 0) {
		check_failure(r, &err);
		return;
	}
	check(rules.n <= DEV_RULES_MAX);
	for (size_t i = 0; i < rules.n; i++)
		check((rules.r[i].type == 'c' || rules.r[i].type == 'b') && rules.r[i].access &&
		      rules.r[i].access < 8);
}

static void check_filter(json_t *words)
{
	struct filter f;
	struct cos_err err = { 0 };
	int r = filter_compile(words, "/seccomp", &f, &err);

	if (r < 0) {
		check_failure(r, &err);
		return;
	}
	check(f.insn && f.n > 0);
	filter_done(&f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_json json_t *doc = NULL;
	struct cos_err err = { 0 };
	const char *caps;
	json_t *v;
	cap_mask mask;
	int r;

	if (jsonx_parse((const char *)data, size, "input", &doc, &err) < 0)
		return 0;
	caps = json_string_value(json_object_get(doc, "capabilities"));
	r = caps ? cap_mask_parse(caps, &mask, &err) : 0;
	if (r < 0)
		check_failure(r, &err);
	if ((v = json_object_get(doc, "devices")))
		check_devices(v);
	if ((v = json_object_get(doc, "seccomp")))
		check_filter(v);
	return 0;
}
