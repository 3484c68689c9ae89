/* cosd/api-event.c - the event log for clients: what was, and what comes */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "cosd/api.h"
#include "lib/base/io.h"
#include "lib/base/jsonx.h"
#include "lib/base/own.h"

struct follow {
	uint64_t since;
	bool follow;
};

/* Lines are the log's own; a follower's queue is bounded by its connection. */
static void send_file(struct call *c, const char *name, uint64_t since)
{
	auto_free char *text = NULL;
	ssize_t n = io_slurp_at(c->d->state, name, 2 * c->d->conf.events_log_bytes + 65536, &text);

	for (char *line = n > 0 ? text : NULL, *end; line && (end = strchr(line, '\n'));
	     line = end + 1) {
		auto_json json_t *e = json_loadb(line, (size_t)(end - line), 0, NULL);

		if (!e || (uint64_t)json_integer_value(json_object_get(e, "seq")) < since)
			continue;
		if (!call_continue(c, json_pack("{s:O}", "event", e), NULL, 0))
			return;
	}
}

static void follower_gone(struct call *c)
{
	list_del(&c->link);
	call_reply(c, NULL, NULL, 0);
}

int api_event_follow(struct call *c, json_t *params, struct cos_err *err)
{
	static const struct jsonx_field fields[] = {
		{ .name = "since",
		  .type = JSONX_UINT,
		  .offset = offsetof(struct follow, since),
		  .max = INT64_MAX },
		{ .name = "follow", .type = JSONX_BOOL, .offset = offsetof(struct follow, follow) },
	};
	struct follow p = { 0 };
	int r = jsonx_fill(params, "", fields, ARRAY_SIZE(fields), &p, err);

	if (r < 0)
		return r;
	if (!c->more)
		return cos_fail(err, COS_E_INVALID, 0,
				"Follow answers many times: ask with \"more\"");
	send_file(c, "events.log.1", p.since);
	send_file(c, "events.log", p.since);
	if (p.follow && c->conn) {
		c->client_gone = follower_gone;
		list_add_tail(&c->d->events.followers, &c->link);
	} else {
		call_reply(c, json_pack("{s:{}}", "event"), NULL, 0);
	}
	return 0;
}
