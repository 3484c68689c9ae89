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
	uint64_t next; /* that was not sent any more; 0: all were */
	bool gone;     /* the call, with its client */
};

#define PAGE_BYTES (1U << 20) /* that wait for the client: it asks for more when it has them */

static bool send_event(json_t *event, uint64_t seq, void *arg)
{
	struct sending *s = arg;

	if (call_waiting(s->c) > PAGE_BYTES) {
		s->next = seq;
		return false;
	}
	s->gone = !call_continue(s->c, json_pack("{s:O}", "event", event), NULL, 0);
	return !s->gone;
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
	struct sending s = { .c = c };
	struct follow p = { 0 };
	int r = jsonx_fill(params, "", fields, ARRAY_SIZE(fields), &p, err);

	if (r < 0)
		return r;
	if (!c->more)
		return cos_fail(err, COS_E_INVALID, 0,
				"Follow answers many times: ask with \"more\"");
	if (events_each(c->d, true, p.since, send_event, &s))
		events_each(c->d, false, p.since, send_event, &s);
	if (s.gone)
		return 0;
	if (s.next) {
		call_reply(c, json_pack("{s:{}, s:I}", "event", "next", (json_int_t)s.next), NULL,
			   0);
	} else if (p.follow) {
		c->client_gone = follower_gone;
		list_add_tail(&c->d->events.followers, &c->link);
	} else {
		call_reply(c, json_pack("{s:{}}", "event"), NULL, 0);
	}
	return 0;
}
