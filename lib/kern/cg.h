/* lib/kern/cg.h - control groups: one guest is one directory ("slot") in each hierarchy that is in
 * use
 *
 * On every host each hierarchy is v1 or v2 by itself. Guests live below
 *   MOUNT/cos.INSTANCE/SLOT
 * On v2 the slot carries the limits; payload/ below it is the guest's own and delegated, exec/
 * takes commands that come from outside. On v1 the slot is all, and nothing is delegated. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/base/err.h"
#include "lib/model/limits.h"

#define CG_HIER_MAX (CTL__N + 1)
#define CG_WHY_SIZE 120

struct cg_hier {
	enum cg_version version;
	int root;       /* directory under which slots are made */
	uint32_t has;   /* bit for each enum cg_ctl that works in this hierarchy */
	char path[200]; /* of root, for people */
};

struct cg_topo {
	struct cg_hier h[CG_HIER_MAX];
	unsigned n;
	int v2;                    /* index of the v2 hierarchy, -1 if there is none */
	bool hands_down;           /* v2: a reserve of memory is that of the groups below, too */
	int where[CTL__N];         /* index of the hierarchy that has the controller, -1 if none */
	uint64_t knobs;            /* bit for each row of knobs[] whose file is there */
	char cpus[CPUS_TEXT_SIZE]; /* all that guests may have */
	char shared_cpus[CPUS_TEXT_SIZE]; /* those of guests that name none; the user's to change */
};

struct cg_guest {
	int dir[CG_HIER_MAX]; /* by hierarchy; -1 when closed */
	int payload;          /* v2: the guest's own group; -1 without v2 */
};

#define CG_GUEST_NONE                                                                              \
	{                                                                                          \
		.dir = { [0 ... CG_HIER_MAX - 1] = -1 }, .payload = -1                             \
	}

/* Finds the hierarchies (libcgroup, and the v2 mount) and makes cos.INSTANCE in each. Fails
 * with Unsupported when cpu, memory or pids is nowhere. About 1 ms. */
int cg_topo_open(const char *instance, struct cg_topo *ret, struct cos_err *err);
/* Closes; with REMOVE also removes cos.INSTANCE where it is empty. */
void cg_topo_close(struct cg_topo *t, const char *instance, bool remove);

/* Makes the slot's directories, delegated to host uid and gid OWNER where v2 allows. On failure
 * what was made is removed again. */
int cg_make(const struct cg_topo *t, const char *slot, uid_t owner, struct cg_guest *ret,
	    struct cos_err *err);
/* Opens the directories of an existing slot; -ENOENT (no text) when none exists. */
int cg_open(const struct cg_topo *t, const char *slot, struct cg_guest *ret);
void cg_close(struct cg_guest *g);
/* Removes the slot and all groups below it; 0, or -EBUSY while processes are left. Leaf. */
int cg_remove(const struct cg_topo *t, const char *slot);

/* Writes what differs between the limits L and OLD; OLD NULL: what a new group has. All or nothing:
 * on failure the old values are put back. Rows that this host cannot enforce are refused when they
 * were set by the user, and so is, without FORCE, a memory.max below what cannot be given back.
 * Lowering memory.max reclaims first: it takes as long as that does. */
int cg_apply(const struct cg_topo *t, const struct cg_guest *g, const struct limits *l,
	     const struct limits *old, bool force, struct cos_err *err);
/* Gives the slot, whose guest names no CPUs, those of shared_cpus. 0 also when there is no such
 * slot.
 */
int cg_share_cpus(const struct cg_topo *t, const char *slot);
/* Whether this host enforces row ID at value V; if not, WHY says what is missing. */
bool cg_can(const struct cg_topo *t, enum limit_id id, uint64_t v, char why[static CG_WHY_SIZE]);
/* The CPUs that are online and allowed to guests. */
int cg_online(const struct cg_topo *t, struct cpus *ret);

/* How a guest stands to a limit; what the kernel does not count is LIMIT_MAX. */
struct cg_stand {
	uint64_t held, most, hits;
};
/* Fills RET for row ID; false when the kernel tells nothing about it. Opens and reads up to three
 * files. */
bool cg_stand(const struct cg_topo *t, const struct cg_guest *g, enum limit_id id,
	      struct cg_stand *ret);
/* The count whose growth is an event, for the slot named SLOT; false when there is none. *FD is its
 * file, or -1, and then it is opened if it is there: the caller's, for the next time. About 5 us,
 * 1 with the file. */
bool cg_told(const struct cg_topo *t, const char *slot, enum limit_id id, int *fd, uint64_t *ret);

/* Pressure stall information of a guest, from its v2 group. */
struct cg_pressure {
	double some_avg10, some_avg60, full_avg10, full_avg60; /* per cent */
	uint64_t some_usec, full_usec;
};
enum cg_psi { PSI_CPU, PSI_MEMORY, PSI_IO, PSI__N };
extern const char *const cg_psi_name[PSI__N];
/* 0, or -ENOENT without v2 or where the kernel has it switched off. Leaf. */
int cg_pressure(const struct cg_topo *t, const struct cg_guest *g, enum cg_psi which,
		struct cg_pressure *ret);

/* Opens what a process writes "0" to in order to enter the guest's v1 groups: one descriptor for
 * each v1 hierarchy, -1 terminated, at most CG_HIER_MAX + 1. The check is made for who opens, not
 * who writes. */
int cg_open_tasks(const struct cg_topo *t, const struct cg_guest *g, int *ret_fds,
		  struct cos_err *err);
/* Enters through those descriptors. For the calling thread; no allocation. Leaf. */
int cg_enter_self(const int *tasks);
/* Moves the kernel's thread TID, which works for the guest, into its groups: on v2 one beside the
 * guest's own, because a group with such a thread does not freeze. Waits for RCU, 8 ms. Leaf. */
int cg_take_thread(const struct cg_topo *t, const struct cg_guest *g, pid_t tid);
/* exec/ inside the guest's own group, made on first use: a process of the guest that is born there
 * finds itself at a path that it can open, which podman and others need. The guest may freeze it,
 * or make it unusable: the slot's own exec/ is the resort. A descriptor, the caller's; negative: no
 * v2, or the guest has used up its groups. Leaf. */
int cg_inner_dir(const struct cg_guest *g);
/* The exec/ group of the slot, made on first use; its descriptor is the caller's; -1 without v2. */
int cg_exec_dir(const struct cg_topo *t, const struct cg_guest *g, struct cos_err *err);

/* Ends every process of the guest: cgroup.kill, else a bounded loop of signals. Leaf. */
int cg_kill(const struct cg_topo *t, const struct cg_guest *g);
/* Asks for it. A process stops when it has CPU time next, before it gets on: with cpu.rate that can
 * be a second. */
int cg_freeze(const struct cg_topo *t, const struct cg_guest *g, bool on, struct cos_err *err);
/* Whether a freeze was asked for, and whether all processes have stopped. */
bool cg_is_freezing(const struct cg_topo *t, const struct cg_guest *g);
bool cg_is_frozen(const struct cg_topo *t, const struct cg_guest *g);

struct cg_usage {
	uint64_t cpu_usec, throttled_usec, memory_bytes, memory_peak_bytes, pids;
	bool has_peak;
};
/* Reads the counters; those whose file is missing are 0. Leaf. */
int cg_usage(const struct cg_topo *t, const struct cg_guest *g, struct cg_usage *ret);

/* A guest's CPU time and quota, through descriptors that are kept. */
struct cg_cpu {
	int usage, quota, period, idle, weight; /* -1: not open, or not there */
	enum cg_version version;
	bool has_nsec;                    /* usage is a plain number of nanoseconds */
	uint64_t quota_usec, period_usec; /* last written; LIMIT_MAX: none; 0: unknown */
	bool is_idle;
};
#define CG_CPU_NONE                                                                                \
	{                                                                                          \
		.usage = -1, .quota = -1, .period = -1, .idle = -1, .weight = -1                   \
	}
int cg_cpu_open(const struct cg_topo *t, const struct cg_guest *g, struct cg_cpu *ret,
		struct cos_err *err);
void cg_cpu_close(struct cg_cpu *c);
/* CPU time in nanoseconds, where v2 counts it in whole microseconds. About 2 us. */
int cg_cpu_usage(const struct cg_cpu *c, uint64_t *ret_nsec);
/* Writes what differs from what was written last. QUOTA_USEC LIMIT_MAX: none. Each write gives the
 * guest a whole new quota at once. */
int cg_cpu_quota(struct cg_cpu *c, uint64_t quota_usec, uint64_t period_usec);
/* Lets processes of the group G take a real-time policy for moments, if the kernel asks for that:
 * v1 may (CONFIG_RT_GROUP_SCHED), v2 does not. Where it cannot be had they do without. Leaf. */
void cg_let_hurry(const struct cg_topo *t, const struct cg_guest *g);
/* The slot's share of CPU time, in the unit of cpu.share; what the kernel cannot take is its
 * largest.
 */
int cg_weight(const struct cg_topo *t, const char *slot, uint64_t weight);
/* Whether the group runs only when a CPU would otherwise be idle; WEIGHT is what it has if not. */
int cg_cpu_idle(struct cg_cpu *c, bool on, uint64_t weight);

/* What a guest holds, in bytes. */
struct cg_memory {
	uint64_t held;                   /* all that is charged to it */
	uint64_t idle_file, active_file; /* page cache, by the kernel's two lists */
	uint64_t anon;
};
/* Reads it for the slot named SLOT. Leaf; about 30 us. */
int cg_memory(const struct cg_topo *t, const char *slot, struct cg_memory *ret);
/* Makes the kernel take about BYTES from the slot: page cache, and where there is swap the rest. 0
 * also when it finds less. Takes as long as that does. On v1 its limit moves meanwhile; whoever is
 * killed in the midst leaves that to cg_memory_bound(). Leaf. */
int cg_reclaim(const struct cg_topo *t, const char *slot, uint64_t bytes);
/* Writes the slot's hard limit of memory, LIMIT_MAX for none. Leaf. */
int cg_memory_bound(const struct cg_topo *t, const char *slot, uint64_t bytes);
/* Calls FN for each process of the slot and of groups that the guest has made. Leaf. */
typedef void cg_process_fn(pid_t pid, void *arg);
int cg_each_process(const struct cg_topo *t, const char *slot, cg_process_fn *fn, void *arg);
