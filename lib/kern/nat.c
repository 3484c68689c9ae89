/* lib/kern/nat.c - one nftables table for all guests of an instance: class, lock, translation */
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <nftables/libnftables.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/own.h"
#include "lib/base/str.h"
#include "lib/kern/htb.h"
#include "lib/kern/nat.h"

int nat_open(struct nat *n, const char *instance, struct cos_err *err)
{
	str_fmt(n->table, sizeof(n->table), "cos.%s", instance);
	for (char *c = n->table; *c; c++) { /* no such letter in nftables' names */
		if (*c == '-')
			*c = '/';
	}
	n->nft = nft_ctx_new(NFT_CTX_DEFAULT);
	if (!n->nft)
		return cos_fail(err, COS_E_KERNEL, ENOMEM, "nftables");
	nft_ctx_buffer_output(n->nft);
	nft_ctx_buffer_error(n->nft);
	return 0;
}

void nat_close(struct nat *n)
{
	nft_ctx_free(n->nft);
	n->nft = NULL;
}

/* The first line that libnftables says; the rest quotes the command. */
static int run(struct nat *n, const char *text, const char *what, struct cos_err *err)
{
	const char *said;
	char line[160];

	if (nft_run_cmd_from_buffer(n->nft, text) == 0)
		return 0;
	said = nft_ctx_get_error_buffer(n->nft);
	str_fmt(line, sizeof(line), "%.*s", (int)strcspn(said, "\n"), said);
	str_make_text(line);
	return cos_fail(err, COS_E_KERNEL, 0, "nftables: %s: %s", what, line);
}

/* --- a guest's elements --- */

/* Where elements are written to, and whether they come or go. */
struct out {
	FILE *f;
	const char *table;
	bool add;
};

static void put(const struct out *o, const char *family, const char *set, const char *key,
		const char *value)
{
	fprintf(o->f, "%s element %s %s %s { %s%s%s }\n", o->add ? "add" : "delete", family,
		o->table, set, key, o->add && value ? " : " : "", o->add && value ? value : "");
}

static const char *set4or6(const struct ip *ip, const char *set4, const char *set6)
{
	return ip->family == AF_INET ? set4 : set6;
}

/* LINK may send from the guest's addresses. */
static void put_sources(const struct out *o, const char *family, const char *link,
			const struct nat_guest *g)
{
	char ip[IP_TEXT_SIZE], key[LINK_NAME_SIZE + IP_TEXT_SIZE + 8];

	for (size_t i = 0; i < ARRAY_SIZE(g->ip); i++) {
		if (!g->ip[i].family || (g->ip[i].family != AF_INET && family[0] == 'a'))
			continue;
		str_fmt(key, sizeof(key), "\"%s\" . %s", link, ip_text(&g->ip[i], ip));
		put(o, family, set4or6(&g->ip[i], "own4", "own6"), key, NULL);
	}
}

/* As the target of a neighbour advertisement, which nft can look up as a plain number only. */
static void put_targets(const struct out *o, const char *link, const struct nat_guest *g)
{
	char key[LINK_NAME_SIZE + 48];

	for (size_t i = 0; i < ARRAY_SIZE(g->ip); i++) {
		int n;

		if (g->ip[i].family != AF_INET6)
			continue;
		n = snprintf(key, sizeof(key), "\"%s\" . 0x", link);
		for (unsigned k = 0; k < 16; k++)
			n += snprintf(key + n, sizeof(key) - (size_t)n, "%02x", g->ip[i].b[k]);
		put(o, "bridge", "target6", key, NULL);
	}
}

static void class_text(char *buf, size_t size, uint16_t id)
{
	str_fmt(buf, size, "%x:%x", HTB_MAJOR, id);
}

/* By address, which the lock has made sure of: on a bridge of cosd's all guests are one link. */
static void put_classes(const struct out *o, const struct nat_guest *g)
{
	char ip[IP_TEXT_SIZE], value[16];

	for (size_t i = 0; i < ARRAY_SIZE(g->ip); i++) {
		if (!g->ip[i].family)
			continue;
		ip_text(&g->ip[i], ip);
		class_text(value, sizeof(value), g->class);
		put(o, "inet", set4or6(&g->ip[i], "class4", "class6"), ip, value);
		class_text(value, sizeof(value), g->exempt);
		if (g->exempt)
			put(o, "inet", set4or6(&g->ip[i], "exempt_class4", "exempt_class6"), ip,
			    value);
	}
}

/* An object that an element names is there before, and goes after it. A tenth of a second's packets
 * may come at once. */
static void put_limit(const struct out *o, const char *family, const struct nat_guest *g,
		      const char *map)
{
	char key[LINK_NAME_SIZE + 2], value[40];

	str_fmt(key, sizeof(key), "\"%s\"", g->link);
	str_fmt(value, sizeof(value), "\"%s_%s\"", map, g->link);
	if (o->add)
		fprintf(o->f,
			"add limit %s %s %s_%s { rate over %" PRIu64 "/second burst %" PRIu64
			" packets ; }\n",
			family, o->table, map, g->link, g->pps, g->pps / 10 + 1);
	put(o, family, map, key, value);
	if (!o->add)
		fprintf(o->f, "delete limit %s %s %s_%s\n", family, o->table, map, g->link);
}

static void put_limits(const struct out *o, const char *family, const struct nat_guest *g)
{
	if (g->pps == UINT64_MAX)
		return;
	put_limit(o, family, g, "pps_out");
	put_limit(o, family, g, "pps_in");
}

static void put_forwards(const struct out *o, const struct nat_guest *g)
{
	char ip[IP_TEXT_SIZE], key[32], value[IP_TEXT_SIZE + 16];

	for (unsigned i = 0; i < g->n_forward; i++) {
		const struct nat_forward *w = &g->forward[i];

		str_fmt(key, sizeof(key), "%s . %u", w->udp ? "udp" : "tcp", w->host);
		for (size_t k = 0; k < 2; k++) {
			if (!g->ip[k].family)
				continue;
			str_fmt(value, sizeof(value), "%s . %u", ip_text(&g->ip[k], ip), w->guest);
			put(o, "inet", set4or6(&g->ip[k], "forward4", "forward6"), key, value);
		}
	}
}

static void put_peers(const struct out *o, const struct nat_guest *g)
{
	char key[2 * LINK_NAME_SIZE + 8];

	str_fmt(key, sizeof(key), "\"%s\"", g->link);
	if (g->closed)
		put(o, "inet", "closed", key, NULL);
	for (unsigned i = 0; i < g->n_friends; i++) {
		str_fmt(key, sizeof(key), "\"%s\" . \"%s\"", g->friends[i], g->link);
		put(o, "inet", "friends", key, NULL);
	}
}

/* What is bridged is seen in the table of that family alone. */
static void put_port(const struct out *o, const struct nat_guest *g)
{
	char key[LINK_NAME_SIZE + 32], value[16];

	str_fmt(key, sizeof(key), "\"%s\" . %02x:%02x:%02x:%02x:%02x:%02x", g->link, g->mac[0],
		g->mac[1], g->mac[2], g->mac[3], g->mac[4], g->mac[5]);
	put(o, "bridge", "mac", key, NULL);
	str_fmt(key, sizeof(key), "\"%s\"", g->link);
	if (g->any_source)
		put(o, "bridge", "any_source", key, NULL);
	class_text(value, sizeof(value), g->class);
	put(o, "bridge", "class", key, value);
	class_text(value, sizeof(value), g->exempt);
	if (g->exempt)
		put(o, "bridge", "exempt_class", key, value);
	put_sources(o, "bridge", g->link, g);
	put_targets(o, g->link, g);
	put_limits(o, "bridge", g);
}

static void put_guest(const struct out *o, const struct nat_guest *g)
{
	if (g->port)
		put_port(o, g);
	else
		put_limits(o, "inet", g);
	if (g->port && !g->bridge[0])
		return; /* the host does not route for it */
	put_sources(o, "inet", g->port ? g->bridge : g->link, g);
	put_sources(o, "arp", g->port ? g->bridge : g->link, g);
	put_classes(o, g);
	put_forwards(o, g);
	if (!g->port)
		put_peers(o, g);
}

int nat_change(struct nat *n, const struct nat_guest *now, const struct nat_guest *next,
	       struct cos_err *err)
{
	auto_free char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	if (!f)
		return cos_fail(err, COS_E_KERNEL, ENOMEM, "nftables");
	if (now)
		put_guest(&(struct out){ f, n->table, false }, now);
	if (next)
		put_guest(&(struct out){ f, n->table, true }, next);
	if (fclose(f) != 0)
		return cos_fail(err, COS_E_KERNEL, ENOMEM, "nftables");
	return run(n, text, "elements of a guest", err);
}

/* --- the table --- */

static const char sets[] = "	set own4 { type ifname . ipv4_addr ; }\n"
			   "	set own6 { type ifname . ipv6_addr ; }\n"
			   "	map class4 { type ipv4_addr : classid ; }\n"
			   "	map class6 { type ipv6_addr : classid ; }\n"
			   "	map exempt_class4 { type ipv4_addr : classid ; }\n"
			   "	map exempt_class6 { type ipv6_addr : classid ; }\n"
			   "	map pps_out { type ifname : limit ; }\n"
			   "	map pps_in { type ifname : limit ; }\n"
			   "	map forward4 { type inet_proto . inet_service : ipv4_addr . "
			   "inet_service ; }\n"
			   "	map forward6 { type inet_proto . inet_service : ipv6_addr . "
			   "inet_service ; }\n"
			   "	set closed { type ifname ; }\n"
			   "	set friends { type ifname . ifname ; }\n"
			   "	set exempt4 { type ipv4_addr ; flags interval ; auto-merge ; }\n"
			   "	set exempt6 { type ipv6_addr ; flags interval ; auto-merge ; }\n"
			   "	counter spoofed { }\n"
			   "	counter too_many { }\n";

/* What guests send: no more packets than they may, from their own addresses only. A link's first
 * words in IPv6 come from no address at all. */
static void put_lock(FILE *f, uint32_t group)
{
	fprintf(f,
		"	chain lock {\n"
		"		type filter hook prerouting priority raw ; policy accept ;\n"
		"		iifgroup != %u accept\n"
		"		limit name iifname map @pps_out counter name too_many drop\n"
		"		iifname . ip saddr @own4 accept\n"
		"		iifname . ip6 saddr @own6 accept\n"
		"		ip6 saddr :: icmpv6 type { nd-neighbor-solicit, nd-router-solicit, "
		"mld2-listener-report } accept\n"
		"		counter name spoofed drop\n"
		"	}\n",
		group);
}

/* The class of the sender, then, for what goes to a guest, that of the receiver: each link has one
 * tree. What the host itself says on the link to keep it is no guest's traffic. */
static void put_paths(FILE *f, uint32_t group)
{
	fprintf(f,
		"	chain arrive {\n"
		"		limit name oifname map @pps_in counter name too_many drop\n"
		"		meta priority set ip daddr map @class4\n"
		"		meta priority set ip6 daddr map @class6\n"
		"		ip saddr @exempt4 meta priority set ip daddr map @exempt_class4\n"
		"		ip6 saddr @exempt6 meta priority set ip6 daddr map @exempt_class6\n"
		"	}\n"
		"	chain leave {\n"
		"		meta priority set ip saddr map @class4\n"
		"		meta priority set ip6 saddr map @class6\n"
		"		ip daddr @exempt4 meta priority set ip saddr map @exempt_class4\n"
		"		ip6 daddr @exempt6 meta priority set ip6 saddr map @exempt_class6\n"
		"	}\n"
		"	chain forward {\n"
		"		type filter hook forward priority filter ; policy accept ;\n"
		"		iifgroup %u jump leave\n"
		"		oifgroup %u jump arrive\n"
		"		ct state established,related accept\n"
		"		iifgroup %u oifname @closed iifname . oifname != @friends drop\n"
		"	}\n"
		"	chain output {\n"
		"		type filter hook output priority filter ; policy accept ;\n"
		"		icmpv6 type { mld-listener-query, mld-listener-report, "
		"mld2-listener-report, nd-router-solicit, nd-router-advert, "
		"nd-neighbor-solicit, nd-neighbor-advert } accept\n"
		"		oifgroup %u jump arrive\n"
		"	}\n",
		group, group, group, group);
}

static void put_translation(FILE *f, const struct nat_host *h)
{
	static const char *const hooks[] = { "prerouting", "output" };
	char text[IP_TEXT_SIZE];

	for (size_t i = 0; i < ARRAY_SIZE(hooks); i++)
		fprintf(f,
			"	chain to_guest_%s {\n"
			"		type nat hook %s priority -100 ; policy accept ;\n"
			"		meta nfproto ipv4 fib daddr type local dnat ip to "
			"meta l4proto . th dport map @forward4\n"
			"		meta nfproto ipv6 fib daddr type local dnat ip6 to "
			"meta l4proto . th dport map @forward6\n"
			"	}\n",
			hooks[i], hooks[i]);
	fprintf(f, "	chain from_guest {\n"
		   "		type nat hook postrouting priority srcnat ; policy accept ;\n");
	/* a guest that calls itself, or a neighbour, by a port of the host */
	fprintf(f, "		iifgroup %u oifgroup %u ct status dnat masquerade\n", h->group,
		h->group);
	for (unsigned i = 0; i < h->n_pool && h->masquerade; i++) {
		const char *ip = h->pool[i].ip.family == AF_INET ? "ip" : "ip6";

		ip_block_text(&h->pool[i], text);
		fprintf(f, "		%s saddr %s %s daddr != %s oifgroup != %u masquerade\n", ip,
			text, ip, text, h->group);
	}
	fprintf(f, "	}\n");
}

static void put_exempt(FILE *f, const char *family, const char *table, const struct nat_host *h)
{
	char text[IP_TEXT_SIZE];

	for (unsigned i = 0; i < h->n_exempt; i++)
		fprintf(f, "add element %s %s %s { %s }\n", family, table,
			set4or6(&h->exempt[i].ip, "exempt4", "exempt6"),
			ip_block_text(&h->exempt[i], text));
}

static const char bridge_sets[] =
	"	set mac { type ifname . ether_addr ; }\n"
	"	set any_source { type ifname ; }\n"
	"	set own4 { type ifname . ipv4_addr ; }\n"
	"	set own6 { type ifname . ipv6_addr ; }\n"
	"	set target6 { typeof iifname . @th,64,128 ; }\n"
	"	map class { type ifname : classid ; }\n"
	"	map exempt_class { type ifname : classid ; }\n"
	"	map pps_out { type ifname : limit ; }\n"
	"	map pps_in { type ifname : limit ; }\n"
	"	set exempt4 { type ipv4_addr ; flags interval ; auto-merge ; }\n"
	"	set exempt6 { type ipv6_addr ; flags interval ; auto-merge ; }\n"
	"	counter spoofed { }\n"
	"	counter too_many { }\n";

/* As the lock and the paths above, for what goes from port to port: there a guest could also say
 * that it has others' addresses, or is the router; the bridge of cosd's itself is
 * in the group, too, but no port. What comes from a port of the host's is not looked at. */
static void put_bridge(FILE *f, const char *table, const struct nat_host *h)
{
	fprintf(f,
		"table bridge %s {\n%s"
		"	chain lock {\n"
		"		type filter hook prerouting priority -300 ; policy accept ;\n"
		"		iifgroup != %u accept\n"
		"		limit name iifname map @pps_out counter name too_many drop\n"
		"		iifname . ether saddr != @mac counter name spoofed drop\n"
		"		iifname @any_source accept\n"
		"		icmpv6 type { nd-router-advert, nd-redirect } counter name spoofed drop\n"
		"		icmpv6 type nd-neighbor-advert iifname . @th,64,128 != @target6 counter "
		"name spoofed drop\n"
		"		iifname . ip saddr @own4 accept\n"
		"		iifname . arp saddr ip @own4 accept\n"
		"		iifname . ip6 saddr @own6 accept\n"
		"		ip6 saddr :: icmpv6 type { nd-neighbor-solicit, nd-router-solicit, "
		"mld2-listener-report } accept\n"
		"		counter name spoofed drop\n"
		"	}\n"
		"	chain arrive {\n"
		"		limit name oifname map @pps_in counter name too_many drop\n"
		"		meta priority set oifname map @class\n"
		"		ip saddr @exempt4 meta priority set oifname map @exempt_class\n"
		"		ip6 saddr @exempt6 meta priority set oifname map @exempt_class\n"
		"	}\n"
		"	chain forward {\n"
		"		type filter hook forward priority 0 ; policy accept ;\n"
		"		meta priority set iifname map @class\n"
		"		ip daddr @exempt4 meta priority set iifname map @exempt_class\n"
		"		ip6 daddr @exempt6 meta priority set iifname map @exempt_class\n"
		"		oifgroup %u jump arrive\n"
		"	}\n"
		"	chain output {\n"
		"		type filter hook output priority 0 ; policy accept ;\n"
		"		oifgroup %u jump arrive\n"
		"	}\n"
		"}\n",
		table, bridge_sets, h->group, h->group, h->group);
	put_exempt(f, "bridge", table, h);
}

/* A link beside the uplink shares its tree, and its guest may say which class it wants: it gets
 * none. */
static void put_beside(FILE *f, const char *table, const struct nat_host *h)
{
	fprintf(f,
		"table netdev %s {\n"
		"	chain leave {\n"
		"		type filter hook egress device \"%s\" priority 0 ; policy accept ;\n"
		"		ether saddr != %s meta priority set 0\n"
		"	}\n"
		"}\n",
		table, h->beside, h->mac);
}

static void put_anew(FILE *f, const char *family, const char *table)
{
	fprintf(f, "table %s %s\ndelete table %s %s\n", family, table, family, table);
}

static void put_table(FILE *f, const char *table, const struct nat_host *h)
{
	put_anew(f, "inet", table);
	put_anew(f, "arp", table);
	fprintf(f, "table inet %s {\n%s", table, sets);
	put_lock(f, h->group);
	put_paths(f, h->group);
	put_translation(f, h);
	fprintf(f,
		"}\n"
		"table arp %s {\n"
		"	set own4 { type ifname . ipv4_addr ; }\n"
		"	chain lock {\n"
		"		type filter hook input priority filter ; policy accept ;\n"
		"		iifgroup %u iifname . arp saddr ip != @own4 drop\n"
		"	}\n"
		"}\n",
		table, h->group);
	put_exempt(f, "inet", table, h);
	if (h->ports) {
		put_anew(f, "bridge", table);
		put_bridge(f, table, h);
	}
	if (h->beside) {
		put_anew(f, "netdev", table);
		put_beside(f, table, h);
	}
}

int nat_load(struct nat *n, const struct nat_host *h, const struct nat_guest *const *guests,
	     unsigned n_guests, struct cos_err *err)
{
	auto_free char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	if (!f)
		return cos_fail(err, COS_E_KERNEL, ENOMEM, "nftables");
	put_table(f, n->table, h);
	for (unsigned i = 0; i < n_guests; i++)
		put_guest(&(struct out){ f, n->table, true }, guests[i]);
	if (fclose(f) != 0)
		return cos_fail(err, COS_E_KERNEL, ENOMEM, "nftables");
	return run(n, text, "make the table", err);
}

/* One by one: the kernel may not know each family. */
void nat_drop(struct nat *n)
{
	static const char *const families[] = { "inet", "arp", "bridge", "netdev" };
	struct cos_err ignored;
	char text[400];

	for (size_t i = 0; i < ARRAY_SIZE(families); i++) {
		str_fmt(text, sizeof(text), "table %s %s\ndelete table %s %s\n", families[i],
			n->table, families[i], n->table);
		run(n, text, "remove the table", &ignored);
	}
}
