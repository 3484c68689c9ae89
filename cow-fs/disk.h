/* cow-fs/disk.h - a template as the disk of machines
 *
 * layers/<id>/disk.img, beside the top layer of a template, is an ext4 file system of all that is
 * in the template, made once and shared by all machines that stand on it, which only read it. What
 * a machine writes is in guests/<name>/disk.cow. Both go with their folders. */
#pragma once

#include <stdbool.h>

#include "cow-fs/store.h"

#define COWFS_DISK_BYTES (10ULL << 30) /* of the disk, at least; the file is sparse */

/* Whether TEMPLATE has its image: 1 or 0, or an error. */
int cowfs_disk_is_made(const struct cowfs *c, const char *template, struct cos_err *err);
/* Makes it, unless it is there: seconds, or minutes. For a process of its own, that is root.
 * FEATURES from cowfs_probe(). Unsupported: there is no mke2fs. */
int cowfs_disk_make(const struct cowfs *c, const char *template, unsigned features,
		    struct cos_err *err);
/* Opens the disk of the machine GUEST, whose root was made by cowfs_root_make() with a template:
 * its own writes, made empty at first, and the image. */
int cowfs_disk_open(const struct cowfs *c, const char *guest, int *ret_cow, int *ret_image,
		    struct cos_err *err);
