/* cosd/guest-run.c - a guest that runs: watched, frozen, asked to end, killed */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <termios.h>

#include "cosd/call.h"
#include "cosd/guest.h"
#include "cosd/health.h"
#include "cosd/hook.h"
#include "cosd/points.h"
#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "lib/kern/cg.h"
#include "lib/kern/proc.h"

#define KILL_TIMEOUT_USEC (5 * USEC_PER_SEC)
#define ASK_AGAIN_USEC    (USEC_PER_SEC / 20)

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

void guest_size_console(int console, uint64_t rows, uint64_t cols)
{
	struct winsize ws = { .ws_row = (unsigned short)rows, .ws_col = (unsigned short)cols };

	if (console >= 0 && rows && cols)
		ioctl(console, TIOCSWINSZ, &ws);
}

int guest_open_groups(const struct guest *g, struct cg_guest *ret, struct cos_err *err)
{
	char slot[SLOT_NAME_SIZE];
	int r;

	slot_name(g->slot, slot);
	r = cg_open(&g->d->host.topo, slot, ret);
	return r < 0 ? cos_fail(err, COS_E_KERNEL, -r, "open the control groups of %s", g->name)
		     : 0;
}

/* --- freezing --- */

bool guest_freezer(const struct guest *g, char *buf, size_t size)
{
	const struct cg_topo *t = &g->d->host.topo;
	int h = t->where[CTL_FREEZER];

	return h >= 0 && str_fmt(buf, size, "%s/%d", t->h[h].path, g->slot);
}

int guest_free_for_job(struct guest *g, struct cos_err *err)
{
	int r = jobs_check(g->d, g->name, err);

	if (r < 0)
		return r;
	if (guest_is_refused(g))
		return cos_fail(err, COS_E_STATE, 0, "%s: %s", g->name, g->reason);
	if (guest_is_down(g) || g->state == GS_RUNNING)
		return 0;
	return cos_advise(
		err, cos_fail(err, COS_E_STATE, 0, "%s is %s", g->name, guest_state_name[g->state]),
		g->state == GS_FROZEN ? "'cosctl thaw %s' first" : "wait, and try again", g->name);
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

static bool ask_freezer(const struct guest *g,
			bool (*is)(const struct cg_topo *t, const struct cg_guest *g))
{
	struct cos_err err;
	struct cg_guest cg;
	bool yes;

	if (guest_open_groups(g, &cg, &err) < 0)
		return false;
	yes = is(&g->d->host.topo, &cg);
	cg_close(&cg);
	return yes;
}

bool guest_is_freezing(const struct guest *g)
{
	return ask_freezer(g, cg_is_freezing);
}

bool guest_is_frozen(const struct guest *g)
{
	return ask_freezer(g, cg_is_frozen);
}

int act_freeze(struct guest *g, struct cos_err *err)
{
	int r = jobs_check(g->d, g->name, err); /* which freezes and thaws it */

	if (r < 0)
		return r;
	health_pause(g);
	r = freeze(g, true, err);
	if (r < 0)
		health_resume(g);
	return r;
}

int act_thaw(struct guest *g, struct cos_err *err)
{
	int r = freeze(g, false, err);

	if (r == 0)
		health_resume(g);
	return r;
}

/* --- ending it --- */

static int ask_to_stop(struct guest *g)
{
	int r = launch_stop(&g->spec, g->pid, g->pidfd, g->stop_usec);

	g->unsignalled = r == -EAGAIN;
	return r == -EAGAIN || r == -ESRCH ? 0 : r;
}

static void stop_timeout(struct loop_timer *t);

/* What has not ended after DELAY_USEC is killed, or killed again. */
static void kill_after(struct guest *g, uint64_t delay_usec)
{
	g->kill_at_usec = clock_usec() + delay_usec;
	if (g->unsignalled && delay_usec > ASK_AGAIN_USEC)
		delay_usec = ASK_AGAIN_USEC;
	g->timer.fire = stop_timeout;
	loop_timer_set(&g->d->loop, &g->timer, delay_usec);
}

static void stop_timeout(struct loop_timer *t)
{
	struct guest *g = container_of(t, struct guest, timer);
	uint64_t now = clock_usec();
	struct cos_err err;

	if (g->unsignalled && now < g->kill_at_usec) {
		ask_to_stop(g);
		kill_after(g, g->kill_at_usec - now);
		return;
	}
	event_say(g->d, g->name, "stop-timeout", NULL);
	if (guest_event(g, GE_TIMEOUT, &err) < 0)
		log_say(LOG_ERROR, "%s: %s", g->name, err.why);
}

static void put_record(struct guest *g)
{
	struct cos_err err;

	if (record_put_running(g, g->pid, &err) < 0) /* it may have ended already */
		log_say(LOG_DEBUG, "%s: %s", g->name, err.why);
}

/* On record too: after a restart of the worker the end that comes is still wanted. */
static void note_stop(struct guest *g)
{
	guest_answer_health(g, true);
	health_end(g);
	if (g->stop_asked)
		return;
	g->stop_asked = true;
	put_record(g);
}

/* The hook pre_stop has ended, or there is none. That it failed is an event. */
static void send_stop(struct guest *g, struct cos_err *err)
{
	int r;

	(void)err;
	POINT_BEFORE("stop", "signal");
	r = ask_to_stop(g);
	POINT_AFTER("stop", "signal");
	if (r < 0)
		log_say(LOG_ERROR, "signal %s: %s", g->name, strerrorname_np(-r));
	kill_after(g, g->stop_usec);
}

/* The hook has died with the worker, and whether the signal was sent is not known. */
void guest_resume_stop(struct guest *g)
{
	g->stop_usec = g->spec.stop_timeout * USEC_PER_SEC;
	send_stop(g, NULL);
}

int act_stop(struct guest *g, struct cos_err *err)
{
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

	if (g->pid == 0) { /* it has ended, and its hook runs */
		g->due = false;
		return 0;
	}
	hook_give_up(g);
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
	g->unsignalled = false;
	note_stop(g);
	kill_after(g, KILL_TIMEOUT_USEC); /* again, should anything have slipped through */
	return 0;
}

int guest_stop(struct guest *g, uint64_t timeout_sec, struct cos_err *err)
{
	bool starts = g->state == GS_STARTING;
	int r;

	if (!starts)
		guest_answer_running(g); /* its hook post_start may still run */
	r = guest_event(g, timeout_sec ? GE_STOP : GE_KILL, err);
	if (r < 0)
		return r;
	if (starts) {
		guest_wind_up(g);
	} else if (timeout_sec) {
		g->stop_usec = timeout_sec * USEC_PER_SEC;
		hook_run(g, HOOK_PRE_STOP, send_stop);
	}
	return 0;
}

int guest_stop_sick(struct guest *g, uint64_t timeout_sec, const char *why, struct cos_err *err)
{
	int r;

	g->sick = true;
	str_fmt(g->reason, sizeof(g->reason), "unhealthy: %s", why);
	r = guest_stop(g, timeout_sec, err);
	if (r < 0) {
		g->sick = false;
		g->reason[0] = '\0';
	}
	return r;
}

void guest_stop_wanted(struct guest *g)
{
	if (g->pid == 0)
		g->due = false;
	if (!g->sick || g->pid == 0)
		return;
	g->sick = false;
	g->reason[0] = '\0';
	put_record(g);
}
