/* bench/subject.h - what is measured: a guest with limits, or a bare control group like it
 *
 * A guest's group is read from outside. A bare group gets the numbers that the kernel has in a
 * guest's one, so that what the kernel itself misses shows beside what cos misses. Both run
 * bench/work, which must be in /bin of the daemon's template and in ROOT (SUBJECT_ROOT). */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "bench/daemon.h"

#define SUBJECT_ROOT  "root" /* of the temporary directory */
#define SUBJECT_WORDS 32

struct subject {
	const struct daemon *d;
	bool bare;
	char name[24];
	char group[80]; /* below the mount point of each hierarchy */
};

/* Opens B with SUBJECT_ROOT and bench/work in it; to be closed also on failure. */
int subject_bench(struct bench *b);
/* Creates and starts a guest with the words KEY=VALUE of LIMITS that runs COMMAND (both end with
 * NULL; COMMAND NULL: it does nothing). Telling, as all here that return an int. */
int subject_guest(struct subject *s, const struct daemon *d, const char *name,
		  const char *const *limits, const char *const *command);
/* A guest that runs already; it is not to be removed by itself. */
int subject_find(struct subject *s, const struct daemon *d, const char *name);
/* Makes a group below the bench's own, see bench_cg_make(), with the numbers of LIKE. */
int subject_bare(struct subject *s, const char *name, const struct subject *like);
/* Ends all that runs in it. S may be all zeros. */
void subject_remove(struct subject *s);

/* Starts `work ARGS...` in it; bench_wait() waits for the pid, a client of the daemon for a guest.
 */
pid_t subject_start(const struct subject *s, const char *const *args, int out);
/* Text of the group's file in the hierarchy of controller CTL: its length or -errno. */
ssize_t subject_read(const struct subject *s, const char *ctl, const char *file, char *buf,
		     size_t size);
/* 0 or -errno. */
int subject_write(const struct subject *s, const char *ctl, const char *file, const char *text);
/* The number behind KEY in a file of lines "KEY NUMBER", or with KEY NULL the file's first; 0 if
 * there is none. */
uint64_t subject_number(const struct subject *s, const char *ctl, const char *file,
			const char *key);
/* CPU time that the group has used. */
uint64_t subject_cpu_nsec(const struct subject *s);
/* Until the group waits for its next period: a window that begins then and has whole periods holds
 * whole quotas, nothing is cut at its ends. */
void subject_await_stall(const struct subject *s);
