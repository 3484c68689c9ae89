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

#include "cosd/guest.h"
#include "cosd/net.h"
#include "lib/base/io.h"
#include "lib/base/log.h"
#include "lib/base/own.h"
#include "lib/base/str.h"

#define FASTEST   10000000000ULL /* bits per second, where a link does not tell */
#define REST_RATE 1000000        /* what the host itself is guaranteed */
#define MTU       1500

enum class { CLASS_ROOT = 1, CLASS_REST };

/* --- what is asked for --- */

static int take_conf(struct net *n, const struct conf *c, struct cos_err *err)
{
	const char *pools[NET_FAMILIES] = { c->net_pool, c->net_pool6 };

	for (int i = 0; i < NET_FAMILIES; i++) {
		if (!pools[i][0])
			continue;
		n->on = true;
		if (ip_parse_block(pools[i], &n->pool[i]) < 0)
			return cos_fail(err, COS_E_INVALID, 0, "%s is not a block of addresses",
					pools[i]);
		n->gateway[i] = ip_nth(&n->pool[i], 1);
		n->used[i] = calloc(NET_POOL_MAX / 8, 1);
		if (!n->used[i])
			return cos_fail(err, COS_E_KERNEL, ENOMEM, "addresses");
	}
	return 0;
}

static int find_uplink(struct net *n, const char *wanted, struct cos_err *err)
{
	int r = 0;

	if (strcmp(wanted, "none") == 0)
		return 0;
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
	struct link_use found;
	char name[LINK_NAME_SIZE];
	bool other;
};

static int take_uplink(const struct link_info *l, void *arg)
{
	struct net *n = arg;

	if (l->index == n->uplink) {
		memcpy(n->uplink_name, l->name, sizeof(n->uplink_name));
		n->mtu = l->mtu;
	}
	return 0;
}

static uint64_t speed_of(const char *link)
{
	char path[80], text[24];
	uint64_t mbit;

	str_fmt(path, sizeof(path), "/sys/class/net/%s/speed", link);
	if (io_read_at(AT_FDCWD, path, text, sizeof(text)) <= 0)
		return FASTEST;
	text[strcspn(text, "\n")] = '\0';
	return str_to_u64(text, &mbit) == 0 && mbit > 0 && mbit < FASTEST / 1000000 ? mbit * 1000000
										    : FASTEST;
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

/* --- the host's side --- */

/* Only where guests come and go; the host's other links forward what they did before. */
static int allow_forwarding(const struct net *n, struct cos_err *err)
{
	static const char all6[] = "/proc/sys/net/ipv6/conf/all/forwarding";
	char path[100], text[8];
	int r = 0;

	if (n->pool[0].ip.family && n->uplink) {
		str_fmt(path, sizeof(path), "/proc/sys/net/ipv4/conf/%s/forwarding",
			n->uplink_name);
		r = io_write_at(AT_FDCWD, path, "1", 1);
	}
	if (r == 0 && n->pool[1].ip.family && n->uplink) {
		/* a host that forwards does not listen to routers any more, unless told to */
		str_fmt(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/accept_ra", n->uplink_name);
		if (io_read_at(AT_FDCWD, path, text, sizeof(text)) > 0 && text[0] == '1')
			r = io_write_at(AT_FDCWD, path, "2", 1);
	}
	if (r == 0 && n->pool[1].ip.family)
		r = io_write_at(AT_FDCWD, str_fmt(path, sizeof(path), "%s", all6) ? path : all6,
				"1", 1);
	return r < 0 ? cos_fail(err, COS_E_KERNEL, -r, "write %s", path) : 0;
}

static int check_tree(struct net *n, struct cos_err *err)
{
	enum htb_root root;
	int r = htb_root(&n->rt, n->uplink, &root, err);

	if (r < 0 || root != HTB_OTHER)
		return r;
	return cos_advise(
		err,
		cos_fail(err, COS_E_IN_USE, 0,
			 "%s has a queueing discipline that somebody else set", n->uplink_name),
		"remove it (tc qdisc del dev %s root), or set net.uplink to none", n->uplink_name);
}

static void add_tree(struct net *n, int index, uint64_t speed)
{
	const struct htb_class classes[] = {
		{ .id = CLASS_ROOT, .rate = speed, .ceil = speed },
		{ .parent = CLASS_ROOT,
		  .id = CLASS_REST,
		  .rate = REST_RATE,
		  .ceil = speed,
		  .queue = 4 << 20 },
		{ .parent = CLASS_ROOT, .id = NET_CLASS_GUESTS, .rate = n->cap, .ceil = n->cap },
	};

	htb_tree(&n->rt, index, CLASS_REST);
	for (size_t i = 0; i < ARRAY_SIZE(classes); i++) {
		struct htb_class c = classes[i];

		c.burst = c.cburst = NET_QUANTUM + c.rate / 8 / 1000; /* a millisecond's */
		c.quantum = NET_QUANTUM;
		htb_class(&n->rt, index, &c);
	}
}

static int make_ifb(struct net *n, struct cos_err *err)
{
	int r;

	link_ifb(&n->rt, n->ifb_name, n->group);
	r = nltx_commit(&n->rt, err);
	if (r < 0)
		return r;
	n->ifb = link_index(n->ifb_name);
	link_up(&n->rt, n->ifb);
	for (int i = 0; i < NET_FAMILIES; i++) {
		if (!n->pool[i].ip.family)
			continue;
		link_address(&n->rt, n->ifb, &n->gateway[i], ip_size(&n->gateway[i]) * 8);
		link_unreachable(&n->rt, &n->pool[i]);
	}
	add_tree(n, n->ifb, FASTEST);
	return nltx_commit(&n->rt, err);
}

static int make_host(struct net *n, struct cos_err *err)
{
	int r = n->uplink ? check_tree(n, err) : 0;

	if (r == 0)
		r = make_ifb(n, err);
	if (r == 0 && n->uplink) {
		add_tree(n, n->uplink, speed_of(n->uplink_name));
		r = nltx_commit(&n->rt, err);
	}
	return r < 0 ? r : allow_forwarding(n, err);
}

int net_open(struct daemon *d, struct cos_err *err)
{
	struct net *n = &d->net;
	int r = take_conf(n, &d->conf, err);

	if (r < 0 || !n->on)
		return r;
	n->group = d->args->id_base / LAUNCH_IDS;
	n->mtu = MTU;
	str_fmt(n->ifb_name, sizeof(n->ifb_name), "cosifb%u", n->group);
	r = nltx_open(&n->rt, err);
	if (r == 0)
		r = nat_open(&n->nat, d->args->instance, err);
	if (r == 0)
		r = find_uplink(n, d->conf.net_uplink, err);
	if (r == 0)
		r = link_each(&n->rt, take_uplink, n, err);
	n->ifb = link_index(n->ifb_name);
	for (int i = 0; i < NET_FAMILIES && r == 0; i++) {
		if (n->pool[i].ip.family)
			r = check_pool(n, i, err);
	}
	if (!d->conf.net_cap[0] || str_to_bits(d->conf.net_cap, &n->cap) < 0)
		n->cap = n->uplink ? speed_of(n->uplink_name) : FASTEST;
	if (r == 0)
		r = make_host(n, err);
	return r < 0 ? cos_context(err, r, "network") : 0;
}

/* --- with the guests --- */

struct leftovers {
	struct daemon *d;
	uint16_t id[NLTX_MAX];
	unsigned n;
};

static bool has_class(const struct daemon *d, uint16_t id)
{
	struct list *p;

	if (id <= NET_CLASS_GUESTS)
		return true;
	list_for_each(p, &d->guests) {
		const struct guest *g = list_entry(p, struct guest, link);

		if (g->net && g->net->class.id == id)
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

static int load_table(struct daemon *d, struct cos_err *err)
{
	struct net *n = &d->net;
	const struct ip_block *first = n->pool[0].ip.family ? &n->pool[0] : &n->pool[1];
	const struct nat_host h = {
		.group = n->group,
		.pool = first,
		.n_pool = n->pool[0].ip.family && n->pool[1].ip.family ? 2 : 1,
		.masquerade = d->conf.net_masquerade,
	};
	auto_free struct elements *all = calloc(d->n_guests + 1, sizeof(*all));
	auto_free const struct nat_guest **list =
		calloc(d->n_guests + 1, sizeof(struct nat_guest *));
	unsigned count = 0;
	struct list *p;

	if (!all || !list)
		return cos_fail(err, COS_E_KERNEL, ENOMEM, "nftables");
	list_for_each(p, &d->guests) {
		const struct guest *g = list_entry(p, struct guest, link);

		if (!g->net)
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
	r = load_table(d, err);
	if (r == 0 && n->uplink)
		r = drop_leftovers(d, n->uplink, err);
	if (r == 0)
		r = drop_leftovers(d, n->ifb, err);
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
	list_for_each(p, &d->guests)
		runs = runs || list_entry(p, struct guest, link)->slot >= 0;
	if (!runs) {
		nat_drop(&n->nat);
		if (n->uplink)
			htb_drop_tree(&n->rt, n->uplink);
		link_delete(&n->rt, n->ifb);
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
