/* vmm/confine.h - what a process that a guest may have taken over can still do
 *
 * Everything is opened before. Then the process loses its namespaces, user and capabilities, and
 * each thread loads the filter of its kind: a vCPU can run the guest and raise events, a device can
 * move bytes between descriptors that it has, the main thread can answer its socket. None can open,
 * connect, execute, fork, or map memory that can be executed. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "lib/base/err.h"
#include "lib/kern/filter.h"

enum confine_kind { CONFINE_VCPU, CONFINE_DEVICE, CONFINE_CONTROL, CONFINE__N };

struct confine {
	struct filter filter[CONFINE__N];
};

/* Compiles the filters; 0.2 ms each. */
int confine_init(struct confine *c, struct cos_err *err);
void confine_done(struct confine *c);

struct confine_who {
	bool isolate, has_user;
	uid_t uid;
	gid_t gid;
};

/* For the whole process, before there are threads: namespaces and an empty root if asked for, the
 * user, no capability, no_new_privs, no core file, not dumpable. What it cannot drop is an error.
 */
int confine_process(const struct confine_who *who, struct cos_err *err);
