/* cow-fs/pool.c - objects: find, add, settle, take away */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cow-fs/inner.h"
#include "cow-fs/pool.h"
#include "lib/base/io.h"
#include "lib/base/own.h"
#include "lib/base/str.h"

#define OBJECT_MODE 0444
#define BLOCK       4096U
#define PIECE       (256U << 10)
#define FDINFO_SIZE 40

static int link_fd(int fd, int dir, const char *name)
{
	char from[FDINFO_SIZE];

	snprintf(from, sizeof(from), "/proc/self/fd/%d", fd);
	return linkat(AT_FDCWD, from, dir, name, AT_SYMLINK_FOLLOW) < 0 ? -errno : 0;
}

/* Links FD at DIR/NAME, "x/y"; the folder is made when it is the first. */
static int link_below(int fd, int dir, const char *name)
{
	const char *slash = strchr(name, '/');
	int r = link_fd(fd, dir, name);
	char folder[8];

	if (r != -ENOENT || !slash)
		return r;
	snprintf(folder, sizeof(folder), "%.*s", (int)(slash - name), name);
	if (mkdirat(dir, folder, 0755) < 0 && errno != EEXIST)
		return -errno;
	return link_fd(fd, dir, name);
}

int pool_find(const struct cowfs_pool *p, const struct digest *d)
{
	char ref[OBJECT_REF_SIZE];
	struct stat st;

	object_ref(d, ref);
	if (fstatat(p->ref, ref, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? POOL_MISSING : -errno;
	return st.st_nlink > 1 ? POOL_THERE : POOL_PENDING;
}

int pool_open_object(const struct cowfs_pool *p, const struct digest *d)
{
	char ref[OBJECT_REF_SIZE];
	int fd;

	object_ref(d, ref);
	fd = openat(p->ref, ref, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* ---- adding ---- */

static bool is_zero(const char *p, size_t n)
{
	return p[0] == 0 && memcmp(p, p + 1, n - 1) == 0;
}

/* Blocks of zeros become holes. */
static int write_piece(int to, const char *p, size_t len, off_t at)
{
	while (len > 0) {
		size_t part = 0;
		int r;

		while (len >= BLOCK && is_zero(p, BLOCK)) {
			p += BLOCK;
			at += BLOCK;
			len -= BLOCK;
		}
		while (part < len && (len - part < BLOCK || !is_zero(p + part, BLOCK)))
			part += len - part < BLOCK ? len - part : BLOCK;
		if (part == 0)
			break;
		r = io_write_all_at(to, p, part, at);
		if (r < 0)
			return r;
		p += part;
		at += (off_t)part;
		len -= part;
	}
	return 0;
}

/* What is hashed is what is written, whoever changes FROM meanwhile. */
static int copy_hashed(struct digester *g, int from, int to, uint64_t max, struct digest *ret,
		       uint64_t *ret_size)
{
	auto_free char *buf = malloc(PIECE);
	uint64_t at = 0;
	int r = buf ? digester_begin(g) : -ENOMEM;
	ssize_t n;

	while (r == 0 && (n = pread(from, buf, PIECE, (off_t)at)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (at + (uint64_t)n > max)
			return -EFBIG;
		r = digester_add(g, buf, (size_t)n);
		if (r == 0)
			r = write_piece(to, buf, (size_t)n, (off_t)at);
		at += (uint64_t)n;
	}
	if (r == 0 && ftruncate(to, (off_t)at) < 0)
		r = -errno;
	if (r == 0)
		r = digester_end(g, ret);
	if (r == 0)
		*ret_size = at;
	return r;
}

/* A reflink is a snapshot: what is hashed is the snapshot. */
static int clone_hashed(struct digester *g, int from, int to, uint64_t max, struct digest *ret,
			uint64_t *ret_size)
{
	if (ioctl(to, FICLONE, from) < 0)
		return -EOPNOTSUPP;
	return digest_fd(g, to, max, NULL, NULL, ret, ret_size);
}

/* Another run is adding the same, or did and was interrupted: then its data may be bad. */
static int check_pending(const struct cowfs_pool *p, struct digester *g, const struct digest *d)
{
	auto_close int fd = pool_open_object(p, d);
	struct digest is;
	uint64_t size;
	int r = fd < 0 ? fd : digest_fd(g, fd, UINT64_MAX, NULL, NULL, &is, &size);

	if (r < 0)
		return r;
	return memcmp(&is, d, sizeof(is)) == 0 ? POOL_PENDING : -EUCLEAN;
}

int pool_add(const struct cowfs_pool *p, struct digester *g, int fd, uint64_t max,
	     struct digest *ret, uint64_t *ret_size)
{
	auto_close int to = openat(p->ref, ".", O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
	char ref[OBJECT_REF_SIZE];
	int r = to < 0 ? -errno : clone_hashed(g, fd, to, max, ret, ret_size);

	if (r == -EOPNOTSUPP)
		r = copy_hashed(g, fd, to, max, ret, ret_size);
	if (r == 0 && fchmod(to, OBJECT_MODE) < 0)
		r = -errno;
	if (r < 0)
		return r;
	object_ref(ret, ref);
	r = link_below(to, p->ref, ref);
	if (r != -EEXIST)
		return r < 0 ? r : POOL_PENDING;
	r = pool_find(p, ret);
	return r == POOL_PENDING ? check_pending(p, g, ret) : r;
}

int pool_settle(const struct cowfs_pool *p, const struct digest *d)
{
	auto_close int fd = pool_open_object(p, d);
	char path[OBJECT_PATH_SIZE];
	struct stat st, at;
	int r;

	if (fd < 0)
		return fd;
	object_path(d, path);
	r = link_below(fd, p->objects, path);
	if (r != -EEXIST)
		return r;
	if (fstat(fd, &st) < 0 || fstatat(p->objects, path, &at, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	return st.st_ino == at.st_ino ? 0 : -EEXIST;
}

int pool_sync(const struct cowfs_pool *p)
{
	return syncfs(p->ref) < 0 ? -errno : 0;
}

int pool_drop(const struct cowfs_pool *p, const struct digest *d)
{
	char path[OBJECT_PATH_SIZE], ref[OBJECT_REF_SIZE];
	struct stat st, at;

	object_path(d, path);
	object_ref(d, ref);
	if (fstatat(p->ref, ref, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	/* The short name first: an object without it is nobody's. */
	if (fstatat(p->objects, path, &at, AT_SYMLINK_NOFOLLOW) == 0 && at.st_ino == st.st_ino &&
	    unlinkat(p->objects, path, 0) < 0)
		return -errno;
	return unlinkat(p->ref, ref, 0) < 0 ? -errno : 0;
}

/* ---- damaged ones ---- */

/* Where FOLDER/NAME is, the name is another's from now on. */
static int link_over(int fd, int dir, const char *name)
{
	char tmp[COWFS_ID_SIZE];
	int r = cowfs_id_make(tmp);

	if (r == 0)
		r = link_fd(fd, dir, tmp);
	if (r == 0 && renameat(dir, tmp, dir, name) < 0) {
		r = -errno;
		unlinkat(dir, tmp, 0);
	}
	return r;
}

int pool_replace(const struct cowfs_pool *p, struct digester *g, int fd, const struct digest *d)
{
	auto_close int to = openat(p->ref, ".", O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
	char path[OBJECT_PATH_SIZE], ref[OBJECT_REF_SIZE];
	struct digest is;
	uint64_t size;
	int r = to < 0 ? -errno : copy_hashed(g, fd, to, UINT64_MAX, &is, &size);

	if (r < 0)
		return r;
	if (memcmp(&is, d, sizeof(is)) != 0)
		return -EAGAIN;
	if (fchmod(to, OBJECT_MODE) < 0 || fsync(to) < 0)
		return -errno;
	object_path(d, path);
	object_ref(d, ref);
	/* Guests' name first: whatever comes between, they read what is whole. */
	r = link_over(to, p->objects, path);
	return r == 0 ? link_over(to, p->ref, ref) : r;
}

int pool_quarantine(const struct cowfs_pool *p, const struct digest *d)
{
	char path[OBJECT_PATH_SIZE], ref[OBJECT_REF_SIZE];

	object_path(d, path);
	object_ref(d, ref);
	if (unlinkat(p->objects, path, 0) < 0 && errno != ENOENT)
		return -errno;
	return renameat(p->ref, ref, p->bad, ref + 3) < 0 ? -errno : 0;
}

/* ---- all of them ---- */

struct each {
	const struct cowfs_pool *p;
	int dir;
	const char *folder;
	int (*fn)(const struct digest *d, const struct stat *st, void *arg);
	void *arg;
};

static int each_object(const char *name, void *arg)
{
	const struct each *e = arg;
	struct digest d;
	struct stat st;

	if (!object_from_ref(e->folder, name, &d))
		return 0;
	if (fstatat(e->dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	return S_ISREG(st.st_mode) ? e->fn(&d, &st, e->arg) : 0;
}

static int each_folder(const char *name, void *arg)
{
	struct each *e = arg;
	auto_close int dir = -1;

	if (strlen(name) != 2)
		return 0;
	dir = openat(e->p->ref, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir < 0)
		return errno == ENOENT ? 0 : -errno;
	e->dir = dir;
	e->folder = name;
	return io_each_entry(dir, each_object, e);
}

int pool_each(const struct cowfs_pool *p,
	      int (*fn)(const struct digest *d, const struct stat *st, void *arg), void *arg)
{
	struct each e = { .p = p, .fn = fn, .arg = arg };

	return io_each_entry(p->ref, each_folder, &e);
}

/* ---- open ---- */

static int open_parts(int base, struct cowfs_pool *p)
{
	auto_close int pool = io_dir_at(base, "pool", 0755);

	p->objects = pool < 0 ? -1 : io_dir_at(pool, OBJECT_FOLDER, 0755);
	p->ref = io_dir_at(base, "pool.ref", 0700);
	p->bad = io_dir_at(base, "pool.bad", 0700);
	p->runs = io_dir_at(base, "pool.run", 0700);
	p->lock = openat(base, "pool.lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (p->objects < 0 || p->ref < 0 || p->bad < 0 || p->runs < 0 || p->lock < 0)
		return errno ? -errno : -EIO;
	return 0;
}

static int lock(int fd, int how)
{
	int r;

	do
		r = flock(fd, how);
	while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : 0;
}

static int drop_pending(const struct digest *d, const struct stat *st, void *arg)
{
	struct cowfs_pool *p = arg;
	int r = st->st_nlink == 1 ? pool_drop(p, d) : 0;

	p->removed += st->st_nlink == 1 && r == 0;
	return r;
}

static int forget_run(const char *name, void *arg)
{
	const struct cowfs_pool *p = arg;

	return unlinkat(p->runs, name, 0) < 0 && errno != ENOENT ? -errno : 0;
}

static int count_run(const char *name, void *arg)
{
	(void)name;
	++*(unsigned *)arg;
	return 0;
}

/* Under the exclusive lock every run is a dead one. */
static int recover(struct cowfs_pool *p)
{
	unsigned n = 0;
	int r = io_each_entry(p->runs, count_run, &n);

	if (r < 0 || n == 0)
		return r;
	r = pool_each(p, drop_pending, p);
	return r < 0 ? r : io_each_entry(p->runs, forget_run, p);
}

/* Durable before the first object: or nobody would look for what it leaves. */
static int begin_run(struct cowfs_pool *p)
{
	int r = cowfs_id_make(p->run_name);

	if (r < 0)
		return r;
	p->run = openat(p->runs, p->run_name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (p->run < 0 || fsync(p->runs) < 0)
		return -errno;
	return 0;
}

static int lock_pool(struct cowfs_pool *p, enum cowfs_pool_how how)
{
	int r = 0;

	switch (how) {
	case COWFS_POOL_LOOK:
		return 0;
	case COWFS_POOL_TAKE:
		r = lock(p->lock, LOCK_EX | LOCK_NB);
		return r < 0 ? r : recover(p);
	case COWFS_POOL_ADD:
		if (lock(p->lock, LOCK_EX | LOCK_NB) == 0)
			r = recover(p);
		if (r == 0)
			r = lock(p->lock, LOCK_SH);
		return r < 0 ? r : begin_run(p);
	}
	return -EINVAL;
}

int cowfs_pool_open(const struct cowfs *c, const char *domain, enum cowfs_pool_how how,
		    struct cowfs_pool *ret, struct cos_err *err)
{
	struct cowfs_pool p = {
		.objects = -1, .ref = -1, .bad = -1, .lock = -1, .runs = -1, .run = -1
	};
	auto_close int base = -1;
	int r;

	if (domain && domain[0] && !str_is_name(domain))
		return cos_fail(err, COS_E_INVALID, 0, "%s is not a domain's name",
				str_is_text(domain, 128) ? domain : "this");
	base = cowfs_domain_open(c, domain);
	errno = 0;
	r = base < 0 ? base : open_parts(base, &p);
	if (r == 0)
		r = lock_pool(&p, how);
	if (r == 0 && how == COWFS_POOL_ADD)
		r = cowfs_format_pool(c);
	if (r == 0) {
		*ret = p;
		return 0;
	}
	cowfs_pool_close(&p);
	if (r == -EWOULDBLOCK)
		return cos_advise(err, cos_fail(err, COS_E_IN_USE, 0, "the pool is in use"),
				  "try again when no unification, import or clone is at work");
	return cos_fail(err, COS_E_KERNEL, -r, "open the pool %s%s", domain ? "of domain " : "",
			domain ?: "");
}

void cowfs_pool_close(struct cowfs_pool *p)
{
	/* What this run left pending, nobody else would: then the note stays. */
	if (p->run >= 0 && !p->unsettled)
		unlinkat(p->runs, p->run_name, 0);
	close_p(&p->run);
	close_p(&p->runs);
	close_p(&p->lock);
	close_p(&p->bad);
	close_p(&p->ref);
	close_p(&p->objects);
}
