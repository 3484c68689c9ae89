/* cosd/conn.c - client connections: bytes to calls, answers to bytes
 *
 * A client may send any number of requests at once; they are served in order, one at a time, a few
 * in each round of the loop so that others get their turn. A client that does not read is not read
 * from, and loses its connection when answers of a stream pile up. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cosd/call.h"
#include "lib/base/jsonx.h"
#include "lib/base/log.h"
#include "lib/base/own.h"

#define CALLS_A_ROUND 16
#define QUEUE_MAX     (4U << 20) /* answers that wait for a reader */

static void conn_free(struct loop_source *s)
{
	struct conn *c = container_of(s, struct conn, src);

	close_p(&c->src.fd);
	frame_in_done(&c->in);
	frame_out_done(&c->out);
	free(c);
}

static void conn_close(struct conn *c)
{
	struct call *call = c->call;

	if (c->closing)
		return;
	c->closing = true;
	list_del(&c->link);
	c->d->n_conns--;
	loop_timer_clear(&c->again);
	c->call = NULL;
	loop_del(&c->src);
	if (call) {
		call->conn = NULL;
		if (call->client_gone)
			call->client_gone(call);
	}
}

/* Nothing is read while a whole request waits: the buffer's bound is one message's, not a batch's,
 * and an end of file is seen only behind the last request. */
static bool wants_bytes(struct conn *c)
{
	size_t len;

	return !c->call && !c->eof && frame_waiting(&c->out) == 0 && !frame_peek(&c->in, &len);
}

static void conn_watch(struct conn *c)
{
	bool read = wants_bytes(c);

	if (!c->closing)
		loop_mod(&c->src, (read ? EPOLLIN : 0) | (frame_waiting(&c->out) ? EPOLLOUT : 0));
}

static void conn_flush(struct conn *c)
{
	int r = frame_flush(&c->out, c->src.fd);

	if ((r < 0 && r != -EAGAIN) || (c->eof && r == 0 && !c->call))
		conn_close(c);
}

static void send_text(struct conn *c, json_t *msg, const int *fds, unsigned n)
{
	auto_free char *text = json_dumps(msg, JSON_COMPACT);

	if (!text) {
		for (unsigned i = 0; i < n; i++)
			close(fds[i]);
		conn_close(c);
		return;
	}
	if (frame_put(&c->out, text, fds, n) < 0 || frame_waiting(&c->out) > QUEUE_MAX) {
		conn_close(c);
		return;
	}
	conn_flush(c);
}

static void serve_error(struct conn *c, const struct cos_err *err)
{
	const struct cos_err_def *def = &cos_err_defs[err->code];
	char name[64];
	auto_json json_t *msg = NULL;

	snprintf(name, sizeof(name), "io.cos.%s", def->name);
	msg = json_pack("{s:s, s:{s:s, s:s, s:s, s:i}}", "error", name, "parameters", "what",
			err->what, "why", err->why, "todo", cos_err_todo(err), "errno", err->sys);
	send_text(c, msg, NULL, 0);
}

static void serve_messages(struct conn *c)
{
	for (unsigned i = 0; i < CALLS_A_ROUND && !c->call && !c->closing; i++) {
		auto_json json_t *req = NULL;
		struct cos_err err;
		const char *text;
		size_t len;
		int r;

		if (frame_waiting(&c->out) > 0 || !(text = frame_peek(&c->in, &len)))
			break;
		r = jsonx_parse(text, len, "request", &req, &err);
		frame_take(&c->in);
		if (r < 0)
			serve_error(c, &err);
		else
			api_serve(c, req);
	}
	if (c->closing)
		return;
	if (!c->call && frame_waiting(&c->out) == 0) {
		size_t len;

		if (frame_peek(&c->in, &len))
			loop_timer_set(&c->d->loop, &c->again, 0);
		else if (c->eof)
			conn_close(c);
	}
	conn_watch(c);
}

static void again_fire(struct loop_timer *t)
{
	serve_messages(container_of(t, struct conn, again));
}

static void too_long(struct conn *c)
{
	struct cos_err err;

	cos_fail(&err, COS_E_INVALID, 0, "the request is longer than %u bytes", WIRE_MESSAGE_MAX);
	serve_error(c, &err);
	conn_close(c);
}

static void conn_ready(struct loop_source *s, uint32_t events)
{
	struct conn *c = container_of(s, struct conn, src);
	ssize_t n;

	if (events & EPOLLOUT) {
		conn_flush(c);
		if (!c->closing && frame_waiting(&c->out) == 0)
			serve_messages(c);
	}
	if (c->closing)
		return;
	if ((events & (EPOLLHUP | EPOLLERR)) && (c->call || c->eof)) {
		conn_close(c);
		return;
	}
	if (!(events & (EPOLLIN | EPOLLHUP)) || !wants_bytes(c))
		return;
	n = frame_read(&c->in, s->fd, MSG_DONTWAIT);
	if (n == -EMSGSIZE)
		too_long(c);
	else if (n == 0)
		c->eof = true;
	else if (n < 0 && n != -EAGAIN)
		conn_close(c);
	if (!c->closing)
		serve_messages(c);
}

static unsigned count_of(struct daemon *d, uid_t uid)
{
	unsigned n = 0;
	struct list *p;

	list_for_each(p, &d->conns)
		n += list_entry(p, struct conn, link)->uid == uid;
	return n;
}

/* The last connections are root's: users together cannot shut it out. */
static bool is_full(struct daemon *d, uid_t uid)
{
	uint64_t max = d->conf.connections_max;

	if (uid == 0)
		return d->n_conns >= max;
	return d->n_conns >= max - max / 8 || count_of(d, uid) >= d->conf.connections_per_user;
}

static void refuse(int fd)
{
	static const char text[] =
		"{\"error\":\"io.cos.Refused\",\"parameters\":{\"what\":\"\",\"why\":"
		"\"cosd has as many connections as it may have\",\"todo\":\"close some, or raise "
		"connections.max or connections.per_user in cosd.json\",\"errno\":0}}";

	send(fd, text, sizeof(text), MSG_DONTWAIT | MSG_NOSIGNAL);
	close(fd);
}

/* When there is no descriptor left a client is refused with one that was kept for this: it would
 * wait for ever, and the loop would find it waiting again and again. */
static int take_client(struct daemon *d, int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd >= 0 || (errno != EMFILE && errno != ENFILE))
		return fd;
	close_p(&d->spare_fd);
	fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd >= 0)
		refuse(fd);
	d->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	return -1;
}

static void accept_one(struct daemon *d, int listener, bool root)
{
	int fd = take_client(d, listener);
	struct ucred who;
	socklen_t len = sizeof(who);
	struct conn *c;

	if (fd < 0)
		return;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) < 0 || is_full(d, who.uid) ||
	    !(c = calloc(1, sizeof(*c)))) {
		refuse(fd);
		return;
	}
	c->d = d;
	c->root = root;
	c->uid = who.uid;
	c->src = (struct loop_source){ .fd = fd, .ready = conn_ready, .gone = conn_free };
	c->again.fire = again_fire;
	frame_in_init(&c->in, WIRE_MESSAGE_MAX);
	frame_out_init(&c->out);
	if (loop_add(&d->loop, &c->src, EPOLLIN) < 0) {
		close(fd);
		free(c);
		return;
	}
	list_add_tail(&d->conns, &c->link);
	d->n_conns++;
}

static void root_ready(struct loop_source *s, uint32_t events)
{
	(void)events;
	accept_one(container_of(s, struct daemon, listeners[0]), s->fd, true);
}

static void user_ready(struct loop_source *s, uint32_t events)
{
	(void)events;
	accept_one(container_of(s, struct daemon, listeners[1]), s->fd, false);
}

int conns_listen(struct daemon *d, struct cos_err *err)
{
	void (*const ready[])(struct loop_source *, uint32_t) = { root_ready, user_ready };

	d->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	for (int i = 0; i < 2; i++) {
		int r;

		d->listeners[i] =
			(struct loop_source){ .fd = d->args->listen[i], .ready = ready[i] };
		r = loop_add(&d->loop, &d->listeners[i], EPOLLIN);
		if (r < 0)
			return cos_fail(err, COS_E_KERNEL, -r, "watch the sockets");
	}
	return 0;
}

void conns_close(struct daemon *d)
{
	while (!list_is_empty(&d->conns)) {
		struct conn *c = list_entry(d->conns.next, struct conn, link);

		frame_flush(&c->out, c->src.fd);
		conn_close(c);
	}
}

int call_take_fd(struct call *c)
{
	return c->conn ? frame_take_fd(&c->conn->in) : -1;
}

static void call_free(struct call *c)
{
	loop_timer_clear(&c->deadline);
	for (unsigned i = 0; i < c->n_fds; i++)
		close(c->fds[i]);
	json_decref(c->params);
	free(c);
}

/* The connection is free for the next request; it is served in the loop's next round, not from
 * within whatever answered this one. */
static void call_done(struct call *c)
{
	struct conn *conn = c->conn;

	if (conn && conn->call == c) {
		conn->call = NULL;
		if (!conn->closing)
			loop_timer_set(&conn->d->loop, &conn->again, 0);
		conn_watch(conn);
	}
	call_free(c);
}

static void drop_fds(const int *fds, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		close(fds[i]);
}

void call_reply(struct call *c, json_t *params, const int *fds, unsigned n)
{
	auto_json json_t *msg = json_pack("{s:o}", "parameters", params ?: json_object());

	if (c->conn && !c->oneway)
		send_text(c->conn, msg, fds, n);
	else
		drop_fds(fds, n);
	call_done(c);
}

size_t call_waiting(const struct call *c)
{
	return c->conn ? frame_waiting(&c->conn->out) : 0;
}

bool call_continue(struct call *c, json_t *params, const int *fds, unsigned n)
{
	auto_json json_t *msg =
		json_pack("{s:o, s:b}", "parameters", params ?: json_object(), "continues", 1);
	struct conn *conn = c->conn;

	if (!conn) {
		drop_fds(fds, n);
		return false;
	}
	send_text(conn, msg, fds, n);
	if (conn->closing) /* the call may be gone with it */
		return false;
	conn_watch(conn);
	return true;
}

void call_fail(struct call *c, const struct cos_err *err)
{
	if (c->conn && !c->oneway)
		serve_error(c->conn, err);
	call_done(c);
}
