/* cow-fs/trim.c - a manifest of exactly what a guest's stubs stand for */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cow-fs/gc.h"
#include "cow-fs/manifest.h"
#include "cow-fs/take.h"
#include "cow-fs/walk.h"
#include "lib/base/own.h"

/* The short name of an object as an element of a set. */
static struct digest key_of(const char *path)
{
	struct digest d = { { 0 } };

	memcpy(d.b, path, strnlen(path, sizeof(d.b)));
	/* The set takes the beginning for random. */
	for (size_t i = 0; i < 8; i++)
		d.b[i] ^= (unsigned char)(d.b[i + 8] << (i & 3));
	return d;
}

static int look(const struct walk_entry *e, void *arg)
{
	struct digest_set *present = arg;
	auto_close int fd = -1;
	char at[OBJECT_PATH_SIZE];
	struct digest key;
	int r;

	if (!S_ISREG(e->st.st_mode) || e->st.st_size == 0)
		return WALK_ON;
	fd = openat(e->dir, e->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? WALK_ON : -errno;
	r = stub_look(fd, at);
	if (r != STUB_OURS)
		return r < 0 ? r : WALK_ON;
	key = key_of(at);
	r = digest_set_add(present, &key);
	return r < 0 ? r : WALK_ON;
}

static int keep_present(const struct digest_set *all, const struct digest_set *present,
			struct digest_set *kept)
{
	for (size_t i = 0; i < all->room; i++) {
		char path[OBJECT_PATH_SIZE] = "";
		struct digest key;

		if (!all->used[i])
			continue;
		object_path(&all->slot[i], path);
		key = key_of(path);
		if (digest_set_has(present, &key) && digest_set_add(kept, &all->slot[i]) < 0)
			return -ENOMEM;
	}
	return 0;
}

static int trim(const struct cowfs_taken *t, uint64_t *ret_gone)
{
	struct digest_set all = { 0 }, present = { 0 }, kept = { 0 };
	struct walk w = { .top = t->up, .fn = look, .arg = &present };
	int r = manifest_read(t->home, &all);

	if (r == 0 && all.n > 0)
		r = walk_tree(&w);
	/* What was not seen may be a stub. */
	if (r == 0 && w.left_out == 0)
		r = keep_present(&all, &present, &kept);
	if (r == 0 && w.left_out == 0 && kept.n < all.n) {
		r = manifest_replace(t->home, &kept);
		*ret_gone = r == 0 ? all.n - kept.n : 0;
	}
	digest_set_done(&kept);
	digest_set_done(&present);
	digest_set_done(&all);
	return r;
}

int cowfs_trim(const struct cowfs *c, const char *guest, uint64_t *ret_gone, struct cos_err *err)
{
	struct cowfs_taken t;
	int r = cowfs_take(c, guest, COWFS_TAKE_STOPPED, &t, err);

	if (r < 0)
		return r;
	*ret_gone = 0;
	r = trim(&t, ret_gone);
	cowfs_let_go(&t);
	return r < 0 ? cos_fail(err, COS_E_KERNEL, -r, "trim the manifest of %s", guest) : 0;
}
