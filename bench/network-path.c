/* bench/network-path.c - what our path costs beside a bare one: round trips and streams */
#include <errno.h>
#include <stdio.h>

#include "bench/network.h"
#include "lib/base/own.h"

#define BATCH   50U   /* round trips of one side before it is the other's turn */
#define TRIPS   2000U /* of each side in a round */
#define WARM_UP 200U

static const char *const by[SIDE__N] = { [SIDE_COS] = "cos", [SIDE_BARE] = "bare" };

static void print(const char *what, const char *at, const char *unit, struct samples *s)
{
	struct column c[] = { { by[SIDE_BARE], &s[SIDE_BARE] }, { by[SIDE_COS], &s[SIDE_COS] } };

	columns_print(what, at, unit, c, ARRAY_SIZE(c));
	samples_free(&s[SIDE_COS]);
	samples_free(&s[SIDE_BARE]);
}

/* ---- round trips ---- */

static int batch(const struct trip *t, unsigned n, struct samples *s)
{
	int r = 0;

	for (unsigned i = 0; i < n && r == 0; i++) {
		uint64_t nsec;

		r = trip_once(t, &nsec);
		if (r == 0 && s)
			samples_add(s, nsec);
	}
	return r;
}

static int trips(const struct bed *bed, const struct end *ends, bool tcp)
{
	struct trip t[SIDE__N] = { TRIP_NONE, TRIP_NONE };
	struct samples s[SIDE__N] = { 0 };
	unsigned turns = bed->rounds * TRIPS / BATCH;
	int r = 0;

	for (enum side side = 0; side < SIDE__N && r == 0; side++) {
		r = trip_open(&t[side], &ends[side], tcp, -1);
		if (r == 0)
			r = batch(&t[side], WARM_UP, NULL);
	}
	for (unsigned i = 0; i < turns * SIDE__N && r == 0 && !bench_stopped(); i++)
		r = batch(&t[i % SIDE__N], BATCH, &s[i % SIDE__N]);
	for (enum side side = 0; side < SIDE__N; side++)
		trip_close(&t[side]);
	print("path", tcp ? "tcp_trip" : "udp_trip", "us", s);
	return r;
}

/* ---- streams ---- */

static int stream_once(const struct bed *bed, const struct end *e, enum way way, struct samples *s)
{
	struct flow flow = FLOW_NONE;
	double rate;
	int r = flow_begin(&flow, e, way, 0, "-t", bed->seconds);

	if (r == 0)
		r = flow_end(&flow, &rate);
	flow_drop(&flow);
	if (r == 0)
		samples_add(s, (uint64_t)(rate / 1000));
	return r;
}

static int streams(const struct bed *bed, const struct end *ends, enum way way)
{
	struct samples s[SIDE__N] = { 0 };
	int r = 0;

	for (unsigned i = 0; i < bed->rounds * SIDE__N && r == 0 && !bench_stopped(); i++)
		r = stream_once(bed, &ends[i % SIDE__N], way, &s[i % SIDE__N]);
	print("path", way == WAY_OUT ? "tcp_stream_out" : "tcp_stream_in", "Mbit/s", s);
	return r;
}

/* ---- */

int network_paths(const struct bed *bed)
{
	static const char *const none[] = { NULL };
	struct end ends[SIDE__N] = { 0 };
	int r = end_guest(&ends[SIDE_COS], bed, "path", none);

	if (r == 0)
		r = end_bare(&ends[SIDE_BARE], bed);
	if (r == 0)
		r = end_unlimit(&ends[SIDE_BARE]);
	if (r == 0)
		r = trips(bed, ends, true);
	if (r == 0 && !bench_stopped())
		r = trips(bed, ends, false);
	for (enum way way = 0; way < WAY__N && r == 0 && !bench_stopped(); way++)
		r = streams(bed, ends, way);
	end_remove(&ends[SIDE_COS]);
	end_remove(&ends[SIDE_BARE]);
	return r;
}
