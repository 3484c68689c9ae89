/* cosd/net-watch.c - what others do to the host's network, and how it is made good
 *
 * An uplink may go (a cable adapter, a driver, a virtual function) and come back: its classes are
 * made again. So is the ifb, should somebody delete it, and the table, after `nft flush ruleset` or
 * any other hand that was laid on it. */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "cosd/guest.h"
#include "cosd/net.h"
#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/base/own.h"
#include "lib/base/str.h"

#define PAUSE_USEC (1 * USEC_PER_SEC) /* between repairs: somebody may do it again and again */
#define AGAIN_USEC (10 * USEC_PER_SEC)

static void plan(struct daemon *d)
{
	uint64_t since = clock_usec() - d->net.watch.repaired_usec;

	if (!d->net.watch.repair.at_usec)
		loop_timer_set(&d->loop, &d->net.watch.repair,
			       since < PAUSE_USEC ? PAUSE_USEC - since : 0);
}

static void lose_uplink(struct daemon *d)
{
	struct list *p;

	d->net.uplink = 0;
	list_for_each(p, &d->guests) {
		struct guest *g = list_entry(p, struct guest, link);

		if (!g->net)
			continue;
		g->net->trees[NET_TREE_OUT] = 0;
		net_fold(g, NET_TREE_OUT);
	}
	event_say(d, NULL, "uplink-lost", json_pack("{s:s}", "link", d->net.uplink_name));
}

static void see_link(const struct netmon_link *l, void *arg)
{
	struct daemon *d = arg;
	struct net *n = &d->net;

	if (l->gone && l->index == n->uplink && n->uplink)
		lose_uplink(d);
	else if (l->gone ? l->index == n->ifb || (n->bridge && l->index == n->bridge)
			 : !n->uplink && n->uplink_name[0] && strcmp(l->name, n->uplink_name) == 0)
		n->watch.host = true;
	else if (!l->gone && n->macvlan && l->index == n->uplink &&
		 memcmp(l->mac, n->mac, sizeof(n->mac)) != 0) {
		memcpy(n->mac, l->mac, sizeof(n->mac));
		n->watch.table = true;
	}
}

static void links_ready(struct loop_source *s, uint32_t events)
{
	struct daemon *d = container_of(s, struct daemon, net.watch.links);

	(void)events;
	if (netmon_read_links(s->fd, see_link, d) < 0) { /* something was missed */
		if (d->net.uplink && link_index(d->net.uplink_name) != d->net.uplink)
			lose_uplink(d);
		d->net.watch.host = true;
	}
	if (d->net.watch.host || d->net.watch.table)
		plan(d);
}

static void tables_ready(struct loop_source *s, uint32_t events)
{
	struct daemon *d = container_of(s, struct daemon, net.watch.tables);

	(void)events;
	if (!netmon_is_touched(&d->net.watch.monitor))
		return;
	d->net.watch.table = true;
	plan(d);
}

static bool mend(struct daemon *d, const char *what, bool *broken,
		 int (*fn)(struct daemon *d, struct cos_err *err))
{
	struct cos_err err;

	if (!*broken)
		return true;
	if (fn(d, &err) < 0) {
		log_say(LOG_ERROR, "network: %s not repaired: %s", what, err.why);
		return false;
	}
	*broken = false;
	event_say(d, NULL, "network-repaired", json_pack("{s:s}", "what", what));
	return true;
}

static void repair(struct loop_timer *t)
{
	struct daemon *d = container_of(t, struct daemon, net.watch.repair);
	struct net_watch *w = &d->net.watch;
	bool good = mend(d, "links and classes", &w->host, net_restore_host);

	good = mend(d, "table", &w->table, net_load_table) && good;
	w->repaired_usec = clock_usec();
	if (!good)
		loop_timer_set(&d->loop, t, AGAIN_USEC);
}

int net_watch(struct daemon *d, struct cos_err *err)
{
	struct net_watch *w = &d->net.watch;
	int r;

	w->repair.fire = repair;
	w->links = (struct loop_source){ .fd = netmon_open_links(NET_INDEX_BASE),
					 .ready = links_ready };
	r = w->links.fd < 0 ? w->links.fd : netmon_open_tables(&w->monitor, d->net.nat.table);
	w->tables = (struct loop_source){ .fd = w->monitor.fd, .ready = tables_ready };
	if (r == 0)
		r = loop_add(&d->loop, &w->links, EPOLLIN);
	if (r == 0)
		r = loop_add(&d->loop, &w->tables, EPOLLIN);
	return r < 0 ? cos_fail(err, COS_E_KERNEL, -r, "watch the host's network") : 0;
}

void net_unwatch(struct daemon *d)
{
	struct net_watch *w = &d->net.watch;

	loop_timer_clear(&w->repair);
	loop_del(&w->links);
	loop_del(&w->tables);
	close_p(&w->links.fd);
	close_p(&w->monitor.fd);
}
