/* tests/fuzz/events.c - the event log that an earlier daemon left; input: the file */
#include "cosd/call.h"
#include "lib/base/own.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/scratch.h"

/* Nobody follows here. */
bool call_continue(struct call *c, json_t *params, const int *fds, unsigned n)
{
	(void)c;
	(void)params;
	(void)fds;
	(void)n;
	abort();
}

static uint64_t reopen(struct daemon *d)
{
	struct cos_err err = { 0 };

	check(events_open(d, &err) == 0);
	return d->events.seq;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct daemon d = { .conf = { .events_log_bytes = 65536 } };
	struct keep_args args = { .state_dir = "scratch" };
	uint64_t before;

	d.args = &args;
	d.state = scratch_dir();
	if (d.state < 0)
		return 0;
	scratch_put(d.state, "events.log", data, size);
	unlinkat(d.state, "events.log.1", 0);
	before = reopen(&d);
	event_say(&d, "g1", "start", json_pack("{s:s}", "why", "asked"));
	close_p(&d.events.fd);
	/* The numbers go on, whatever the end of the file was. */
	check(before == UINT64_MAX || reopen(&d) == before + 1);
	close_p(&d.events.fd);
	return 0;
}
