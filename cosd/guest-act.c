/* cosd/guest-act.c - what happens on each move of a guest's life */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "cosd/call.h"
#include "cosd/guest.h"
#include "cosd/points.h"
#include "cow-fs/root.h"
#include "lib/base/clock.h"
#include "lib/base/io.h"
#include "lib/base/log.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "lib/kern/proc.h"

#define START_TIMEOUT_USEC (60 * USEC_PER_SEC)
#define KILL_TIMEOUT_USEC  (5 * USEC_PER_SEC)
#define RESTART_FIRST_USEC (USEC_PER_SEC / 10)
#define RESTART_MOST_USEC  (60 * USEC_PER_SEC)
#define REBOOT_QUICK_USEC  USEC_PER_SEC
#define RESTART_RESET_USEC (10 * USEC_PER_SEC)
#define RESOLV_MAX         4096

static void go(struct guest *g);
static void try_again(struct guest *g);

/* --- starting --- */

static void step_done(struct launch *l, const char *step, uint64_t usec)
{
	struct guest *g = l->owner;

	json_object_set_new(g->steps, step, json_integer((json_int_t)usec));
}

void guest_size_console(int console, uint64_t rows, uint64_t cols)
{
	struct winsize ws = { .ws_row = (unsigned short)rows, .ws_col = (unsigned short)cols };

	if (console >= 0 && rows && cols)
		ioctl(console, TIOCSWINSZ, &ws);
}

static int record(struct launch *l, struct cos_err *err)
{
	struct guest *g = l->owner;
	int r = record_put_running(g, l->pid, err);

	if (r < 0)
		return r;
	guest_size_console(l->console, g->rows, g->cols);
	r = keeplink_add(g->d, (uint32_t)g->slot, g->name, l->pid, l->pidfd, l->console);
	if (r == 0 && g->view >= 0) {
		r = keeplink_view(g->d, (uint32_t)g->slot, g->view);
		close_p(&g->view);
	}
	return r < 0 ? cos_fail(err, COS_E_KERNEL, -r, "tell the keeper") : 0;
}

static void step_point(const char *step, bool after)
{
	point("start", step, after, getppid());
}

static const struct launch_ops launch_ops = {
	.step_done = step_done,
	.record = record,
	.point = step_point,
};

static void launch_gone(struct guest *g)
{
	free(g->launch);
	g->launch = NULL;
	cowfs_root_close(&g->root);
	close_p(&g->view);
	loop_timer_clear(&g->timer);
}

/* Undoes a start that did not succeed; the guest then holds nothing. */
static void give_up(struct guest *g)
{
	loop_del(&g->sync);
	launch_undo(g->launch);
	launch_gone(g);
	keeplink_del(g->d, (uint32_t)g->slot);
	record_drop(g->d, g->name);
	slot_retire(g->d, (unsigned)g->slot);
	g->slot = -1;
}

bool guest_drop_unstarted(struct guest *g)
{
	struct cos_err err;

	if (!g->spec.ephemeral && !g->from_run)
		return false;
	if (guest_delete(g, &err) < 0)
		log_say(LOG_ERROR, "delete after a failed start: %s", err.why);
	return true;
}

/* What the policy started is tried again. */
static void fail(struct guest *g, enum guest_event ev, struct cos_err *why)
{
	guest_event(g, ev, why);
	if (!guest_drop_unstarted(g))
		try_again(g);
}

static void start_timeout(struct loop_timer *t)
{
	struct guest *g = container_of(t, struct guest, timer);
	const char *step = g->launch->type->steps[g->launch->done].name;
	struct cos_err err;

	cos_fail(&err, COS_E_TIMEOUT, 0, "no answer for %llu s",
		 (unsigned long long)(START_TIMEOUT_USEC / USEC_PER_SEC));
	cos_context(&err, 0, "%s", step);
	fail(g, GE_TIMEOUT, &err);
}

static struct launch *new_launch(struct guest *g, const struct launch_rules *rules)
{
	struct launch *l = malloc(sizeof(*l));

	if (!l)
		return NULL;
	launch_init(l);
	l->host = &g->d->host;
	l->ops = &launch_ops;
	l->owner = g;
	l->type = &container_type;
	l->spec = &g->spec;
	l->rules = rules;
	l->root = &g->root;
	snprintf(l->slot, sizeof(l->slot), "%d", g->slot);
	l->id_base = slot_id_base(g->d, (unsigned)g->slot);
	if (io_slurp_at(AT_FDCWD, "/etc/resolv.conf", RESOLV_MAX, &l->resolv) < 0)
		l->resolv = NULL;
	return l;
}

int act_start(struct guest *g, struct cos_err *err)
{
	const struct launch_rules *rules = rules_get(g->d, &g->spec, err);
	int r = rules ? 0 : -EINVAL, userns = -1, netns = -1;
	bool opened = false;

	if (r == 0 && g->spec.userns)
		g->slot = pool_take(g->d, &userns, &netns);
	if (r == 0 && g->slot < 0) {
		r = slot_lease(g->d, err);
		g->slot = r < 0 ? -1 : r;
	}
	if (r >= 0) {
		r = cowfs_root_open(&g->d->cow, g->name, &g->root, err);
		opened = r >= 0;
	}
	if (r >= 0 && g->spec.is_volatile)
		r = cowfs_root_revolatile(&g->root, g->d->boot_id, g->spec.ephemeral, err);
	if (r >= 0 && !(g->launch = new_launch(g, rules)))
		r = cos_fail(err, COS_E_KERNEL, ENOMEM, "start");
	if (r < 0) {
		if (opened)
			cowfs_root_close(&g->root);
		if (g->slot >= 0)
			slot_free(g->d, (unsigned)g->slot);
		g->slot = -1;
		close_p(&userns);
		close_p(&netns);
		return r;
	}
	g->launch->userns = userns;
	g->launch->netns = netns;
	json_decref(g->steps);
	g->steps = json_object();
	g->start_cost_usec = clock_usec();
	g->stop_asked = g->killed = false;
	g->timer.fire = start_timeout;
	loop_timer_set(&g->d->loop, &g->timer, START_TIMEOUT_USEC);
	return 0;
}

static void sync_ready(struct loop_source *s, uint32_t events)
{
	(void)events;
	go(container_of(s, struct guest, sync));
}

/* Runs steps as far as they go without waiting. */
static void go(struct guest *g)
{
	struct cos_err err;
	int r = launch_run(g->launch, &err);

	if (r == LAUNCH_WAIT && (!g->sync.loop || g->sync.dead)) {
		g->sync = (struct loop_source){ .fd = g->launch->sync, .ready = sync_ready };
		r = loop_add(&g->d->loop, &g->sync, EPOLLIN);
		if (r == 0)
			return;
		cos_fail(&err, COS_E_KERNEL, -r, "watch the start");
	}
	if (r == LAUNCH_WAIT)
		return;
	if (r == 0)
		r = guest_event(g, GE_READY, &err);
	if (r < 0)
		fail(g, GE_FAIL, &err);
}

static void start_soon(struct loop_timer *t)
{
	struct guest *g = container_of(t, struct guest, timer);

	g->timer.fire = start_timeout;
	loop_timer_set(&g->d->loop, &g->timer, START_TIMEOUT_USEC);
	go(g);
}

int guest_start(struct guest *g, const int *stdio, struct cos_err *err)
{
	int r = guest_event(g, GE_START, err);

	for (int i = 0; stdio && i < 3; i++) {
		if (r == 0)
			g->launch->stdio[i] = stdio[i];
		else
			close(stdio[i]);
	}
	if (r < 0) {
		close_p(&g->view);
	} else if (g->sync.loop || g->process.loop) {
		/* The last run's sources are still the loop's, until its round is over. */
		g->timer.fire = start_soon;
		loop_timer_set(&g->d->loop, &g->timer, 0);
	} else {
		go(g);
	}
	return r;
}

/* --- answers to those who wait --- */

static json_t *start_answer(const struct guest *g)
{
	return json_pack("{s:s, s:I, s:O}", "name", g->name, "start_usec",
			 (json_int_t)g->start_cost_usec, "steps", g->steps);
}

static void answer_running(struct guest *g)
{
	struct list *p, *next;

	list_for_each_safe(p, next, &g->waiters) {
		struct call *c = list_entry(p, struct call, link);

		if (c->wait == WAIT_RUN && c->more && !c->told) {
			c->told = true;
			call_continue(c, start_answer(g), c->fds, c->n_fds);
			c->n_fds = 0;
		} else if (c->wait == WAIT_START || (c->wait == WAIT_RUN && !c->told)) {
			unsigned n = c->n_fds;

			list_del(&c->link);
			c->n_fds = 0;
			call_reply(c, start_answer(g), c->fds, n);
		}
	}
}

static void answer_failed(struct guest *g, const struct cos_err *err)
{
	struct list *p, *next;

	list_for_each_safe(p, next, &g->waiters) {
		struct call *c = list_entry(p, struct call, link);

		list_del(&c->link);
		call_fail(c, err);
	}
}

static json_t *end_answer(const struct guest *g)
{
	int code = status_code(g->status);

	return code < 0 ? json_object() : json_pack("{s:i}", "status", code);
}

/* Whoever waits for the end is answered; a restart goes on, a delete is left to the caller. */
static void answer_ended(struct guest *g, bool *ret_restart, bool *ret_delete)
{
	struct list *p, *next;

	list_for_each_safe(p, next, &g->waiters) {
		struct call *c = list_entry(p, struct call, link);

		if (c->wait == WAIT_RESTART) {
			c->wait = WAIT_START;
			*ret_restart = true;
		} else if (c->wait == WAIT_DELETE) {
			*ret_delete = true;
		} else {
			list_del(&c->link);
			call_reply(c, end_answer(g), NULL, 0);
		}
	}
}

/* --- running --- */

static void process_ready(struct loop_source *s, uint32_t events)
{
	struct guest *g = container_of(s, struct guest, process);
	int status;

	(void)events;
	/* A guest of an earlier worker is the keeper's child: the keeper tells how it ended. */
	if (g->adopted)
		loop_del(s);
	else if (proc_exit_status(s->fd, &status) == 0)
		guest_ended(g, status);
}

int guest_watch(struct guest *g, struct cos_err *err)
{
	int r;

	g->process = (struct loop_source){ .fd = g->pidfd, .ready = process_ready };
	r = loop_add(&g->d->loop, &g->process, EPOLLIN);
	return r < 0 ? cos_fail(err, COS_E_KERNEL, -r, "watch %s", g->name) : 0;
}

int act_running(struct guest *g, struct cos_err *err)
{
	struct launch *l = g->launch;
	int r;

	POINT_BEFORE("start", "running");
	g->pidfd = l->pidfd;
	r = guest_watch(g, err);
	if (r < 0) {
		g->pidfd = -1;
		return r;
	}
	loop_del(&g->sync);
	g->pid = l->pid;
	g->console = l->console;
	g->adopted = g->from_run = g->again = false;
	g->started_usec = clock_wall_usec();
	g->start_cost_usec = clock_usec() - g->start_cost_usec;
	g->reason[0] = '\0';
	cg_close(&l->cg);
	launch_finish(l);
	launch_gone(g);
	event_say(g->d, g->name, "start",
		  json_pack("{s:i, s:I}", "pid", (int)g->pid, "start_usec",
			    (json_int_t)g->start_cost_usec));
	answer_running(g);
	POINT_AFTER("start", "running");
	return 0;
}

static void set_reason(struct guest *g, const struct cos_err *err)
{
	str_fmt(g->reason, sizeof(g->reason), "%s%s%s", err->what, err->what[0] ? ": " : "",
		err->why);
}

/* ERR comes in: it says why the start failed. */
int act_failed(struct guest *g, struct cos_err *err)
{
	give_up(g);
	set_reason(g, err);
	g->status = STATUS_NONE;
	event_say(g->d, g->name, "start-failed", json_pack("{s:s}", "reason", g->reason));
	cos_context(err, 0, "start %s", g->name);
	record_put_ended(g);
	answer_failed(g, err);
	return 0;
}

int act_abort(struct guest *g, struct cos_err *err)
{
	struct cos_err told;

	(void)err;
	give_up(g);
	cos_fail(&told, COS_E_STATE, 0, "%s was stopped while it started", g->name);
	event_say(g->d, g->name, "start-aborted", NULL);
	answer_failed(g, &told);
	return 0;
}

int guest_open_groups(const struct guest *g, struct cg_guest *ret, struct cos_err *err)
{
	char slot[SLOT_NAME_SIZE];
	int r;

	snprintf(slot, sizeof(slot), "%d", g->slot);
	r = cg_open(&g->d->host.topo, slot, ret);
	return r < 0 ? cos_fail(err, COS_E_KERNEL, -r, "open the control groups of %s", g->name)
		     : 0;
}

static int freeze(struct guest *g, bool on, struct cos_err *err)
{
	struct cg_guest cg;
	int r = guest_open_groups(g, &cg, err);

	if (r < 0)
		return r;
	r = cg_freeze(&g->d->host.topo, &cg, on, err);
	cg_close(&cg);
	if (r == 0)
		event_say(g->d, g->name, on ? "freeze" : "thaw", NULL);
	return r;
}

bool guest_is_frozen(const struct guest *g)
{
	struct cos_err err;
	struct cg_guest cg;
	bool frozen;

	if (guest_open_groups(g, &cg, &err) < 0)
		return false;
	frozen = cg_is_frozen(&g->d->host.topo, &cg);
	cg_close(&cg);
	return frozen;
}

int act_freeze(struct guest *g, struct cos_err *err)
{
	return freeze(g, true, err);
}

int act_thaw(struct guest *g, struct cos_err *err)
{
	return freeze(g, false, err);
}

static void stop_timeout(struct loop_timer *t)
{
	struct guest *g = container_of(t, struct guest, timer);
	struct cos_err err;

	event_say(g->d, g->name, "stop-timeout", NULL);
	if (guest_event(g, GE_TIMEOUT, &err) < 0)
		log_say(LOG_ERROR, "%s: %s", g->name, err.why);
}

/* On record too: after a restart of the worker the end that comes is still wanted. */
static void note_stop(struct guest *g)
{
	struct cos_err err;

	if (g->stop_asked)
		return;
	g->stop_asked = true;
	if (record_put_running(g, g->pid, &err) < 0) /* it may have ended already */
		log_say(LOG_DEBUG, "%s: %s", g->name, err.why);
}

/* What has not ended after DELAY_USEC is killed, or killed again. */
static void kill_after(struct guest *g, uint64_t delay_usec)
{
	g->timer.fire = stop_timeout;
	loop_timer_set(&g->d->loop, &g->timer, delay_usec);
}

void guest_resume_stop(struct guest *g)
{
	kill_after(g, g->spec.stop_timeout * USEC_PER_SEC);
}

int act_stop(struct guest *g, struct cos_err *err)
{
	int r;

	POINT_BEFORE("stop", "signal");
	r = proc_signal(g->pidfd, g->spec.stop_signal);
	POINT_AFTER("stop", "signal");
	if (r < 0 && r != -ESRCH)
		return cos_fail(err, COS_E_KERNEL, -r, "signal %s", g->name);
	if (g->state == GS_FROZEN && freeze(g, false, err) < 0)
		log_say(LOG_WARN, "%s: %s", g->name, err->why);
	note_stop(g);
	event_say(g->d, g->name, "stop", NULL);
	return 0;
}

int act_kill(struct guest *g, struct cos_err *err)
{
	struct cg_guest cg;
	int r;

	POINT_BEFORE("stop", "kill");
	r = guest_open_groups(g, &cg, err);
	if (r == 0) {
		r = cg_kill(&g->d->host.topo, &cg);
		cg_close(&cg);
	}
	if (r < 0) /* the first process takes the others of its pid namespace along */
		r = proc_signal(g->pidfd, SIGKILL);
	if (r < 0 && r != -ESRCH)
		return cos_fail(err, COS_E_KERNEL, -r, "kill %s", g->name);
	POINT_AFTER("stop", "kill");
	if (!g->killed)
		event_say(g->d, g->name, "kill", NULL);
	g->killed = true;
	note_stop(g);
	kill_after(g, KILL_TIMEOUT_USEC); /* again, should anything have slipped through */
	return 0;
}

int guest_stop(struct guest *g, uint64_t timeout_sec, struct cos_err *err)
{
	int r = guest_event(g, timeout_sec ? GE_STOP : GE_KILL, err);

	if (r == 0 && timeout_sec && g->state == GS_STOPPING)
		kill_after(g, timeout_sec * USEC_PER_SEC);
	return r;
}

/* The order counts: how it ended is on record before the kernel may forget it. */
int act_reap(struct guest *g, struct cos_err *err)
{
	char text[32];

	(void)err;
	loop_timer_clear(&g->timer);
	POINT_BEFORE("end", "record");
	record_put_ended(g);
	POINT_AFTER("end", "record");
	loop_del(&g->process);
	POINT_BEFORE("end", "reap");
	proc_reap(g->pidfd);
	POINT_AFTER("end", "reap");
	close_p(&g->pidfd);
	close_p(&g->console);
	keeplink_del(g->d, (uint32_t)g->slot);
	g->pid = 0;
	event_say(g->d, g->name, "exit",
		  json_pack("{s:s}", "status", status_text(g->status, text)));
	return 0;
}

/* --- the end --- */

static void delete_now(struct guest *g);

static void restart_fire(struct loop_timer *t)
{
	struct guest *g = container_of(t, struct guest, timer);
	struct cos_err err;

	event_say(g->d, g->name, "restart", json_pack("{s:i}", "attempt", (int)g->restarts));
	g->again = true;
	if (guest_start(g, NULL, &err) == 0)
		return;
	log_say(LOG_ERROR, "restart %s: %s", g->name, err.why);
	set_reason(g, &err);
	answer_failed(g, &err);
	if (g->spec.ephemeral)
		delete_now(g);
	else
		try_again(g);
}

bool guest_cancel_restart(struct guest *g)
{
	struct cos_err err;

	if (g->timer.at_usec == 0 || g->timer.fire != restart_fire)
		return false;
	loop_timer_clear(&g->timer);
	cos_fail(&err, COS_E_STATE, 0, "%s was stopped before it was started again", g->name);
	answer_failed(g, &err);
	return true;
}

static void schedule_restart(struct guest *g, bool at_once)
{
	if (g->restart_delay_usec == 0 || at_once ||
	    clock_wall_usec() - g->started_usec > RESTART_RESET_USEC) {
		g->restart_delay_usec = RESTART_FIRST_USEC;
		g->restarts = 0;
	}
	g->restarts++;
	g->timer.fire = restart_fire;
	loop_timer_set(&g->d->loop, &g->timer, at_once ? 0 : g->restart_delay_usec);
	g->restart_delay_usec *= 2;
	if (g->restart_delay_usec > RESTART_MOST_USEC)
		g->restart_delay_usec = RESTART_MOST_USEC;
}

/* A start by the restart policy has failed; one by a user is the user's to repeat. */
static void try_again(struct guest *g)
{
	if (g->again && g->spec.restart != RESTART_NO)
		schedule_restart(g, false);
}

static void take_waiters(struct guest *g, struct list *calls)
{
	struct list *p, *next;

	list_for_each_safe(p, next, &g->waiters) {
		list_del(p);
		list_add_tail(calls, p);
	}
}

static void delete_now(struct guest *g)
{
	struct list calls = LIST_INIT(calls), *p, *next;
	struct cos_err err;
	int r;

	take_waiters(g, &calls);
	r = guest_delete(g, &err);
	list_for_each_safe(p, next, &calls) {
		struct call *c = list_entry(p, struct call, link);

		list_del(&c->link);
		if (r < 0)
			call_fail(c, &err);
		else
			call_reply(c, NULL, NULL, 0);
	}
}

/* reboot(2) in a pid namespace ends its first process with SIGHUP for a restart and SIGINT for a
 * halt; these two cannot reach a first process that has no handler in another way. */
static bool is_reboot(const struct guest *g, int sig)
{
	return !g->killed && g->status != STATUS_UNKNOWN && WIFSIGNALED(g->status) &&
	       WTERMSIG(g->status) == sig;
}

static bool policy_restarts(const struct guest *g)
{
	switch (g->spec.restart) {
	case RESTART_NO:
		return false;
	case RESTART_ON_FAILURE:
		return status_code(g->status) != 0;
	case RESTART_ALWAYS:
		return true;
	}
	return false;
}

void guest_ended(struct guest *g, int status)
{
	bool reboot, halt, wanted, restart = false, delete = false;
	unsigned slot = (unsigned)g->slot;
	struct cos_err err;
	char text[32];

	g->status = status;
	reboot =
		!g->stop_asked && is_reboot(g, SIGHUP); /* who was asked to stop is not to return */
	halt = is_reboot(g, SIGINT);
	wanted = g->stop_asked || reboot || halt || status_code(status) == 0;
	if (!wanted)
		str_fmt(g->reason, sizeof(g->reason), "ended by itself: %s",
			status_text(status, text));
	guest_event(g, wanted || g->state == GS_STOPPING ? GE_EXIT : GE_FAIL, &err);
	g->slot = -1;
	POINT_BEFORE("end", "answer");
	answer_ended(g, &restart, &delete);
	POINT_AFTER("end", "answer");
	POINT_BEFORE("end", "groups");
	slot_retire(g->d, slot);
	POINT_AFTER("end", "groups");
	if (delete || (g->spec.ephemeral && !restart && !reboot))
		delete_now(g);
	else if (restart || reboot) /* a guest that only reboots must not keep the host busy */
		schedule_restart(g, restart || clock_wall_usec() - g->started_usec >
						       REBOOT_QUICK_USEC);
	else if (!g->stop_asked && !halt && policy_restarts(g))
		schedule_restart(g, false);
}
