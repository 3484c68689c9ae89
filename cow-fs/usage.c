/* cow-fs/usage.c - what a guest's files take */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cow-fs/inner.h"
#include "cow-fs/object.h"
#include "cow-fs/usage.h"
#include "cow-fs/walk.h"
#include "lib/base/own.h"

#define DISK_BLOCK 512U

struct counting {
	struct cowfs_usage *u;
	bool is_layer;
};

static bool is_stub(const struct walk_entry *e)
{
	auto_close int fd = -1;
	char at[OBJECT_PATH_SIZE];

	if (!S_ISREG(e->st.st_mode) || e->st.st_size == 0)
		return false;
	/* Data of its own takes at least as much as its length, but for holes. */
	if ((uint64_t)e->st.st_blocks * DISK_BLOCK >= (uint64_t)e->st.st_size)
		return false;
	fd = openat(e->dir, e->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	return fd >= 0 && stub_look(fd, at) == STUB_OURS;
}

static int count(const struct walk_entry *e, void *arg)
{
	struct counting *k = arg;
	uint64_t bytes = (uint64_t)e->st.st_blocks * DISK_BLOCK;

	if (!S_ISDIR(e->st.st_mode) && e->st.st_nlink > 1)
		bytes /= e->st.st_nlink;
	if (k->is_layer) {
		k->u->layer_bytes += bytes;
		return WALK_ON;
	}
	k->u->inodes++;
	k->u->own_bytes += bytes;
	if (is_stub(e)) {
		k->u->stubs++;
		k->u->shared_bytes += (uint64_t)e->st.st_size;
	}
	return WALK_ON;
}

static int count_layers(const struct cowfs *c, const struct cowfs_record *rec, struct counting *k,
			struct cos_err *err)
{
	struct walk w = { .fn = count, .arg = k };

	k->is_layer = true;
	for (unsigned i = 0; i < rec->layers.n; i++) {
		auto_close int layer = cowfs_layer_open(c, rec->layers.id[i], err);
		int r;

		if (layer < 0)
			return layer;
		w.top = layer;
		r = walk_tree(&w);
		if (r < 0)
			return cos_fail(err, COS_E_KERNEL, -r, "walk a layer");
	}
	return 0;
}

int cowfs_usage(const struct cowfs *c, const char *guest, bool layers, struct cowfs_usage *ret,
		struct cos_err *err)
{
	auto_close int home = -1;
	struct cowfs_usage u = { 0 };
	struct counting k = { .u = &u };
	struct walk w = { .fn = count, .arg = &k };
	struct cowfs_record rec;
	int r = cowfs_record_read(c, guest, &rec, err);

	if (r < 0)
		return r;
	home = openat(c->guests, guest, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (home < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "open cow/guests/%s", guest);
	w.top = home;
	r = walk_tree(&w);
	if (r < 0)
		return cos_fail(err, COS_E_KERNEL, -r, "walk the files of %s", guest);
	u.layers = rec.layers.n;
	r = layers ? count_layers(c, &rec, &k, err) : 0;
	if (r == 0)
		*ret = u;
	return r;
}
