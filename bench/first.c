/* bench/first.c - the command of a measured guest: its first act is to say what time it is
 *
 * Writes CLOCK_MONOTONIC in nanoseconds (8 bytes) to descriptor 1 and exits; with an argument it
 * stays. */
#include <linux/time.h>
#include <linux/time_types.h>

#include "lib/launch/cos-init-sys.h"

__attribute__((noreturn, used)) void first_main(const long *sp);

void first_main(const long *sp)
{
	struct __kernel_timespec ts;
	unsigned long nsec;

	sys_call(__NR_clock_gettime, CLOCK_MONOTONIC, (long)&ts, 0, 0);
	nsec = (unsigned long)ts.tv_sec * 1000000000UL + (unsigned long)ts.tv_nsec;
	sys_write(1, &nsec, sizeof(nsec));
	if (*sp > 1) {
		for (;;)
			sys_call(__NR_ppoll, 0, 0, 0, 0);
	}
	sys_exit(0);
}

SYS_ENTRY(first_main);
