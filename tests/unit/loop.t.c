/* tests/unit/loop.t.c - descriptors and timers: order, deletion inside a batch, burial */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/loop.h"
#include "lib/base/own.h"
#include "tests/tap.h"

#define N 8

/* A source that counts its calls; GOING, if set, is deleted by its handler. */
struct probe {
	struct loop_source src;
	unsigned ready, gone;
	uint32_t events;
	struct probe *going;
};

static struct loop loop;
static struct probe probes[N];

/* Ends a run that waits for something that does not come. */
static void too_late(struct loop_timer *t)
{
	(void)t;
	ok(false, "the loop hangs");
	loop.stop = true;
}

static struct loop_timer guard = { .fire = too_late };

static void stop(struct loop_timer *t)
{
	(void)t;
	loop.stop = true;
}

static struct loop_timer end = { .fire = stop };

static int run(void)
{
	int r;

	loop.stop = false;
	loop_timer_set(&loop, &guard, 20 * USEC_PER_SEC);
	r = loop_run(&loop);
	loop_timer_clear(&guard);
	return r;
}

/* One wait that finds what is ready, then the end. */
static int run_once(void)
{
	loop_timer_set(&loop, &end, 0);
	return run();
}

static void on_ready(struct loop_source *s, uint32_t events)
{
	struct probe *p = container_of(s, struct probe, src);

	p->ready++;
	p->events = events;
	if (p->going) {
		loop_del(&p->going->src);
		loop_del(&p->going->src);
	}
}

static void on_gone(struct loop_source *s)
{
	container_of(s, struct probe, src)->gone++;
}

static void probe_init(struct probe *p)
{
	*p = (struct probe){ .src = { .fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK),
				      .ready = on_ready,
				      .gone = on_gone } };
}

/* N sources, all readable. */
static void set_up(void)
{
	loop_init(&loop);
	for (unsigned i = 0; i < N; i++) {
		probe_init(&probes[i]);
		loop_add(&loop, &probes[i].src, EPOLLIN);
	}
}

static void tear_down(void)
{
	for (unsigned i = 0; i < N; i++) {
		loop_del(&probes[i].src);
		close_p(&probes[i].src.fd);
	}
	loop_timer_clear(&end);
	loop_done(&loop);
}

static void test_init(void)
{
	ok(loop_init(&loop) == 0 && (fcntl(loop.epfd, F_GETFD) & FD_CLOEXEC),
	   "init: close-on-exec");
	loop.stop = true;
	ok(loop_run(&loop) == 0, "run: returns when it is to stop");
	loop_done(&loop);
	ok(loop.epfd == -1, "done: forgets its descriptor");
	loop_done(&loop);
	loop.stop = false;
	ok(loop_run(&loop) == -EBADF, "run: reports a broken epoll");
}

static void test_events(void)
{
	struct probe p, file = { .src = { .fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC) } };

	set_up();
	run_once();
	for (unsigned i = 0; i < N; i++)
		ok(probes[i].ready == 1 && probes[i].events == EPOLLIN, "events: source %u", i);
	ok(loop_mod(&probes[0].src, 0) == 0, "mod: off");
	ok(loop_mod(&probes[1].src, EPOLLIN | EPOLLOUT) == 0, "mod: more");
	run_once();
	ok(probes[0].ready == 1, "mod: no event when none is asked for");
	ok(probes[1].events == (EPOLLIN | EPOLLOUT), "mod: the new events");
	ok(loop_add(&loop, &probes[0].src, EPOLLIN) == -EEXIST, "add: not twice");
	ok(loop_add(&loop, &file.src, EPOLLIN) == -EPERM && !file.src.loop,
	   "add: not a plain file");
	close(file.src.fd);
	probe_init(&p);
	ok(loop_mod(&p.src, EPOLLIN) == -ENOENT, "mod: not before it is added");
	loop_del(&p.src);
	run_once();
	ok(p.gone == 0, "del: of a source never added is nothing");
	close(p.src.fd);
	tear_down();
}

/* Whichever comes first in the batch deletes the others: each pair is tried in both directions. */
static void test_delete_in_batch(void)
{
	unsigned ready = 0, gone = 0;

	set_up();
	for (unsigned i = 0; i < N; i++)
		probes[i].going = &probes[i ^ 1];
	run_once();
	for (unsigned i = 0; i < N; i += 2) {
		ok(probes[i].ready + probes[i + 1].ready == 1,
		   "batch: of pair %u only the first is called", i / 2);
		ok(probes[i].gone + probes[i + 1].gone == 1 &&
			   probes[i].gone == probes[i + 1].ready,
		   "batch: of pair %u the other is gone, once", i / 2);
	}
	for (unsigned i = 0; i < N; i++)
		probes[i].going = &probes[i];
	run_once();
	run_once();
	for (unsigned i = 0; i < N; i++) {
		ready += probes[i].ready;
		gone += probes[i].gone;
	}
	ok(ready == N / 2 + N / 2, "batch: a source that deletes itself is called once (%u)",
	   ready);
	ok(gone == N, "batch: all are gone, once (%u)", gone);
	for (unsigned i = 0; i < N; i++)
		loop_del(&probes[i].src);
	tear_down();
	for (unsigned i = 0; i < N; i++)
		ok(probes[i].gone == 1, "gone: once for source %u, whoever deletes it again", i);
}

static unsigned freed;

static void on_gone_free(struct loop_source *s)
{
	struct probe *p = container_of(s, struct probe, src);

	close(s->fd);
	free(p);
	freed++;
}

static void delete_both(struct loop_source *s, uint32_t events)
{
	on_ready(s, events);
	loop_del(s);
}

/* Sources on the heap, freed when they are gone: the sanitizer watches. */
static void test_free_in_gone(void)
{
	struct probe *p[N];

	loop_init(&loop);
	for (unsigned i = 0; i < N; i++) {
		p[i] = malloc(sizeof(*p[i]));
		if (!p[i])
			abort();
		probe_init(p[i]);
		p[i]->src.ready = delete_both;
		p[i]->src.gone = on_gone_free;
		loop_add(&loop, &p[i]->src, EPOLLIN);
	}
	for (unsigned i = 0; i < N; i++)
		p[i]->going = p[i ^ 1];
	run_once();
	ok(freed == N, "free: each source frees itself and another in one batch (%u)", freed);
	loop_done(&loop);
}

static void readd(struct loop_source *s, uint32_t events)
{
	struct probe *p = container_of(s, struct probe, src);

	(void)events;
	p->ready++;
	loop_del(s);
	ok(loop_add(&loop, s, EPOLLIN) == -EBUSY, "add: not before it is gone");
	ok(loop_mod(s, EPOLLIN) == -ENOENT, "mod: not after it is deleted");
}

static void gone_readd(struct loop_source *s)
{
	struct probe *p = container_of(s, struct probe, src);

	p->gone++;
	s->ready = on_ready;
	ok(loop_add(&loop, s, EPOLLIN) == 0, "add: again once it is gone");
}

static void test_readd(void)
{
	struct probe p;

	loop_init(&loop);
	probe_init(&p);
	p.src.ready = readd;
	p.src.gone = gone_readd;
	loop_add(&loop, &p.src, EPOLLIN);
	run_once();
	ok(p.ready == 1 && p.gone == 1, "add again: deleted and gone");
	run_once();
	ok(p.ready == 2 && p.gone == 1, "add again: gets events");
	p.src.gone = on_gone;
	loop_del(&p.src);
	ok(p.gone == 1, "del: gone is not called from inside it");
	loop_done(&loop);
	ok(p.gone == 2 && !p.src.loop, "done: buries what was deleted after the run");
	close(p.src.fd);
}

/* The handler closes another source's descriptor and adds a new source that gets its number. */
static struct probe reborn;

static void reuse(struct loop_source *s, uint32_t events)
{
	struct probe *p = container_of(s, struct probe, src);
	struct probe *other = p->going;

	on_ready(s, events);
	if (!other || reborn.src.loop)
		return;
	close_p(&other->src.fd);
	probe_init(&reborn);
	loop_add(&loop, &reborn.src, EPOLLIN);
}

static void test_reuse(void)
{
	int was;

	set_up();
	memset(&reborn, 0, sizeof(reborn));
	for (unsigned i = 2; i < N; i++)
		loop_del(&probes[i].src);
	for (unsigned i = 0; i < 2; i++) {
		probes[i].src.ready = reuse;
		probes[i].going = &probes[i ^ 1];
	}
	was = probes[0].src.fd + probes[1].src.fd;
	run_once();
	ok(probes[0].ready + probes[1].ready == 1 && reborn.src.loop, "reuse: one took over");
	ok(probes[probes[0].ready ? 0 : 1].src.fd + reborn.src.fd == was,
	   "reuse: the number is used again");
	ok(reborn.ready == 0 && probes[0].gone + probes[1].gone == 1,
	   "reuse: the old event is not the new source's");
	for (unsigned i = 0; i < 2; i++)
		probes[i].going = NULL;
	run_once();
	ok(reborn.ready == 1, "reuse: the new source gets its own");
	loop_del(&reborn.src);
	close(reborn.src.fd);
	tear_down();
}

static struct tick {
	struct loop_timer timer;
	unsigned fired;
	struct loop_timer *clears, *sets;
	uint64_t delay;
} ticks[6];
static char order[64];

static void on_tick(struct loop_timer *t)
{
	struct tick *k = container_of(t, struct tick, timer);
	size_t n = strlen(order);

	k->fired++;
	if (n + 1 < sizeof(order))
		order[n] = (char)('0' + (k - ticks));
	if (k->clears)
		loop_timer_clear(k->clears);
	if (k->sets)
		loop_timer_set(&loop, k->sets, k->delay);
}

static void ticks_init(void)
{
	memset(order, 0, sizeof(order));
	for (unsigned i = 0; i < ARRAY_SIZE(ticks); i++)
		ticks[i] = (struct tick){ .timer.fire = on_tick };
}

static void test_timer_order(void)
{
	static const unsigned msec[] = { 5, 1, 3, 1, 0, 4 };
	uint64_t start;

	ticks_init();
	loop_init(&loop);
	start = clock_usec();
	for (unsigned i = 0; i < ARRAY_SIZE(msec); i++)
		loop_timer_set(&loop, &ticks[i].timer, msec[i] * (uint64_t)1000);
	loop_timer_set(&loop, &end, 10000);
	run();
	ok(strcmp(order, "413250") == 0, "timers: by time, equal ones as they were set (%s)",
	   order);
	ok(clock_usec() - start >= 10000, "timers: not too early");
	run_once();
	ok(strcmp(order, "413250") == 0 && ticks[0].timer.at_usec == 0, "timers: once");
	loop_done(&loop);
}

static void test_timer_clear(void)
{
	ticks_init();
	loop_init(&loop);
	loop_timer_clear(&ticks[0].timer);
	loop_timer_set(&loop, &ticks[0].timer, 0);
	loop_timer_clear(&ticks[0].timer);
	loop_timer_clear(&ticks[0].timer);
	run_once();
	ok(order[0] == '\0', "clear: before, twice, and one that was not set");

	/* Both are due in the same pass: the first takes the second out. */
	loop_timer_set(&loop, &ticks[1].timer, 0);
	loop_timer_set(&loop, &ticks[2].timer, 0);
	ticks[1].clears = &ticks[2].timer;
	ticks[3].clears = &ticks[3].timer;
	loop_timer_set(&loop, &ticks[3].timer, 0);
	loop_timer_set(&loop, &end, 1000);
	run();
	ok(strcmp(order, "13") == 0, "clear: another, and itself, in a handler (%s)", order);
	loop_done(&loop);
}

static void test_timer_set(void)
{
	ticks_init();
	loop_init(&loop);
	loop_timer_set(&loop, &ticks[0].timer, 0);
	/* far from the others, whose order it is about, however late a busy host wakes us */
	loop_timer_set(&loop, &ticks[0].timer, 500000);
	loop_timer_set(&loop, &ticks[1].timer, 2000);
	ticks[1].sets = &ticks[2].timer;
	ticks[2].sets = &ticks[1].timer;
	ticks[2].delay = 50 * USEC_PER_SEC;
	loop_timer_set(&loop, &end, 500000);
	run();
	ok(strcmp(order, "120") == 0, "set: again later, and from a handler (%s)", order);
	ok(ticks[1].timer.at_usec != 0, "set: one is still to come");
	loop_timer_set(&loop, &ticks[3].timer, UINT64_MAX);
	loop_timer_set(&loop, &ticks[4].timer, UINT64_MAX - 1);
	run_once();
	ok(ticks[3].fired == 0 && ticks[4].fired == 0, "set: a delay beyond 64 bits is never");
	ok(ticks[3].timer.at_usec == UINT64_MAX, "set: and does not wrap");
	loop_timer_clear(&ticks[1].timer);
	loop_timer_clear(&ticks[3].timer);
	loop_timer_clear(&ticks[4].timer);
	ok(list_is_empty(&loop.timers), "set: none is left");
	loop_done(&loop);
}

/* A handler that sets itself anew at once must not keep descriptors from their turn. */
static void again(struct loop_timer *t)
{
	if (probes[0].ready < 3)
		loop_timer_set(&loop, t, 0);
	else
		loop.stop = true;
}

static void test_timer_busy(void)
{
	struct loop_timer t = { .fire = again };

	set_up();
	loop_timer_set(&loop, &t, 0);
	run();
	ok(probes[0].ready >= 3, "busy: descriptors have their turn");
	tear_down();
}

/* More than one epoll_wait() returns at once. */
static void test_many(void)
{
	static struct probe many[200];
	unsigned ready = 0, gone = 0;

	loop_init(&loop);
	for (unsigned i = 0; i < ARRAY_SIZE(many); i++) {
		probe_init(&many[i]);
		many[i].going = &many[i];
		if (many[i].src.fd >= 0)
			loop_add(&loop, &many[i].src, EPOLLIN);
	}
	loop_timer_set(&loop, &end, 50000);
	run();
	for (unsigned i = 0; i < ARRAY_SIZE(many); i++) {
		ready += many[i].ready == 1;
		gone += many[i].gone == 1;
		close(many[i].src.fd);
	}
	ok(ready == ARRAY_SIZE(many) && gone == ready, "many: each once (%u, %u)", ready, gone);
	loop_done(&loop);
}

int main(void)
{
	alarm(100);
	test_init();
	test_events();
	test_delete_in_batch();
	test_free_in_gone();
	test_readd();
	test_reuse();
	test_timer_order();
	test_timer_clear();
	test_timer_set();
	test_timer_busy();
	test_many();
	return tap_done();
}
