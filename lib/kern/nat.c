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

static void put(FILE *f, bool add, const char *table, const char *set, const char *key,
		const char *value)
{
	fprintf(f, "%s element inet %s %s { %s%s%s }\n", add ? "add" : "delete", table, set, key,
		add && value ? " : " : "", add && value ? value : "");
}

static void put_sources(FILE *f, bool add, const char *table, const struct nat_guest *g)
{
	char ip[IP_TEXT_SIZE], key[LINK_NAME_SIZE + IP_TEXT_SIZE + 8];

	for (size_t i = 0; i < ARRAY_SIZE(g->ip); i++) {
		if (!g->ip[i].family)
			continue;
		str_fmt(key, sizeof(key), "\"%s\" . %s", g->link, ip_text(&g->ip[i], ip));
		put(f, add, table, g->ip[i].family == AF_INET ? "own4" : "own6", key, NULL);
		if (g->ip[i].family == AF_INET)
			fprintf(f, "%s element arp %s own4 { %s }\n", add ? "add" : "delete", table,
				key);
	}
}

static void put_classes(FILE *f, bool add, const char *table, const struct nat_guest *g)
{
	char key[LINK_NAME_SIZE + 2], value[16];

	str_fmt(key, sizeof(key), "\"%s\"", g->link);
	str_fmt(value, sizeof(value), "%x:%x", HTB_MAJOR, g->class);
	put(f, add, table, "class", key, value);
	str_fmt(value, sizeof(value), "%x:%x", HTB_MAJOR, g->exempt);
	if (g->exempt)
		put(f, add, table, "exempt_class", key, value);
	if (g->closed)
		put(f, add, table, "closed", key, NULL);
}

/* An object that an element names is there before, and goes after it. A tenth of a second's packets
 * may come at once. */
static void put_limit(FILE *f, bool add, const char *table, const struct nat_guest *g,
		      const char *map)
{
	char key[LINK_NAME_SIZE + 2], value[40];

	str_fmt(key, sizeof(key), "\"%s\"", g->link);
	str_fmt(value, sizeof(value), "\"%s_%s\"", map, g->link);
	if (add)
		fprintf(f,
			"add limit inet %s %s_%s { rate over %" PRIu64 "/second burst %" PRIu64
			" packets ; }\n",
			table, map, g->link, g->pps, g->pps / 10 + 1);
	put(f, add, table, map, key, value);
	if (!add)
		fprintf(f, "delete limit inet %s %s_%s\n", table, map, g->link);
}

static void put_forwards(FILE *f, bool add, const char *table, const struct nat_guest *g)
{
	char ip[IP_TEXT_SIZE], key[32], value[IP_TEXT_SIZE + 16];

	for (unsigned i = 0; i < g->n_forward; i++) {
		const struct nat_forward *w = &g->forward[i];

		str_fmt(key, sizeof(key), "%s . %u", w->udp ? "udp" : "tcp", w->host);
		for (size_t k = 0; k < 2; k++) {
			if (!g->ip[k].family)
				continue;
			str_fmt(value, sizeof(value), "%s . %u", ip_text(&g->ip[k], ip), w->guest);
			put(f, add, table, g->ip[k].family == AF_INET ? "forward4" : "forward6",
			    key, value);
		}
	}
}

static void put_friends(FILE *f, bool add, const char *table, const struct nat_guest *g)
{
	char key[2 * LINK_NAME_SIZE + 8];

	for (unsigned i = 0; i < g->n_friends; i++) {
		str_fmt(key, sizeof(key), "\"%s\" . \"%s\"", g->friends[i], g->link);
		put(f, add, table, "friends", key, NULL);
	}
}

static void put_guest(FILE *f, bool add, const char *table, const struct nat_guest *g)
{
	put_sources(f, add, table, g);
	put_classes(f, add, table, g);
	if (g->pps != UINT64_MAX) {
		put_limit(f, add, table, g, "pps_out");
		put_limit(f, add, table, g, "pps_in");
	}
	put_forwards(f, add, table, g);
	put_friends(f, add, table, g);
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
		put_guest(f, false, n->table, now);
	if (next)
		put_guest(f, true, n->table, next);
	if (fclose(f) != 0)
		return cos_fail(err, COS_E_KERNEL, ENOMEM, "nftables");
	return run(n, text, "elements of a guest", err);
}

/* --- the table --- */

static const char sets[] = "	set own4 { type ifname . ipv4_addr ; }\n"
			   "	set own6 { type ifname . ipv6_addr ; }\n"
			   "	map class { type ifname : classid ; }\n"
			   "	map exempt_class { type ifname : classid ; }\n"
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
		"		meta priority set oifname map @class\n"
		"		ip saddr @exempt4 meta priority set oifname map @exempt_class\n"
		"		ip6 saddr @exempt6 meta priority set oifname map @exempt_class\n"
		"	}\n"
		"	chain forward {\n"
		"		type filter hook forward priority filter ; policy accept ;\n"
		"		meta priority set iifname map @class\n"
		"		ip daddr @exempt4 meta priority set iifname map @exempt_class\n"
		"		ip6 daddr @exempt6 meta priority set iifname map @exempt_class\n"
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
		group, group, group);
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

static void put_table(FILE *f, const char *table, const struct nat_host *h)
{
	char text[IP_TEXT_SIZE];

	fprintf(f, "table inet %s\ndelete table inet %s\ntable arp %s\ndelete table arp %s\n",
		table, table, table, table);
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
	for (unsigned i = 0; i < h->n_exempt; i++)
		fprintf(f, "add element inet %s exempt%c { %s }\n", table,
			h->exempt[i].ip.family == AF_INET ? '4' : '6',
			ip_block_text(&h->exempt[i], text));
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
		put_guest(f, true, n->table, guests[i]);
	if (fclose(f) != 0)
		return cos_fail(err, COS_E_KERNEL, ENOMEM, "nftables");
	return run(n, text, "make the table", err);
}

void nat_drop(struct nat *n)
{
	struct cos_err ignored;
	char text[400];

	str_fmt(text, sizeof(text),
		"table inet %s\ndelete table inet %s\ntable arp %s\ndelete table arp %s\n",
		n->table, n->table, n->table, n->table);
	run(n, text, "remove the table", &ignored);
}
