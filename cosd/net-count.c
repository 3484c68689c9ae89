/* cosd/net-count.c - what guests sent and received: counters of classes that come and go
 *
 * A class counts from its making on. What was last read of it is kept in memory, so that a class
 * that was lost (with its link) costs no more than what passed since the last look; when a run is
 * over the classes are read a last time, and that goes to the file before they go. */
#include <stdlib.h>

#include "cosd/guest.h"
#include "cosd/net.h"
#include "lib/base/log.h"
#include "lib/base/own.h"

const struct net_stream net_streams[NET__STREAMS] = {
	[NET_OUT] = { "out", NET_TREE_OUT, NET_CAPPED },
	[NET_IN] = { "in", NET_TREE_IN, NET_CAPPED },
	[NET_OUT_EXEMPT] = { "out_exempt", NET_TREE_OUT, NET_EXEMPT },
	[NET_IN_EXEMPT] = { "in_exempt", NET_TREE_IN, NET_EXEMPT },
};

static void add(struct net_count *sum, const struct net_count *c)
{
	sum->bytes += c->bytes;
	sum->packets += c->packets;
	sum->drops += c->drops;
}

static void fold(struct net_lease *l, enum net_stream_id id)
{
	add(&l->past[id], &l->seen[id]);
	l->seen[id] = (struct net_count){ 0 };
}

static void see(struct net_lease *l, enum net_stream_id id, const struct htb_count *now)
{
	/* somebody took the tree away, and it was made again */
	if (now->bytes < l->seen[id].bytes || now->packets < l->seen[id].packets)
		fold(l, id);
	l->seen[id] = (struct net_count){ now->bytes, now->packets, now->drops };
	if (id < NET__WAYS)
		l->over[id] = now->over;
}

struct looking {
	struct guest **by_slot;
	unsigned n;
	enum net_tree tree;
};

static int note_class(uint16_t id, const struct htb_count *c, void *arg)
{
	const struct looking *w = arg;
	bool exempt = id >= NET_EXEMPT_FIRST;
	unsigned slot = id - (exempt ? NET_EXEMPT_FIRST : NET_CLASS_FIRST);
	enum net_stream_id stream = (exempt ? NET_OUT_EXEMPT : NET_OUT) + w->tree;

	if (id >= NET_CLASS_FIRST && slot < w->n && w->by_slot[slot])
		see(&w->by_slot[slot]->lease, stream, c);
	return 0;
}

void net_look(struct daemon *d)
{
	unsigned n = slots_end(d);
	auto_free struct guest **by_slot = calloc(n, sizeof(struct guest *));
	struct looking w = { by_slot, n, NET_TREE_OUT };
	const int trees[NET__TREES] = { d->net.uplink, d->net.ifb };
	struct cos_err ignored; /* as of the last look, then */
	struct list *p;

	if (!d->net.on || !by_slot)
		return;
	list_for_each(p, &d->guests) {
		struct guest *g = list_entry(p, struct guest, link);

		if (g->net && g->slot >= 0)
			by_slot[g->slot] = g;
	}
	for (; w.tree < NET__TREES; w.tree++) {
		if (trees[w.tree])
			htb_each(&d->net.rt, trees[w.tree], note_class, &w, &ignored);
	}
}

void net_look_at(struct guest *g)
{
	struct cos_err ignored;

	for (enum net_stream_id i = 0; g->net && i < NET__STREAMS; i++) {
		int tree = g->net->trees[net_streams[i].tree];
		uint16_t id = g->net->class[net_streams[i].branch].id;
		struct htb_count c;

		if (tree && id && htb_read(g->net->host, tree, id, &c, &ignored) == 0)
			see(&g->lease, i, &c);
	}
}

void net_count(const struct guest *g, struct net_count ret[static NET__STREAMS])
{
	for (int i = 0; i < NET__STREAMS; i++) {
		ret[i] = g->lease.past[i];
		add(&ret[i], &g->lease.seen[i]);
	}
}

void net_fold(struct guest *g, enum net_tree tree)
{
	struct cos_err err;

	for (enum net_stream_id i = 0; i < NET__STREAMS; i++) {
		if (net_streams[i].tree == tree)
			fold(&g->lease, i);
	}
	if (net_put_lease(g, &err) < 0)
		log_say(LOG_ERROR, "%s: counters not kept: %s", g->name, err.why);
}

/* Once for a run, should the end be cut short and begin again. */
void net_keep_counts(struct guest *g)
{
	struct cos_err err;

	if (!g->net->attached || g->lease.past_started_usec == g->started_usec)
		return;
	net_look_at(g);
	for (enum net_stream_id i = 0; i < NET__STREAMS; i++)
		fold(&g->lease, i);
	g->lease.past_started_usec = g->started_usec;
	if (net_put_lease(g, &err) < 0)
		log_say(LOG_ERROR, "%s: counters not kept: %s", g->name, err.why);
}
