/* cosd/net-guest.c - a guest's link: whether it may have what it asks for, made, changed, taken
 * away */
#include <stdlib.h>
#include <string.h>

#include "cosd/admit.h"
#include "cosd/guest.h"
#include "cosd/net.h"
#include "lib/base/log.h"
#include "lib/base/own.h"
#include "lib/base/str.h"

#define SEGMENT    (64U << 10) /* the largest that a link is handed */
#define QUEUE_MIN  (256U << 10)
#define QUEUE_MAX  (4U << 20)
#define CBURST_MIN 2048 /* more than one packet */

/* --- what it is promised --- */

/* The limits of a branch. */
static const struct {
	enum limit_id rate, ceil, share;
	uint16_t parent;
	unsigned first; /* class of slot 0 */
} branches[NET__BRANCHES] = {
	[NET_CAPPED] = { LIMIT_NET_RATE, LIMIT_NET_CEIL, LIMIT_NET_SHARE, NET_CLASS_GUESTS,
			 NET_CLASS_FIRST },
	[NET_EXEMPT] = { LIMIT_NET_EXEMPT_RATE, LIMIT_NET_EXEMPT_CEIL, LIMIT_NET_EXEMPT_SHARE,
			 NET_CLASS_EXEMPT, NET_EXEMPT_FIRST },
};

/* What all guests together may have of it. */
static uint64_t cap_of(const struct net *n, enum net_branch b)
{
	return b == NET_CAPPED ? n->cap : n->speed;
}

/* The branch beside net.cap is as large as the uplink. */
static int check_exempt(const struct guest *g, const struct limits *l, struct cos_err *err)
{
	uint64_t sum = 0, rate = l->v[LIMIT_NET_EXEMPT_RATE], cap = g->d->net.speed;
	char want[LIMIT_TEXT_SIZE], left[LIMIT_TEXT_SIZE], all[LIMIT_TEXT_SIZE];
	struct list *p;

	list_for_each(p, &g->d->guests) {
		const struct guest *e = list_entry(p, struct guest, link);

		if (e != g && e->net && !e->net->lower)
			sum += e->spec.limits.v[LIMIT_NET_EXEMPT_RATE];
	}
	if (sum + rate <= cap)
		return 0;
	return cos_advise(err,
			  cos_fail(err, COS_E_ADMISSION, 0,
				   "net.exempt.rate=%s: other guests have so much of %s that %s is "
				   "left",
				   str_from_bits(want, rate), str_from_bits(all, cap),
				   str_from_bits(left, sum < cap ? cap - sum : 0)),
			  "ask for no more than what is left");
}

static int check_guarantees(const struct guest *g, const struct limits *l, struct cos_err *err)
{
	int r = admit_check_network(g, l, err);

	if (r < 0 || g->d->net.n_exempt)
		return r < 0 ? r : check_exempt(g, l, err);
	for (enum limit_id id = LIMIT_NET_EXEMPT_RATE; id <= LIMIT_NET_EXEMPT_SHARE; id++) {
		if (l->set[id] && l->v[id] != limit_defs[id].dflt)
			return cos_advise(err,
					  cos_fail(err, COS_E_UNSUPPORTED, 0,
						   "%s: no addresses are exempt",
						   limit_defs[id].name),
					  "set net.exempt in cosd.json and restart cosd");
	}
	return 0;
}

static int check_forwards(const struct guest *g, const struct net_spec *s, struct cos_err *err)
{
	struct list *p;

	list_for_each(p, &g->d->guests) {
		const struct guest *e = list_entry(p, struct guest, link);

		for (unsigned i = 0; e != g && e->net && i < e->spec.net.n_forward; i++) {
			const struct net_forward *f = &e->spec.net.forward[i];

			for (unsigned k = 0; k < s->n_forward; k++) {
				if (s->forward[k].host == f->host && s->forward[k].udp == f->udp)
					return cos_advise(
						err,
						cos_fail(err, COS_E_ADMISSION, 0,
							 "net.forward: %s port %u of the host "
							 "leads to %s",
							 f->udp ? "udp" : "tcp", f->host, e->name),
						"choose another port, or stop that guest");
			}
		}
	}
	return 0;
}

/* --- modes --- */

static const struct {
	bool link, classes;
} modes[NET__N] = {
	[NET_ROUTED] = { .link = true, .classes = true },
	[NET_BRIDGE] = { .link = true, .classes = true },
	[NET_MACVLAN] = { .link = true },
};

static bool has_pool(const struct net *n)
{
	return n->pool[0].ip.family || n->pool[1].ip.family;
}

static enum net_mode mode_of(const struct net *n, const struct net_spec *s)
{
	if (s->mode != NET_AUTO)
		return s->mode;
	return has_pool(n) ? NET_ROUTED : NET_NONE;
}

/* The last limit that is set and not what it is without being set. */
static const char *limit_asked(const struct limits *l)
{
	const char *name = NULL;

	for (enum limit_id id = LIMIT__CG; id < LIMIT__NET; id++) {
		if (l->set[id] && l->v[id] != limit_defs[id].dflt)
			name = limit_defs[id].name;
	}
	return name;
}

/* What asks for something that the mode or the daemon has not is not passed over. */
static int check_mode(const struct guest *g, const struct spec *s, struct cos_err *err)
{
	const struct net *n = &g->d->net;
	enum net_mode mode = mode_of(n, &s->net);
	const char *what = modes[mode].classes ? NULL : limit_asked(&s->limits);
	char named[40];

	if (!what && s->net.mode == NET_AUTO && mode == NET_NONE)
		what = s->net.n_forward           ? "net.forward"
		       : s->net.address[0].family ? "net.address"
		       : s->net.address[1].family ? "net.address"
						  : NULL;
	str_fmt(named, sizeof(named), "net.mode=%s", net_mode_name[mode]);
	if (!what && modes[mode].link && net_has_pool(&s->net) && !has_pool(n))
		what = named;
	if (what && !has_pool(n) && net_has_pool(&s->net))
		return cos_advise(err,
				  cos_fail(err, COS_E_UNSUPPORTED, 0,
					   "%s needs a network, and cosd has no addresses", what),
				  "set net.pool in cosd.json and restart cosd");
	if (what)
		return cos_fail(err, COS_E_UNSUPPORTED, 0,
				"%s needs a network that cosd shapes: net.mode is %s", what,
				net_mode_name[mode]);
	if (modes[mode].link && !net_has_pool(&s->net) && !n->uplink)
		return cos_advise(err,
				  cos_fail(err, COS_E_UNSUPPORTED, 0, "%s needs an uplink", named),
				  "set net.uplink in cosd.json and restart cosd");
	return 0;
}

/* --- the link --- */

static void link_name(const struct daemon *d, unsigned slot, char buf[static LINK_NAME_SIZE])
{
	str_fmt(buf, LINK_NAME_SIZE, "cos%u", d->net.group + slot);
}

static bool is_peer(const struct net_spec *of, const char *name)
{
	json_t *e;
	size_t i;

	json_array_foreach(of->peers, i, e) {
		if (strcmp(json_string_value(e), name) == 0)
			return true;
	}
	return false;
}

static void find_friends(const struct guest *g, const struct net_spec *s, struct launch_net *l)
{
	struct list *p;

	l->n_friends = 0;
	list_for_each(p, &g->d->guests) {
		const struct guest *e = list_entry(p, struct guest, link);

		if (e != g && e->net && l->n_friends < NET_PEERS_MAX && is_peer(s, e->name))
			memcpy(l->friends[l->n_friends++], e->net->link, LINK_NAME_SIZE);
	}
}

/* A twentieth of a second's bytes, and no less than four of the largest segments: with two, TCP
 * loses whole segments and stalls. */
static uint32_t queue_of(uint64_t ceil)
{
	uint64_t bytes = ceil / 8 / 20;

	if (bytes < QUEUE_MIN)
		return QUEUE_MIN;
	return bytes < QUEUE_MAX ? (uint32_t)bytes : QUEUE_MAX;
}

/* HTB lets a whole segment go while any token is left, so a bucket lets that much more through; and
 * two milliseconds at the ceiling are what it needs to keep a fast one. */
static uint64_t cburst_of(uint64_t burst, uint64_t ceil)
{
	uint64_t fast = ceil / 8 / 500, bytes = burst > SEGMENT ? burst - SEGMENT : 0;

	if (bytes < fast)
		bytes = fast;
	return bytes > CBURST_MIN ? bytes : CBURST_MIN;
}

static struct htb_class class_of(const struct guest *g, const uint64_t *v, enum net_branch b)
{
	uint64_t cap = cap_of(&g->d->net, b), rate = v[branches[b].rate],
		 ceil = v[branches[b].ceil] < cap ? v[branches[b].ceil] : cap;

	return (struct htb_class){
		.parent = branches[b].parent,
		.id = (uint16_t)(branches[b].first + (unsigned)g->slot),
		.rate = rate < ceil ? rate : ceil,
		.ceil = ceil,
		.burst = v[LIMIT_NET_BURST],
		.cburst = cburst_of(v[LIMIT_NET_BURST], ceil),
		.quantum = (uint32_t)(v[branches[b].share] * NET_QUANTUM),
		.queue = queue_of(ceil),
		.codel = g->d->net.codel,
	};
}

/* What may change while the guest runs. */
static void fill_live(const struct guest *g, const struct spec *s, struct launch_net *l)
{
	for (enum net_branch b = 0; b < NET__BRANCHES && modes[g->lease.mode].classes; b++) {
		if (b != NET_EXEMPT || g->d->net.n_exempt)
			l->class[b] = class_of(g, s->limits.v, b);
	}
	l->pps = s->limits.v[LIMIT_NET_PPS];
	l->spec = &s->net;
	find_friends(g, &s->net, l);
}

/* What is so from the start to the end of a run, of the lease that says how it was started. */
static void fill(const struct guest *g, struct launch_net *l)
{
	const struct net *n = &g->d->net;
	const struct net_lease *lease = &g->lease;
	uint32_t no = n->group + (uint32_t)g->slot;

	*l = (struct launch_net){
		.host = &g->d->net.rt,
		.nat = &g->d->net.nat,
		.trees = { n->uplink, n->ifb },
		.group = n->group,
		.mtu = n->mtu,
		.lower = lease->mode == NET_MACVLAN ? n->uplink : 0,
		.name = g->name,
		.index = (int)(NET_INDEX_BASE + no),
		/* locally administered; no other link of the host's instances has them */
		.mac = { { 2, 0xc0, 5, 0xff, (uint8_t)(no >> 8), (uint8_t)no },
			 { 2, 0xc0, 5, 0, (uint8_t)(no >> 8), (uint8_t)no } },
		.ip = { lease->ip[0], lease->ip[1] },
		.len = { 32, 128 },
		.gateway = { n->gateway[0], launch_net_gateway6 },
		.bound = { LIMIT_MAX, LIMIT_MAX },
	};
	if (lease->mode == NET_BRIDGE && !lease->bridge[0]) {
		l->bridge = n->bridge;
		l->len[0] = n->pool[0].len;
		memcpy(l->bridge_name, n->bridge_name, sizeof(l->bridge_name));
	} else if (lease->mode != NET_ROUTED) {
		l->bridge = lease->bridge[0] ? link_index(lease->bridge) : 0;
		memcpy(l->len, g->spec.net.len, sizeof(l->len));
		memcpy(l->gateway, g->spec.net.gateway, sizeof(l->gateway));
	}
	link_name(g->d, (unsigned)g->slot, l->link);
	fill_live(g, &g->spec, l);
}

bool net_lingers(const struct daemon *d, unsigned slot)
{
	char name[LINK_NAME_SIZE];

	if (!d->net.on)
		return false;
	link_name(d, slot, name);
	return link_index(name) > 0;
}

/* G came or went: guests that count it among their peers know its link, or do not any more. */
static void tell_peers(const struct guest *g)
{
	struct list *p;

	list_for_each(p, &g->d->guests) {
		struct guest *e = list_entry(p, struct guest, link);
		auto_free struct launch_net *next = NULL;
		struct cos_err err;

		if (e == g || !e->net || !e->net->attached || !is_peer(&e->spec.net, g->name) ||
		    !(next = malloc(sizeof(*next))))
			continue;
		*next = *e->net;
		find_friends(e, &e->spec.net, next);
		if (launch_net_change(e->net, next, &err) < 0)
			log_say(LOG_ERROR, "%s: net.peers: %s", e->name, err.why);
		else
			*e->net = *next;
	}
}

static int admit(struct guest *g, enum net_mode mode, struct cos_err *err)
{
	int r = 0;

	if (modes[mode].classes)
		r = check_guarantees(g, &g->spec.limits, err);
	if (r == 0)
		r = check_forwards(g, &g->spec.net, err);
	if (r == 0 && mode != NET_ROUTED)
		r = net_need(g->d, &g->spec.net, err);
	return r < 0 ? r : net_lease(g, mode, err);
}

int net_admit(struct guest *g, struct cos_err *err)
{
	enum net_mode mode = mode_of(&g->d->net, &g->spec.net);
	int r = check_mode(g, &g->spec, err);

	if (r < 0 || !modes[mode].link)
		return r;
	r = admit(g, mode, err);
	if (r < 0)
		return r;
	g->net = malloc(sizeof(*g->net));
	if (!g->net)
		return cos_fail(err, COS_E_KERNEL, ENOMEM, "network");
	fill(g, g->net);
	net_quota_begin(g);
	tell_peers(g);
	return 0;
}

void net_adopt(struct guest *g)
{
	struct list *p;

	if (!g->d->net.on || !modes[g->lease.mode].link)
		return;
	g->net = malloc(sizeof(*g->net));
	if (!g->net)
		return;
	fill(g, g->net);
	g->net->attached = true;
	list_for_each(p, &g->d->guests) { /* those before it did not know its link */
		const struct guest *e = list_entry(p, struct guest, link);

		if (e != g && e->net && is_peer(&e->spec.net, g->name))
			find_friends(e, &e->spec.net, e->net);
	}
	net_quota_touch(g->d);
}

void net_release(struct guest *g)
{
	if (!g->net)
		return;
	if (!g->net->lower)
		net_keep_counts(g);
	launch_net_detach(g->net);
	free(g->net);
	g->net = NULL;
	tell_peers(g);
}

/* --- live changes --- */

int net_change(struct guest *g, const struct spec *next, struct cos_err *err)
{
	auto_free struct launch_net *to = NULL;
	int r = g->slot < 0 ? 0 : check_mode(g, next, err);

	if (r < 0 || !g->net || g->net->lower)
		return r;
	r = check_guarantees(g, &next->limits, err);
	if (r == 0)
		r = check_forwards(g, &next->net, err);
	if (r < 0 || !g->net->attached)
		return r;
	to = malloc(sizeof(*to));
	if (!to)
		return cos_fail(err, COS_E_KERNEL, ENOMEM, "network");
	*to = *g->net;
	fill_live(g, next, to);
	r = launch_net_change(g->net, to, err);
	if (r == 0) {
		*g->net = *to;
		g->net->spec = &g->spec.net; /* NEXT takes that place */
		net_quota_touch(g->d);
	}
	return r;
}
