/* bench/meter.h - what a bench's daemon itself uses */
#pragma once

#include "bench/daemon.h"

/* The process that does the daemon's work, and its child that keeps the ledger; 0: there is none.
 */
pid_t meter_worker(const struct daemon *d);
pid_t meter_accountant(pid_t worker);
/* CPU time of a process with one thread, in seconds; 0 when it is gone. */
double meter_cpu(pid_t pid);
/* How often a process has read from and written to descriptors. */
struct meter_calls {
	double reads, writes;
};
struct meter_calls meter_calls(pid_t pid);
/* The answer of io.cos.Host.Metrics, owned by the caller, or NULL. */
json_t *meter_ask(const struct daemon *d);
/* A figure of the daemon in it. */
double meter_of(json_t *m, const char *key);
