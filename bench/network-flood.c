/* bench/network-flood.c - what is left of a neighbour's round trips beside a flood of datagrams */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench/network.h"
#include "lib/base/own.h"

#define CONTENT      22U /* in a frame of 64 bytes */
#define PPS_LIMIT    "net.pps=20000"
#define WINDOW_NSEC  500000000U
#define BEGIN_MSEC   50U /* the flood is at its speed */
#define SECOND       1e9
#define LOOPBACK     "127.0.0.1"
#define WINDOWS_MORE 2U /* windows in each second of a round */

/* What else goes on while the neighbour counts. Who floods itself takes as much of a CPU, and
 * nothing of the path that all share. */
enum beside { ALONE, OWN_LOOP, FLOOD, FLOOD_PPS, BESIDE__N };

static const char *const beside_name[BESIDE__N] = {
	[ALONE] = "alone",
	[OWN_LOOP] = "beside_own_loop",
	[FLOOD] = "beside_flood",
	[FLOOD_PPS] = "beside_flood_pps",
};

struct place {
	const char *at;
	int flood, trips; /* CPUs; -1: any */
};

struct scene {
	const struct bed *bed;
	struct end near, free, held; /* the neighbour, who floods, who floods with net.pps */
	struct trip trip;
	int sink;       /* outside, where the flood goes: nothing answers it */
	uint64_t *told; /* datagrams that floods have sent: the child's counter */
	uint64_t sent[BESIDE__N], came[BESIDE__N]; /* of them, those that reached the host */
	uint64_t nsec[BESIDE__N];                  /* in which time */
};

/* ---- the flood ---- */

static pid_t flood_begin(const struct scene *s, enum beside beside, int cpu)
{
	const struct end *e = beside == FLOOD_PPS ? &s->held : &s->free;
	auto_close int sock = net_socket(s->bed, e->net);
	pid_t pid;

	if (sock < 0)
		return sock;
	pid = net_fork(cpu);
	if (pid == 0)
		net_send_all(sock, beside == OWN_LOOP ? LOOPBACK : e->outside, CONTENT, s->told);
	return pid;
}

/* ---- windows ---- */

static int count_trips(const struct trip *t, struct samples *ret)
{
	uint64_t from = bench_nsec(), now = from, n = 0, nsec;
	int r = 0;

	while (now < from + WINDOW_NSEC && r == 0) {
		r = trip_once(t, &nsec);
		n++;
		now = bench_nsec();
	}
	if (r == 0)
		samples_add(ret, (uint64_t)((double)n * SECOND * 1000 / (double)(now - from)));
	return r;
}

static int window(struct scene *s, enum beside beside, const struct place *p, struct samples *ret)
{
	const struct end *e = beside == FLOOD_PPS ? &s->held : &s->free;
	struct frames was = { 0 }, is = { 0 };
	uint64_t from, sent;
	pid_t pid = 0;
	int r = 0;

	if (beside != ALONE)
		pid = flood_begin(s, beside, p->flood);
	if (pid < 0)
		return pid;
	bench_idle(BEGIN_MSEC);
	r = net_received(s->bed, s->bed->host, e->link, &was);
	from = bench_nsec();
	sent = __atomic_load_n(s->told, __ATOMIC_RELAXED);
	if (r == 0)
		r = count_trips(&s->trip, ret);
	if (r == 0)
		r = net_received(s->bed, s->bed->host, e->link, &is);
	s->nsec[beside] += bench_nsec() - from;
	s->sent[beside] += __atomic_load_n(s->told, __ATOMIC_RELAXED) - sent;
	s->came[beside] += is.packets - was.packets;
	net_end(&pid);
	return r;
}

static void print(struct scene *s, const struct place *p, struct samples *got)
{
	struct column c[BESIDE__N];

	for (unsigned i = 0; i < BESIDE__N; i++)
		c[i] = (struct column){ beside_name[i], &got[i] };
	columns_print("flood", p->at, "trips/s", c, BESIDE__N);
	for (unsigned i = OWN_LOOP; i < BESIDE__N; i++)
		printf("# flood, %s, %s: %.0f thousand datagrams a second, %.0f reach the host\n",
		       p->at, beside_name[i], (double)s->sent[i] * 1e6 / (double)(s->nsec[i] + 1),
		       (double)s->came[i] * 1e6 / (double)(s->nsec[i] + 1));
	for (unsigned i = 0; i < BESIDE__N; i++) {
		samples_free(&got[i]);
		s->sent[i] = s->came[i] = s->nsec[i] = 0;
	}
}

static int at_place(struct scene *s, const struct place *p)
{
	unsigned windows = s->bed->rounds * s->bed->seconds * WINDOWS_MORE / BESIDE__N + 1;
	struct samples got[BESIDE__N] = { 0 };
	int r = trip_open(&s->trip, &s->near, true, p->trips);

	if (r == 0)
		r = net_pin(p->trips);
	for (unsigned i = 0; i < windows * BESIDE__N && r == 0 && !bench_stopped(); i++)
		r = window(s, i % BESIDE__N, p, &got[i % BESIDE__N]);
	net_unpin();
	trip_close(&s->trip);
	print(s, p, got);
	return r;
}

static int open_scene(struct scene *s, const struct bed *bed)
{
	static const char *const none[] = { NULL };
	static const char *const pps[] = { PPS_LIMIT, NULL };
	int r;

	*s = (struct scene){ .bed = bed, .trip = TRIP_NONE, .sink = -1 };
	s->told = mmap(NULL, sizeof(*s->told), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		       -1, 0);
	if (s->told == MAP_FAILED)
		return -errno;
	s->sink = net_socket(bed, bed->outside);
	r = s->sink < 0 ? s->sink : end_guest(&s->near, bed, "near", none);
	if (r == 0)
		r = end_guest(&s->free, bed, "free", none);
	if (r == 0)
		r = end_guest(&s->held, bed, "held", pps);
	if (r == 0)
		r = net_run(bed, s->free.net, NULL, 0, "ip link set lo up");
	return r;
}

int network_floods(const struct bed *bed)
{
	const struct place places[] = {
		{ "any_cpu", -1, -1 },
		{ "own_cpu", 0, (int)sysconf(_SC_NPROCESSORS_ONLN) - 1 },
	};
	struct scene s;
	int r = open_scene(&s, bed);

	for (size_t i = 0; i < ARRAY_SIZE(places) && r == 0 && !bench_stopped(); i++) {
		if (places[i].flood != places[i].trips || places[i].flood < 0)
			r = at_place(&s, &places[i]);
	}
	if (s.told != MAP_FAILED)
		munmap(s.told, sizeof(*s.told));
	close_p(&s.sink);
	end_remove(&s.near);
	end_remove(&s.free);
	end_remove(&s.held);
	return r;
}
