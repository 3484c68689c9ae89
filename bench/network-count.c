/* bench/network-count.c - whether a class counts the bytes of the frames that go over the wire */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/network.h"
#include "lib/base/own.h"

#define DATAGRAMS      10000U
#define DATAGRAM_BURST 10U /* each millisecond */
#define HEADERS        42U /* of Ethernet, IPv4 and UDP */
#define CONTENT_MAX    1472U
#define SETTLE_TRIES   100U /* of 10 ms */
#define SETTLED        5U
#define TRANSFER_BYTES 200000000U
#define TRANSFER_AT    "200MB"

/* The counter when it does not move any more. */
static int read_settled(const struct end *e, enum way way, uint64_t *ret)
{
	struct reading now, was;
	unsigned still = 0;
	int r = end_read(e, way, &was);

	for (unsigned i = 0; i < SETTLE_TRIES && still < SETTLED && r == 0; i++) {
		bench_idle(10);
		r = end_read(e, way, &now);
		still = r == 0 && now.bytes == was.bytes ? still + 1 : 0;
		was = now;
	}
	if (r == 0)
		*ret = was.bytes;
	return r;
}

/* ---- datagrams ---- */

static int send_datagrams(int sock, const char *to, size_t size)
{
	static const char content[CONTENT_MAX];
	const struct sockaddr_in a = net_address(to);

	for (unsigned i = 0; i < DATAGRAMS && !bench_stopped(); i++) {
		if (i % DATAGRAM_BURST == 0)
			bench_idle(1);
		if (sendto(sock, content, size, 0, (const struct sockaddr *)&a, sizeof(a)) < 0) {
			perror("bench: network: datagram");
			return -errno;
		}
	}
	return 0;
}

static int datagrams_once(const struct end *e, enum way way, const int *sock, size_t size,
			  struct row *row)
{
	uint64_t from, to;
	struct busy busy;
	int r = read_settled(e, way, &from);

	busy_begin(&busy);
	if (r == 0)
		r = send_datagrams(sock[way], way == WAY_OUT ? e->outside : e->address, size);
	if (r == 0)
		r = read_settled(e, way, &to);
	if (r == 0)
		row_add(row, SIDE_COS, (double)(to - from), busy_end(&busy));
	return r;
}

static int datagrams(const struct bed *bed, const struct end *e)
{
	static const struct {
		const char *at;
		size_t size;
	} asked[] = { { "18B", 18 }, { "1000B", 1000 }, { "1472B", CONTENT_MAX } };
	int sock[WAY__N] = {
		[WAY_OUT] = net_socket(bed, e->net), [WAY_IN] = net_socket(bed, bed->outside)
	};
	int r = sock[WAY_OUT] < 0 || sock[WAY_IN] < 0 ? -EIO : 0;

	for (size_t i = 0; i < ARRAY_SIZE(asked) * WAY__N && r == 0 && !bench_stopped(); i++) {
		enum way way = i % WAY__N;
		size_t size = asked[i / WAY__N].size;
		struct row row = row_of("udp", asked[i / WAY__N].at, way, "bytes",
					(double)DATAGRAMS * (double)(size + HEADERS));

		for (unsigned k = 0; k < bed->rounds && r == 0 && !bench_stopped(); k++)
			r = datagrams_once(e, way, sock, size, &row);
		row_print(&row);
	}
	close_p(&sock[WAY_OUT]);
	close_p(&sock[WAY_IN]);
	return r;
}

/* ---- transfers that are handed over in large segments ---- */

struct transfer {
	uint64_t class;
	struct frames wire;
};

/* Nothing else is received where it ends but some ARP. */
static int transfer(const struct bed *bed, const struct end *e, enum way way, struct transfer *ret)
{
	int net = way == WAY_OUT ? bed->outside : e->net;
	struct flow flow = FLOW_NONE;
	struct frames was, is;
	uint64_t from, to;
	int r = read_settled(e, way, &from);

	if (r == 0)
		r = net_received(bed, net, "eth0", &was);
	if (r == 0)
		r = flow_begin(&flow, e, way, 0, "-n", TRANSFER_BYTES);
	if (r == 0)
		r = flow_end(&flow, NULL);
	if (r == 0)
		r = read_settled(e, way, &to);
	if (r == 0)
		r = net_received(bed, net, "eth0", &is);
	flow_drop(&flow);
	if (r == 0)
		*ret = (struct transfer){ to - from,
					  { is.bytes - was.bytes, is.packets - was.packets } };
	return r;
}

/* The link before the receiver cuts segments behind the class; then its frames are those of a
 * cable, and the receiver's counter is true. Once without that, to tell that there were segments.
 */
static int transfer_once(const struct bed *bed, const struct end *e, enum way way, struct row *row)
{
	const char *link = way == WAY_OUT ? "up0" : e->link;
	struct transfer whole = { 0 }, cut = { 0 };
	struct busy busy;
	int r = transfer(bed, e, way, &whole);

	busy_begin(&busy);
	if (r == 0)
		r = net_segment(bed, bed->host, link, false);
	if (r == 0)
		r = transfer(bed, e, way, &cut);
	net_segment(bed, bed->host, link, true);
	if (r < 0)
		return r;
	row_add(row, SIDE_COS, (double)cut.class * 100 / (double)cut.wire.bytes, busy_end(&busy));
	printf("# tcp, %s: frames of %.0f bytes; uncut, segments of %.0f bytes, of which the link "
	       "counts %+.2f %% beside the class\n",
	       way_name[way], (double)cut.wire.bytes / (double)cut.wire.packets,
	       (double)whole.wire.bytes / (double)whole.wire.packets,
	       (double)whole.wire.bytes * 100 / (double)whole.class - 100);
	return 0;
}

static int transfers(const struct bed *bed, const struct end *e)
{
	int r = 0;

	for (enum way way = 0; way < WAY__N && r == 0 && !bench_stopped(); way++) {
		struct row row = row_of("tcp", TRANSFER_AT, way, "% of the frames", 100);

		for (unsigned i = 0; i < bed->rounds && r == 0 && !bench_stopped(); i++)
			r = transfer_once(bed, e, way, &row);
		row_print(&row);
	}
	return r;
}

int network_counts(const struct bed *bed)
{
	static const char *const none[] = { NULL };
	struct end e = { 0 };
	int r = end_guest(&e, bed, "count", none);

	if (r == 0 && bed_wants(bed, "udp"))
		r = datagrams(bed, &e);
	if (r == 0 && bed_wants(bed, "tcp"))
		r = transfers(bed, &e);
	end_remove(&e);
	return r;
}
