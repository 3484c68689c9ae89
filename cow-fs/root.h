/* cow-fs/root.h - guests' root directories: an upper layer of their own and what it stands on
 *
 * guests/<name>/ has up/ and wk/, the overlay's upper and work directory, and root.json, which
 * names the layers below: {"template": NAME, "layers": [ID, ...]} or {"rootfs": "/directory"}, and
 * "domain": NAME unless files may be shared with all other guests. Once files are unified there are
 * also manifest (manifest.h) and unify (unify.h).
 *
 * Who works on the files of a guest that is not running holds guests/<name>/ locked (flock), as
 * does who opens it to mount it, until the root is closed; from then on the kernel's mark on the
 * upper directory tells, cowfs_upper_in_use(). */
#pragma once

#include <stdbool.h>

#include "cow-fs/mount.h"
#include "cow-fs/space.h"
#include "cow-fs/store.h"

struct cowfs_source {
	const char *template; /* exactly one of the two; borrowed */
	const char *rootfs;   /* absolute path without symbolic links */
	const char *domain;   /* files are shared within it only; NULL: with all without one */
	const struct cowfs_bounds *bounds; /* of its own files; NULL: none are asked for */
};

/* What a mount needs, as descriptors of directories, O_PATH but for HOME. */
struct cowfs_root {
	int home;        /* the guest's directory, with up/ and wk/; locked (shared) */
	int disk;        /* a detached mount that has these two; -1: they are in HOME */
	int upper, work; /* these two */
	int lower[COWFS_LAYERS_MAX];
	unsigned n_lower; /* top first */
	int pool[2];      /* the domain's if it has one, the default one; none with a rootfs */
	unsigned n_pool;
	bool needs_pool; /* some files are in it */
};

/* Makes GUEST's root: there whole or not at all. With DURABLE it is on the disk on return; without,
 * about 15 system calls and no wait, unless it gets a file system of its own: that is for a process
 * that may take its time. Waits while a template is being deleted.
 * -EEXIST (AlreadyExists), -ENOENT (NoSuchTemplate), BadImage for a rootfs that is not there;
 * -EBUSY (WrongState) when the template was replaced meanwhile. */
int cowfs_root_make(const struct cowfs *c, const char *guest, const struct cowfs_source *from,
		    bool durable, struct cos_err *err);

/* Sets what GUEST's own files may take, as cowfs_limit_set(): minutes when a large file system
 * grows. -ENOENT (NoSuchGuest). */
int cowfs_root_limit(const struct cowfs *c, const char *guest, const struct cowfs_space *max,
		     struct cos_err *err);

/* Takes GUEST's root away in one rename, whatever its size; 0 also when there is none.
 * cowfs_sweep() frees the space. It must not be mounted any more. */
int cowfs_root_remove(const struct cowfs *c, const char *guest, struct cos_err *err);

/* Opens what is needed to mount GUEST's root, hides the pool in it, and takes away what an
 * interrupted unification left. -ENOENT (NoSuchGuest); BadImage when a recorded rootfs is not there
 * any more; -EBUSY (WrongState) when its files are worked on, after a wait of c->busy_msec. */
int cowfs_root_open(const struct cowfs *c, const char *guest, struct cowfs_root *ret,
		    struct cos_err *err);
void cowfs_root_close(struct cowfs_root *r);

/* What R says of a mount, with the owners that are on the disk; borrows from R. */
struct cowfs_mount cowfs_root_mount(const struct cowfs_root *r);

/* Before a volatile mount: the kernel refuses a second one on the same directories, because after a
 * crash of the host their content cannot be trusted. In the boot BOOT_ID it can: the mark is taken
 * away. With ONCE the guest does not outlive the boot, and no boot is noted down. -EUCLEAN
 * (KernelRefused) when the last volatile mount was made in another boot. */
int cowfs_root_revolatile(const struct cowfs_root *r, const char *boot_id, bool once,
			  struct cos_err *err);
