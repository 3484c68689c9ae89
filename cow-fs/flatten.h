/* cow-fs/flatten.h - many layers as one, and out of the store again */
#pragma once

#include "cow-fs/store.h"
#include "cow-fs/tree.h"

/* Makes one layer of all that GUEST stands on, template included: what it sees stays the same, and
 * it can be snapshotted again. Large files go into the pool. Old layers stay for those who stand on
 * them. It must not run, and cannot be started meanwhile; time and space: a copy of all small
 * files. Errors as cowfs_snapshot_make(). FEATURES from cowfs_probe(). */
int cowfs_flatten(const struct cowfs *c, const char *guest, unsigned features, struct cos_err *err);

/* The layers as one read-only tree, with the owners that are on the disk; the pool's folder is to
 * be left out by who reads it. OVER: a directory on top of them; -1: none. Returns a detached
 * mount. */
int cowfs_layers_mount(const struct cowfs *c, const struct cowfs_layers *l, const char *domain,
		       int over, unsigned features, struct cos_err *err);

/* Writes the tree of TEMPLATE to OUT as a pax archive: owners as numbers, extended attributes and
 * access lists, hard links, holes as zeros. *RET counts. */
int cowfs_export_tar(const struct cowfs *c, const char *template, unsigned features, int out,
		     struct tree_count *ret, struct cos_err *err);
/* As an OCI layout with one image of one layer in the empty directory DIR. */
int cowfs_export_oci(const struct cowfs *c, const char *template, unsigned features, int dir,
		     struct tree_count *ret, struct cos_err *err);
