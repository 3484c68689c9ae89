/* cosd/guest.h - a guest and the registry of guests */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "cosd/daemon.h"
#include "cosd/memory.h"
#include "cosd/net.h"
#include "lib/model/spec.h"
#include "lib/model/state.h"

#define START_TIMEOUT_USEC (60 * USEC_PER_SEC) /* of a guest, and of a command in one */
#define STATUS_NONE        INT32_MIN           /* has not ended since it was defined */

struct health;
struct hook;
struct meter;

struct guest {
	struct list link;
	struct daemon *d;
	const char *name; /* of spec */
	enum guest_state state;
	json_t *own;      /* the specification as given */
	struct spec spec; /* expanded; without a document when it is refused, REASON says why */

	struct launch *launch; /* while it starts */
	struct cowfs_root root;
	struct loop_source sync, process; /* the start's socket; the pidfd */
	struct loop_timer timer;          /* stop timeout, restart */
	int slot;                         /* -1: none */
	pid_t pid;
	int pidfd, console;
	uint64_t started_usec; /* wall clock */
	uint64_t start_cost_usec;
	json_t *steps;             /* step name to microseconds, of the last start */
	int view;                  /* socket that shows the console from the first byte on; -1 */
	unsigned short rows, cols; /* of that console; 0: unknown */
	bool from_run;             /* made by Run: a start that fails deletes it */
	bool again;                /* the start under way is the restart policy's */
	bool stop_asked;           /* the end that comes is wanted */
	bool unsignalled;          /* its init starts still: ask again */
	uint64_t kill_at_usec;     /* while it stops */
	bool killed;
	bool adopted;      /* child of the keeper, not of this worker */
	int status;        /* wait status of the last end, STATUS_NONE, STATUS_UNKNOWN */
	char reason[400];  /* why it is failed */
	int stdio[3];      /* the guest's ends of a client's pipes until it is launched; -1 */
	struct list waits; /* in daemon.waiting, requires.c */
	bool yielding;     /* its start waits for a job to end: jobs.c */
	json_t *awaits;    /* names of guests that are to be up first; NULL: it does not wait */
	uint32_t begun;    /* a bit for each of them that was on its way */
	bool look;         /* one of them has changed */
	unsigned mark;     /* of the last walk that came here */
	struct hook *hook; /* under way, hook.c */
	bool hook_due;     /* post_stop is to run, or to run again after a restart of the worker */
	struct health *health; /* its checks while it runs, health.c; NULL: none */
	bool sick;             /* it is ended for its health, which is a failure; REASON says why */
	uint64_t stop_usec;    /* between the stop signal and the kill */
	struct {
		bool unhooked, failed, reboot, halt, restart;
		uint64_t ran_usec;
	} end;               /* how it came down, until that is dealt with */
	struct cos_err *why; /* of a start that failed, until it is told */
	unsigned restarts;   /* in a row */
	bool due;            /* it is down, and to be started again by itself; on record, too */
	uint64_t restart_delay_usec;
	struct hits *hits;           /* how often it met its limits; NULL: nobody looked; hits.c */
	uint64_t cpu_weight;         /* that its group was given for cpu.reserve; 0: cpu.share */
	struct cpu_bucket *bucket;   /* its CPU bucket, if the kernel cannot keep it; bucket.c */
	struct io_bucket *io_bucket; /* those of io.burst; NULL: none; io-bucket.c */
	struct {
		int64_t tokens;
		uint64_t at_usec, held_usec; /* 0: nothing is known */
	} credit;                            /* what the last run left in it */
	struct memory_given memory;          /* that was taken from it; memory.c */
	struct net_lease lease;              /* addresses and counters, net-guest.c */
	struct launch_net *net;              /* its link, while it has a slot; NULL: none */
	struct changing *changing;           /* its disk.max is being raised, api-set.c; NULL */
	int disk;                            /* its file system, if it was asked what it has; -1 */
	json_t *vm_stats;                    /* of a machine, as it told last; vmstat.c */
	struct meter *meter;                 /* while it runs, and after that; meter.c */
	struct list waiters; /* struct call.link: answered when it runs, fails or ends */
};

/* --- registry (guest.c) --- */
struct guest *guest_find(struct daemon *d, const char *name);
/* As guest_find(), but tells. */
int guest_need(struct daemon *d, const char *name, struct guest **ret, struct cos_err *err);
#ifdef __clang_analyzer__
#define guest_need(...) ((guest_need)(__VA_ARGS__) < 0 ? -1 : 0) /* as in lib/base/jsonx.h */
#endif
/* A new guest in memory; OWN and SPEC become its own on success. */
struct guest *guest_new(struct daemon *d, json_t *own, struct spec *spec, struct cos_err *err);
/* Creates from an own document: checks, makes the root, writes the specification. All or nothing.
 * Then THEN answers C, or fails as a handler may: on return, or later, when the root is a child's
 * work (create.c). */
struct call;
typedef int guest_made(struct call *c, struct guest *g, struct cos_err *err);
int guest_create(struct call *c, json_t *own, guest_made *then, struct cos_err *err);
/* The two halves of that, around making the root: OWN, which gets a "uuid", is a guest that may be;
 * and it is one. SPEC is emptied, on failure with the root, which is removed. */
int guest_plan(struct daemon *d, json_t *own, struct spec *ret, struct cos_err *err);
int guest_define(struct daemon *d, json_t *own, struct spec *spec, struct guest **ret,
		 struct cos_err *err);
/* The job that made the root of SPEC has ended: 0 if it may be a guest still, whatever others have
 * changed since; or why not, without the root. */
struct job_end;
int guest_root_made(const struct job_end *e, const struct spec *spec, struct cos_err *err);
/* Takes away the root that there may be of NAME, unless it is a guest's. */
void guest_drop_root(struct daemon *d, const char *name);
/* Whether the guest of an own document can be created but for the disk's image of TEMPLATE, which
 * 'cow-fs template disk' makes: 1 or 0, or why not at all. */
int guest_lacks_disk(struct daemon *d, json_t *own, char template[static COWFS_NAME_SIZE],
		     struct cos_err *err);
/* Deletes a guest that does not run. */
int guest_delete(struct guest *g, struct cos_err *err);
/* "exit 3", "signal 9", "unknown"; BUF takes 32 bytes. Returns BUF. */
char *status_text(int status, char *buf);
/* As a shell has it: the code, or 128 + signal; -1 for unknown or none. */
int status_code(int status);
json_t *guest_state_json(struct guest *g);

/* --- what is on disk (store.c) --- */
int store_open(struct daemon *d, struct cos_err *err);
int store_put_spec(struct guest *g, struct cos_err *err);
void store_drop_spec(struct guest *g);
/* A stored specification: OWN is the file of guest NAME, or NULL when it cannot be read: WHY. */
struct stored {
	const char *name;
	json_t *own;
	bool ephemeral;
	const struct cos_err *why;
};
/* Calls FN for each, until one fails. */
int store_each_spec(struct daemon *d,
		    int (*fn)(struct daemon *d, const struct stored *s, struct cos_err *err),
		    struct cos_err *err);
/* The record says who runs as this guest, or how it ended; gone after a reboot. */
int record_put_running(struct guest *g, pid_t pid, struct cos_err *err);
void record_put_ended(struct guest *g);
void record_drop(struct daemon *d, const char *name);
struct record {
	unsigned slot;
	pid_t pid; /* 0: it has ended */
	uint64_t start_ticks, started_usec;
	int status;
	bool stopping;  /* it was asked to end */
	bool post_stop; /* its hook has not run to its end */
	bool sick;
	bool due; /* a restart was, after so many */
	unsigned restarts;
	enum guest_health health;
	char reason[400];
};
/* 0, -ENOENT, or -ESTALE when it is of another boot. */
int record_get(const struct daemon *d, const char *name, struct record *ret);

/* --- life (guest-state.c; guest-start.c, guest-run.c, guest-end.c) --- */
typedef int guest_action(struct guest *g, struct cos_err *err);
guest_action act_start, act_running, act_failed, act_freeze, act_thaw, act_stop, act_kill,
	act_abort, act_reap, act_down;
/* The only way a guest's state changes. */
int guest_event(struct guest *g, enum guest_event ev, struct cos_err *err);
/* Whether it is at rest: no process, no start, no hook. */
bool guest_is_down(const struct guest *g);
/* Goes on with the stop that was asked for before a restart of the worker. */
void guest_resume_stop(struct guest *g);
/* Whether a later version, or a damage, has left a specification that is not understood: such a
 * guest cannot be started or entered, but ended and deleted. */
bool guest_is_refused(const struct guest *g);
/* A refused specification was replaced by a good one. */
void guest_accepted(struct guest *g);
/* For recover.c alone: the state that a record tells. REASON: "" when the guest ended as wanted; a
 * refused one keeps its own. HOOK: post_stop is still to be run, by guest_wind_up(). */
void guest_adopted(struct guest *g);
void guest_restore_end(struct guest *g, const char *reason, bool hook);
/* The control groups of a guest that has a slot; to be closed with cg_close(). */
int guest_open_groups(const struct guest *g, struct cg_guest *ret, struct cos_err *err);
/* Sets the size of the terminal CONSOLE; nothing if it is -1 or a number is 0. */
void guest_size_console(int console, uint64_t rows, uint64_t cols);
/* Its directory in the hierarchy that can freeze it, into BUF; false when there is none. */
bool guest_freezer(const struct guest *g, char *buf, size_t size);
/* Refuses what needs a guest at rest or running, whose files nobody else works on. */
int guest_free_for_job(struct guest *g, struct cos_err *err);
/* Whether its groups say so. */
bool guest_is_freezing(const struct guest *g);
bool guest_is_frozen(const struct guest *g);
/* Starts from DEFINED or FAILED; calls in g->waiters are answered when it runs or fails. STDIO: the
 * guest's ends of a client's pipes (taken, also on failure), or NULL. */
int guest_start(struct guest *g, const int *stdio, struct cos_err *err);
/* What G requires is up, or ERR says why it is not: its start goes on, or fails. */
void guest_required(struct guest *g, struct cos_err *err);
/* The job that the start of the guest NAME may wait for has ended. */
void guest_yielded(struct daemon *d, const char *name);
/* Asks a running guest to end, with TIMEOUT_SEC until the kill; 0: kills at once. A start is given
 * up. When it returns G may be down already; calls that wait for that are in g->waiters before. */
int guest_stop(struct guest *g, uint64_t timeout_sec, struct cos_err *err);
/* The same for a guest that is unhealthy, as WHY says: then it has failed. */
int guest_stop_sick(struct guest *g, uint64_t timeout_sec, const char *why, struct cos_err *err);
/* A user wants the end that is under way: it is no failure. */
void guest_stop_wanted(struct guest *g);
/* The way from STOPPING to rest, when no process is left: the hook post_stop, the state, answers to
 * those who wait, and what comes next: deleting it, starting it again. */
void guest_wind_up(struct guest *g);
/* Deletes what must not outlive a start that was given up. */
void guest_drop_unstarted(struct guest *g);
/* Why it failed, in the words of ERR. */
void guest_set_reason(struct guest *g, const struct cos_err *err);
/* Calls in g->waiters that wait for its start are answered: it runs, or ERR. */
void guest_answer_running(struct guest *g);
/* Those that wait for its health, once there is no doubt left, or GONE: it stops or has ended. */
void guest_answer_health(struct guest *g, bool gone);
void guest_answer_failed(struct guest *g, const struct cos_err *err);
/* Whether a restart was due; it is not any more, and who waited for it is told. */
bool guest_cancel_restart(struct guest *g);
/* The same without a word: it starts for another reason. */
bool guest_forget_restart(struct guest *g);
/* For recover.c: a restart was due, after so many in a row, when the last worker ended. */
void guest_restore_due(struct guest *g, unsigned restarts);
/* Whether it is to be started again after the end that it had. */
bool guest_policy_restarts(const struct guest *g);
/* The same after a start that failed. */
bool guest_tries_again(const struct guest *g);
/* The process ended with STATUS: the right event, teardown, answers, restart policy. */
void guest_ended(struct guest *g, int status);
/* The pidfd of a running guest is watched. */
int guest_watch(struct guest *g, struct cos_err *err);

/* --- after a restart (recover.c) --- */
int recover(struct daemon *d, struct cos_err *err);
