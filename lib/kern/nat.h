/* lib/kern/nat.h - the nftables of an instance, for all its guests: class, lock, translation
 *
 * A guest is elements of sets, never a rule: what a packet costs does not grow with the guests. All
 * guests' links are in one link group, by which the rules know them from birth on: what a link
 * sends before it is in the sets, or with another's address, is dropped. There is one table of each
 * family that is needed: inet and arp, bridge for guests on bridges, netdev for links beside the
 * uplink. Libnftables does the work; each call here is one transaction of the kernel, all or
 * nothing.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/base/ip.h"
#include "lib/kern/link.h"

struct nft_ctx;

struct nat {
	struct nft_ctx *nft;
	char table[80];
};

/* What all guests share. */
struct nat_host {
	uint32_t group;              /* of guests' links */
	const struct ip_block *pool; /* guests' addresses */
	unsigned n_pool;
	bool masquerade;               /* what leaves to elsewhere has an address of the host */
	const struct ip_block *exempt; /* the other end's addresses, for which exempt classes are */
	unsigned n_exempt;
	bool ports;         /* some guests' links are ports of bridges */
	const char *beside; /* the uplink, where guests have links beside it (macvlan); or NULL */
	const char *mac;    /* that link's */
};

struct nat_forward {
	bool udp;
	uint16_t host, guest; /* ports */
};

struct nat_guest {
	const char *link;       /* the host's end */
	bool port;              /* of a bridge: cosd's own, where the guest's addresses are, or */
	const char *bridge;     /* "": the host's */
	bool any_source;        /* what it sends from is its own matter */
	uint8_t mac[6];         /* of its own end */
	struct ip ip[3];        /* that it may send from; its family 0: none */
	uint16_t class, exempt; /* HTB classes; exempt 0: none */
	uint64_t pps;           /* packets a second, each way; UINT64_MAX: no limit */
	const struct nat_forward *forward;
	unsigned n_forward;
	bool closed;                /* other guests may not begin a conversation, but for FRIENDS */
	const char *const *friends; /* links */
	unsigned n_friends;
};

int nat_open(struct nat *n, const char *instance, struct cos_err *err);
void nat_close(struct nat *n);
/* Makes the table anew, with GUESTS, whatever there was. */
int nat_load(struct nat *n, const struct nat_host *h, const struct nat_guest *const *guests,
	     unsigned n_guests, struct cos_err *err);
/* NOW's elements are replaced by NEXT's; either may be NULL. Cost: 0.2 ms. */
int nat_change(struct nat *n, const struct nat_guest *now, const struct nat_guest *next,
	       struct cos_err *err);
/* Removes the table; nothing if there is none. */
void nat_drop(struct nat *n);
