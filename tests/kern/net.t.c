/* tests/kern/net.t.c - a guest's link, classes and nftables elements, in namespaces of the test's
 * own: outside (up1) - up0, host, a guest's link - guest (eth0) */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/io.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "lib/kern/htb.h"
#include "lib/kern/link.h"
#include "lib/kern/nat.h"
#include "tests/tap.h"

#define GROUP 4321
#define INDEX 0x1000007
#define CLASS 0x17
#define LINK  "cos7"

static const uint8_t mac[2][6] = { { 2, 0xc0, 5, 0, 0, 1 }, { 2, 0xc0, 5, 0, 0, 7 } };
static struct nltx host;
static int host_ns, guest_ns, outside_ns;
static struct nat nat;

static struct ip ip_of(const char *s)
{
	struct ip ip = { 0 };

	ip_parse(s, &ip);
	return ip;
}

static struct ip_block block_of(const char *s)
{
	struct ip_block b = { 0 };

	ip_parse_block(s, &b);
	return b;
}

/* A namespace that lasts as long as its descriptor. */
static int new_netns(void)
{
	int back = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), fd = -1;

	if (unshare(CLONE_NEWNET) == 0)
		fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	setns(back, CLONE_NEWNET);
	close(back);
	return fd;
}

static void in(int ns)
{
	if (setns(ns, CLONE_NEWNET) < 0)
		_exit(1);
}

/* --- the two ends --- */

static bool make_outside(void)
{
	const struct link_pair p = {
		"up0", "outside", 77, 1, 1500, outside_ns, { { 2, 1 }, { 2, 2 } }
	};
	struct ip a = ip_of("192.0.2.1"), b = ip_of("192.0.2.2");
	struct ip_block net = block_of("192.0.2.0/24");
	struct cos_err err = { 0 };
	struct nltx out;

	link_veth(&host, &p);
	link_up(&host, 77);
	link_address(&host, 77, &a, 24);
	if (nltx_commit(&host, &err) < 0 || nltx_open_in(&out, outside_ns, &err) < 0) {
		printf("# %s\n", err.why);
		return false;
	}
	link_up(&out, 1);
	link_up(&out, LINK_GUEST_INDEX);
	link_address(&out, LINK_GUEST_INDEX, &b, 24);
	link_route(&out, LINK_GUEST_INDEX, &net, NULL);
	ok(nltx_commit(&out, &err) == 0, "the outside is there (%s)", err.why);
	nltx_close(&out);
	return true;
}

static void make_trees(int ifb)
{
	const struct htb_class classes[] = {
		{ .id = 1,
		  .rate = 1000000000,
		  .ceil = 1000000000,
		  .burst = 1 << 20,
		  .cburst = 1 << 20,
		  .quantum = 1 << 16 },
		{ .parent = 1,
		  .id = 2,
		  .rate = 1000000,
		  .ceil = 1000000000,
		  .burst = 1 << 16,
		  .cburst = 1 << 16,
		  .quantum = 1 << 16,
		  .queue = 1 << 20 },
		{ .parent = 1,
		  .id = CLASS,
		  .rate = 8000,
		  .ceil = 8000000,
		  .burst = 1 << 16,
		  .cburst = 1 << 16,
		  .quantum = 1 << 16,
		  .queue = 1 << 17 },
	};
	const int links[] = { 77, ifb };
	enum htb_root root = HTB_OTHER;
	struct cos_err err = { 0 };

	ok(htb_root(&host, 77, &root, &err) == 0 && root == HTB_NONE, "no tree yet");
	for (size_t i = 0; i < 2; i++) {
		htb_tree(&host, links[i], 2);
		for (size_t k = 0; k < ARRAY_SIZE(classes); k++)
			htb_class(&host, links[i], &classes[k]);
	}
	ok(nltx_commit(&host, &err) == 0, "trees and classes (%s)", err.why);
	ok(htb_root(&host, 77, &root, &err) == 0 && root == HTB_OURS, "the tree is known again");
	htb_tree(&host, 77, 2);
	htb_class(&host, 77, &classes[2]);
	ok(nltx_commit(&host, &err) == 0, "made again, nothing changes (%s)", err.why);
}

static void make_guest(int ifb)
{
	const struct link_pair p = { LINK,
				     "g1",
				     INDEX,
				     GROUP,
				     1500,
				     guest_ns,
				     { { mac[0][0], mac[0][1], mac[0][2], 0, 0, 1 },
				       { 2, 0xc0, 5, 0, 0, 7 } } };
	struct ip_block g4 = block_of("10.99.0.7"), g6 = block_of("fd99::7"),
			all4 = block_of("0.0.0.0/0"), all6 = block_of("::/0"),
			gw4 = block_of("10.99.0.1");
	struct ip ll = ip_of("fe80::1");
	struct cos_err err = { 0 };
	struct nltx in_guest;

	link_veth(&host, &p);
	link_redirect(&host, INDEX, ifb);
	link_up(&host, INDEX);
	link_address(&host, INDEX, &ll, 64);
	link_route(&host, INDEX, &g4, NULL);
	link_route(&host, INDEX, &g6, NULL);
	link_neighbour(&host, INDEX, &g4.ip, mac[1]);
	link_neighbour(&host, INDEX, &g6.ip, mac[1]);
	ok(nltx_commit(&host, &err) == 0, "one transaction makes the guest's link (%s)", err.why);
	ok(nltx_open_in(&in_guest, guest_ns, &err) == 0, "a socket in the guest's namespace (%s)",
	   err.why);
	link_up(&in_guest, 1);
	link_up(&in_guest, LINK_GUEST_INDEX);
	link_address(&in_guest, LINK_GUEST_INDEX, &g4.ip, 32);
	link_address(&in_guest, LINK_GUEST_INDEX, &g6.ip, 128);
	link_route(&in_guest, LINK_GUEST_INDEX, &gw4, NULL);
	link_route(&in_guest, LINK_GUEST_INDEX, &all4, &gw4.ip);
	link_route(&in_guest, LINK_GUEST_INDEX, &all6, &ll);
	ok(nltx_commit(&in_guest, &err) == 0, "its addresses and routes (%s)", err.why);
	nltx_close(&in_guest);
}

/* --- traffic --- */

static union address {
	struct sockaddr sa;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
} address_of(const struct ip *ip, unsigned port)
{
	union address a = { .sa.sa_family = (sa_family_t)ip->family };

	if (ip->family == AF_INET)
		memcpy(&a.in.sin_addr, ip->b, 4);
	else
		memcpy(&a.in6.sin6_addr, ip->b, 16);
	a.in.sin_port = htons((uint16_t)port);
	return a;
}

static socklen_t size_of(const struct ip *ip)
{
	return ip->family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
}

static int receiver(int ns, const char *address, unsigned port)
{
	struct ip ip = ip_of(address);
	union address a = address_of(&ip, port);
	struct timeval t = { .tv_sec = 10 };
	int fd, one = 1;

	in(ns);
	fd = socket(ip.family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof(t));
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &(int){ 1 << 20 }, sizeof(int));
	setsockopt(fd, SOL_IP, IP_FREEBIND, &one, sizeof(one));
	if (bind(fd, &a.sa, size_of(&ip)) < 0)
		printf("# bind %s: %s\n", address, strerror(errno));
	in(host_ns);
	return fd;
}

/* From NS, by the address FROM (NULL: any), N datagrams of SIZE bytes. */
static bool transmit(int ns, const char *from, const char *to, unsigned port, unsigned n,
		     size_t size)
{
	struct ip ip = ip_of(to), own = ip_of(from ?: "0.0.0.0");
	union address a = address_of(&ip, port), b = address_of(&own, 0);
	char data[1400] = { 0 };
	bool good = true;
	int fd;

	in(ns);
	fd = socket(ip.family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (from)
		good = bind(fd, &b.sa, size_of(&own)) == 0;
	for (unsigned i = 0; i < n && good; i++)
		good = sendto(fd, data, size, 0, &a.sa, size_of(&ip)) == (ssize_t)size;
	in(host_ns);
	close(fd);
	return good;
}

/* Takes N datagrams; the sender of the last one to TEXT. */
static bool take(int fd, unsigned n, char *text)
{
	union address from = { 0 };
	socklen_t len = sizeof(from);
	char data[2000];
	struct ip ip;

	for (unsigned i = 0; i < n; i++) {
		len = sizeof(from);
		if (recvfrom(fd, data, sizeof(data), 0, &from.sa, &len) < 0)
			return false;
	}
	ip.family = from.sa.sa_family;
	memcpy(ip.b, ip.family == AF_INET ? (void *)&from.in.sin_addr : (void *)&from.in6.sin6_addr,
	       ip_size(&ip));
	ip_text(&ip, text);
	return true;
}

static int take_count(uint16_t id, const struct htb_count *c, void *arg)
{
	if (id == CLASS)
		*(struct htb_count *)arg = *c;
	return 0;
}

static struct htb_count count(int index)
{
	struct htb_count c = { 0 };
	struct cos_err err;

	htb_each(&host, index, take_count, &c, &err);
	return c;
}

/* A packet is counted when it has left; the loop ends by the test's alarm at last. */
static bool counted(int index, const struct htb_count *before, uint64_t bytes, uint64_t packets)
{
	struct htb_count c = count(index);

	while (c.packets - before->packets < packets) {
		usleep(1000);
		c = count(index);
	}
	if (c.bytes - before->bytes != bytes || c.packets - before->packets != packets)
		printf("# %llu bytes, %llu packets\n",
		       (unsigned long long)(c.bytes - before->bytes),
		       (unsigned long long)(c.packets - before->packets));
	return c.bytes - before->bytes == bytes && c.packets - before->packets == packets;
}

static unsigned long long dropped(const char *counter)
{
	char out[300] = "";
	size_t len = 0;
	int p[2];
	ssize_t n;
	pid_t pid;
	const char *at;

	if (pipe(p) < 0)
		return 0;
	pid = fork();
	if (pid == 0) {
		dup2(p[1], 1);
		execlp("nft", "nft", "list", "counter", "inet", nat.table, counter, NULL);
		_exit(127);
	}
	close(p[1]);
	while ((n = read(p[0], out + len, sizeof(out) - 1 - len)) > 0)
		len += (size_t)n;
	close(p[0]);
	waitpid(pid, NULL, 0);
	at = strstr(out, "packets ");
	return at ? strtoull(at + 8, NULL, 10) : 0;
}

/* What root of a guest can do. */
static void give_address(const char *text)
{
	struct ip ip = ip_of(text);
	struct cos_err err = { 0 };
	struct nltx t;

	nltx_open_in(&t, guest_ns, &err);
	link_address(&t, LINK_GUEST_INDEX, &ip, 32);
	ok(nltx_commit(&t, &err) == 0, "the guest takes another address (%s)", err.why);
	nltx_close(&t);
}

static void traffic(int ifb)
{
	struct htb_count up = count(77), down = count(ifb), one = { 0 };
	struct cos_err err;
	int outside = receiver(outside_ns, "192.0.2.2", 5000),
	    guest = receiver(guest_ns, "10.99.0.7", 5000);
	unsigned long long spoofed = dropped("spoofed"), now;
	char from[IP_TEXT_SIZE];

	ok(transmit(guest_ns, NULL, "192.0.2.2", 5000, 20, 1000) && take(outside, 20, from),
	   "the guest reaches the outside");
	ok(strcmp(from, "192.0.2.1") == 0, "by the host's address (%s)", from);
	ok(counted(77, &up, 20 * 1042, 20), "counted to the byte when it leaves");
	ok(htb_read(&host, 77, CLASS, &one, &err) == 0 && one.packets == up.packets + 20,
	   "the class alone says so, too");
	ok(transmit(host_ns, NULL, "10.99.0.7", 5000, 10, 500) && take(guest, 10, from),
	   "the host reaches the guest");
	ok(counted(ifb, &down, 10 * 542, 10), "counted to the byte when it arrives");
	give_address("10.99.0.8");
	ok(transmit(guest_ns, "10.99.0.8", "192.0.2.2", 5000, 3, 100),
	   "the guest sends by another's address");
	ok(transmit(guest_ns, NULL, "192.0.2.2", 5000, 1, 100) && take(outside, 1, from),
	   "only its own gets through");
	now = dropped("spoofed");
	ok(now == spoofed + 3, "the others are counted (%llu)", now - spoofed);
	ok(counted(77, &up, 20 * 1042 + 142, 21), "and not in its class");
	close(outside);
	close(guest);
}

static void forwards(const struct nat_guest *now)
{
	const struct nat_forward to = { true, 8053, 53 };
	struct nat_guest next = *now;
	int guest = receiver(guest_ns, "10.99.0.7", 53);
	struct cos_err err = { 0 };
	char from[IP_TEXT_SIZE];

	next.forward = &to;
	next.n_forward = 1;
	next.pps = 10;
	ok(nat_change(&nat, now, &next, &err) == 0, "a forwarded port and a packet limit (%s)",
	   err.why);
	ok(transmit(outside_ns, NULL, "192.0.2.1", 8053, 1, 100) && take(guest, 1, from),
	   "the outside reaches the guest by a port of the host");
	ok(strcmp(from, "192.0.2.2") == 0, "with its own address (%s)", from);
	ok(transmit(guest_ns, NULL, "192.0.2.2", 9, 1000, 10) && dropped("too_many") > 900,
	   "more packets than it may send are dropped");
	ok(nat_change(&nat, &next, NULL, &err) == 0, "all elements of a guest are removed (%s)",
	   err.why);
	close(guest);
}

static void failures(void)
{
	const struct htb_class c = {
		.parent = 1, .id = 9, .rate = 8000, .ceil = 8000, .quantum = 1 << 16
	};
	const struct link_pair twice = {
		LINK, "x", INDEX + 1, GROUP, 1500, guest_ns, { { 2, 8 }, { 2, 9 } }
	};
	struct cos_err err = { 0 };

	htb_class(&host, 1, &c);
	ok(nltx_commit(&host, &err) < 0 && strncmp(err.why, "class", 5) == 0,
	   "a class without a tree is told: %s", err.why);
	link_veth(&host, &twice);
	ok(nltx_commit(&host, &err) < 0 && err.sys == EEXIST, "so is a link that is there: %s",
	   err.why);
	link_up(&host, 424242);
	ok(nltx_commit(&host, &err) < 0 && err.sys == ENODEV, "and one that is not: %s", err.why);
	for (unsigned i = 0; i < NLTX_MAX + 1; i++)
		link_up(&host, 1);
	ok(nltx_commit(&host, &err) < 0, "more than fits is refused: %s", err.why);
	link_up(&host, 1);
	ok(nltx_commit(&host, &err) == 0, "and then all is as it was");
}

int main(void)
{
	const struct ip_block pool[] = { block_of("10.99.0.0/16"), block_of("fd99::/64") };
	const struct nat_host h = { .group = GROUP, .pool = pool, .n_pool = 2, .masquerade = true };
	struct nat_guest g = { .link = LINK,
			       .ip = { ip_of("10.99.0.7"), ip_of("fd99::7"),
				       ip_link_local(mac[1]) },
			       .class = CLASS,
			       .pps = UINT64_MAX };
	struct cos_err err = { 0 };
	struct ip gw = ip_of("10.99.0.1");
	int ifb;

	alarm(60);
	if (unshare(CLONE_NEWNET) < 0) {
		tap_skip("network", "the right to make network namespaces");
		return tap_done();
	}
	host_ns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	guest_ns = new_netns();
	outside_ns = new_netns();
	ok(nltx_open(&host, &err) == 0 && nat_open(&nat, "net-test", &err) == 0, "sockets (%s)",
	   err.why);
	io_write_at(AT_FDCWD, "/proc/sys/net/ipv4/ip_forward", "1", 1);
	link_ifb(&host, "ifb-test", 0);
	link_ifb(&host, "ifb-test", 0);
	link_up(&host, 1);
	ok(nltx_commit(&host, &err) == 0, "an ifb, asked for twice (%s)", err.why);
	ifb = link_index("ifb-test");
	link_up(&host, ifb);
	link_address(&host, ifb, &gw, 32);
	if (!make_outside())
		return tap_done();
	make_trees(ifb);
	ok(nat_load(&nat, &h, NULL, 0, &err) == 0, "the nftables table (%s)", err.why);
	make_guest(ifb);
	ok(nat_change(&nat, NULL, &g, &err) == 0, "the guest's elements (%s)", err.why);
	traffic(ifb);
	forwards(&g);
	failures();
	nat_drop(&nat);
	nat_close(&nat);
	nltx_close(&host);
	return tap_done();
}
