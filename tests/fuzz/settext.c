/* tests/fuzz/settext.c - KEY=VALUE as the command line has it; input: lines */
#include "lib/base/jsonx.h"
#include "lib/base/own.h"
#include "lib/model/spec.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_free char *text = strndup((const char *)data, size), *dump = NULL;
	auto_json json_t *doc = json_object();
	struct cos_err err = { 0 };
	char *save = NULL;
	struct spec s;
	int r;

	for (char *line = text ? strtok_r(text, "\n", &save) : NULL; line;
	     line = strtok_r(NULL, "\n", &save)) {
		char *eq = strchr(line, '='), name[16];

		if (!eq)
			continue;
		*eq = '\0';
		r = spec_set_text(doc, line, eq + 1, &err);
		if (r < 0)
			check_failure(r, &err);
		r = signal_from_text(eq + 1);
		if (r >= 0)
			check(r > 0 && signal_from_text(signal_to_text(r, name)) == r);
	}
	/* What was taken can be sent. */
	dump = json_dumps(doc, JSON_COMPACT);
	check(dump != NULL);
	r = spec_check_part(doc, &err);
	if (r < 0)
		check_failure(r, &err);
	r = spec_parse(doc, &s, &err);
	if (r < 0)
		check_failure(r, &err);
	else
		spec_done(&s);
	return 0;
}
