/* lib/kern/link.c - network links, their addresses and routes, as requests of a transaction */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <linux/ip.h>
#include <linux/neighbour.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <linux/tc_act/tc_mirred.h>
#include <linux/veth.h>
#include <net/if.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <string.h>
#include <sys/ioctl.h>

#include "lib/base/own.h"
#include "lib/kern/link.h"

#define CREATE (NLM_F_CREATE | NLM_F_EXCL)
#define LINK   sizeof(struct ifinfomsg)

static void put_ip(struct nltx *t, struct nl_msg *m, int attr, const struct ip *ip)
{
	nltx_put(t, nla_put(m, attr, (int)ip_size(ip), ip->b));
}

static struct nlattr *nest(struct nltx *t, struct nl_msg *m, int attr)
{
	struct nlattr *a = nla_nest_start(m, attr);

	if (!a)
		t->broken = true;
	return a;
}

static void end(struct nl_msg *m, struct nlattr *a)
{
	if (a)
		nla_nest_end(m, a);
}

/* --- links --- */

/* The kernel's per-link settings, without a file of /proc for each. */
static void put_settings(struct nltx *t, struct nl_msg *m, bool proxy_arp)
{
	struct nlattr *spec = nest(t, m, IFLA_AF_SPEC), *family, *conf;

	family = nest(t, m, AF_INET);
	conf = nest(t, m, IFLA_INET_CONF);
	nltx_put(t, nla_put_u32(m, IPV4_DEVCONF_FORWARDING, 1));
	nltx_put(t, nla_put_u32(m, IPV4_DEVCONF_RP_FILTER, 1));
	nltx_put(t, nla_put_u32(m, IPV4_DEVCONF_ACCEPT_REDIRECTS, 0));
	if (proxy_arp)
		nltx_put(t, nla_put_u32(m, IPV4_DEVCONF_PROXY_ARP, 1));
	end(m, conf);
	end(m, family);
	family = nest(t, m, AF_INET6);
	nltx_put(t, nla_put_u8(m, IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE));
	end(m, family);
	end(m, spec);
}

void link_veth(struct nltx *t, const struct link_pair *p)
{
	struct ifinfomsg host = { .ifi_index = p->index },
			 guest = { .ifi_index = LINK_GUEST_INDEX };
	struct nl_msg *m = nltx_add(t, "veth", RTM_NEWLINK, CREATE, &host, LINK, 0);
	struct nlattr *info, *data, *peer;

	nltx_put(t, nla_put_string(m, IFLA_IFNAME, p->name));
	nltx_put(t, nla_put_u32(m, IFLA_GROUP, p->group));
	nltx_put(t, nla_put_u32(m, IFLA_MTU, p->mtu));
	nltx_put(t, nla_put(m, IFLA_ADDRESS, 6, p->mac[0]));
	info = nest(t, m, IFLA_LINKINFO);
	nltx_put(t, nla_put_string(m, IFLA_INFO_KIND, "veth"));
	data = nest(t, m, IFLA_INFO_DATA);
	peer = nest(t, m, VETH_INFO_PEER);
	nltx_put(t, nlmsg_append(m, &guest, LINK, NLMSG_ALIGNTO));
	nltx_put(t, nla_put_string(m, IFLA_IFNAME, LINK_GUEST_NAME));
	nltx_put(t, nla_put_u32(m, IFLA_NET_NS_FD, (uint32_t)p->netns));
	nltx_put(t, nla_put_u32(m, IFLA_MTU, p->mtu));
	nltx_put(t, nla_put(m, IFLA_ADDRESS, 6, p->mac[1]));
	end(m, peer);
	end(m, data);
	end(m, info);
	host = (struct ifinfomsg){ .ifi_index = p->index };
	m = nltx_add(t, "settings of the veth", RTM_SETLINK, 0, &host, LINK, 0);
	put_settings(t, m, false);
	link_alias(t, p->index, p->alias);
}

int link_open_tap(const char *name, int index)
{
	auto_close int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	struct ifreq ifr = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };

	strncpy(ifr.ifr_name, name, sizeof(ifr.ifr_name) - 1);
	if (fd < 0 || ioctl(fd, TUNSETIFINDEX, &index) < 0 || ioctl(fd, TUNSETIFF, &ifr) < 0)
		return -errno;
	return take_fd(fd);
}

void link_tap(struct nltx *t, const struct link_pair *p)
{
	struct ifinfomsg i = { .ifi_index = p->index };
	struct nl_msg *m = nltx_add(t, "tap", RTM_SETLINK, 0, &i, LINK, 0);

	nltx_put(t, nla_put_u32(m, IFLA_GROUP, p->group));
	nltx_put(t, nla_put_u32(m, IFLA_MTU, p->mtu));
	nltx_put(t, nla_put(m, IFLA_ADDRESS, 6, p->mac[0]));
	put_settings(t, m, false);
	link_alias(t, p->index, p->alias);
}

void link_macvlan(struct nltx *t, int lower, int netns, uint32_t mtu, const uint8_t mac[6])
{
	struct ifinfomsg i = { .ifi_index = LINK_GUEST_INDEX };
	struct nl_msg *m = nltx_add(t, "macvlan", RTM_NEWLINK, CREATE, &i, LINK, 0);
	struct nlattr *info, *data;

	nltx_put(t, nla_put_string(m, IFLA_IFNAME, LINK_GUEST_NAME));
	nltx_put(t, nla_put_u32(m, IFLA_LINK, (uint32_t)lower));
	nltx_put(t, nla_put_u32(m, IFLA_NET_NS_FD, (uint32_t)netns));
	nltx_put(t, nla_put_u32(m, IFLA_MTU, mtu));
	nltx_put(t, nla_put(m, IFLA_ADDRESS, 6, mac));
	info = nest(t, m, IFLA_LINKINFO);
	nltx_put(t, nla_put_string(m, IFLA_INFO_KIND, "macvlan"));
	data = nest(t, m, IFLA_INFO_DATA);
	nltx_put(t, nla_put_u32(m, IFLA_MACVLAN_MODE, MACVLAN_MODE_BRIDGE));
	end(m, data);
	end(m, info);
}

void link_bridge(struct nltx *t, const char *name, uint32_t group, uint32_t mtu,
		 const uint8_t mac[6])
{
	struct ifinfomsg i = { .ifi_family = AF_UNSPEC };
	struct nl_msg *m = nltx_add(t, "bridge", RTM_NEWLINK, CREATE, &i, LINK, EEXIST);
	struct nlattr *info;

	nltx_put(t, nla_put_string(m, IFLA_IFNAME, name));
	nltx_put(t, nla_put_u32(m, IFLA_GROUP, group));
	nltx_put(t, nla_put_u32(m, IFLA_MTU, mtu));
	nltx_put(t, nla_put(m, IFLA_ADDRESS, 6, mac));
	info = nest(t, m, IFLA_LINKINFO);
	nltx_put(t, nla_put_string(m, IFLA_INFO_KIND, "bridge"));
	end(m, info);
}

void link_bridge_settings(struct nltx *t, int index)
{
	struct ifinfomsg i = { .ifi_index = index };

	put_settings(t, nltx_add(t, "settings of the bridge", RTM_SETLINK, 0, &i, LINK, 0), true);
}

void link_port(struct nltx *t, int index, int bridge)
{
	struct ifinfomsg i = { .ifi_index = index };
	struct nl_msg *m = nltx_add(t, "port of the bridge", RTM_SETLINK, 0, &i, LINK, 0);
	struct nlattr *port;

	nltx_put(t, nla_put_u32(m, IFLA_MASTER, (uint32_t)bridge));
	i.ifi_family = AF_BRIDGE;
	m = nltx_add(t, "guard of the port", RTM_SETLINK, 0, &i, LINK, 0);
	port = nest(t, m, IFLA_PROTINFO | NLA_F_NESTED);
	nltx_put(t, nla_put_u8(m, IFLA_BRPORT_GUARD, 1));
	end(m, port);
}

void link_alias(struct nltx *t, int index, const char *alias)
{
	struct ifinfomsg i = { .ifi_index = index };
	struct nl_msg *m = nltx_add(t, "alias of the link", RTM_SETLINK, 0, &i, LINK, 0);

	nltx_put(t, nla_put(m, IFLA_IFALIAS, (int)strlen(alias), alias));
}

void link_up(struct nltx *t, int index)
{
	struct ifinfomsg i = { .ifi_index = index, .ifi_flags = IFF_UP, .ifi_change = IFF_UP };

	nltx_add(t, "bring the link up", RTM_SETLINK, 0, &i, LINK, 0);
}

void link_delete(struct nltx *t, int index)
{
	struct ifinfomsg i = { .ifi_index = index };

	nltx_add(t, "delete the link", RTM_DELLINK, 0, &i, LINK, ENODEV);
}

void link_ifb(struct nltx *t, const char *name, uint32_t group)
{
	struct ifinfomsg i = { .ifi_family = AF_UNSPEC };
	struct nl_msg *m = nltx_add(t, "ifb", RTM_NEWLINK, CREATE, &i, LINK, EEXIST);
	struct nlattr *info;

	nltx_put(t, nla_put_string(m, IFLA_IFNAME, name));
	nltx_put(t, nla_put_u32(m, IFLA_GROUP, group));
	info = nest(t, m, IFLA_LINKINFO);
	nltx_put(t, nla_put_string(m, IFLA_INFO_KIND, "ifb"));
	end(m, info);
}

/* --- addresses, routes, neighbours --- */

void link_address(struct nltx *t, int index, const struct ip *ip, unsigned len)
{
	struct ifaddrmsg a = {
		.ifa_family = (uint8_t)ip->family,
		.ifa_prefixlen = (uint8_t)len,
		.ifa_index = (unsigned)index,
		.ifa_scope = ip->family == AF_INET6 && ip->b[0] == 0xfe && ip->b[1] == 0x80
				     ? RT_SCOPE_LINK
				     : RT_SCOPE_UNIVERSE,
	};
	struct nl_msg *m =
		nltx_add(t, "address", RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, &a, sizeof(a), 0);

	put_ip(t, m, IFA_LOCAL, ip);
	put_ip(t, m, IFA_ADDRESS, ip);
	if (ip->family == AF_INET6) /* nobody else can have it */
		nltx_put(t, nla_put_u32(m, IFA_FLAGS, IFA_F_NODAD));
}

static struct rtmsg route_of(const struct ip_block *dst)
{
	return (struct rtmsg){
		.rtm_family = (uint8_t)dst->ip.family,
		.rtm_dst_len = (uint8_t)dst->len,
		.rtm_table = RT_TABLE_MAIN,
		.rtm_protocol = LINK_ROUTE_PROTOCOL,
		.rtm_type = RTN_UNICAST,
	};
}

void link_route(struct nltx *t, int index, const struct ip_block *dst, const struct ip *via)
{
	struct rtmsg r = route_of(dst);
	struct nl_msg *m;

	r.rtm_scope = via || dst->ip.family == AF_INET6 ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK;
	m = nltx_add(t, "route", RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, &r, sizeof(r), 0);
	if (dst->len)
		put_ip(t, m, RTA_DST, &dst->ip);
	if (via)
		put_ip(t, m, RTA_GATEWAY, via);
	nltx_put(t, nla_put_u32(m, RTA_OIF, (uint32_t)index));
}

void link_drop_route(struct nltx *t, int index, const struct ip_block *dst)
{
	struct rtmsg r = route_of(dst);
	struct nl_msg *m;

	r.rtm_scope = RT_SCOPE_NOWHERE; /* any */
	m = nltx_add(t, "route", RTM_DELROUTE, 0, &r, sizeof(r), ESRCH);
	put_ip(t, m, RTA_DST, &dst->ip);
	nltx_put(t, nla_put_u32(m, RTA_OIF, (uint32_t)index));
}

void link_unreachable(struct nltx *t, const struct ip_block *dst)
{
	struct rtmsg r = route_of(dst);

	r.rtm_type = RTN_UNREACHABLE;
	put_ip(t,
	       nltx_add(t, "unreachable route", RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, &r,
			sizeof(r), 0),
	       RTA_DST, &dst->ip);
}

void link_drop_unreachable(struct nltx *t, const struct ip_block *dst)
{
	struct rtmsg r = route_of(dst);

	r.rtm_type = RTN_UNREACHABLE;
	r.rtm_scope = RT_SCOPE_NOWHERE; /* any */
	put_ip(t, nltx_add(t, "unreachable route", RTM_DELROUTE, 0, &r, sizeof(r), ESRCH), RTA_DST,
	       &dst->ip);
}

void link_neighbour(struct nltx *t, int index, const struct ip *ip, const uint8_t mac[6])
{
	struct ndmsg n = {
		.ndm_family = (uint8_t)ip->family,
		.ndm_ifindex = index,
		.ndm_state = NUD_PERMANENT,
	};
	struct nl_msg *m = nltx_add(t, "neighbour", RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, &n,
				    sizeof(n), 0);

	put_ip(t, m, NDA_DST, ip);
	nltx_put(t, nla_put(m, NDA_LLADDR, 6, mac));
}

void link_drop_neighbour(struct nltx *t, int index, const struct ip *ip)
{
	struct ndmsg n = { .ndm_family = (uint8_t)ip->family, .ndm_ifindex = index };

	put_ip(t, nltx_add(t, "neighbour", RTM_DELNEIGH, 0, &n, sizeof(n), ENOENT), NDA_DST, ip);
}

/* --- redirection --- */

static void put_mirred(struct nltx *t, struct nl_msg *m, int to)
{
	struct tc_mirred to_link = {
		.action = TC_ACT_STOLEN,
		.eaction = TCA_EGRESS_REDIR,
		.ifindex = (uint32_t)to,
	};
	struct nlattr *act = nest(t, m, TCA_U32_ACT), *first = nest(t, m, 1), *options;

	nltx_put(t, nla_put_string(m, TCA_ACT_KIND, "mirred"));
	options = nest(t, m, TCA_ACT_OPTIONS);
	nltx_put(t, nla_put(m, TCA_MIRRED_PARMS, sizeof(to_link), &to_link));
	end(m, options);
	end(m, first);
	end(m, act);
}

void link_redirect(struct nltx *t, int index, int to)
{
	const struct tc_u32_sel all = { .flags = TC_U32_TERMINAL, .nkeys = 1 };
	uint8_t selector[sizeof(all) + sizeof(struct tc_u32_key)] = { 0 }; /* no bit has to match */
	struct tcmsg q = { .tcm_ifindex = index,
			   .tcm_parent = TC_H_CLSACT,
			   .tcm_handle = TC_H_MAKE(TC_H_CLSACT, 0) };
	struct tcmsg f = { .tcm_ifindex = index,
			   .tcm_parent = TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_EGRESS),
			   .tcm_info = TC_H_MAKE(1U << 16, htons(0x0003 /* ETH_P_ALL */)) };
	struct nl_msg *m = nltx_add(t, "clsact", RTM_NEWQDISC, CREATE, &q, sizeof(q), EEXIST);
	struct nlattr *options;

	nltx_put(t, nla_put_string(m, TCA_KIND, "clsact"));
	memcpy(selector, &all, sizeof(all));
	m = nltx_add(t, "redirection", RTM_NEWTFILTER, CREATE, &f, sizeof(f), 0);
	nltx_put(t, nla_put_string(m, TCA_KIND, "u32"));
	options = nest(t, m, TCA_OPTIONS);
	nltx_put(t, nla_put(m, TCA_U32_SEL, sizeof(selector), selector));
	put_mirred(t, m, to);
	end(m, options);
}

void link_drop_redirect(struct nltx *t, int index)
{
	struct tcmsg q = { .tcm_ifindex = index,
			   .tcm_parent = TC_H_CLSACT,
			   .tcm_handle = TC_H_MAKE(TC_H_CLSACT, 0) };

	nltx_add(t, "clsact", RTM_DELQDISC, 0, &q, sizeof(q), ENOENT);
}

/* --- asking --- */

int link_index(const char *name)
{
	return (int)if_nametoindex(name);
}

struct each_link {
	int (*fn)(const struct link_info *l, void *arg);
	void *arg;
};

static bool has_kind(struct nlmsghdr *h, const char *kind)
{
	struct nlattr *info = nlmsg_find_attr(h, LINK, IFLA_LINKINFO),
		      *a = info ? nla_find(nla_data(info), nla_len(info), IFLA_INFO_KIND) : NULL;

	return a && nla_strcmp(a, kind) == 0;
}

static int take_link(struct nlmsghdr *h, void *arg)
{
	const struct each_link *e = arg;
	const struct ifinfomsg *i = nlmsg_data(h);
	struct link_info l = { .index = i->ifi_index, .up = i->ifi_flags & IFF_UP };
	struct nlattr *a;

	if (h->nlmsg_type != RTM_NEWLINK)
		return 0;
	if ((a = nlmsg_find_attr(h, LINK, IFLA_IFNAME)))
		nla_strlcpy(l.name, a, sizeof(l.name));
	if ((a = nlmsg_find_attr(h, LINK, IFLA_IFALIAS)))
		nla_strlcpy(l.alias, a, sizeof(l.alias));
	if ((a = nlmsg_find_attr(h, LINK, IFLA_GROUP)))
		l.group = nla_get_u32(a);
	if ((a = nlmsg_find_attr(h, LINK, IFLA_MTU)))
		l.mtu = nla_get_u32(a);
	if ((a = nlmsg_find_attr(h, LINK, IFLA_MASTER)))
		l.master = (int)nla_get_u32(a);
	if ((a = nlmsg_find_attr(h, LINK, IFLA_ADDRESS)) && nla_len(a) == sizeof(l.mac))
		nla_memcpy(l.mac, a, sizeof(l.mac));
	l.is_bridge = has_kind(h, "bridge");
	return e->fn(&l, e->arg);
}

int link_each(struct nltx *t, int (*fn)(const struct link_info *l, void *arg), void *arg,
	      struct cos_err *err)
{
	struct ifinfomsg i = { .ifi_family = AF_UNSPEC };
	struct each_link e = { fn, arg };

	return nltx_dump(t, RTM_GETLINK, &i, sizeof(i), take_link, &e, err);
}

struct each_use {
	int (*fn)(const struct link_use *u, void *arg);
	void *arg;
	int family;
};

static void set_block(struct ip_block *b, int family, struct nlattr *a, unsigned len)
{
	*b = (struct ip_block){ .ip.family = family, .len = len };
	if (a && nla_len(a) >= (int)ip_size(&b->ip))
		memcpy(b->ip.b, nla_data(a), ip_size(&b->ip));
}

static int take_address(struct nlmsghdr *h, void *arg)
{
	const struct each_use *e = arg;
	const struct ifaddrmsg *i = nlmsg_data(h);
	struct link_use u = { .index = (int)i->ifa_index };
	struct nlattr *a = nlmsg_find_attr(h, sizeof(*i), IFA_LOCAL)
				   ?: nlmsg_find_attr(h, sizeof(*i), IFA_ADDRESS);

	if (h->nlmsg_type != RTM_NEWADDR || i->ifa_family != e->family || !a)
		return 0;
	set_block(&u.block, e->family, a, e->family == AF_INET ? 32 : 128);
	return e->fn(&u, e->arg);
}

static int take_route(struct nlmsghdr *h, void *arg)
{
	const struct each_use *e = arg;
	const struct rtmsg *r = nlmsg_data(h);
	struct link_use u = { .is_route = true, .protocol = r->rtm_protocol };
	struct nlattr *dst = nlmsg_find_attr(h, sizeof(*r), RTA_DST),
		      *oif = nlmsg_find_attr(h, sizeof(*r), RTA_OIF);

	if (h->nlmsg_type != RTM_NEWROUTE || r->rtm_family != e->family || !dst ||
	    r->rtm_dst_len == 0 || r->rtm_table == RT_TABLE_LOCAL || r->rtm_type == RTN_MULTICAST ||
	    r->rtm_type == RTN_BROADCAST || r->rtm_type == RTN_LOCAL || r->rtm_type == RTN_ANYCAST)
		return 0;
	set_block(&u.block, e->family, dst, r->rtm_dst_len);
	u.index = oif ? (int)nla_get_u32(oif) : 0;
	return e->fn(&u, e->arg);
}

int link_each_use(struct nltx *t, int family, int (*fn)(const struct link_use *u, void *arg),
		  void *arg, struct cos_err *err)
{
	struct ifaddrmsg a = { .ifa_family = (uint8_t)family };
	struct rtmsg m = { .rtm_family = (uint8_t)family };
	struct each_use e = { fn, arg, family };
	int r = nltx_dump(t, RTM_GETADDR, &a, sizeof(a), take_address, &e, err);

	return r ? r : nltx_dump(t, RTM_GETROUTE, &m, sizeof(m), take_route, &e, err);
}

struct best {
	int family, index;
	uint32_t metric;
};

static int take_default(struct nlmsghdr *h, void *arg)
{
	const struct rtmsg *r = nlmsg_data(h);
	struct best *b = arg;
	struct nlattr *oif = nlmsg_find_attr(h, sizeof(*r), RTA_OIF),
		      *prio = nlmsg_find_attr(h, sizeof(*r), RTA_PRIORITY);
	uint32_t metric = prio ? nla_get_u32(prio) : 0;

	if (h->nlmsg_type != RTM_NEWROUTE || r->rtm_family != b->family || r->rtm_dst_len ||
	    r->rtm_table != RT_TABLE_MAIN || r->rtm_type != RTN_UNICAST || !oif)
		return 0;
	if (!b->index || metric < b->metric) {
		b->index = (int)nla_get_u32(oif);
		b->metric = metric;
	}
	return 0;
}

int link_default(struct nltx *t, int family, int *ret, struct cos_err *err)
{
	struct rtmsg m = { .rtm_family = (uint8_t)family };
	struct best b = { .family = family };
	int r = nltx_dump(t, RTM_GETROUTE, &m, sizeof(m), take_default, &b, err);

	if (r == 0)
		*ret = b.index;
	return r;
}
