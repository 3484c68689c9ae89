/* vmm/machine.h - all that one cos-vmm has */
#pragma once

#include "lib/base/loop.h"
#include "vmm/board.h"
#include "vmm/confine.h"
#include "vmm/console.h"
#include "vmm/control.h"
#include "vmm/devices.h"
#include "vmm/option.h"
#include "vmm/vm.h"
#include "vmm/worker.h"

struct machine {
	const struct options *o;
	struct loop loop; /* the main thread's */
	struct vm vm;
	struct worker worker; /* console and what needs no thread of its own */
	struct console console;
	struct board board;
	struct devices devices;
	struct confine confine;
	struct control control;
	struct loop_source ended, signals;
	struct loop_timer grace, look;
	uint64_t started_usec, asleep_usec; /* asleep: CPU time of the vCPUs when last looked at */
	unsigned halts_seen; /* looks in a row at which all vCPUs had halted for good */
	unsigned asked_halt; /* looks since the vCPUs were asked, 0: they were not */
	int sync;
};

/* Makes the machine of O, as far as the point where the guest can run. M is to be emptied with
 * machine_done() also after a failure. */
int machine_init(struct machine *m, const struct options *o, struct cos_err *err);
/* Confines the process, starts all threads, runs the guest until its end and stops them. Returns
 * the exit status, or a negative errno when the guest did not start. */
int machine_run(struct machine *m, struct cos_err *err);
/* Tells who waits on --sync why it came to nothing. */
void machine_tell(struct machine *m, const struct cos_err *err);
void machine_done(struct machine *m);

/* Asks the guest to lend BYTES of its memory. COS_E_UNSUPPORTED: it has no balloon. */
int machine_balloon(struct machine *m, uint64_t bytes, struct cos_err *err);
/* Asks the guest to end itself within GRACE_USEC. */
void machine_stop(struct machine *m, uint64_t grace_usec);

/* All counters as one JSON object, NULL when memory is out. From the main thread. */
struct json_t;
struct json_t *machine_stats(struct machine *m);
