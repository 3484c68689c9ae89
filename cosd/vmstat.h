/* cosd/vmstat.h - what machines tell of themselves */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct call;
struct daemon;
struct guest;

/* Asks the machines that run, or ONLY one, for their counters, which then are in guest.vm_stats.
 * True: they were asked, and the call C will be made again in a tenth of a second at most. */
bool vmstat_gather(struct call *c, const struct guest *only);
/* Asks all that run; guest.vm_stats is from the last answer until the next one comes. */
void vmstat_refresh(struct daemon *d);

/* Puts what a machine that runs for RAN_USEC told last into VALUE, the counters of the ledger's
 * metrics, whose CPU time has been read. It may say what it likes: nothing goes back, no thread
 * used more than the machine's group did, no processor waited longer than there was time, and none
 * left the guest more often than one can. */
void vmstat_count(const struct guest *g, uint64_t ran_usec, uint64_t *value);
/* What it told last of its balloon, at most all its memory; false: nothing. */
bool vmstat_balloon(const struct guest *g, uint64_t *ret_bytes);
