/* bench/limits-vm.h - the parts of bench/limits-vm: rows, who is in them, rates of the network */
#pragma once

#include "bench/subject.h"

enum by { BY_CONTAINER, BY_MACHINE, BY__N };

struct limits {
	unsigned rounds, seconds;
	const char *only;
};

#define LIMITS_WARM_MSEC 2000U /* a start, and what a limit lets through at first */

/* What both got of a limit. */
struct limits_row {
	const char *what, *unit;
	double asked;
	struct samples got[BY__N]; /* thousandths of UNIT */
};

void limits_add(struct limits_row *row, enum by by, double got);
/* Prints and empties it. */
void limits_print(struct limits_row *row);

/* Starts machine "vm" with the mini guest of tests/vmm. WORDS: its command line, then what create
 * is to be told beside, such as limits; NULL ends them. */
int limits_machine(const struct daemon *d, const char *const *words);

/* ---- limits-vm-net.c: net.ceil, with networks and a daemon of its own ---- */

/* Telling. */
int limits_network(const struct bench *b, const struct limits *l);
