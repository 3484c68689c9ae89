/* cosd/net.c - the network of an instance: pools, trees, table
 *
 * Links are known by their group, the number of the instance's first id range, which no other
 * instance on the host has. The ifb is named after it and holds the gateway's address: whatever of
 * the pool is routed elsewhere is not ours. */
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cosd/guest.h"
#include "cosd/net.h"
#include "lib/base/io.h"
#include "lib/base/log.h"
#include "lib/base/own.h"
#include "lib/base/str.h"

#define MTU        1500
#define IFB_PREFIX "cosifb"

/* --- what is asked for --- */

static int take_exempt(struct net *n, const char *text, struct cos_err *err)
{
	char one[IP_TEXT_SIZE];
	size_t len;

	for (const char *p = text; *(p += strspn(p, " ")); p += len) {
		len = strcspn(p, " ");
		if (n->n_exempt == NET_EXEMPT_MAX)
			return cos_fail(err, COS_E_INVALID, 0, "net.exempt: more than %d blocks",
					NET_EXEMPT_MAX);
		if (!str_fmt(one, sizeof(one), "%.*s", (int)len, p) ||
		    ip_parse_block(one, &n->exempt[n->n_exempt]) < 0)
			return cos_fail(err, COS_E_INVALID, 0,
					"net.exempt: %.*s is not a block of addresses", (int)len,
					p);
		n->n_exempt++;
	}
	return 0;
}

static int take_conf(struct net *n, const struct conf *c, struct cos_err *err)
{
	const char *pools[NET_FAMILIES] = { c->net_pool, c->net_pool6 };

	/* without a pool, for guests on a bridge of the host and with macvlan */
	n->on = pools[0][0] || pools[1][0] ||
		(c->net_uplink[0] && strcmp(c->net_uplink, "none") != 0);
	for (int i = 0; i < NET_FAMILIES; i++) {
		if (!pools[i][0])
			continue;
		if (ip_parse_block(pools[i], &n->pool[i]) < 0)
			return cos_fail(err, COS_E_INVALID, 0, "%s is not a block of addresses",
					pools[i]);
		n->gateway[i] = ip_nth(&n->pool[i], 1);
		n->used[i] = calloc(NET_POOL_MAX / 8, 1);
		if (!n->used[i])
			return cos_fail(err, COS_E_KERNEL, ENOMEM, "addresses");
	}
	return take_exempt(n, c->net_exempt, err);
}

/* An earlier worker's ifb says which one it was: guests may run while it is away, and the default
 * route with it. */
static int find_uplink(struct net *n, const char *wanted, struct cos_err *err)
{
	int r = 0;

	if (strcmp(wanted, "none") == 0)
		return 0;
	if (n->uplink_name[0]) {
		n->uplink = link_index(n->uplink_name);
		return 0;
	}
	if (wanted[0])
		n->uplink = link_index(wanted);
	for (int i = 0; i < NET_FAMILIES && r == 0 && !wanted[0] && !n->uplink; i++) {
		if (n->pool[i].ip.family)
			r = link_default(&n->rt, n->pool[i].ip.family, &n->uplink, err);
	}
	if (r == 0 && wanted[0] && !n->uplink)
		r = cos_advise(err,
			       cos_fail(err, COS_E_INVALID, ENODEV, "net.uplink: link %s", wanted),
			       "name a link of this host, or none");
	return r;
}

struct looking {
	struct net *n;
	const struct ip_block *pool;
	const char *wanted;
	struct link_use found;
	char name[LINK_NAME_SIZE];
	bool other;
};

/* What an earlier worker of this instance shaped, if the user does not want another. */
static int take_earlier(const struct link_info *l, void *arg)
{
	struct looking *w = arg;

	if (strcmp(l->name, w->n->ifb_name) == 0) {
		w->n->ifb = l->index;
		if (!w->wanted[0] || strcmp(w->wanted, l->alias) == 0)
			memcpy(w->n->uplink_name, l->alias, sizeof(l->alias));
	}
	return 0;
}

static int take_uplink(const struct link_info *l, void *arg)
{
	struct net *n = arg;

	if (l->index == n->uplink) {
		memcpy(n->uplink_name, l->name, sizeof(n->uplink_name));
		n->mtu = l->mtu;
	}
	return 0;
}

/* Two trees cannot be on one link: each instance's ifb says what it shapes. */
static int is_shaped(const struct link_info *l, void *arg)
{
	struct looking *w = arg;

	if (l->index == w->n->ifb || strncmp(l->name, IFB_PREFIX, strlen(IFB_PREFIX)) != 0 ||
	    strcmp(l->alias, w->n->uplink_name) != 0)
		return 0;
	memcpy(w->name, l->name, sizeof(w->name));
	return 1;
}

static int check_shared(struct net *n, struct cos_err *err)
{
	struct looking w = { .n = n };
	int r = n->uplink ? link_each(&n->rt, is_shaped, &w, err) : 0;

	return r != 1 ? r
		      : cos_advise(err,
				   cos_fail(err, COS_E_IN_USE, 0,
					    "%s is another cosd's uplink already: %s is its",
					    n->uplink_name, w.name),
				   "set net.uplink to another link, or to none");
}

static uint64_t speed_of(const char *link)
{
	char path[80], text[24];
	uint64_t mbit;

	str_fmt(path, sizeof(path), "/sys/class/net/%s/speed", link);
	if (io_read_at(AT_FDCWD, path, text, sizeof(text)) <= 0)
		return NET_FASTEST;
	text[strcspn(text, "\n")] = '\0';
	return str_to_u64(text, &mbit) == 0 && mbit > 0 && mbit < NET_FASTEST / 1000000
		       ? mbit * 1000000
		       : NET_FASTEST;
}

/* --- whether the pool is free --- */

static int is_others(const struct link_info *l, void *arg)
{
	struct looking *w = arg;

	if (l->index == w->found.index) {
		w->other = l->index != w->n->ifb && l->group != w->n->group;
		memcpy(w->name, l->name, sizeof(w->name));
	}
	return 0;
}

static int look_at(const struct link_use *u, void *arg)
{
	struct looking *w = arg;

	if (!ip_overlap(&u->block, w->pool))
		return 0;
	/* what keeps the pool's unused addresses from leaving is ours as long as the ifb is there
	 */
	if (u->index == 0 && u->protocol == LINK_ROUTE_PROTOCOL && w->n->ifb)
		return 0;
	w->found = *u;
	w->other = u->index == 0;
	str_fmt(w->name, sizeof(w->name), "nowhere");
	return 1;
}

static int check_pool(struct net *n, int family, struct cos_err *err)
{
	struct looking w = { .n = n, .pool = &n->pool[family] };
	char pool[IP_TEXT_SIZE], found[IP_TEXT_SIZE];
	int r = link_each_use(&n->rt, w.pool->ip.family, look_at, &w, err);

	if (r == 1)
		r = link_each(&n->rt, is_others, &w, err);
	if (r < 0 || !w.other)
		return r < 0 ? r : 0;
	return cos_advise(err,
			  cos_fail(err, COS_E_IN_USE, 0,
				   "the pool %s overlaps %s %s of this host, which leads to %s",
				   ip_block_text(w.pool, pool),
				   w.found.is_route ? "route" : "address",
				   ip_block_text(&w.found.block, found), w.name),
			  "choose addresses that nobody uses for net.pool%s", family ? "6" : "");
}

int net_open(struct daemon *d, struct cos_err *err)
{
	struct net *n = &d->net;
	int r = take_conf(n, &d->conf, err);

	if (r < 0 || !n->on)
		return r;
	n->group = d->args->id_base / LAUNCH_IDS;
	n->mtu = MTU;
	str_fmt(n->ifb_name, sizeof(n->ifb_name), IFB_PREFIX "%u", n->group);
	str_fmt(n->bridge_name, sizeof(n->bridge_name), "cosbr%u", n->group);
	n->bridge = link_index(n->bridge_name);
	n->own_bridge = n->bridge > 0;
	r = nltx_open(&n->rt, err);
	if (r == 0)
		r = nat_open(&n->nat, d->args->instance, err);
	if (r == 0)
		r = link_each(&n->rt, take_earlier,
			      &(struct looking){ .n = n, .wanted = d->conf.net_uplink }, err);
	if (r == 0)
		r = find_uplink(n, d->conf.net_uplink, err);
	if (r == 0)
		r = link_each(&n->rt, take_uplink, n, err);
	if (r == 0)
		r = check_shared(n, err);
	for (int i = 0; i < NET_FAMILIES && r == 0; i++) {
		if (n->pool[i].ip.family)
			r = check_pool(n, i, err);
	}
	n->speed = n->uplink ? speed_of(n->uplink_name) : NET_FASTEST;
	if (!d->conf.net_cap[0] || str_to_bits(d->conf.net_cap, &n->cap) < 0)
		n->cap = n->speed;
	net_quota_init(d);
	if (r == 0)
		r = net_make_host(n, err);
	return r < 0 ? cos_context(err, r, "network") : 0;
}

/* --- with the guests --- */

static void note_modes(struct daemon *d)
{
	struct list *p;

	list_for_each(p, &d->guests) {
		const struct guest *g = list_entry(p, struct guest, link);

		if (g->net && g->net->lower)
			d->net.macvlan = true;
		if (g->net && g->net->bridge)
			d->net.ports = true;
	}
}

struct leftovers {
	struct daemon *d;
	uint16_t id[NLTX_MAX];
	unsigned n;
};

static bool has_class(const struct daemon *d, uint16_t id)
{
	struct list *p;

	if (id < NET_CLASS_FIRST)
		return true;
	list_for_each(p, &d->guests) {
		const struct guest *g = list_entry(p, struct guest, link);

		if (g->net &&
		    (g->net->class[NET_CAPPED].id == id || g->net->class[NET_EXEMPT].id == id))
			return true;
	}
	return false;
}

static int note_leftover(uint16_t id, const struct htb_count *c, void *arg)
{
	struct leftovers *l = arg;

	(void)c;
	if (!has_class(l->d, id) && l->n < NLTX_MAX)
		l->id[l->n++] = id;
	return 0;
}

static int drop_leftovers(struct daemon *d, int index, struct cos_err *err)
{
	struct leftovers l;
	int r;

	do {
		l = (struct leftovers){ .d = d };
		r = htb_each(&d->net.rt, index, note_leftover, &l, err);
		for (unsigned i = 0; i < l.n; i++)
			htb_drop_class(&d->net.rt, index, l.id[i]);
		if (r == 0)
			r = nltx_commit(&d->net.rt, err);
	} while (r == 0 && l.n == NLTX_MAX);
	return r;
}

/* What the elements of a guest borrow while the table is loaded. */
struct elements {
	struct nat_guest g;
	struct nat_forward forwards[NET_FORWARDS_MAX];
	const char *friends[NET_PEERS_MAX];
};

int net_load_table(struct daemon *d, struct cos_err *err)
{
	struct net *n = &d->net;
	const struct ip_block *first = n->pool[0].ip.family ? &n->pool[0] : &n->pool[1];
	char mac[24];
	const struct nat_host h = {
		.group = n->group,
		.pool = first,
		.n_pool = (n->pool[0].ip.family != 0) + (n->pool[1].ip.family != 0),
		.ports = n->ports,
		.beside = n->macvlan && n->uplink ? n->uplink_name : NULL,
		.mac = mac,
		.masquerade = d->conf.net_masquerade,
		.exempt = n->exempt,
		.n_exempt = n->n_exempt,
	};
	auto_free struct elements *all = calloc(d->n_guests + 1, sizeof(*all));
	auto_free const struct nat_guest **list =
		calloc(d->n_guests + 1, sizeof(struct nat_guest *));
	unsigned count = 0;
	struct list *p;

	if (!all || !list)
		return cos_fail(err, COS_E_KERNEL, ENOMEM, "nftables");
	str_fmt(mac, sizeof(mac), "%02x:%02x:%02x:%02x:%02x:%02x", n->mac[0], n->mac[1], n->mac[2],
		n->mac[3], n->mac[4], n->mac[5]);
	list_for_each(p, &d->guests) {
		const struct guest *g = list_entry(p, struct guest, link);

		if (!g->net || g->net->lower)
			continue;
		launch_net_elements(g->net, all[count].friends, all[count].forwards, &all[count].g);
		list[count] = &all[count].g;
		count++;
	}
	return nat_load(&n->nat, &h, list, count, err);
}

int net_ready(struct daemon *d, struct cos_err *err)
{
	struct net *n = &d->net;
	int r;

	if (!n->on)
		return 0;
	note_modes(d);
	r = net_watch(d, err);
	if (r == 0)
		r = net_load_table(d, err);
	if (r == 0 && n->uplink)
		r = drop_leftovers(d, n->uplink, err);
	if (r == 0)
		r = drop_leftovers(d, n->ifb, err);
	if (r == 0)
		netmon_learn(&n->watch.monitor);
	return r < 0 ? cos_context(err, r, "network") : 0;
}

void net_close(struct daemon *d)
{
	struct net *n = &d->net;
	struct cos_err ignored;
	struct list *p;
	bool runs = false;

	if (!n->on)
		return;
	net_unwatch(d);
	list_for_each(p, &d->guests)
		runs = runs || list_entry(p, struct guest, link)->slot >= 0;
	if (!runs) {
		nat_drop(&n->nat);
		if (n->uplink)
			htb_drop_tree(&n->rt, n->uplink);
		link_delete(&n->rt, n->ifb);
		if (n->bridge)
			link_delete(&n->rt, n->bridge);
		for (int i = 0; i < NET_FAMILIES; i++) {
			if (n->pool[i].ip.family)
				link_drop_unreachable(&n->rt, &n->pool[i]);
		}
		nltx_commit(&n->rt, &ignored);
	}
	nat_close(&n->nat);
	nltx_close(&n->rt);
	for (int i = 0; i < NET_FAMILIES; i++)
		free(n->used[i]);
}
