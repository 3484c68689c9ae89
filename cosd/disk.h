/* cosd/disk.h - space for guests' own files: disk.max and disk.inodes */
#pragma once

#include "cosd/guest.h"
#include "cow-fs/space.h"

/* The word for what G's limits are kept by, NULL: nothing. */
const char *disk_quota(const struct guest *g);
/* What a new guest's files are to be made with. */
void disk_bounds(const struct spec *s, struct cowfs_bounds *ret);
/* Before a start: the limits that G has are those that hold, or it must not start. */
int disk_begin(const struct guest *g, struct cos_err *err);
/* Whether G, which may run, can have those of NEXT: refused when it has used more, unless FORCE,
 * and where they cannot be kept. */
int disk_check(struct guest *g, const struct spec *next, bool force, struct cos_err *err);
/* Whether that of NEXT means that a file system grows, which is work for a child. */
bool disk_grows(const struct guest *g, const struct spec *next);
/* Then sets them, if they are others than those of BEFORE. */
int disk_set(const struct guest *g, const struct limits *before, struct cos_err *err);
/* What its own files take, without a look at each of them; false: nobody counts. */
bool disk_used(struct guest *g, struct cowfs_space *ret);
/* The same of the host's disk, also for a file system of its own that is not used in whole. */
bool disk_taken(const struct guest *g, struct cowfs_space *ret);
/* Whether nothing more can be written, for want of bytes (DISK_MAX) or of inodes. */
bool disk_is_full(const struct guest *g, enum limit_id id, const struct cowfs_space *used);
/* It has ended: its file system is not held any more. */
void disk_end(struct guest *g);
