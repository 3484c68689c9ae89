/* cosctl/cmd-pool.c - clones, and what guests' files share: unification, garbage, damage */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cosctl/cosctl.h"
#include "lib/base/own.h"
#include "lib/base/str.h"

static json_int_t count(json_t *j, const char *key)
{
	return json_integer_value(json_object_get(j, key));
}

/* ---- clone ---- */

static int clone(struct args *a, const char *from, const char *to)
{
	auto_json json_t *params = json_pack("{s:s, s:s}", "from", from, "name", to);
	auto_json json_t *answer = NULL;
	json_t *w;
	size_t i;
	int r;

	if (!params)
		return say_usage(a, "the name is not valid UTF-8");
	r = talk(a, "io.cos.Guest.Clone", params, &answer, to);
	json_array_foreach(json_object_get(answer, "warnings"), i, w)
		fprintf(stderr, "cosctl: %s: %s\n", to, json_string_value(w));
	return r;
}

/* One after the other: each holds the files of the one that they are made of. */
int cmd_clone(struct args *a)
{
	struct cos_err err;
	char **to = NULL;
	unsigned n = 0;
	int status = 0;

	if (a->argc < 2)
		return say_usage(a, "clone takes a guest and names of new ones");
	if (names_expand(a->argv + 1, a->argc - 1, &to, &n, &err) < 0)
		return say_error(a, NULL, &err);
	for (unsigned i = 0; i < n; i++) {
		int r = clone(a, a->argv[0], to[i]);

		status = status ?: r;
	}
	names_free(to, n);
	return status;
}

/* ---- unify ---- */

static int unify(struct args *a, const char *name, json_t *rows)
{
	auto_json json_t *params =
		json_pack("{s:s, s:b}", "name", name, "dry_run", a->value['c'] != NULL);
	auto_json json_t *answer = NULL, *row = NULL;
	int r;

	if (!params)
		return say_usage(a, "the name is not valid UTF-8");
	r = talk_long(a, "io.cos.Guest.Unify", params, -1, &answer, name);
	if (r)
		return r;
	row = json_pack("{s:s}", "name", name);
	json_object_update(row, json_object_get(answer, "unified"));
	json_object_set_new(row, "saved_bytes",
			    json_integer(count(row, "freed_bytes") - count(row, "added_bytes")));
	return json_array_append(rows, row) < 0;
}

static void print_sum(const struct args *a, json_t *rows)
{
	json_int_t files = 0, freed = 0, added = 0;
	char f[32], s[32];
	json_t *row;
	size_t i;

	if (a->format != OUT_TABLE || json_array_size(rows) < 2)
		return;
	json_array_foreach(rows, i, row) {
		files += count(row, "swapped");
		freed += count(row, "freed_bytes");
		added += count(row, "added_bytes");
	}
	printf("%" JSON_INTEGER_FORMAT " files, %s freed, %s stored\n", files,
	       out_bytes((uint64_t)freed, f), out_bytes((uint64_t)added, s));
}

/* All guests that can be unified: those that stand on a template, and are not on their way. */
static int all_names(const struct args *a, char ***ret, unsigned *ret_n)
{
	static const char *const states[] = { "defined", "failed", "running", NULL };
	auto_json json_t *guests = NULL;
	json_t *g;
	size_t i;
	int r = talk_rows(a, "io.cos.Guest.List", NULL, "guests", &guests);

	if (r)
		return r;
	*ret = calloc(json_array_size(guests) + 1, sizeof(**ret));
	json_array_foreach(guests, i, g) {
		if (*ret && talk_state_is(g, states) && json_object_get(g, "template"))
			(*ret)[(*ret_n)++] =
				strdup(json_string_value(json_object_get(g, "name")) ?: "");
	}
	return 0;
}

int cmd_unify(struct args *a)
{
	static const struct column cols[] = {
		{ "NAME", "name", COL_TEXT },          { "FILES", "swapped", COL_COUNT },
		{ "FREED", "freed_bytes", COL_BYTES }, { "STORED", "added_bytes", COL_BYTES },
		{ "BUSY", "busy", COL_COUNT },         { "LEFT-OUT", "unable", COL_COUNT },
		{ "FROZEN", "frozen_usec", COL_USEC },
	};
	auto_json json_t *rows = json_array();
	char **names = NULL;
	unsigned n = 0;
	int status;

	status = a->value['a'] && a->argc == 0 ? all_names(a, &names, &n)
					       : talk_names(a, NULL, &names, &n);
	if (status)
		return status;
	for (unsigned i = 0; i < n; i++) {
		int r = unify(a, names[i], rows);

		status = status ?: r;
	}
	names_free(names, n);
	if (json_array_size(rows) > 0)
		out_rows(a, rows, "guests", cols, ARRAY_SIZE(cols));
	print_sum(a, rows);
	return status;
}

/* ---- gc, scrub ---- */

int cmd_gc(struct args *a)
{
	auto_json json_t *params = json_pack("{s:b}", "dry_run", a->value['c'] != NULL);
	auto_json json_t *answer = NULL;
	uint64_t grace = 0;
	char removed[32], all[32];
	json_t *n;
	int r;

	if (a->argc > 0)
		return say_usage(a, "gc takes no names");
	if (a->value['Y'] && str_to_usec(a->value['Y'], &grace) < 0)
		return say_usage(a, "--grace takes a time, such as 30m");
	if (a->value['Y'])
		json_object_set_new(params, "grace", json_integer((json_int_t)(grace / 1000000)));
	r = talk(a, "io.cos.Host.Gc", params, &answer, NULL);
	if (r)
		return r;
	n = json_object_get(answer, "collected");
	if (a->format == OUT_JSON) {
		out_json(answer);
		return 0;
	}
	printf("%" JSON_INTEGER_FORMAT " of %" JSON_INTEGER_FORMAT
	       " stored files %s, %s of %s; %" JSON_INTEGER_FORMAT
	       " more are not needed, but too young\n",
	       count(n, "removed"), count(n, "objects"),
	       a->value['c'] ? "would be removed" : "removed",
	       out_bytes((uint64_t)count(n, "freed_bytes"), removed),
	       out_bytes((uint64_t)count(n, "bytes"), all), count(n, "young"));
	return 0;
}

int cmd_scrub(struct args *a)
{
	auto_json json_t *params = json_pack("{s:b}", "dry_run", a->value['c'] != NULL);
	auto_json json_t *answer = NULL;
	char read[32];
	json_t *n, *f;
	size_t i;
	int r;

	if (a->argc > 0)
		return say_usage(a, "scrub takes no names");
	r = talk_long(a, "io.cos.Host.Scrub", params, -1, &answer, NULL);
	if (r)
		return r;
	n = json_object_get(answer, "scrubbed");
	r = count(n, "bad") > 0;
	if (a->format == OUT_JSON) {
		out_json(answer);
		return r;
	}
	json_array_foreach(json_object_get(answer, "found"), i, f)
		printf("%s %s\n", json_string_value(json_object_get(f, "object")),
		       json_string_value(json_object_get(f, "what")));
	printf("%" JSON_INTEGER_FORMAT " stored files, %s: %" JSON_INTEGER_FORMAT
	       " damaged, %" JSON_INTEGER_FORMAT " repaired, %" JSON_INTEGER_FORMAT " put aside\n",
	       count(n, "objects"), out_bytes((uint64_t)count(n, "bytes"), read), count(n, "bad"),
	       count(n, "repaired"), count(n, "quarantined"));
	return r;
}
