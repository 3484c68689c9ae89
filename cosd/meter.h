/* cosd/meter.h - the sampler: what each guest uses, looked at once a second, told to the accountant
 *
 * Memory and processes have to be looked at to be summed up; everything else the kernel counts by
 * itself, and it is read when an interval (ledger.interval) closes and when a guest ends. */
#pragma once

#include "cosd/ledger.h"

struct call;
struct daemon;
struct guest;
struct meter;

/* Before guests are recovered. */
int meters_open(struct daemon *d, struct cos_err *err);
/* After that: starts the accountant and looks at guests from now on. */
void meters_start(struct daemon *d);
/* The configuration was read again. */
void meters_reload(struct daemon *d);
/* Tells all a last time and waits, for some seconds at most, until that is in the ledger. */
void meters_close(struct daemon *d);

/* A guest runs; or it was ADOPTED, running or not any more, and its first process began at
 * START_TICKS. Opens nothing yet. */
void meter_begin(struct guest *g, bool adopted, uint64_t start_ticks);
/* It has ended; its groups are still there. */
void meter_last(struct guest *g);
void meter_free(struct guest *g);

/* What the guest's counters stood at when they were last read, and how much memory and how many
 * processes it had; false: it does not run. */
struct meter_view {
	uint64_t value[METRIC__N];
	uint64_t memory_bytes, cache_bytes, pids;
	uint64_t disk_bytes; /* UINT64_MAX: not known */
};
bool meter_view(const struct guest *g, struct meter_view *ret);
/* CPU time that the guest has used by now, in nanoseconds; false: not known. */
bool meter_ran(struct guest *g, uint64_t *ret_nsec);
/* What the guest has read from and written to disks by now; false: it does not run. */
struct cg_counters;
bool meter_io(struct guest *g, struct cg_counters *ret);
/* CPU time that sampling took, and for how many looks at a guest and readings of all counters. */
void meters_cost(const struct daemon *d, uint64_t *ret_usec, uint64_t *ret_looks,
		 uint64_t *ret_readings);
/* The user who may read the metrics of all guests; -1: only root. */
int64_t meters_user(const struct daemon *d);

/* --- the accountant, from the worker's side (meter-link.c) --- */
struct meter_link;
struct meter_link *meter_link_open(struct daemon *d);
void meter_link_start(struct meter_link *l);
/* Sends the configuration again. */
void meter_link_configure(struct meter_link *l);
void meter_link_close(struct meter_link *l);
/* Adds a sample of an interval that closes; the last one of a run is kept until it was taken. */
void meter_link_add(struct meter_link *l, const struct ledger_sample *s);
/* Begins an interval's samples: false when the accountant does not read, and none are wanted. */
bool meter_link_begin(struct meter_link *l);
/* They are complete. */
void meter_link_end(struct meter_link *l);
/* Has the query answered to OUT, which stays the caller's. */
int meter_link_ask(struct daemon *d, const struct ledger_query *q, int out, struct cos_err *err);
