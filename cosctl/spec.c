/* cosctl/spec.c - arguments to a specification, by the tables of lib/model */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "cosctl/spec.h"
#include "lib/base/io.h"
#include "lib/base/jsonx.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "lib/model/spec.h"

#define KEY_SIZE 64

/* Returns the value. */
static const char *split(const char *word, char key[KEY_SIZE], struct cos_err *err)
{
	const char *eq = strchr(word, '=');

	if (eq && str_fmt(key, KEY_SIZE, "%.*s", (int)(eq - word), word))
		return eq + 1;
	cos_fail(err, COS_E_INVALID, 0, "%.80s: not of the form KEY=VALUE",
		 str_is_text(word, 4096) ? word : "(unprintable)");
	return NULL;
}

/* Adds KEY=VALUE to SPEC. */
static int add_word(json_t *spec, const char *word, struct cos_err *err)
{
	char key[KEY_SIZE];
	const char *value = split(word, key, err);

	return value ? spec_set_text(spec, key, value, err) : -EINVAL;
}

int spec_change_word(json_t *change, const char *word, struct cos_err *err)
{
	char key[KEY_SIZE];
	const char *value = split(word, key, err);

	if (!value)
		return -EINVAL;
	return value[0] ? spec_set_text(change, key, value, err)
			: spec_unset_text(change, key, err);
}

json_t *args_to_json(char *const *argv, int n, struct cos_err *err)
{
	json_t *list = json_array();

	for (int i = 0; i < n; i++) {
		json_t *s = json_string(argv[i]);

		if (!s || json_array_append_new(list, s) < 0) {
			cos_fail(err, COS_E_INVALID, 0, "argument %d is not valid UTF-8", i);
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

int env_from_args(const struct args *a, json_t *obj, struct cos_err *err)
{
	json_t *env = json_object_get(obj, "env");

	for (unsigned i = 0; i < a->n_many; i++) {
		const char *eq = strchr(a->many[i], '=');
		char name[257];
		json_t *v;

		if (a->many_of[i] != 'E')
			continue;
		if (!env) {
			env = json_object();
			json_object_set_new(obj, "env", env);
		}
		if (!eq || !str_fmt(name, sizeof(name), "%.*s", (int)(eq - a->many[i]), a->many[i]))
			return cos_fail(err, COS_E_INVALID, 0, "--env takes NAME=VALUE");
		v = json_string(eq + 1);
		if (!v || json_object_set_new(env, name, v) < 0)
			return cos_fail(err, COS_E_INVALID, 0, "--env %s is not valid UTF-8", name);
	}
	return 0;
}

/* Paths on the command line are the user's, relative to where they are; the daemon wants them
 * whole. */
static json_t *absolute(const char *path)
{
	auto_free char *full = realpath(path, NULL);

	return json_string(full ?: path);
}

static int add_bind(json_t *spec, const char *text, struct cos_err *err)
{
	auto_free char *copy = strdup(text);
	char *target = copy ? strchr(copy, ':') : NULL,
	     *mode = target ? strchr(target + 1, ':') : NULL;
	json_t *binds = json_object_get(spec, "binds"), *one;

	if (mode)
		*mode++ = '\0';
	if (!target || (mode && strcmp(mode, "ro") != 0 && strcmp(mode, "rw") != 0))
		return cos_fail(err, COS_E_INVALID, 0, "--bind takes SOURCE:TARGET[:ro], not %.80s",
				text);
	*target++ = '\0';
	if (!binds) {
		binds = json_array();
		json_object_set_new(spec, "binds", binds);
	}
	one = json_pack("{s:o, s:s, s:b}", "source", absolute(copy), "target", target, "readonly",
			mode && strcmp(mode, "ro") == 0);
	return one && json_array_append_new(binds, one) == 0
		       ? 0
		       : cos_fail(err, COS_E_INVALID, 0, "--bind %.80s is not valid UTF-8", text);
}

static int add_many(struct args *a, json_t *spec, struct cos_err *err)
{
	for (unsigned i = 0; i < a->n_many; i++) {
		json_t *profiles = json_object_get(spec, "profiles");
		int r = 0;

		if (a->many_of[i] == 'B') {
			r = add_bind(spec, a->many[i], err);
		} else if (a->many_of[i] == 'p') {
			if (!profiles) {
				profiles = json_array();
				json_object_set_new(spec, "profiles", profiles);
			}
			json_array_append_new(profiles, json_string(a->many[i]));
		}
		if (r < 0)
			return r;
	}
	return env_from_args(a, spec, err);
}

static int add_options(struct args *a, json_t *spec, struct cos_err *err)
{
	static const struct {
		char letter;
		const char *key;
	} plain[] = { { 'T', "template" }, { 'y', "type" }, { 'j', "vm.cmdline" },
		      { 'u', "user" },     { 'w', "cwd" },  { 'H', "hostname" } },
	  paths[] = { { 'R', "rootfs" }, { 'G', "vm.kernel" }, { 'g', "vm.initrd" } };

	for (size_t i = 0; i < ARRAY_SIZE(plain); i++) {
		const char *v = a->value[(unsigned char)plain[i].letter];
		int r = v ? spec_set_text(spec, plain[i].key, v, err) : 0;

		if (r < 0)
			return r;
	}
	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		const char *v = a->value[(unsigned char)paths[i].letter];

		if (v)
			json_object_set_new(spec, paths[i].key, absolute(v));
	}
	return add_many(a, spec, err);
}

static int load_file(const char *path, json_t **ret, struct cos_err *err)
{
	bool in = strcmp(path, "-") == 0;
	auto_close int fd = in ? -1 : open(path, O_RDONLY | O_CLOEXEC);
	auto_free char *text = NULL;
	auto_json json_t *doc = NULL;
	ssize_t n = fd < 0 && !in ? -errno : io_slurp_fd(in ? 0 : fd, SPEC_BYTES_MAX, &text);
	int r;

	if (n == -E2BIG)
		return cos_fail(err, COS_E_INVALID, 0, "%s: has more than %u KiB", path,
				SPEC_BYTES_MAX / 1024);
	if (n < 0)
		return cos_fail(err, COS_E_INVALID, (int)-n, "read %s", path);
	r = jsonx_parse(text, (size_t)n, path, &doc, err);
	if (r == 0)
		r = spec_check_part(doc, err);
	if (r < 0)
		return jsonx_locate(err, r, path, text, (size_t)n);
	*ret = take_ptr(doc);
	return 0;
}

/* What has a '=' before any '{' is a key; a range may hold none. */
static bool is_key(const char *word)
{
	return strchr(word, '=') != NULL;
}

static int split_words(struct args *a, json_t *spec, char **words, int *ret_n, struct cos_err *err)
{
	int n = 0;

	for (int i = 0; i < a->argc; i++) {
		int r = 0;

		if (is_key(a->argv[i]))
			r = add_word(spec, a->argv[i], err);
		else
			words[n++] = a->argv[i];
		if (r < 0)
			return r;
	}
	*ret_n = n;
	return 0;
}

/* Without a name on the line, the file's own counts. */
static int name_of_file(json_t *spec, char ***ret, unsigned *ret_n, struct cos_err *err)
{
	char *name = (char *)json_string_value(json_object_get(spec, "name"));

	if (!name)
		return cos_fail(err, COS_E_INVALID, 0, "no name given");
	return names_expand(&name, 1, ret, ret_n, err);
}

int spec_from_args(struct args *a, json_t **ret, char ***ret_names, unsigned *ret_n,
		   struct cos_err *err)
{
	auto_json json_t *spec = NULL;
	auto_free char **words = calloc((size_t)a->argc + 1, sizeof(*words));
	json_t *command;
	int n, r = 0;

	if (!words)
		return cos_fail(err, COS_E_KERNEL, ENOMEM, "arguments");
	if (a->value['z'])
		r = load_file(a->value['z'], &spec, err);
	else
		spec = json_object();
	if (r == 0)
		r = add_options(a, spec, err);
	if (r == 0)
		r = split_words(a, spec, words, &n, err);
	if (r == 0 && a->n_rest > 0) {
		command = args_to_json(a->rest, a->n_rest, err);
		r = command ? json_object_set_new(spec, "command", command) : -EINVAL;
	}
	if (r == 0)
		r = spec_check_part(spec, err);
	if (r == 0)
		r = n ? names_expand(words, n, ret_names, ret_n, err)
		      : name_of_file(spec, ret_names, ret_n, err);
	if (r < 0)
		return r;
	*ret = take_ptr(spec);
	return 0;
}
