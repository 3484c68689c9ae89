/* cow-fs/sandbox.h - a foreign program that runs as root, but not as the host's
 *
 * It has user, mount, pid, ipc and uts namespaces of its own, sees the host's files as a nobody
 * would and none of them writable, and a directory of its own as /tmp. The network is the host's.
 * A process of ours is first in its pid namespace: with it ends all that the program has started,
 * and it ends with the process that started it, after a time, and when the program does. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/base/err.h"

#define SANDBOX_IDS     65536
#define SANDBOX_TIMEOUT 124 /* exit status when the time was over */

struct sandbox {
	const char *path; /* of the program; all borrowed */
	char *const *argv, *const *env;
	int scratch;      /* directory that becomes /tmp; given to the root inside */
	int out, log;     /* its standard output and error */
	uint32_t id_base; /* host's ids of its ids 0 to SANDBOX_IDS - 1 */
	unsigned seconds; /* until it is killed */
};

/* Returns the first process, a child of the caller, when all is prepared inside. Its exit status is
 * the program's, or 128 + N for signal N; 125 with a line in the log if that could not be executed.
 */
pid_t sandbox_start(const struct sandbox *s, struct cos_err *err);
/* Takes the exit status, 128 + N for signal N; with KILL ends it first. */
int sandbox_end(pid_t pid, bool kill_first);
