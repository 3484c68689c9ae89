/* tests/fault/fault.h - lets the n-th call of one process of a start fail
 *
 * The library's calls lead here by the linker's --wrap (wrap.opts). Each process of a start counts
 * its own, so that which call is the n-th does not depend on who runs first. Cleaning up (close,
 * unlinkat, kill, wait) is never made to fail. */
#pragma once

#include <stdbool.h>

enum fault_role {
	ROLE_STARTER, /* the process that was armed */
	ROLE_HELPER,  /* its child by clone3() */
	ROLE_CHILD,   /* that one's: the guest's first process or exec's command */
	ROLE_FORKED,  /* the starter's child by fork() */
	ROLE__N
};

extern const char *const fault_role_name[ROLE__N];

/* Shared by all processes of a start. */
struct fault {
	bool on;
	enum fault_role role; /* whose call fails */
	unsigned n;           /* from 1; 0: none does, all are counted */
	unsigned calls[ROLE__N];
	char call[40]; /* what failed, "" when the n-th was not reached */
	int no;        /* with this errno */
};

extern struct fault *fault;

/* False when there is no memory to share. */
bool fault_init(void);
/* From here on call N of ROLE fails. */
void fault_arm(enum fault_role role, unsigned n);
void fault_disarm(void);
