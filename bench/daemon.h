/* bench/daemon.h - a private cosd for a bench, and its client */
#pragma once

#include <jansson.h>

#include "bench/bench.h"

#define DAEMON_ARGS 40 /* words of a client's command line */

struct daemon {
	const struct bench *b;
	char cosd[PATH_MAX], cosctl[PATH_MAX];
	char instance[40];
	char state[64], runtime[64], socket[80];
	pid_t pid; /* of the keeper */
};

/* Starts cosd (environment COSD, else ../build/cosd beside the bench) with a fresh state and waits
 * until its socket answers; imports ROOT of the temporary directory as template "bench". Telling.
 */
int daemon_open(struct daemon *d, const struct bench *b, const char *root);
/* The same with a cosd.json of one's own; NULL: without. */
int daemon_open_with(struct daemon *d, const struct bench *b, const char *root, const char *config);
/* Deletes all guests, ends the daemon, and removes groups and files that it left. */
void daemon_close(struct daemon *d);

/* Runs `cosctl --socket S ARGS...`; NULL ends ARGS. As bench_run() and bench_capture(). */
int daemon_call(const struct daemon *d, const char *const *args, int out);
int daemon_ask(const struct daemon *d, const char *const *args, char *buf, size_t size);
/* As daemon_call(), but does not wait: bench_wait() does. */
pid_t daemon_spawn(const struct daemon *d, const char *const *args, int out);

/* Starts guests (a name or a range) and calls FN for each reply: the daemon's time from the request
 * to the executed command, and its steps, an object of microseconds, borrowed, or NULL. */
typedef void daemon_reply_fn(void *arg, uint64_t start_usec, json_t *steps);
int daemon_start(const struct daemon *d, const char *names, daemon_reply_fn *fn, void *arg);
