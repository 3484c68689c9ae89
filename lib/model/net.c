/* lib/model/net.c - a guest's network as the user wants it: the keys net.* of a specification */
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "lib/base/jsonx.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "lib/model/net.h"

const char *const net_mode_name[NET__N] = {
#define X(id, name, help) [NET_##id] = name,
	COS_NET_MODES(X)
#undef X
};

int net_parse_mode(json_t *v, const char *at, struct net_spec *n, struct cos_err *err)
{
	const char *s = json_string_value(v);

	for (enum net_mode m = 0; s && m < NET__N; m++) {
		if (strcmp(s, net_mode_name[m]) == 0) {
			n->mode = m;
			return 0;
		}
	}
	return jsonx_bad(err, at, "is not auto, routed, bridge, macvlan, host or none");
}

bool net_has_pool(const struct net_spec *n)
{
	return n->mode == NET_AUTO || n->mode == NET_ROUTED ||
	       (n->mode == NET_BRIDGE && !n->bridge[0]);
}

/* "10.1.2.3", or "10.1.2.3/24" where a network is meant: *RET_LEN is 0 without one. */
static int take_address(const char *s, struct ip *ret, unsigned *ret_len)
{
	char text[IP_TEXT_SIZE];
	size_t n = s ? strcspn(s, "/") : 0;
	uint64_t len = 0;

	if (!s || !str_fmt(text, sizeof(text), "%.*s", (int)n, s) || ip_parse(text, ret) < 0)
		return -EINVAL;
	if (s[n] && (str_to_u64(s + n + 1, &len) < 0 || len < 1 || len > 8UL * ip_size(ret)))
		return -EINVAL;
	*ret_len = (unsigned)len;
	return 0;
}

/* At most one of each family. */
static int parse_each(json_t *v, const char *at, bool with_len, struct ip *to, unsigned *to_len,
		      struct cos_err *err)
{
	int r = jsonx_need_array(v, NET_FAMILIES, at, err);
	json_t *e;
	size_t i;

	if (r < 0)
		return r;
	memset(to, 0, (size_t)NET_FAMILIES * sizeof(*to));
	json_array_foreach(v, i, e) {
		struct ip ip;
		unsigned len;
		int f;

		if (take_address(json_string_value(e), &ip, &len) < 0 || (len && !with_len))
			return jsonx_bad(err, at, "element %zu is not an address", i);
		f = ip.family == AF_INET6;
		if (to[f].family)
			return jsonx_bad(err, at, "more than one IPv%d address", f ? 6 : 4);
		to[f] = ip;
		to_len[f] = len;
	}
	return 0;
}

int net_parse_address(json_t *v, const char *at, struct net_spec *n, struct cos_err *err)
{
	return parse_each(v, at, true, n->address, n->len, err);
}

int net_parse_gateway(json_t *v, const char *at, struct net_spec *n, struct cos_err *err)
{
	unsigned none[NET_FAMILIES];

	return parse_each(v, at, false, n->gateway, none, err);
}

int net_parse_bridge(json_t *v, const char *at, struct net_spec *n, struct cos_err *err)
{
	const char *s = json_string_value(v);

	/* what a link may be called, and nothing that a path or nftables takes for more */
	if (!s || strlen(s) >= sizeof(n->bridge) || s[0] == '.' || s[0] == '-' ||
	    s[strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")])
		return jsonx_bad(err, at, "is not the name of a link");
	strcpy(n->bridge, s);
	return 0;
}

/* X(what is wrong so, key, why) */
#define CONFLICTS(X)                                                                               \
	X(n->bridge[0] && n->mode != NET_BRIDGE, "net.bridge", "needs net.mode=bridge")            \
	X(has_any(n->address) && (n->mode == NET_HOST || n->mode == NET_NONE), "net.address",      \
	  "has no meaning with this net.mode")                                                     \
	X(net_has_pool(n) && (n->len[0] || n->len[1]), "net.address",                              \
	  "has a length: addresses of the pool have none")                                         \
	X(!net_has_pool(n) && lacks_len(n), "net.address",                                         \
	  "needs the length of its network, such as 192.0.2.7/24")                                 \
	X(has_any(n->gateway) && net_has_pool(n), "net.gateway",                                   \
	  "is the daemon's with addresses of the pool")                                            \
	X(is_astray(n), "net.gateway", "is not in the network of net.address")                     \
	X(n->n_forward && !net_has_pool(n), "net.forward", "needs an address of the pool")         \
	X(n->closed && n->mode != NET_AUTO && n->mode != NET_ROUTED, "net.peers",                  \
	  "needs net.mode=routed: a bridge is one wire")

static bool has_any(const struct ip *ip)
{
	return ip[0].family || ip[1].family;
}

static bool lacks_len(const struct net_spec *n)
{
	return (n->address[0].family && !n->len[0]) || (n->address[1].family && !n->len[1]);
}

static bool is_astray(const struct net_spec *n)
{
	for (int f = 0; f < NET_FAMILIES; f++) {
		const struct ip_block net = { n->address[f], n->len[f] };

		if (n->gateway[f].family &&
		    (!n->address[f].family || !ip_is_in(&n->gateway[f], &net)))
			return true;
	}
	return false;
}

int net_check(const struct net_spec *n, const char *at, struct cos_err *err)
{
	char place[64];

#define X(wrong, key, why)                                                                         \
	if (wrong) {                                                                               \
		str_fmt(place, sizeof(place), "%s/%s", at, key);                                   \
		return jsonx_bad(err, place, "%s", why);                                           \
	}
	CONFLICTS(X)
#undef X
	return 0;
}

struct forward {
	char proto[4];
	uint64_t host, guest;
};

int net_parse_forward(json_t *v, const char *at, struct net_spec *n, struct cos_err *err)
{
	static const struct jsonx_field fields[] = {
		{ "proto", JSONX_STR, offsetof(struct forward, proto), 3, 3, true, NULL },
		{ "host", JSONX_UINT, offsetof(struct forward, host), 1, 65535, true, NULL },
		{ "guest", JSONX_UINT, offsetof(struct forward, guest), 1, 65535, false, NULL },
	};
	int r = jsonx_need_array(v, NET_FORWARDS_MAX, at, err);
	json_t *e;
	size_t i;

	if (r < 0)
		return r;
	n->n_forward = 0;
	json_array_foreach(v, i, e) {
		struct forward f = { .proto = "" };
		char place[64];

		str_fmt(place, sizeof(place), "%s/%zu", at, i);
		r = jsonx_fill(e, place, fields, ARRAY_SIZE(fields), &f, err);
		if (r < 0)
			return r;
		if (strcmp(f.proto, "tcp") != 0 && strcmp(f.proto, "udp") != 0)
			return jsonx_bad(err, place, "proto is not tcp or udp");
		for (unsigned k = 0; k < n->n_forward; k++) {
			if (n->forward[k].host == f.host &&
			    n->forward[k].udp == (f.proto[0] == 'u'))
				return jsonx_bad(err, place, "%s port %u comes twice", f.proto,
						 (unsigned)f.host);
		}
		n->forward[n->n_forward++] = (struct net_forward){
			.udp = f.proto[0] == 'u',
			.host = (uint16_t)f.host,
			.guest = (uint16_t)(f.guest ?: f.host),
		};
	}
	return 0;
}

int net_parse_peers(json_t *v, const char *at, struct net_spec *n, struct cos_err *err)
{
	const char *s = json_string_value(v);
	json_t *e;
	size_t i;
	int r;

	n->closed = true;
	n->peers = NULL;
	if (s && strcmp(s, "all") == 0) {
		n->closed = false;
		return 0;
	}
	if (s)
		return jsonx_bad(err, at, "is not \"all\" or an array of names");
	r = jsonx_need_array(v, NET_PEERS_MAX, at, err);
	if (r < 0)
		return r;
	json_array_foreach(v, i, e) {
		if (!json_string_value(e) || !str_is_name(json_string_value(e)))
			return jsonx_bad(err, at, "element %zu is not the name of a guest", i);
	}
	n->peers = v;
	return 0;
}
