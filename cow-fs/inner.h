/* cow-fs/inner.h - what the files of this folder share and nobody else needs */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "cow-fs/store.h"

struct jsonx_field;

/* Writes COWFS_ID_SIZE bytes. */
int cowfs_id_make(char *id);
bool cowfs_is_id(const char *s);

/* HOW as flock(2), without LOCK_NB it waits. One lock for each struct cowfs: no nesting. */
int cowfs_lock(const struct cowfs *c, int how);
/* The same, telling. */
int cowfs_need_lock(const struct cowfs *c, int how, struct cos_err *err);
void cowfs_unlock(const struct cowfs *c);

/* -EINVAL (InvalidParameter) unless NAME can be a guest's; tells. */
int cowfs_check_guest(const char *name, struct cos_err *err);

/* Renames NAME in DIR into trash/. One rename: cost does not depend on what is below. */
int cowfs_retire(const struct cowfs *c, int dir, const char *name);

/* Removes all of trash/NAME, at most *BUDGET entries; -EAGAIN when the budget is used up. Leaf. */
int cowfs_trash_empty(const struct cowfs *c, const char *name, unsigned *budget);

/* Retires the layers that neither a template nor a guest names. The caller has the exclusive lock.
 * Returns how many. An unreadable record is an error, because it may name any layer. */
int cowfs_layers_collect(const struct cowfs *c, struct cos_err *err);

/* Fills TO from the small JSON file NAME. -ENOENT, if the file is missing, is left to the caller to
 * tell; -EUCLEAN (KernelRefused) if it does not hold what FIELDS say. */
int cowfs_json_read(int dir, const char *name, const struct jsonx_field *fields, size_t n, void *to,
		    struct cos_err *err);

/* templates/<name>.json */
struct cowfs_template {
	struct cowfs_layers layers;
	uint64_t created; /* us since 1970 */
	char arch[32];
};

int cowfs_template_read(const struct cowfs *c, const char *name, struct cowfs_template *ret,
			struct cos_err *err);

/* guests/<name>/root.json: what a guest stands on, layers or a directory of the user's */
struct cowfs_record {
	char template[COWFS_NAME_SIZE]; /* "" with a rootfs */
	struct cowfs_layers layers;
	char rootfs[PATH_MAX];
	char domain[COWFS_DOMAIN_SIZE]; /* "": the default one */
};

/* -ENOENT (NoSuchGuest). */
int cowfs_record_read(const struct cowfs *c, const char *guest, struct cowfs_record *ret,
		      struct cos_err *err);

/* The record's text as it is in root.json; NULL when memory is out. */
char *cowfs_record_text(const struct cowfs_record *rec);

/* Takes away the stubs that an interrupted unification of the guest left in its upper directory,
 * unless one is at work. Leaf. */
int cowfs_swap_recover(int home, int upper);

/* The tree of layer ID: root/, or up/ when it was a guest's. O_PATH. */
int cowfs_layer_open(const struct cowfs *c, const char *id, struct cos_err *err);

/* The directory that has pool/ of DOMAIN (NULL or "": the default one), made if it is missing. */
int cowfs_domain_open(const struct cowfs *c, const char *domain);

/* Notes down that a pool is in use: older versions then refuse the store. Durable. */
int cowfs_format_pool(const struct cowfs *c);

/* Calls FN for the layers of each snapshot, until it returns not 0; tells when a record cannot be
 * read. */
int cowfs_snapshots_each(const struct cowfs *c, int (*fn)(const struct cowfs_layers *l, void *arg),
			 void *arg, struct cos_err *err);

/* For a table of fields: V at the pointer AT is an array of ids. */
int cowfs_layers_parse(json_t *v, const char *at, struct cowfs_layers *l, struct cos_err *err);
/* An array of ids; NULL when memory is out. */
json_t *cowfs_layers_json(const struct cowfs_layers *l);

#define PLACE_NAME_SIZE 32
/* A directory in DIR to try something in, WHAT.PID: the daemon and its children may try at the same
 * time. What processes that are gone have left is removed. Its name is the caller's to remove.
 * Leaf.
 */
int cowfs_place_open(int dir, const char *what, char ret_name[static PLACE_NAME_SIZE]);
