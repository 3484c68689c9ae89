/* cow-fs/pool.h - objects: content that files of many guests share, each stored once
 *
 *   pool/.c/x/<18>      the object, mode 0444; pool/ is the bottom layer of guests' roots
 *   pool.ref/ab/<64>    the same inode under its whole SHA-256
 *   pool.bad/<64>       what scrub found damaged
 *   pool.run/<id>       a run under way that adds objects; locked (flock) while it lives
 *   pool.lock           shared: adds and uses objects; exclusive: takes some away
 *
 * Invariants. An object is never changed. Its name in ref comes first, when its data is written;
 * its name in .c only when its data is on the disk. So nlink 2 means: there, whole, durable; nlink
 * 1 is an insert under way or an interrupted one, which nothing names. While a guest is mounted
 * objects are only added; cowfs_gc() alone takes away those that no manifest names.
 *
 * A trust domain has a pool of its own, below domains/<name>/. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "cow-fs/digest.h"
#include "cow-fs/object.h"
#include "cow-fs/store.h"

struct cowfs_pool {
	int objects, ref, bad, lock; /* .c, pool.ref, pool.bad, pool.lock */
	int runs, run;               /* pool.run, and the one of this process; -1 */
	char run_name[COWFS_ID_SIZE];
	bool unsettled;   /* set by who leaves pending objects behind: others will find them */
	uint64_t removed; /* remains of interrupted inserts */
};

enum cowfs_pool_how {
	COWFS_POOL_LOOK, /* no lock: counts and names, which may be gone a moment later */
	COWFS_POOL_ADD, /* shared lock; what interrupted runs left is removed if nobody else is here
			 */
	COWFS_POOL_TAKE, /* exclusive lock: InUse (-EBUSY) when somebody has any */
};

/* Opens the pool of DOMAIN (NULL or "": the default one), made if it is missing. Waits while
 * another process takes objects away. */
int cowfs_pool_open(const struct cowfs *c, const char *domain, enum cowfs_pool_how how,
		    struct cowfs_pool *ret, struct cos_err *err);
void cowfs_pool_close(struct cowfs_pool *p);

enum pool_state {
	POOL_MISSING,
	POOL_PENDING, /* its name in .c is still to be made: pool_settle() */
	POOL_THERE,
};
/* One fstatat(). Leaf. */
int pool_find(const struct cowfs_pool *p, const struct digest *d);

/* Copies the content of FD into the pool, whatever it is by now: *RET says which object it became
 * and *RET_SIZE how long it is. POOL_THERE, or POOL_PENDING when pool_settle() is due. By reflink
 * where the file system can, else a read and a write; holes stay holes. -EFBIG beyond MAX. Leaf. */
int pool_add(const struct cowfs_pool *p, struct digester *g, int fd, uint64_t max,
	     struct digest *ret, uint64_t *ret_size);

/* After syncfs() the second name of a pending object. -EEXIST when the short name is another
 * object's (never seen; the file then stays as it is). The name is not durable yet. Leaf. */
int pool_settle(const struct cowfs_pool *p, const struct digest *d);
/* Makes data and names durable that were written so far. Leaf. */
int pool_sync(const struct cowfs_pool *p);

/* Opens an object to read; -ENOENT. Leaf. */
int pool_open_object(const struct cowfs_pool *p, const struct digest *d);
/* Takes an object away, both names. The caller has the exclusive lock. Leaf. */
int pool_drop(const struct cowfs_pool *p, const struct digest *d);

/* Puts a copy of the content of FD in the place of the damaged object D; durable on return. -EAGAIN
 * when that content is not D's. The caller has the exclusive lock. Leaf. */
int pool_replace(const struct cowfs_pool *p, struct digester *g, int fd, const struct digest *d);
/* Moves a damaged object to pool.bad/; what it stood for cannot be read any more. The caller has
 * the exclusive lock. Leaf. */
int pool_quarantine(const struct cowfs_pool *p, const struct digest *d);

/* Calls FN for each name in ref, in no order, until it returns not 0. Leaf. */
int pool_each(const struct cowfs_pool *p,
	      int (*fn)(const struct digest *d, const struct stat *st, void *arg), void *arg);
