/* bench/vm.h - the parts of bench/vm */
#pragma once

#include "bench/daemon.h"

#define VM_TEXT 65536

struct vm_place {
	char vmm[512], guest[512];
};

/* Runs the mini guest until it ends; what it said is in TEXT. */
int vm_ours(const struct vm_place *p, const char *cmdline, char text[static VM_TEXT]);
/* Adds what the mini guest counted. */
void vm_take_cycles(const char *text, struct samples *s);
/* A line of S, compared with FLOOR; in SCALE nanoseconds or cycles. */
void vm_row(const char *what, const char *who, struct samples *s, struct samples *floor,
	    double scale);

/* ---- vm-same.c: the same work by a process, in a container, in a machine ---- */
int vm_same(const struct bench *b, const struct vm_place *p, const struct daemon *d,
	    unsigned rounds);
