/* cow-fs/snapshot.h - snapshots and clones of guests that do not run
 *
 * A guest's upper directory becomes a layer, which never changes again, and the guest gets an empty
 * one on top of it: one exchange of two directories, whatever their size. A snapshot is a record of
 * the layers then, snapshots/<guest>/<name>.json; a tree of them is layers with a common beginning
 * at the bottom. Layers that neither a guest nor a snapshot nor a template names are swept.
 *
 * All wait at most busy_msec for who works on the guest. Errors: NoSuchGuest, InUse when it
 * runs or is being unified, Unsupported for one on a rootfs or with its files on a file system of
 * their own, WrongState when the guest uses the name /.c, which its layers must not have. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "cow-fs/store.h"

/* NAME is a name as guests have. -EEXIST (AlreadyExists). A few ms, most of them for the disk. */
int cowfs_snapshot_make(const struct cowfs *c, const char *guest, const char *name,
			struct cos_err *err);

/* Array of {"name", "layers": [ID], "created" (us since 1970), "current": bool}, oldest first;
 * current: the guest has not changed since. */
int cowfs_snapshot_list(const struct cowfs *c, const char *guest, json_t **ret,
			struct cos_err *err);

/* The guest's files are as they were then; what they were now is gone. */
int cowfs_snapshot_restore(const struct cowfs *c, const char *guest, const char *name,
			   struct cos_err *err);
/* Others stay, also those made after it. -ENOENT (InvalidParameter). */
int cowfs_snapshot_delete(const struct cowfs *c, const char *guest, const char *name,
			  struct cos_err *err);

struct cowfs_cloning {
	const char *from, *to; /* guests */
	bool durable;
	bool anew;         /* TO gets an empty machine-id and no ssh host keys */
	unsigned features; /* for that: of cowfs_probe() */
};

/* Makes the guest TO with the files of FROM, which does not run: about 1 ms if neither DURABLE nor
 * ANEW. TO is there whole or not at all. */
int cowfs_clone(const struct cowfs *c, const struct cowfs_cloning *k, struct cos_err *err);
