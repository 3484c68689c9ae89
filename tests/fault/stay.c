/* tests/fault/stay.c - the command of the guests that are started here: stays, or with an argument
 * ends */
#include "lib/launch/cos-init-sys.h"

__attribute__((noreturn, used)) void stay_main(const long *sp);

void stay_main(const long *sp)
{
	if (*sp > 1)
		sys_exit(7);
	for (;;)
		sys_call(__NR_ppoll, 0, 0, 0, 0);
}

SYS_ENTRY(stay_main);
