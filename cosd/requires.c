/* cosd/requires.c - guests that need others: those run, and are healthy, before them
 *
 * A guest whose start waits holds nothing yet. It waits as long as those that it needs do: they
 * come up or fail in their own time, each step of which is bounded. */
#include <string.h>

#include "cosd/health.h"
#include "cosd/hook.h"
#include "cosd/requires.h"
#include "lib/base/own.h"

#define DEPTH_MAX 256 /* of a chain */

/* --- cycles --- */

struct walk {
	struct daemon *d;
	const char *path[DEPTH_MAX + 1];
	unsigned mark;
	bool must; /* they have to exist */
};

static int say_cycle(const struct walk *w, unsigned depth, struct cos_err *err)
{
	char text[240] = "";
	size_t n = 0;

	for (unsigned i = 0; i <= depth && n < sizeof(text); i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s requires ", w->path[i]);
	if (n >= sizeof(text)) /* the way back is what counts */
		snprintf(text, sizeof(text), "%s requires %s ... %s requires ", w->path[0],
			 depth > 0 ? w->path[1] : "", w->path[depth]);
	return cos_advise(err, cos_fail(err, COS_E_INVALID, 0, "/requires: %s%s", text, w->path[0]),
			  "take one of them out of requires");
}

/* Each guest is walked through once, however many require it. */
static int walk(struct walk *w, json_t *names, unsigned depth, struct cos_err *err)
{
	json_t *v;
	size_t i;

	json_array_foreach(names, i, v) {
		const char *name = json_string_value(v);
		struct guest *g = guest_find(w->d, name);
		int r;

		if (strcmp(name, w->path[0]) == 0)
			return say_cycle(w, depth, err);
		if (!g && w->must)
			return cos_advise(err,
					  cos_fail(err, COS_E_NO_GUEST, 0,
						   "%s requires %s, and there is no such guest",
						   w->path[depth], name),
					  "create %s, or take it out of requires", name);
		if (!g || g->mark == w->mark)
			continue;
		g->mark = w->mark;
		if (depth == DEPTH_MAX)
			return cos_fail(err, COS_E_INVALID, 0,
					"/requires: more than %d guests in a row", DEPTH_MAX);
		w->path[depth + 1] = g->name;
		r = walk(w, g->spec.requires, depth + 1, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int check(struct daemon *d, const struct spec *s, bool must, struct cos_err *err)
{
	struct walk w = { .d = d, .path = { s->name }, .mark = ++d->mark, .must = must };

	return json_array_size(s->requires) ? walk(&w, s->requires, 0, err) : 0;
}

int requires_check(struct daemon *d, const struct spec *s, struct cos_err *err)
{
	return check(d, s, false, err);
}

int requires_admit(const struct guest *g, struct cos_err *err)
{
	return check(g->d, &g->spec, true, err);
}

/* --- waiting --- */

static bool is_up(const struct guest *g)
{
	return g->state == GS_RUNNING && !hook_runs(g, HOOK_POST_START) &&
	       (!g->health || health_is_good(g));
}

static bool are_up(struct daemon *d, json_t *names)
{
	json_t *v;
	size_t i;

	json_array_foreach(names, i, v) {
		const struct guest *g = guest_find(d, json_string_value(v));

		if (!g || !is_up(g))
			return false;
	}
	return true;
}

static int refuse(const struct guest *g, const char *name, const char *is, const char *reason,
		  struct cos_err *err)
{
	return cos_advise(err,
			  cos_fail(err, COS_E_STATE, 0, "%s requires %s, which %s%s%.200s", g->name,
				   name, is, reason[0] ? ": " : "", reason),
			  "'cosctl status %s' tells more", name);
}

/* 0: it is up; 1: it is on its way. One that is down is started, but only once. */
static int look_at(struct guest *g, const char *name, unsigned bit, struct cos_err *err)
{
	struct guest *need = guest_find(g->d, name);
	int r;

	if (!need)
		return refuse(g, name, "was deleted", "", err);
	switch (need->state) {
	case GS_DEFINED:
	case GS_FAILED:
		if (g->begun & 1U << bit)
			return refuse(g, name, need->state == GS_FAILED ? "failed" : "has ended",
				      need->reason, err);
		g->begun |= 1U << bit;
		need->again = false;
		r = guest_start(need, NULL, err);
		return r < 0 ? cos_context(err, r, "start %s, which it requires", name) : 1;
	case GS_STARTING:
		g->begun |= 1U << bit;
		return 1;
	case GS_RUNNING:
		g->begun |= 1U << bit;
		if (health_is_bad(need))
			return refuse(g, name, "is unhealthy", "", err);
		return !is_up(need);
	case GS_FROZEN:
		return refuse(g, name, "is frozen", "", err);
	case GS_STOPPING: /* and will be down */
	case GS__N:
		break;
	}
	return 1;
}

static void look(struct guest *g)
{
	struct cos_err err;
	bool all = true;
	json_t *v;
	size_t i;

	g->look = false;
	json_array_foreach(g->awaits, i, v) {
		int r = look_at(g, json_string_value(v), (unsigned)i, &err);

		if (r < 0) {
			requires_forget(g);
			guest_required(g, &err);
			return;
		}
		all = all && r == 0;
	}
	if (all) {
		requires_forget(g);
		guest_required(g, NULL);
	}
}

static struct guest *next_to_look(struct daemon *d)
{
	struct list *p;

	list_for_each(p, &d->waiting) {
		struct guest *g = list_entry(p, struct guest, waits);

		if (g->look)
			return g;
	}
	return NULL;
}

/* What one guest does may concern any other: begin anew after each. */
static void look_at_all(struct loop_timer *t)
{
	struct daemon *d = container_of(t, struct daemon, looking);
	struct guest *g;

	while ((g = next_to_look(d)))
		look(g);
}

static void look_soon(struct guest *g)
{
	g->look = true;
	if (g->d->looking.at_usec == 0)
		loop_timer_set(&g->d->loop, &g->d->looking, 0);
}

bool requires_wait(struct guest *g)
{
	if (are_up(g->d, g->spec.requires))
		return false;
	g->awaits = json_incref(g->spec.requires);
	g->begun = 0;
	list_add_tail(&g->d->waiting, &g->waits);
	look_soon(g);
	return true;
}

void requires_forget(struct guest *g)
{
	if (!g->awaits)
		return;
	list_del(&g->waits);
	json_decref(g->awaits);
	g->awaits = NULL;
}

void requires_tell(const struct guest *g)
{
	struct list *p;

	list_for_each(p, &g->d->waiting) {
		struct guest *w = list_entry(p, struct guest, waits);
		json_t *v;
		size_t i;

		json_array_foreach(w->awaits, i, v) {
			if (strcmp(json_string_value(v), g->name) == 0)
				look_soon(w);
		}
	}
}

void requires_init(struct daemon *d)
{
	d->looking.fire = look_at_all;
}
