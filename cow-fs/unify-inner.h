/* cow-fs/unify-inner.h - the two halves of a unification: finding candidates and swapping them */
#pragma once

#include "cow-fs/manifest.h"
#include "cow-fs/pool.h"
#include "cow-fs/swap.h"
#include "cow-fs/unify.h"
#include "cow-fs/walk.h"

#define ROUND_MAX 4096 /* candidates between two waits for the disk */
#define BATCH_MAX 128  /* files that are open at a time while they are swapped */

struct candidate {
	char *path;
	uint64_t size, blocks;
	ino_t ino;
	struct timespec ctime, mtime;
	struct digest digest;
	bool pending; /* the object is to be settled */
	bool lost;    /* nothing can stand for it: stays as it is */
};

struct unify {
	const struct cowfs_unify *u;
	struct cowfs_pool *pool;
	struct digester *g;
	int home, top; /* borrowed */
	bool is_guest; /* HOME is locked for each batch, TOP must not be in use */
	int place;     /* home/sw */
	char prefix[SWAP_PREFIX_SIZE];
	unsigned batch_no;
	size_t batch_max; /* files of a running guest that are swapped at a time: see unify-swap.c
			   */
	bool is_dirty;    /* something may be left in TOP */
	uint64_t min_bytes;
	struct digest_set manifest, seen; /* SEEN: with dry_run */
	struct candidate cand[ROUND_MAX];
	size_t n;
	struct cowfs_unified count;
	struct cos_err *err;
};

/* A lease on FD that is broken by who opens the file to write; without READERS also one that is
 * refused while anybody else has it open. -EAGAIN. Leaf. */
int unify_lease(int fd, bool readers);
bool unify_is_leased(int fd);
void unify_unlease(int fd);

/* Whether the file is the one that was hashed. Pure. */
bool unify_is_same(const struct candidate *c, const struct stat *st);

/* Swaps all candidates whose objects are durable and in the manifest. Tells. */
int unify_swap_all(struct unify *f);
