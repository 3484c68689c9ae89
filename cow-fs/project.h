/* cow-fs/project.h - project quota of ext4 and xfs: what is below a guest's directory is counted
 * under a number of its own, which the directory itself bears and hands down to all made in it
 *
 * The number is its only record: who has the directory has it. Numbers are taken from
 * c->project_base on, the first after the directory's inode number that nobody uses or has limits
 * for. Leaves. */
#pragma once

#include <stdbool.h>

#include "cow-fs/space.h"

#define PROJECT_BASE  0x63000000U /* unless the daemon's project.base says otherwise */
#define PROJECT_RANGE 0x100000U

/* "" if limits of projects hold on DIR's file system, or why not. */
const char *project_enforced(int dir);
/* As that, and folders of DIR take directories that bear other numbers than their own. */
const char *project_try(int dir);
/* The project whose limits hold for what is made in DIR; 0: none. */
uint32_t project_of(int dir);
/* Gives the empty directory DIR a number. */
int project_give(const struct cowfs *c, int dir);
int project_limit(int dir, const struct cowfs_space *max);
int project_used(int dir, struct cowfs_space *ret);
/* Takes away limits in the range that hold for no file any more. */
void project_tidy(const struct cowfs *c);
