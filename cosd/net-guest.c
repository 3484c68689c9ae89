/* cosd/net-guest.c - what a guest has of the network: addresses, its link, counters
 *
 *   S/net/NAME.json   {"version", "address": [...], "past": {...}, "past_started_usec"}
 *
 * A guest keeps its addresses and counters from its first start until it is deleted. The classes
 * count a run; when it is over that goes to the file, and then the classes go. */
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cosd/guest.h"
#include "cosd/net.h"
#include "lib/base/io.h"
#include "lib/base/jsonx.h"
#include "lib/base/log.h"
#include "lib/base/own.h"
#include "lib/base/str.h"

#define LEASE_VERSION 1
#define LEASE_BYTES   4096
#define QUEUE_MIN     (128U << 10)
#define QUEUE_MAX     (4U << 20)
#define CLASS_FIRST   16 /* of slot 0 */
#define FIRST         2  /* address of a pool that a guest may have */

static const char *const way_name[NET__WAYS] = { [NET_OUT] = "out", [NET_IN] = "in" };

/* --- the file --- */

static void lease_file(char *buf, size_t size, const char *name)
{
	str_fmt(buf, size, "%s.json", name);
}

static json_t *lease_json(const struct net_lease *l)
{
	json_t *addresses = json_array(), *past = json_object();
	char text[IP_TEXT_SIZE];

	for (int i = 0; i < NET_FAMILIES; i++) {
		if (l->ip[i].family)
			json_array_append_new(addresses, json_string(ip_text(&l->ip[i], text)));
	}
	for (int w = 0; w < NET__WAYS; w++)
		json_object_set_new(past, way_name[w],
				    json_pack("{s:I, s:I, s:I}", "bytes",
					      (json_int_t)l->past[w].bytes, "packets",
					      (json_int_t)l->past[w].packets, "drops",
					      (json_int_t)l->past[w].drops));
	return json_pack("{s:i, s:o, s:o, s:I}", "version", LEASE_VERSION, "address", addresses,
			 "past", past, "past_started_usec", (json_int_t)l->past_started_usec);
}

static int put_lease(const struct guest *g, struct cos_err *err)
{
	auto_json json_t *j = lease_json(&g->lease);
	auto_free char *text = j ? json_dumps(j, JSON_INDENT(1)) : NULL;
	char file[80];
	int r;

	lease_file(file, sizeof(file), g->name);
	r = text ? io_replace_at(g->d->leases, file, text, strlen(text), 0600, !g->spec.ephemeral)
		 : -ENOMEM;
	return r < 0 ? cos_fail(err, COS_E_KERNEL, -r, "write the addresses of %s", g->name) : 0;
}

static void mark(struct net *n, const struct ip *ip, bool used)
{
	int family = ip->family == AF_INET6;
	uint32_t i;

	if (!ip->family || !n->used[family] || !ip_is_in(ip, &n->pool[family]))
		return;
	i = ip_index(&n->pool[family], ip);
	if (i / 8 >= NET_POOL_MAX / 8)
		return;
	if (used)
		n->used[family][i / 8] |= (uint8_t)(1U << i % 8);
	else
		n->used[family][i / 8] &= (uint8_t) ~(1U << i % 8);
}

static bool is_used(const struct net *n, int family, uint32_t i)
{
	return n->used[family][i / 8] & 1U << i % 8;
}

static void take_past(json_t *past, struct net_lease *l)
{
	for (int w = 0; w < NET__WAYS; w++) {
		json_t *j = json_object_get(past, way_name[w]);

		l->past[w] = (struct net_count){
			.bytes = (uint64_t)json_integer_value(json_object_get(j, "bytes")),
			.packets = (uint64_t)json_integer_value(json_object_get(j, "packets")),
			.drops = (uint64_t)json_integer_value(json_object_get(j, "drops")),
		};
	}
}

void net_load(struct guest *g)
{
	char file[80], text[LEASE_BYTES];
	auto_json json_t *j = NULL;
	struct cos_err err;
	json_t *e;
	ssize_t n;
	size_t i;

	lease_file(file, sizeof(file), g->name);
	n = io_read_at(g->d->leases, file, text, sizeof(text));
	if (n == -ENOENT)
		return;
	if (n < 0 || jsonx_parse(text, (size_t)n, file, &j, &err) < 0 ||
	    json_integer_value(json_object_get(j, "version")) != LEASE_VERSION) {
		log_say(LOG_ERROR, "%s: its addresses and counters are lost: net/%s is not usable",
			g->name, file);
		return;
	}
	json_array_foreach(json_object_get(j, "address"), i, e) {
		struct ip ip;

		if (json_is_string(e) && ip_parse(json_string_value(e), &ip) == 0) {
			g->lease.ip[ip.family == AF_INET6] = ip;
			mark(&g->d->net, &ip, true);
		}
	}
	take_past(json_object_get(j, "past"), &g->lease);
	g->lease.past_started_usec =
		(uint64_t)json_integer_value(json_object_get(j, "past_started_usec"));
}

void net_drop_lease(struct daemon *d, const char *name)
{
	char file[80];

	lease_file(file, sizeof(file), name);
	unlinkat(d->leases, file, 0);
}

void net_forget(struct guest *g)
{
	for (int i = 0; i < NET_FAMILIES; i++)
		mark(&g->d->net, &g->lease.ip[i], false);
	net_drop_lease(g->d, g->name);
}

/* --- addresses --- */

static const struct guest *holder_of(const struct guest *g, const struct ip *ip)
{
	struct list *p;

	list_for_each(p, &g->d->guests) {
		const struct guest *e = list_entry(p, struct guest, link);

		if (e != g && ip_equal(&e->lease.ip[ip->family == AF_INET6], ip))
			return e;
	}
	return NULL;
}

static int check_wanted(const struct guest *g, const struct ip *ip, struct cos_err *err)
{
	const struct net *n = &g->d->net;
	int family = ip->family == AF_INET6;
	char text[IP_TEXT_SIZE], pool[IP_TEXT_SIZE];
	const struct guest *other;
	uint32_t i;

	ip_text(ip, text);
	if (!n->pool[family].ip.family || !ip_is_in(ip, &n->pool[family]))
		return cos_advise(
			err, cos_fail(err, COS_E_ADMISSION, 0, "%s is in no pool of cosd", text),
			"choose one of %s",
			n->pool[family].ip.family ? ip_block_text(&n->pool[family], pool)
						  : "the other family");
	i = ip_index(&n->pool[family], ip);
	if (i < FIRST || i >= NET_POOL_MAX || i >= ip_count(&n->pool[family]) - (family == 0))
		return cos_fail(err, COS_E_ADMISSION, 0,
				"%s is not an address that a guest may have", text);
	other = is_used(n, family, i) ? holder_of(g, ip) : NULL;
	if (other)
		return cos_advise(
			err, cos_fail(err, COS_E_ADMISSION, 0, "%s is %s's", text, other->name),
			"choose another address, or delete that guest");
	return 0;
}

static int find_free(const struct net *n, int family, struct ip *ret, struct cos_err *err)
{
	uint32_t end = ip_count(&n->pool[family]) - (family == 0);
	char text[IP_TEXT_SIZE];

	for (uint32_t i = FIRST; i < end && i < NET_POOL_MAX; i++) {
		if (!is_used(n, family, i)) {
			*ret = ip_nth(&n->pool[family], i);
			return 0;
		}
	}
	return cos_advise(err,
			  cos_fail(err, COS_E_ADMISSION, 0, "no address of the pool %s is free",
				   ip_block_text(&n->pool[family], text)),
			  "delete guests, or give cosd a larger pool");
}

/* The address asked for, the one it had, or a free one. */
static int choose(const struct guest *g, int family, struct ip *ret, struct cos_err *err)
{
	const struct net *n = &g->d->net;
	const struct ip *wanted = &g->spec.net.address[family], *had = &g->lease.ip[family];

	if (wanted->family) {
		*ret = *wanted;
		return ip_equal(wanted, had) ? 0 : check_wanted(g, wanted, err);
	}
	if (!n->pool[family].ip.family) {
		ret->family = 0;
		return 0;
	}
	if (had->family && ip_is_in(had, &n->pool[family])) {
		*ret = *had;
		return 0;
	}
	return find_free(n, family, ret, err);
}

static int lease(struct guest *g, struct cos_err *err)
{
	struct ip next[NET_FAMILIES] = { 0 }, old[NET_FAMILIES];
	bool same = true;
	int r = 0;

	for (int i = 0; i < NET_FAMILIES && r == 0; i++) {
		r = choose(g, i, &next[i], err);
		same = same && r == 0 &&
		       (next[i].family ? ip_equal(&next[i], &g->lease.ip[i])
				       : !g->lease.ip[i].family);
	}
	if (r < 0 || same)
		return r;
	memcpy(old, g->lease.ip, sizeof(old));
	memcpy(g->lease.ip, next, sizeof(next));
	r = put_lease(g, err);
	if (r < 0) {
		memcpy(g->lease.ip, old, sizeof(old));
		return r;
	}
	for (int i = 0; i < NET_FAMILIES; i++)
		mark(&g->d->net, &old[i], false);
	for (int i = 0; i < NET_FAMILIES; i++)
		mark(&g->d->net, &next[i], true);
	return 0;
}

/* --- what it is promised --- */

static int check_guarantee(const struct guest *g, const struct limits *l, struct cos_err *err)
{
	uint64_t sum = 0, rate = l->v[LIMIT_NET_RATE], cap = g->d->net.cap;
	char want[LIMIT_TEXT_SIZE], left[LIMIT_TEXT_SIZE], all[LIMIT_TEXT_SIZE];
	struct list *p;

	list_for_each(p, &g->d->guests) {
		const struct guest *e = list_entry(p, struct guest, link);

		if (e != g && e->net)
			sum += e->spec.limits.v[LIMIT_NET_RATE];
	}
	if (sum + rate <= cap)
		return 0;
	return cos_advise(err,
			  cos_fail(err, COS_E_ADMISSION, 0,
				   "net.rate=%s: other guests have so much of %s that %s is left",
				   str_from_bits(want, rate), str_from_bits(all, cap),
				   str_from_bits(left, sum < cap ? cap - sum : 0)),
			  "ask for no more than what is left, or raise net.cap in cosd.json");
}

static int check_forwards(const struct guest *g, const struct net_spec *s, struct cos_err *err)
{
	struct list *p;

	list_for_each(p, &g->d->guests) {
		const struct guest *e = list_entry(p, struct guest, link);

		for (unsigned i = 0; e != g && e->net && i < e->spec.net.n_forward; i++) {
			const struct net_forward *f = &e->spec.net.forward[i];

			for (unsigned k = 0; k < s->n_forward; k++) {
				if (s->forward[k].host == f->host && s->forward[k].udp == f->udp)
					return cos_advise(
						err,
						cos_fail(err, COS_E_ADMISSION, 0,
							 "net.forward: %s port %u of the host "
							 "leads to %s",
							 f->udp ? "udp" : "tcp", f->host, e->name),
						"choose another port, or stop that guest");
			}
		}
	}
	return 0;
}

/* What asks for a link where there is none is not passed over. */
static int check_without(const struct guest *g, const struct spec *s, struct cos_err *err)
{
	const char *what = NULL;

	for (enum limit_id id = LIMIT__CG; id < LIMIT__NET; id++) {
		if (s->limits.set[id] && s->limits.v[id] != limit_defs[id].dflt)
			what = limit_defs[id].name;
	}
	if (s->net.address[0].family || s->net.address[1].family)
		what = "net.address";
	if (s->net.n_forward)
		what = "net.forward";
	if (!g->d->net.on && s->net.mode == NET_ROUTED)
		what = "net.mode=routed";
	if (!what)
		return 0;
	return g->d->net.on
		       ? cos_fail(err, COS_E_UNSUPPORTED, 0, "%s needs a network: net.mode is none",
				  what)
		       : cos_advise(err,
				    cos_fail(err, COS_E_UNSUPPORTED, 0,
					     "%s needs a network, and cosd has no addresses", what),
				    "set net.pool in cosd.json and restart cosd");
}

/* --- the link --- */

static void link_name(const struct daemon *d, unsigned slot, char buf[static LINK_NAME_SIZE])
{
	str_fmt(buf, LINK_NAME_SIZE, "cos%u", d->net.group + slot);
}

static bool is_peer(const struct net_spec *of, const char *name)
{
	json_t *e;
	size_t i;

	json_array_foreach(of->peers, i, e) {
		if (strcmp(json_string_value(e), name) == 0)
			return true;
	}
	return false;
}

static void find_friends(const struct guest *g, const struct net_spec *s, struct launch_net *l)
{
	struct list *p;

	l->n_friends = 0;
	list_for_each(p, &g->d->guests) {
		const struct guest *e = list_entry(p, struct guest, link);

		if (e != g && e->net && l->n_friends < NET_PEERS_MAX && is_peer(s, e->name))
			memcpy(l->friends[l->n_friends++], e->net->link, LINK_NAME_SIZE);
	}
}

/* A twentieth of a second's bytes, and no less than two of the largest segments. */
static uint32_t queue_of(uint64_t ceil)
{
	uint64_t bytes = ceil / 8 / 20;

	if (bytes < QUEUE_MIN)
		return QUEUE_MIN;
	return bytes < QUEUE_MAX ? (uint32_t)bytes : QUEUE_MAX;
}

static void fill(const struct guest *g, const struct spec *s, struct launch_net *l)
{
	struct daemon *d = g->d;
	const uint64_t *v = s->limits.v;
	uint32_t no = d->net.group + (uint32_t)g->slot;
	uint64_t ceil = v[LIMIT_NET_CEIL] < d->net.cap ? v[LIMIT_NET_CEIL] : d->net.cap;

	*l = (struct launch_net){
		.host = &d->net.rt,
		.nat = &d->net.nat,
		.trees = { d->net.uplink, d->net.ifb },
		.group = d->net.group,
		.mtu = d->net.mtu,
		.gateway = { d->net.gateway[0], d->net.gateway[1] },
		.name = g->name,
		.index = (int)(NET_INDEX_BASE + no),
		/* locally administered; no other link of the host's instances has them */
		.mac = { { 2, 0xc0, 5, 0xff, (uint8_t)(no >> 8), (uint8_t)no },
			 { 2, 0xc0, 5, 0, (uint8_t)(no >> 8), (uint8_t)no } },
		.ip = { g->lease.ip[0], g->lease.ip[1] },
		.class = {
			.parent = NET_CLASS_GUESTS,
			.id = (uint16_t)(CLASS_FIRST + g->slot),
			.rate = v[LIMIT_NET_RATE] < ceil ? v[LIMIT_NET_RATE] : ceil,
			.ceil = ceil,
			.burst = v[LIMIT_NET_BURST],
			.cburst = v[LIMIT_NET_BURST],
			.quantum = (uint32_t)(v[LIMIT_NET_SHARE] * NET_QUANTUM),
			.queue = queue_of(ceil),
		},
		.pps = v[LIMIT_NET_PPS],
		.spec = &s->net,
	};
	link_name(d, (unsigned)g->slot, l->link);
	find_friends(g, &s->net, l);
}

bool net_lingers(const struct daemon *d, unsigned slot)
{
	char name[LINK_NAME_SIZE];

	if (!d->net.on)
		return false;
	link_name(d, slot, name);
	return link_index(name) > 0;
}

/* G came or went: guests that count it among their peers know its link, or do not any more. */
static void tell_peers(const struct guest *g)
{
	struct list *p;

	list_for_each(p, &g->d->guests) {
		struct guest *e = list_entry(p, struct guest, link);
		auto_free struct launch_net *next = NULL;
		struct cos_err err;

		if (e == g || !e->net || !e->net->attached || !is_peer(&e->spec.net, g->name) ||
		    !(next = malloc(sizeof(*next))))
			continue;
		*next = *e->net;
		find_friends(e, &e->spec.net, next);
		if (launch_net_change(e->net, next, &err) < 0)
			log_say(LOG_ERROR, "%s: net.peers: %s", e->name, err.why);
		else
			*e->net = *next;
	}
}

int net_admit(struct guest *g, struct cos_err *err)
{
	enum net_mode mode = g->spec.net.mode;
	int r;

	if (!g->d->net.on || mode == NET_NONE)
		return check_without(g, &g->spec, err);
	r = check_guarantee(g, &g->spec.limits, err);
	if (r == 0)
		r = check_forwards(g, &g->spec.net, err);
	if (r == 0)
		r = lease(g, err);
	if (r < 0)
		return r;
	g->net = malloc(sizeof(*g->net));
	if (!g->net)
		return cos_fail(err, COS_E_KERNEL, ENOMEM, "network");
	fill(g, &g->spec, g->net);
	tell_peers(g);
	return 0;
}

void net_adopt(struct guest *g)
{
	if (!g->d->net.on || g->spec.net.mode == NET_NONE ||
	    (!g->lease.ip[0].family && !g->lease.ip[1].family))
		return;
	g->net = malloc(sizeof(*g->net));
	if (!g->net)
		return;
	fill(g, &g->spec, g->net);
	g->net->attached = true;
}

/* --- counters --- */

static struct net_count *count_of(struct net_count *c, const struct htb_count *h)
{
	c->bytes += h->bytes;
	c->packets += h->packets;
	c->drops += h->drops;
	return c;
}

/* What the classes counted goes to the file before they go; once, should that be cut short. */
static void keep_counts(struct guest *g)
{
	struct cos_err err;

	if (!g->net->attached || g->lease.past_started_usec == g->started_usec)
		return;
	for (int w = 0; w < NET__WAYS; w++) {
		struct htb_count h = { 0 };

		if (g->net->trees[w] &&
		    htb_read(g->net->host, g->net->trees[w], g->net->class.id, &h, &err) == 0)
			count_of(&g->lease.past[w], &h);
	}
	g->lease.past_started_usec = g->started_usec;
	if (put_lease(g, &err) < 0)
		log_say(LOG_ERROR, "%s: counters not kept: %s", g->name, err.why);
}

void net_release(struct guest *g)
{
	if (!g->net)
		return;
	keep_counts(g);
	launch_net_detach(g->net);
	free(g->net);
	g->net = NULL;
	tell_peers(g);
}

struct net_classes {
	const struct daemon *d;
	enum net_way way;
	struct htb_count of[][NET__WAYS]; /* by slot */
};

static int note_class(uint16_t id, const struct htb_count *c, void *arg)
{
	struct net_classes *all = arg;

	if (id >= CLASS_FIRST && (unsigned)(id - CLASS_FIRST) < all->d->args->id_count)
		all->of[id - CLASS_FIRST][all->way] = *c;
	return 0;
}

struct net_classes *net_read(struct daemon *d)
{
	struct net_classes *all;
	struct cos_err err;

	if (!d->net.on)
		return NULL;
	all = calloc(1, sizeof(*all) + d->args->id_count * sizeof(all->of[0]));
	if (!all)
		return NULL;
	all->d = d;
	all->way = NET_OUT;
	if (d->net.uplink)
		htb_each(&d->net.rt, d->net.uplink, note_class, all, &err);
	all->way = NET_IN;
	htb_each(&d->net.rt, d->net.ifb, note_class, all, &err);
	return all;
}

void net_count(const struct guest *g, const struct net_classes *read, struct net_count *ret)
{
	memcpy(ret, g->lease.past, sizeof(g->lease.past));
	for (int w = 0; read && g->net && g->slot >= 0 && w < NET__WAYS; w++)
		count_of(&ret[w], &read->of[g->slot][w]);
}

/* --- live changes --- */

int net_change(struct guest *g, const struct spec *next, struct cos_err *err)
{
	auto_free struct launch_net *to = NULL;
	int r;

	if (!g->net)
		return g->slot < 0 ? 0 : check_without(g, next, err);
	r = check_guarantee(g, &next->limits, err);
	if (r == 0)
		r = check_forwards(g, &next->net, err);
	if (r < 0 || !g->net->attached)
		return r;
	to = malloc(sizeof(*to));
	if (!to)
		return cos_fail(err, COS_E_KERNEL, ENOMEM, "network");
	fill(g, next, to);
	to->attached = true;
	r = launch_net_change(g->net, to, err);
	if (r == 0) {
		*g->net = *to;
		g->net->spec = &g->spec.net; /* NEXT takes that place */
	}
	return r;
}
