/* cosd/api-event.c - the event log for clients: what was, and what comes */
#include "cosd/api.h"
#include "lib/base/jsonx.h"
#include "lib/base/own.h"

struct follow {
	uint64_t since;
	bool follow;
};

struct sending {
	struct call *c;
	uint64_t since;
};

/* A client's queue is bounded by its connection. */
static bool send_event(json_t *event, uint64_t seq, void *arg)
{
	const struct sending *s = arg;

	return seq < s->since || call_continue(s->c, json_pack("{s:O}", "event", event), NULL, 0);
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
	events_each(c->d, true, send_event, &(struct sending){ c, p.since });
	events_each(c->d, false, send_event, &(struct sending){ c, p.since });
	if (p.follow && c->conn) {
		c->client_gone = follower_gone;
		list_add_tail(&c->d->events.followers, &c->link);
	} else {
		call_reply(c, json_pack("{s:{}}", "event"), NULL, 0);
	}
	return 0;
}
