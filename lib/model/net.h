/* lib/model/net.h - a guest's network as the user wants it: the keys net.* of a specification */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/base/ip.h"

#define NET_FORWARDS_MAX 64
#define NET_PEERS_MAX    64
#define NET_FAMILIES     2 /* IPv4, IPv6 */

/* X(id, name, help) */
#define COS_NET_MODES(X)                                                                           \
	X(AUTO, "auto", "*routed* where the daemon has a pool of addresses, else *none*")          \
	X(ROUTED, "routed", "a link of its own with addresses of the pool, routed by the host")    \
	X(BRIDGE, "bridge", "a port of a bridge: *net.bridge*, or one of cosd's own")              \
	X(MACVLAN, "macvlan",                                                                      \
	  "a link beside the host's uplink, past the host's firewall, limits and counters")        \
	X(HOST, "host", "the host's own network")                                                  \
	X(NONE, "none", "nothing but *lo*")

enum net_mode {
#define X(id, name, help) NET_##id,
	COS_NET_MODES(X)
#undef X
		NET__N
};

extern const char *const net_mode_name[NET__N];

struct net_forward {
	bool udp;
	uint16_t host, guest; /* ports */
};

struct net_spec {
	enum net_mode mode;
	char bridge[16];                 /* "": cosd's own */
	struct ip address[NET_FAMILIES]; /* asked for; family 0: any, or none where there is no pool
					  */
	unsigned len[NET_FAMILIES];      /* of its network; 0: not said */
	struct ip gateway[NET_FAMILIES];
	struct net_forward forward[NET_FORWARDS_MAX];
	unsigned n_forward;
	bool closed;   /* other guests may not begin a conversation, but for these */
	json_t *peers; /* names, borrowed; NULL: none */
};

/* Whether the daemon's pools give the addresses, and its table speaks of them. */
bool net_has_pool(const struct net_spec *n);

/* Parsers of the keys; V is the value, AT its place. */
int net_parse_mode(json_t *v, const char *at, struct net_spec *n, struct cos_err *err);
int net_parse_address(json_t *v, const char *at, struct net_spec *n, struct cos_err *err);
int net_parse_gateway(json_t *v, const char *at, struct net_spec *n, struct cos_err *err);
int net_parse_bridge(json_t *v, const char *at, struct net_spec *n, struct cos_err *err);
int net_parse_forward(json_t *v, const char *at, struct net_spec *n, struct cos_err *err);
int net_parse_peers(json_t *v, const char *at, struct net_spec *n, struct cos_err *err);
/* Keys that make no sense beside each other. */
int net_check(const struct net_spec *n, const char *at, struct cos_err *err);
