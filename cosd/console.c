/* cosd/console.c - the keeper's side of a guest's console: drain it, log it, show it */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cosd/console.h"
#include "lib/base/clock.h"
#include "lib/base/io.h"
#include "lib/base/log.h"
#include "lib/base/own.h"
#include "lib/base/str.h"

#define RATE         (4U << 20)
#define CHUNK        16384U
#define PAUSE_USEC   20000
#define STUCK_USEC   USEC_PER_SEC
#define VIEWER_QUEUE 65536U

struct viewer {
	struct list link;
	struct loop_source src;
	struct console *c;
	char *out; /* bytes it has not taken yet */
	size_t n_out;
	uint64_t stuck_usec; /* since when; 0: it reads */
	char in[4096];       /* input that the terminal has not taken yet */
	size_t n_in;
	bool dead;
};

static void viewer_gone(struct loop_source *s)
{
	struct viewer *v = container_of(s, struct viewer, src);

	close(v->src.fd);
	free(v->out);
	free(v);
}

static void viewer_drop(struct viewer *v)
{
	if (v->dead)
		return;
	v->dead = true;
	list_del(&v->link);
	loop_del(&v->src);
}

static void viewer_watch(struct viewer *v)
{
	loop_mod(&v->src, (v->n_in ? 0 : EPOLLIN) | (v->n_out ? EPOLLOUT : 0));
}

static void viewer_put(struct viewer *v, const char *s, size_t len)
{
	ssize_t n = 0;

	if (v->n_out == 0) {
		n = send(v->src.fd, s, len, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno != EAGAIN) {
			viewer_drop(v);
			return;
		}
		n = n < 0 ? 0 : n;
	}
	len -= (size_t)n;
	if (len == 0)
		return;
	if (!v->out)
		v->out = malloc(VIEWER_QUEUE);
	if (!v->out || v->n_out + len > VIEWER_QUEUE) {
		viewer_drop(v);
		return;
	}
	if (v->n_out == 0)
		v->stuck_usec = clock_usec();
	memcpy(v->out + v->n_out, s + n, len);
	v->n_out += len;
	viewer_watch(v);
}

static void viewer_flush(struct viewer *v)
{
	ssize_t n = send(v->src.fd, v->out, v->n_out, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n < 0 && errno != EAGAIN) {
		viewer_drop(v);
		return;
	}
	if (n <= 0)
		return;
	memmove(v->out, v->out + n, v->n_out - (size_t)n);
	v->n_out -= (size_t)n;
	v->stuck_usec = v->n_out ? clock_usec() : 0;
	viewer_watch(v);
}

/* Input waits with the viewer until the terminal takes it: nothing is lost, nobody is blocked. */
static void viewer_push_input(struct viewer *v)
{
	ssize_t n;

	if (v->n_in == 0 || !v->c->open)
		return;
	n = write(v->c->master, v->in, v->n_in);
	if (n > 0) {
		memmove(v->in, v->in + n, v->n_in - (size_t)n);
		v->n_in -= (size_t)n;
	}
	viewer_watch(v);
}

static bool input_waits(const struct console *c)
{
	struct list *p;

	list_for_each(p, &c->viewers) {
		if (list_entry(p, struct viewer, link)->n_in > 0)
			return true;
	}
	return false;
}

static void console_watch(struct console *c, bool may_read)
{
	if (c->open)
		loop_mod(&c->src, (may_read ? EPOLLIN : 0) | (input_waits(c) ? EPOLLOUT : 0));
}

static void viewer_ready(struct loop_source *s, uint32_t events)
{
	struct viewer *v = container_of(s, struct viewer, src);
	ssize_t n;

	if (events & EPOLLOUT)
		viewer_flush(v);
	if (!v->dead && v->n_in > 0 && (events & (EPOLLHUP | EPOLLERR))) {
		viewer_drop(v); /* gone, with input that the terminal does not take: nothing masks
				   that */
		return;
	}
	if (v->dead || !(events & (EPOLLIN | EPOLLHUP | EPOLLERR)) || v->n_in > 0)
		return;
	n = recv(v->src.fd, v->in, sizeof(v->in), MSG_DONTWAIT);
	if (n == 0 || (n < 0 && errno != EAGAIN)) {
		viewer_drop(v);
		return;
	}
	if (n > 0) {
		v->n_in = (size_t)n;
		viewer_push_input(v);
		if (v->n_in)
			console_watch(v->c, v->c->pause.at_usec == 0);
	}
}

void console_view(struct console *c, int sock)
{
	struct viewer *v = calloc(1, sizeof(*v));

	if (!v || !c->open) {
		free(v);
		close(sock);
		return;
	}
	v->c = c;
	v->src = (struct loop_source){ .fd = sock, .ready = viewer_ready, .gone = viewer_gone };
	if (loop_add(c->loop, &v->src, EPOLLIN) < 0) {
		free(v);
		close(sock);
		return;
	}
	list_add_tail(&c->viewers, &v->link);
}

static int open_log(struct console *c)
{
	char name[80];
	struct stat st;

	str_fmt(name, sizeof(name), "%s.log", c->name);
	c->log = openat(c->log_dir, name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW,
			0600);
	if (c->log < 0)
		return -errno;
	c->log_size = fstat(c->log, &st) == 0 ? (uint64_t)st.st_size : 0;
	return 0;
}

static void rotate(struct console *c)
{
	char now[80], old[80];

	str_fmt(now, sizeof(now), "%s.log", c->name);
	str_fmt(old, sizeof(old), "%s.log.1", c->name);
	close_p(&c->log);
	renameat(c->log_dir, now, c->log_dir, old);
}

/* The log is for people: when the disk is full, the guest runs on and the log has a gap. */
static void log_put(struct console *c, const char *s, size_t len)
{
	if (c->log >= 0 && c->log_size + len > c->log_max)
		rotate(c);
	if (c->log < 0 && open_log(c) < 0)
		return;
	if (io_write_all(c->log, s, len) == 0)
		c->log_size += len;
}

static void spread(struct console *c, const char *s, size_t len)
{
	struct list *p, *next;

	log_put(c, s, len);
	list_for_each_safe(p, next, &c->viewers)
		viewer_put(list_entry(p, struct viewer, link), s, len);
}

/* How much may be read now: what the rate allows, and nothing while a viewer has not taken the
 * last. */
static size_t allowance(struct console *c)
{
	uint64_t now = clock_usec(), more = (now - c->filled_usec) * RATE / USEC_PER_SEC;
	struct list *p, *next;

	c->budget = c->budget + more > RATE ? RATE : c->budget + more;
	c->filled_usec = now;
	list_for_each_safe(p, next, &c->viewers) {
		struct viewer *v = list_entry(p, struct viewer, link);

		if (!v->stuck_usec)
			continue;
		if (now - v->stuck_usec > STUCK_USEC)
			viewer_drop(v);
		else
			return 0;
	}
	return c->budget < CHUNK ? 0 : CHUNK;
}

static void console_ready(struct loop_source *s, uint32_t events)
{
	struct console *c = container_of(s, struct console, src);
	char buf[CHUNK];
	struct list *p;
	ssize_t n;

	if (events & EPOLLOUT) {
		list_for_each(p, &c->viewers)
			viewer_push_input(list_entry(p, struct viewer, link));
		console_watch(c, c->pause.at_usec == 0);
	}
	if (!(events & (EPOLLIN | EPOLLHUP)))
		return;
	if (allowance(c) == 0) {
		console_watch(c, false);
		if (events & EPOLLHUP) /* cannot be masked: look again later by the timer */
			loop_del(&c->src);
		loop_timer_set(c->loop, &c->pause, PAUSE_USEC);
		return;
	}
	n = read(c->master, buf, sizeof(buf));
	if (n > 0) {
		c->budget -= (size_t)n;
		spread(c, buf, (size_t)n);
	} else if (n < 0 && errno != EAGAIN && errno != EINTR) {
		/* EIO: nobody has the other side open now; a guest may open it again */
		console_watch(c, false);
		loop_del(&c->src);
		loop_timer_set(c->loop, &c->pause, PAUSE_USEC * 5ULL);
	}
}

static void unpause(struct loop_timer *t)
{
	struct console *c = container_of(t, struct console, pause);

	if (!c->open)
		return;
	if (c->src.dead || !c->src.loop)
		loop_add(c->loop, &c->src, EPOLLIN);
	console_watch(c, true);
}

int console_open(struct console *c, struct loop *loop, int master, int log_dir, const char *name,
		 uint64_t log_max)
{
	*c = (struct console){
		.loop = loop,
		.master = master,
		.log_dir = log_dir,
		.log = -1,
		.log_max = log_max,
		.budget = RATE,
		.filled_usec = clock_usec(),
		.src = { .fd = master, .ready = console_ready },
		.pause = { .fire = unpause },
	};
	str_fmt(c->name, sizeof(c->name), "%s", name);
	list_init(&c->viewers);
	fcntl(master, F_SETFL, fcntl(master, F_GETFL) | O_NONBLOCK);
	c->open = true;
	return loop_add(loop, &c->src, EPOLLIN);
}

void console_close(struct console *c)
{
	char buf[CHUNK];
	struct list *p, *next;
	ssize_t n;

	if (!c->open)
		return;
	for (size_t total = 0; total < c->log_max && (n = read(c->master, buf, sizeof(buf))) > 0;
	     total += (size_t)n)
		spread(c, buf, (size_t)n);
	c->open = false;
	loop_timer_clear(&c->pause);
	list_for_each_safe(p, next, &c->viewers) {
		struct viewer *v = list_entry(p, struct viewer, link);

		viewer_flush(v);
		viewer_drop(v);
	}
	loop_del(&c->src);
	close_p(&c->master);
	close_p(&c->log);
}
