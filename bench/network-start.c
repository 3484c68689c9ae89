/* bench/network-start.c - what a start costs with a network: first instructions, and at many guests
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/contender.h"
#include "bench/floor.h"
#include "bench/network.h"
#include "lib/base/own.h"

#define STARTS    10U /* in a round, of each mode */
#define WARM_UP   3U
#define IDLE_MSEC 50U

/* ---- contenders ---- */

static int run_floor(struct contender *c, int out)
{
	struct floor_guest g;
	int r = floor_start(c->data, &g, out, false);

	return r < 0 ? r : floor_end(c->data, &g, false);
}

static int run_cos(struct contender *c, int out)
{
	return daemon_call(c->data, c->argv, out);
}

static const struct contender floor_contender = { .name = "floor", .run = run_floor };
static const struct contender cos_none = {
	.name = "cos-none",
	.run = run_cos,
	.argv = { "run", "--rm", "--template", "bench", "none", "net.mode=none", "--", "/bin/first",
		  NULL },
};
static const struct contender cos_routed = {
	.name = "cos-routed",
	.run = run_cos,
	.argv = { "run", "--rm", "--template", "bench", "routed", "net.mode=routed", "--",
		  "/bin/first", NULL },
};

/* ---- rounds ---- */

enum { FLOOR, COS_NONE, COS_ROUTED, LXC, LXC_VETH, CONTENDERS };
enum mode { HOT, COLD, MODE__N };

struct entry {
	struct contender c;
	bool in;
	struct samples first[MODE__N], whole[MODE__N];
};

static void take(struct entry *e, enum mode m, bool warm_up)
{
	uint64_t first, whole;

	if (m == COLD)
		bench_idle(IDLE_MSEC);
	if (!contender_time(&e->c, &first, &whole)) {
		bench_show_log(e->c.b);
		if (e->c.undo)
			e->c.undo(&e->c);
		printf("# %s: left out after a failure\n", e->c.name);
		e->in = false;
		return;
	}
	if (warm_up)
		return;
	samples_add(&e->first[m], first);
	samples_add(&e->whole[m], whole);
}

static void rounds(struct entry *e, enum mode m, unsigned n, bool warm_up)
{
	for (unsigned i = 0; i < n * CONTENDERS && !bench_stopped(); i++) {
		if (e[i % CONTENDERS].in)
			take(&e[i % CONTENDERS], m, warm_up);
	}
}

static void print(struct entry *e)
{
	static const char *const name[MODE__N][2] = {
		[HOT] = { "hot_first", "hot_whole" }, [COLD] = { "cold_first", "cold_whole" }
	};
	struct column c[CONTENDERS];

	for (enum mode m = 0; m < MODE__N; m++) {
		for (unsigned i = 0; i < CONTENDERS; i++)
			c[i] = (struct column){ e[i].c.name, &e[i].first[m] };
		columns_print("start", name[m][0], "us", c, CONTENDERS);
		for (unsigned i = 0; i < CONTENDERS; i++)
			c[i].got = &e[i].whole[m];
		columns_print("start", name[m][1], "us", c, CONTENDERS);
		for (unsigned i = 0; i < CONTENDERS; i++) {
			samples_free(&e[i].first[m]);
			samples_free(&e[i].whole[m]);
		}
	}
}

/* ---- the daemon's own steps ---- */

static void take_steps(void *arg, uint64_t start_usec, json_t *steps)
{
	struct samples *s = arg;

	samples_add(&s[0], start_usec * 1000);
	samples_add(&s[1], (uint64_t)json_integer_value(json_object_get(steps, "network")) * 1000);
}

static int steps(const struct bed *bed)
{
	static const char *const create[] = { "create", "--template", "bench", "steps",
					      "--",     "/bin/first", "stay",  NULL };
	static const char *const stop[] = { "stop", "--timeout", "0", "steps", NULL };
	static const char *const delete_it[] = { "delete", "--force", "steps", NULL };
	struct samples s[2] = { 0 };
	struct column c[] = { { "all", &s[0] }, { "network", &s[1] } };
	int r = daemon_call(bed->d, create, -1);

	for (unsigned i = 0; i < bed->rounds * STARTS && r == 0 && !bench_stopped(); i++) {
		bench_idle(IDLE_MSEC);
		r = daemon_start(bed->d, "steps", take_steps, s);
		if (r == 0)
			r = daemon_call(bed->d, stop, -1);
	}
	daemon_call(bed->d, delete_it, -1);
	columns_print("start", "cold_steps", "us", c, ARRAY_SIZE(c));
	samples_free(&s[0]);
	samples_free(&s[1]);
	return r == 0 ? 0 : -EIO;
}

/* ---- */

static int make_bridge(const struct bed *bed)
{
	int r = net_run(bed, bed->host, NULL, 0, "ip link add " CONTENDER_BRIDGE " type bridge");

	if (r == 0)
		r = net_run(bed, bed->host, NULL, 0,
			    "ip addr add 198.18.0.1/24 dev " CONTENDER_BRIDGE);
	if (r == 0)
		r = net_run(bed, bed->host, NULL, 0, "ip link set " CONTENDER_BRIDGE " up");
	return r;
}

static void open_entries(struct entry *e, const struct bed *bed, struct floor *f, struct daemon *d)
{
	const struct contender *const c[CONTENDERS] = {
		[FLOOR] = &floor_contender, [COS_NONE] = &cos_none,      [COS_ROUTED] = &cos_routed,
		[LXC] = &peer_lxc,          [LXC_VETH] = &peer_lxc_veth,
	};

	for (unsigned i = 0; i < CONTENDERS; i++) {
		e[i].c = *c[i];
		e[i].c.b = bed->b;
		e[i].in = !e[i].c.open || e[i].c.open(&e[i].c, bed->b) == 0;
	}
	e[FLOOR].c.data = f;
	e[COS_NONE].c.data = e[COS_ROUTED].c.data = d;
}

int network_starts(const struct bed *bed)
{
	auto_free struct entry *e = calloc(CONTENDERS, sizeof(*e));
	struct daemon d = *bed->d; /* a contender's data can be changed */
	struct floor f;
	int r = e ? floor_open(&f, bed->b, SUBJECT_ROOT) : -ENOMEM;

	if (r < 0)
		return r;
	r = make_bridge(bed);
	if (r == 0) {
		open_entries(e, bed, &f, &d);
		rounds(e, HOT, WARM_UP, true);
		rounds(e, HOT, bed->rounds * STARTS, false);
		rounds(e, COLD, bed->rounds * STARTS, false);
		print(e);
		r = steps(bed);
	}
	net_run(bed, bed->host, NULL, 0, "ip link del " CONTENDER_BRIDGE);
	floor_close(&f);
	return r;
}
