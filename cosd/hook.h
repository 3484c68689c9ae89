/* cosd/hook.h - programs of the host that run on a guest's way through its life
 *
 * A guest has one hook under way at most. It never keeps the loop waiting: a process of its own
 * (hook-watch.c) watches over it, reads what it prints, and ends it and its process group when its
 * time is up, when it is given up, and when the worker ends in whatever way. */
#pragma once

#include "cosd/guest.h"

#define HOOK_TEXT_MAX 2048 /* bytes of what a hook prints that are kept */

/* Called when the hook has ended. ERR: NULL, or why it failed, which is an event already. */
typedef void hook_done(struct guest *g, struct cos_err *err);

bool hook_is_set(const struct guest *g, enum hook_id id);
/* Whether it is under way. */
bool hook_runs(const struct guest *g, enum hook_id id);
/* Runs the hook ID, then calls THEN: from within if G has no such hook. One that is still under way
 * is given up and gone before the next begins. */
void hook_run(struct guest *g, enum hook_id id, hook_done *then);
/* Kills the hook that is under way, if any; its THEN is not called any more. */
void hook_give_up(struct guest *g);
/* For a guest that is freed. */
void hook_forget(struct guest *g);

/* --- the process beside a hook (hook-watch.c) --- */
struct hook_job {
	char *const *argv, *const *env;
	int input;          /* the hook's standard input */
	int report;         /* socket for one struct hook_report; its end is the order to stop */
	uint64_t time_usec; /* that the hook may take */
	const uint64_t *nofile;
};

struct hook_report {
	int status; /* wait status */
	bool timed_out;
	unsigned n;
	char text[HOOK_TEXT_MAX];
};

/* Runs the hook. Called in a new child of the worker. */
_Noreturn void hook_watch(const struct hook_job *j);
