/* cow-fs/gc.h - objects that nobody needs any more, and those that are damaged */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "cow-fs/store.h"

struct cowfs_gc {
	bool dry_run;
	bool trim; /* first write the manifests of guests that do not run anew: cowfs_trim() */
	uint64_t grace_usec; /* younger objects stay: the next unification may find them */
};

struct cowfs_collected {
	uint64_t objects, bytes;       /* in the pool before; on the disk */
	uint64_t marked;               /* of them named by a manifest */
	uint64_t young;                /* not named, and kept */
	uint64_t trimmed;              /* names in manifests that no stub had */
	uint64_t removed, freed_bytes; /* with dry_run: would be */
};

/* Takes away the objects of DOMAIN's pool (NULL: the default one) that no manifest of a guest or a
 * layer names. Guests may run. InUse while somebody adds to the pool; KernelRefused, and nothing is
 * taken away, when a manifest cannot be read. Memory: 50 bytes for each object that is named. */
int cowfs_gc(const struct cowfs *c, const char *domain, const struct cowfs_gc *o,
	     struct cowfs_collected *ret, struct cos_err *err);

/* Writes GUEST's manifest anew, with what its stubs stand for now: since it was begun, the guest
 * may have written to or removed many. Reads an attribute of each file without data. InUse when it
 * runs. *RET_GONE gets how many digests are not in it any more. */
int cowfs_trim(const struct cowfs *c, const char *guest, uint64_t *ret_gone, struct cos_err *err);

enum cowfs_finding { COWFS_DAMAGED, COWFS_REPAIRED, COWFS_PUT_ASIDE };
extern const char *const cowfs_finding_name[];

struct cowfs_scrub {
	int from; /* a directory to look for whole copies in besides layers and guests; -1: none */
	bool dry_run; /* only look */
	/* Called for each object; not 0 ends the work with that. NULL. */
	int (*progress)(uint64_t objects, uint64_t bytes, void *arg);
	/* Called for each damaged object, by its 64 hexadecimal digits, when it is known what
	 * becomes of it; COWFS_DAMAGED with dry_run. NULL. */
	void (*found)(const char *object, enum cowfs_finding what, void *arg);
	void *arg;
};

struct cowfs_scrubbed {
	uint64_t objects, bytes;
	uint64_t bad;         /* whose content is not what their name says */
	uint64_t repaired;    /* of them, from a whole copy */
	uint64_t quarantined; /* of them; files that they stood for cannot be read now (EIO) */
};

/* Reads every object of the pool. A damaged one is replaced by a whole copy if a template, a layer
 * or a guest has that file with its own data; else it goes to pool.bad/, because no answer is
 * better than a wrong one. A running guest that has the damaged object open goes on reading it.
 * InUse, with *RET counted, when there is something to repair and somebody adds to the pool. */
int cowfs_scrub(const struct cowfs *c, const char *domain, const struct cowfs_scrub *o,
		struct cowfs_scrubbed *ret, struct cos_err *err);
