/* cosd/exec.c - a command in a running guest, from its start until its last process is reaped */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "cosd/exec.h"
#include "cosd/points.h"
#include "lib/base/clock.h"
#include "lib/base/own.h"
#include "lib/kern/proc.h"

static void exec_free_fire(struct loop_timer *t)
{
	struct exec *e = container_of(t, struct exec, timer);

	launch_exec_done(&e->x);
	json_decref(e->keep);
	json_decref(e->spec.doc);
	free(e);
}

static int watch(struct exec *e, struct loop_source *s, int fd,
		 void (*ready)(struct loop_source *s, uint32_t events))
{
	*s = (struct loop_source){ .fd = fd, .ready = ready };
	return loop_add(&e->d->loop, s, EPOLLIN);
}

static void unwatch(struct loop_source *s, int *fd)
{
	loop_del(s);
	close_p(fd);
}

static void process_ready(struct loop_source *s, uint32_t events);

/* Frees what is over once all of its processes are reaped; those of a frozen guest are when it is
 * thawed. */
static void bury(struct exec *e)
{
	if (!e->over || e->x.helper >= 0 || e->x.pidfd >= 0)
		return;
	if (launch_exec_orphan(&e->x) && watch(e, &e->process, e->x.pidfd, process_ready) == 0)
		return;
	close_p(&e->x.pidfd);
	list_del(&e->link);
	e->timer.fire = exec_free_fire; /* when the loop knows nothing of its sources any more */
	loop_timer_set(&e->d->loop, &e->timer, 0);
}

static void helper_ready(struct loop_source *s, uint32_t events)
{
	struct exec *e = container_of(s, struct exec, helper);
	int status;

	(void)events;
	if (proc_exit_status(s->fd, &status) < 0)
		return;
	proc_reap(s->fd);
	unwatch(s, &e->x.helper);
	bury(e);
}

/* Before the command is reaped: until then the group's number is nobody else's. */
static void end_group(const struct exec *e)
{
	if (e->whole && e->x.pidfd >= 0 && e->x.pid > 0)
		kill(-e->x.pid, SIGKILL);
}

/* Gives all back but what it takes to see the processes end. */
static void exec_end(struct exec *e)
{
	e->over = true;
	e->ops = NULL;
	loop_timer_clear(&e->timer);
	end_group(e);
	launch_exec_abort(&e->x);
	unwatch(&e->sync, &e->x.sync);
	cg_close(&e->cg);
	close_p(&e->guest_pidfd);
	close_p(&e->x.master);
	for (int i = 0; i < 3; i++)
		close_p(&e->x.stdio[i]);
	if (!e->helper.loop)
		close_p(&e->x.helper);
	if (e->x.pidfd >= 0 && !e->process.loop &&
	    watch(e, &e->process, e->x.pidfd, process_ready) < 0)
		close_p(&e->x.pidfd);
	bury(e);
}

static void process_ready(struct loop_source *s, uint32_t events)
{
	struct exec *e = container_of(s, struct exec, process);
	int status;

	(void)events;
	if (proc_exit_status(s->fd, &status) < 0)
		return;
	end_group(e);
	POINT_BEFORE("exec", "reap");
	proc_reap(s->fd);
	POINT_AFTER("exec", "reap");
	unwatch(s, &e->x.pidfd); /* nothing is left to abort */
	if (e->ops && e->ops->ended)
		e->ops->ended(e, status);
	if (e->over)
		bury(e);
	else
		exec_end(e);
}

static void exec_failed(struct exec *e, struct cos_err *err)
{
	if (e->ops && e->ops->failed)
		e->ops->failed(e, err);
	if (!e->over)
		exec_end(e);
}

static void start_timeout(struct loop_timer *t)
{
	struct exec *e = container_of(t, struct exec, timer);
	struct cos_err err;

	cos_fail(&err, COS_E_TIMEOUT, 0, "no answer from inside for %llu s",
		 (unsigned long long)(START_TIMEOUT_USEC / USEC_PER_SEC));
	cos_context(&err, 0, "exec in %s", e->spec.name);
	cos_advise(&err, 0,
		   "see whether its processes are stopped or short of CPU time (cpu.rate)");
	exec_failed(e, &err);
}

static void executed(struct exec *e)
{
	struct cos_err err;
	int r;

	POINT_BEFORE("exec", "executed");
	unwatch(&e->sync, &e->x.sync);
	loop_timer_clear(&e->timer);
	for (int i = 0; i < 3; i++)
		close_p(&e->x.stdio[i]);
	if (e->ops && e->ops->executed)
		e->ops->executed(e, e->x.pid, take_fd(e->x.master));
	POINT_AFTER("exec", "executed");
	r = watch(e, &e->process, e->x.pidfd, process_ready);
	if (r < 0) {
		cos_fail(&err, COS_E_KERNEL, -r, "watch the command");
		exec_failed(e, &err);
	}
}

/* Whether the guest ends, or has ended. */
static bool is_gone(const struct exec *e)
{
	const struct guest *g = guest_find(e->d, e->spec.name);

	return !g || g->pidfd < 0 || g->state == GS_STOPPING;
}

static void advance(struct exec *e)
{
	struct cos_err err;
	int r = launch_exec_continue(&e->x, &err);

	if (r == -ECONNRESET && is_gone(e))
		r = cos_fail(&err, COS_E_NOT_RUNNING, 0, "%s was stopped meanwhile", e->spec.name);
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

static struct exec *new_exec(struct guest *g, const struct exec_want *w)
{
	struct exec *e = calloc(1, sizeof(*e));

	if (!e)
		return NULL;
	e->d = g->d;
	e->ops = w->ops;
	e->owner = w->owner;
	e->keep = json_incref(w->keep);
	e->spec = g->spec;
	json_incref(e->spec.doc);
	e->cg = (struct cg_guest)CG_GUEST_NONE;
	e->guest_pidfd = -1;
	e->whole = w->whole;
	e->x = (struct launch_exec){
		.host = &g->d->host,
		.spec = &e->spec,
		.cg = &e->cg,
		.id_base = e->spec.userns ? slot_id_base(g->d, (unsigned)g->slot) : 0,
		.command = w->command,
		.env = w->env,
		.user = w->user,
		.cwd = w->cwd,
		.stdio = { w->stdio[0], w->stdio[1], w->stdio[2] },
		.tty = w->tty,
		.rows = w->rows,
		.cols = w->cols,
		.sync = -1,
		.helper = -1,
		.pidfd = -1,
		.master = -1,
	};
	list_add_tail(&g->d->execs, &e->link);
	return e;
}

static int spawn(struct exec *e, struct guest *g, struct cos_err *err)
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
	POINT_BEFORE("exec", "spawn");
	r = launch_exec_start(&e->x, err);
	POINT_AFTER("exec", "spawn");
	if (r < 0)
		return r;
	e->timer.fire = start_timeout;
	loop_timer_set(&e->d->loop, &e->timer, START_TIMEOUT_USEC);
	r = watch(e, &e->helper, e->x.helper, helper_ready);
	if (r == 0)
		r = watch(e, &e->sync, e->x.sync, sync_ready);
	return r < 0 ? cos_fail(err, COS_E_KERNEL, -r, "watch the command") : 0;
}

int exec_start(struct guest *g, const struct exec_want *w, struct exec **ret, struct cos_err *err)
{
	struct exec *e = new_exec(g, w);
	int r;

	if (!e) {
		for (int i = 0; i < 3; i++) {
			if (w->stdio[i] >= 0)
				close(w->stdio[i]);
		}
		return cos_fail(err, COS_E_KERNEL, ENOMEM, "exec");
	}
	r = spawn(e, g, err);
	if (r < 0)
		exec_end(e);
	else
		*ret = e;
	return r;
}

void exec_give_up(struct exec *e)
{
	if (!e->over)
		exec_end(e);
}
