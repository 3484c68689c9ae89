/* cosctl/cmd-template.c - templates */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cosctl/cosctl.h"
#include "lib/base/own.h"

static int finish(struct args *a, const char *name, json_t *answer)
{
	json_t *warnings = json_object_get(answer, "warnings"), *w;
	char text[32];
	size_t i;

	json_array_foreach(warnings, i, w)
		fprintf(stderr, "cosctl: %s: %s\n", name, json_string_value(w));
	if (!a->value['q'])
		printf("%s: %" JSON_INTEGER_FORMAT " files, %s\n", name,
		       json_integer_value(json_object_get(answer, "files")),
		       out_bytes((uint64_t)json_integer_value(json_object_get(answer, "bytes")),
				 text));
	return 0;
}

static int make(struct args *a, const char *method, json_t *params, int fd, const char *name)
{
	auto_json json_t *answer = NULL;
	int r = talk_long(a, method, params, fd, &answer, name);

	return r ? r : finish(a, name, answer);
}

/* The source is opened here, with the caller's rights: the daemon gets a descriptor, not a path. */
static int import(struct args *a)
{
	auto_json json_t *params = NULL;
	auto_close int fd = -1;
	struct cos_err err;

	if (a->argc != 3)
		return say_usage(a, "import takes a name and a directory or archive");
	fd = open(a->argv[2], O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0) {
		cos_fail(&err, COS_E_IMAGE, errno, "open %s", a->argv[2]);
		return say_error(a, a->argv[1], &err);
	}
	params = json_pack("{s:s}", "name", a->argv[1]);
	if (!params)
		return say_usage(a, "the name is not valid UTF-8");
	return make(a, "io.cos.Template.Import", params, fd, a->argv[1]);
}

static json_t *split(const char *list)
{
	auto_json json_t *packages = json_array();

	while (*list) {
		size_t n = strcspn(list, ",");

		if (json_array_append_new(packages, json_stringn(list, n)) < 0)
			return NULL;
		list += n + (list[n] == ',');
	}
	return take_ptr(packages);
}

static int build(struct args *a)
{
	auto_json json_t *params = NULL;
	const char *name = a->argc == 3 ? a->argv[2] : a->argv[1];

	if (a->argc != 2 && a->argc != 3)
		return say_usage(a, "build takes a kind (busybox or debian) and perhaps a name");
	params = json_pack("{s:s, s:s, s:s*, s:s*, s:o*}", "kind", a->argv[1], "name", name,
			   "suite", a->value['U'], "init", a->value['I'], "include",
			   a->value['i'] ? split(a->value['i']) : NULL);
	if (!params)
		return say_usage(a, "the name is not valid UTF-8");
	return make(a, "io.cos.Template.Build", params, -1, name);
}

static int list(struct args *a)
{
	static const struct column cols[] = {
		{ "NAME", "name", COL_TEXT },     { "FILES", "files", COL_COUNT },
		{ "SIZE", "bytes", COL_BYTES },   { "AGE", "created", COL_AGE },
		{ "SOURCE", "source", COL_TEXT }, { "GUESTS", "users", COL_COUNT },
	};
	auto_json json_t *params = json_object(), *answer = NULL;
	int r = talk(a, "io.cos.Template.List", params, &answer, NULL);

	if (r == 0)
		out_rows(a, json_object_get(answer, "templates"), "templates", cols,
			 ARRAY_SIZE(cols));
	return r;
}

static int delete (struct args *a)
{
	int status = 0;

	if (a->argc < 2)
		return say_usage(a, "delete takes names of templates");
	for (int i = 1; i < a->argc; i++) {
		auto_json json_t *params = json_pack("{s:s}", "name", a->argv[i]);
		int r = params ? talk(a, "io.cos.Template.Delete", params, NULL, a->argv[i])
			       : say_usage(a, "the name is not valid UTF-8");

		status = status ?: r;
	}
	return status;
}

int cmd_template(struct args *a)
{
	static const struct {
		const char *name;
		int (*fn)(struct args *a);
	} verbs[] = {
		{ "import", import }, { "build", build }, { "list", list }, { "delete", delete }
	};

	for (size_t i = 0; a->argc > 0 && i < ARRAY_SIZE(verbs); i++) {
		if (strcmp(a->argv[0], verbs[i].name) == 0)
			return verbs[i].fn(a);
	}
	return say_usage(a, "one of import, build, list, delete is needed");
}
