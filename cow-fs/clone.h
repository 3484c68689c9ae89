/* cow-fs/clone.h - a clone by a copy: of a guest that runs, of a file system of its own */
#pragma once

#include "cow-fs/snapshot.h"
#include "cow-fs/unify.h"

/* Makes the guest K->to with a copy of what K->from has written by now: by reflink where the file
 * system can, stubs stay stubs. LIVE->freeze() stops the guest for as long as that takes, about 20
 * us a file with reflinks; LIVE->merged is not used. LIVE NULL: the caller has stopped it. What is
 * in memory of its programs is not copied: K->to finds its files as after a power cut that lost
 * nothing. On the disk when it returns, with K->durable or without. Errors as cowfs_clone();
 * BadImage when directories are nested deeper than 256. */
int cowfs_clone_live(const struct cowfs *c, const struct cowfs_cloning *k,
		     const struct cowfs_live *live, struct cos_err *err);

/* The same as cowfs_clone() for a guest with a file system of its own: by reflink, or in the time
 * that it takes to copy what is in use of the image. */
bool cowfs_clone_is_image(const struct cowfs *c, const char *guest);
int cowfs_clone_image(const struct cowfs *c, const struct cowfs_cloning *k, struct cos_err *err);
