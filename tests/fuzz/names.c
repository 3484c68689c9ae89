/* tests/fuzz/names.c - ranges of names; input: lines, each an argument */
#include "cosctl/cosctl.h"
#include "lib/base/own.h"
#include "tests/fuzz/fuzz.h"

#define ARGS 8

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_free char *text = strndup((const char *)data, size);
	struct cos_err err = { 0 };
	char *argv[ARGS], *save = NULL, **names;
	unsigned n;
	int argc = 0, r;

	for (char *line = text ? strtok_r(text, "\n", &save) : NULL; line && argc < ARGS;
	     line = strtok_r(NULL, "\n", &save))
		argv[argc++] = line;
	r = names_expand(argv, argc, &names, &n, &err);
	if (r < 0) {
		check_failure(r, &err);
		return 0;
	}
	check(n <= NAMES_MAX && n >= (unsigned)argc);
	for (unsigned i = 0; i < n; i++)
		check(str_is_name(names[i]));
	names_free(names, n);
	return 0;
}
