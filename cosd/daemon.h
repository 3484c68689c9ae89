/* cosd/daemon.h - the worker: what all of its files share */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "cosd/conf.h"
#include "cosd/keep.h"
#include "cosd/net.h"
#include "cow-fs/store.h"
#include "lib/base/list.h"
#include "lib/base/loop.h"
#include "lib/launch/guest.h"

struct event_log {
	int dir; /* the state directory */
	int fd;
	uint64_t size, seq;
	struct list followers; /* struct call.link */
};

struct pool {
	struct list ready; /* struct prepared.link, pool.c */
	unsigned n;
	struct loop_timer refill;
	struct loop_source making;
	struct launch_prep prep;
	unsigned slot; /* of the one that is being made */
};

#define GROUP_NAME_SIZE 32

/* What work in the background has used: job-group.h. */
struct background {
	uint64_t cpu_usec, read_bytes, write_bytes;
};

struct daemon {
	struct keep_args *args;
	struct conf conf;
	char boot_id[37];
	int state, runtime; /* directories */
	int specs, ephemeral, records, leases;
	struct loop loop;
	struct loop_source signals, listeners[2], keeper;
	int spare_fd; /* conn.c */
	struct cowfs cow;
	struct launch_host host;
	struct list guests; /* struct guest.link, by name */
	unsigned n_guests;
	uint8_t *slots;    /* id_count bits of which are used */
	struct list rules; /* struct rules_entry, profile.c */
	struct list conns;
	unsigned n_conns;
	struct list jobs;             /* struct job.link */
	struct job_group *job_group;  /* of those in the background; NULL: there are none */
	struct background background; /* what those that have ended used */
	struct list execs;            /* struct exec.link */
	struct list waiting;          /* struct guest.waits: for guests that they require */
	struct loop_timer looking;
	unsigned mark;      /* of the last walk through them */
	struct list checks; /* struct health.link: wait for their turn */
	unsigned checking;  /* that run */
	struct event_log events;
	struct pool pool;
	struct list dying; /* struct slot_grave.link: groups that could not be removed yet */
	struct loop_timer reaper;
	struct cpus owned_cpus;     /* by guests with CPUs of their own; cpus.c */
	struct loop_timer sampling; /* hits.c */
	struct list buckets;        /* struct cpu_bucket.link, bucket.c */
	struct loop_timer bucket_timer;
	struct list io_buckets; /* struct io_bucket.link, io-bucket.c */
	struct loop_timer io_timer;
	struct saved *saved_buckets; /* by slot; NULL: not kept */
	struct {
		struct loop_timer look;
		struct loop_source round;  /* pidfd of the process that takes memory; -1 */
		struct memory_note *notes; /* by slot, shared with that */
		unsigned n_notes;
		int meminfo;
		uint64_t rest_until; /* the last round found nothing to take */
		bool failed;         /* and that was said */
	} memory;                    /* memory.c */
	struct net net;
	struct meters {
		struct meter_link *link;
		struct loop_timer tick, closing;
		uint64_t epoch, ticks, pass, next_usec;
		uint64_t cost_usec, looks, readings;
		int64_t clock_offset; /* of the wall clock from that of the boot */
		int64_t user;         /* who may read all metrics; -1: nobody but root */
	} meters;                     /* meter.c */
};

/* Opens the program NAME: it lies beside EXE, which is cosd, or in FOLDER beside cosd's in a build
 * tree. Leaf. */
int program_open(const char *exe, const char *folder, const char *name);

/* Runs the worker; returns an exit status. LINK: socket to the keeper. */
int worker_run(struct keep_args *a, int link);

/* --- keeper, worker's side (keeplink.c) --- */
int keeplink_add(struct daemon *d, uint32_t slot, const char *name, pid_t pid, int pidfd,
		 int console);
void keeplink_del(struct daemon *d, uint32_t slot);
/* Removes the console log of a guest that is deleted; after what the keeper still writes to it. */
void keeplink_unlog(struct daemon *d, const char *name);
/* SOCK is borrowed. */
int keeplink_view(struct daemon *d, uint32_t slot, int sock);
void keeplink_ready(struct daemon *d);
void keeplink_stop(struct daemon *d);
/* What the keeper holds; the descriptors are the caller's. For the start of the worker. */
int keeplink_list(struct daemon *d, struct keep_item **ret, unsigned *ret_n, struct cos_err *err);
/* Messages from now on come through the loop. */
int keeplink_watch(struct daemon *d);

/* --- slots of ids (slots.c) --- */
int slot_lease(struct daemon *d, struct cos_err *err); /* the lowest free one */
void slot_take(struct daemon *d, unsigned slot);       /* of a guest that was adopted */
uint32_t slot_id_base(const struct daemon *d, unsigned slot);
/* The name of its control groups. */
void slot_name(int slot, char buf[static SLOT_NAME_SIZE]);
/* Removes control groups that no slot has, as soon as the kernel lets them go. */
void group_retire(struct daemon *d, const char *name);
/* Removes the slot's control groups and then frees it, as soon as the kernel lets them go. */
void slot_retire(struct daemon *d, unsigned slot);
void slot_reaper_fire(struct loop_timer *t);

#define SLOTS_MAX 32768 /* the most that id.count can be */
/* All slots are below this: id.count, or more while guests run that were started when it was
 * larger. */
unsigned slots_end(const struct daemon *d);
/* A slot for the pool: only while a quarter of all is free. -1: none. */
int slot_lease_spare(struct daemon *d);
/* Frees a slot that never had control groups. */
void slot_free(struct daemon *d, unsigned slot);

/* --- prepared slots (pool.c) --- */
void pool_init(struct daemon *d);
/* A prepared slot and its namespaces, the caller's; -1 if there is none. */
int pool_take(struct daemon *d, int *ret_userns, int *ret_netns);
/* Gives one back to the slots that guests may have; false if there is none. */
bool pool_give_up_one(struct daemon *d);

/* --- events (event.c) --- */
int events_open(struct daemon *d, struct cos_err *err);
/* Calls FN for each event from number SINCE on of the log (OLD: of the one before it) until it
 * returns false, which is returned. */
bool events_each(const struct daemon *d, bool old, uint64_t since,
		 bool (*fn)(json_t *event, uint64_t seq, void *arg), void *arg);
/* One line in the log and to each follower. MORE: further members, stolen; may be NULL. */
void event_say(struct daemon *d, const char *guest, const char *what, json_t *more);

/* --- profiles (profile.c) --- */
/* OWN merged over its profiles. */
int profile_expand(struct daemon *d, json_t *own, json_t **ret, struct cos_err *err);
/* The compiled rules for S, from the cache or new; borrowed, they stay until the worker ends. */
const struct launch_rules *rules_get(struct daemon *d, const struct spec *s, struct cos_err *err);
