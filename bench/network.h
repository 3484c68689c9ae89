/* bench/network.h - the parts of bench/network: namespaces and wires, ends that send, the table
 *
 *	guests ----------- host (cosd) up0 ---- eth0  outside (iperf3 -s)
 *	bare eth0 --- down0 router up0 ------- bare0  outside
 *	other eth0 -- down1 router
 *
 * Each of these is a network namespace of the bench. The bench itself stays in the host's and
 * starts programs, or opens sockets, in the others and in guests. */
#pragma once

#include <arpa/inet.h>
#include <net/if.h>

#include "bench/daemon.h"
#include "bench/subject.h"

#define NETWORK_SERVERS 3U     /* iperf3 outside: transfers at the same time */
#define NETWORK_PORT    5201U  /* of the first of them */
#define NETWORK_BURST   65536U /* net.burst that guests have by default */
#define NETWORK_CONTENT 1472U  /* of the largest datagram that is one frame */
#define NETWORK_POOL    "10.88.0.0/22"

enum way { WAY_OUT, WAY_IN, WAY__N }; /* as a guest sees it */
enum side { SIDE_COS, SIDE_BARE, SIDE__N };

extern const char *const way_name[WAY__N];

struct bed {
	const struct bench *b;
	const struct daemon *d;
	unsigned rounds, seconds;
	const char *only;
	int host, outside, router, bare, other; /* network namespaces */
	pid_t server[NETWORK_SERVERS];
};

/* ---- network-wire.c: namespaces, what runs in them, links ---- */

/* All here are telling, but for net_spawn(). Afterwards the bench is in the host's namespace. */
int wire_open(struct bed *bed);
/* Starts iperf3 outside. */
int wire_serve(struct bed *bed);
/* A daemon whose guests are behind the host's uplink; CAP: its net.cap, 0: none. */
int wire_daemon(struct daemon *d, const struct bench *b, uint64_t cap);
void wire_close(struct bed *bed);
/* What the bench does next happens there, until it leaves. */
int net_visit(int net);
void net_leave(const struct bed *bed);
/* Runs the words of a line; none has a space. With BUF its output, at most SIZE - 1 bytes. */
__attribute__((format(printf, 5, 6))) int net_run(const struct bed *bed, int net, char *buf,
						  size_t size, const char *fmt, ...);
/* As bench_spawn(). */
pid_t net_spawn(const struct bed *bed, int net, const char *const *argv, int out);
int net_open(const struct bed *bed, int net, int type); /* a socket of IPv4 */
/* A socket for datagrams, bound to the port of what is thrown away; nobody has to read it. */
int net_socket(const struct bed *bed, int net);
struct sockaddr_in net_address(const char *ip);
/* Datagrams of SIZE bytes to that port, as fast as they are taken, counted in *SENT; to be called
 * in a process of its own. */
__attribute__((noreturn)) void net_send_all(int sock, const char *to, size_t size, uint64_t *sent);

struct frames {
	uint64_t bytes, packets;
};
/* What a link has received. */
int net_received(const struct bed *bed, int net, const char *link, struct frames *ret);
/* Whether the link is handed segments of TCP that are larger than its frames. */
int net_segment(const struct bed *bed, int net, const char *link, bool large);

/* ---- network-end.c: what sends to the outside and receives from there ---- */

/* A guest, or the bare namespace. */
struct end {
	const struct bed *bed;
	enum side side;
	struct subject guest;
	int net;                /* its namespace */
	char link[IF_NAMESIZE]; /* guest: the host's end of its link */
	char address[INET_ADDRSTRLEN];
	const char *outside; /* address of the other end */
};

int end_guest(struct end *e, const struct bed *bed, const char *name, const char *const *limits);
/* One that runs already. */
int end_find(struct end *e, const struct bed *bed, const char *name);
int end_bare(struct end *e, const struct bed *bed);
/* E may be all zeros. */
void end_remove(struct end *e);
/* A ceiling for both ways. */
int end_limit(const struct end *e, uint64_t bits);
/* None at all, in the way of the bare namespace. */
int end_unlimit(const struct end *e);

/* Bytes of the class at a time; the kernel was asked between BEFORE and AFTER. */
struct reading {
	uint64_t bytes, before, after;
};
int end_read(const struct end *e, enum way way, struct reading *ret);
/* Those of all guests together. */
int end_read_all(const struct bed *bed, enum way way, struct reading *ret);
/* Bits per second between two readings. */
double reading_rate(const struct reading *from, const struct reading *to);

/* A transfer by iperf3 with the outside, from its start to its report. */
struct flow {
	pid_t pid;
	int out;
};
#define FLOW_NONE ((struct flow){ -1, -1 })
/* To SERVER; AMOUNT of UNIT: "-t" seconds behind a first one that the report leaves out, or "-n"
 * bytes. */
int flow_begin(struct flow *f, const struct end *e, enum way way, unsigned server, const char *unit,
	       unsigned amount);
/* Bits of content per second that the receiver got; RET may be NULL. */
int flow_end(struct flow *f, double *ret);
/* After a failure; F may be FLOW_NONE. */
void flow_drop(struct flow *f);

/* ---- network-trip.c: a byte there and back ---- */

/* The caller sends and waits, another process answers. */
struct trip {
	int near;
	pid_t pid;
};
#define TRIP_NONE ((struct trip){ -1, 0 })
/* CPU: where the other process is; -1: anywhere. Telling, as all here. */
int trip_open(struct trip *t, const struct end *e, bool tcp, int cpu);
int trip_once(const struct trip *t, uint64_t *ret_nsec);
/* T may be TRIP_NONE. */
void trip_close(struct trip *t);
/* The caller, to one CPU (-1: none) and back to all. */
int net_pin(int cpu);
void net_unpin(void);
/* A process that dies with the bench, on that CPU; 0 in it. */
pid_t net_fork(int cpu);
/* PID may be 0, and is afterwards. */
void net_end(pid_t *pid);

/* ---- network.c: rows ---- */

struct row {
	const char *what, *at, *unit;
	enum way way;
	double asked;
	bool light;                   /* not bound by the host's CPUs, however busy: no remark */
	struct samples got[SIDE__N];  /* thousandths of UNIT */
	struct samples busy[SIDE__N]; /* CPU time of the whole host, thousandths of % of all CPUs */
};

struct row row_of(const char *what, const char *at, enum way way, const char *unit, double asked);
void row_add(struct row *row, enum side side, double got, double busy);
/* Prints and empties it. */
void row_print(struct row *row);

/* Who is compared; thousandths of a unit. */
struct column {
	const char *by;
	struct samples *got;
};
/* A line of the second table for each; the first is what all are divided by. */
void columns_print(const char *what, const char *at, const char *unit, const struct column *c,
		   unsigned n);

struct busy {
	uint64_t t, cpu;
};
void busy_begin(struct busy *b);
/* % of all CPUs since then. */
double busy_end(const struct busy *b);

bool bed_wants(const struct bed *bed, const char *what);

/* Each measures, prints its rows and returns 0 or a negative errno, told. */
int network_ceilings(const struct bed *bed);
int network_counts(const struct bed *bed);
/* With these the daemon has a net.cap of NETWORK_CAP. */
#define NETWORK_CAP 100000000U
int network_guarantee(const struct bed *bed);
int network_shares(const struct bed *bed);

/* These print columns. */
int network_paths(const struct bed *bed);
int network_floods(const struct bed *bed);
int network_starts(const struct bed *bed);
int network_setups(const struct bed *bed);
