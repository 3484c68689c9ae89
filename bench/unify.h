/* bench/unify.h - the parts of bench/unify: a store on a file system of its own, and the rows
 *
 * What fails ends the bench with a word, and leaves nothing. */
#pragma once

#include "bench/bench.h"
#include "cow-fs/inner.h"
#include "cow-fs/unify.h"

#define STAGE_LAYER "00000000000000000000000000000001" /* of the template */
#define STAGE_LARGE (128UL << 20)
#define ROUNDS      200

/* All that rows work with; one for the program. */
struct stage {
	struct bench b;
	struct cowfs store;
	struct cos_err err;
	unsigned features, guests;
	int place, userns;
	const char *fs_type;
};
extern struct stage stage;

/* ---- unify-stage.c ---- */

/* With the template "t": a tree, a large file and a small one. */
void stage_open(void);
void stage_close(void);
__attribute__((noreturn)) void stage_die(const char *what);
/* A line: VALUE, what it is compared with, and the ratio to reach; OTHER 1: the figure itself. */
void stage_row(const char *what, double value, const char *unit, double other, const char *versus,
	       double reach);
/* A file of SIZE bytes that only SEED determines. */
void stage_put(int dir, const char *name, unsigned seed, size_t size, mode_t mode);
/* A few thousand files of sizes as in /usr. */
void stage_tree(int top);
/* Until files are old enough to be unified. */
void stage_settle(void);
void stage_drop_caches(void);
/* Bytes of the store's files in the page cache, and of the file system that are taken. */
uint64_t stage_cached(void);
uint64_t stage_used(void);
void stage_guest(const char *name);
/* A guest's root, and an overlay of the template as any runtime makes one; descriptors of mounts
 * that the caller closes. */
int stage_mount(const char *name, bool mapped);
int stage_plain(const char *name, bool mapped);
int stage_upper(const char *name);
struct cowfs_unified stage_unify(const char *name, const struct cowfs_unify *u);

/* ---- unify-store.c ---- */

void rows_create(void);
void rows_space(void);
void rows_upgraded(void);
void rows_walks(void);

/* ---- unify-work.c ---- */

void rows_first_write(void);
void rows_speed(void);
void rows_freeze(void);
void rows_import(void);
