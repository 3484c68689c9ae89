/* bench/overhead-work.h - the parts of the worker of bench/overhead */
#pragma once

#include <stdint.h>

#include "bench/overhead-rows.def"

/* Where its files are, below where it was started. */
#define WORK_DIR "bench-work"

/* Does *OPS operations, or as many as fit, sets *OPS to how many they were, and returns their
 * nanoseconds or a negative errno. */
typedef int64_t work_batch(unsigned *ops);

#define X(id, fn, ...) work_batch batch_##fn;
OVERHEAD_ROWS(X)
#undef X

int64_t work_nsec(void);
/* Times OPS calls of OP. A quarter as many are made before and not counted: other places have used
 * the caches since the last batch. */
int64_t work_repeat(int (*op)(void), unsigned ops);
/* What was read: the reads cannot be left out by the compiler. */
extern volatile unsigned work_sink;
