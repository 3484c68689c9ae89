/* vmm/kvmstat.h - KVM's own counters, as its binary statistics give them (Linux 5.14) */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define KVMSTAT_N 12

extern const char *const kvmstat_names[KVMSTAT_N];

/* Where the counters are in a vCPU's statistics; the same for all of one host. */
struct kvmstat {
	uint64_t at[KVMSTAT_N]; /* 0: this kernel does not have it */
};

/* Reads the descriptions behind FD, of KVM_GET_STATS_FD of a vCPU. 0 or -errno. */
int kvmstat_open(int fd, struct kvmstat *ret);
/* Adds the counters behind FD to SUM. One pread() each. */
void kvmstat_add(const struct kvmstat *k, int fd, uint64_t sum[KVMSTAT_N]);
