/* lib/model/net.c - a guest's network as the user wants it: the keys net.* of a specification */
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

static int need_list(json_t *v, size_t max, const char *at, struct cos_err *err)
{
	if (!json_is_array(v))
		return jsonx_bad(err, at, "not an array");
	if (json_array_size(v) > max)
		return jsonx_bad(err, at, "has %zu elements, more than %zu", json_array_size(v),
				 max);
	return 0;
}

int net_parse_mode(json_t *v, const char *at, struct net_spec *n, struct cos_err *err)
{
	const char *s = json_string_value(v);

	for (enum net_mode m = 0; s && m < NET__N; m++) {
		if (strcmp(s, net_mode_name[m]) == 0) {
			n->mode = m;
			return 0;
		}
	}
	return jsonx_bad(err, at, "is not auto, routed or none");
}

int net_parse_address(json_t *v, const char *at, struct net_spec *n, struct cos_err *err)
{
	int r = need_list(v, NET_FAMILIES, at, err);
	json_t *e;
	size_t i;

	if (r < 0)
		return r;
	json_array_foreach(v, i, e) {
		const char *s = json_string_value(e);
		struct ip ip, *to;

		if (!s || ip_parse(s, &ip) < 0)
			return jsonx_bad(err, at, "element %zu is not an address", i);
		to = &n->address[ip.family == AF_INET6];
		if (to->family)
			return jsonx_bad(err, at, "more than one IPv%d address",
					 ip.family == AF_INET ? 4 : 6);
		*to = ip;
	}
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
	int r = need_list(v, NET_FORWARDS_MAX, at, err);
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
	r = need_list(v, NET_PEERS_MAX, at, err);
	if (r < 0)
		return r;
	json_array_foreach(v, i, e) {
		if (!json_string_value(e) || !str_is_name(json_string_value(e)))
			return jsonx_bad(err, at, "element %zu is not the name of a guest", i);
	}
	n->peers = v;
	return 0;
}
