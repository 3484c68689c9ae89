/* cow-fs/clone-inner.h - what the ways to clone share, and a tree as it is */
#pragma once

#include "cow-fs/snapshot.h"

/* Copies all that is in FROM into the empty directory TO with looks, attributes, hard links and
 * holes; with LEAVE_POOL not the pool's folder at the top. -ELOOP when something is nested too
 * deep. Leaf. */
int cowfs_copy_tree(int from, int to, bool leave_pool);

/* Runs FN, which makes K->to, with the store locked and K->to a name that may be. */
typedef int clone_fn(const struct cowfs *c, const struct cowfs_cloning *k, const void *arg,
		     struct cos_err *err);
int cowfs_clone_by(const struct cowfs *c, const struct cowfs_cloning *k, clone_fn *fn,
		   const void *arg, struct cos_err *err);
