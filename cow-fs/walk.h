/* cow-fs/walk.h - all that is below a directory which a guest may have filled, and may be changing
 *
 * No link is followed, no mount entered, nothing above the directory is reached. What is nested
 * deeper than WALK_DEPTH_MAX or has a longer path than TREE_PATH_SIZE is counted and left out; at
 * most that many descriptors are open at a time. Order is the directories' own. */
#pragma once

#include <stdint.h>
#include <sys/stat.h>

#include "cow-fs/tree.h"

#define WALK_DEPTH_MAX TREE_DEPTH_MAX

struct walk_entry {
	int dir;          /* its directory; borrowed, as all */
	const char *name; /* in it */
	const char *path; /* from the top, without a first slash */
	struct stat st;
};

/* What FN may return besides a negative errno, which ends the walk. */
enum { WALK_ON, WALK_SKIP /* not into this directory */ };

struct walk {
	int top;
	int (*fn)(const struct walk_entry *e, void *arg); /* a directory comes before its content */
	/* After a directory's content; NULL: not called. DIR is the directory itself. */
	int (*leave)(int dir, const struct walk_entry *e, void *arg);
	void *arg;
	uint64_t left_out; /* counted: too deep, too long */
};

/* Leaf. What goes away meanwhile is not an error. */
int walk_tree(struct walk *w);
