/* vmm/worker.h - a device's thread: the loop of lib/base, and a way to end it from outside */
#pragma once

#include "lib/base/err.h"
#include "lib/base/loop.h"
#include "vmm/thread.h"

struct worker {
	struct loop loop; /* for sources that are added before the start, or by its own thread */
	struct thread thread;
	struct loop_source stop;
	void (*broken)(void *arg); /* the thread could not be confined, or its loop failed */
	void *arg;
	void (*last)(void *arg); /* called by the thread when its loop has ended; may be NULL */
	void *last_arg;
};

/* NAME (at most 15 bytes) is the thread's. */
int worker_init(struct worker *w, const char *name, void (*broken)(void *arg), void *arg,
		struct cos_err *err);
int worker_start(struct worker *w, const struct filter *filter, struct cos_err *err);
/* Ends the loop when the call at hand is done; -ETIMEDOUT: it was not done by DEADLINE_USEC. */
int worker_stop(struct worker *w, uint64_t deadline_usec);
/* For one that is stopped or was never started. Bears zeroes. */
void worker_done(struct worker *w);

/* An event counter (eventfd) as a source of a loop; leaves. */
int event_open(void);
void event_raise(int fd);
void event_clear(int fd);
