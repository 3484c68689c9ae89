/* lib/launch/net.c - a guest's link: what it is made of, made and taken away
 *
 * One transaction in the host's namespace makes the pair, routes, classes and redirection; one in
 * the guest's gives it its addresses; one of nftables knows it. The pair is born at both its ends,
 * and is never deleted: it goes with the guest's namespace. With macvlan there is but the guest's
 * end, and nothing else of all that. A machine has a tap in place of the pair: frames come out of
 * its descriptor instead of the other end, and its own kernel sets the addresses. */
#include <netinet/in.h>
#include <string.h>

#include "lib/base/own.h"
#include "lib/base/str.h"
#include "lib/kern/proc.h"
#include "lib/launch/net.h"

const struct ip launch_net_gateway6 = { AF_INET6, { 0xfe, 0x80, [15] = 1 } };

static struct ip_block only(const struct ip *ip)
{
	return (struct ip_block){ *ip, ip_size(ip) * 8 };
}

void launch_net_elements(const struct launch_net *n, const char **friends,
			 struct nat_forward *forwards, struct nat_guest *ret)
{
	for (unsigned i = 0; i < n->n_friends; i++)
		friends[i] = n->friends[i];
	for (unsigned i = 0; i < n->spec->n_forward; i++)
		forwards[i] =
			(struct nat_forward){ n->spec->forward[i].udp, n->spec->forward[i].host,
					      n->spec->forward[i].guest };
	*ret = (struct nat_guest){
		.link = n->link,
		.ip = { n->ip[0], n->ip[1] },
		.class = n->class[NET_CAPPED].id,
		.exempt = n->class[NET_EXEMPT].id,
		.pps = n->pps,
		.forward = forwards,
		.n_forward = n->spec->n_forward,
		.closed = n->spec->closed,
		.friends = friends,
		.n_friends = n->n_friends,
		.port = n->bridge != 0,
		.bridge = n->bridge_name,
		.any_source = !n->ip[0].family && !n->ip[1].family,
	};
	memcpy(ret->mac, n->mac[1], sizeof(ret->mac));
	if (n->ip[1].family)
		ret->ip[2] = ip_link_local(n->mac[1]);
}

static int change_elements(struct nat *nat, const struct launch_net *now,
			   const struct launch_net *next, struct cos_err *err)
{
	const struct launch_net *n[2] = { now, next };
	struct nat_forward forwards[2][NET_FORWARDS_MAX];
	const char *friends[2][NET_PEERS_MAX];
	struct nat_guest g[2];

	for (int i = 0; i < 2; i++) {
		if (n[i])
			launch_net_elements(n[i], friends[i], forwards[i], &g[i]);
	}
	return nat_change(nat, now ? &g[0] : NULL, next ? &g[1] : NULL, err);
}

static void add_classes(const struct launch_net *n)
{
	for (int t = 0; t < NET__TREES; t++) {
		for (int b = 0; b < NET__BRANCHES && n->trees[t]; b++) {
			struct htb_class c = n->class[b];

			if (b == NET_CAPPED && c.ceil > n->bound[t])
				c.ceil = n->bound[t];
			if (c.id)
				htb_class(n->host, n->trees[t], &c);
		}
	}
}

int launch_net_classes(const struct launch_net *n, struct cos_err *err)
{
	add_classes(n);
	return nltx_commit(n->host, err);
}

int launch_net_redirect(const struct launch_net *n, struct cos_err *err)
{
	link_drop_redirect(n->host, n->index);
	link_redirect(n->host, n->index, n->trees[NET_TREE_IN]);
	return nltx_commit(n->host, err);
}

/* The way to the guest's addresses: its own link, or the bridge. */
static void add_ways(const struct launch_net *n)
{
	int at = n->bridge ? n->bridge : n->index;

	for (int i = 0; i < NET_FAMILIES; i++) {
		struct ip_block to = only(&n->ip[i]);

		if (!n->ip[i].family)
			continue;
		link_route(n->host, at, &to, NULL);
		link_neighbour(n->host, at, &n->ip[i], n->mac[1]);
	}
}

/* Those at a bridge do not go with the guest's link. */
static void drop_ways(const struct launch_net *n)
{
	for (int i = 0; i < NET_FAMILIES; i++) {
		struct ip_block to = only(&n->ip[i]);

		if (!n->ip[i].family)
			continue;
		link_drop_route(n->host, n->bridge, &to);
		link_drop_neighbour(n->host, n->bridge, &n->ip[i]);
	}
}

int launch_net_rejoin(const struct launch_net *n, struct cos_err *err)
{
	link_port(n->host, n->index, n->bridge);
	add_ways(n);
	return nltx_commit(n->host, err);
}

/* The host's side; NETNS -1: of a tap. Up last: what it sends before the table knows it is dropped
 * by its group. */
static int make_link(const struct launch_net *n, int netns, struct cos_err *err)
{
	struct link_pair p = {
		.name = n->link,
		.alias = n->name,
		.index = n->index,
		.group = n->group,
		.mtu = n->mtu,
		.netns = netns,
	};

	if (n->lower) {
		link_macvlan(n->host, n->lower, netns, n->mtu, n->mac[1]);
		return nltx_commit(n->host, err);
	}
	memcpy(p.mac, n->mac, sizeof(p.mac));
	add_classes(n);
	if (netns < 0)
		link_tap(n->host, &p);
	else
		link_veth(n->host, &p);
	link_redirect(n->host, n->index, n->trees[NET_TREE_IN]);
	if (n->bridge)
		link_port(n->host, n->index, n->bridge);
	link_up(n->host, n->index);
	if (n->ip[1].family && !n->bridge)
		link_address(n->host, n->index, &launch_net_gateway6, 64);
	if (!n->bridge || n->bridge_name[0])
		add_ways(n);
	return nltx_commit(n->host, err);
}

/* A gateway outside of the address's network has to be on the link. */
static void add_way_out(struct nltx *t, const struct ip *ip, unsigned len, const struct ip *gateway)
{
	const struct ip_block everywhere = { { .family = ip->family }, 0 }, own = { *ip, len },
			      via = only(gateway);

	if (ip->family == AF_INET && !ip_is_in(gateway, &own))
		link_route(t, LINK_GUEST_INDEX, &via, NULL);
	link_route(t, LINK_GUEST_INDEX, &everywhere, gateway);
}

/* The guest's side. */
static int give_addresses(const struct launch_net *n, int netns, struct cos_err *err)
{
	struct nltx t;
	int r = nltx_open_in(&t, netns, err);

	if (r < 0)
		return r;
	link_up(&t, LINK_GUEST_INDEX);
	for (int i = 0; i < NET_FAMILIES; i++) {
		if (!n->ip[i].family)
			continue;
		link_address(&t, LINK_GUEST_INDEX, &n->ip[i], n->len[i]);
		if (n->gateway[i].family)
			add_way_out(&t, &n->ip[i], n->len[i], &n->gateway[i]);
	}
	r = nltx_commit(&t, err);
	nltx_close(&t);
	return r;
}

int launch_net_attach(struct launch_net *n, pid_t pid, struct cos_err *err)
{
	auto_close int netns = proc_open_ns(pid, "net");
	int r = netns < 0 ? cos_fail(err, COS_E_KERNEL, -netns, "open the network namespace")
			  : make_link(n, netns, err);

	if (r == 0)
		r = give_addresses(n, netns, err);
	if (r == 0 && !n->lower)
		r = change_elements(n->nat, NULL, n, err);
	n->attached = r == 0;
	return r;
}

int launch_net_attach_tap(struct launch_net *n, int *ret_tap, struct cos_err *err)
{
	auto_close int tap = link_open_tap(n->link, n->index);
	int r = tap < 0 ? cos_fail(err, COS_E_KERNEL, -tap, "make the tap %s", n->link)
			: make_link(n, -1, err);

	if (r == 0)
		r = change_elements(n->nat, NULL, n, err);
	n->attached = r == 0;
	if (r < 0)
		return r;
	*ret_tap = take_fd(tap);
	return 0;
}

void launch_net_detach(struct launch_net *n)
{
	struct cos_err ignored; /* the table may have been flushed, the uplink may be gone */

	if (n->lower)
		return;
	if (n->attached)
		change_elements(n->nat, n, NULL, &ignored);
	n->attached = false;
	if (n->bridge_name[0])
		drop_ways(n);
	for (int t = 0; t < NET__TREES; t++) {
		for (int b = 0; b < NET__BRANCHES && n->trees[t]; b++) {
			if (n->class[b].id)
				htb_drop_class(n->host, n->trees[t], n->class[b].id);
		}
	}
	nltx_commit(n->host, &ignored);
}

int launch_net_change(const struct launch_net *now, const struct launch_net *next,
		      struct cos_err *err)
{
	struct cos_err ignored;
	int r = change_elements(next->nat, now, next, err);

	if (r < 0)
		return r;
	add_classes(next);
	r = nltx_commit(next->host, err);
	if (r == 0)
		return 0;
	add_classes(now);
	nltx_commit(now->host, &ignored);
	change_elements(now->nat, next, now, &ignored);
	return r;
}
