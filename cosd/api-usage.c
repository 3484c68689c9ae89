/* cosd/api-usage.c - calls about usage: what the ledger has, and what counters stand at now */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "cosd/api.h"
#include "cosd/guest.h"
#include "cosd/job-group.h"
#include "cosd/meter.h"
#include "lib/base/clock.h"
#include "lib/base/jsonx.h"
#include "lib/base/own.h"
#include "lib/base/str.h"

struct ask {
	json_t *names;
	uint64_t since, until, step;
	char by[16];
};

static int take_by(const struct ask *ask, struct ledger_query *q, struct cos_err *err)
{
	static const char *const words[] = {
		[LEDGER_BY_GUEST] = "guest",
		[LEDGER_BY_OWNER] = "owner",
		[LEDGER_BY_INTERVAL] = "interval",
		[LEDGER_RECORDS] = "records",
	};

	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		if (strcmp(ask->by, words[i]) == 0) {
			q->by = (enum ledger_by)i;
			return 0;
		}
	}
	return jsonx_bad(err, "/by", "not guest, owner, interval or records");
}

static int take_names(json_t *names, struct ledger_query *q, struct cos_err *err)
{
	json_t *v;
	size_t i;

	if (names && (!json_is_array(names) || json_array_size(names) > LEDGER_NAMES_MAX))
		return jsonx_bad(err, "/names", "not an array of at most %d names",
				 LEDGER_NAMES_MAX);
	json_array_foreach(names, i, v) {
		const char *name = json_string_value(v);

		if (!name || !str_is_name(name)) /* a uuid is of the same letters */
			return jsonx_bad(err, "/names", "element %zu is no name", i);
		str_fmt(q->names[q->n_names++], NAME_SIZE, "%s", name);
	}
	return 0;
}

static int parse(json_t *params, struct ledger_query *q, struct cos_err *err)
{
	static const struct jsonx_field fields[] = {
		{ .name = "names", .type = JSONX_ANY, .offset = offsetof(struct ask, names) },
		{ .name = "since_usec",
		  .type = JSONX_UINT,
		  .offset = offsetof(struct ask, since),
		  .max = INT64_MAX / 2 },
		{ .name = "until_usec",
		  .type = JSONX_UINT,
		  .offset = offsetof(struct ask, until),
		  .max = INT64_MAX / 2 },
		{ .name = "by",
		  .type = JSONX_STR,
		  .offset = offsetof(struct ask, by),
		  .min = 1,
		  .max = 15 },
		{ .name = "step_usec",
		  .type = JSONX_UINT,
		  .offset = offsetof(struct ask, step),
		  .min = USEC_PER_SEC,
		  .max = INT64_MAX / 2 },
	};
	struct ask ask = { .until = INT64_MAX / 2, .step = 60 * USEC_PER_SEC, .by = "guest" };
	int r = jsonx_fill(params, "", fields, ARRAY_SIZE(fields), &ask, err);

	if (r == 0 && ask.since > ask.until)
		return jsonx_bad(err, "/since_usec", "is after until_usec");
	if (r == 0)
		r = take_by(&ask, q, err);
	if (r == 0)
		r = take_names(ask.names, q, err);
	q->since_usec = ask.since;
	q->until_usec = ask.until;
	q->step_usec = ask.step;
	return r;
}

int api_usage_query(struct call *c, json_t *params, struct cos_err *err)
{
	auto_free struct ledger_query *q = calloc(1, sizeof(*q));
	int fds[2], r;

	if (!q)
		return cos_fail(err, COS_E_KERNEL, ENOMEM, "query");
	q->owner = c->root ? -1 : (int64_t)c->uid;
	r = parse(params, q, err);
	if (r < 0)
		return r;
	if (pipe2(fds, O_CLOEXEC) < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "pipe");
	r = meter_link_ask(c->d, q, fds[1], err);
	close(fds[1]);
	if (r < 0)
		close(fds[0]);
	else
		call_reply(c, NULL, &fds[0], 1);
	return r;
}

/* --- metrics --- */

static json_t *metrics_of(const struct guest *g)
{
	struct meter_view v;
	json_t *j;

	if (!meter_view(g, &v))
		return NULL;
	j = json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:I}", "name", g->name, "uuid", g->spec.uuid,
		      "state", guest_state_name[g->state], "owner", (json_int_t)g->spec.owner,
		      "memory_bytes", (json_int_t)v.memory_bytes, "cache_bytes",
		      (json_int_t)v.cache_bytes, "pids", (json_int_t)v.pids);
	if (v.disk_bytes != UINT64_MAX)
		json_object_set_new(j, "disk_bytes", json_integer((json_int_t)v.disk_bytes));
	for (int i = 0; i < METRIC__N; i++) {
		/* one that begins at 0 again until the machine is asked would count twice */
		if (metric_defs[i].kind != METRIC_TOLD || v.value[i])
			json_object_set_new(j, metric_defs[i].key,
					    json_integer((json_int_t)v.value[i]));
	}
	return j;
}

static json_t *daemon_metrics(const struct daemon *d)
{
	uint64_t usec, looks, readings;
	struct background b;
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	job_group_count(d, &b);
	meters_cost(d, &usec, &looks, &readings);
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:s, s:i, s:I, s:I, s:I}", "sampling_usec",
			 (json_int_t)usec, "looks", (json_int_t)looks, "readings",
			 (json_int_t)readings, "cpu_usec",
			 (json_int_t)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000 +
				 u.ru_utime.tv_usec + u.ru_stime.tv_usec,
			 "guests", (json_int_t)d->n_guests, "version", PACKAGE_VERSION,
			 "background_jobs", (int)jobs_background(d), "background_cpu_usec",
			 (json_int_t)b.cpu_usec, "background_read_bytes", (json_int_t)b.read_bytes,
			 "background_write_bytes", (json_int_t)b.write_bytes);
}

int api_host_metrics(struct call *c, json_t *params, struct cos_err *err)
{
	bool all = c->root || (int64_t)c->uid == meters_user(c->d);
	int r = jsonx_fill(params, "", NULL, 0, NULL, err);
	json_t *list, *one;
	struct list *p;

	if (r < 0)
		return r;
	list = json_array();
	list_for_each(p, &c->d->guests) {
		const struct guest *g = list_entry(p, struct guest, link);

		one = all || c->uid == g->spec.owner ? metrics_of(g) : NULL;
		if (one)
			json_array_append_new(list, one);
	}
	call_reply(c, json_pack("{s:o, s:o}", "guests", list, "daemon", daemon_metrics(c->d)), NULL,
		   0);
	return 0;
}
