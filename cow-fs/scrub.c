/* cow-fs/scrub.c - objects that are damaged */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cow-fs/gc.h"
#include "cow-fs/inner.h"
#include "cow-fs/manifest.h"
#include "cow-fs/pool.h"
#include "cow-fs/walk.h"
#include "lib/base/io.h"
#include "lib/base/own.h"

struct scrub {
	const struct cowfs_scrub *o;
	const struct cowfs *c;
	struct cowfs_pool *pool;
	struct digester *g;
	struct digest_set bad, mended;
	struct cowfs_scrubbed n;
	int dir;
};

const char *const cowfs_finding_name[] = {
	[COWFS_DAMAGED] = "damaged",
	[COWFS_REPAIRED] = "repaired",
	[COWFS_PUT_ASIDE] = "put-aside",
};

static void tell(const struct scrub *s, const struct digest *d, enum cowfs_finding what)
{
	char ref[OBJECT_REF_SIZE];

	if (!s->o->found)
		return;
	object_ref(d, ref);
	s->o->found(strchr(ref, '/') + 1, what, s->o->arg);
}

/* 1: it holds what its name says. */
static int is_whole(struct scrub *s, const struct digest *d, uint64_t *ret_size)
{
	auto_close int fd = pool_open_object(s->pool, d);
	struct digest is;
	int r;

	if (fd < 0)
		return fd;
	r = digest_fd(s->g, fd, UINT64_MAX, NULL, NULL, &is, ret_size);
	/* What the disk cannot read is as bad as what it reads wrong. */
	if (r == -EIO || r == -EUCLEAN || r == -EBADMSG)
		return 0;
	return r < 0 ? r : memcmp(&is, d, sizeof(is)) == 0;
}

static int look(const struct digest *d, const struct stat *st, void *arg)
{
	struct scrub *s = arg;
	uint64_t size = 0;
	int r;

	if (st->st_nlink < 2)
		return 0;
	r = is_whole(s, d, &size);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	s->n.objects++;
	s->n.bytes += size;
	if (r == 0) {
		s->n.bad++;
		if (s->o->dry_run)
			tell(s, d, COWFS_DAMAGED);
		r = digest_set_add(&s->bad, d);
		if (r < 0)
			return r;
	}
	if (s->o->progress && s->o->progress(s->n.objects, s->n.bytes, s->o->arg) != 0)
		return -ECANCELED;
	return 0;
}

/* ---- repair, under the exclusive lock ---- */

static int mend_from(struct scrub *s, int fd, const struct digest *d)
{
	int r = pool_replace(s->pool, s->g, fd, d);

	if (r < 0)
		return r == -EAGAIN ? 0 : r;
	s->n.repaired++;
	tell(s, d, COWFS_REPAIRED);
	return digest_set_add(&s->mended, d) < 0 ? -ENOMEM : 0;
}

static int try_file(const struct walk_entry *e, void *arg)
{
	struct scrub *s = arg;
	auto_close int fd = -1;
	char at[OBJECT_PATH_SIZE];
	struct digest d;
	uint64_t size;
	int r;

	if (!S_ISREG(e->st.st_mode) || e->st.st_size == 0 || e->st.st_blocks == 0)
		return WALK_ON;
	fd = openat(e->dir, e->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0 || stub_look(fd, at) != STUB_NOT)
		return WALK_ON;
	r = digest_fd(s->g, fd, (uint64_t)e->st.st_size, NULL, NULL, &d, &size);
	if (r < 0 || !digest_set_has(&s->bad, &d) || digest_set_has(&s->mended, &d))
		return WALK_ON;
	return mend_from(s, fd, &d);
}

static int search_tree(struct scrub *s, int top)
{
	struct walk w = { .top = top, .fn = try_file, .arg = s };

	return s->mended.n < s->bad.n ? walk_tree(&w) : 0;
}

/* A layer, or a guest: whichever directory of the two is there. */
static int search_in(const char *name, void *arg)
{
	static const char *const tops[] = { "root", "up" };
	struct scrub *s = arg;
	char path[320];
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(tops) && r == 0; i++) {
		auto_close int top = -1;

		snprintf(path, sizeof(path), "%s/%s", name, tops[i]);
		top = openat(s->dir, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		r = top < 0 ? 0 : search_tree(s, top);
	}
	return r;
}

static int search(struct scrub *s)
{
	const int dirs[] = { s->c->layers, s->c->guests };
	int r = s->o->from >= 0 ? search_tree(s, s->o->from) : 0;

	for (size_t i = 0; i < ARRAY_SIZE(dirs) && r == 0; i++) {
		s->dir = dirs[i];
		r = io_each_entry(s->dir, search_in, s);
	}
	return r;
}

/* It was damaged when nobody was kept out: another one may have mended or removed it by now. */
static int put_aside(struct scrub *s, const struct digest *d)
{
	uint64_t size;
	int r = is_whole(s, d, &size);

	if (r != 0)
		return r > 0 || r == -ENOENT ? 0 : r;
	r = pool_quarantine(s->pool, d);
	if (r < 0)
		return r;
	s->n.quarantined++;
	tell(s, d, COWFS_PUT_ASIDE);
	return 0;
}

static int mend(struct scrub *s)
{
	int r = search(s);

	for (size_t i = 0; i < s->bad.room && r == 0; i++) {
		if (s->bad.used[i] && !digest_set_has(&s->mended, &s->bad.slot[i]))
			r = put_aside(s, &s->bad.slot[i]);
	}
	return r == 0 ? pool_sync(s->pool) : r;
}

static int run(struct scrub *s, const char *domain, struct cos_err *err)
{
	int r = pool_each(s->pool, look, s);

	if (r < 0)
		return cos_fail(err, COS_E_KERNEL, -r, "scrub: read the pool");
	if (s->bad.n == 0 || s->o->dry_run)
		return 0;
	cowfs_pool_close(s->pool);
	r = cowfs_pool_open(s->c, domain, COWFS_POOL_TAKE, s->pool, err);
	if (r < 0)
		return cos_context(err, r, "repair damaged objects");
	r = mend(s);
	return r < 0 ? cos_fail(err, COS_E_KERNEL, -r, "scrub: repair") : 0;
}

int cowfs_scrub(const struct cowfs *c, const char *domain, const struct cowfs_scrub *o,
		struct cowfs_scrubbed *ret, struct cos_err *err)
{
	struct cowfs_pool pool;
	struct scrub s = { .o = o, .c = c, .pool = &pool, .g = digester_new() };
	int r = s.g ? cowfs_pool_open(c, domain, COWFS_POOL_LOOK, &pool, err)
		    : cos_fail(err, COS_E_KERNEL, ENOMEM, "scrub");

	if (r == 0) {
		r = run(&s, domain, err);
		*ret = s.n;
		cowfs_pool_close(&pool);
	}
	digest_set_done(&s.bad);
	digest_set_done(&s.mended);
	digester_free(s.g);
	return r;
}
