/* vmm/console.c - where the guest's characters go and come from */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/own.h"
#include "vmm/console.h"

/* A descriptor that poll() calls writable takes this much without blocking: pipes and sockets a
 * page, terminals 256 bytes. */
#define PIECE 256

static bool is_writable(int fd, int msec)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT };

	return poll(&p, 1, msec) > 0;
}

/* The oldest bytes without a seam; C is locked. */
static size_t oldest(const struct console *c, const uint8_t **ret)
{
	size_t n = c->used < CONSOLE_RING - c->head ? c->used : CONSOLE_RING - c->head;

	*ret = c->ring + c->head;
	return n < PIECE ? n : PIECE;
}

/* Writes a piece. False: nothing is left, or it would block. Only one thread at a time calls it, so
 * what it looks at stays. */
static bool write_piece(struct console *c, int msec)
{
	const uint8_t *s;
	bool notify = false;
	ssize_t done;
	size_t n;

	pthread_mutex_lock(&c->lock);
	n = oldest(c, &s);
	pthread_mutex_unlock(&c->lock);
	if (n == 0 || !is_writable(c->out.fd, msec))
		return false;
	done = write(c->out.fd, s, n);
	if (done < 0 && (errno == EINTR || errno == EAGAIN))
		return false;
	if (done < 0)
		done = (ssize_t)n; /* nobody reads any more: the guest goes on */
	pthread_mutex_lock(&c->lock);
	c->head = (c->head + (size_t)done) % CONSOLE_RING;
	c->used -= (size_t)done;
	c->out_bytes += (size_t)done;
	if (c->waiting && c->used <= CONSOLE_RING / 2) {
		c->waiting = false;
		notify = true;
	}
	pthread_mutex_unlock(&c->lock);
	for (unsigned i = 0; notify && i < c->n_takers; i++)
		c->taker[i].drained(c->taker[i].arg);
	return true;
}

static bool has_output(struct console *c)
{
	bool has;

	pthread_mutex_lock(&c->lock);
	has = c->used > 0;
	pthread_mutex_unlock(&c->lock);
	return has;
}

/* One that was deleted in this round of the loop can be added in the next one. */
static void watch(struct console *c, struct loop_source *s, uint32_t events)
{
	if (s->fd >= 0 && (!s->loop || s->dead) && loop_add(c->loop, s, events) == -EBUSY)
		event_raise(c->wake.fd);
}

/* A file is never waited for: epoll does not take it, and it is always writable. */
static void write_out(struct console *c)
{
	while (write_piece(c, 0))
		;
	if (!has_output(c))
		loop_del(&c->out);
	else
		watch(c, &c->out, EPOLLOUT);
}

static void on_out(struct loop_source *s, uint32_t events)
{
	(void)events;
	write_out(container_of(s, struct console, out));
}

static size_t room_for_input(const struct console *c)
{
	const struct console_taker *t = &c->taker[c->input];

	return c->input < c->n_takers ? t->room(t->arg) : 0;
}

static void on_in(struct loop_source *s, uint32_t events)
{
	struct console *c = container_of(s, struct console, in);
	size_t room = room_for_input(c);
	uint8_t buf[PIECE];
	ssize_t n;

	(void)events;
	if (room == 0) {
		loop_del(s); /* not only its events: a hangup comes without being asked for */
		return;
	}
	n = read(s->fd, buf, room < sizeof(buf) ? room : sizeof(buf));
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (n <= 0) {
		loop_del(s);
		close_p(&s->fd);
		return;
	}
	pthread_mutex_lock(&c->lock);
	c->in_bytes += (size_t)n;
	pthread_mutex_unlock(&c->lock);
	c->taker[c->input].put(c->taker[c->input].arg, buf, (size_t)n);
}

static void on_wake(struct loop_source *s, uint32_t events)
{
	struct console *c = container_of(s, struct console, wake);

	(void)events;
	event_clear(s->fd);
	write_out(c);
	if (room_for_input(c) > 0)
		watch(c, &c->in, EPOLLIN);
}

int console_init(struct console *c, int in, int out, struct worker *w, struct cos_err *err)
{
	int r;

	*c = (struct console){
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.out = { .fd = out, .ready = on_out },
		.in = { .fd = in, .ready = on_in },
		.wake = { .fd = event_open(), .ready = on_wake },
		.loop = &w->loop,
	};
	if (c->wake.fd < 0)
		return cos_fail(err, COS_E_KERNEL, -c->wake.fd, "console");
	r = loop_add(c->loop, &c->wake, EPOLLIN);
	/* EPERM: a file, /dev/null: nobody types there */
	if (r == 0 && in >= 0)
		r = loop_add(c->loop, &c->in, EPOLLIN);
	if (r == -EPERM)
		r = 0;
	return r < 0 ? cos_fail(err, COS_E_KERNEL, -r, "console") : 0;
}

void console_add_taker(struct console *c, const struct console_taker *taker, bool input)
{
	if (input)
		c->input = c->n_takers;
	c->taker[c->n_takers++] = *taker;
}

void console_done(struct console *c)
{
	if (!c->loop)
		return;
	loop_del(&c->out);
	loop_del(&c->in);
	loop_del(&c->wake);
	close_p(&c->out.fd);
	close_p(&c->in.fd);
	close_p(&c->wake.fd);
	c->loop = NULL;
}

size_t console_put(struct console *c, const uint8_t *s, size_t n)
{
	size_t took = 0;
	bool first;

	pthread_mutex_lock(&c->lock);
	first = c->used == 0;
	for (; took < n && c->used < CONSOLE_RING; took++)
		c->ring[(c->head + c->used++) % CONSOLE_RING] = s[took];
	c->waiting = c->waiting || took < n || c->used == CONSOLE_RING;
	c->dropped += n - took;
	pthread_mutex_unlock(&c->lock);
	if (first && took > 0)
		event_raise(c->wake.fd);
	return took;
}

size_t console_room(struct console *c)
{
	size_t n;

	pthread_mutex_lock(&c->lock);
	n = CONSOLE_RING - c->used;
	c->waiting = c->waiting || n == 0;
	pthread_mutex_unlock(&c->lock);
	return n;
}

bool console_fits(struct console *c, size_t n)
{
	bool fits;

	pthread_mutex_lock(&c->lock);
	fits = n <= CONSOLE_RING - c->used || c->used == 0;
	c->waiting = c->waiting || !fits;
	pthread_mutex_unlock(&c->lock);
	return fits;
}

void console_wake(struct console *c)
{
	event_raise(c->wake.fd);
}

void console_flush(struct console *c, uint64_t deadline_usec)
{
	while (c->loop && has_output(c)) {
		uint64_t now = clock_usec();

		if (now >= deadline_usec)
			return;
		write_piece(c, (int)((deadline_usec - now) / 1000) + 1);
	}
}
