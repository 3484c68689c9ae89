/* bench/network-share.c - a guarantee among guests that flood, and shares of guests that all send
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/network.h"
#include "lib/base/own.h"
#include "lib/base/str.h"

#define MSEC          1000000U
#define SECOND        1000000000U
#define FLOODERS      50U
#define FLOOD_BITS    4000000U /* each: together twice net.cap */
#define LATE_NSEC     10000000U
#define FLOOD_CONTENT 1400U
#define FLOOD_HEADERS 42U
#define GUARANTEE     20000000U
#define FILL_MSEC     2000U /* every queue of those who flood is full then */
#define SETTLE_MSEC   2000U
#define SHARERS       3U
#define SECONDS_MORE  3U /* that a transfer goes on before and behind its window */

/* ---- guests that flood ---- */

/* Sockets in the guests, and one outside for what goes to them. */
struct flood {
	struct end end[FLOODERS];
	int sock[FLOODERS], outside;
	struct sockaddr_in to[FLOODERS], out;
	uint64_t sent; /* frames */
};

static int flood_open(struct flood *f, const struct bed *bed)
{
	static const char *const none[] = { NULL };
	int r = 0;

	*f = (struct flood){ .outside = net_socket(bed, bed->outside),
			     .out = net_address("192.0.2.2") };
	for (unsigned i = 0; i < FLOODERS; i++)
		f->sock[i] = -1;
	if (f->outside < 0)
		return f->outside;
	for (unsigned i = 0; i < FLOODERS && r == 0 && !bench_stopped(); i++) {
		char name[16];

		snprintf(name, sizeof(name), "flood%u", i);
		r = end_guest(&f->end[i], bed, name, none);
		if (r < 0)
			return r;
		f->to[i] = net_address(f->end[i].address);
		f->sock[i] = net_socket(bed, f->end[i].net);
		r = f->sock[i] < 0 ? f->sock[i] : 0;
	}
	return r;
}

static void flood_close(struct flood *f)
{
	for (unsigned i = 0; i < FLOODERS; i++) {
		close_p(&f->sock[i]);
		end_remove(&f->end[i]);
	}
	close_p(&f->outside);
}

static void flood_once(struct flood *f, enum way way)
{
	static const char content[FLOOD_CONTENT];

	for (unsigned i = 0; i < FLOODERS; i++) {
		const struct sockaddr_in *to = way == WAY_OUT ? &f->out : &f->to[i];

		sendto(way == WAY_OUT ? f->sock[i] : f->outside, content, sizeof(content),
		       MSG_DONTWAIT, (const struct sockaddr *)to, sizeof(*to));
		f->sent++;
	}
}

/* One datagram of each guest at a time, all evenly over the time; what the host had no time for is
 * not made up for. */
static void flood_until(struct flood *f, enum way way, uint64_t end)
{
	const uint64_t gap = (FLOOD_CONTENT + FLOOD_HEADERS) * 8ULL * SECOND / FLOOD_BITS;
	uint64_t next = bench_nsec(), now = next;

	while (now < end && !bench_stopped()) {
		if (now > next + LATE_NSEC)
			next = now;
		bench_sleep_until(next);
		flood_once(f, way);
		next += gap;
		now = bench_nsec();
	}
}

/* ---- the guarantee ---- */

struct window {
	struct reading own[2], all[2];
	uint64_t sent;
	double busy, seconds;
};

static int flooded_window(const struct bed *bed, struct flood *f, const struct end *e, enum way way,
			  struct window *w)
{
	struct busy busy;
	int r;

	flood_until(f, way, bench_nsec() + SETTLE_MSEC * (uint64_t)MSEC);
	busy_begin(&busy);
	w->sent = f->sent;
	r = end_read(e, way, &w->own[0]);
	if (r == 0)
		r = end_read_all(bed, way, &w->all[0]);
	flood_until(f, way, w->own[0].after + bed->seconds * (uint64_t)SECOND);
	w->sent = f->sent - w->sent;
	w->busy = busy_end(&busy);
	w->seconds = (double)(bench_nsec() - busy.t) / 1e9;
	if (r == 0)
		r = end_read(e, way, &w->own[1]);
	if (r == 0)
		r = end_read_all(bed, way, &w->all[1]);
	flood_until(f, way, bench_nsec() + SECOND);
	return r;
}

static int guarantee_once(const struct bed *bed, struct flood *f, const struct end *e, enum way way,
			  struct row *rows)
{
	struct flow flow = FLOW_NONE;
	struct window w = { 0 };
	int r;

	flood_until(f, way, bench_nsec() + FILL_MSEC * (uint64_t)MSEC);
	r = flow_begin(&flow, e, way, 0, "-t", bed->seconds + SECONDS_MORE);
	if (r == 0)
		r = flooded_window(bed, f, e, way, &w);
	if (r == 0)
		r = flow_end(&flow, NULL);
	flow_drop(&flow);
	if (r < 0)
		return r;
	row_add(&rows[0], SIDE_COS, reading_rate(&w.own[0], &w.own[1]) * 100 / GUARANTEE, w.busy);
	row_add(&rows[1], SIDE_COS, reading_rate(&w.all[0], &w.all[1]) / 1e6, w.busy);
	printf("# guarantee, %s: %u guests offered %.0f Mbit/s\n", way_name[way], FLOODERS,
	       (double)w.sent * (FLOOD_CONTENT + FLOOD_HEADERS) * 8 / w.seconds / 1e6);
	return 0;
}

int network_guarantee(const struct bed *bed)
{
	static const char *const limits[] = { "net.rate=20Mbit", NULL };
	auto_free struct flood *f = malloc(sizeof(*f));
	struct end e = { 0 };
	int r = f ? flood_open(f, bed) : -ENOMEM;

	if (r == 0)
		r = end_guest(&e, bed, "sure", limits);
	for (enum way way = 0; way < WAY__N && r == 0 && !bench_stopped(); way++) {
		struct row rows[] = {
			row_of("guarantee", "20Mbit", way, "% of net.rate", 100),
			row_of("net.cap", "51 guests", way, "Mbit/s", NETWORK_CAP / 1e6),
		};

		for (unsigned i = 0; i < bed->rounds && r == 0 && !bench_stopped(); i++)
			r = guarantee_once(bed, f, &e, way, rows);
		for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
			row_print(&rows[i]);
	}
	end_remove(&e);
	if (f)
		flood_close(f);
	return r;
}

/* ---- shares ---- */

static int read_all(const struct end *ends, enum way way, struct reading *ret)
{
	int r = 0;

	for (unsigned i = 0; i < SHARERS && r == 0; i++)
		r = end_read(&ends[i], way, &ret[i]);
	return r;
}

static int shares_window(const struct bed *bed, const struct end *ends, enum way way,
			 struct row *rows)
{
	struct reading from[SHARERS], to[SHARERS];
	double rate[SHARERS], sum = 0, percent;
	struct busy busy;
	int r;

	bench_sleep_until(bench_nsec() + SETTLE_MSEC * (uint64_t)MSEC);
	busy_begin(&busy);
	r = read_all(ends, way, from);
	bench_sleep_until(bench_nsec() + bed->seconds * (uint64_t)SECOND);
	if (r == 0)
		r = read_all(ends, way, to);
	if (r < 0)
		return r;
	percent = busy_end(&busy);
	for (unsigned i = 0; i < SHARERS; i++) {
		rate[i] = reading_rate(&from[i], &to[i]);
		sum += rate[i];
	}
	for (unsigned i = 0; i < SHARERS; i++)
		row_add(&rows[i], SIDE_COS, rate[i] * 100 / sum, percent);
	row_add(&rows[SHARERS], SIDE_COS, sum / 1e6, percent);
	return 0;
}

static int shares_once(const struct bed *bed, const struct end *ends, enum way way,
		       struct row *rows)
{
	struct flow flow[SHARERS];
	int r = 0;

	for (unsigned i = 0; i < SHARERS; i++)
		flow[i] = FLOW_NONE;
	for (unsigned i = 0; i < SHARERS && r == 0; i++)
		r = flow_begin(&flow[i], &ends[i], way, i, "-t", bed->seconds + SECONDS_MORE);
	if (r == 0)
		r = shares_window(bed, ends, way, rows);
	for (unsigned i = 0; i < SHARERS && r == 0; i++)
		r = flow_end(&flow[i], NULL);
	for (unsigned i = 0; i < SHARERS; i++)
		flow_drop(&flow[i]);
	return r;
}

int network_shares(const struct bed *bed)
{
	static const char *const limit[SHARERS] = { "net.share=1", "net.share=2", "net.share=4" };
	static const char *const name[SHARERS] = { "share1", "share2", "share4" };
	struct end ends[SHARERS] = { 0 };
	int r = 0;

	for (unsigned i = 0; i < SHARERS && r == 0; i++) {
		const char *limits[] = { limit[i], NULL };

		r = end_guest(&ends[i], bed, name[i], limits);
	}
	for (enum way way = 0; way < WAY__N && r == 0 && !bench_stopped(); way++) {
		struct row rows[SHARERS + 1];

		for (unsigned i = 0; i < SHARERS; i++) {
			rows[i] = row_of("share", limit[i] + strlen("net.share="), way,
					 "% of three", 100.0 * (1U << i) / 7);
			rows[i].light = true;
		}
		rows[SHARERS] = row_of("net.cap", "3 guests", way, "Mbit/s", NETWORK_CAP / 1e6);
		for (unsigned i = 0; i < bed->rounds && r == 0 && !bench_stopped(); i++)
			r = shares_once(bed, ends, way, rows);
		for (unsigned i = 0; i <= SHARERS; i++)
			row_print(&rows[i]);
	}
	for (unsigned i = 0; i < SHARERS; i++)
		end_remove(&ends[i]);
	return r;
}
