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
	struct ip address[NET_FAMILIES]; /* asked for; family 0: any */
	struct net_forward forward[NET_FORWARDS_MAX];
	unsigned n_forward;
	bool closed;   /* other guests may not begin a conversation, but for these */
	json_t *peers; /* names, borrowed; NULL: none */
};

/* Parsers of the keys; V is the value, AT its place. */
int net_parse_mode(json_t *v, const char *at, struct net_spec *n, struct cos_err *err);
int net_parse_address(json_t *v, const char *at, struct net_spec *n, struct cos_err *err);
int net_parse_forward(json_t *v, const char *at, struct net_spec *n, struct cos_err *err);
int net_parse_peers(json_t *v, const char *at, struct net_spec *n, struct cos_err *err);
