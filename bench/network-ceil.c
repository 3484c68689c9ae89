/* bench/network-ceil.c - what ceilings let through, beside a bare class of the same numbers */
#include <errno.h>
#include <stdio.h>

#include "bench/network.h"
#include "lib/base/own.h"

#define SECOND        1000000000U
#define TOGETHER_BITS 100000000U /* at most: two such transfers leave the CPUs idle */
#define FIRST_TRIES   4000U
#define FRAME         1514.0 /* the largest one, and what of it is content of TCP */
#define FRAME_CONTENT 1448.0
#define SECONDS_MORE  3U /* that a transfer goes on behind its first second and its window */
#define STILL_NSEC    15000000000U /* longer than what TCP waits before it tries again */
#define IDLE_TRIES    600U
#define SEGMENT       65536U

enum { ROW_RATE, ROW_GOODPUT, ROW_FIRST, ROW__N };

/* A transfer, and the counter of its class on the way. */
struct probe {
	const struct end *end;
	struct flow flow;
	struct reading first; /* the last one before the class moved */
	struct reading from;
	struct busy busy;
	double percent; /* of the CPUs, in the window */
	bool moved;
};

/* Until nothing is left of an earlier transfer, and the bucket is full again. */
static int await_idle(const struct end *e, enum way way, uint64_t bits)
{
	unsigned msec = (unsigned)((NETWORK_BURST + SEGMENT) * 8000ULL / bits) + 100;
	struct reading was, now = { 0 };
	int r = 0;

	for (unsigned i = 0; i < IDLE_TRIES && r == 0 && !bench_stopped(); i++) {
		was = now;
		r = end_read(e, way, &now);
		if (r == 0 && i > 0 && now.bytes == was.bytes)
			return 0;
		bench_idle(msec);
	}
	return r < 0 ? r : -ETIMEDOUT;
}

/* Told by the counter, not by the program: what a guest may send at once goes out with the first
 * bytes. */
static int await_first(struct probe *p, unsigned n, enum way way)
{
	unsigned moved = 0;
	struct reading now;
	int r = 0;

	for (unsigned i = 0; i < FIRST_TRIES && moved < n && r == 0 && !bench_stopped(); i++) {
		struct probe *q = &p[i % n];

		if (q->moved)
			continue;
		r = end_read(q->end, way, &now);
		q->moved = r == 0 && now.bytes != q->first.bytes;
		moved += q->moved;
		if (r == 0 && !q->moved)
			q->first = now;
	}
	if (r == 0 && moved < n)
		fprintf(stderr, "bench: network: the transfer does not begin\n");
	return moved < n ? -ETIMEDOUT : r;
}

static int take_first(struct probe *p, enum way way, uint64_t bits, struct row *row)
{
	double usec, may;
	int r;

	bench_sleep_until(p->first.before + SECOND);
	r = end_read(p->end, way, &p->from);
	if (r < 0)
		return r;
	usec = (double)(p->from.after - p->first.before) / 1000;
	may = (double)bits / 8 * usec / 1e6 + NETWORK_BURST;
	row_add(row, p->end->side, (double)(p->from.bytes - p->first.bytes) * 100 / may,
		busy_end(&p->busy));
	return 0;
}

/* A segment of 64 KiB is half a second's bytes of 1 Mbit. Each goes when the debt of those before
 * it is paid: a window from the bytes before one, at the time when it goes, to those before another
 * holds what that time allows. */
static int await_edge(const struct probe *p, enum way way, struct reading *ret)
{
	struct reading was, now;
	int r = end_read(p->end, way, &was);

	now = was;
	while (r == 0 && now.after - was.after < STILL_NSEC && !bench_stopped()) {
		r = end_read(p->end, way, &now);
		if (r == 0 && now.bytes != was.bytes) {
			*ret = (struct reading){ was.bytes, was.before, now.after };
			return 0;
		}
		was.before = now.before;
	}
	if (r == 0)
		fprintf(stderr, "bench: network: the transfer stands still\n");
	return r < 0 ? r : -ETIMEDOUT;
}

static int begin_rate(struct probe *p, enum way way)
{
	busy_begin(&p->busy);
	return await_edge(p, way, &p->from);
}

static int take_rate(struct probe *p, enum way way, unsigned seconds, struct row *row)
{
	struct reading to;
	int r;

	bench_sleep_until(p->from.before + seconds * (uint64_t)SECOND);
	r = await_edge(p, way, &to);
	if (r < 0)
		return r;
	p->percent = busy_end(&p->busy);
	row_add(row, p->end->side, reading_rate(&p->from, &to) / 1e6, p->percent);
	return 0;
}

static int take_goodput(struct probe *p, struct row *row)
{
	double rate;
	int r = flow_end(&p->flow, &rate);

	if (r == 0)
		row_add(row, p->end->side, rate / 1e6, p->percent);
	return r;
}

/* N ends at once. */
static int probe(const struct bed *bed, struct probe *p, unsigned n, enum way way, uint64_t bits,
		 struct row *rows)
{
	int r = 0;

	for (unsigned i = 0; i < n && r == 0; i++)
		r = await_idle(p[i].end, way, bits);
	for (unsigned i = 0; i < n && r == 0; i++)
		r = end_read(p[i].end, way, &p[i].first);
	for (unsigned i = 0; i < n && r == 0; i++)
		r = flow_begin(&p[i].flow, p[i].end, way, i, "-t", bed->seconds + SECONDS_MORE);
	for (unsigned i = 0; i < n; i++)
		busy_begin(&p[i].busy);
	if (r == 0)
		r = await_first(p, n, way);
	for (unsigned i = 0; i < n && r == 0; i++)
		r = take_first(&p[i], way, bits, &rows[ROW_FIRST]);
	for (unsigned i = 0; i < n && r == 0; i++)
		r = begin_rate(&p[i], way);
	for (unsigned i = 0; i < n && r == 0; i++)
		r = take_rate(&p[i], way, bed->seconds, &rows[ROW_RATE]);
	for (unsigned i = 0; i < n && r == 0; i++)
		r = take_goodput(&p[i], &rows[ROW_GOODPUT]);
	for (unsigned i = 0; i < n; i++)
		flow_drop(&p[i].flow);
	return r;
}

static int one_round(const struct bed *bed, const struct end *ends, enum way way, uint64_t bits,
		     struct row *rows)
{
	unsigned at_once = bits <= TOGETHER_BITS ? SIDE__N : 1;
	int r = 0;

	for (unsigned i = 0; i < SIDE__N && r == 0; i += at_once) {
		struct probe p[SIDE__N];

		for (unsigned k = 0; k < at_once; k++)
			p[k] = (struct probe){ .end = &ends[i + k], .flow = FLOW_NONE };
		r = probe(bed, p, at_once, way, bits, rows);
	}
	return r;
}

static int ceiling(const struct bed *bed, const struct end *ends, enum way way, const char *at,
		   uint64_t bits)
{
	double mbit = (double)bits / 1e6;
	struct row rows[ROW__N] = {
		[ROW_RATE] = row_of("net.ceil", at, way, "Mbit/s", mbit),
		[ROW_GOODPUT] = row_of("goodput", at, way, "Mbit/s", mbit * FRAME_CONTENT / FRAME),
		[ROW_FIRST] = row_of("first_second", at, way, "% of ceil and burst", 100),
	};
	int r = 0;

	rows[ROW_GOODPUT].light = rows[ROW_FIRST].light = true;
	rows[ROW_RATE].light = bits < TOGETHER_BITS;
	for (unsigned i = 0; i < SIDE__N && r == 0; i++)
		r = end_limit(&ends[i], bits);
	for (unsigned i = 0; i < bed->rounds && r == 0 && !bench_stopped(); i++)
		r = one_round(bed, ends, way, bits, rows);
	for (unsigned i = 0; i < ROW__N; i++)
		row_print(&rows[i]);
	return r;
}

int network_ceilings(const struct bed *bed)
{
	static const struct {
		const char *at;
		uint64_t bits;
	} asked[] = { { "1Mbit", 1000000 },
		      { "10Mbit", 10000000 },
		      { "100Mbit", 100000000 },
		      { "1Gbit", 1000000000 } };
	static const char *const none[] = { NULL };
	struct end ends[SIDE__N] = { 0 };
	int r = end_guest(&ends[SIDE_COS], bed, "ceil", none);

	if (r == 0)
		r = end_bare(&ends[SIDE_BARE], bed);
	for (size_t i = 0; i < ARRAY_SIZE(asked) && r == 0; i++) {
		for (enum way way = 0; way < WAY__N && r == 0 && !bench_stopped(); way++)
			r = ceiling(bed, ends, way, asked[i].at, asked[i].bits);
	}
	end_remove(&ends[SIDE_COS]);
	end_remove(&ends[SIDE_BARE]);
	return r;
}
