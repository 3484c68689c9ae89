/* tests/fuzz/spec.c - a guest's specification; input: JSON */
#include "lib/base/jsonx.h"
#include "lib/base/own.h"
#include "lib/model/spec.h"
#include "tests/fuzz/fuzz.h"

/* What the start engine relies on. */
static void check_spec(const struct spec *s)
{
	check(str_is_name(s->name) && !s->template != !s->rootfs);
	check(!s->template || str_is_template(s->template));
	check(!s->rootfs || s->rootfs[0] == '/');
	check(s->hostname && s->hostname[0] && strlen(s->hostname) <= 64);
	check(s->cwd && s->cwd[0] == '/' && s->n_binds <= SPEC_BINDS_MAX);
	check(s->own_init != (json_array_size(s->command) > 0));
	check(json_array_size(s->command) <= SPEC_ARGS_MAX &&
	      json_object_size(s->env) <= SPEC_ENV_MAX);
	for (size_t i = 0; i < json_array_size(s->command); i++)
		check(json_is_string(json_array_get(s->command, i)));
	for (unsigned i = 0; i < s->n_binds; i++)
		check(s->binds[i].source[0] == '/' && s->binds[i].target[0] == '/');
	check(!s->timezone || (s->timezone[0] != '/' && !strstr(s->timezone, "..")));
	check(s->stop_signal > 0 && s->stop_signal <= 64 && s->stop_timeout <= 86400);
	check(s->owner < UINT32_MAX && (!s->ephemeral || s->is_volatile));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_json json_t *doc = NULL, *base = NULL, *all = NULL;
	struct cos_err err = { 0 };
	struct spec s;
	int r, part;

	r = jsonx_parse((const char *)data, size, "input", &doc, &err);
	if (r < 0) {
		check_failure(r, &err);
		return 0;
	}
	part = spec_check_part(doc, &err);
	if (part < 0)
		check_failure(part, &err);
	r = spec_parse(doc, &s, &err);
	if (r < 0) {
		check_failure(r, &err);
	} else {
		check(part == 0);
		check_spec(&s);
		spec_done(&s);
	}
	/* Merged over a profile and read again. */
	base = json_pack("{s:s, s:{s:i}}", "capabilities", "all", "limits", "pids.max", 64);
	if (!base || part < 0 || spec_expand(base, &doc, 1, doc, &all, &err) < 0)
		return 0;
	if (spec_parse(all, &s, &err) == 0) {
		check_spec(&s);
		spec_done(&s);
	}
	return 0;
}
