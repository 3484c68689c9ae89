/* cow-fs/clone.h - a clone of a guest that runs */
#pragma once

#include "cow-fs/unify.h"

/* Makes the guest TO with a copy of what FROM has written by now: by reflink where the file system
 * can, stubs stay stubs. LIVE->freeze() stops the guest for as long as that takes, about 20 us a
 * file with reflinks; LIVE->merged is not used. LIVE NULL: the caller has stopped it. What is in
 * memory of its programs is not copied: TO finds its files as after a power cut that lost nothing.
 * On the disk when it returns. Errors as cowfs_clone(); BadImage when directories are nested deeper
 * than 256. */
int cowfs_clone_live(const struct cowfs *c, const char *from, const char *to,
		     const struct cowfs_live *live, struct cos_err *err);
