/* cosd/vmstat.h - what machines tell of themselves */
#pragma once

#include <stdbool.h>

struct call;
struct guest;

/* Asks the machines that run, or ONLY one, for their counters, which then are in guest.vm_stats.
 * True: they were asked, and the call C will be made again in a tenth of a second at most. */
bool vmstat_gather(struct call *c, const struct guest *only);
/* Asks all that run; guest.vm_stats is from the last answer until the next one comes. */
struct daemon;
void vmstat_refresh(struct daemon *d);
