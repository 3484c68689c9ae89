/* cow-fs/take.h - a guest that is held, so that nobody starts or unifies it */
#pragma once

#include "cow-fs/inner.h"
#include "lib/base/err.h"

struct cowfs_taken {
	int home, up; /* HOME is locked exclusively */
	int note;     /* guests/<name>/unify, locked; -1: none */
	struct cowfs_record rec;
};

enum cowfs_taking {
	COWFS_TAKE_STOPPED,
	COWFS_TAKE_RUNNING, /* only against unification, and it may run */
	COWFS_TAKE_IMAGE,   /* one that is stopped and has a file system of its own: without UP */
};

/* Holds GUEST. InUse, WrongState. */
int cowfs_take(const struct cowfs *c, const char *guest, enum cowfs_taking how,
	       struct cowfs_taken *ret, struct cos_err *err);
void cowfs_let_go(struct cowfs_taken *t);

/* An empty home for a guest in tmp/, with the looks of the directory UP for its root and the record
 * REC; its name in RET_NAME. Leaf. */
int cowfs_home_make(const struct cowfs *c, const struct cowfs_record *rec, int up, bool durable,
		    char ret_name[COWFS_ID_SIZE + 8]);
/* The home NAME in tmp/ becomes that of the guest TO; what it is worth is on the disk before.
 * -EEXIST (AlreadyExists). */
int cowfs_home_publish(const struct cowfs *c, const char *name, const char *to, bool durable,
		       struct cos_err *err);
