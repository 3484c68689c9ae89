/* lib/base/loop.c - the only wait of a daemon: descriptors and timers */
#include <errno.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/loop.h"
#include "lib/base/own.h"

int loop_init(struct loop *l)
{
	*l = (struct loop){ .epfd = epoll_create1(EPOLL_CLOEXEC) };
	list_init(&l->timers);
	return l->epfd < 0 ? -errno : 0;
}

static void bury(struct loop *l)
{
	struct loop_source *s;

	while ((s = l->dead)) {
		l->dead = s->next_dead;
		s->loop = NULL;
		if (s->gone)
			s->gone(s);
	}
}

void loop_done(struct loop *l)
{
	bury(l);
	close_p(&l->epfd);
}

int loop_add(struct loop *l, struct loop_source *s, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = s };

	/* It is in the list of the dead: it would be taken out of the loop again. */
	if (s->dead && s->loop)
		return -EBUSY;
	if (epoll_ctl(l->epfd, EPOLL_CTL_ADD, s->fd, &ev) < 0)
		return -errno;
	s->loop = l;
	s->dead = false;
	return 0;
}

int loop_mod(struct loop_source *s, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = s };

	/* The number of a closed descriptor may be another source's by now. */
	if (s->dead || !s->loop)
		return -ENOENT;
	return epoll_ctl(s->loop->epfd, EPOLL_CTL_MOD, s->fd, &ev) < 0 ? -errno : 0;
}

void loop_del(struct loop_source *s)
{
	if (s->dead || !s->loop)
		return;
	epoll_ctl(s->loop->epfd, EPOLL_CTL_DEL, s->fd, NULL);
	s->dead = true;
	s->next_dead = s->loop->dead;
	s->loop->dead = s;
}

void loop_timer_clear(struct loop_timer *t)
{
	if (t->at_usec == 0)
		return;
	t->at_usec = 0;
	list_del(&t->link);
}

/* Kept sorted, the next one first; few timers are set at once and most are the last ones. */
void loop_timer_set(struct loop *l, struct loop_timer *t, uint64_t delay_usec)
{
	struct list *p;

	loop_timer_clear(t);
	if (__builtin_add_overflow(clock_usec(), delay_usec, &t->at_usec))
		t->at_usec = UINT64_MAX;
	for (p = l->timers.prev; p != &l->timers; p = p->prev) {
		if (list_entry(p, struct loop_timer, link)->at_usec <= t->at_usec)
			break;
	}
	list_add_tail(p->next, &t->link);
}

static void fire_timers(struct loop *l)
{
	uint64_t now = clock_usec();

	while (!list_is_empty(&l->timers)) {
		struct loop_timer *t = list_entry(l->timers.next, struct loop_timer, link);

		if (t->at_usec > now)
			return;
		loop_timer_clear(t);
		bury(l); /* a timer may free the owner of sources that another one deleted */
		t->fire(t);
	}
}

static int wait_msec(const struct loop *l)
{
	uint64_t now, at;

	if (list_is_empty(&l->timers))
		return -1;
	at = list_entry(l->timers.next, struct loop_timer, link)->at_usec;
	now = clock_usec();
	return at <= now ? 0
			 : (int)((at - now + 999) / 1000 > 60000 ? 60000 : (at - now + 999) / 1000);
}

int loop_run(struct loop *l)
{
	struct epoll_event ev[64];

	while (!l->stop) {
		int n;

		bury(l);
		n = epoll_wait(l->epfd, ev, ARRAY_SIZE(ev), wait_msec(l));
		if (n < 0 && errno != EINTR)
			return -errno;
		for (int i = 0; i < n; i++) {
			struct loop_source *s = ev[i].data.ptr;

			if (!s->dead)
				s->ready(s, ev[i].events);
		}
		bury(l);
		fire_timers(l);
	}
	bury(l);
	return 0;
}
