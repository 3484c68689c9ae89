/* lib/launch/net.h - a guest's routed link: what it is made of, made and taken away */
#pragma once

#include <sys/types.h>

#include "lib/kern/htb.h"
#include "lib/kern/link.h"
#include "lib/kern/nat.h"
#include "lib/model/net.h"

struct launch_net {
	/* of the instance; borrowed */
	struct nltx *host;
	struct nat *nat;
	int trees[2]; /* links with a tree of classes: uplink, ifb; 0: none */
	uint32_t group, mtu;
	struct ip gateway[NET_FAMILIES]; /* family 0: none */

	/* the guest's */
	const char *name;
	char link[LINK_NAME_SIZE]; /* the host's end */
	int index;
	uint8_t mac[2][6]; /* the host's end, the guest's */
	struct ip ip[NET_FAMILIES];
	struct htb_class class;
	uint64_t pps;
	const struct net_spec *spec;
	char friends[NET_PEERS_MAX][LINK_NAME_SIZE]; /* links that may begin a conversation */
	unsigned n_friends;
	bool attached; /* its elements are in the table */
};

/* Makes the link to the network namespace of process PID, with classes, addresses and routes. When
 * it fails, launch_net_detach() takes away what was made; the link goes with the namespace. */
int launch_net_attach(struct launch_net *n, pid_t pid, struct cos_err *err);
/* Idempotent. */
void launch_net_detach(struct launch_net *n);
/* The running guest's classes and elements become those of NEXT, all or nothing. */
int launch_net_change(const struct launch_net *now, const struct launch_net *next,
		      struct cos_err *err);
/* The elements of N for nat_load(); borrows from N. FRIENDS takes NET_PEERS_MAX entries. */
void launch_net_elements(const struct launch_net *n, const char **friends,
			 struct nat_forward *forwards, struct nat_guest *ret);
