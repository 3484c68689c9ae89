/* cosd/health.c - checks of guests' health: commands that are run in them again and again */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "cosd/exec.h"
#include "cosd/health.h"
#include "cosd/requires.h"
#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/base/own.h"
#include "lib/base/str.h"

#define AT_ONCE    16                  /* checks of all guests together */
#define FIRST_USEC (USEC_PER_SEC / 10) /* a guest that has just begun is not asked */
#define SOON_USEC  USEC_PER_SEC        /* between checks while nothing is known yet */

/* Of a guest that runs and has a check. */
struct health {
	struct list link; /* in daemon.checks while it waits for its turn */
	struct guest *g;
	struct loop_timer timer; /* of the next check; while one runs, of its end */
	struct exec *exec;       /* the one that runs */
	int output;              /* read end of its pipe; never read */
	enum guest_health state;
	unsigned failures;    /* in a row */
	uint64_t counts_usec; /* a failure does not count before */
	char why[160];        /* of the last failure */
};

static void take_turns(struct daemon *d);

const char *health_name(const struct guest *g)
{
	return g->health ? guest_health_name[g->health->state] : NULL;
}

bool health_is_good(const struct guest *g)
{
	return g->health && g->health->state == HEALTH_GOOD;
}

bool health_is_bad(const struct guest *g)
{
	return g->health && g->health->state == HEALTH_BAD;
}

/* --- what a check says --- */

static void act_on(struct guest *g, const char *why)
{
	struct cos_err err;
	int r = 0;

	switch (g->spec.health.action) {
	case HEALTH_DO_NOTHING:
		return;
	case HEALTH_DO_RESTART:
		r = guest_stop_sick(g, g->spec.stop_timeout, why, &err);
		break;
	case HEALTH_DO_KILL:
		r = guest_stop_sick(g, 0, why, &err);
		break;
	}
	if (r < 0)
		log_say(LOG_ERROR, "%s is unhealthy: %s", g->name, err.why);
}

/* H may be gone when it returns. */
static void change(struct health *h, enum guest_health to)
{
	struct guest *g = h->g;
	json_t *more;
	struct cos_err err;

	if (h->state == to)
		return;
	more = json_pack("{s:s, s:s}", "from", guest_health_name[h->state], "to",
			 guest_health_name[to]);
	if (to == HEALTH_BAD)
		json_object_set_new(more, "reason", json_string(h->why));
	event_say(g->d, g->name, "health", more);
	h->state = to;
	requires_tell(g);
	if (record_put_running(g, g->pid, &err) < 0) /* it may have ended already */
		log_say(LOG_DEBUG, "%s: %s", g->name, err.why);
	guest_answer_health(g, false);
	if (to == HEALTH_BAD)
		act_on(g, h->why);
}

static void next_check(struct health *h)
{
	uint64_t usec = h->g->spec.health.interval * USEC_PER_SEC;

	if (h->state == HEALTH_STARTING && usec > SOON_USEC)
		usec = SOON_USEC;
	loop_timer_set(&h->g->d->loop, &h->timer, usec);
}

static void over(struct health *h)
{
	h->exec = NULL;
	close_p(&h->output);
	loop_timer_clear(&h->timer);
	h->g->d->checking--;
}

static void succeeded(struct health *h)
{
	h->failures = 0;
	next_check(h);
	change(h, HEALTH_GOOD);
}

/* Checks come more often than once an interval while the guest is starting; failures do not. */
static void failed(struct health *h)
{
	const struct spec_health *s = &h->g->spec.health;
	uint64_t now = clock_usec();

	next_check(h);
	if (h->state == HEALTH_STARTING && now < h->counts_usec)
		return;
	h->counts_usec = now + s->interval * USEC_PER_SEC;
	if (++h->failures >= s->retries)
		change(h, HEALTH_BAD);
}

/* --- one check --- */

static void exec_ended(struct exec *e, int status)
{
	struct health *h = e->owner;
	struct daemon *d = h->g->d;

	over(h);
	status_text(status, h->why);
	if (status == 0)
		succeeded(h);
	else
		failed(h);
	take_turns(d);
}

static void exec_failed(struct exec *e, struct cos_err *err)
{
	struct health *h = e->owner;
	struct daemon *d = h->g->d;

	str_fmt(h->why, sizeof(h->why), "%.150s", err->why);
	over(h);
	failed(h);
	take_turns(d);
}

static const struct exec_ops exec_ops = { .ended = exec_ended, .failed = exec_failed };

/* Input that is at its end, and an output that nobody reads: what is printed stays in the pipe, and
 * goes with it. */
static int make_pipes(struct health *h, int *ret_stdio)
{
	int p[2];
	auto_close int in = -1, out = -1, output = -1, errors = -1;

	if (pipe2(p, O_CLOEXEC) < 0)
		return -errno;
	in = p[0];
	close(p[1]);
	if (pipe2(p, O_CLOEXEC) < 0)
		return -errno;
	output = p[0];
	out = p[1];
	errors = fcntl(out, F_DUPFD_CLOEXEC, 3);
	if (errors < 0)
		return -errno;
	ret_stdio[0] = take_fd(in);
	ret_stdio[1] = take_fd(out);
	ret_stdio[2] = take_fd(errors);
	h->output = take_fd(output);
	return 0;
}

static int begin(struct health *h, struct cos_err *err)
{
	struct exec_want w = {
		.ops = &exec_ops,
		.owner = h,
		.keep = h->g->spec.doc,
		.command = h->g->spec.health.command,
		.whole = true,
	};
	int r = make_pipes(h, w.stdio);

	if (r < 0)
		return cos_fail(err, COS_E_KERNEL, -r, "pipe");
	return exec_start(h->g, &w, &h->exec, err);
}

static void check(struct health *h)
{
	struct daemon *d = h->g->d;
	struct cos_err err;

	d->checking++;
	if (begin(h, &err) == 0) {
		loop_timer_set(&d->loop, &h->timer, h->g->spec.health.timeout * USEC_PER_SEC);
		return;
	}
	str_fmt(h->why, sizeof(h->why), "%.150s", err.why);
	over(h);
	failed(h);
}

/* Those that wait begin, in the order in which they came, as far as there may be more. */
static void take_turns(struct daemon *d)
{
	while (d->checking < AT_ONCE && !list_is_empty(&d->checks)) {
		struct health *h = list_entry(d->checks.next, struct health, link);

		list_del(&h->link);
		check(h);
	}
}

static void fire(struct loop_timer *t)
{
	struct health *h = container_of(t, struct health, timer);
	struct daemon *d = h->g->d;

	if (h->exec) {
		exec_give_up(h->exec);
		over(h);
		str_fmt(h->why, sizeof(h->why), "no answer for %llu s",
			(unsigned long long)h->g->spec.health.timeout);
		failed(h);
	} else {
		list_add_tail(&d->checks, &h->link);
	}
	take_turns(d);
}

/* --- from start to end --- */

void health_begin(struct guest *g, enum guest_health state)
{
	struct health *h;

	if (!g->spec.health.command || g->health)
		return;
	h = calloc(1, sizeof(*h));
	if (!h) {
		log_say(LOG_ERROR, "%s: no memory to check its health", g->name);
		return;
	}
	list_init(&h->link);
	h->g = g;
	h->output = -1;
	h->state = state;
	h->counts_usec = clock_usec() + g->spec.health.start_period * USEC_PER_SEC;
	h->timer.fire = fire;
	g->health = h;
	if (g->state == GS_RUNNING)
		health_resume(g);
}

void health_pause(struct guest *g)
{
	struct health *h = g->health;

	if (!h)
		return;
	list_del(&h->link);
	loop_timer_clear(&h->timer);
	if (!h->exec)
		return;
	exec_give_up(h->exec);
	over(h);
	take_turns(g->d);
}

void health_resume(struct guest *g)
{
	struct health *h = g->health;

	if (h && !h->exec)
		loop_timer_set(&g->d->loop, &h->timer, FIRST_USEC);
}

void health_end(struct guest *g)
{
	if (!g->health)
		return;
	health_pause(g);
	free(g->health);
	g->health = NULL;
}

void health_changed(struct guest *g, const struct spec *before)
{
	if (g->pid == 0 || g->state == GS_STOPPING ||
	    json_equal(json_object_get(before->doc, "health"),
		       json_object_get(g->spec.doc, "health")))
		return;
	health_end(g);
	health_begin(g, HEALTH_STARTING);
	guest_answer_health(g, false);
	requires_tell(g);
}
