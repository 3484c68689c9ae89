/* cow-fs/clone.c - a clone by a copy: of the upper directory of a guest that runs, of an image */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "cow-fs/attr.h"
#include "cow-fs/clone-inner.h"
#include "cow-fs/clone.h"
#include "cow-fs/identity.h"
#include "cow-fs/image.h"
#include "cow-fs/manifest.h"
#include "cow-fs/pool.h"
#include "cow-fs/take.h"
#include "cow-fs/walk.h"
#include "lib/base/io.h"
#include "lib/base/own.h"
#include "lib/base/str.h"

#define BENEATH (RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV)
#define PERM    07777

#define FDINFO_SIZE 40

/* A file with several names, by its inode. */
struct name {
	ino_t ino;
	char *path;
};

struct copy {
	int to;
	bool leave_pool;
	int parent; /* in the copy, of the last entry */
	char parent_path[TREE_PATH_SIZE];
	void *names; /* tsearch() of struct name */
	char list[ATTR_VALUE_MAX], value[ATTR_VALUE_MAX];
};

static int compare_name(const void *a, const void *b)
{
	const struct name *x = a, *y = b;

	return x->ino < y->ino ? -1 : x->ino > y->ino;
}

static void free_name(void *p)
{
	free(((struct name *)p)->path);
	free(p);
}

/* All of them: what the overlay keeps in them belongs to the files. By names, because fifos and
 * links have descriptors of their place only. */
static int copy_attrs(struct copy *c, int from, int to)
{
	char in[FDINFO_SIZE], out[FDINFO_SIZE];
	ssize_t len;

	snprintf(in, sizeof(in), "/proc/self/fd/%d", from);
	snprintf(out, sizeof(out), "/proc/self/fd/%d", to);
	len = listxattr(in, c->list, sizeof(c->list));
	if (len < 0)
		return errno == EOPNOTSUPP ? 0 : -errno;
	for (ssize_t at = 0; at < len; at += (ssize_t)strlen(c->list + at) + 1) {
		ssize_t n = getxattr(in, c->list + at, c->value, sizeof(c->value));

		if (n < 0 || setxattr(out, c->list + at, c->value, (size_t)n, 0) < 0)
			return -errno;
	}
	return 0;
}

static int copy_looks(struct copy *c, int from, int to, const struct stat *st)
{
	const struct timespec ts[2] = { st->st_atim, st->st_mtim };
	int r;

	if (fchown(to, st->st_uid, st->st_gid) < 0 || fchmod(to, st->st_mode & PERM) < 0)
		return -errno;
	r = copy_attrs(c, from, to);
	return r == 0 && futimens(to, ts) < 0 ? -errno : r;
}

static int copy_by_buffer(struct copy *c, int from, int to, off_t at, off_t end)
{
	const size_t room = sizeof(c->value);

	while (at < end) {
		size_t want = (size_t)(end - at) < room ? (size_t)(end - at) : room;
		ssize_t n = pread(from, c->value, want, at);
		int r;

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		r = io_write_all_at(to, c->value, (size_t)n, at);
		if (r < 0)
			return r;
		at += n;
	}
	return 0;
}

/* From one file system to another the kernel does not copy. */
static int copy_range(struct copy *c, int from, int to, off_t at, off_t end)
{
	while (at < end) {
		off_t out = at;
		ssize_t n = copy_file_range(from, &at, to, &out, (size_t)(end - at), 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EXDEV || errno == EOPNOTSUPP || errno == EINVAL))
			return copy_by_buffer(c, from, to, at, end);
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
	}
	return 0;
}

/* Holes stay holes: a stub is nothing else. */
static int copy_data(struct copy *c, int from, int to, off_t size)
{
	off_t at = 0, end;
	int r = 0;

	if (ioctl(to, FICLONE, from) == 0)
		return 0;
	while (r == 0 && at < size && (at = lseek(from, at, SEEK_DATA)) >= 0) {
		end = lseek(from, at, SEEK_HOLE);
		r = end < 0 ? -errno : copy_range(c, from, to, at, end);
		at = end;
	}
	if (r == 0 && at < 0 && errno != ENXIO)
		return -errno;
	return r == 0 && ftruncate(to, size) < 0 ? -errno : r;
}

static int copy_file(struct copy *c, const struct walk_entry *e, int dir)
{
	auto_close int from =
		openat(e->dir, e->name,
		       O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_NOATIME | O_CLOEXEC);
	auto_close int to = -1;
	int r;

	if (from < 0)
		return -errno;
	to = openat(dir, e->name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (to < 0)
		return -errno;
	r = copy_data(c, from, to, e->st.st_size);
	return r == 0 ? copy_looks(c, from, to, &e->st) : r;
}

static int make_special(const struct walk_entry *e, int dir)
{
	char target[TREE_PATH_SIZE];
	ssize_t n;

	if (!S_ISLNK(e->st.st_mode))
		return mknodat(dir, e->name, (e->st.st_mode & S_IFMT) | 0600, e->st.st_rdev) < 0
			       ? -errno
			       : 0;
	n = readlinkat(e->dir, e->name, target, sizeof(target) - 1);
	if (n < 0)
		return -errno;
	target[n] = '\0';
	return symlinkat(target, dir, e->name) < 0 ? -errno : 0;
}

static int copy_special(struct copy *c, const struct walk_entry *e, int dir)
{
	const struct timespec ts[2] = { e->st.st_atim, e->st.st_mtim };
	auto_close int from = -1, to = -1;
	int r = make_special(e, dir);

	if (r < 0)
		return r;
	from = openat(e->dir, e->name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	to = openat(dir, e->name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (from < 0 || to < 0 ||
	    fchownat(dir, e->name, e->st.st_uid, e->st.st_gid, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	if (!S_ISLNK(e->st.st_mode) && fchmodat(dir, e->name, e->st.st_mode & PERM, 0) < 0)
		return -errno;
	r = copy_attrs(c, from, to);
	return r == 0 && utimensat(dir, e->name, ts, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : r;
}

static int parent_of(struct copy *c, const struct walk_entry *e)
{
	size_t len = (size_t)(e->name - e->path);

	if (len == 0)
		return c->to;
	len--;
	if (c->parent >= 0 && strlen(c->parent_path) == len &&
	    memcmp(c->parent_path, e->path, len) == 0)
		return c->parent;
	close_p(&c->parent);
	memcpy(c->parent_path, e->path, len);
	c->parent_path[len] = '\0';
	c->parent = io_open2(c->to, c->parent_path, O_PATH | O_DIRECTORY, 0, BENEATH);
	return c->parent;
}

/* 1: linked to its first name; 0: this is the first. */
static int link_known(struct copy *c, const struct walk_entry *e, int dir)
{
	struct name key = { .ino = e->st.st_ino }, *n;
	struct name *const *found = tfind(&key, &c->names, compare_name);

	if (found)
		return linkat(c->to, (*found)->path, dir, e->name, 0) < 0 ? -errno : 1;
	n = malloc(sizeof(*n));
	if (!n)
		return -ENOMEM;
	*n = (struct name){ .ino = e->st.st_ino, .path = strdup(e->path) };
	if (!n->path || !tsearch(n, &c->names, compare_name)) {
		free_name(n);
		return -ENOMEM;
	}
	return 0;
}

static int copy_entry(const struct walk_entry *e, void *arg)
{
	struct copy *c = arg;
	int dir, r;

	if (c->leave_pool && strcmp(e->path, OBJECT_FOLDER) == 0)
		return WALK_SKIP;
	dir = parent_of(c, e);
	if (dir < 0)
		return dir;
	if (S_ISDIR(e->st.st_mode))
		return mkdirat(dir, e->name, 0700) < 0 ? -errno : WALK_ON;
	r = e->st.st_nlink > 1 ? link_known(c, e, dir) : 0;
	if (r != 0)
		return r < 0 ? r : WALK_ON;
	return S_ISREG(e->st.st_mode) ? copy_file(c, e, dir) : copy_special(c, e, dir);
}

/* When all is in it: an access list to be inherited would be. */
static int finish_dir(int dir, const struct walk_entry *e, void *arg)
{
	struct copy *c = arg;
	auto_close int to = io_open2(c->to, e->path, O_RDONLY | O_DIRECTORY, 0, BENEATH);

	return to < 0 ? to : copy_looks(c, dir, to, &e->st);
}

int cowfs_copy_tree(int from, int to, bool leave_pool)
{
	auto_free struct copy *c = calloc(1, sizeof(*c));
	struct walk w = { .top = from, .fn = copy_entry, .leave = finish_dir, .arg = c };
	struct stat st;
	int r;

	if (!c)
		return -ENOMEM;
	c->to = to;
	c->leave_pool = leave_pool;
	c->parent = -1;
	r = walk_tree(&w);
	if (r == 0 && w.left_out > 0)
		r = -ELOOP;
	if (r == 0 && fstat(from, &st) < 0)
		r = -errno;
	if (r == 0)
		r = copy_looks(c, from, to, &st);
	tdestroy(c->names, free_name);
	close_p(&c->parent);
	return r;
}

/* The manifest goes first: it is a superset at any time. */
static int copy_home(const struct cowfs_taken *t, int home, const struct cowfs_live *live)
{
	auto_close int up = openat(home, "up", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct digest_set marks = { 0 };
	int r = up < 0 ? -errno : manifest_read(t->home, &marks), e = 0;

	if (r == 0 && marks.n > 0)
		r = manifest_replace(home, &marks);
	digest_set_done(&marks);
	if (r < 0)
		return r;
	r = live ? live->freeze(true, live->arg) : 0;
	if (r == 0)
		r = cowfs_copy_tree(t->up, up, false);
	if (live)
		e = live->freeze(false, live->arg);
	if (r == 0)
		r = e;
	return r == 0 && syncfs(home) < 0 ? -errno : r;
}

static int copy_fail(int r, const char *to, struct cos_err *err)
{
	if (r == -ELOOP)
		return cos_fail(err, COS_E_IMAGE, 0,
				"it has directories nested deeper than %d, or longer paths than %d",
				WALK_DEPTH_MAX, TREE_PATH_SIZE);
	if (r == -ENOSPC || r == -EDQUOT)
		return cos_advise(err, cos_fail(err, COS_E_KERNEL, -r, "make cow/guests/%s", to),
				  "free space on the file system of the state directory");
	return cos_fail(err, COS_E_KERNEL, -r, "make cow/guests/%s", to);
}

static int clone_held(const struct cowfs *c, const struct cowfs_taken *t,
		      const struct cowfs_cloning *k, const struct cowfs_live *live,
		      struct cos_err *err)
{
	char tmp[COWFS_ID_SIZE + 8] = "";
	auto_close int home = -1;
	int r = cowfs_home_make(c, &t->rec, t->up, false, tmp);

	home = r < 0 ? -1 : openat(c->tmp, tmp, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (r == 0 && home < 0)
		r = -errno;
	if (r == 0)
		r = copy_home(t, home, live);
	if (r < 0)
		copy_fail(r, k->to, err);
	else if (k->anew)
		r = identity_forget_home(c, c->tmp, tmp, k->features, err);
	if (r == 0)
		r = cowfs_home_publish(c, tmp, k->to, true, err);
	if (r < 0)
		cowfs_retire(c, c->tmp, tmp);
	return r;
}

static int clone_running(const struct cowfs *c, const struct cowfs_cloning *k, const void *live,
			 struct cos_err *err)
{
	struct cowfs_pool pool;
	struct cowfs_taken t;
	int r = cowfs_take(c, k->from, COWFS_TAKE_RUNNING, &t, err);

	if (r < 0)
		return r;
	/* Objects that only FROM needed are not taken away while there are two of it. */
	r = cowfs_pool_open(c, t.rec.domain, COWFS_POOL_ADD, &pool, err);
	if (r == 0) {
		r = clone_held(c, &t, k, live, err);
		cowfs_pool_close(&pool);
	}
	cowfs_let_go(&t);
	return r;
}

int cowfs_clone_live(const struct cowfs *c, const struct cowfs_cloning *k,
		     const struct cowfs_live *live, struct cos_err *err)
{
	return cowfs_clone_by(c, k, clone_running, live, err);
}

/* ---- a file system of its own ---- */

static int copy_image(const struct cowfs_taken *t, int home, bool durable)
{
	struct copy *c = calloc(1, sizeof(*c));
	auto_close int to = -1, from = image_open_copy(t->home, home, &to);
	struct stat st;
	int r;

	if (!c || from < 0)
		r = c ? from : -ENOMEM;
	else if (fstat(from, &st) < 0)
		r = -errno;
	else
		r = copy_data(c, from, to, st.st_size);
	free(c);
	return r == 0 && durable && fsync(to) < 0 ? -errno : r;
}

static int copy_image_home(const struct cowfs_taken *t, int home, bool durable)
{
	auto_free char *text = cowfs_record_text(&t->rec);
	int r = text ? 0 : -ENOMEM;

	if (r == 0)
		r = copy_image(t, home, durable);
	if (r == 0)
		r = io_replace_at(home, "root.json", text, strlen(text), 0600, durable);
	return r;
}

static int clone_image(const struct cowfs *c, const struct cowfs_cloning *k, const void *arg,
		       struct cos_err *err)
{
	char tmp[COWFS_ID_SIZE + 8] = "g-";
	auto_close int home = -1;
	struct cowfs_taken t;
	int r = cowfs_take(c, k->from, COWFS_TAKE_IMAGE, &t, err);

	(void)arg;
	if (r < 0)
		return r;
	r = cowfs_id_make(tmp + 2);
	if (r == 0)
		r = home = io_dir_at(c->tmp, tmp, 0700);
	if (r >= 0)
		r = copy_image_home(&t, home, k->durable);
	if (r < 0)
		copy_fail(r, k->to, err);
	else if (k->anew)
		r = identity_forget_home(c, c->tmp, tmp, k->features, err);
	if (r == 0)
		r = cowfs_home_publish(c, tmp, k->to, k->durable, err);
	if (r < 0)
		cowfs_retire(c, c->tmp, tmp);
	cowfs_let_go(&t);
	return r;
}

bool cowfs_clone_is_image(const struct cowfs *c, const char *guest)
{
	auto_close int home =
		openat(c->guests, guest, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	return home >= 0 && image_is_there(home);
}

int cowfs_clone_image(const struct cowfs *c, const struct cowfs_cloning *k, struct cos_err *err)
{
	return cowfs_clone_by(c, k, clone_image, NULL, err);
}
