/* bench/floor.h - the least that a guest costs: the system calls and nothing else
 *
 * One guest is a user namespace with 64 Ki ids and a pid, mount, uts, ipc, network and cgroup
 * namespace that it owns; a group in the v1 hierarchies of cpu, memory, pids and devices and in v2;
 * an id-mapped overlay root; its own /dev, /proc, /sys and devpts; a smaller bounding set; one
 * static program. No pool, no daemon, no filter, no link. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "bench/bench.h"

#define FLOOR_GROUPS 5

/* The steps of a start that the parent does, in the order of doing; the rest is the child's. */
enum floor_step { FLOOR_CGROUP, FLOOR_CLONE, FLOOR_IDS, FLOOR_ROOT, FLOOR__N };

extern const char *const floor_step_name[FLOOR__N];

struct floor {
	const struct bench *b;
	const struct bench_cg *cg[FLOOR_GROUPS]; /* the v2 one is the last */
	unsigned n_cg;
	int lower;          /* the root that bench_make_root() made */
	char mnt[PATH_MAX]; /* where guests put their root */
	unsigned count;
};

struct floor_guest {
	char name[16];
	pid_t pid;
	int pidfd;
	uint64_t start_nsec;
	uint64_t end_nsec[FLOOR__N];
};

/* ROOT is the name given to bench_make_root(). Telling, as bench_open(). */
int floor_open(struct floor *f, const struct bench *b, const char *root);
void floor_close(struct floor *f);
/* Starts a guest whose output is OUT; with STAY it does not end by itself. -errno with the reason
 * told; what was made is removed. */
int floor_start(struct floor *f, struct floor_guest *g, int out, bool stay);
/* Waits for its end (killed first with KILL) and removes all of it; its exit status or -errno. */
int floor_end(struct floor *f, struct floor_guest *g, bool kill_it);
