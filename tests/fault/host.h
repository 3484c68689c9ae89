/* tests/fault/host.h - a host for starts that fail: store, control groups, rules; and what it holds
 *
 * Mounts and links of this process are in namespaces of its own, so that other programs' changes
 * are not taken for a start's. */
#pragma once

#include "cow-fs/store.h"
#include "lib/launch/guest.h"

#define GUEST "n1"

struct host {
	struct launch_host launch;
	struct launch_rules rules;
	struct cowfs cow;
	struct spec spec;
	struct spec machine; /* with the mini guest of tests/vmm; launch.vmm < 0: it cannot run */
	int dir;             /* scratch directory */
	char *path;          /* its path */
	char instance[32];
};

/* Ends the program when it cannot be run here at all. */
void host_init(struct host *h);
void host_done(struct host *h);

/* All that a start could leave: mounts, descriptors, links, control groups, unfinished roots. The
 * text is the caller's. */
char *host_holds(const struct host *h);
/* Says as TAP comments what was lost or left between the two; returns how much. */
unsigned host_diff(const char *before, const char *after);
/* Ends children of this process that nobody has taken care of, but not EXCEPT; returns how many
 * there were. */
unsigned host_strays(pid_t except);
/* Removes the guest's control groups, as soon as the kernel lets them go; false after a second. */
bool host_groups_go(const struct host *h);
