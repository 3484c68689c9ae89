/* cow-fs/store.h - templates on disk, below <state>/cow
 *
 *   format                  "1\n", or "2\n" once there is something in a pool; anything else
 *                           belongs to another version of cos
 *   layers/<id>/            root/ (the tree; up/ if it was a guest's) and meta.json, manifest if
 *                           there are stubs in it; never changed once it is here, but for
 *                           disk.img, all of a template whose top it is, see disk.h
 *   templates/<name>.json   the layers of a template, top first
 *   guests/<name>/          up/ wk/ root.json, see root.h; or disk.img, see image.h; disk.cow of
 *                           a machine
 *   snapshots/<guest>/      <name>.json, see snapshot.h
 *   pool/ pool.ref/         objects, see pool.h; domains/<name>/ has the same for a trust domain
 *   tmp/<id>/               an import under way, locked (flock) by its importer
 *   tmp/g-<id>/             a guest's root under way; its maker holds `lock` shared
 *   log/<name>.log          what was said while a template was built
 *   trash/                  renamed away, removed piece by piece by cowfs_sweep()
 *   project.lock            held while a number for a project is looked for, see project.h
 *   lock                    shared: uses a template; exclusive: takes one away
 *
 * An id is 32 hexadecimal digits of randomness. What a crash leaves is in tmp/ or trash/, or a
 * layer that nothing names; cowfs_sweep() finds all three. */
#pragma once

#include <jansson.h>
#include <stdint.h>

#include "lib/base/err.h"

#define COWFS_BUSY_MSEC   200
#define COWFS_LAYERS_MAX  32
#define COWFS_ID_SIZE     33  /* with NUL */
#define COWFS_NAME_SIZE   128 /* NAME:TAG with NUL */
#define COWFS_DOMAIN_SIZE 64  /* a trust domain's name with NUL */

struct cowfs {
	int dir; /* <state>/cow */
	int layers, templates, guests, trash, tmp, log, snapshots, lock;
	int pool; /* the default domain's, a layer of guests' roots; see pool.h */
	/* For so long is waited for who works on a guest's files: COWFS_BUSY_MSEC; the user's to
	 * change. */
	unsigned busy_msec;
	uint32_t project_base; /* first number of guests' projects; project.h */
};

struct cowfs_layers {
	unsigned n;
	char id[COWFS_LAYERS_MAX][COWFS_ID_SIZE]; /* top first */
};

/* Opens <state>/cow and makes what is missing of it. STATE_DIR is borrowed and not needed
 * afterwards. -EOPNOTSUPP (Unsupported) when a newer cos wrote it. */
int cowfs_open(int state_dir, struct cowfs *ret, struct cos_err *err);
void cowfs_close(struct cowfs *c);

/* -ENOENT (NoSuchTemplate), -EINVAL (InvalidParameter) for a name that cannot be one. */
int cowfs_template_find(const struct cowfs *c, const char *name, struct cowfs_layers *ret,
			struct cos_err *err);

/* Array of {"name", "layers": [ID], "files", "bytes", "created" (us since 1970), "source", "arch",
 * "users": guests on it}, by name. Reads a small file for each template, layer and guest. */
int cowfs_template_list(const struct cowfs *c, json_t **ret, struct cos_err *err);

/* -EBUSY (InUse) names up to three guests that stand on it. Layers that nothing else uses go to
 * trash/; cowfs_sweep() frees their space. */
int cowfs_template_delete(const struct cowfs *c, const char *name, struct cos_err *err);

/* Removes trash, abandoned imports and layers that nothing names, but at most MAX_ENTRIES directory
 * entries (0: no bound). -EAGAIN: more is left, or another process is at work: call again. Safe
 * beside live imports and guests being made. Trees may be of any depth: no
 * recursion, a handful of descriptors. */
int cowfs_sweep(const struct cowfs *c, unsigned max_entries);
