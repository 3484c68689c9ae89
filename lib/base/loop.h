/* lib/base/loop.h - the only wait of a daemon: descriptors and timers
 *
 * One thread. A source belongs to whoever embeds it; it is removed with loop_del() and may be freed
 * by its owner from loop_source.gone, which the loop calls when no pending event names it. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/list.h"

struct loop;

struct loop_source {
	int fd; /* borrowed: the owner closes it, after loop_del() */
	void (*ready)(struct loop_source *s, uint32_t events);
	void (*gone)(struct loop_source *s); /* may free the owner; NULL: nothing to do */
	struct loop *loop;                   /* NULL when not added */
	struct loop_source *next_dead;
	bool dead;
};

struct loop_timer {
	uint64_t at_usec; /* CLOCK_MONOTONIC; 0: not set */
	void (*fire)(struct loop_timer *t);
	struct list link;
};

struct loop {
	int epfd;
	bool stop;
	struct loop_source *dead;
	struct list timers;
};

/* Returns 0 or a negative errno. */
int loop_init(struct loop *l);
/* Calls S->gone of deleted sources for which that was still to be done. */
void loop_done(struct loop *l);

/* EVENTS as epoll_ctl(2). Both return 0 or a negative errno. S is zeroed before its first use;
 * -EBUSY: it was deleted and S->gone is still to be called. -ENOENT: S was not added, or it was
 * deleted. */
int loop_add(struct loop *l, struct loop_source *s, uint32_t events);
int loop_mod(struct loop_source *s, uint32_t events);
/* Idempotent. After it S gets no more events; S->gone is called once, before the next wait. */
void loop_del(struct loop_source *s);

/* Sets T to fire once after DELAY_USEC, or again later if it was set already. Costs O(timers set).
 * A sum beyond 64 bits is never. */
void loop_timer_set(struct loop *l, struct loop_timer *t, uint64_t delay_usec);
void loop_timer_clear(struct loop_timer *t);

/* Until l->stop, or -errno if epoll fails. */
int loop_run(struct loop *l);
