/* bench/bucket.h - the parts of bench/bucket: guests and bare groups with a rate and a bucket */
#pragma once

#include "bench/accuracy.h"
#include "bench/subject.h"

#define BUCKET_MSEC 1000000U /* nanoseconds */

/* The one asked for, of a rate and a size. */
struct asked {
	double percent; /* of a CPU */
	unsigned burst_msec;
	const char *words; /* "cpu.rate=X,cpu.burst=Y": the row's name */
};

struct bucket_run {
	struct run run;
	unsigned guests; /* of the fleet */
};

unsigned bucket_cpus(void);
/* What the kernel's own bucket holds at most. */
double bucket_kernel_msec(const struct asked *a);
/* A guest; telling, as all here that return an int. */
int bucket_guest(struct subject *s, const struct daemon *d, const char *name,
		 const struct asked *a);
/* The bare group that comes nearest: the same numbers, or where the daemon keeps the bucket the
 * largest one of the kernel's with that rate. */
int bucket_bare(struct subject *s, const char *name, const struct subject *like,
		const struct asked *a);
/* Sets cpu.burst of a guest that runs. */
int bucket_resize(const struct subject *s, unsigned msec);
/* Whether the host had no idle time left beside what was used, both in % of a CPU. */
bool bucket_crowded(double used, double others);
/* Processes of it use CPU from FROM to END (CLOCK_MONOTONIC): as bench_spawn(). */
pid_t bucket_spin(const struct subject *s, unsigned procs, uint64_t from, uint64_t end);
/* Waits for N of them; 0 if all ended well. */
int bucket_reap(const pid_t *pid, unsigned n);

/* bucket-fleet.c: many guests, few of them busy */
int bucket_fleet(const struct bucket_run *b);
