/* cosd/keeper.h - inside the keeper: what keep.c and kept.c share */
#pragma once

#include "cosd/keep.h"
#include "lib/base/list.h"
#include "lib/base/loop.h"

struct keeper {
	const struct keep_args *args;
	struct loop loop;
	struct list kept;
	struct list
		*unsent; /* of KEPT: where the list that is being sent has got to; NULL: none is */
	struct loop_source signals, link, hold; /* LINK: the worker, or the next daemon at HOLD */
	struct loop_timer restart, stop_kill;
	pid_t worker;
	uint64_t worker_began_usec;
	int runtime, logs;
	bool stopping, upgrade;
	bool served, failed; /* a worker served clients; the first one could not */
};

/* --- what is held, and who is told of it (kept.c) --- */
/* Takes both descriptors; CONSOLE may be -1. */
void kept_add(struct keeper *k, const struct keep_msg *m, int pidfd, int console);
/* Lets all go. */
void kept_drop(struct keeper *k);
bool kept_any_lives(const struct keeper *k);
/* Whether the child PID, which has ended, is held; then its end is noted and told, and it is reaped
 * by its pidfd, so that its status is not lost. */
bool kept_reap(struct keeper *k, pid_t pid);
/* All that is held, *RET_N items; the array is the caller's, the descriptors are not. NULL: no
 * memory. */
struct keep_item *kept_items(struct keeper *k, unsigned *ret_n);
/* Serves a new worker, whose socket is taken. 0 or -errno. */
int kept_serve(struct keeper *k, int sock);
/* For a holder: the next daemon is waited for at R/hold.sock. */
int kept_listen(struct keeper *k, struct cos_err *err);

/* --- the process (keep.c) --- */
/* Ends the daemon: the worker first. */
void keeper_stop(struct keeper *k);
