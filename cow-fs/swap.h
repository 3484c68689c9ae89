/* cow-fs/swap.h - stubs in the place of files, and what is left of that after a crash
 *
 * guests/<name>/unify exists from the first unification on. Who unifies the guest holds it locked
 * (flock). While stubs are made it holds a prefix, 24 random characters: stubs are prepared in
 * guests/<name>/sw/, where no guest sees them, and pass through a directory with that prefix and a
 * number at the top of the upper directory when the guest runs. Both are removed by recovery. */
#pragma once

#include <stdbool.h>

#define SWAP_PREFIX_SIZE 25

/* Opens and locks guests/<name>/unify, recovers, and notes a new prefix down, durably. Returns the
 * descriptor to be given to swap_end(); -EWOULDBLOCK when another one is at work. Leaf. */
int swap_begin(int home, int upper, char ret_prefix[SWAP_PREFIX_SIZE]);
/* IS_CLEAN: nothing is left in the upper directory. */
void swap_end(int home, int fd, bool is_clean);
