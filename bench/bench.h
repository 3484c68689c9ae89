/* bench/bench.h - what the benches share: a place to work, children, samples, TSV
 *
 * A bench works in a private mount namespace and a temporary directory; the control groups of all
 * it starts are below one directory of its own name. bench_close() removes all of it, also after a
 * signal: the signals only set a flag that the loops ask for. */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define BENCH_HIERARCHIES 16

struct bench_cg {
	char path[64]; /* mount point */
	char ctl[64];  /* v1: ",cpu,cpuacct,"; v2: "" */
	int dir;       /* the bench's own directory in it, -1 until bench_cg_make() */
	bool v2;
};

struct bench {
	char place[40];      /* the temporary directory */
	char dir[48];        /* a file system of its own in it: all work is here */
	char group[40];      /* name of the bench's directory in each hierarchy */
	char home[PATH_MAX]; /* where this program is, with bench/first beside it */
	int dirfd;
	int log; /* stderr of children */
	struct bench_cg cg[BENCH_HIERARCHIES];
	unsigned n_cg;
};

struct samples {
	uint64_t *nsec;
	unsigned n, room;
};

/* Both print their reason to stderr and return a negative errno when they fail. */
int bench_open(struct bench *b);
void bench_close(struct bench *b);
/* A signal asked the bench to end. */
bool bench_stopped(void);

/* Makes the bench's own directory in each hierarchy. */
int bench_cg_make(struct bench *b);
/* Removes PARENT/NAME and all below it in each hierarchy, killing what runs there. */
void bench_cg_remove(const struct bench *b, const char *parent, const char *name);
/* The hierarchy that has the v1 controller CTL, or NULL; CTL NULL: the v2 one. */
const struct bench_cg *bench_cg_find(const struct bench *b, const char *ctl);

/* Runs ARGV with OUT (-1: the log) as output and waits; returns its exit status (128 + N for signal
 * N) or a negative errno. The child is ended when the bench is stopped or the wait takes a minute.
 */
int bench_run(const struct bench *b, const char *const *argv, int out);
/* As bench_run(), with the output, at most SIZE - 1 bytes, in BUF. */
int bench_capture(const struct bench *b, const char *const *argv, char *buf, size_t size);
/* Starts ARGV and does not wait: its pid or a negative errno. It dies with the bench. */
pid_t bench_spawn(const struct bench *b, const char *const *argv, int out);
/* Waits for what bench_spawn() started, as bench_run(). */
int bench_wait(pid_t pid);
/* Copies the last lines of the children's stderr to ours. */
void bench_show_log(const struct bench *b);

/* A root file system in NAME of the temporary directory: busybox and first in /bin. */
int bench_make_root(const struct bench *b, const char *name);
/* Copies PROGRAM, which is beside the bench's own, to /bin of that root. */
int bench_add_program(const struct bench *b, const char *root, const char *program);

uint64_t bench_nsec(void);
void bench_idle(unsigned msec);
/* Until the clock of bench_nsec() shows NSEC, or a signal asked the bench to end. */
void bench_sleep_until(uint64_t nsec);
/* CPU time that everything on the host has used, without waiting for disks. */
uint64_t bench_busy_nsec(void);
/* The time that bench/first wrote to FD; 0 when it wrote none. */
uint64_t bench_read_first(int fd);

/* Exits when memory is out: a bench has nothing else to do then. */
void samples_add(struct samples *s, uint64_t nsec);
/* PERCENT 0 to 100; sorts; 0 without samples. */
uint64_t samples_at(struct samples *s, unsigned percent);
void samples_free(struct samples *s);

/* Whether WHAT is among the names "NAME,NAME" of ONLY; NULL asks for all. */
bool bench_wants(const char *only, const char *what);
/* As many descriptors as may be. */
void bench_all_files(void);
/* A number from 1 to MAX. */
int bench_parse_number(const char *s, unsigned max, unsigned *ret);

/* "--NAME VALUE": a number from 1 to MAX, or a word, borrowed. */
struct bench_option {
	const char *name;
	unsigned max;
	unsigned *number;
	const char **word; /* NULL: it is a number */
};
#define BENCH_OPTIONS 8
/* Takes all N options, at most BENCH_OPTIONS; there is nothing else on the command line. When there
 * is, prints USAGE and returns -EINVAL. */
int bench_parse(int argc, char **argv, const struct bench_option *options, unsigned n,
		const char *usage);
