/* cosd/job-child.h - the process of a job: cow-fs with no more of the daemon than it is given */
#pragma once

#include <sys/types.h>

#include "lib/base/err.h"

struct cg_guest;
struct cg_topo;

/* What becomes of the child; all borrowed. */
struct job_child {
	int program, input, out, errors;
	int guest; /* pidfd of the one in whose groups it is to be; -1: the daemon's */
	const struct cg_guest *cg;
	pid_t worker;
	int runtime; /* directory */
};

/* The program cow-fs for the daemon that runs as EXE: a descriptor, or -errno. Leaf. */
int job_program(const char *exe);
/* Starts it. The child dies with the worker; if it is not in a guest's groups, jobs_await_old()
 * waits for it and for what it starts. */
pid_t job_fork(const struct job_child *c, const struct cg_topo *topo, char *const *argv,
	       struct cos_err *err);
