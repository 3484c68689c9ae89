/* cosd/net-host.c - the host's side of the network: trees, ifb, bridge, forwarding; made and mended
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>

#include "cosd/guest.h"
#include "cosd/net.h"
#include "lib/base/io.h"
#include "lib/base/own.h"
#include "lib/base/str.h"

#define REST_RATE 1000000 /* what the host itself is guaranteed */

static int note_speaker(const struct link_info *l, void *arg)
{
	struct net *n = arg;

	if (l->index == (n->master ?: n->uplink))
		memcpy(n->speaker, l->name, sizeof(n->speaker));
	return 0;
}

static int note_uplink(const struct link_info *l, void *arg)
{
	struct net *n = arg;

	if (l->index != n->uplink)
		return 0;
	n->master = l->master;
	memcpy(n->mac, l->mac, sizeof(n->mac));
	return 1;
}

/* What is to be known of the uplink; the host's addresses are on it, or on the bridge whose port it
 * is. */
static int learn_uplink(struct net *n, struct cos_err *err)
{
	int r = link_each(&n->rt, note_uplink, n, err);

	return r < 0 ? r : link_each(&n->rt, note_speaker, n, err);
}

/* A host that forwards does not listen to routers any more, unless told to. */
static int forward6(const struct net *n, char *path, size_t size)
{
	char text[8];
	int r = 0;

	str_fmt(path, size, "/proc/sys/net/ipv6/conf/%s/accept_ra", n->speaker);
	if (n->uplink && io_read_at(AT_FDCWD, path, text, sizeof(text)) > 0 && text[0] == '1')
		r = io_write_at(AT_FDCWD, path, "2", 1);
	if (r < 0)
		return r;
	str_fmt(path, size, "/proc/sys/net/ipv6/conf/all/forwarding");
	return io_write_at(AT_FDCWD, path, "1", 1);
}

/* Only where guests come and go; the host's other links forward what they did before. */
static int allow_forwarding(const struct net *n, struct cos_err *err)
{
	char path[100];
	int r = 0;

	if (n->pool[0].ip.family && n->uplink) {
		str_fmt(path, sizeof(path), "/proc/sys/net/ipv4/conf/%s/forwarding", n->speaker);
		r = io_write_at(AT_FDCWD, path, "1", 1);
	}
	if (r == 0 && n->pool[1].ip.family)
		r = forward6(n, path, sizeof(path));
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
		{ .id = NET_CLASS_ROOT, .rate = speed, .ceil = speed },
		{ .parent = NET_CLASS_ROOT,
		  .id = NET_CLASS_REST,
		  .rate = REST_RATE,
		  .ceil = speed,
		  .queue = 4 << 20 },
		{ .parent = NET_CLASS_ROOT,
		  .id = NET_CLASS_GUESTS,
		  .rate = n->cap,
		  .ceil = n->cap },
		{ .parent = NET_CLASS_ROOT, .id = NET_CLASS_EXEMPT, .rate = speed, .ceil = speed },
	};

	htb_tree(&n->rt, index, NET_CLASS_REST);
	for (size_t i = 0; i < ARRAY_SIZE(classes) - (n->n_exempt == 0); i++) {
		struct htb_class c = classes[i];

		c.burst = c.cburst = NET_QUANTUM + c.rate / 8 / 1000; /* a millisecond's */
		c.quantum = NET_QUANTUM;
		c.codel = n->codel;
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
	link_alias(&n->rt, n->ifb, n->uplink_name);
	link_up(&n->rt, n->ifb);
	for (int i = 0; i < NET_FAMILIES; i++) {
		if (!n->pool[i].ip.family)
			continue;
		link_address(&n->rt, n->ifb, &n->gateway[i], ip_size(&n->gateway[i]) * 8);
		link_unreachable(&n->rt, &n->pool[i]);
	}
	add_tree(n, n->ifb, NET_FASTEST);
	r = nltx_commit(&n->rt, err);
	if (r == 0)
		n->codel = htb_has_codel(&n->rt, n->ifb, NET_CLASS_REST);
	return r;
}

/* As each host's end does, the bridge answers for the gateway. */
static int make_bridge(struct net *n, struct cos_err *err)
{
	const uint8_t mac[6] = { 2, 0xc0, 5, 0xfe, (uint8_t)(n->group >> 8), (uint8_t)n->group };
	int r;

	link_bridge(&n->rt, n->bridge_name, n->group, n->mtu, mac);
	r = nltx_commit(&n->rt, err);
	if (r < 0)
		return r;
	n->bridge = link_index(n->bridge_name);
	link_bridge_settings(&n->rt, n->bridge);
	link_up(&n->rt, n->bridge);
	if (n->pool[0].ip.family)
		link_address(&n->rt, n->bridge, &n->gateway[0], 32);
	if (n->pool[1].ip.family)
		link_address(&n->rt, n->bridge, &launch_net_gateway6, 64);
	return nltx_commit(&n->rt, err);
}

int net_make_host(struct net *n, struct cos_err *err)
{
	int r = n->uplink ? check_tree(n, err) : 0;

	if (r == 0 && n->uplink)
		r = learn_uplink(n, err);
	if (r == 0)
		r = make_ifb(n, err);
	if (r == 0 && n->own_bridge)
		r = make_bridge(n, err);
	if (r == 0 && n->uplink) {
		add_tree(n, n->uplink, n->speed);
		r = nltx_commit(&n->rt, err);
	}
	return r < 0 ? r : allow_forwarding(n, err);
}

/* --- made again --- */

static int restore_guest(struct guest *g, bool lost_ifb, bool lost_bridge, struct cos_err *err)
{
	struct launch_net *l = g->net;
	int r;

	l->trees[NET_TREE_OUT] = g->d->net.uplink;
	l->trees[NET_TREE_IN] = g->d->net.ifb;
	if (l->bridge_name[0])
		l->bridge = g->d->net.bridge;
	if (!l->attached)
		return 0;
	r = launch_net_classes(l, err);
	if (r == 0 && lost_ifb)
		r = launch_net_redirect(l, err);
	if (r == 0 && lost_bridge && l->bridge_name[0])
		r = launch_net_rejoin(l, err);
	return r;
}

int net_restore_host(struct daemon *d, struct cos_err *err)
{
	struct net *n = &d->net;
	bool lost_ifb = link_index(n->ifb_name) == 0, lost_bridge = link_index(n->bridge_name) == 0;
	struct list *p;
	int r;

	if (!n->uplink && n->uplink_name[0])
		n->uplink = link_index(n->uplink_name);
	r = net_make_host(n, err);
	list_for_each(p, &d->guests) {
		struct guest *g = list_entry(p, struct guest, link);

		if (r == 0 && g->net && !g->net->lower)
			r = restore_guest(g, lost_ifb, lost_bridge, err);
	}
	if (r == 0 && n->macvlan) /* its chain went with the uplink */
		r = net_load_table(d, err);
	return r;
}

/* --- what some modes need --- */

static int load_with(struct daemon *d, bool *what, struct cos_err *err)
{
	int r = 0;

	if (!*what) {
		*what = true;
		r = net_load_table(d, err);
		*what = r == 0;
	}
	return r;
}

static int note_bridge(const struct link_info *l, void *arg)
{
	if (l->is_bridge && l->index == ((struct link_info *)arg)->index)
		*(struct link_info *)arg = *l;
	return 0;
}

/* What guests on it send to elsewhere has to leave by the uplink's tree. */
static int check_bridge(struct net *n, const char *name, struct cos_err *err)
{
	struct link_info bridge = { .index = link_index(name) };
	int r = link_each(&n->rt, note_bridge, &bridge, err);

	if (r == 0 && !bridge.is_bridge)
		r = cos_fail(err, COS_E_INVALID, bridge.index ? 0 : ENODEV,
			     "net.bridge: %s is no bridge", name);
	if (r == 0)
		r = learn_uplink(n, err);
	if (r < 0 || n->master == bridge.index)
		return r < 0 ? r : 0;
	return cos_advise(err,
			  cos_fail(err, COS_E_UNSUPPORTED, 0,
				   "net.bridge: %s is no port of %s, so what guests send could not "
				   "be shaped",
				   n->uplink_name, name),
			  "set net.uplink to the port of %s that leads to elsewhere", name);
}

int net_need(struct daemon *d, const struct net_spec *s, struct cos_err *err)
{
	struct net *n = &d->net;
	int r = 0;

	if (s->mode == NET_MACVLAN)
		return load_with(d, &n->macvlan, err);
	if (s->bridge[0])
		r = check_bridge(n, s->bridge, err);
	else if (!n->bridge)
		r = make_bridge(n, err);
	if (r == 0 && !s->bridge[0])
		n->own_bridge = true;
	return r < 0 ? r : load_with(d, &n->ports, err);
}
