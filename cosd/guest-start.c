/* cosd/guest-start.c - a guest's start, from the request to the first answer */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "cosd/admit.h"
#include "cosd/bucket.h"
#include "cosd/call.h"
#include "cosd/cpus.h"
#include "cosd/disk.h"
#include "cosd/guest.h"
#include "cosd/io-bucket.h"
#include "cosd/health.h"
#include "cosd/hits.h"
#include "cosd/hook.h"
#include "cosd/meter.h"
#include "cosd/points.h"
#include "cosd/requires.h"
#include "cow-fs/disk.h"
#include "cow-fs/root.h"
#include "lib/base/clock.h"
#include "lib/base/io.h"
#include "lib/base/log.h"
#include "lib/base/own.h"
#include "lib/base/str.h"

#define RESOLV_MAX 4096

static void go(struct guest *g);

/* --- what the engine tells --- */

static void step_done(struct launch *l, const char *step, uint64_t usec)
{
	struct guest *g = l->owner;

	json_object_set_new(g->steps, step, json_integer((json_int_t)usec));
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

static void unwatch(struct launch *l)
{
	loop_del(&((struct guest *)l->owner)->sync);
}

static void step_point(struct launch *l, const char *step, bool after)
{
	point(l->type->operation, step, after, getppid());
}

static const struct launch_ops launch_ops = {
	.step_done = step_done,
	.record = record,
	.unwatch = unwatch,
	.point = step_point,
};

/* --- a start that does not succeed --- */

static void launch_gone(struct guest *g)
{
	if (g->launch->root)
		cowfs_root_close(g->launch->root);
	free(g->launch);
	g->launch = NULL;
	close_p(&g->view);
	loop_timer_clear(&g->timer);
}

/* Undoes a start that did not succeed; the guest then holds nothing. */
static void give_up(struct guest *g)
{
	requires_forget(g);
	g->yielding = false;
	for (int i = 0; i < 3; i++)
		close_p(&g->stdio[i]);
	close_p(&g->view);
	if (!g->launch) /* it was still to wait for others */
		return;
	loop_del(&g->sync);
	launch_undo(g->launch);
	net_release(g);
	launch_gone(g);
	keeplink_del(g->d, (uint32_t)g->slot);
	record_drop(g->d, g->name);
	slot_retire(g->d, (unsigned)g->slot);
	g->slot = -1;
	cpus_changed(g);
}

void guest_drop_unstarted(struct guest *g)
{
	struct cos_err err;

	if ((g->spec.ephemeral || g->from_run) && guest_delete(g, &err) < 0)
		log_say(LOG_ERROR, "delete after a failed start: %s", err.why);
}

static void fail(struct guest *g, enum guest_event ev, struct cos_err *why)
{
	guest_event(g, ev, why);
	guest_wind_up(g);
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

/* --- answers to those who wait --- */

static json_t *start_answer(const struct guest *g)
{
	return json_pack("{s:s, s:I, s:O*}", "name", g->name, "start_usec",
			 (json_int_t)g->start_cost_usec, "steps", g->steps);
}

/* One that waits for a start has what it waited for. */
static void answer_up(struct guest *g, struct call *c)
{
	unsigned n = c->n_fds;

	if (c->healthy && g->health) {
		c->wait = WAIT_HEALTHY;
		return;
	}
	list_del(&c->link);
	c->n_fds = 0;
	call_reply(c, start_answer(g), c->fds, n);
}

void guest_answer_running(struct guest *g)
{
	struct list *p, *next;

	list_for_each_safe(p, next, &g->waiters) {
		struct call *c = list_entry(p, struct call, link);

		if (c->wait == WAIT_RUN && c->more && !c->told) {
			c->told = true;
			call_continue(c, start_answer(g), c->fds, c->n_fds);
			c->n_fds = 0;
		} else if (c->wait == WAIT_START || (c->wait == WAIT_RUN && !c->told)) {
			answer_up(g, c);
		}
	}
	guest_answer_health(g, false);
}

static int say_unhealthy(const struct guest *g, bool gone, struct cos_err *err)
{
	if (gone)
		return cos_fail(err, COS_E_STATE, 0,
				"%s ended, or was stopped, before it was healthy", g->name);
	return cos_advise(err, cos_fail(err, COS_E_STATE, 0, "%s runs and is unhealthy", g->name),
			  "the event health tells what its check said");
}

void guest_answer_health(struct guest *g, bool gone)
{
	struct list *p, *next;
	struct cos_err err;

	if (!gone && g->health && !health_is_good(g) && !health_is_bad(g))
		return;
	list_for_each_safe(p, next, &g->waiters) {
		struct call *c = list_entry(p, struct call, link);

		if (c->wait != WAIT_HEALTHY)
			continue;
		list_del(&c->link);
		if (gone || health_is_bad(g)) {
			say_unhealthy(g, gone, &err);
			cos_context(&err, 0, "start %s", g->name);
			call_fail(c, &err);
		} else {
			call_reply(c, start_answer(g), NULL, 0);
		}
	}
}

void guest_answer_failed(struct guest *g, const struct cos_err *err)
{
	struct list *p, *next;

	list_for_each_safe(p, next, &g->waiters) {
		struct call *c = list_entry(p, struct call, link);

		if (c->wait != WAIT_START && c->wait != WAIT_RUN)
			continue;
		list_del(&c->link);
		call_fail(c, err);
	}
}

/* The hook post_start has ended, or there is none. That it failed is an event. */
static void started(struct guest *g, struct cos_err *err)
{
	(void)err;
	guest_answer_running(g);
	requires_tell(g);
}

/* --- the steps --- */

static struct launch *new_launch(struct guest *g, const struct launch_rules *rules)
{
	struct launch *l = malloc(sizeof(*l));

	if (!l)
		return NULL;
	launch_init(l);
	l->host = &g->d->host;
	l->ops = &launch_ops;
	l->owner = g;
	l->type = launch_type(g->spec.type);
	l->spec = &g->spec;
	l->rules = rules;
	l->root = g->spec.type == GUEST_CONTAINER ? &g->root : NULL;
	l->net = g->net;
	slot_name(g->slot, l->slot);
	l->id_base = slot_id_base(g->d, (unsigned)g->slot);
	if (io_slurp_at(AT_FDCWD, "/etc/resolv.conf", RESOLV_MAX, &l->resolv) < 0)
		l->resolv = NULL;
	return l;
}

static const struct launch_rules *find_rules(struct guest *g, struct cos_err *err)
{
	if (!guest_is_refused(g))
		return rules_get(g->d, &g->spec, err);
	cos_fail(err, COS_E_INVALID, 0, "%s", g->reason);
	cos_advise(err, 0, "mend %s/%s/%s.json and restart cosd, or delete the guest",
		   g->spec.ephemeral ? g->d->args->runtime_dir : g->d->args->state_dir,
		   g->spec.ephemeral ? "ephemeral" : "guests", g->name);
	return NULL;
}

/* What a start holds until it has ended one way or another: the slot, the root, the engine's part.
 */
static int acquire(struct guest *g, struct cos_err *err)
{
	const struct launch_rules *rules = find_rules(g, err);
	int r = rules ? cpus_admit(g, &g->spec.limits, err) : -EINVAL, userns = -1, netns = -1;
	bool container = g->spec.type == GUEST_CONTAINER, opened = false;
	int disk[2] = { -1, -1 };

	if (r == 0)
		r = admit_check(g, &g->spec.limits, err);
	if (r == 0 && container && g->spec.userns && g->spec.net.mode != NET_HOST)
		g->slot = pool_take(g->d, &userns, &netns);
	if (r == 0 && g->slot < 0) {
		r = slot_lease(g->d, err);
		g->slot = r < 0 ? -1 : r;
	}
	if (r >= 0)
		r = net_admit(g, err);
	if (r >= 0 && container) {
		r = cowfs_root_open(&g->d->cow, g->name, &g->root, err);
		opened = r >= 0;
	} else if (r >= 0 && g->spec.template) {
		r = cowfs_disk_open(&g->d->cow, g->name, &disk[0], &disk[1], err);
	}
	if (r >= 0 && container)
		r = disk_begin(g, err);
	if (r >= 0 && container && g->spec.is_volatile)
		r = cowfs_root_revolatile(&g->root, g->d->boot_id, g->spec.ephemeral, err);
	if (r >= 0 && !(g->launch = new_launch(g, rules)))
		r = cos_fail(err, COS_E_KERNEL, ENOMEM, "start");
	if (r < 0) {
		if (opened)
			cowfs_root_close(&g->root);
		net_release(g);
		if (g->slot >= 0)
			slot_free(g->d, (unsigned)g->slot);
		g->slot = -1;
		close_p(&userns);
		close_p(&netns);
		close_p(&disk[0]);
		close_p(&disk[1]);
		return r;
	}
	memcpy(g->launch->disk, disk, sizeof(disk));
	g->launch->userns = userns;
	g->launch->netns = netns;
	cpus_changed(g);
	json_decref(g->steps);
	g->steps = json_object();
	hits_free(g);
	return 0;
}

/* Who works on the guest's files is to end first. */
static bool yield(struct guest *g)
{
	g->yielding = jobs_hold(g->d, g->name);
	return g->yielding;
}

int act_start(struct guest *g, struct cos_err *err)
{
	int r = find_rules(g, err) ? requires_admit(g, err) : -EINVAL;

	if (r == 0 && !requires_wait(g) && !yield(g))
		r = acquire(g, err);
	if (r < 0)
		return r;
	guest_forget_restart(g);
	g->stop_asked = g->killed = g->sick = g->unsignalled = false;
	memset(&g->end, 0, sizeof(g->end));
	g->end.unhooked = true;
	return 0;
}

static void sync_ready(struct loop_source *s, uint32_t events)
{
	(void)events;
	go(container_of(s, struct guest, sync));
}

static void start_soon(struct loop_timer *t)
{
	struct guest *g = container_of(t, struct guest, timer);

	g->timer.fire = start_timeout;
	loop_timer_set(&g->d->loop, &g->timer, START_TIMEOUT_USEC);
	go(g);
}

/* Goes on when the loop's round is over: until then it knows the sources that were deleted in it.
 */
static void go_soon(struct guest *g)
{
	g->timer.fire = start_soon;
	loop_timer_set(&g->d->loop, &g->timer, 0);
}

/* The answer that a step waits for. */
static int watch(struct guest *g, struct cos_err *err)
{
	int r = 0;

	if (g->sync.loop && g->sync.dead) {
		go_soon(g);
	} else if (!g->sync.loop) {
		g->sync = (struct loop_source){ .fd = g->launch->sync, .ready = sync_ready };
		r = loop_add(&g->d->loop, &g->sync, EPOLLIN);
	}
	return r < 0 ? cos_fail(err, COS_E_KERNEL, -r, "watch the start") : 0;
}

static void came_up(struct guest *g)
{
	health_begin(g, HEALTH_STARTING);
	hook_run(g, HOOK_POST_START, started);
}

/* Runs steps as far as they go without waiting. */
static void go(struct guest *g)
{
	struct cos_err err;
	int r = launch_run(g->launch, &err);

	if (r == LAUNCH_WAIT)
		r = watch(g, &err);
	else if (r == 0 && (r = guest_event(g, GE_READY, &err)) == 0)
		came_up(g);
	if (r < 0)
		fail(g, GE_FAIL, &err);
}

/* The hook pre_start has ended, or there is none. */
static void begin(struct guest *g, struct cos_err *err)
{
	if (err) {
		fail(g, GE_FAIL, err);
		return;
	}
	g->start_cost_usec = clock_usec();
	if (g->sync.loop || g->process.loop) { /* the last run's */
		go_soon(g);
	} else {
		g->timer.fire = start_timeout;
		loop_timer_set(&g->d->loop, &g->timer, START_TIMEOUT_USEC);
		go(g);
	}
}

/* All is acquired. From here on the guest's hooks have their say, to the end. */
static void prepare(struct guest *g)
{
	for (int i = 0; i < 3; i++)
		g->launch->stdio[i] = take_fd(g->stdio[i]);
	g->end.unhooked = false;
	hook_run(g, HOOK_PRE_START, begin);
}

int guest_start(struct guest *g, const int *stdio, struct cos_err *err)
{
	int r = guest_event(g, GE_START, err);

	for (int i = 0; stdio && i < 3; i++) {
		if (r == 0)
			g->stdio[i] = stdio[i];
		else
			close(stdio[i]);
	}
	if (r < 0)
		close_p(&g->view);
	else if (!g->awaits && !g->yielding)
		prepare(g);
	return r;
}

void guest_required(struct guest *g, struct cos_err *err)
{
	struct cos_err own;

	if (!err && yield(g))
		return;
	if (!err && acquire(g, &own) < 0)
		err = &own;
	if (err)
		fail(g, GE_FAIL, err);
	else
		prepare(g);
}

void guest_yielded(struct daemon *d, const char *name)
{
	struct guest *g = guest_find(d, name);

	if (g && g->yielding)
		guest_required(g, NULL);
}

/* --- how it came out --- */

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
	g->adopted = g->from_run = g->again = g->due = false;
	g->start_cost_usec = clock_usec() - g->start_cost_usec;
	g->reason[0] = '\0';
	meter_begin(g, false, 0);
	cg_close(&l->cg);
	launch_finish(l);
	launch_gone(g);
	bucket_begin(g);
	io_bucket_begin(g, true);
	memory_begin(g);
	admit_weigh(g->d);
	event_say(g->d, g->name, "start",
		  json_pack("{s:i, s:I}", "pid", (int)g->pid, "start_usec",
			    (json_int_t)g->start_cost_usec));
	POINT_AFTER("start", "running");
	return 0;
}

void guest_set_reason(struct guest *g, const struct cos_err *err)
{
	str_fmt(g->reason, sizeof(g->reason), "%s%s%s", err->what, err->what[0] ? ": " : "",
		err->why);
}

/* ERR comes in: it says why the start failed. */
int act_failed(struct guest *g, struct cos_err *err)
{
	give_up(g);
	guest_set_reason(g, err);
	g->status = STATUS_NONE;
	event_say(g->d, g->name, "start-failed", json_pack("{s:s}", "reason", g->reason));
	cos_context(err, 0, "start %s", g->name);
	g->end.failed = true;
	g->due = guest_tries_again(g);
	g->hook_due = !g->end.unhooked && hook_is_set(g, HOOK_POST_STOP);
	record_put_ended(g);
	g->why = malloc(sizeof(*g->why));
	if (g->why)
		*g->why = *err;
	return 0;
}

int act_abort(struct guest *g, struct cos_err *err)
{
	struct cos_err told;

	(void)err;
	hook_give_up(g);
	give_up(g);
	g->stop_asked = true;
	g->again = false;
	if (g->due) {
		g->due = false;
		record_put_ended(g);
	}
	cos_fail(&told, COS_E_STATE, 0, "%s was stopped while it started", g->name);
	event_say(g->d, g->name, "start-aborted", NULL);
	guest_answer_failed(g, &told);
	return 0;
}
