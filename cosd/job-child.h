/* cosd/job-child.h - the process of a job: cow-fs with no more of the daemon than it is given */
#pragma once

#include <sys/types.h>

#include "lib/base/err.h"

struct cg_guest;
struct launch_host;

/* What becomes of the child; all borrowed. */
struct job_child {
	int program, input, out, errors;
	int guest;                 /* pidfd of the one in whose groups it is to be; -1: nobody's */
	const struct cg_guest *cg; /* groups that it is to be in; NULL: the daemon's */
	pid_t worker;
	int runtime; /* directory */
};

/* The program cow-fs for the daemon that runs as EXE: a descriptor, or -errno. Leaf. */
int job_program(const char *exe);
/* Starts it. A child that is not in a guest's groups dies with the worker, and jobs_await_old()
 * waits for it and for what it starts; one that is there may outlive the worker. */
pid_t job_fork(const struct job_child *c, const struct launch_host *host, char *const *argv,
	       struct cos_err *err);
