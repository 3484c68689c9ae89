/* cow-fs/flatten.c - many layers as one */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cow-fs/clone-inner.h"
#include "cow-fs/flatten.h"
#include "cow-fs/inner.h"
#include "cow-fs/mount.h"
#include "cow-fs/pool.h"
#include "cow-fs/take.h"
#include "cow-fs/unify.h"
#include "lib/base/clock.h"
#include "lib/base/io.h"
#include "lib/base/own.h"

struct opened {
	int lower[COWFS_LAYERS_MAX + 1], pool[2];
	unsigned n_lower, n_pool;
};

static void opened_done(struct opened *o)
{
	while (o->n_lower > 0)
		close_p(&o->lower[--o->n_lower]);
	while (o->n_pool > 0)
		close_p(&o->pool[--o->n_pool]);
}

static int open_all(const struct cowfs *c, const struct cowfs_layers *l, const char *domain,
		    int over, struct opened *o, struct cos_err *err)
{
	int fd;

	if (over >= 0) {
		fd = fcntl(over, F_DUPFD_CLOEXEC, 3);
		if (fd < 0)
			return cos_fail(err, COS_E_KERNEL, errno, "duplicate a descriptor");
		o->lower[o->n_lower++] = fd;
	}
	for (unsigned i = 0; i < l->n; i++) {
		fd = cowfs_layer_open(c, l->id[i], err);
		if (fd < 0)
			return fd;
		o->lower[o->n_lower++] = fd;
	}
	for (int own = domain && domain[0] ? 1 : 0; own >= 0; own--) {
		auto_close int base = cowfs_domain_open(c, own ? domain : NULL);

		fd = base < 0 ? base : io_dir_at(base, "pool", 0755);
		if (fd < 0)
			return cos_fail(err, COS_E_KERNEL, -fd, "open the pool");
		o->pool[o->n_pool++] = fd;
	}
	return 0;
}

int cowfs_layers_mount(const struct cowfs *c, const struct cowfs_layers *l, const char *domain,
		       int over, unsigned features, struct cos_err *err)
{
	struct opened o = { .n_lower = 0 };
	int r = open_all(c, l, domain, over, &o, err);

	if (r == 0) {
		const struct cowfs_mount m = {
			.lower = o.lower,
			.n_lower = o.n_lower,
			.pool = o.pool,
			.n_pool = o.n_pool,
		};

		r = cowfs_mount_readonly(&m, features, err);
	}
	opened_done(&o);
	return r;
}

/* ---- a layer like that ---- */

static int write_meta(int dir)
{
	auto_json json_t *j = json_pack("{s:I, s:s}", "created", (json_int_t)clock_wall_usec(),
					"source", "flatten");
	auto_free char *text = json_dumps(j, JSON_COMPACT);

	return text ? io_replace_at(dir, "meta.json", text, strlen(text), 0600, false) : -ENOMEM;
}

static int fill_layer(const struct cowfs *c, const char *domain, int top, int dir,
		      struct cos_err *err)
{
	auto_close int root = io_dir_at(dir, "root", 0755);
	const struct cowfs_unify u = { 0 };
	struct cowfs_unified n;
	struct cowfs_pool pool;
	int r = root < 0 ? root : cowfs_copy_tree(top, root, true);

	if (r < 0)
		return cos_fail(err, COS_E_KERNEL, -r, "copy the layers' files");
	r = cowfs_pool_open(c, domain, COWFS_POOL_ADD, &pool, err);
	if (r < 0)
		return r;
	r = cowfs_unify_tree(&pool, dir, root, &u, &n, err);
	cowfs_pool_close(&pool);
	if (r < 0)
		return r;
	r = write_meta(dir);
	if (r == 0 && syncfs(dir) < 0)
		r = -errno;
	return r < 0 ? cos_fail(err, COS_E_KERNEL, -r, "make the new layer durable") : 0;
}

static int make_layer(const struct cowfs *c, const struct cowfs_record *rec, unsigned features,
		      char *id, int *ret_dir, struct cos_err *err)
{
	auto_close int mnt = cowfs_layers_mount(c, &rec->layers, rec->domain, -1, features, err);
	auto_close int top = mnt < 0 ? -1 : openat(mnt, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	auto_close int dir = -1;
	int r = mnt < 0 ? mnt : 0;

	if (r == 0) {
		r = cowfs_id_make(id);
		dir = r < 0 ? r : io_dir_at(c->tmp, id, 0700);
		/* Locked, as an import's. */
		r = dir < 0 ? dir : io_lock(dir);
		if (r < 0)
			return cos_fail(err, COS_E_KERNEL, -r, "make a directory in cow/tmp");
		r = fill_layer(c, rec->domain, top, dir, err);
	}
	if (r == 0 && (renameat(c->tmp, id, c->layers, id) < 0 || fsync(c->layers) < 0))
		r = cos_fail(err, COS_E_KERNEL, errno, "rename tmp/%s to layers", id);
	if (r < 0 && dir >= 0)
		cowfs_retire(c, c->tmp, id);
	if (r == 0)
		*ret_dir = take_fd(dir);
	return r;
}

static int flatten_taken(const struct cowfs *c, struct cowfs_taken *t, unsigned features,
			 struct cos_err *err)
{
	auto_free char *text = NULL;
	auto_close int dir = -1; /* locked until a record names the layer */
	char id[COWFS_ID_SIZE];
	int r = make_layer(c, &t->rec, features, id, &dir, err);

	if (r < 0)
		return r;
	t->rec.layers.n = 1;
	memcpy(t->rec.layers.id[0], id, sizeof(id));
	text = cowfs_record_text(&t->rec);
	r = text ? io_replace_at(t->home, "root.json", text, strlen(text), 0600, true) : -ENOMEM;
	return r < 0 ? cos_fail(err, COS_E_KERNEL, -r, "write root.json") : 0;
}

int cowfs_flatten(const struct cowfs *c, const char *guest, unsigned features, struct cos_err *err)
{
	struct cowfs_taken t;
	int r = cowfs_take(c, guest, COWFS_TAKE_STOPPED, &t, err);

	if (r < 0)
		return cos_context(err, r, "flatten %s", guest);
	if (t.rec.layers.n > 1)
		r = flatten_taken(c, &t, features, err);
	cowfs_let_go(&t);
	return r < 0 ? cos_context(err, r, "flatten %s", guest) : 0;
}
