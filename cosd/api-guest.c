/* cosd/api-guest.c - calls that make guests, move them through their lives and tell about them */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include "cosd/api.h"
#include "cosd/disk.h"
#include "cosd/guest.h"
#include "cosd/health.h"
#include "cosd/hook.h"
#include "lib/base/clock.h"
#include "lib/base/jsonx.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "lib/kern/cg.h"
#include "lib/kern/proc.h"

/* What calls take; each handler names the fields that it knows. */
struct params {
	char name[NAME_SIZE], signal[17], attach[9];
	json_t *spec;
	uint64_t timeout, within, rows, cols;
	bool kill, force, expanded, ensure, wait;
};

#define NO_TIMEOUT       UINT64_MAX
#define FREEZE_WAIT_USEC (10 * USEC_PER_SEC)
#define FREEZE_LOOK_USEC 100   /* from the first look to the second; later ones are further apart */
#define FREEZE_REST_USEC 20000 /* but not more than this */
#define FIELD(n, t, m, lo, hi, req)                                                                \
	{                                                                                          \
		.name = n, .type = JSONX_##t, .offset = offsetof(struct params, m), .min = lo,     \
		.max = hi, .required = req                                                         \
	}
#define F_NAME     FIELD("name", STR, name, 1, NAME_SIZE - 1, true)
#define F_OPT_NAME FIELD("name", STR, name, 1, NAME_SIZE - 1, false)
#define F_SPEC     FIELD("spec", ANY, spec, 0, 0, true)
#define F_TIMEOUT  FIELD("timeout", UINT, timeout, 0, 86400, false)
#define F_WITHIN   FIELD("within", UINT, within, 1, 86400, false)
#define F_ROWS     FIELD("rows", UINT, rows, 0, 65535, false)
#define F_COLS     FIELD("cols", UINT, cols, 0, 65535, false)

static int take_params(json_t *params, const struct jsonx_field *f, size_t n, struct params *ret,
		       struct cos_err *err)
{
	*ret = (struct params){ .timeout = NO_TIMEOUT };
	return jsonx_fill(params, "", f, n, ret, err);
}

#define TAKE(params, p, err, ...)                                                                  \
	({                                                                                         \
		static const struct jsonx_field f_[] = { __VA_ARGS__ };                            \
		take_params(params, f_, ARRAY_SIZE(f_), p, err);                                   \
	})

/* The guest that a call names, if the caller may use it. */
static int find(struct call *c, const struct params *p, struct guest **ret, struct cos_err *err)
{
	struct guest *g = NULL;
	int r = guest_need(c->d, p->name, &g, err);

	if (r >= 0)
		r = api_may(c, g, err);
	if (r < 0)
		return r;
	*ret = g;
	return 0;
}

static void wait_for(struct call *c, struct guest *g, enum call_wait what)
{
	c->wait = what;
	list_add_tail(&g->waiters, &c->link);
}

/* The call is made again. */
static void disk_made(struct call *c)
{
	struct cos_err err;

	c->job_done = NULL;
	c->client_gone = NULL;
	if (c->method->fn(c, c->params, &err) < 0)
		call_fail(c, &err);
}

/* The disk's image of a template is made for its first machine: 1, and the call goes on when it is
 * there. 0: nothing is to be made. */
static int make_disk(struct call *c, json_t *own, struct cos_err *err)
{
	char template[COWFS_NAME_SIZE];
	int r = guest_lacks_disk(c->d, own, template, err);

	if (r <= 0)
		return r;
	r = job_start(c, (const char *[]){ "template", "disk", template, NULL }, -1, err);
	if (r < 0)
		return r;
	c->job_done = disk_made;
	return 1;
}

static int answer_created(struct call *c, struct guest *g, struct cos_err *err)
{
	(void)g;
	(void)err;
	call_reply(c, NULL, NULL, 0);
	return 0;
}

int api_guest_create(struct call *c, json_t *params, struct cos_err *err)
{
	struct params p;
	int r = TAKE(params, &p, err, F_SPEC);

	if (r == 0)
		r = make_disk(c, p.spec, err);
	if (r == 1)
		return 0;
	return r < 0 ? r : guest_create(c, p.spec, answer_created, err);
}

/* The call waits among the guest's; it is answered from there, whatever the start does at once. */
static int start_waiting(struct call *c, struct guest *g, enum call_wait what, const int *stdio,
			 struct cos_err *err)
{
	int r;

	wait_for(c, g, what);
	g->again = false;
	r = guest_start(g, stdio, err);
	if (r < 0)
		list_del(&c->link);
	return r;
}

static void deadline_fire(struct loop_timer *t)
{
	struct call *c = container_of(t, struct call, deadline);
	const char *name = json_string_value(json_object_get(c->params, "name"));
	struct guest *g = guest_find(c->d, name);
	const char *health = g ? health_name(g) : NULL;
	struct cos_err err;

	cos_fail(&err, COS_E_TIMEOUT, 0, "%s is %s%s%s", name,
		 g ? guest_state_name[g->state] : "gone", health ? ", health: " : "", health ?: "");
	cos_advise(&err, 0, "it goes on: 'cosctl status %s' tells how", name);
	if (g && c->wait == WAIT_RESTART)
		g->end.restart = true;
	list_del(&c->link);
	call_fail(c, &err);
}

/* The call is answered within SEC seconds (0: whenever), and what it asked for goes on. */
static void set_deadline(struct call *c, uint64_t sec)
{
	c->deadline.fire = deadline_fire;
	if (sec)
		loop_timer_set(&c->d->loop, &c->deadline, sec * USEC_PER_SEC);
}

/* One that runs, or will, is what the caller wants. */
static void join(struct call *c, struct guest *g)
{
	switch (g->state) {
	case GS_STOPPING:
		wait_for(c, g, WAIT_RESTART);
		return;
	case GS_RUNNING:
	case GS_FROZEN:
		wait_for(c, g, WAIT_START);
		if (!hook_runs(g, HOOK_POST_START))
			guest_answer_running(g);
		return;
	case GS_STARTING:
	case GS_DEFINED:
	case GS_FAILED:
	case GS__N:
		break;
	}
	wait_for(c, g, WAIT_START);
}

int api_guest_start(struct call *c, json_t *params, struct cos_err *err)
{
	struct guest *g = NULL;
	struct params p;
	int r = TAKE(params, &p, err, F_NAME, F_WITHIN, FIELD("ensure", BOOL, ensure, 0, 0, false),
		     FIELD("wait", BOOL, wait, 0, 0, false));

	if (r == 0)
		r = find(c, &p, &g, err);
	if (r == 0) {
		c->healthy = p.wait;
		set_deadline(c, p.within);
		if (p.ensure && !guest_is_down(g))
			join(c, g);
		else
			r = start_waiting(c, g, WAIT_START, NULL, err);
	}
	return r < 0 ? cos_context(err, r, "start %s", p.name) : 0;
}

static int make_pipes(struct call *c, int *ret_guest, struct cos_err *err)
{
	int p[3][2] = { { -1, -1 }, { -1, -1 }, { -1, -1 } };
	bool good = true;

	for (int i = 0; i < 3; i++)
		good = good && pipe2(p[i], O_CLOEXEC) == 0;
	for (int i = 0; i < 3; i++) {
		int guest = p[i][i > 0], client = p[i][i == 0];

		if (good) {
			ret_guest[i] = guest;
			c->fds[c->n_fds++] = client;
		} else {
			close_p(&guest);
			close_p(&client);
		}
	}
	return good ? 0 : cos_fail(err, COS_E_KERNEL, errno, "pipe");
}

static int make_view(struct call *c, int *ret_sock, struct cos_err *err)
{
	int sv[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "socketpair");
	c->fds[c->n_fds++] = sv[0];
	*ret_sock = sv[1];
	return 0;
}

static int take_run(json_t *params, struct params *ret, struct cos_err *err)
{
	return TAKE(params, ret, err, F_SPEC, FIELD("attach", STR, attach, 1, 8, false), F_ROWS,
		    F_COLS);
}

static int start_run(struct call *c, struct guest *g, const struct params *p, struct cos_err *err)
{
	int stdio[3] = { -1, -1, -1 }, r = 0;

	if (strcmp(p->attach, "pipes") == 0)
		r = make_pipes(c, stdio, err);
	else if (p->attach[0])
		r = make_view(c, &g->view, err);
	if (r < 0)
		return r;
	g->from_run = true;
	g->rows = (unsigned short)p->rows;
	g->cols = (unsigned short)p->cols;
	r = start_waiting(c, g, WAIT_RUN, stdio[0] >= 0 ? stdio : NULL, err);
	return r < 0 ? cos_context(err, r, "start %s", g->name) : 0;
}

static int run_created(struct call *c, struct guest *g, struct cos_err *err)
{
	struct cos_err ignored;
	struct params p;
	int r = take_run(c->params, &p, err);

	if (r == 0)
		r = start_run(c, g, &p, err);
	if (r < 0)
		guest_delete(g, &ignored);
	return r;
}

int api_guest_run(struct call *c, json_t *params, struct cos_err *err)
{
	struct params p;
	int r = take_run(params, &p, err);

	if (r < 0)
		return r;
	if (p.attach[0] && strcmp(p.attach, "pipes") != 0 && strcmp(p.attach, "console") != 0)
		return jsonx_bad(err, "/attach", "not \"pipes\" or \"console\"");
	r = make_disk(c, p.spec, err);
	if (r != 0)
		return r < 0 ? r : 0;
	return guest_create(c, p.spec, run_created, err);
}

/* As start_waiting(): what the end leads to may come at once. */
static int stop_waiting(struct call *c, struct guest *g, enum call_wait what, uint64_t timeout,
			struct cos_err *err)
{
	int r;

	if (what != WAIT_RESTART)
		guest_stop_wanted(g);
	wait_for(c, g, what);
	r = guest_stop(g, timeout, err);
	if (r < 0)
		list_del(&c->link);
	return r;
}

int api_guest_stop(struct call *c, json_t *params, struct cos_err *err)
{
	struct guest *g = NULL;
	struct params p;
	int r = TAKE(params, &p, err, F_NAME, F_TIMEOUT, F_WITHIN,
		     FIELD("kill", BOOL, kill, 0, 0, false));
	uint64_t timeout;

	if (r == 0)
		r = find(c, &p, &g, err);
	if (r < 0)
		return r;
	timeout = p.timeout == NO_TIMEOUT ? g->spec.stop_timeout : p.timeout;
	if (guest_cancel_restart(g)) {
		event_say(c->d, g->name, "restart-cancelled", NULL);
		call_reply(c, NULL, NULL, 0);
		return 0;
	}
	set_deadline(c, p.within);
	if (g->state == GS_STOPPING && timeout && !p.kill) { /* somebody asked already */
		guest_stop_wanted(g);
		wait_for(c, g, WAIT_END);
		return 0;
	}
	r = stop_waiting(c, g, WAIT_END, p.kill ? 0 : timeout, err);
	return r < 0 ? cos_context(err, r, "stop %s", p.name) : 0;
}

int api_guest_restart(struct call *c, json_t *params, struct cos_err *err)
{
	struct guest *g = NULL;
	struct params p;
	int r = TAKE(params, &p, err, F_NAME, F_TIMEOUT);

	if (r == 0)
		r = find(c, &p, &g, err);
	if (r < 0)
		return r;
	guest_cancel_restart(g);
	if (guest_is_down(g))
		r = start_waiting(c, g, WAIT_START, NULL, err);
	else if (g->state == GS_STOPPING && p.timeout != 0) /* somebody asked already */
		wait_for(c, g, WAIT_RESTART);
	else
		r = stop_waiting(c, g, WAIT_RESTART,
				 p.timeout == NO_TIMEOUT ? g->spec.stop_timeout : p.timeout, err);
	return r < 0 ? cos_context(err, r, "restart %s", p.name) : 0;
}

/* --- freezing --- */

static int simple_event(struct call *c, json_t *params, enum guest_event ev, struct cos_err *err)
{
	struct guest *g = NULL;
	struct params p;
	int r = TAKE(params, &p, err, F_NAME);

	if (r == 0)
		r = find(c, &p, &g, err);
	if (r == 0)
		r = guest_event(g, ev, err);
	return r < 0 ? cos_context(err, r, "%s %s", guest_event_name[ev], p.name) : 0;
}

static void fail_freeze(struct call *c, struct guest *g, const char *name)
{
	struct cos_err err, ignored;

	if (!g || g->state != GS_FROZEN) {
		cos_fail(&err, COS_E_STATE, 0, "%s is %s", name,
			 g ? guest_state_name[g->state] : "gone");
	} else {
		guest_event(g, GE_THAW, &ignored);
		cos_fail(&err, COS_E_TIMEOUT, 0, "processes of %s did not stop in %u s", name,
			 (unsigned)(FREEZE_WAIT_USEC / USEC_PER_SEC));
		cos_advise(&err, 0, "try again: one that waits for a disk stops when it is served");
	}
	cos_context(&err, 0, "freeze %s", name);
	call_fail(c, &err);
}

/* All of its processes have stopped, or somebody has thawed or ended it, or it takes too long. */
static void freeze_look(struct loop_timer *t)
{
	struct call *c = container_of(t, struct call, deadline);
	const char *name = json_string_value(json_object_get(c->params, "name"));
	struct guest *g = guest_find(c->d, name);
	uint64_t waited = clock_usec() - c->begun_usec, rest = FREEZE_LOOK_USEC + waited / 4;

	if (!g || g->state != GS_FROZEN || waited > FREEZE_WAIT_USEC)
		fail_freeze(c, g, name);
	else if (guest_is_frozen(g))
		call_reply(c, NULL, NULL, 0);
	else
		loop_timer_set(&c->d->loop, t, rest < FREEZE_REST_USEC ? rest : FREEZE_REST_USEC);
}

int api_guest_freeze(struct call *c, json_t *params, struct cos_err *err)
{
	int r = simple_event(c, params, GE_FREEZE, err);

	if (r < 0)
		return r;
	c->begun_usec = clock_usec();
	c->deadline.fire = freeze_look;
	freeze_look(&c->deadline);
	return 0;
}

int api_guest_thaw(struct call *c, json_t *params, struct cos_err *err)
{
	int r = simple_event(c, params, GE_THAW, err);

	if (r == 0)
		call_reply(c, NULL, NULL, 0);
	return r;
}

int api_guest_kill(struct call *c, json_t *params, struct cos_err *err)
{
	struct guest *g = NULL;
	struct params p;
	int sig = SIGKILL, r;

	r = TAKE(params, &p, err, F_NAME, FIELD("signal", STR, signal, 1, 16, false));
	if (r == 0)
		r = find(c, &p, &g, err);
	if (r == 0 && p.signal[0]) {
		sig = signal_from_text(p.signal);
		if (sig < 0)
			return jsonx_bad(err, "/signal", "\"%s\" is not a signal", p.signal);
	}
	if (r < 0)
		return r;
	if (sig == SIGKILL) {
		r = stop_waiting(c, g, WAIT_END, 0, err);
		if (r == 0)
			return 0;
	} else if ((r = api_need_container(g, err)) < 0) {
		r = cos_advise(err, r,
			       "'cosctl stop' presses its power button, 'cosctl kill' ends it");
	} else if (g->pidfd < 0) {
		r = cos_fail(err, COS_E_NOT_RUNNING, 0, "%s is %s", g->name,
			     guest_state_name[g->state]);
	} else {
		r = proc_signal(g->pidfd, sig);
		if (r < 0)
			cos_fail(err, COS_E_KERNEL, -r, "pidfd_send_signal");
	}
	if (r < 0)
		return cos_context(err, r, "kill %s", p.name);
	call_reply(c, NULL, NULL, 0);
	return 0;
}

int api_guest_delete(struct call *c, json_t *params, struct cos_err *err)
{
	struct guest *g = NULL;
	struct params p;
	int r = TAKE(params, &p, err, F_NAME, FIELD("force", BOOL, force, 0, 0, false));

	if (r == 0)
		r = find(c, &p, &g, err);
	if (r < 0)
		return r;
	guest_cancel_restart(g);
	if (p.force && !guest_is_down(g)) {
		r = stop_waiting(c, g, WAIT_DELETE, 0, err);
	} else {
		r = guest_delete(g, err);
		if (r == 0)
			call_reply(c, NULL, NULL, 0);
	}
	return r < 0 ? cos_context(err, r, "delete %s", p.name) : 0;
}

int api_guest_list(struct call *c, json_t *params, struct cos_err *err)
{
	json_t *list = json_array();
	struct params p;
	struct list *i;
	int r = TAKE(params, &p, err, F_OPT_NAME);

	if (r == 0 && p.name[0] && !guest_find(c->d, p.name))
		r = cos_fail(err, COS_E_NO_GUEST, 0, "there is no guest named %s", p.name);
	if (r < 0) {
		json_decref(list);
		return r;
	}
	list_for_each(i, &c->d->guests) {
		struct guest *g = list_entry(i, struct guest, link);
		bool mine = c->root || c->uid == g->spec.owner;

		if (!p.name[0] || strcmp(p.name, g->name) == 0)
			json_array_append_new(list, mine ? guest_state_json(g)
							 : json_pack("{s:s}", "name", g->name));
	}
	call_reply(c, json_pack("{s:o}", "guests", list), NULL, 0);
	return 0;
}

int api_guest_show(struct call *c, json_t *params, struct cos_err *err)
{
	struct guest *g = NULL;
	struct params p;
	int r = TAKE(params, &p, err, F_NAME, FIELD("expanded", BOOL, expanded, 0, 0, false));
	json_t *state;

	if (r == 0)
		r = find(c, &p, &g, err);
	if (r < 0)
		return r;
	state = guest_state_json(g);
	net_look_at(g);
	api_put_net(state, g);
	api_put_disk(state, g);
	if (disk_quota(g))
		json_object_set_new(state, "disk_quota", json_string(disk_quota(g)));
	call_reply(c,
		   json_pack("{s:O, s:o}", "spec", p.expanded && g->spec.doc ? g->spec.doc : g->own,
			     "state", state),
		   NULL, 0);
	return 0;
}

int api_guest_console(struct call *c, json_t *params, struct cos_err *err)
{
	struct guest *g = NULL;
	struct params p;
	unsigned n;
	int sock = -1, r = TAKE(params, &p, err, F_NAME, F_ROWS, F_COLS);

	if (r == 0)
		r = find(c, &p, &g, err);
	if (r < 0)
		return r;
	if (g->pidfd < 0)
		return cos_fail(err, COS_E_NOT_RUNNING, 0, "%s is %s", g->name,
				guest_state_name[g->state]);
	if (g->console < 0)
		return cos_advise(
			err, cos_fail(err, COS_E_STATE, 0, "%s has no console", g->name),
			"its output went to the client that ran it, or the console was lost "
			"with the daemon: restart the guest");
	r = make_view(c, &sock, err);
	if (r < 0)
		return r;
	guest_size_console(g->console, p.rows, p.cols);
	r = keeplink_view(c->d, (uint32_t)g->slot, sock);
	close(sock);
	if (r < 0)
		return cos_fail(err, COS_E_KERNEL, -r, "tell the keeper");
	n = c->n_fds;
	c->n_fds = 0;
	call_reply(c, NULL, c->fds, n);
	return 0;
}

int api_guest_resize(struct call *c, json_t *params, struct cos_err *err)
{
	struct guest *g = NULL;
	struct params p;
	int r = TAKE(params, &p, err, F_NAME, F_ROWS, F_COLS);

	if (r == 0)
		r = find(c, &p, &g, err);
	if (r < 0)
		return r;
	guest_size_console(g->console, p.rows, p.cols);
	call_reply(c, NULL, NULL, 0);
	return 0;
}

int api_guest_logs(struct call *c, json_t *params, struct cos_err *err)
{
	static const char *const suffix[] = { ".log.1", ".log" };
	auto_close int logs = openat(c->d->state, "log", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct guest *g = NULL;
	struct params p;
	unsigned n = 0;
	int fds[2], r = TAKE(params, &p, err, F_NAME);

	if (r == 0)
		r = find(c, &p, &g, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < ARRAY_SIZE(suffix); i++) {
		char file[80];

		str_fmt(file, sizeof(file), "%s%s", g->name, suffix[i]);
		fds[n] = openat(logs, file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
		n += fds[n] >= 0;
	}
	call_reply(c, json_pack("{s:i}", "files", (int)n), fds, n);
	return 0;
}
