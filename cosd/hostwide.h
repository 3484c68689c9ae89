/* cosd/hostwide.h - what instances on one host must not share: the name and the block of user ids
 *
 * Both are files below /run/cos-host whose lock (flock) the daemon's processes hold:
 *   instance.NAME      so that nobody else uses NAME's control groups
 *   ids.BASE-COUNT     so that no other instance's guests have these ids; the file names the
 * runtime directory, and while that one has records of guests the block stays taken */
#pragma once

#include <stdint.h>

#include "lib/base/err.h"

/* Returns the lock's descriptor. -EBUSY (InUse) names the instance. */
int hostwide_instance(const char *instance, struct cos_err *err);
/* Removes both files; the caller still holds their locks and no guest of its own lives. */
void hostwide_release(const char *instance, uint64_t base, uint64_t count);
/* Finds the first block from BASE on that no instance has and /etc/subuid and subgid do not name,
 * or the one that RUNTIME_DIR had before. Returns the lock's descriptor; ids BASE.. of *RET_BASE
 * are ours. */
int hostwide_ids(const char *runtime_dir, uint64_t base, uint64_t count, uint32_t *ret_base,
		 struct cos_err *err);
