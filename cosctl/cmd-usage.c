/* cosctl/cmd-usage.c - what guests used: sums, bills, and whether the ledger is what was written */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cosctl/cosctl.h"
#include "lib/base/clock.h"
#include "lib/base/io.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "lib/model/rates.h"
#include "lib/model/usage.h"

#define STEPS_WANTED 1500

/* --- the question --- */

/* Of the steps that people know the shortest that makes not too many rows. */
static uint64_t fitting_step(uint64_t span_usec)
{
	static const uint64_t steps[] = { 1, 60, 3600, 86400 };
	size_t i = 1;

	while (i + 1 < ARRAY_SIZE(steps) && span_usec / (steps[i] * USEC_PER_SEC) > STEPS_WANTED)
		i++;
	return steps[i] * USEC_PER_SEC;
}

static int put_times(struct args *a, json_t *params)
{
	uint64_t now = clock_wall_usec(), since = 0, until = now, step;

	if ((a->value['S'] && when_parse(a->value['S'], now, &since) < 0) ||
	    (a->value['J'] && when_parse(a->value['J'], now, &until) < 0))
		return say_usage(a, "--since and --until take a time ago (2h, 30d), a date "
				    "(2026-11-21, 2026-11-21T09:30:00Z) or @SECONDS");
	if (since > until)
		return say_usage(a, "--since is after --until");
	step = fitting_step(until - (since ?: until - 86400 * USEC_PER_SEC));
	if (a->value['K'] &&
	    (str_to_usec(a->value['K'], &step) < 0 || step < USEC_PER_SEC || step > INT64_MAX / 2))
		return say_usage(a, "--step takes a time of 1 s or more");
	json_object_set_new(params, "since_usec", json_integer((json_int_t)since));
	if (a->value['J'])
		json_object_set_new(params, "until_usec", json_integer((json_int_t)until));
	json_object_set_new(params, "step_usec", json_integer((json_int_t)step));
	return 0;
}

static int put_names(struct args *a, json_t *params, char ***ret, unsigned *ret_n)
{
	json_t *list = json_array();
	struct cos_err err;

	if (a->argc > 0 && names_expand(a->argv, a->argc, ret, ret_n, &err) < 0) {
		json_decref(list);
		return say_error(a, NULL, &err);
	}
	for (unsigned i = 0; i < *ret_n; i++)
		json_array_append_new(list, json_string((*ret)[i]));
	if (a->argc > 0)
		json_object_set(params, "names", list);
	json_decref(list);
	return 0;
}

/* --- the answer, line by line --- */

typedef int line_fn(json_t *line, void *arg);

static int read_lines(FILE *in, line_fn *fn, void *arg, struct cos_err *err)
{
	auto_free char *line = NULL;
	size_t size = 0;

	while (getline(&line, &size, in) > 0) {
		auto_json json_t *j = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
		const char *error = json_string_value(json_object_get(j, "error"));
		int r;

		if (json_is_true(json_object_get(j, "end")))
			return 0;
		if (error || !json_is_object(j))
			return cos_fail(err, error ? COS_E_KERNEL : COS_E_INTERNAL, 0, "%s",
					error ?: "the ledger's answer is not JSON");
		r = fn(j, arg);
		if (r < 0)
			return cos_fail(err, COS_E_INTERNAL, -r, "a row of the ledger's answer");
	}
	return cos_advise(
		err, cos_fail(err, COS_E_TIMEOUT, 0, "the ledger's answer was cut short"),
		"try again: it took more than a minute, or the daemon was ended meanwhile");
}

static int ask(struct args *a, json_t *params, line_fn *fn, void *arg)
{
	auto_close int pipe = -1;
	struct cos_err err;
	struct client c;
	FILE *in;
	int r = client_open(a->socket, &c, &err);

	if (r < 0)
		return say_error(a, NULL, &err);
	r = client_call(&c, "io.cos.Usage.Query", params, NULL, &err);
	pipe = r < 0 ? -1 : frame_take_fd(&c.in);
	client_close(&c);
	in = pipe < 0 ? NULL : fdopen(pipe, "r");
	if (r >= 0 && !in)
		r = cos_fail(&err, COS_E_INTERNAL, 0, "the daemon sent no stream");
	if (in) {
		(void)take_fd(pipe);
		r = read_lines(in, fn, arg, &err);
		fclose(in);
	}
	return r < 0 ? say_error(a, NULL, &err) : 0;
}

static uint64_t number(json_t *row, const char *key)
{
	json_int_t v = json_integer_value(json_object_get(row, key));

	return v < 0 ? 0 : (uint64_t)v;
}

static const char *text(json_t *row, const char *key)
{
	return json_string_value(json_object_get(row, key)) ?: "";
}

/* --- sums --- */

static void put_when(json_t *row, const char *key, uint64_t usec)
{
	time_t t = (time_t)(usec / USEC_PER_SEC);
	char buf[32];
	struct tm tm;

	strftime(buf, sizeof(buf), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&t, &tm));
	json_object_set_new(row, key, json_string(buf));
}

/* What is easier read than what is counted: what a row is about, the gap in seconds, the mean of
 * memory. */
static int add_row(json_t *row, void *arg)
{
	uint64_t seen = number(row, metric_defs[METRIC_SEEN].key) / USEC_PER_SEC;

	if (json_object_get(row, "bucket_usec"))
		put_when(row, "begin", number(row, "bucket_usec"));
	json_object_set_new(row, "gap_s",
			    json_real((double)number(row, "gap_usec") / USEC_PER_SEC));
	json_object_set_new(
		row, "memory_bytes",
		json_integer((json_int_t)(seen ? number(row, metric_defs[METRIC_MEMORY].key) /
							  seen * 1024
					       : 0)));
	return json_array_append(arg, row);
}

#define HEAD_COLUMNS 4

/* Those without a title are in CSV and JSON alone. */
static const struct column metric_cols[METRIC__N] = {
#define X(id, key, kind, family, label, scale, title, col, unit, per, help)                        \
	[METRIC_##id] = { title, key, col },
	COS_METRICS(X)
#undef X
};

static void print_sums(struct args *a, json_t *rows, const char *by)
{
	struct column cols[HEAD_COLUMNS + 2 + METRIC__N] = { { "NAME", "name", COL_TEXT } };
	unsigned n = 1;

	if (strcmp(by, "owner") == 0)
		cols[0] = (struct column){ "OWNER", "owner", COL_COUNT };
	if (strcmp(by, "interval") == 0)
		cols[0] = (struct column){ "BEGIN", "begin", COL_TEXT };
	if (a->format == OUT_CSV && strcmp(by, "guest") == 0)
		cols[n++] = (struct column){ "UUID", "uuid", COL_TEXT };
	if (a->format == OUT_CSV) {
		cols[n++] = (struct column){ "FROM", "begin_usec", COL_COUNT };
		cols[n++] = (struct column){ "TO", "end_usec", COL_COUNT };
	}
	for (int i = 0; i < METRIC__N; i++) {
		if (metric_cols[i].title[0] || a->format == OUT_CSV)
			cols[n++] = metric_cols[i];
	}
	cols[n++] = (struct column){ "MEMORY", "memory_bytes", COL_BYTES };
	cols[n++] = (struct column){ "GAP", "gap_s", COL_TEXT };
	out_rows(a, rows, "usage", cols, n);
}

/* --- bills --- */

static int load_rates(struct args *a, struct rates *ret)
{
	const char *path = a->value['C'];
	auto_free char *doc = NULL;
	ssize_t n = io_slurp_at(AT_FDCWD, path, RATES_BYTES_MAX, &doc);
	struct cos_err err;
	int r;

	if (n < 0)
		r = cos_fail(&err, COS_E_INVALID, (int)-n, "read %s", path);
	else
		r = rates_parse(doc, (size_t)n, path, ret, &err);
	return r < 0 ? say_error(a, NULL, &err) : 0;
}

static void add_item(json_t *bill, json_t *row, const struct rates *rates, enum metric_id id,
		     uint64_t *sum)
{
	uint64_t value = number(row, metric_defs[id].key), cost = rates_cost(rates, id, value);
	char quantity[RATES_TEXT_SIZE], price[RATES_TEXT_SIZE], amount[RATES_TEXT_SIZE];
	json_t *item = json_copy(row);

	*sum = rates_sum(*sum, cost);
	json_object_clear(item);
	json_object_set(item, "name", json_object_get(row, "name"));
	json_object_set(item, "owner", json_object_get(row, "owner"));
	if (json_object_get(row, "uuid"))
		json_object_set(item, "uuid", json_object_get(row, "uuid"));
	if (json_object_get(row, "begin"))
		json_object_set(item, "begin", json_object_get(row, "begin"));
	json_object_set_new(item, "item", json_string(metric_defs[id].key));
	json_object_set_new(item, "quantity", json_string(rates_units(id, value, quantity)));
	json_object_set_new(item, "unit", json_string(metric_defs[id].unit));
	json_object_set_new(item, "price", json_string(rates_text(rates->nano[id], price)));
	json_object_set_new(item, "amount", json_string(rates_text(cost, amount)));
	json_array_append_new(bill, item);
}

static void print_bill(struct args *a, json_t *rows, const struct rates *rates, const char *by)
{
	struct column cols[] = {
		{ "NAME", "name", COL_TEXT },         { "ITEM", "item", COL_TEXT },
		{ "QUANTITY", "quantity", COL_TEXT }, { "UNIT", "unit", COL_TEXT },
		{ "PRICE", "price", COL_TEXT },       { "AMOUNT", "amount", COL_TEXT },
	};
	auto_json json_t *bill = json_array();
	char amount[RATES_TEXT_SIZE];
	uint64_t sum = 0;
	json_t *row;
	size_t i;

	if (strcmp(by, "owner") == 0)
		cols[0] = (struct column){ "OWNER", "owner", COL_COUNT };
	if (strcmp(by, "interval") == 0)
		cols[0] = (struct column){ "BEGIN", "begin", COL_TEXT };
	json_array_foreach(rows, i, row) {
		for (enum metric_id id = 0; id < METRIC__N; id++) {
			if (rates->has[id])
				add_item(bill, row, rates, id, &sum);
		}
	}
	rates_text(sum, amount);
	if (a->format == OUT_JSON) {
		auto_json json_t *doc = json_pack("{s:O, s:s, s:s}", "bill", bill, "currency",
						  rates->currency, "total", amount);

		out_json(doc);
		return;
	}
	out_rows(a, bill, "bill", cols, ARRAY_SIZE(cols));
	if (a->format == OUT_TABLE)
		printf("\ntotal %s %s\n", amount, rates->currency);
}

/* --- proof --- */

struct verifying {
	struct usage_checker *checker; /* of the guest whose records come */
	json_t *rows;
	struct usage_record last;
	uint64_t n;
	char fault[160];
	bool bad;
};

static bool take_record(json_t *j, struct usage_record *r)
{
	*r = (struct usage_record){ 0 };
	while (r->level < USAGE__LEVELS &&
	       strcmp(text(j, "level"), usage_level_name[r->level]) != 0)
		r->level++;
	if (r->level == USAGE__LEVELS || !usage_unhex(text(j, "prev"), r->prev) ||
	    !usage_unhex(text(j, "hash"), r->hash))
		return false;
	if (r->level != USAGE_INTERVAL &&
	    (!usage_unhex(text(j, "from"), r->from) || !usage_unhex(text(j, "to"), r->to)))
		return false;
	str_fmt(r->uuid, sizeof(r->uuid), "%s", text(j, "uuid"));
	str_fmt(r->name, sizeof(r->name), "%s", text(j, "name"));
	r->owner = number(j, "owner");
	r->number = number(j, "number");
	r->begin_usec = number(j, "begin_usec");
	r->end_usec = number(j, "end_usec");
	r->span_usec = number(j, "span_usec");
	r->gap_usec = number(j, "gap_usec");
	r->first = number(j, "first");
	r->last = number(j, "last");
	for (int i = 0; i < METRIC__N; i++)
		r->value[i] = number(j, metric_defs[i].key);
	return true;
}

static void end_guest(struct verifying *v)
{
	char hex[USAGE_HEX];

	if (!v->checker)
		return;
	if (!v->fault[0] && usage_check_end(v->checker) != USAGE_GOOD)
		str_fmt(v->fault, sizeof(v->fault), "%s begins with records missing", v->last.name);
	json_array_append_new(v->rows, json_pack("{s:s, s:s, s:I, s:s, s:s}", "name", v->last.name,
						 "uuid", v->last.uuid, "records", (json_int_t)v->n,
						 "result", v->fault[0] ? v->fault : "good", "head",
						 usage_hex(v->last.hash, hex)));
	v->bad = v->bad || v->fault[0];
	usage_checker_free(v->checker);
	v->checker = NULL;
	v->fault[0] = '\0';
	v->n = 0;
}

static int verify_line(json_t *line, void *arg)
{
	struct verifying *v = arg;
	struct usage_record r;
	int fault;

	if (!take_record(line, &r))
		return -EPROTO;
	if (v->checker && strcmp(v->last.uuid, r.uuid) != 0)
		end_guest(v);
	if (!v->checker && !(v->checker = usage_checker_new()))
		return -ENOMEM;
	fault = usage_check(v->checker, &r);
	if (fault < 0)
		return fault;
	if (fault != USAGE_GOOD && !v->fault[0])
		str_fmt(v->fault, sizeof(v->fault), "record %s %" PRIu64 " %s",
			usage_level_name[r.level], r.number, usage_fault_text[fault]);
	v->last = r;
	v->n++;
	return 0;
}

static int verify(struct args *a, json_t *params)
{
	static const struct column cols[] = {
		{ "NAME", "name", COL_TEXT },        { "UUID", "uuid", COL_TEXT },
		{ "RECORDS", "records", COL_COUNT }, { "RESULT", "result", COL_TEXT },
		{ "HEAD", "head", COL_TEXT },
	};
	struct verifying v = { .rows = json_array() };
	int r;

	json_object_set_new(params, "by", json_string("records"));
	r = ask(a, params, verify_line, &v);
	if (r == 0) {
		end_guest(&v);
		out_rows(a, v.rows, "chains", cols, ARRAY_SIZE(cols));
	}
	usage_checker_free(v.checker);
	json_decref(v.rows);
	return r ?: v.bad;
}

/* --- the command --- */

/* Names of which the ledger knows nothing; an exit status. */
static int say_unknown(struct args *a, json_t *rows, char **names, unsigned n)
{
	struct cos_err err;
	int status = 0;
	json_t *row;
	size_t i;

	for (unsigned k = 0; k < n; k++) {
		bool found = false;

		json_array_foreach(rows, i, row)
			found = found || strcmp(text(row, "name"), names[k]) == 0 ||
				strcmp(text(row, "uuid"), names[k]) == 0;
		if (found)
			continue;
		cos_fail(&err, COS_E_NO_GUEST, 0, "the ledger has nothing of %s in that time",
			 names[k]);
		status = say_error(a, names[k], &err);
	}
	return status;
}

static int sums(struct args *a, json_t *params, char **names, unsigned n)
{
	const char *by = a->value['b'] ?: "guest";
	auto_json json_t *rows = json_array();
	struct rates rates;
	int r = a->value['C'] ? load_rates(a, &rates) : 0;

	if (r)
		return r;
	json_object_set_new(params, "by", json_string(by));
	r = ask(a, params, add_row, rows);
	if (r)
		return r;
	if (a->value['C'])
		print_bill(a, rows, &rates, by);
	else
		print_sums(a, rows, by);
	return strcmp(by, "guest") == 0 ? say_unknown(a, rows, names, n) : 0;
}

int cmd_usage(struct args *a)
{
	const char *by = a->value['b'] ?: "guest";
	auto_json json_t *params = json_object();
	char **names = NULL;
	unsigned n = 0;
	int r;

	if (strcmp(by, "guest") != 0 && strcmp(by, "owner") != 0 && strcmp(by, "interval") != 0)
		return say_usage(a, "--by takes guest, owner or interval");
	if (a->value['v'] && (a->value['S'] || a->value['J'] || a->value['b'] || a->value['C']))
		return say_usage(a, "--verify looks at whole chains: only names go with it");
	if (a->value['K'] && strcmp(by, "interval") != 0)
		return say_usage(a, "--step needs --by interval");
	r = put_names(a, params, &names, &n);
	if (r == 0 && a->value['v'])
		r = verify(a, params);
	else if (r == 0 && (r = put_times(a, params)) == 0)
		r = sums(a, params, names, n);
	names_free(names, n);
	return r;
}
