/* cow-fs/fill.h - what a template's tree can be made from
 *
 * Each puts all of its source into T and leaves tree_finish() to the caller. They need neither more
 * privilege nor other descriptors than the two they are given, and run confined: see confine.h. */
#pragma once

#include "cow-fs/debian.h"
#include "cow-fs/tree.h"

/* A tar archive, plain or compressed by gzip, xz or zstd, read from FD to its end. Names are bytes.
 * Sets the locale to C. */
int fill_from_tar(struct tree *t, int fd, struct cos_err *err);

/* One layer of an OCI image, a tar archive as above. Its whiteouts (".wh.NAME", ".wh..wh..opq") are
 * for what T has by then, so they go first: one call for each. */
enum layer_pass { LAYER_TAKES_AWAY, LAYER_PUTS };
int fill_from_layer(struct tree *t, int fd, enum layer_pass pass, struct cos_err *err);

/* The OCI layout in the directory DIR: the only image in it, or the only one for MACHINE as
 * uname(2) has it. Digests are checked. */
struct digester;
int fill_from_oci(struct tree *t, int dir, struct digester *g, const char *machine,
		  struct cos_err *err);

/* The directory FD. What is mounted below it is left out, and so is the directory that EXCEPT names
 * by device and inode (the store itself). */
struct fill_except {
	dev_t dev;
	ino_t ino;
};
int fill_from_dir(struct tree *t, int fd, const struct fill_except *except, struct cos_err *err);

/* The static busybox FD and its applets, a path in a line. The same busybox makes the same tree. */
int fill_from_busybox(struct tree *t, int fd, const char *applets, struct cos_err *err);

/* The archive that debian_start() gave, read from FD: without what it has of the host, and with a
 * login on the console. */
int fill_from_debian(struct tree *t, int fd, enum debian_init init, struct cos_err *err);
