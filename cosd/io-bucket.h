/* cosd/io-bucket.h - io.burst: what guests leave of their io caps is saved, and drawn later
 *
 * The kernel's caps have no bucket, so they follow the tokens: five times a second while a guest
 * draws, else once. One bucket for each cap, over all disks together. */
#pragma once

#include <jansson.h>

struct daemon;
struct guest;

void io_buckets_init(struct daemon *d);
/* A run has begun: FRESH, with full buckets; one that goes on with another worker has empty ones;
 * or the limits have changed. */
void io_bucket_begin(struct guest *g, bool fresh);
void io_bucket_end(struct guest *g);
/* Before the running guest's limits change: the kernel has what they say, and nothing else. */
void io_bucket_rest(struct guest *g);
/* What is saved, by the name of the limit, in its unit; NULL: the guest has no bucket. */
json_t *io_bucket_json(struct guest *g);
