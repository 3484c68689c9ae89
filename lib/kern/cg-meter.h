/* lib/kern/cg-meter.h - a guest's counters through descriptors that stay open
 *
 * What has to be looked at every second (memory, processes) is two small files; what the kernel
 * counts by itself is read when somebody wants to know. A read is one pread(): no path is walked,
 * nothing is allocated. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/kern/cg.h"

#define CG_METER_FILES 10

struct cg_meter {
	enum cg_version version[CG_METER_FILES];
	int fd[CG_METER_FILES]; /* by row of the table in cg-meter.c; -1: this host has no such */
	uint64_t run; /* names the groups: a later guest in the same slot has another number */
};

struct cg_counters {
	uint64_t cpu_user_usec, cpu_system_usec, cpu_throttled_usec, cpu_wait_usec;
	uint64_t cache_bytes; /* page cache, without what is shared memory */
	uint64_t io_read_bytes, io_write_bytes, io_read_ops, io_write_ops;
};

/* Opens what there is for the groups G; at most CG_METER_FILES descriptors. 0, or -errno when the
 * groups are gone. Leaf. */
int cg_meter_open(const struct cg_topo *t, const struct cg_guest *g, struct cg_meter *ret);
void cg_meter_close(struct cg_meter *m);
/* About 2 microseconds; what cannot be read is 0. Leaves. */
void cg_meter_now(const struct cg_meter *m, uint64_t *ret_memory_bytes, uint64_t *ret_pids);
/* Only the CPU time, in nanoseconds; false: it cannot be read. */
bool cg_meter_cpu(const struct cg_meter *m, uint64_t *ret_nsec);
/* Only what is read from and written to disks. */
void cg_meter_io(const struct cg_meter *m, struct cg_counters *ret);
/* All of it; 15 to 30 microseconds. */
void cg_meter_counters(const struct cg_meter *m, struct cg_counters *ret);
