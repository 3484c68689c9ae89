/* cosd/keep.h - the keeper: a small process that lasts
 *
 * It is parent and subreaper of the worker, holds each guest's pidfd and console, writes the
 * console logs, feeds viewers, remembers how guests ended, and starts the worker again when that
 * dies. It knows nothing of specifications, networks or clients. If the keeper is lost instead, the
 * worker becomes the keeper by executing the same program with what both of them held
 * (keep_become()).
 *
 * When the daemon is stopped while guests run, a holder stays: a keeper without a worker, which
 * goes on draining consoles and waiting for ends, and hands all over to the next daemon through
 * R/hold.sock. It ends by itself when no guest lives any more. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/base/err.h"

/* Below the runtime directory: the state directory's mount was made by cosd, which takes it away
 * again. */
#define KEEP_STATE_MOUNT "state-mount"

/* What keeper and worker were started with; strings live as long as the process. */
struct keep_args {
	const char *instance, *state_dir, *runtime_dir, *config, *exe;
	const char *net_pool, *uplink; /* in place of the configuration's; "": its own */
	const char *without;           /* features not to use, for tests of the fallbacks */
	uint64_t log_bytes;
	int listen[2];                    /* cosd.sock, user.sock */
	int lock, id_lock, instance_lock; /* held by every process of the daemon; see hostwide.h */
	uint32_t id_base, id_count;
	bool state_mounted; /* the state directory's mount is ours */
	bool kill_points;   /* for tests; see points.h */
	bool holding;       /* this process is a holder */
};

/* Messages between keeper and worker: SOCK_SEQPACKET, one struct a packet. Both come from one
 * binary. */
enum keep_op {
	KEEP_ADD = 1, /* to the keeper: slot, pid, name; pidfd and, if there is one, console */
	KEEP_DEL,     /* to the keeper: forget the slot */
	KEEP_VIEW,    /* to the keeper: a stream socket that shows the slot's console */
	KEEP_LIST,    /* to the keeper: answer with an ITEM for each slot, then END */
	KEEP_ITEM,    /* to the worker: as ADD, with status if it has ended */
	KEEP_END,
	KEEP_EXIT,  /* to the worker: the slot's process ended with status */
	KEEP_READY, /* to the keeper: the worker serves clients */
	KEEP_UNLOG, /* to the keeper: remove the console log of the guest named */
	KEEP_STOP,  /* to the keeper: stop the daemon */
};

struct keep_msg {
	uint32_t op, slot;
	int32_t pid, status;
	uint32_t ended;
	char name[64];
};

/* An entry as it is handed over: by KEEP_ITEM or across an exec. */
struct keep_item {
	struct keep_msg m;
	int pidfd, console;
};

/* Runs the keeper until it is told to stop; returns an exit status. ITEMS: what an earlier keeper
 * or the worker held; the descriptors become the keeper's. */
int keep_run(const struct keep_args *a, const struct keep_item *items, unsigned n);

/* Executes the program in place as a keeper, or as a holder, that takes over ITEMS. Returns only on
 * failure. */
int keep_become(const struct keep_args *a, const struct keep_item *items, unsigned n, bool holder);
/* What a holder of this runtime directory has; nothing if there is none. The descriptors are the
 * caller's. */
int keep_take_over(const struct keep_args *a, struct keep_item **ret_items, unsigned *ret_n,
		   struct cos_err *err);
/* All items that come over SOCK until the end of the list. */
int keep_recv_items(int sock, struct keep_item **ret_items, unsigned *ret_n);
/* The other side: what keep_become() handed over through descriptor FD. */
int keep_restore(int fd, struct keep_args *a, struct keep_item **ret_items, unsigned *ret_n,
		 struct cos_err *err);

/* Starts the worker program; *RET_LINK is the keeper's end of their socket. */
pid_t keep_start_worker(const struct keep_args *a, int *ret_link, struct cos_err *err);
