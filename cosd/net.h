/* cosd/net.h - the network of an instance: pools, trees, table, guests' addresses and counters */
#pragma once

#include "lib/base/loop.h"
#include "lib/kern/nat.h"
#include "lib/kern/netmon.h"
#include "lib/kern/nltx.h"
#include "lib/launch/net.h"

#define NET_POOL_MAX 65536 /* addresses of a pool that guests are given */
#define NET_INDEX_BASE                                                                             \
	0x1000000U /* of guests' links: no number that the kernel gives out itself                 \
		    */
#define NET_FASTEST      10000000000ULL /* bits per second, where a link does not tell */
#define NET_QUANTUM      (64U << 10)
#define NET_CLASS_FIRST  16      /* of slot 0 */
#define NET_EXEMPT_FIRST 0x8000U /* of slot 0, for exempt destinations */
#define NET_EXEMPT_MAX   256     /* blocks of those */

enum net_class { NET_CLASS_ROOT = 1, NET_CLASS_REST, NET_CLASS_GUESTS, NET_CLASS_EXEMPT };

struct daemon;
struct guest;

/* Only where the configuration has a pool or an uplink; else guests have lo alone, or the host's.
 */
struct net {
	bool on;
	struct nltx rt;
	struct nat nat;
	struct ip_block pool[NET_FAMILIES]; /* family 0: none */
	struct ip gateway[NET_FAMILIES];
	uint8_t *used[NET_FAMILIES]; /* a bit for each address of the pool that a guest has */
	int uplink, ifb,
		bridge; /* uplink 0: there is none, or none now; bridge 0: nobody needs it */
	char uplink_name[LINK_NAME_SIZE], ifb_name[LINK_NAME_SIZE], bridge_name[LINK_NAME_SIZE];
	int master;                      /* the bridge whose port the uplink is; 0: none */
	char speaker[LINK_NAME_SIZE];    /* the link with the host's addresses */
	uint8_t mac[6];                  /* the uplink's */
	bool codel;                      /* the kernel has fq_codel */
	bool own_bridge, ports, macvlan; /* there are or were guests that need these */
	uint32_t group, mtu;
	uint64_t cap, speed; /* bits per second: of all guests, of the uplink */
	struct ip_block exempt[NET_EXEMPT_MAX];
	unsigned n_exempt;
	struct loop_timer quota; /* net-quota.c */
	struct net_watch {       /* net-watch.c */
		struct loop_source links, tables;
		struct netmon_tables monitor;
		struct loop_timer repair;
		bool table, host; /* what is to be repaired */
		uint64_t repaired_usec;
	} watch;
};

/* What is counted, as the guest sees it: each grows as long as the guest exists, whatever happens
 * to it and to the daemon. */
enum net_stream_id {
	NET_OUT,
	NET_IN,
	NET__WAYS,
	NET_OUT_EXEMPT = NET__WAYS,
	NET_IN_EXEMPT,
	NET__STREAMS
};
struct net_stream {
	const char *key;
	enum net_tree tree;
	enum net_branch branch;
};
extern const struct net_stream net_streams[NET__STREAMS];
struct net_count {
	uint64_t bytes, packets, drops;
};

/* The period that runs, in seconds of the wall clock, and what the counters were when it began. */
struct net_quota {
	uint64_t period, begin, end;
	uint64_t before[NET__WAYS]; /* modulo 2^64 */
	bool told;                  /* its event */
};

/* What a guest has of the network, on disk from its first start until it is deleted. */
struct net_lease {
	enum net_mode mode; /* of the last start, and the bridge's name; "": cosd's own */
	char bridge[LINK_NAME_SIZE];
	struct ip ip[NET_FAMILIES];
	struct net_count past[NET__STREAMS]; /* of classes that are gone */
	uint64_t past_started_usec;          /* the last run whose end is counted there */
	struct net_quota quota;
	/* not on disk: what was last read of the classes that there are */
	struct net_count seen[NET__STREAMS];
	uint64_t over[NET__WAYS]; /* times a class had to wait */
};

/* Before guests are recovered: pools, the tree, addresses of the host. Whatever an earlier worker
 * made stays. */
int net_open(struct daemon *d, struct cos_err *err);
/* After that: the table with all guests that run; what belongs to none is taken away. */
int net_ready(struct daemon *d, struct cos_err *err);
/* Makes the table anew, with the guests that run. */
int net_load_table(struct daemon *d, struct cos_err *err);
/* Takes away all that net_open() made, unless guests run. */
void net_close(struct daemon *d);

/* --- the host's side (net-host.c) --- */
/* Makes what is not there of trees, ifb and bridge. */
int net_make_host(struct net *n, struct cos_err *err);
/* For a guest on a bridge or with macvlan: the bridge is there, and the table speaks of such links.
 */
int net_need(struct daemon *d, const struct net_spec *s, struct cos_err *err);
/* Trees and links that others took away are made again, with the classes of all guests. */
int net_restore_host(struct daemon *d, struct cos_err *err);

/* --- what is on disk (net-lease.c) --- */
/* Reads what there is about a guest that was loaded. */
void net_load(struct guest *g);
/* Forgets a guest that is deleted; the same for one of which only the file is left. */
void net_forget(struct guest *g);
void net_drop_lease(struct daemon *d, const char *name);
int net_put_lease(const struct guest *g, struct cos_err *err);
/* The guest has addresses: those it asks for, those it had, or free ones. */
int net_lease(struct guest *g, enum net_mode mode, struct cos_err *err);

/* --- a guest's link (net-guest.c) --- */
/* A start: the guest gets its addresses, or is told why it cannot. Fills g->net, which stays NULL
 * for one without a link. */
int net_admit(struct guest *g, struct cos_err *err);
/* g->net of a guest that runs, after a restart of the worker. */
void net_adopt(struct guest *g);
/* The guest is gone, or its start was given up: counters are kept, classes and elements go. */
void net_release(struct guest *g);
/* The running guest's network becomes what NEXT says, or nothing changes. */
struct spec;
int net_change(struct guest *g, const struct spec *next, struct cos_err *err);
/* Whether the link of SLOT is still there: the kernel takes it away in its own time. */
bool net_lingers(const struct daemon *d, unsigned slot);

/* --- counters (net-count.c) --- */
/* Reads the classes of all guests, or of one: a dump of each tree, or a question for each class
 * (20 microseconds). */
void net_look(struct daemon *d);
void net_look_at(struct guest *g);
/* As of the last look. */
void net_count(const struct guest *g, struct net_count ret[static NET__STREAMS]);
/* The uplink is gone, and its classes with it. */
void net_fold(struct guest *g, enum net_tree tree);
/* The guest's run is over: its counters go to the file. */
void net_keep_counts(struct guest *g);

/* --- quota (net-quota.c) --- */
void net_quota_init(struct daemon *d);
/* A guest starts: sets g->net->bound by what it used before. */
void net_quota_begin(struct guest *g);
/* Looks at all guests as soon as the caller is done: one runs already, or its limits change. */
void net_quota_touch(struct daemon *d);
/* Whether a quota, also one that was taken away just now, lowers a ceiling of the guest. */
bool net_quota_binds(const struct guest *g);
/* Bytes of the period that runs, each way; false: the guest has no quota. */
bool net_quota_used(const struct guest *g, uint64_t ret[static NET__WAYS]);
/* Whether its period has not ended. */
bool net_quota_lasts(const struct net_quota *q);

/* --- what others do to the host's network (net-watch.c) --- */
/* Before the table is made; netmon_learn() after that. */
int net_watch(struct daemon *d, struct cos_err *err);
void net_unwatch(struct daemon *d);
