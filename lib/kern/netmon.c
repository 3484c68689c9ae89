/* lib/kern/netmon.c - what others do to the host's network: links that come and go, tables that
 * change
 */
#include <endian.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/rtnetlink.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/own.h"
#include "lib/base/str.h"
#include "lib/kern/netmon.h"

#define MESSAGES_SIZE (32U << 10)
#define QUEUE_SIZE    (1U << 20)

static int open_group(int protocol, unsigned group)
{
	struct sockaddr_nl all = { .nl_family = AF_NETLINK };
	const int size = QUEUE_SIZE;
	auto_close int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol);

	if (fd < 0)
		return -errno;
	/* SO_RCVBUF stops at net.core.rmem_max */
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	if (bind(fd, (struct sockaddr *)&all, sizeof(all)) < 0 ||
	    setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) < 0)
		return -errno;
	return take_fd(fd);
}

/* Calls FN for each message until the socket is empty: 0, or a negative errno. */
static int read_all(int fd, void (*fn)(struct nlmsghdr *h, void *arg), void *arg)
{
	char buf[MESSAGES_SIZE] __attribute__((aligned(NLMSG_ALIGNTO)));

	for (;;) {
		struct sockaddr_nl from = { 0 };
		socklen_t size = sizeof(from);
		ssize_t n = recvfrom(fd, buf, sizeof(buf), 0, (struct sockaddr *)&from, &size);
		int rest = (int)n;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? 0 : -errno;
		if (from.nl_pid != 0) /* not the kernel's words */
			continue;
		for (struct nlmsghdr *h = (void *)buf; nlmsg_ok(h, rest); h = nlmsg_next(h, &rest))
			fn(h, arg);
	}
}

/* --- links --- */

/* The kernel runs this for each message, so that guests' links, each of which is told about several
 * times, do not wake the caller. */
static int ignore_from(int fd, unsigned first)
{
	const unsigned at = NLMSG_HDRLEN + offsetof(struct ifinfomsg, ifi_index);
	/* what the filter loads it takes for big-endian */
	const bool little = BYTE_ORDER == LITTLE_ENDIAN;
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, little ? at + 3 : at),
		BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, first >> 24, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, 0),
		BPF_STMT(BPF_RET | BPF_K, 0xffffffff),
	};
	const struct sock_fprog prog = { ARRAY_SIZE(code), code };

	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof(prog)) < 0 ? -errno : 0;
}

int netmon_open_links(unsigned first_own)
{
	auto_close int fd = open_group(NETLINK_ROUTE, RTNLGRP_LINK);
	int r = fd < 0 ? fd : ignore_from(fd, first_own);

	return r < 0 ? r : take_fd(fd);
}

struct links {
	void (*fn)(const struct netmon_link *l, void *arg);
	void *arg;
};

static void take_link(struct nlmsghdr *h, void *arg)
{
	const struct links *w = arg;
	const struct ifinfomsg *i = nlmsg_data(h);
	struct netmon_link l = { .gone = h->nlmsg_type == RTM_DELLINK };
	struct nlattr *name, *mac;

	if ((h->nlmsg_type != RTM_NEWLINK && !l.gone) || nlmsg_datalen(h) < (int)sizeof(*i) ||
	    i->ifi_family != AF_UNSPEC) /* a bridge tells of its ports so */
		return;
	l.index = i->ifi_index;
	name = nlmsg_find_attr(h, sizeof(*i), IFLA_IFNAME);
	if (name)
		nla_strlcpy(l.name, name, sizeof(l.name));
	mac = nlmsg_find_attr(h, sizeof(*i), IFLA_ADDRESS);
	if (mac && nla_len(mac) == sizeof(l.mac))
		nla_memcpy(l.mac, mac, sizeof(l.mac));
	w->fn(&l, w->arg);
}

int netmon_read_links(int fd, void (*fn)(const struct netmon_link *l, void *arg), void *arg)
{
	struct links w = { fn, arg };

	return read_all(fd, take_link, &w);
}

/* --- tables --- */

int netmon_open_tables(struct netmon_tables *m, const char *table)
{
	m->fd = open_group(NETLINK_NETFILTER, NFNLGRP_NFTABLES);
	m->own = (uint32_t)getpid();
	str_fmt(m->table, sizeof(m->table), "%s", table);
	return m->fd < 0 ? m->fd : 0;
}

struct tables {
	struct netmon_tables *m;
	bool ours;    /* the transaction that is being told has touched the table */
	bool foreign; /* and so has one of somebody else */
	uint32_t by;  /* who did the last one that has */
};

/* A transaction's changes are told first, and then who made it. */
static void take_table(struct nlmsghdr *h, void *arg)
{
	struct tables *t = arg;
	struct nlattr *a;

	if (h->nlmsg_type >> 8 != NFNL_SUBSYS_NFTABLES)
		return;
	if ((h->nlmsg_type & 0xff) != NFT_MSG_NEWGEN) {
		/* the same number in what is told of chains, rules, sets, elements and objects */
		a = nlmsg_find_attr(h, sizeof(struct nfgenmsg), NFTA_TABLE_NAME);
		t->ours = t->ours || (a && nla_type(a) == NFTA_TABLE_NAME &&
				      strncmp(nla_data(a), t->m->table, (size_t)nla_len(a)) == 0);
		return;
	}
	a = nlmsg_find_attr(h, sizeof(struct nfgenmsg), NFTA_GEN_PROC_PID);
	if (t->ours) {
		t->by = a ? be32toh(nla_get_u32(a)) : 0;
		t->foreign = t->foreign || t->by != t->m->own;
	}
	t->ours = false;
}

/* In a process namespace the kernel's number is not what getpid() says. */
void netmon_learn(struct netmon_tables *m)
{
	struct tables t = { .m = m };

	read_all(m->fd, take_table, &t);
	if (t.by)
		m->own = t.by;
}

bool netmon_is_touched(struct netmon_tables *m)
{
	struct tables t = { .m = m };
	int r = read_all(m->fd, take_table, &t);

	return r < 0 || t.foreign;
}
