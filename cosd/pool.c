/* cosd/pool.c - slots that are prepared before anybody asks: ids, user namespace, network namespace
 *
 * Bounded by prepare.slots. One is made at a time, after a start took one, in a process of its own;
 * a start that finds none makes its own. What is prepared ends with the worker: it is nothing but
 * descriptors. */
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "cosd/daemon.h"
#include "lib/base/log.h"
#include "lib/base/own.h"

#define REFILL_USEC 1000
#define RETRY_USEC  1000000 /* after a failure */

struct prepared {
	struct list link;
	unsigned slot;
	int userns, netns;
};

static void refill(struct loop_timer *t);

void pool_init(struct daemon *d)
{
	list_init(&d->pool.ready);
	d->pool.refill.fire = refill;
	d->pool.making.fd = d->pool.prep.sync = -1;
	loop_timer_set(&d->loop, &d->pool.refill, REFILL_USEC);
}

static void made(struct loop_source *s, uint32_t events)
{
	struct daemon *d = container_of(s, struct daemon, pool.making);
	struct prepared *p = malloc(sizeof(*p));
	struct cos_err err;
	int r;

	(void)events;
	loop_del(s);
	s->fd = -1;
	if (!p) {
		launch_prepare_abort(&d->pool.prep);
		slot_free(d, d->pool.slot);
		return;
	}
	r = launch_prepare_finish(&d->pool.prep, &p->userns, &p->netns, &err);
	if (r < 0) {
		log_say(LOG_WARN, "a slot could not be prepared: %s", err.why);
		slot_free(d, d->pool.slot);
		free(p);
		loop_timer_set(&d->loop, &d->pool.refill, RETRY_USEC);
		return;
	}
	p->slot = d->pool.slot;
	list_add_tail(&d->pool.ready, &p->link);
	d->pool.n++;
	loop_timer_set(&d->loop, &d->pool.refill, REFILL_USEC);
}

static void refill(struct loop_timer *t)
{
	struct daemon *d = container_of(t, struct daemon, pool.refill);
	struct cos_err err;
	int slot;

	if (d->pool.n >= d->conf.prepare_slots || d->pool.making.fd >= 0)
		return;
	slot = slot_lease_spare(d);
	if (slot < 0) /* what is left is for guests */
		return;
	if (launch_prepare(slot_id_base(d, (unsigned)slot), &d->pool.prep, &err) < 0) {
		log_say(LOG_WARN, "a slot could not be prepared: %s", err.why);
		slot_free(d, (unsigned)slot);
		loop_timer_set(&d->loop, &d->pool.refill, RETRY_USEC);
		return;
	}
	d->pool.slot = (unsigned)slot;
	d->pool.making = (struct loop_source){ .fd = d->pool.prep.sync, .ready = made };
	if (loop_add(&d->loop, &d->pool.making, EPOLLIN) < 0) {
		d->pool.making.fd = -1;
		launch_prepare_abort(&d->pool.prep);
		slot_free(d, (unsigned)slot);
	}
}

int pool_take(struct daemon *d, int *ret_userns, int *ret_netns)
{
	struct prepared *p;
	int slot;

	if (d->pool.making.fd < 0)
		loop_timer_set(&d->loop, &d->pool.refill, REFILL_USEC);
	if (list_is_empty(&d->pool.ready))
		return -1;
	p = list_entry(d->pool.ready.next, struct prepared, link);
	list_del(&p->link);
	d->pool.n--;
	slot = (int)p->slot;
	*ret_userns = p->userns;
	*ret_netns = p->netns;
	free(p);
	return slot;
}

bool pool_give_up_one(struct daemon *d)
{
	int userns, netns,
		slot = list_is_empty(&d->pool.ready) ? -1 : pool_take(d, &userns, &netns);

	if (slot < 0)
		return false;
	close(userns);
	close(netns);
	slot_free(d, (unsigned)slot);
	return true;
}
