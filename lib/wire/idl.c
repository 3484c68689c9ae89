/* lib/wire/idl.c - the API's description in varlink's language */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/err.h"
#include "lib/base/own.h"
#include "lib/wire/idl.h"
#include "lib/wire/methods.def"

static const struct row {
	const char *interface, *name, *in, *out, *help;
} rows[] = {
#define X(interface, name, fn, flags, in, out, help) { interface, #name, in, out, help },
	COS_METHODS(X)
#undef X
};

json_t *idl_interfaces(void)
{
	json_t *list = json_array();
	const char *last = "";

	json_array_append_new(list, json_string("org.varlink.service"));
	json_array_append_new(list, json_string("io.cos"));
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		if (strcmp(rows[i].interface, last) != 0)
			json_array_append_new(list, json_string(rows[i].interface));
		last = rows[i].interface;
	}
	return list;
}

static void print_service(FILE *out)
{
	fputs("interface org.varlink.service\n\n"
	      "method GetInfo() -> (vendor: string, product: string, version: string, url: string, "
	      "interfaces: []string)\n"
	      "method GetInterfaceDescription(interface: string) -> (description: string)\n\n"
	      "error InterfaceNotFound (interface: string)\n"
	      "error MethodNotFound (method: string)\n"
	      "error InvalidParameter (parameter: string)\n",
	      out);
}

static void print_errors(FILE *out)
{
	for (int c = COS_E_NONE + 1; c < COS_E__N; c++)
		fprintf(out, "error %s (what: string, why: string, todo: string, errno: int)\n",
			cos_err_defs[c].name);
}

char *idl_text(const char *interface)
{
	char *text = NULL;
	bool found = strcmp(interface, "org.varlink.service") == 0;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	if (!out)
		return NULL;
	if (found)
		print_service(out);
	if (strcmp(interface, "io.cos") == 0) {
		fputs("# Errors of all interfaces\ninterface io.cos\n\n", out);
		print_errors(out);
		found = true;
	}
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		if (strcmp(rows[i].interface, interface) != 0)
			continue;
		if (!found)
			fprintf(out, "interface %s\n\n", interface);
		found = true;
		fprintf(out, "# %s\nmethod %s(%s) -> (%s)\n\n", rows[i].help, rows[i].name,
			rows[i].in, rows[i].out);
	}
	fclose(out);
	if (!found) {
		free(text);
		return NULL;
	}
	return text;
}
