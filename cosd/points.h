/* cosd/points.h - kill points: a process of the daemon dies exactly between two steps, for tests
 *
 * Switched on by cosd --kill-points. A file R/kill-at with "WHO OPERATION.STEP before|after", WHO
 * being "self" or "peer" (keeper and worker are each other's peer), is taken away by the process
 * that comes to that point, which then kills itself or its peer by SIGKILL. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

void points_enable(const char *runtime_dir);
/* PEER: the other process; 0 if there is none. Costs one comparison when switched off. */
void point(const char *operation, const char *step, bool after, pid_t peer);
/* All points, one a line. */
void points_print(void);

#define POINT_BEFORE(op, step) point(op, step, false, getppid())
#define POINT_AFTER(op, step)  point(op, step, true, getppid())
