/* cosd/call.h - connections and calls
 *
 * A handler returns 0 and has answered or will; or it returns a negative errno with *err filled and
 * has not answered. A call that waits is in somebody's list by its link; when its client goes away
 * it stays there, and answers to it go nowhere. Calls on one connection are served in order. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>

#include "cosd/daemon.h"
#include "lib/wire/frame.h"

enum api_flags { API_ANY = 1, API_OWNER = 2, API_MORE = 4 };

struct call;
struct guest;
typedef int api_fn(struct call *c, json_t *params, struct cos_err *err);

struct method {
	const char *interface, *name, *in, *out, *help;
	api_fn *fn;
	unsigned flags;
};

struct conn {
	struct loop_source src;
	struct list link;
	struct daemon *d;
	struct frame_in in;
	struct frame_out out;
	struct loop_timer again; /* whole messages are left in IN */
	bool root;               /* came through cosd.sock */
	bool closing, eof;
	uid_t uid;
	struct call *call; /* the one that is being served */
};

/* What a call in a guest's list waits for; X(id, meaning). */
enum call_wait {
	WAIT_NONE,
	WAIT_START,   /* that it runs */
	WAIT_HEALTHY, /* that it runs, and is healthy */
	WAIT_RUN,     /* that it runs, then, with "more", that it ends */
	WAIT_END,     /* that it ends */
	WAIT_RESTART, /* that it ends, then that it runs */
	WAIT_DELETE,  /* that it ends, then it is deleted */
};

struct call {
	struct daemon *d;
	struct conn *conn; /* NULL: the client is gone */
	const struct method *method;
	json_t *params;
	bool more, oneway, root;
	uid_t uid;
	struct list link; /* in the list of whom it waits for */
	enum call_wait wait;
	bool healthy;               /* WAIT_START becomes WAIT_HEALTHY, not an answer */
	struct loop_timer deadline; /* if the call has one; whoever sets it ends it */
	uint64_t begun_usec;        /* when the freeze was asked for that it waits for */
	bool told;                  /* a run's first answer went out */
	bool gathered;              /* machines were asked for it, vmstat.c */
	int fds[3];                 /* the client's ends, for a run's first answer */
	unsigned n_fds;
	void (*job_done)(struct call *c);    /* NULL: a job's success is its answer */
	void (*client_gone)(struct call *c); /* may be NULL; frees whatever hangs on the call */
	void *data;
};

/* --- conn.c --- */
int conns_listen(struct daemon *d, struct cos_err *err);
/* Final answer; steals PARAMS (NULL: {}) and the N descriptors, and frees the call. */
void call_reply(struct call *c, json_t *params, const int *fds, unsigned n);
/* One of several answers; steals as above. False when the client is gone or does not read. */
bool call_continue(struct call *c, json_t *params, const int *fds, unsigned n);
/* Bytes that wait for its client to read. */
size_t call_waiting(const struct call *c);
/* Error answer; frees the call. */
void call_fail(struct call *c, const struct cos_err *err);
/* The oldest descriptor that the client passed, now the caller's; -1 if none. */
int call_take_fd(struct call *c);
/* Closes the connections of all clients; calls that wait stay. */
void conns_close(struct daemon *d);

/* --- api.c --- */
/* Serves REQ for CONN. */
void api_serve(struct conn *conn, json_t *req);
/* Checks that the caller may use G: root socket or owner. */
int api_may(const struct call *c, const struct guest *g, struct cos_err *err);
/* Refuses what can only be done to a container: its files and processes are the host's. */
int api_need_container(const struct guest *g, struct cos_err *err);

/* --- jobs.c: cow-fs as a child, its output turned into answers --- */
/* How one ended; all borrowed, but the call is to be answered. */
struct job_end {
	struct daemon *d;
	struct call *call;
	json_t *result;      /* the object that cow-fs printed; NULL: none, also when it failed */
	json_t *warnings;    /* array of texts */
	json_t *found;       /* array of {"object", "what"}, scrub's */
	struct cos_err *err; /* NULL: it succeeded */
	bool killed;
	void *arg;
};

struct job_order {
	const char *const *args; /* of cow-fs; NULL ends */
	int input;               /* becomes its descriptor 3; -1: none; borrowed */
	struct guest *guest;     /* whose files it works on; NULL: nobody's */
	const char *how;         /* what is done to GUEST: "cloned" */
	bool yields;             /* ended when GUEST is to start or to be deleted */
	const char *makes;       /* the name of a guest that will be; NULL */
	bool background;         /* in the group of such work: job-group.h */
	/* Instead of an answer with files, bytes and warnings; NULL. */
	void (*done)(const struct job_end *e);
	void *arg;
};

/* Whatever the job is, it ends when C's client goes, and when the worker ends. */
int job_run(struct call *c, const struct job_order *o, struct cos_err *err);
/* One with nothing but arguments and input. */
int job_start(struct call *c, const char *const *args, int input, struct cos_err *err);
/* The same with the child in G's groups and a pidfd of G's first process as its descriptor 4: it
 * ends with G and with C's client. */
int job_start_in(struct call *c, struct guest *g, const char *const *args, int input,
		 struct cos_err *err);
void jobs_sweep(struct daemon *d);
/* InUse when a job works on the files of guest NAME. */
int jobs_check(struct daemon *d, const char *name, struct cos_err *err);
/* Whether one does; it is ended if it yields. guest_yielded() is called when it has ended. */
bool jobs_hold(struct daemon *d, const char *name);
/* Whether one makes the guest NAME. */
bool jobs_make(struct daemon *d, const char *name);
/* How many are at work in the background. */
unsigned jobs_background(const struct daemon *d);
/* Ends them all, as the worker is about to end. */
void jobs_close(struct daemon *d);
/* Waits until those of the last worker are gone. For the start of the worker. */
void jobs_await_old(struct daemon *d);
