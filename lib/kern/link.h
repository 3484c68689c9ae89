/* lib/kern/link.h - network links, their addresses and routes, as requests of a transaction
 *
 * Every function adds requests to T; nothing happens before nltx_commit(). */
#pragma once

#include "lib/base/ip.h"
#include "lib/kern/nltx.h"

#define LINK_NAME_SIZE   16
#define LINK_GUEST_NAME  "eth0" /* inside */
#define LINK_GUEST_INDEX 2      /* inside: lo is 1 */

/* Who made a route, as `ip route` shows it: "proto 202". */
#define LINK_ROUTE_PROTOCOL 202

/* A veth pair whose other end is born in the guest's namespace: one that is moved there costs 13 to
 * 27 ms. */
struct link_pair {
	const char *name;  /* of the host's end */
	const char *alias; /* the guest's name */
	int index;         /* of the host's end: chosen, so that one transaction can speak of it */
	uint32_t group;
	uint32_t mtu;
	int netns;         /* the guest's; nobody's for a tap */
	uint8_t mac[2][6]; /* the host's end, the guest's */
};

/* A link beside link LOWER, born in namespace NETNS, that shares its wire. It is not seen here. */
void link_macvlan(struct nltx *t, int lower, int netns, uint32_t mtu, const uint8_t mac[6]);
/* A bridge without a spanning tree that answers for whatever is routed elsewhere (proxy ARP); one
 * that is there already is left as it is. */
void link_bridge(struct nltx *t, const char *name, uint32_t group, uint32_t mtu,
		 const uint8_t mac[6]);
/* What link_bridge() cannot say at birth. */
void link_bridge_settings(struct nltx *t, int index);
/* Link INDEX becomes a port that has no say in the bridge's spanning tree. */
void link_port(struct nltx *t, int index, int bridge);
/* Not up yet. The host's end gives itself no IPv6 address, filters sources (rp_filter) and
 * forwards. */
void link_veth(struct nltx *t, const struct link_pair *p);
/* A tap, for frames with a struct virtio_net_hdr, that goes with the last descriptor of it; returns
 * the first, or -errno. Leaf. */
int link_open_tap(const char *name, int index);
/* What link_veth() says of the host's end, for a tap. */
void link_tap(struct nltx *t, const struct link_pair *p);
void link_alias(struct nltx *t, int index, const char *alias);
void link_up(struct nltx *t, int index);
void link_delete(struct nltx *t, int index);
/* An ifb; one that is there already is left as it is. */
void link_ifb(struct nltx *t, const char *name, uint32_t group);
/* An address of the host or, in its namespace, the guest's; the same address again is no error. */
void link_address(struct nltx *t, int index, const struct ip *ip, unsigned len);
/* DST through the link, or with VIA through that neighbour; one that is there is replaced. */
void link_route(struct nltx *t, int index, const struct ip_block *dst, const struct ip *via);
void link_drop_route(struct nltx *t, int index, const struct ip_block *dst);
/* Packets to DST that no longer route takes are refused. */
void link_unreachable(struct nltx *t, const struct ip_block *dst);
void link_drop_unreachable(struct nltx *t, const struct ip_block *dst);
/* IP is at MAC for good: nobody is asked. */
void link_neighbour(struct nltx *t, int index, const struct ip *ip, const uint8_t mac[6]);
void link_drop_neighbour(struct nltx *t, int index, const struct ip *ip);
/* What leaves through link INDEX goes through link TO first. */
void link_redirect(struct nltx *t, int index, int to);
void link_drop_redirect(struct nltx *t, int index);

/* Of this process's namespace; 0: there is none. Leaf. */
int link_index(const char *name);

struct link_info {
	int index, master;                                /* of which it is a port; 0: none */
	char name[LINK_NAME_SIZE], alias[LINK_NAME_SIZE]; /* the alias cut to that */
	uint8_t mac[6];
	bool is_bridge;
	uint32_t group, mtu;
	bool up;
};

/* Calls FN for each link until it returns not 0. */
int link_each(struct nltx *t, int (*fn)(const struct link_info *l, void *arg), void *arg,
	      struct cos_err *err);

/* An address of the host, or a route (INDEX 0: unreachable and such). */
struct link_use {
	struct ip_block block;
	int index;
	bool is_route;
	uint8_t protocol; /* of a route */
};
/* Calls FN for each address and each route of FAMILY but those to everywhere, to multicast and to
 * the host itself. */
int link_each_use(struct nltx *t, int family, int (*fn)(const struct link_use *u, void *arg),
		  void *arg, struct cos_err *err);
/* The link of the default route of FAMILY with the lowest metric; 0: none. */
int link_default(struct nltx *t, int family, int *ret, struct cos_err *err);
