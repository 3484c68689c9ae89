/* bench/limits-vm-net.c - what the same ceiling lets through of a container and of a machine
 *
 * Datagrams of one frame, as fast as they are taken. Out, the container's come from a process in
 * its network namespace, the machine's from the mini guest, on request. In, both get the same from
 * a process outside. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/limits-vm.h"
#include "bench/network.h"
#include "lib/base/own.h"

#define SECOND      1000000000ULL
#define BEGIN_BYTES 65536U /* more than questions for addresses */
#define BEGIN_TRIES 100U
#define BEGIN_MSEC  50U

static int tell(int r, const char *what)
{
	fprintf(stderr, "bench: limits-vm: %s: %s\n", what, strerror(-r));
	return r;
}

/* What sends: a process, or the machine itself. */
struct stream {
	const struct end *e;
	enum by by;
	enum way way;
	int outside, inside; /* sockets; nobody reads them */
	pid_t pid;
};

/* See tests/vmm/guest-net.c. Asked for more than it ever sends, it obeys once. */
static int ask_machine(const struct stream *s)
{
	static const uint8_t order[] = {
		'S', 'E', 'N', 'D', 255, 255, 255, 255, NETWORK_CONTENT >> 8, NETWORK_CONTENT & 255
	};
	struct sockaddr_in a = net_address(s->e->address);
	ssize_t n =
		sendto(s->outside, order, sizeof(order), 0, (const struct sockaddr *)&a, sizeof(a));

	return n < 0 ? tell(-errno, "order") : 0;
}

static int start_process(struct stream *s)
{
	int sock = s->way == WAY_OUT ? s->inside : s->outside;
	uint64_t sent = 0;

	s->pid = net_fork(-1);
	if (s->pid == 0)
		net_send_all(sock, s->way == WAY_OUT ? s->e->outside : s->e->address,
			     NETWORK_CONTENT, &sent);
	return s->pid < 0 ? s->pid : 0;
}

/* Until the class moves: a machine may be booting still, and hear nothing. */
static int await_bytes(const struct stream *s)
{
	bool asks = s->by == BY_MACHINE && s->way == WAY_OUT;
	struct reading from, now;
	int r = end_read(s->e, s->way, &from);

	for (unsigned i = 0; i < BEGIN_TRIES && r == 0 && !bench_stopped(); i++) {
		if (asks)
			r = ask_machine(s);
		bench_idle(BEGIN_MSEC);
		if (r == 0)
			r = end_read(s->e, s->way, &now);
		if (r == 0 && now.bytes - from.bytes > BEGIN_BYTES)
			return 0;
	}
	return r < 0 ? r : tell(-ETIMEDOUT, "nothing is sent");
}

static int stream_begin(struct stream *s)
{
	const struct bed *bed = s->e->bed;
	int r = s->outside = net_socket(bed, bed->outside);

	if (r >= 0 && s->by == BY_CONTAINER)
		r = s->inside = net_socket(bed, s->e->net);
	if (r >= 0 && (s->by == BY_CONTAINER || s->way == WAY_IN))
		r = start_process(s);
	return r < 0 ? r : await_bytes(s);
}

static void stream_end(struct stream *s)
{
	net_end(&s->pid);
	close_p(&s->inside);
	close_p(&s->outside);
}

static int window(const struct end *e, enum by by, enum way way, unsigned seconds, double *ret)
{
	struct stream s = { .e = e, .by = by, .way = way, .outside = -1, .inside = -1 };
	struct reading from, to;
	int r = stream_begin(&s);

	bench_idle(LIMITS_WARM_MSEC);
	if (r == 0)
		r = end_read(e, way, &from);
	if (r == 0) {
		bench_sleep_until(from.after + seconds * SECOND);
		r = end_read(e, way, &to);
	}
	stream_end(&s);
	if (r == 0)
		*ret = reading_rate(&from, &to) / 1e6;
	return r;
}

static int once(const struct bed *bed, enum by by, enum way way, const char *limit,
		struct limits_row *row)
{
	const char *words[] = { "test=serve", limit, "vm.memory=64M", NULL };
	struct end e = { 0 };
	double got = 0;
	int r = 0;

	if (by == BY_MACHINE)
		r = limits_machine(bed->d, words);
	if (r == 0)
		r = by == BY_MACHINE ? end_find(&e, bed, "vm")
				     : end_guest(&e, bed, "box", (const char *[]){ limit, NULL });
	if (r == 0)
		r = window(&e, by, way, bed->seconds, &got);
	if (r == 0)
		limits_add(row, by, got);
	end_remove(&e);
	return r;
}

static int ceiling(const struct bed *bed, enum way way, unsigned mbit)
{
	char limit[32], what[40];
	struct limits_row row = { .what = what, .unit = "Mbit/s", .asked = mbit };
	int r = 0;

	snprintf(limit, sizeof(limit), "net.ceil=%uMbit", mbit);
	snprintf(what, sizeof(what), "%s %s", limit, way_name[way]);
	for (unsigned i = 0; i < bed->rounds * BY__N && r == 0 && !bench_stopped(); i++)
		r = once(bed, i % BY__N, way, limit, &row);
	limits_print(&row);
	return r;
}

static int ceilings(struct bed *bed)
{
	static const unsigned mbit[] = { 10, 100 };
	struct daemon d;
	int r = wire_daemon(&d, bed->b, 0);

	if (r < 0)
		return r;
	bed->d = &d;
	for (size_t i = 0; i < ARRAY_SIZE(mbit); i++) {
		for (enum way way = 0; way < WAY__N && r == 0 && !bench_stopped(); way++)
			r = ceiling(bed, way, mbit[i]);
	}
	if (r < 0)
		bench_show_log(bed->b);
	daemon_close(&d);
	bed->d = NULL;
	return r;
}

int limits_network(const struct bench *b, const struct limits *l)
{
	struct bed bed = { .b = b, .rounds = l->rounds, .seconds = l->seconds };
	int r = wire_open(&bed);

	if (r == 0)
		r = ceilings(&bed);
	wire_close(&bed);
	return r;
}
