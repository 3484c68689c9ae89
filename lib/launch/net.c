/* lib/launch/net.c - a guest's routed link: what it is made of, made and taken away
 *
 * One transaction in the host's namespace makes the pair, routes, classes and redirection; one in
 * the guest's gives it its addresses; one of nftables knows it. The pair is born at both its ends,
 * and is never deleted: it goes with the guest's namespace. */
#include <netinet/in.h>
#include <string.h>

#include "lib/base/own.h"
#include "lib/base/str.h"
#include "lib/kern/proc.h"
#include "lib/launch/net.h"

/* What every IPv6 link has, so each host's end may: the guest's way out. */
static const struct ip link_gateway = { AF_INET6, { 0xfe, 0x80, [15] = 1 } };

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
		.class = n->class.id,
		.pps = n->pps,
		.forward = forwards,
		.n_forward = n->spec->n_forward,
		.closed = n->spec->closed,
		.friends = friends,
		.n_friends = n->n_friends,
	};
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
	for (size_t i = 0; i < ARRAY_SIZE(n->trees); i++) {
		if (n->trees[i])
			htb_class(n->host, n->trees[i], &n->class);
	}
}

/* The host's side. Up last: what it sends before the table knows it is dropped by its group. */
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

	memcpy(p.mac, n->mac, sizeof(p.mac));
	add_classes(n);
	link_veth(n->host, &p);
	link_redirect(n->host, n->index, n->trees[1]);
	link_up(n->host, n->index);
	if (n->ip[1].family)
		link_address(n->host, n->index, &link_gateway, 64);
	for (int i = 0; i < NET_FAMILIES; i++) {
		struct ip_block to = only(&n->ip[i]);

		if (!n->ip[i].family)
			continue;
		link_route(n->host, n->index, &to, NULL);
		link_neighbour(n->host, n->index, &n->ip[i], n->mac[1]);
	}
	return nltx_commit(n->host, err);
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
		struct ip_block everywhere = { { .family = n->ip[i].family }, 0 },
				gateway = only(&n->gateway[i]);

		if (!n->ip[i].family)
			continue;
		link_address(&t, LINK_GUEST_INDEX, &n->ip[i], ip_size(&n->ip[i]) * 8);
		if (i == 0)
			link_route(&t, LINK_GUEST_INDEX, &gateway, NULL);
		link_route(&t, LINK_GUEST_INDEX, &everywhere, i == 0 ? &gateway.ip : &link_gateway);
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
	if (r == 0)
		r = change_elements(n->nat, NULL, n, err);
	n->attached = r == 0;
	return r;
}

void launch_net_detach(struct launch_net *n)
{
	struct cos_err ignored; /* the table may have been flushed, the uplink may be gone */

	if (n->attached)
		change_elements(n->nat, n, NULL, &ignored);
	n->attached = false;
	for (size_t i = 0; i < ARRAY_SIZE(n->trees); i++) {
		if (n->trees[i])
			htb_drop_class(n->host, n->trees[i], n->class.id);
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
