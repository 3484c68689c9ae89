/* cosd/guest-end.c - a guest's end: on record, answered, cleared, and what comes after it */
#include <signal.h>
#include <sys/wait.h>

#include "cosd/admit.h"
#include "cosd/bucket.h"
#include "cosd/call.h"
#include "cosd/disk.h"
#include "cosd/cpus.h"
#include "cosd/guest.h"
#include "cosd/io-bucket.h"
#include "cosd/health.h"
#include "cosd/hits.h"
#include "cosd/hook.h"
#include "cosd/meter.h"
#include "cosd/points.h"
#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "lib/kern/proc.h"

#define RESTART_FIRST_USEC (USEC_PER_SEC / 10)
#define RESTART_MOST_USEC  (60 * USEC_PER_SEC)
#define RESTART_RESET_USEC (10 * USEC_PER_SEC)
#define REBOOT_QUICK_USEC  USEC_PER_SEC
#define END_TEXT_SIZE      64

/* The order counts: how it ended is on record before the kernel may forget it. */
int act_reap(struct guest *g, struct cos_err *err)
{
	char text[32];

	(void)err;
	loop_timer_clear(&g->timer);
	health_end(g);
	g->hook_due = hook_is_set(g, HOOK_POST_STOP);
	POINT_BEFORE("end", "record");
	record_put_ended(g);
	POINT_AFTER("end", "record");
	loop_del(&g->process);
	POINT_BEFORE("end", "reap");
	proc_reap(g->pidfd);
	POINT_AFTER("end", "reap");
	close_p(&g->pidfd);
	close_p(&g->console);
	disk_end(g);
	json_decref(g->vm_stats);
	g->vm_stats = NULL;
	keeplink_del(g->d, (uint32_t)g->slot);
	g->pid = 0;
	event_say(g->d, g->name, "exit",
		  json_pack("{s:s}", "status", status_text(g->status, text)));
	return 0;
}

int act_down(struct guest *g, struct cos_err *err)
{
	(void)err;
	if (g->hook_due) {
		g->hook_due = false;
		record_put_ended(g);
	}
	return 0;
}

/* --- deleting --- */

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

/* --- starting again --- */

static void restart_fire(struct loop_timer *t);

static void schedule_restart(struct guest *g, bool at_once)
{
	if (g->restart_delay_usec == 0 || at_once) {
		g->restart_delay_usec = RESTART_FIRST_USEC;
		g->restarts = 0;
	}
	g->restarts++;
	g->due = true;
	g->timer.fire = restart_fire;
	loop_timer_set(&g->d->loop, &g->timer, at_once ? 0 : g->restart_delay_usec);
	g->restart_delay_usec *= 2;
	if (g->restart_delay_usec > RESTART_MOST_USEC)
		g->restart_delay_usec = RESTART_MOST_USEC;
}

/* A start by the policy has failed: another one is due. One by a user is the user's to repeat. */
bool guest_tries_again(const struct guest *g)
{
	return g->again && g->spec.restart != RESTART_NO;
}

static void restart_fire(struct loop_timer *t)
{
	struct guest *g = container_of(t, struct guest, timer);
	struct cos_err err;

	event_say(g->d, g->name, "restart", json_pack("{s:i}", "attempt", (int)g->restarts));
	g->again = true;
	if (guest_start(g, NULL, &err) == 0)
		return;
	log_say(LOG_ERROR, "restart %s: %s", g->name, err.why);
	guest_set_reason(g, &err);
	guest_answer_failed(g, &err);
	g->due = guest_tries_again(g);
	record_put_ended(g);
	if (g->spec.ephemeral)
		delete_now(g);
	else if (g->due)
		schedule_restart(g, false);
}

bool guest_forget_restart(struct guest *g)
{
	if (g->timer.at_usec == 0 || g->timer.fire != restart_fire)
		return false;
	loop_timer_clear(&g->timer);
	return true;
}

bool guest_cancel_restart(struct guest *g)
{
	struct cos_err err;

	if (!guest_forget_restart(g))
		return false;
	g->due = false;
	record_put_ended(g);
	cos_fail(&err, COS_E_STATE, 0, "%s was stopped before it was started again", g->name);
	guest_answer_failed(g, &err);
	return true;
}

/* --- the end --- */

static json_t *end_answer(const struct guest *g)
{
	int code = status_code(g->status);

	return code < 0 ? json_object() : json_pack("{s:i}", "status", code);
}

/* Whoever waits is answered; a restart goes on, a delete is left to the caller. */
static void answer_down(struct guest *g, bool *ret_restart, bool *ret_delete)
{
	struct list *p, *next;

	if (g->why)
		guest_answer_failed(g, g->why);
	free(g->why);
	g->why = NULL;
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

/* reboot(2) in a pid namespace ends its first process with SIGHUP for a restart and SIGINT for a
 * halt; these two cannot reach a first process that has no handler in another way. */
static bool is_reboot(const struct guest *g, int sig)
{
	return !g->killed && g->status != STATUS_UNKNOWN && WIFSIGNALED(g->status) &&
	       WTERMSIG(g->status) == sig;
}

/* The guest's own word on what comes next. */
static bool asked_reboot(const struct guest *g)
{
	return g->spec.type == GUEST_VM ? status_code(g->status) == VM_STATUS_RESET
					: is_reboot(g, SIGHUP);
}

static bool asked_halt(const struct guest *g)
{
	return g->spec.type == GUEST_VM ? status_code(g->status) == 0 : is_reboot(g, SIGINT);
}

static const char *end_text(const struct guest *g, char buf[static END_TEXT_SIZE])
{
	const char *name = g->spec.type == GUEST_VM ? vm_end_text(status_code(g->status)) : NULL;
	char status[32];

	str_fmt(buf, END_TEXT_SIZE, name ? "%s (%s)" : "%s", status_text(g->status, status), name);
	return buf;
}

bool guest_policy_restarts(const struct guest *g)
{
	if (g->sick)
		return g->spec.health.action == HEALTH_DO_RESTART || g->spec.restart != RESTART_NO;
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

static void clear_slot(struct guest *g)
{
	unsigned slot = (unsigned)g->slot;

	if (g->slot < 0)
		return;
	POINT_BEFORE("end", "network");
	net_release(g);
	POINT_AFTER("end", "network");
	g->slot = -1;
	g->cpu_weight = 0;
	cpus_changed(g);
	admit_weigh(g->d);
	POINT_BEFORE("end", "groups");
	slot_retire(g->d, slot);
	POINT_AFTER("end", "groups");
}

/* What comes after it is at rest. A guest that only reboots must not keep the host busy. */
static void go_on(struct guest *g, bool restart, bool delete)
{
	bool reboot = g->end.reboot;

	if (delete || ((g->spec.ephemeral || g->from_run) && !restart && !reboot))
		delete_now(g);
	else if (restart || reboot)
		schedule_restart(g, restart || g->end.ran_usec > REBOOT_QUICK_USEC);
	else if (g->due)
		schedule_restart(g, false);
}

/* The hook post_stop has ended, or there is none. That it failed is an event. */
static void came_down(struct guest *g, struct cos_err *err)
{
	bool restart = g->end.restart, delete = false;
	struct cos_err refused;

	(void)err;
	guest_event(g, g->end.failed ? GE_FAIL : GE_DOWN, &refused);
	POINT_BEFORE("end", "answer");
	answer_down(g, &restart, &delete);
	POINT_AFTER("end", "answer");
	clear_slot(g);
	go_on(g, restart, delete);
}

void guest_wind_up(struct guest *g)
{
	if (g->end.unhooked) {
		came_down(g, NULL);
		return;
	}
	if (hook_is_set(g, HOOK_POST_STOP)) /* to which the guest is gone */
		clear_slot(g);
	hook_run(g, HOOK_POST_STOP, came_down);
}

void guest_ended(struct guest *g, int status)
{
	struct cos_err err;
	uint64_t now = clock_wall_usec();
	char text[END_TEXT_SIZE];
	bool wanted;

	guest_answer_running(g); /* its hook post_start may still run */
	guest_answer_health(g, true);
	g->status = status;
	g->end.reboot =
		!g->stop_asked && asked_reboot(g); /* who was asked to stop is not to return */
	g->end.halt = asked_halt(g);
	g->end.ran_usec = now > g->started_usec ? now - g->started_usec : 0; /* the clock's steps */
	wanted = !g->sick &&
		 (g->stop_asked || g->end.reboot || g->end.halt || status_code(status) == 0);
	g->end.failed = !wanted;
	if (g->end.ran_usec > RESTART_RESET_USEC) {
		g->restarts = 0;
		g->restart_delay_usec = 0;
	}
	g->due = g->end.reboot ||
		 ((g->sick || (!g->stop_asked && !g->end.halt)) && guest_policy_restarts(g));
	if (!wanted && !g->sick && !guest_is_refused(g))
		str_fmt(g->reason, sizeof(g->reason), "ended by itself: %s", end_text(g, text));
	hits_last(g);
	bucket_end(g);
	io_bucket_end(g);
	meter_last(g);
	guest_event(g, GE_EXIT, &err);
	guest_wind_up(g);
}

/* --- after a restart of the worker --- */

void guest_restore_due(struct guest *g, unsigned restarts)
{
	if (guest_is_refused(g) || g->spec.ephemeral)
		return;
	g->restarts = restarts;
	for (g->restart_delay_usec = restarts ? RESTART_FIRST_USEC : 0;
	     restarts > 0 && g->restart_delay_usec < RESTART_MOST_USEC; restarts--)
		g->restart_delay_usec *= 2;
	if (g->restart_delay_usec > RESTART_MOST_USEC)
		g->restart_delay_usec = RESTART_MOST_USEC;
	g->due = true;
	if (!g->hook_due) /* else when that has ended */
		schedule_restart(g, false);
}
