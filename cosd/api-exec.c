/* cosd/api-exec.c - commands in running guests */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "cosd/api.h"
#include "cosd/exec.h"
#include "lib/base/jsonx.h"
#include "lib/base/own.h"

struct exec_params {
	char name[NAME_SIZE], user[65], cwd[1024];
	json_t *command, *env;
	bool tty;
	uint64_t rows, cols;
};

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

/* The client's ends go with the call. */
static int make_pipes(struct call *c, int *ret, struct cos_err *err)
{
	int ends[3] = { -1, -1, -1 };

	for (int i = 0; i < 3; i++) {
		int p[2];

		if (pipe2(p, O_CLOEXEC) < 0) {
			int no = errno;

			for (int k = 0; k < i; k++)
				close(ends[k]);
			return cos_fail(err, COS_E_KERNEL, no, "pipe");
		}
		ends[i] = p[i > 0];
		c->fds[c->n_fds++] = p[i == 0];
	}
	memcpy(ret, ends, sizeof(ends));
	return 0;
}

/* The client gets its ends and, if it wants it, the status later. */
static void executed(struct exec *e, pid_t pid, int master)
{
	struct call *c = e->owner;
	json_t *answer = json_pack("{s:i}", "pid", (int)pid);
	unsigned n;

	if (master >= 0)
		c->fds[c->n_fds++] = master;
	n = c->n_fds;
	c->n_fds = 0;
	if (c->more) {
		call_continue(c, answer, c->fds, n);
		return;
	}
	e->ops = NULL;
	call_reply(c, answer, c->fds, n);
}

static void ended(struct exec *e, int status)
{
	call_reply(e->owner, json_pack("{s:i}", "status", status_code(status)), NULL, 0);
}

static void failed(struct exec *e, struct cos_err *err)
{
	call_fail(e->owner, err);
}

static const struct exec_ops ops = { executed, ended, failed };

static int check_state(const struct guest *g, struct cos_err *err)
{
	if (g->killed && g->pidfd >= 0) /* its groups may be frozen, and nothing thaws them */
		return cos_fail(err, COS_E_NOT_RUNNING, 0, "%s is being killed", g->name);
	if (g->state == GS_FROZEN)
		return cos_fail(err, COS_E_STATE, 0, "%s is frozen", g->name);
	if (g->pidfd < 0)
		return cos_fail(err, COS_E_NOT_RUNNING, 0, "%s is %s", g->name,
				guest_state_name[g->state]);
	if (guest_is_refused(g))
		return cos_fail(err, COS_E_STATE, 0, "%s", g->reason);
	return 0;
}

static int start(struct call *c, struct guest *g, const struct exec_params *p, struct cos_err *err)
{
	struct exec_want w = {
		.ops = &ops,
		.owner = c,
		.keep = c->params,
		.command = p->command,
		.env = p->env,
		.user = json_string_value(json_object_get(c->params, "user")),
		.cwd = json_string_value(json_object_get(c->params, "cwd")),
		.stdio = { -1, -1, -1 },
		.tty = p->tty,
		.rows = (unsigned short)p->rows,
		.cols = (unsigned short)p->cols,
	};
	int r = p->tty ? 0 : make_pipes(c, w.stdio, err);
	struct exec *e;

	return r < 0 ? r : exec_start(g, &w, &e, err);
}

int api_guest_exec(struct call *c, json_t *params, struct cos_err *err)
{
	struct exec_params p = { .name = "" };
	struct guest *g = NULL;
	int r = take_params(params, &p, err);

	if (r == 0)
		r = guest_need(c->d, p.name, &g, err);
	if (r == 0)
		r = api_may(c, g, err);
	if (r == 0)
		r = api_need_container(g, err);
	if (r == 0)
		r = check_state(g, err);
	if (r == 0)
		r = start(c, g, &p, err);
	return r < 0 ? cos_context(err, r, "exec in %s", p.name) : 0;
}
