/* cosd/api-exec.c - commands in running guests */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "cosd/api.h"
#include "cosd/guest.h"
#include "cosd/points.h"
#include "lib/base/jsonx.h"
#include "lib/base/own.h"
#include "lib/kern/proc.h"

/* A command under way. It outlives the client, and by a moment the guest. */
struct exec {
	struct list link;
	struct daemon *d;
	struct call *call; /* NULL once answered for good */
	struct spec spec;  /* the guest's as it was; holds its document */
	struct cg_guest cg;
	struct launch_exec x;
	struct loop_source sync, process;
	struct loop_timer free_timer;
	json_t *params;
	int guest_pidfd;
	int client[3]; /* the client's ends */
	unsigned n_client;
};

struct exec_params {
	char name[NAME_SIZE], user[65], cwd[1024];
	json_t *command, *env;
	bool tty;
	uint64_t rows, cols;
};

static void exec_free_fire(struct loop_timer *t)
{
	struct exec *e = container_of(t, struct exec, free_timer);

	json_decref(e->params);
	json_decref(e->spec.doc);
	free(e);
}

static void exec_end(struct exec *e)
{
	list_del(&e->link);
	loop_del(&e->sync);
	loop_del(&e->process);
	launch_exec_abort(&e->x);
	cg_close(&e->cg);
	close_p(&e->guest_pidfd);
	for (int i = 0; i < 3; i++)
		close_p(&e->x.stdio[i]);
	while (e->n_client > 0)
		close(e->client[--e->n_client]);
	if (e->call)
		e->call->data = NULL;
	e->free_timer.fire = exec_free_fire;
	loop_timer_set(&e->d->loop, &e->free_timer, 0);
}

static void process_ready(struct loop_source *s, uint32_t events)
{
	struct exec *e = container_of(s, struct exec, process);
	int status;

	(void)events;
	if (proc_exit_status(s->fd, &status) < 0)
		return;
	POINT_BEFORE("exec", "reap");
	proc_reap(s->fd);
	POINT_AFTER("exec", "reap");
	close_p(&e->x.pidfd); /* nothing is left to abort */
	if (e->call)
		call_reply(e->call, json_pack("{s:i}", "status", status_code(status)), NULL, 0);
	e->call = NULL;
	exec_end(e);
}

static void exec_failed(struct exec *e, struct cos_err *err)
{
	if (e->call)
		call_fail(e->call, err);
	e->call = NULL;
	exec_end(e);
}

/* The command was executed: the client gets its ends, and, if it wants it, the status later. */
static void executed(struct exec *e)
{
	struct cos_err err;
	int r;

	POINT_BEFORE("exec", "executed");
	loop_del(&e->sync);
	close_p(&e->x.sync);
	for (int i = 0; i < 3; i++)
		close_p(&e->x.stdio[i]);
	if (e->x.tty)
		e->client[e->n_client++] = take_fd(e->x.master);
	if (e->call) {
		json_t *answer = json_pack("{s:i}", "pid", (int)e->x.pid);
		unsigned n = e->n_client;

		e->n_client = 0;
		if (e->call->more) {
			call_continue(e->call, answer, e->client, n);
		} else {
			call_reply(e->call, answer, e->client, n);
			e->call = NULL;
		}
	}
	POINT_AFTER("exec", "executed");
	e->process = (struct loop_source){ .fd = e->x.pidfd, .ready = process_ready };
	r = loop_add(&e->d->loop, &e->process, EPOLLIN);
	if (r < 0) {
		cos_fail(&err, COS_E_KERNEL, -r, "watch the command");
		exec_failed(e, &err);
	}
}

static void advance(struct exec *e)
{
	struct cos_err err;
	int r = launch_exec_continue(&e->x, &err);

	if (r < 0)
		exec_failed(e, &err);
	else if (r == 0)
		executed(e);
}

static void sync_ready(struct loop_source *s, uint32_t events)
{
	(void)events;
	advance(container_of(s, struct exec, sync));
}

static int take_params(json_t *params, struct exec_params *p, struct cos_err *err)
{
	static const struct jsonx_field fields[] = {
		{ .name = "name",
		  .type = JSONX_STR,
		  .offset = offsetof(struct exec_params, name),
		  .min = 1,
		  .max = NAME_SIZE - 1,
		  .required = true },
		{ .name = "command",
		  .type = JSONX_ANY,
		  .offset = offsetof(struct exec_params, command),
		  .required = true },
		{ .name = "env", .type = JSONX_ANY, .offset = offsetof(struct exec_params, env) },
		{ .name = "user",
		  .type = JSONX_STR,
		  .offset = offsetof(struct exec_params, user),
		  .min = 1,
		  .max = 64 },
		{ .name = "cwd",
		  .type = JSONX_STR,
		  .offset = offsetof(struct exec_params, cwd),
		  .min = 1,
		  .max = 1023 },
		{ .name = "tty", .type = JSONX_BOOL, .offset = offsetof(struct exec_params, tty) },
		{ .name = "rows",
		  .type = JSONX_UINT,
		  .offset = offsetof(struct exec_params, rows),
		  .max = 65535 },
		{ .name = "cols",
		  .type = JSONX_UINT,
		  .offset = offsetof(struct exec_params, cols),
		  .max = 65535 },
	};
	auto_json json_t *part = NULL;
	int r = jsonx_fill(params, "", fields, ARRAY_SIZE(fields), p, err);

	if (r < 0)
		return r;
	/* the same rules as in a specification */
	part = json_pack("{s:O, s:O?, s:s?, s:s?}", "command", p->command, "env", p->env, "user",
			 p->user[0] ? p->user : NULL, "cwd", p->cwd[0] ? p->cwd : NULL);
	if (!part)
		return cos_fail(err, COS_E_KERNEL, ENOMEM, "exec");
	for (void *i = json_object_iter(part), *next; i; i = next) { /* drop what was not given */
		next = json_object_iter_next(part, i);
		if (json_is_null(json_object_iter_value(i)))
			json_object_del(part, json_object_iter_key(i));
	}
	return spec_check_part(part, err);
}

static int make_pipes(struct exec *e, struct cos_err *err)
{
	for (int i = 0; i < 3; i++) {
		int p[2];

		if (pipe2(p, O_CLOEXEC) < 0)
			return cos_fail(err, COS_E_KERNEL, errno, "pipe");
		e->x.stdio[i] = p[i > 0];
		e->client[e->n_client++] = p[i == 0];
	}
	return 0;
}

static struct exec *new_exec(struct call *c, struct guest *g, const struct exec_params *p)
{
	struct exec *e = calloc(1, sizeof(*e));

	if (!e)
		return NULL;
	e->d = c->d;
	e->params = json_incref(c->params);
	e->spec = g->spec;
	json_incref(e->spec.doc);
	e->cg = (struct cg_guest)CG_GUEST_NONE;
	e->guest_pidfd = -1;
	e->x = (struct launch_exec){
		.host = &c->d->host,
		.spec = &e->spec,
		.cg = &e->cg,
		.command = p->command,
		.env = p->env,
		.user = json_string_value(json_object_get(e->params, "user")),
		.cwd = json_string_value(json_object_get(e->params, "cwd")),
		.stdio = { -1, -1, -1 },
		.tty = p->tty,
		.rows = (unsigned short)p->rows,
		.cols = (unsigned short)p->cols,
		.sync = -1,
		.pidfd = -1,
		.master = -1,
	};
	list_add_tail(&c->d->execs, &e->link);
	return e;
}

static int start(struct exec *e, struct guest *g, struct cos_err *err)
{
	int r;

	e->x.rules = rules_get(e->d, &e->spec, err);
	if (!e->x.rules)
		return -EINVAL;
	r = guest_open_groups(g, &e->cg, err);
	if (r < 0)
		return r;
	e->guest_pidfd = fcntl(g->pidfd, F_DUPFD_CLOEXEC, 0);
	if (e->guest_pidfd < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "duplicate a descriptor");
	e->x.guest = e->guest_pidfd;
	r = e->x.tty ? 0 : make_pipes(e, err);
	POINT_BEFORE("exec", "spawn");
	if (r == 0)
		r = launch_exec_start(&e->x, err);
	POINT_AFTER("exec", "spawn");
	if (r < 0)
		return r;
	e->sync = (struct loop_source){ .fd = e->x.sync, .ready = sync_ready };
	r = loop_add(&e->d->loop, &e->sync, EPOLLIN);
	return r < 0 ? cos_fail(err, COS_E_KERNEL, -r, "watch the command") : 0;
}

int api_guest_exec(struct call *c, json_t *params, struct cos_err *err)
{
	struct exec_params p = { .name = "" };
	struct guest *g = NULL;
	struct exec *e;
	int r = take_params(params, &p, err);

	if (r == 0)
		r = guest_need(c->d, p.name, &g, err);
	if (r == 0)
		r = api_may(c, g, err);
	if (r == 0 && g->state == GS_FROZEN)
		r = cos_fail(err, COS_E_STATE, 0, "%s is frozen", g->name);
	else if (r == 0 && g->pidfd < 0)
		r = cos_fail(err, COS_E_NOT_RUNNING, 0, "%s is %s", g->name,
			     guest_state_name[g->state]);
	if (r < 0)
		return cos_context(err, r, "exec in %s", p.name);
	e = new_exec(c, g, &p);
	if (!e)
		return cos_fail(err, COS_E_KERNEL, ENOMEM, "exec");
	r = start(e, g, err);
	if (r < 0) {
		exec_end(e);
		return cos_context(err, r, "exec in %s", p.name);
	}
	e->call = c;
	return 0;
}
