/* cow-fs/digest.h - SHA-256 by libcrypto: its assembly, fetched once */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "cow-fs/object.h"

/* A hash under way; make it once and use it for many files. */
struct digester;

/* NULL when libcrypto has no SHA-256 or memory is out. */
struct digester *digester_new(void);
void digester_free(struct digester *g);

int digester_begin(struct digester *g);
int digester_add(struct digester *g, const void *p, size_t len);
int digester_end(struct digester *g, struct digest *ret);

/* Called after each MiB; not 0 ends the work with that. */
typedef int digest_tick(void *arg);

/* The content of FD from its start to its end; *RET_SIZE is its length. -EFBIG beyond MAX bytes.
 * Leaf. */
int digest_fd(struct digester *g, int fd, uint64_t max, digest_tick *tick, void *arg,
	      struct digest *ret, uint64_t *ret_size);
