/* cosd/net-lease.c - what a guest has of the network on disk: addresses, counters
 *
 *   S/net/NAME.json   {"version", "address": [...], "past": {...}, "past_started_usec", "quota":
 * {...}}
 *
 * A guest keeps its addresses and counters from its first start until it is deleted. What it used
 * of a quota outlives even that, until the period ends: who deletes a guest and makes it again has
 * no more than before. */
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cosd/guest.h"
#include "cosd/net.h"
#include "lib/base/io.h"
#include "lib/base/jsonx.h"
#include "lib/base/log.h"
#include "lib/base/own.h"
#include "lib/base/str.h"

#define LEASE_VERSION 1
#define LEASE_BYTES   4096
#define FIRST         2 /* address of a pool that a guest may have */

/* --- the file --- */

static void lease_file(char *buf, size_t size, const char *name)
{
	str_fmt(buf, size, "%s.json", name);
}

static json_t *counts_json(const struct net_count *c)
{
	json_t *j = json_object();

	for (int i = 0; i < NET__STREAMS; i++)
		json_object_set_new(j, net_streams[i].key,
				    json_pack("{s:I, s:I, s:I}", "bytes", (json_int_t)c[i].bytes,
					      "packets", (json_int_t)c[i].packets, "drops",
					      (json_int_t)c[i].drops));
	return j;
}

static json_t *lease_json(const struct net_lease *l)
{
	json_t *addresses = json_array();
	char text[IP_TEXT_SIZE];

	for (int i = 0; i < NET_FAMILIES; i++) {
		if (l->ip[i].family)
			json_array_append_new(addresses, json_string(ip_text(&l->ip[i], text)));
	}
	return json_pack("{s:i, s:s, s:s, s:o, s:o, s:I, s:{s:I, s:I, s:I, s:I, s:I, s:b}}",
			 "version", LEASE_VERSION, "mode", net_mode_name[l->mode], "bridge",
			 l->bridge, "address", addresses, "past", counts_json(l->past),
			 "past_started_usec", (json_int_t)l->past_started_usec, "quota", "period",
			 (json_int_t)l->quota.period, "begin", (json_int_t)l->quota.begin, "end",
			 (json_int_t)l->quota.end, "out", (json_int_t)l->quota.before[NET_OUT],
			 "in", (json_int_t)l->quota.before[NET_IN], "told", l->quota.told);
}

int net_put_lease(const struct guest *g, struct cos_err *err)
{
	auto_json json_t *j = lease_json(&g->lease);
	auto_free char *text = j ? json_dumps(j, JSON_INDENT(1)) : NULL;
	char file[80];
	int r;

	lease_file(file, sizeof(file), g->name);
	r = text ? io_replace_at(g->d->leases, file, text, strlen(text), 0600, !g->spec.ephemeral)
		 : -ENOMEM;
	return r < 0 ? cos_fail(err, COS_E_KERNEL, -r, "write the addresses of %s", g->name) : 0;
}

static void mark(struct net *n, const struct ip *ip, bool used)
{
	int family = ip->family == AF_INET6;
	uint32_t i;

	if (!ip->family || !n->used[family] || !ip_is_in(ip, &n->pool[family]))
		return;
	i = ip_index(&n->pool[family], ip);
	if (i / 8 >= NET_POOL_MAX / 8)
		return;
	if (used)
		n->used[family][i / 8] |= (uint8_t)(1U << i % 8);
	else
		n->used[family][i / 8] &= (uint8_t) ~(1U << i % 8);
}

static bool is_used(const struct net *n, int family, uint32_t i)
{
	return n->used[family][i / 8] & 1U << i % 8;
}

static uint64_t number(json_t *of, const char *key)
{
	return (uint64_t)json_integer_value(json_object_get(of, key));
}

static void take_counts(json_t *past, struct net_count *c)
{
	for (int i = 0; i < NET__STREAMS; i++) {
		json_t *j = json_object_get(past, net_streams[i].key);

		c[i] = (struct net_count){
			.bytes = number(j, "bytes"),
			.packets = number(j, "packets"),
			.drops = number(j, "drops"),
		};
	}
}

static void take_quota(json_t *j, struct net_quota *q)
{
	*q = (struct net_quota){
		.period = number(j, "period"),
		.begin = number(j, "begin"),
		.end = number(j, "end"),
		.before = { [NET_OUT] = number(j, "out"), [NET_IN] = number(j, "in") },
		.told = json_is_true(json_object_get(j, "told")),
	};
}

/* How the guest was started last: a file of before there were modes says nothing. */
static void take_mode(json_t *j, struct net_lease *l)
{
	const char *mode = json_string_value(json_object_get(j, "mode")),
		   *bridge = json_string_value(json_object_get(j, "bridge"));

	l->mode = NET_ROUTED;
	for (enum net_mode m = 0; mode && m < NET__N; m++) {
		if (strcmp(mode, net_mode_name[m]) == 0)
			l->mode = m;
	}
	str_fmt(l->bridge, sizeof(l->bridge), "%s", bridge ?: "");
}

/* 1: it was read; 0: there is none. */
static int read_lease(struct daemon *d, const char *name, struct net_lease *ret)
{
	char file[80], text[LEASE_BYTES];
	auto_json json_t *j = NULL;
	struct cos_err err;
	json_t *e;
	ssize_t n;
	size_t i;

	lease_file(file, sizeof(file), name);
	n = io_read_at(d->leases, file, text, sizeof(text));
	if (n == -ENOENT)
		return 0;
	if (n < 0 || jsonx_parse(text, (size_t)n, file, &j, &err) < 0 ||
	    json_integer_value(json_object_get(j, "version")) != LEASE_VERSION) {
		log_say(LOG_ERROR, "%s: its addresses and counters are lost: net/%s is not usable",
			name, file);
		return 0;
	}
	*ret = (struct net_lease){ .past_started_usec = number(j, "past_started_usec") };
	take_mode(j, ret);
	json_array_foreach(json_object_get(j, "address"), i, e) {
		struct ip ip;

		if (json_is_string(e) && ip_parse(json_string_value(e), &ip) == 0)
			ret->ip[ip.family == AF_INET6] = ip;
	}
	take_counts(json_object_get(j, "past"), ret->past);
	take_quota(json_object_get(j, "quota"), &ret->quota);
	return 1;
}

void net_load(struct guest *g)
{
	if (!read_lease(g->d, g->name, &g->lease))
		return;
	for (int i = 0; i < NET_FAMILIES; i++)
		mark(&g->d->net, &g->lease.ip[i], true);
}

/* Of a deleted guest that had a quota, what it used stays as if it were at its first start. */
void net_drop_lease(struct daemon *d, const char *name)
{
	struct net_lease l;
	char file[80];

	lease_file(file, sizeof(file), name);
	if (read_lease(d, name, &l) && net_quota_lasts(&l.quota))
		return;
	unlinkat(d->leases, file, 0);
}

void net_forget(struct guest *g)
{
	struct net_lease *l = &g->lease;
	struct net_quota used = l->quota;
	struct cos_err err;

	for (int i = 0; i < NET_FAMILIES; i++)
		mark(&g->d->net, &l->ip[i], false);
	for (int w = 0; w < NET__WAYS; w++) /* of counters that begin at 0 again */
		used.before[w] -= l->past[w].bytes;
	*l = (struct net_lease){ .quota = used };
	if (!net_quota_lasts(&used) || net_put_lease(g, &err) < 0)
		net_drop_lease(g->d, g->name);
}

/* --- addresses --- */

static const struct guest *holder_of(const struct guest *g, const struct ip *ip)
{
	struct list *p;

	list_for_each(p, &g->d->guests) {
		const struct guest *e = list_entry(p, struct guest, link);

		if (e != g && ip_equal(&e->lease.ip[ip->family == AF_INET6], ip))
			return e;
	}
	return NULL;
}

static int check_wanted(const struct guest *g, const struct ip *ip, struct cos_err *err)
{
	const struct net *n = &g->d->net;
	int family = ip->family == AF_INET6;
	char text[IP_TEXT_SIZE], pool[IP_TEXT_SIZE];
	const struct guest *other;
	uint32_t i;

	ip_text(ip, text);
	if (!n->pool[family].ip.family || !ip_is_in(ip, &n->pool[family]))
		return cos_advise(
			err, cos_fail(err, COS_E_ADMISSION, 0, "%s is in no pool of cosd", text),
			"choose one of %s",
			n->pool[family].ip.family ? ip_block_text(&n->pool[family], pool)
						  : "the other family");
	i = ip_index(&n->pool[family], ip);
	if (i < FIRST || i >= NET_POOL_MAX || i >= ip_count(&n->pool[family]) - (family == 0))
		return cos_fail(err, COS_E_ADMISSION, 0,
				"%s is not an address that a guest may have", text);
	other = is_used(n, family, i) ? holder_of(g, ip) : NULL;
	if (other)
		return cos_advise(
			err, cos_fail(err, COS_E_ADMISSION, 0, "%s is %s's", text, other->name),
			"choose another address, or delete that guest");
	return 0;
}

static int find_free(const struct net *n, int family, struct ip *ret, struct cos_err *err)
{
	uint32_t end = ip_count(&n->pool[family]) - (family == 0);
	char text[IP_TEXT_SIZE];

	for (uint32_t i = FIRST; i < end && i < NET_POOL_MAX; i++) {
		if (!is_used(n, family, i)) {
			*ret = ip_nth(&n->pool[family], i);
			return 0;
		}
	}
	return cos_advise(err,
			  cos_fail(err, COS_E_ADMISSION, 0, "no address of the pool %s is free",
				   ip_block_text(&n->pool[family], text)),
			  "delete guests, or give cosd a larger pool");
}

/* The address asked for, the one it had, or a free one. */
static int choose(const struct guest *g, int family, struct ip *ret, struct cos_err *err)
{
	const struct net *n = &g->d->net;
	const struct ip *wanted = &g->spec.net.address[family], *had = &g->lease.ip[family];

	if (!net_has_pool(&g->spec.net)) {
		*ret = *wanted;
		return 0;
	}
	if (wanted->family) {
		*ret = *wanted;
		return ip_equal(wanted, had) ? 0 : check_wanted(g, wanted, err);
	}
	if (!n->pool[family].ip.family) {
		ret->family = 0;
		return 0;
	}
	if (had->family && ip_is_in(had, &n->pool[family])) {
		*ret = *had;
		return 0;
	}
	return find_free(n, family, ret, err);
}

int net_lease(struct guest *g, enum net_mode mode, struct cos_err *err)
{
	struct net_lease next = g->lease, old = g->lease;
	bool same = mode == old.mode && strcmp(g->spec.net.bridge, old.bridge) == 0;
	int r = 0;

	next.mode = mode;
	memcpy(next.bridge, g->spec.net.bridge, sizeof(next.bridge));
	for (int i = 0; i < NET_FAMILIES && r == 0; i++) {
		next.ip[i] = (struct ip){ 0 };
		r = choose(g, i, &next.ip[i], err);
		same = same && next.ip[i].family == old.ip[i].family &&
		       (!old.ip[i].family || ip_equal(&next.ip[i], &old.ip[i]));
	}
	if (r < 0 || same)
		return r;
	g->lease = next;
	r = net_put_lease(g, err);
	if (r < 0) {
		g->lease = old;
		return r;
	}
	for (int i = 0; i < NET_FAMILIES; i++)
		mark(&g->d->net, &old.ip[i], false);
	for (int i = 0; i < NET_FAMILIES; i++)
		mark(&g->d->net, &next.ip[i], true);
	return 0;
}
