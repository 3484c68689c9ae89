/* lib/launch/net.h - a guest's link: what it is made of, made and taken away */
#pragma once

#include <sys/types.h>

#include "lib/kern/htb.h"
#include "lib/kern/link.h"
#include "lib/kern/nat.h"
#include "lib/model/net.h"

/* What leaves by the uplink, what arrives at guests; what counts against the instance's cap, what
 * goes to and comes from exempt destinations. */
enum net_tree { NET_TREE_OUT, NET_TREE_IN, NET__TREES };
enum net_branch { NET_CAPPED, NET_EXEMPT, NET__BRANCHES };

/* What every IPv6 link has, so each host's end may: the guest's way out. */
extern const struct ip launch_net_gateway6;

struct launch_net {
	/* of the instance; borrowed */
	struct nltx *host;
	struct nat *nat;
	int trees[NET__TREES]; /* links with a tree of classes; 0: none */
	uint32_t group, mtu;
	int lower;                        /* of macvlan: the uplink */
	int bridge;                       /* of which the host's end is a port; 0: none */
	char bridge_name[LINK_NAME_SIZE]; /* cosd's own, which routes; "": the bridge is the host's
					   */

	/* the guest's */
	const char *name;
	char link[LINK_NAME_SIZE]; /* the host's end */
	int index;
	uint8_t mac[2][6];          /* the host's end, the guest's */
	struct ip ip[NET_FAMILIES]; /* family 0: none that is known */
	unsigned len[NET_FAMILIES];
	struct ip gateway[NET_FAMILIES];       /* family 0: none */
	struct htb_class class[NET__BRANCHES]; /* id 0: none */
	uint64_t bound[NET__TREES];            /* of the capped class's ceiling, by its quota */
	uint64_t pps;
	const struct net_spec *spec;
	char friends[NET_PEERS_MAX][LINK_NAME_SIZE]; /* links that may begin a conversation */
	unsigned n_friends;
	bool attached; /* its elements are in the table */
};

/* Makes the link to the network namespace of process PID, with classes, addresses and routes. When
 * it fails, launch_net_detach() takes away what was made; the link goes with the namespace. */
int launch_net_attach(struct launch_net *n, pid_t pid, struct cos_err *err);
/* The same for a machine: the host's end is a tap, whose descriptor is the caller's. It goes with
 * the last one. */
int launch_net_attach_tap(struct launch_net *n, int *ret_tap, struct cos_err *err);
/* Idempotent. */
void launch_net_detach(struct launch_net *n);
/* The classes become what N says; a tree that was made anew gets them. */
int launch_net_classes(const struct launch_net *n, struct cos_err *err);
/* What arrives goes through the tree of the link trees[NET_TREE_IN], which was made anew. */
int launch_net_redirect(const struct launch_net *n, struct cos_err *err);
/* The bridge was made anew. */
int launch_net_rejoin(const struct launch_net *n, struct cos_err *err);
/* The running guest's classes and elements become those of NEXT, all or nothing. */
int launch_net_change(const struct launch_net *now, const struct launch_net *next,
		      struct cos_err *err);
/* The elements of N for nat_load(); borrows from N. FRIENDS takes NET_PEERS_MAX entries. */
void launch_net_elements(const struct launch_net *n, const char **friends,
			 struct nat_forward *forwards, struct nat_guest *ret);
