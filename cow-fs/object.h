/* cow-fs/object.h - names of objects of the pool, and the stubs that stand for them
 *
 * An object is the content of files, known by its SHA-256. It has two names: ref/ab/<64 hex digits>
 * and, in the tree that is the bottom layer of guests' roots, .c/x/<18 characters>, 19 characters
 * of the digest in base64url (114 bits): a longer one would not fit into an inode of ext4.
 *
 * A stub is an empty file in an upper directory or a layer, with size, looks and attributes of the
 * file that it stands for; trusted.overlay.metacopy makes overlayfs take the data from what
 * trusted.overlay.redirect names in a layer below. A write copies the data up: the link breaks. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "cow-fs/tree.h"

#define OBJECT_FOLDER    TREE_RESERVED
#define OBJECT_PATH_SIZE 24 /* "x/" and 18 characters and NUL, with room for "/.c/" */
#define OBJECT_REF_SIZE  68 /* "ab/" and 64 digits and NUL */
#define DIGEST_SIZE      32

struct digest {
	unsigned char b[DIGEST_SIZE];
};

/* Pure. The name below .c, the name below ref; both end with NUL. */
void object_path(const struct digest *d, char ret[OBJECT_PATH_SIZE]);
void object_ref(const struct digest *d, char ret[OBJECT_REF_SIZE]);
/* The digest that a name below ref, "ab" and the 64 digits, stands for. */
bool object_from_ref(const char *folder, const char *name, struct digest *ret);

/* What a file in an upper directory is to overlayfs. */
enum stub_kind {
	STUB_NOT,   /* a file with its own data */
	STUB_OURS,  /* its data is an object */
	STUB_OTHER, /* the kernel's: its data is another layer's file */
};
/* *RET_PATH gets an object's name below .c. A kind or -errno. Leaf. */
int stub_look(int fd, char ret_path[OBJECT_PATH_SIZE]);

/* Makes NAME in DIR, both of the host alone, a stub for the object D with size, looks, times and
 * extended attributes of the file FROM, whose stat is ST. -EEXIST. Leaf. */
int stub_make(int dir, const char *name, const struct digest *d, int from, const struct stat *st);

/* Gives TO the extended attributes of FROM, but for what overlayfs itself keeps there: that was for
 * another file. Leaf. */
int stub_copy_attrs(int from, int to);

/* The empty char device 0:0 that hides the pool from a guest; 0 also when there is one, or when the
 * guest uses the name. */
int stub_hide_pool(int upper);
/* Takes it away, before UPPER becomes a layer; -EEXIST when the guest uses the name. */
int stub_show_pool(int upper);
