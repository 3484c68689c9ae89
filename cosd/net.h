/* cosd/net.h - the network of an instance: pools, trees, table, guests' addresses and counters */
#pragma once

#include "lib/kern/nat.h"
#include "lib/kern/nltx.h"
#include "lib/launch/net.h"

#define NET_POOL_MAX 65536 /* addresses of a pool that guests are given */
#define NET_INDEX_BASE                                                                             \
	0x1000000U         /* of guests' links: no number that the kernel gives out itself         \
			    */
#define NET_CLASS_GUESTS 3 /* the class above the guests' own */
#define NET_QUANTUM      (64U << 10)

struct daemon;
struct guest;

/* Only where the configuration has a pool; without one every guest has lo alone. */
struct net {
	bool on;
	struct nltx rt;
	struct nat nat;
	struct ip_block pool[NET_FAMILIES]; /* family 0: none */
	struct ip gateway[NET_FAMILIES];
	uint8_t *used[NET_FAMILIES]; /* a bit for each address of the pool that a guest has */
	int uplink, ifb;
	char uplink_name[LINK_NAME_SIZE], ifb_name[LINK_NAME_SIZE];
	uint32_t group, mtu;
	uint64_t cap; /* bits per second */
};

/* Each way; grows as long as the guest exists, whatever happens to it and to the daemon. */
struct net_count {
	uint64_t bytes, packets, drops;
};
enum net_way { NET_OUT, NET_IN, NET__WAYS }; /* as the guest sees it */

/* What a guest has of the network, on disk from its first start until it is deleted. */
struct net_lease {
	struct ip ip[NET_FAMILIES];
	struct net_count past[NET__WAYS]; /* of runs that are over */
	uint64_t past_started_usec;       /* the last run that is counted there */
};

/* Before guests are recovered: pools, the tree, addresses of the host. Whatever an earlier worker
 * made stays. */
int net_open(struct daemon *d, struct cos_err *err);
/* After that: the table with all guests that run; what belongs to none is taken away. */
int net_ready(struct daemon *d, struct cos_err *err);
/* Takes away all that net_open() made, unless guests run. */
void net_close(struct daemon *d);

/* Reads what is on disk about a guest that was loaded. */
void net_load(struct guest *g);
/* Forgets a guest that is deleted; the same for one of which only the file is left. */
void net_forget(struct guest *g);
void net_drop_lease(struct daemon *d, const char *name);
/* A start: the guest gets its addresses, or is told why it cannot. Fills g->net. 1: it has a link;
 * 0: it has none. */
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

/* Counters of G now. READ: those of all classes, net_read(), or NULL for none running. */
struct net_classes;
struct net_classes *net_read(struct daemon *d);
void net_count(const struct guest *g, const struct net_classes *read, struct net_count *ret);
