/* cow-fs/clone-inner.h - a tree as it is */
#pragma once

#include <stdbool.h>

/* Copies all that is in FROM into the empty directory TO with looks, attributes, hard links and
 * holes; with LEAVE_POOL not the pool's folder at the top. -ELOOP when something is nested too
 * deep. Leaf. */
int cowfs_copy_tree(int from, int to, bool leave_pool);
