/* cosctl/cmd-stats.c - what guests use and how they stand to their limits: stats, top, capacity */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cosctl/cosctl.h"
#include "lib/base/clock.h"
#include "lib/base/own.h"
#include "lib/base/str.h"

#define DELAY_MIN_USEC 100000

static const char *text_of(json_t *row, const char *key)
{
	return json_string_value(json_object_get(row, key)) ?: "";
}

/* --- again and again --- */

/* One look; STATE is what the last one left, the callee's to replace. Returns an exit status. */
typedef int look_fn(struct args *a, json_t **state);

static int watch(struct args *a, look_fn *look, bool once)
{
	uint64_t delay = 2 * USEC_PER_SEC, rounds = once ? 1 : UINT64_MAX;
	auto_json json_t *state = NULL;
	int r = 0;

	if ((a->value['D'] && (str_to_usec(a->value['D'], &delay) < 0 || delay < DELAY_MIN_USEC)) ||
	    (a->value['n'] && str_to_u64(a->value['n'], &rounds) < 0))
		return say_usage(a, "--delay takes a time of 0.1 s or more, --iterations a number");
	for (uint64_t i = 0; i < rounds && r == 0; i++) {
		if (i > 0)
			poll(NULL, 0, delay / 1000 < INT_MAX ? (int)(delay / 1000) : INT_MAX);
		if (!once && isatty(STDOUT_FILENO))
			fputs("\033[H\033[J", stdout);
		r = look(a, &state);
		fflush(stdout);
	}
	return r;
}

/* --- stats --- */

static const struct column stat_cols[] = {
	{ "NAME", "name", COL_TEXT },
	{ "STATE", "state", COL_TEXT },
	{ "CPU", "cpu_usec", COL_USEC },
	{ "THROTTLED", "throttled_usec", COL_USEC },
	{ "MEMORY", "memory_bytes", COL_BYTES },
	{ "PEAK", "memory_peak_bytes", COL_BYTES },
	{ "PIDS", "pids", COL_COUNT },
	{ "DISK", "disk_bytes", COL_RARE_BYTES },
	{ "NET OUT", "net_out_bytes", COL_RARE_BYTES },
	{ "NET IN", "net_in_bytes", COL_RARE_BYTES },
};

/* The table's columns are members of one object; those of the network are deeper. */
static void lift_net(json_t *row)
{
	static const char *const streams[] = { "net_out", "net_in" };
	char key[32];

	for (size_t i = 0; i < ARRAY_SIZE(streams); i++) {
		json_t *bytes = json_object_get(json_object_get(row, streams[i]), "bytes");

		str_fmt(key, sizeof(key), "%s_bytes", streams[i]);
		if (bytes)
			json_object_set(row, key, bytes);
	}
}

static const struct column limit_cols[] = {
	{ "NAME", "name", COL_TEXT },        { "RESOURCE", "limit", COL_TEXT },
	{ "HELD", "held", COL_COUNT },       { "MAXHELD", "maxheld", COL_COUNT },
	{ "BARRIER", "barrier", COL_TEXT },  { "LIMIT", "max", COL_TEXT },
	{ "FAILCNT", "failcnt", COL_COUNT },
};

static const struct column pressure_cols[] = {
	{ "NAME", "name", COL_TEXT },          { "RESOURCE", "resource", COL_TEXT },
	{ "SOME10", "some_avg10", COL_TEXT },  { "SOME60", "some_avg60", COL_TEXT },
	{ "SOMETIME", "some_usec", COL_USEC }, { "FULL10", "full_avg10", COL_TEXT },
	{ "FULL60", "full_avg60", COL_TEXT },  { "FULLTIME", "full_usec", COL_USEC },
};

/* One row for each guest and limit, or guest and resource. */
static json_t *flatten(json_t *guests, const char *key)
{
	json_t *rows = json_array(), *g, *e;
	size_t i, k;
	const char *name;

	json_array_foreach(guests, i, g) {
		json_t *from = json_object_get(g, key);

		json_array_foreach(from, k, e) {
			json_object_set(e, "name", json_object_get(g, "name"));
			json_array_append(rows, e);
		}
		json_object_foreach(from, name, e) {
			json_object_set(e, "name", json_object_get(g, "name"));
			json_object_set_new(e, "resource", json_string(name));
			json_array_append(rows, e);
		}
	}
	return rows;
}

static int look_at_stats(struct args *a, json_t **state)
{
	auto_json json_t *params = json_object(), *guests = NULL, *rows = NULL;
	bool limits = a->value['L'] != NULL, pressure = a->value['r'] != NULL;
	json_t *row;
	int r, status;
	size_t i;

	(void)state;
	if (limits)
		json_object_set_new(params, "limits", json_true());
	if (pressure)
		json_object_set_new(params, "pressure", json_true());
	r = talk_rows(a, "io.cos.Guest.Stats", params, "guests", &guests);
	if (r)
		return r;
	status = out_only_names(a, "io.cos.Guest.Stats", &guests);
	if (a->format != OUT_JSON) {
		json_array_foreach(guests, i, row)
			lift_net(row);
	}
	if (limits) {
		rows = flatten(guests, "counters");
		out_rows(a, rows, "limits", limit_cols, ARRAY_SIZE(limit_cols));
	} else if (pressure) {
		rows = flatten(guests, "pressure");
		out_rows(a, rows, "pressure", pressure_cols, ARRAY_SIZE(pressure_cols));
	} else {
		out_rows(a, guests, "guests", stat_cols, ARRAY_SIZE(stat_cols));
	}
	return status;
}

int cmd_stats(struct args *a)
{
	if (a->value['L'] && a->value['r'])
		return say_usage(a, "--limits and --pressure are two tables: take one");
	if (!a->value['W'] && (a->value['D'] || a->value['n']))
		return say_usage(a, "--delay and --iterations need --watch");
	return watch(a, look_at_stats, !a->value['W']);
}

/* --- top --- */

static json_t *row_of(json_t *rows, const char *name)
{
	json_t *row;
	size_t i;

	json_array_foreach(rows, i, row) {
		if (strcmp(text_of(row, "name"), name) == 0)
			return row;
	}
	return NULL;
}

/* The growth of KEY since the look before, in per cent of one CPU; -1 without a look before. */
static double rate_of(json_t *row, json_t *old, const char *key, uint64_t usec)
{
	json_int_t more = json_integer_value(json_object_get(row, key)) -
			  json_integer_value(json_object_get(old, key));

	return old && usec ? 100.0 * (double)more / (double)usec : -1;
}

static void set_rate(json_t *row, const char *key, double rate)
{
	char text[32] = "-";

	if (rate >= 0)
		snprintf(text, sizeof(text), "%.1f%%", rate);
	json_object_set_new(row, key, json_string(text));
}

/* CPU time that is saved, or owed. */
static void set_credit(json_t *row)
{
	json_t *v = json_object_get(row, "cpu_credit_usec");
	char text[32];

	if (!v)
		return;
	snprintf(text, sizeof(text), "%.3fs", (double)json_integer_value(v) / USEC_PER_SEC);
	json_object_set_new(row, "credit", json_string(text));
}

/* Bits per second since the look before; nothing for a guest without a link. */
static void set_bits(json_t *row, json_t *old, const char *key, const char *bytes, uint64_t usec)
{
	double rate = rate_of(row, old, bytes, usec) / 100 * 8; /* per microsecond */
	char text[32] = "-";

	if (!json_object_get(row, bytes))
		return;
	if (rate >= 0)
		snprintf(text, sizeof(text), "%.2fMbit", rate);
	json_object_set_new(row, key, json_string(text));
}

static int by_rate(const void *x, const void *y)
{
	double a = json_real_value(json_object_get(*(json_t *const *)x, "rate"));
	double b = json_real_value(json_object_get(*(json_t *const *)y, "rate"));

	return (a < b) - (a > b);
}

/* The busiest first. */
static json_t *sorted(json_t *rows)
{
	size_t n = json_array_size(rows);
	auto_free json_t **list = calloc(n + 1, sizeof(json_t *));
	json_t *out = json_array();

	if (!list)
		exit(1);
	for (size_t i = 0; i < n; i++)
		list[i] = json_array_get(rows, i);
	qsort(list, n, sizeof(json_t *), by_rate);
	for (size_t i = 0; i < n; i++)
		json_array_append(out, list[i]);
	return out;
}

static int look_at_top(struct args *a, json_t **state)
{
	static const struct column cols[] = {
		{ "NAME", "name", COL_TEXT },
		{ "STATE", "state", COL_TEXT },
		{ "CPU%", "cpu", COL_TEXT },
		{ "HELD%", "held", COL_TEXT },
		{ "CPU", "cpu_usec", COL_USEC },
		{ "CREDIT", "credit", COL_RARE },
		{ "MEMORY", "memory_bytes", COL_BYTES },
		{ "PEAK", "memory_peak_bytes", COL_BYTES },
		{ "PIDS", "pids", COL_COUNT },
		{ "OUT", "out", COL_RARE },
		{ "IN", "in", COL_RARE },
	};
	auto_json json_t *guests = NULL, *rows = NULL;
	json_t *seen = json_object_get(*state, "guests"), *row;
	uint64_t now = clock_usec(), usec;
	size_t i;
	int r = talk_rows(a, "io.cos.Guest.Stats", NULL, "guests", &guests);

	if (r)
		return r;
	usec = now - (uint64_t)json_integer_value(json_object_get(*state, "usec"));
	json_array_foreach(guests, i, row) {
		json_t *old = row_of(seen, text_of(row, "name"));
		double cpu = rate_of(row, old, "cpu_usec", usec);

		json_object_set_new(row, "rate", json_real(cpu));
		set_rate(row, "cpu", cpu);
		set_rate(row, "held", rate_of(row, old, "throttled_usec", usec));
		set_credit(row);
		lift_net(row);
		set_bits(row, old, "out", "net_out_bytes", usec);
		set_bits(row, old, "in", "net_in_bytes", usec);
	}
	rows = sorted(guests);
	out_rows(a, rows, "guests", cols, ARRAY_SIZE(cols));
	json_decref(*state);
	*state = json_pack("{s:O, s:I}", "guests", guests, "usec", (json_int_t)now);
	return 0;
}

int cmd_top(struct args *a)
{
	return watch(a, look_at_top, !isatty(STDOUT_FILENO) && !a->value['n']);
}

/* --- why --- */

static void print_advice(json_t *causes)
{
	json_t *row;
	size_t i;

	json_array_foreach(causes, i, row)
		printf("%s: %s; %s\n", text_of(row, "limit"), text_of(row, "what"),
		       text_of(row, "todo"));
}

static void print_waits(json_t *waits)
{
	json_t *row;
	size_t i;

	json_array_foreach(waits, i, row)
		printf("waited for %s: %.3fs, all of it at once %.3fs; %.1f%% of the last ten seconds\n",
		       text_of(row, "resource"),
		       (double)json_integer_value(json_object_get(row, "some_usec")) / USEC_PER_SEC,
		       (double)json_integer_value(json_object_get(row, "full_usec")) / USEC_PER_SEC,
		       json_number_value(json_object_get(row, "some_avg10")));
}

int cmd_why(struct args *a)
{
	static const struct column cols[] = {
		{ "LIMIT", "limit", COL_TEXT },   { "MAX", "max", COL_TEXT },
		{ "TIMES", "times", COL_COUNT },  { "FOR", "usec", COL_USEC },
		{ "LAST", "last_usec", COL_AGE }, { "NOW", "now", COL_TEXT },
	};
	auto_json json_t *params = NULL, *answer = NULL;
	json_t *causes;
	int r;

	if (a->argc != 1)
		return say_usage(a, "one name is needed");
	params = json_pack("{s:s}", "name", a->argv[0]);
	r = talk(a, "io.cos.Guest.Why", params, &answer, a->argv[0]);
	if (r)
		return r;
	causes = json_object_get(answer, "causes");
	if (a->format == OUT_JSON) {
		out_json(answer);
		return 0;
	}
	if (a->format == OUT_TABLE)
		printf("%s is %s%s%s\n", a->argv[0], text_of(answer, "state"),
		       text_of(answer, "reason")[0] ? ": " : "", text_of(answer, "reason"));
	if (json_array_size(causes))
		out_rows(a, causes, "causes", cols, ARRAY_SIZE(cols));
	else if (a->format == OUT_TABLE)
		printf("no limit held it back since it was started\n");
	if (a->format == OUT_TABLE) {
		print_advice(causes);
		print_waits(json_object_get(answer, "waits"));
	}
	return 0;
}

/* --- capacity --- */

static void set_amount(json_t *row, const char *key)
{
	json_t *v = json_object_get(row, key);
	const char *unit = text_of(row, "unit");
	uint64_t n = (uint64_t)json_integer_value(v);
	char text[40];

	if (!v)
		return;
	if (strcmp(unit, "bytes") == 0)
		out_bytes(n, text);
	else if (strcmp(unit, "mcpu") == 0)
		snprintf(text, sizeof(text), "%.2f", (double)n / 1000);
	else if (strcmp(unit, "bits") == 0)
		str_from_bits(text, n);
	else
		return;
	json_object_set_new(row, key, json_string(text));
}

static void print_pinned(json_t *answer)
{
	json_t *row;
	size_t i;

	printf("\nCPUs %s, shared by guests that name none: %s\n", text_of(answer, "cpus"),
	       text_of(answer, "shared_cpus"));
	json_array_foreach(json_object_get(answer, "pinned"), i, row)
		printf("CPUs %s %s %s\n", text_of(row, "cpus"),
		       json_is_true(json_object_get(row, "dedicated")) ? "dedicated to" : "used by",
		       text_of(row, "guest"));
}

int cmd_capacity(struct args *a)
{
	static const struct column cols[] = {
		{ "RESOURCE", "resource", COL_TEXT },  { "TOTAL", "total", COL_COUNT },
		{ "LIMIT", "limit", COL_COUNT },       { "RESERVED", "reserved", COL_COUNT },
		{ "PROMISED", "promised", COL_COUNT }, { "USED", "used", COL_COUNT },
	};
	static const char *const amounts[] = { "total", "limit", "reserved", "promised", "used" };
	auto_json json_t *params = json_object(), *answer = NULL;
	int r = a->argc ? say_usage(a, "takes no name")
			: talk(a, "io.cos.Host.Capacity", params, &answer, NULL);
	json_t *rows, *row;
	size_t i;

	if (r)
		return r;
	if (a->format == OUT_JSON) {
		out_json(answer);
		return 0;
	}
	rows = json_object_get(answer, "resources");
	json_array_foreach(rows, i, row) {
		for (size_t k = 0; k < ARRAY_SIZE(amounts) && a->format == OUT_TABLE; k++)
			set_amount(row, amounts[k]);
	}
	out_rows(a, rows, "resources", cols, ARRAY_SIZE(cols));
	if (a->format == OUT_TABLE)
		print_pinned(answer);
	return 0;
}
