/* cosd/exec.h - a command in a running guest, from its start until its last process is reaped
 *
 * Nobody waits for a process of a guest: it may be frozen, or short of CPU time. */
#pragma once

#include "cosd/guest.h"

struct exec;

/* What whoever wants the command is told; each may be NULL. ENDED or FAILED comes last, and only
 * one of them, from within the loop. */
struct exec_ops {
	/* MASTER: of its terminal, the callee's; -1 without one. */
	void (*executed)(struct exec *e, pid_t pid, int master);
	void (*ended)(struct exec *e, int status);
	void (*failed)(struct exec *e, struct cos_err *err);
};

struct exec_want {
	const struct exec_ops *ops;
	void *owner;
	json_t *keep;           /* holds what the next ones borrow; gets a reference */
	json_t *command, *env;  /* checked as in a specification; ENV may be NULL */
	const char *user, *cwd; /* NULL: the guest's */
	int stdio[3];           /* the command's ends, taken, also on failure; -1 with TTY */
	bool tty;
	unsigned short rows, cols;
	bool whole; /* its process group ends with it */
};

/* A command under way. It outlives who wants it, and by a moment the guest. */
struct exec {
	const struct exec_ops *ops; /* NULL: nobody wants to know any more */
	void *owner;

	/* exec.c's own */
	struct list link;
	struct daemon *d;
	struct spec spec; /* the guest's as it was; holds its document */
	struct cg_guest cg;
	struct launch_exec x;
	struct loop_source sync, helper, process;
	struct loop_timer timer; /* of the start; at last, to be freed */
	json_t *keep;
	int guest_pidfd;
	bool whole;
	bool over; /* only its processes are still to be reaped */
};

int exec_start(struct guest *g, const struct exec_want *w, struct exec **ret, struct cos_err *err);
/* Kills it; its owner is not told any more. */
void exec_give_up(struct exec *e);
