/* cow-fs/freeze.h - stopping a guest's processes by the directory of its control group
 *
 * For who has no other way: the daemon has cg_freeze(). */
#pragma once

#include <stdbool.h>

struct freeze_group {
	int dir;
	bool v1;
};

/* PATH: a directory of cgroup v2 or of v1's freezer. -EINVAL when it is neither. Leaf. */
int freeze_group_open(const char *path, struct freeze_group *ret);
void freeze_group_close(struct freeze_group *g);

/* As struct cowfs_live wants it, with a struct freeze_group as ARG. -ETIMEDOUT after 1 s. */
int freeze_group(bool on, void *arg);
