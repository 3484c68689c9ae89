/* cow-fs/manifest.h - which objects the stubs of a guest or of a layer may name
 *
 * A manifest is a superset: a stub is only made when its object's digest is here, durably; one that
 * a guest removes stays until the manifest is written anew. It is a header of 16 bytes and digests
 * of 32. What a crash leaves at its end, a part of a digest or one that nothing stands for, only
 * keeps an object that nobody needs. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "cow-fs/object.h"

#define MANIFEST "manifest"

/* A set of digests in memory, 32 bytes and some for each; zeroed is empty. */
struct digest_set {
	struct digest *slot;
	unsigned char *used;
	size_t n, room;
};
bool digest_set_has(const struct digest_set *s, const struct digest *d);
/* 1: added, 0: was there, -ENOMEM. */
int digest_set_add(struct digest_set *s, const struct digest *d);
void digest_set_done(struct digest_set *s);

/* Adds all that DIR/manifest names; 0 also when there is none. -EUCLEAN when it is not one. Leaf.
 */
int manifest_read(int dir, struct digest_set *s);
/* Adds to DIR/manifest those of D that S does not have, and then to S; durable on return. Leaf. */
int manifest_add(int dir, struct digest_set *s, const struct digest *d, size_t n);
/* Puts a manifest of exactly S in the place of the old one, durably. Leaf. */
int manifest_replace(int dir, const struct digest_set *s);
