/* cosd/job-group.h - the control group of work in the background
 *
 * All of it is in one group beside those of the guests, job.PID.N, with small shares of CPU time
 * and disk time, however much there is to be done. What a worker that died leaves of it its
 * successor removes (recover.c). */
#pragma once

#include "cosd/daemon.h"

/* The group for one more job, made for the first one; NULL: none, ERR tells. Until
 * job_group_leave(), with which the last one takes it away as soon as its processes are gone. */
const struct cg_guest *job_group_enter(struct daemon *d, struct cos_err *err);
void job_group_leave(struct daemon *d);
/* A job is to end, and others wait for that: the group competes as a guest's until one leaves. */
void job_group_hurry(struct daemon *d);
/* What has been used since the worker began. */
void job_group_count(const struct daemon *d, struct background *ret);
/* CPUs were given to guests, or given back. */
void job_group_share_cpus(struct daemon *d);
