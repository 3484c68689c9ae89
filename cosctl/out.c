/* cosctl/out.c - rows as a table for people, as JSON, CSV or names for programs */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cosctl/cosctl.h"
#include "lib/base/clock.h"
#include "lib/base/own.h"

#define CELL 4096 /* more than any text that the daemon tells */

char *out_bytes(uint64_t v, char *buf)
{
	static const char units[] = "BKMGTP";
	unsigned u = 0;
	double d = (double)v;

	for (; d >= 1024 && u + 2 < sizeof(units); u++)
		d /= 1024;
	snprintf(buf, 32, u ? "%.1f%c" : "%.0f%c", d, units[u]);
	return buf;
}

char *out_age(uint64_t usec, char *buf)
{
	uint64_t s = usec / USEC_PER_SEC;

	if (s < 60)
		snprintf(buf, 32, "%" PRIu64 "s", s);
	else if (s < 3600)
		snprintf(buf, 32, "%" PRIu64 "m%02" PRIu64 "s", s / 60, s % 60);
	else if (s < 86400)
		snprintf(buf, 32, "%" PRIu64 "h%02" PRIu64 "m", s / 3600, s / 60 % 60);
	else
		snprintf(buf, 32, "%" PRIu64 "d%02" PRIu64 "h", s / 86400, s / 3600 % 24);
	return buf;
}

/* A value as it is, without units: for CSV and filters. */
static void raw(json_t *v, char *buf)
{
	if (json_is_string(v))
		snprintf(buf, CELL, "%s", json_string_value(v));
	else if (json_is_integer(v))
		snprintf(buf, CELL, "%" JSON_INTEGER_FORMAT, json_integer_value(v));
	else if (json_is_real(v))
		snprintf(buf, CELL, "%.2f", json_real_value(v));
	else if (json_is_boolean(v))
		snprintf(buf, CELL, "%s", json_is_true(v) ? "true" : "false");
	else
		buf[0] = '\0';
}

static void pretty(json_t *v, enum column_kind kind, char *buf)
{
	uint64_t n = (uint64_t)json_integer_value(v);

	if (!v || !json_is_integer(v)) {
		raw(v, buf);
		if (!buf[0])
			strcpy(buf, "-");
		return;
	}
	switch (kind) {
	case COL_BYTES:
	case COL_RARE_BYTES:
		out_bytes(n, buf);
		break;
	case COL_USEC:
		snprintf(buf, CELL, "%.3fs", (double)n / USEC_PER_SEC);
		break;
	case COL_AGE:
		out_age(clock_wall_usec() > n ? clock_wall_usec() - n : 0, buf);
		break;
	case COL_TEXT:
	case COL_RARE:
	case COL_COUNT:
		raw(v, buf);
		break;
	}
}

static bool matches(const struct args *a, json_t *row)
{
	for (unsigned i = 0; i < a->n_many; i++) {
		const char *eq = strchr(a->many[i], '=');
		char key[64], value[CELL];

		if (a->many_of[i] != 'f')
			continue;
		snprintf(key, sizeof(key), "%.*s", eq ? (int)(eq - a->many[i]) : 0, a->many[i]);
		raw(json_object_get(row, key), value);
		if (!eq || strcmp(value, eq + 1) != 0)
			return false;
	}
	return true;
}

static bool any_has(json_t *rows, const char *key)
{
	json_t *row;
	size_t i;

	json_array_foreach(rows, i, row) {
		if (json_object_get(row, key))
			return true;
	}
	return false;
}

/* Those of COLS that the table shows; returns their number. */
static unsigned choose(json_t *rows, const struct column *cols, unsigned n,
		       const struct column **ret)
{
	unsigned shown = 0;

	for (unsigned c = 0; c < n; c++) {
		bool rare = cols[c].kind == COL_RARE || cols[c].kind == COL_RARE_BYTES;

		if (!rare || any_has(rows, cols[c].key))
			ret[shown++] = &cols[c];
	}
	return shown;
}

static void print_table(const struct args *a, json_t *rows, const struct column *all, unsigned n)
{
	auto_free const struct column **cols = calloc(n, sizeof(const struct column *));
	auto_free size_t *width = calloc(n, sizeof(*width));
	char cell[CELL];
	json_t *row;
	size_t i;

	if (!width || !cols)
		exit(1);
	n = choose(rows, all, n, cols);
	for (unsigned c = 0; c < n; c++)
		width[c] = a->value['N'] ? 1 : strlen(cols[c]->title);
	json_array_foreach(rows, i, row) {
		for (unsigned c = 0; c < n; c++) {
			pretty(json_object_get(row, cols[c]->key), cols[c]->kind, cell);
			if (strlen(cell) > width[c])
				width[c] = strlen(cell);
		}
	}
	for (unsigned c = 0; c < n && !a->value['N']; c++)
		printf("%-*s%s", c + 1 < n ? (int)width[c] : 0, cols[c]->title,
		       c + 1 < n ? "  " : "\n");
	json_array_foreach(rows, i, row) {
		for (unsigned c = 0; c < n; c++) {
			pretty(json_object_get(row, cols[c]->key), cols[c]->kind, cell);
			printf("%-*s%s", c + 1 < n ? (int)width[c] : 0, cell,
			       c + 1 < n ? "  " : "\n");
		}
	}
}

static void print_csv_cell(const char *s)
{
	if (!strpbrk(s, "\",\n")) {
		fputs(s, stdout);
		return;
	}
	putchar('"');
	for (; *s; s++) {
		if (*s == '"')
			putchar('"');
		putchar(*s);
	}
	putchar('"');
}

static void print_csv(const struct args *a, json_t *rows, const struct column *cols, unsigned n)
{
	char cell[CELL];
	json_t *row;
	size_t i;

	for (unsigned c = 0; c < n && !a->value['N']; c++)
		printf("%s%s", cols[c].key, c + 1 < n ? "," : "\n");
	json_array_foreach(rows, i, row) {
		for (unsigned c = 0; c < n; c++) {
			raw(json_object_get(row, cols[c].key), cell);
			print_csv_cell(cell);
			putchar(c + 1 < n ? ',' : '\n');
		}
	}
}

void out_json(json_t *doc)
{
	json_object_set_new(doc, "schema", json_integer(1));
	json_dumpf(doc, stdout, JSON_INDENT(1) | JSON_SORT_KEYS);
	putchar('\n');
}

void out_rows(const struct args *a, json_t *rows, const char *key, const struct column *cols,
	      unsigned n)
{
	auto_json json_t *kept = json_array();
	json_t *row;
	size_t i;

	json_array_foreach(rows, i, row) {
		if (matches(a, row))
			json_array_append(kept, row);
	}
	switch (a->format) {
	case OUT_TABLE:
		print_table(a, kept, cols, n);
		break;
	case OUT_CSV:
		print_csv(a, kept, cols, n);
		break;
	case OUT_NAME:
		json_array_foreach(kept, i, row)
			printf("%s\n", json_string_value(json_object_get(row, cols[0].key)) ?: "");
		break;
	case OUT_JSON: {
		auto_json json_t *doc = json_pack("{s:O}", key, kept);

		out_json(doc);
		break;
	}
	}
}

/* Nothing of NAME came with the others. */
static int ask_about(const struct args *a, const char *method, const char *name, json_t *kept)
{
	auto_json json_t *params = json_pack("{s:s}", "name", name), *answer = NULL;
	struct cos_err err;
	int status;

	if (method) {
		status = talk(a, method, params, &answer, name);
		/* it may have come meanwhile */
		json_array_extend(kept, json_object_get(answer, "guests"));
		return status;
	}
	cos_fail(&err, COS_E_NO_GUEST, 0, "there is no guest named %s here", name);
	return say_error(a, name, &err);
}

int out_only_names(const struct args *a, const char *method, json_t **rows)
{
	char **names = NULL;
	unsigned n = 0;
	json_t *kept, *row;
	struct cos_err err;
	size_t i;
	int status = 0;

	if (a->argc == 0)
		return 0;
	if (names_expand(a->argv, a->argc, &names, &n, &err) < 0)
		return say_error(a, NULL, &err);
	kept = json_array();
	for (unsigned k = 0; k < n; k++) {
		bool found = false;

		json_array_foreach(*rows, i, row) {
			if (strcmp(json_string_value(json_object_get(row, "name")) ?: "",
				   names[k]) == 0) {
				json_array_append(kept, row);
				found = true;
			}
		}
		if (!found) {
			int r = ask_about(a, method, names[k], kept);

			status = status ?: r;
		}
	}
	names_free(names, n);
	json_decref(*rows);
	*rows = kept;
	return status;
}
