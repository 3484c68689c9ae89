/* lib/kern/htb.h - the tree of HTB classes on a link
 *
 * HTB_MAJOR is the tree's handle on every link, so that a packet's priority, which nftables sets,
 * names its class there: the class of a guest is the same number in the tree of what leaves and in
 * that of what arrives. Rates are bits per second. */
#pragma once

#include "lib/kern/nltx.h"

#define HTB_MAJOR 0xc05U

struct htb_class {
	uint16_t parent, id; /* parent 0: the tree */
	uint64_t rate, ceil;
	uint64_t burst, cburst; /* bytes */
	uint32_t quantum; /* bytes that go in one turn; at least 64 KiB for each part of a share:
			     the kernel hands over segments of that size */
	uint32_t queue;   /* bytes that may wait; 0: the class has classes below it */
	bool codel;       /* they wait in fq_codel, not in one line */
};

/* The tree, with the class of all that has none; one of ours that is there stays. Another one
 * fails: EEXIST, unless it is the kernel's own default. */
void htb_tree(struct nltx *t, int index, uint16_t dflt);
void htb_drop_tree(struct nltx *t, int index);
/* Makes or changes a class and its queue. */
void htb_class(struct nltx *t, int index, const struct htb_class *c);
/* Whether the kernel has fq_codel: tried on class ID, which is a leaf. Commits. */
bool htb_has_codel(struct nltx *t, int index, uint16_t id);
void htb_drop_class(struct nltx *t, int index, uint16_t id);

struct htb_count {
	uint64_t bytes, packets, drops; /* bytes of frames, headers of all segments included */
	uint64_t over;                  /* times that it had to wait for its rate */
};
/* Calls FN for each class of the tree on the link until it returns not 0. */
int htb_each(struct nltx *t, int index,
	     int (*fn)(uint16_t id, const struct htb_count *c, void *arg), void *arg,
	     struct cos_err *err);
/* That of one class. */
int htb_read(struct nltx *t, int index, uint16_t id, struct htb_count *ret, struct cos_err *err);
/* Whether the link's root is our tree, or something that an administrator set; leaf. */
enum htb_root { HTB_NONE, HTB_OURS, HTB_OTHER };
int htb_root(struct nltx *t, int index, enum htb_root *ret, struct cos_err *err);
