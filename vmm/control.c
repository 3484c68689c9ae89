/* vmm/control.c - the control socket: one JSON object a line, each answered by one line */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/jsonx.h"
#include "lib/base/own.h"
#include "vmm/control.def"
#include "vmm/machine.h"

#define NOT_GIVEN UINT64_MAX

struct request {
	const char *cmd;
	uint64_t grace_usec, target_bytes;
};

/* Returns 0 with *RET_REPLY the reply without "ok", NULL for none. */
typedef int command_fn(struct machine *m, const struct request *q, json_t **ret_reply,
		       struct cos_err *err);

static int do_stats(struct machine *m, const struct request *q, json_t **ret_reply,
		    struct cos_err *err)
{
	(void)q;
	*ret_reply = machine_stats(m);
	return *ret_reply ? 0 : cos_fail(err, COS_E_KERNEL, ENOMEM, "stats");
}

static int do_stop(struct machine *m, const struct request *q, json_t **ret_reply,
		   struct cos_err *err)
{
	(void)ret_reply;
	(void)err;
	machine_stop(m, q->grace_usec == NOT_GIVEN ? m->o->grace_usec : q->grace_usec);
	return 0;
}

static int do_reset(struct machine *m, const struct request *q, json_t **ret_reply,
		    struct cos_err *err)
{
	(void)q;
	(void)ret_reply;
	(void)err;
	vm_end(&m->vm, VM_END_FORCED, 0);
	return 0;
}

static int do_balloon(struct machine *m, const struct request *q, json_t **ret_reply,
		      struct cos_err *err)
{
	(void)ret_reply;
	if (q->target_bytes == NOT_GIVEN)
		return cos_fail(err, COS_E_INVALID, 0, "/target_bytes: missing");
	return machine_balloon(m, q->target_bytes, err);
}

static const struct {
	const char *name;
	command_fn *fn;
} commands[] = {
#define X(name, fn, params, help) { name, fn },
	VMM_COMMANDS(X)
#undef X
};

static int carry_out(struct machine *m, json_t *doc, json_t **ret_reply, struct cos_err *err)
{
	static const struct jsonx_field fields[] = {
		{ "cmd", JSONX_REF, offsetof(struct request, cmd), 1, 16, true, NULL },
		{ "grace_usec", JSONX_UINT, offsetof(struct request, grace_usec), 0,
		  86400 * USEC_PER_SEC, false, NULL },
		{ "target_bytes", JSONX_UINT, offsetof(struct request, target_bytes), 0, MEM_MAX,
		  false, NULL },
	};
	struct request q = { .grace_usec = NOT_GIVEN, .target_bytes = NOT_GIVEN };
	int r = jsonx_fill(doc, "", fields, ARRAY_SIZE(fields), &q, err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		if (strcmp(commands[i].name, q.cmd) == 0)
			return commands[i].fn(m, &q, ret_reply, err);
	}
	return cos_fail(err, COS_E_INVALID, 0, "/cmd: no command of that name");
}

size_t control_answer(struct machine *m, const char *line, size_t len, char *to)
{
	auto_json json_t *doc = NULL, *reply = NULL;
	struct cos_err err = { 0 };
	int r = jsonx_parse(line, len, "request", &doc, &err);
	size_t n;

	if (r == 0)
		r = carry_out(m, doc, &reply, &err);
	if (r < 0)
		reply = json_pack("{s:s, s:i, s:s, s:s}", "error", cos_err_defs[err.code].name,
				  "errno", -r, "why", err.why, "todo", cos_err_todo(&err));
	else if (!reply)
		reply = json_pack("{s:b}", "ok", 1);
	n = json_dumpb(reply, to, CONTROL_REPLY - 1, JSON_COMPACT | JSON_ENSURE_ASCII);
	if (n == 0 || n > CONTROL_REPLY - 1) {
		static const char none[] =
			"{\"error\":\"Internal\",\"why\":\"the reply is too long\"}";

		n = sizeof(none) - 1;
		memcpy(to, none, n);
	}
	to[n++] = '\n';
	return n;
}

static void client_end(struct control_client *c)
{
	loop_del(&c->src);
	close_p(&c->src.fd);
}

/* Who does not read its replies loses the connection: nobody is waited for. */
static bool answer(struct control_client *c, const char *line, size_t len)
{
	char reply[CONTROL_REPLY];
	size_t n = control_answer(c->m, line, len, reply);

	return send(c->src.fd, reply, n, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)n;
}

static bool answer_lines(struct control_client *c)
{
	char *end;

	while ((end = memchr(c->line, '\n', c->used))) {
		size_t len = (size_t)(end - c->line);

		if (!answer(c, c->line, len))
			return false;
		c->used -= len + 1;
		memmove(c->line, end + 1, c->used);
	}
	return c->used < sizeof(c->line);
}

static void on_client(struct loop_source *s, uint32_t events)
{
	struct control_client *c = container_of(s, struct control_client, src);
	ssize_t n = recv(s->fd, c->line + c->used, sizeof(c->line) - c->used, MSG_DONTWAIT);

	(void)events;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		client_end(c);
		return;
	}
	c->used += (size_t)n;
	if (!answer_lines(c))
		client_end(c);
}

/* Takes FD over. */
static int client_add(struct control *c, struct machine *m, int fd)
{
	for (unsigned i = 0; i < CONTROL_CLIENTS; i++) {
		struct control_client *cl = &c->client[i];
		int r;

		/* one that was deleted in this round is still the loop's */
		if (cl->src.fd >= 0 || cl->src.loop)
			continue;
		*cl = (struct control_client){ .src = { .fd = fd, .ready = on_client }, .m = m };
		r = loop_add(&m->loop, &cl->src, EPOLLIN);
		if (r < 0)
			close_p(&cl->src.fd);
		return r;
	}
	close(fd);
	return -EBUSY;
}

static void on_listen(struct loop_source *s, uint32_t events)
{
	struct control *c = container_of(s, struct control, listen);
	int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC);

	(void)events;
	if (fd >= 0)
		client_add(c, container_of(c, struct machine, control), fd);
}

/* What a machine that has ended left at this name, and nobody listens to. */
static bool is_stale(const struct sockaddr_un *at)
{
	auto_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	return fd >= 0 && connect(fd, (const struct sockaddr *)at, sizeof(*at)) < 0 &&
	       errno == ECONNREFUSED;
}

static int listen_at(const char *path, struct cos_err *err)
{
	auto_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	mode_t mask;
	int r;

	if (strlen(path) >= sizeof(at.sun_path))
		return cos_fail(err, COS_E_INVALID, ENAMETOOLONG, "control: %.120s", path);
	memcpy(at.sun_path, path, strlen(path));
	mask = umask(077);
	r = fd < 0 ? -1 : bind(fd, (struct sockaddr *)&at, sizeof(at));
	if (fd >= 0 && r < 0 && errno == EADDRINUSE && is_stale(&at) && unlink(path) == 0)
		r = bind(fd, (struct sockaddr *)&at, sizeof(at));
	umask(mask);
	if (r < 0 || listen(fd, CONTROL_CLIENTS) < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "control: listen at %.120s", path);
	return take_fd(fd);
}

int control_init(struct control *c, struct machine *m, const char *source, struct cos_err *err)
{
	socklen_t len = sizeof(int);
	int fd, listens = 0, r;

	c->listen = (struct loop_source){ .fd = -1, .ready = on_listen };
	for (unsigned i = 0; i < CONTROL_CLIENTS; i++)
		c->client[i].src.fd = -1;
	if (!source)
		return 0;
	fd = source_fd(source) < 0 ? listen_at(source, err)
				   : source_open(source, O_RDWR, "control", err);
	if (fd < 0)
		return fd;
	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) < 0) {
		r = cos_fail(err, COS_E_INVALID, errno, "control: not a socket");
		close(fd);
		return r;
	}
	if (!listens) {
		r = client_add(c, m, fd);
	} else {
		c->listen.fd = fd;
		r = loop_add(&m->loop, &c->listen, EPOLLIN);
	}
	return r < 0 ? cos_fail(err, COS_E_KERNEL, -r, "control") : 0;
}

void control_done(struct control *c)
{
	for (unsigned i = 0; i < CONTROL_CLIENTS; i++)
		close_p(&c->client[i].src.fd);
	close_p(&c->listen.fd);
}
