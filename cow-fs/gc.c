/* cow-fs/gc.c - objects that nobody needs any more */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cow-fs/gc.h"
#include "cow-fs/inner.h"
#include "cow-fs/manifest.h"
#include "cow-fs/pool.h"
#include "lib/base/clock.h"
#include "lib/base/io.h"
#include "lib/base/own.h"

#define DISK_BLOCK 512U

struct collecting {
	const struct cowfs *c;
	const struct cowfs_gc *o;
	struct cowfs_pool *pool;
	struct digest_set marks;
	int dir; /* whose manifests are read */
	uint64_t now_usec;
	struct cowfs_collected n;
};

static int mark(const char *name, void *arg)
{
	struct collecting *k = arg;
	auto_close int dir = openat(k->dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (dir < 0)
		return errno == ENOENT || errno == ENOTDIR ? 0 : -errno;
	return manifest_read(dir, &k->marks);
}

/* In the order in which things move meanwhile: an import or a flattened layer from tmp/ to layers,
 * a clone from tmp/ to guests, a snapshot from guests to layers. Who makes stubs holds the pool's
 * lock, but has let go of it before what they are in is published. */
static int mark_all(struct collecting *k, const struct cowfs *c)
{
	const int dirs[] = { c->tmp, c->guests, c->layers };
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(dirs) && r == 0; i++) {
		k->dir = dirs[i];
		r = io_each_entry(k->dir, mark, k);
	}
	return r;
}

/* One that runs or is worked on keeps its superset. */
static int trim(const char *guest, void *arg)
{
	struct collecting *k = arg;
	struct cos_err ignored;
	uint64_t gone = 0;

	if (cowfs_trim(k->c, guest, &gone, &ignored) == 0)
		k->n.trimmed += gone;
	return 0;
}

static int collect(const struct digest *d, const struct stat *st, void *arg)
{
	struct collecting *k = arg;
	uint64_t bytes = (uint64_t)st->st_blocks * DISK_BLOCK;
	uint64_t made = (uint64_t)st->st_ctim.tv_sec * USEC_PER_SEC;
	int r;

	k->n.objects++;
	k->n.bytes += bytes;
	if (digest_set_has(&k->marks, d)) {
		k->n.marked++;
		return 0;
	}
	if (made + k->o->grace_usec > k->now_usec) {
		k->n.young++;
		return 0;
	}
	r = k->o->dry_run ? 0 : pool_drop(k->pool, d);
	k->n.removed += r == 0;
	k->n.freed_bytes += r == 0 ? bytes : 0;
	return r;
}

int cowfs_gc(const struct cowfs *c, const char *domain, const struct cowfs_gc *o,
	     struct cowfs_collected *ret, struct cos_err *err)
{
	struct cowfs_pool pool;
	struct collecting k = { .c = c, .o = o, .pool = &pool, .now_usec = clock_wall_usec() };
	int r = cowfs_pool_open(c, domain, o->dry_run ? COWFS_POOL_LOOK : COWFS_POOL_TAKE, &pool,
				err);

	if (r < 0)
		return cos_context(err, r, "gc");
	if (o->trim && !o->dry_run)
		io_each_entry(c->guests, trim, &k);
	r = mark_all(&k, c);
	if (r < 0)
		cos_fail(err, COS_E_KERNEL, -r, "gc: read the manifests of guests and layers");
	else if ((r = pool_each(&pool, collect, &k)) < 0)
		cos_fail(err, COS_E_KERNEL, -r, "gc: look through the pool");
	*ret = k.n;
	digest_set_done(&k.marks);
	cowfs_pool_close(&pool);
	return r;
}
