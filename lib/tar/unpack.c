/* lib/tar/unpack.c - a stream into files beneath a directory
 *
 * The directories above the entry at hand are open: each was opened by its one name in the one
 * above, without following a link, so that no name leads out, whatever others do there meanwhile.
 * A directory that was made gets its looks when the stream leaves it. */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/io.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "lib/tar/inner.h"

#define BENEATH  (RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS)
#define SET_ID   (S_ISUID | S_ISGID)
#define MODE_ALL 07777

struct looks {
	mode_t mode;
	uint64_t uid, gid;
	struct timespec mtime;
	bool is_dir;
};

struct level {
	int fd;     /* O_PATH for one that was there */
	size_t len; /* of its path */
	bool made;
	struct looks looks; /* of one that was made */
};

struct unpack {
	struct tar_unpack *u;
	mode_t implied; /* of directories that the stream does not tell about */
	char top[NAME_MAX + 1];
	unsigned n; /* levels; the first is the root */
	struct level level[TAR_DEPTH_MAX + 2];
	char dir[TAR_PATH_SIZE]; /* path of the last */
	struct tar_entry e;
	char path[TAR_PATH_SIZE]; /* of E, here */
	struct tar_in in;
};

static void tick(struct unpack *x)
{
	if (x->u->tick)
		x->u->tick(&x->u->n, x->u->arg);
}

/* ---- names ---- */

/* NAME without slashes in front and "."; RET takes TAR_PATH_SIZE. */
static int clean(const char *name, char *ret, struct cos_err *err)
{
	unsigned depth = 0;
	size_t have = 0;

	for (const char *p = name + strspn(name, "/"); *p; p += strspn(p, "/")) {
		size_t n = strcspn(p, "/");

		if (n == 1 && p[0] == '.') {
			p += n;
			continue;
		}
		if (n == 2 && p[0] == '.' && p[1] == '.')
			return tar_bad(err, name, "the name has a \"..\" in it");
		if (n > NAME_MAX || have + 1 + n + 1 > TAR_PATH_SIZE)
			return tar_bad(err, name, "the name is too long");
		if (++depth > TAR_DEPTH_MAX)
			return tar_bad(err, name, "nested deeper than 256 directories");
		if (have > 0)
			ret[have++] = '/';
		memcpy(ret + have, p, n);
		have += n;
		p += n;
	}
	ret[have] = '\0';
	return 0;
}

/* What all names begin with is told by the first. */
static void learn_top(struct unpack *x, const char *path)
{
	if (x->top[0] || !x->u->as)
		return;
	str_fmt(x->top, sizeof(x->top), "%.*s", (int)strcspn(path, "/"), path);
	if (!x->top[0])
		strcpy(x->top, ".");
}

/* Where NAME of the stream is to be, beneath the root; RET takes TAR_PATH_SIZE. */
static int place(struct unpack *x, const char *name, char *ret, struct cos_err *err)
{
	const char *base = x->u->as ?: "";
	size_t len;
	char path[TAR_PATH_SIZE];
	const char *rest = path;
	int r = clean(name, path, err);

	if (r < 0)
		return r;
	learn_top(x, path);
	len = strlen(x->top);
	if (len > 0 && strcmp(x->top, ".") != 0) {
		if (strncmp(path, x->top, len) != 0 || (path[len] != '/' && path[len] != '\0'))
			return tar_bad(err, name, "is not below what was asked for");
		rest = path + len + (path[len] == '/');
		base = x->u->as ?: x->top;
	}
	if (!str_fmt(ret, TAR_PATH_SIZE, "%s%s%s", base, base[0] && rest[0] ? "/" : "", rest))
		return tar_bad(err, name, "the name is too long");
	return 0;
}

/* ---- looks ---- */

static struct looks looks_of(const struct tar_entry *e)
{
	return (struct looks){ e->mode, e->uid, e->gid, e->mtime, e->kind == TAR_DIR };
}

static int check_owner(const struct looks *l, const char *path, struct cos_err *err)
{
	if (l->uid <= TAR_ID_MAX && l->gid <= TAR_ID_MAX)
		return 0;
	return cos_advise(
		err,
		cos_fail(err, COS_E_IMAGE, 0, "%.120s: owner %llu:%llu is outside of 0 to %d", path,
			 (unsigned long long)l->uid, (unsigned long long)l->gid, TAR_ID_MAX),
		"copy without --archive");
}

/* A change of the owner clears set-id bits: it comes first. */
static int set_looks(struct unpack *x, int fd, const struct looks *l, const char *path,
		     struct cos_err *err)
{
	const struct timespec ts[2] = { { .tv_nsec = UTIME_OMIT }, l->mtime };
	mode_t mode = l->mode & (x->u->owners ? MODE_ALL : MODE_ALL & ~SET_ID);
	int r = x->u->owners ? check_owner(l, path, err) : 0;

	if (r < 0)
		return r;
	if (!l->is_dir && !x->u->owners)
		mode &= ~(mode_t)S_ISVTX;
	if (x->u->owners && fchown(fd, (uid_t)l->uid, (gid_t)l->gid) < 0)
		return tar_fail(err, path, "chown", errno);
	if (fchmod(fd, mode) < 0)
		return tar_fail(err, path, "chmod", errno);
	if (futimens(fd, ts) < 0)
		return tar_fail(err, path, "utimensat", errno);
	return 0;
}

/* ---- directories ---- */

static int leave(struct unpack *x, struct cos_err *err)
{
	struct level *l = &x->level[--x->n];
	int r = l->made ? set_looks(x, l->fd, &l->looks, x->dir, err) : 0;

	if (x->n > 0) /* the root's descriptor is the caller's */
		close(l->fd);
	x->dir[x->n > 0 ? x->level[x->n - 1].len : 0] = '\0';
	return r;
}

static int leave_all(struct unpack *x, int r, struct cos_err *err)
{
	struct cos_err late;

	while (x->n > 0) {
		int one = leave(x, r < 0 ? &late : err);

		r = r < 0 ? r : one;
	}
	return r;
}

/* Opens NAME in the last level, made if it is missing; -ENOTDIR if it is no directory. */
static int open_dir(struct unpack *x, const char *name, bool *ret_made)
{
	int dir = x->level[x->n - 1].fd, fd;

	*ret_made = mkdirat(dir, name, 0700) == 0;
	if (!*ret_made && errno != EEXIST)
		return -errno;
	fd = io_open2(dir, name, O_DIRECTORY | O_NOFOLLOW | (*ret_made ? O_RDONLY : O_PATH), 0,
		      BENEATH);
	return fd == -ELOOP ? -ENOTDIR : fd;
}

/* PATH is the whole one, NAME its last part. */
static int enter(struct unpack *x, const char *path, size_t len, const char *name,
		 struct cos_err *err)
{
	struct level *l = &x->level[x->n];
	int fd;

	if (x->n == TAR_DEPTH_MAX + 2)
		return tar_bad(err, path, "nested deeper than 256 directories");
	fd = open_dir(x, name, &l->made);
	if (fd == -ENOTDIR)
		return cos_fail(err, COS_E_EXISTS, 0,
				"%.120s: a file or symbolic link stands where a directory is to be",
				path);
	if (fd < 0)
		return tar_fail(err, path, "make the directory", -fd);
	l->fd = fd;
	l->len = len;
	l->looks = (struct looks){ .mode = x->implied, .is_dir = true };
	l->looks.mtime.tv_nsec = UTIME_NOW;
	memcpy(x->dir, path, len);
	x->dir[len] = '\0';
	x->n++;
	return 0;
}

static bool is_above(const struct unpack *x, const char *path, size_t len)
{
	size_t have = x->level[x->n - 1].len;

	return have == 0 || (have <= len && memcmp(x->dir, path, have) == 0 &&
			     (have == len || path[have] == '/'));
}

/* Makes the first LEN bytes of PATH the last level. */
static int go_to(struct unpack *x, const char *path, size_t len, struct cos_err *err)
{
	int r = 0;

	while (r == 0 && !is_above(x, path, len))
		r = leave(x, err);
	while (r == 0 && x->level[x->n - 1].len < len) {
		size_t at = x->level[x->n - 1].len, n;
		char name[NAME_MAX + 1];

		at += path[at] == '/';
		n = strcspn(path + at, "/");
		str_fmt(name, sizeof(name), "%.*s", (int)n, path + at);
		r = enter(x, path, at + n, name, err);
	}
	return r;
}

/* The directory that x->path is in becomes the last level. Returns its descriptor. */
static int parent(struct unpack *x, const char **ret_name, struct cos_err *err)
{
	const char *slash = strrchr(x->path, '/');
	int r = go_to(x, x->path, slash ? (size_t)(slash - x->path) : 0, err);

	*ret_name = slash ? slash + 1 : x->path;
	return r < 0 ? r : x->level[x->n - 1].fd;
}

static int put_dir(struct unpack *x, struct cos_err *err)
{
	int r = go_to(x, x->path, strlen(x->path), err);

	if (r == 0)
		x->level[x->n - 1].looks = looks_of(&x->e);
	return r;
}

/* ---- files and links ---- */

/* Takes away a file or link of that name; in what is not in the stream nothing else is touched. */
static int make_room(int dir, const char *name, const char *path, struct cos_err *err)
{
	struct stat st;

	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : tar_fail(err, path, "stat", errno);
	if (!S_ISREG(st.st_mode) && !S_ISLNK(st.st_mode))
		return cos_fail(err, COS_E_EXISTS, 0, "%.120s: %s stands where a file is to be",
				path,
				S_ISDIR(st.st_mode) ? "a directory" : "a device, fifo or socket");
	if (unlinkat(dir, name, 0) < 0 && errno != ENOENT)
		return tar_fail(err, path, "replace", errno);
	return 0;
}

static int write_at(struct unpack *x, int fd, const char *s, size_t len, uint64_t at,
		    struct cos_err *err)
{
	while (len > 0) {
		ssize_t n = pwrite(fd, s, len, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return tar_fail(err, x->path, "write", errno);
		s += n;
		at += (uint64_t)n;
		len -= (size_t)n;
		x->u->n.bytes += (uint64_t)n;
		tick(x);
	}
	return 0;
}

/* What lies between the pieces is never written and so are holes. */
static int fill(struct unpack *x, int fd, struct cos_err *err)
{
	const struct tar_piece whole = { 0, x->e.size }, *p = &whole;
	size_t n_pieces = 1;
	ssize_t n = 0;

	if (x->e.sparse) {
		p = x->e.pieces;
		n_pieces = x->e.n_pieces;
	}
	for (; n_pieces-- > 0; p++) {
		for (uint64_t done = 0; done < p->len; done += (uint64_t)n) {
			const void *s = NULL;
			int r;

			n = tar_get_data(&x->in, &s, p->len - done, err);
			if (n <= 0)
				return n < 0 ? (int)n
					     : tar_bad(err, x->path, "has too little data");
			r = write_at(x, fd, s, (size_t)n, p->at + done, err);
			if (r < 0)
				return r;
		}
	}
	if (ftruncate(fd, (off_t)x->e.size) < 0)
		return tar_fail(err, x->path, "set its length", errno);
	return 0;
}

static int put_file(struct unpack *x, struct cos_err *err)
{
	auto_close int fd = -1;
	const char *name;
	int dir = parent(x, &name, err), r;
	struct looks looks = looks_of(&x->e);

	if (dir < 0)
		return dir;
	r = make_room(dir, name, x->path, err);
	if (r < 0)
		return r;
	fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return tar_fail(err, x->path, "create", errno);
	r = fill(x, fd, err);
	if (r == 0)
		r = set_looks(x, fd, &looks, x->path, err);
	if (r < 0) /* not in part */
		unlinkat(dir, name, 0);
	return r;
}

static int put_symlink(struct unpack *x, struct cos_err *err)
{
	const struct timespec ts[2] = { { .tv_nsec = UTIME_OMIT }, x->e.mtime };
	const char *name;
	int dir = parent(x, &name, err), r;
	struct looks looks = looks_of(&x->e);

	if (dir < 0)
		return dir;
	if (!x->e.link[0])
		return tar_bad(err, x->path, "a symbolic link to nothing");
	r = x->u->owners ? check_owner(&looks, x->path, err) : 0;
	if (r == 0)
		r = make_room(dir, name, x->path, err);
	if (r < 0)
		return r;
	if (symlinkat(x->e.link, dir, name) < 0)
		return tar_fail(err, x->path, "symlink", errno);
	if (x->u->owners &&
	    fchownat(dir, name, (uid_t)looks.uid, (gid_t)looks.gid, AT_SYMLINK_NOFOLLOW) < 0)
		return tar_fail(err, x->path, "chown", errno);
	if (utimensat(dir, name, ts, AT_SYMLINK_NOFOLLOW) < 0)
		return tar_fail(err, x->path, "utimensat", errno);
	return 0;
}

/* The directory of a hard link's target, which is in the stream before: -ENOENT if it is not. */
static int open_target(struct unpack *x, const char *target, const char **ret_name)
{
	const char *slash = strrchr(target, '/');
	char dir[TAR_PATH_SIZE] = ".";

	if (slash)
		str_fmt(dir, sizeof(dir), "%.*s", (int)(slash - target), target);
	*ret_name = slash ? slash + 1 : target;
	return io_open2(x->u->root, dir, O_PATH | O_DIRECTORY, 0, BENEATH);
}

static int put_link(struct unpack *x, struct cos_err *err)
{
	char target[TAR_PATH_SIZE];
	const char *name, *old;
	auto_close int from = -1;
	struct stat st, at;
	int r = place(x, x->e.link, target, err), dir;

	if (r < 0)
		return r;
	dir = parent(x, &name, err);
	if (dir < 0)
		return dir;
	from = open_target(x, target, &old);
	if (from < 0 || fstatat(from, old, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
	    (!S_ISREG(st.st_mode) && !S_ISLNK(st.st_mode)))
		return tar_bad(err, x->path, "a hard link to what the archive does not have");
	if (fstatat(dir, name, &at, AT_SYMLINK_NOFOLLOW) == 0 && at.st_ino == st.st_ino &&
	    at.st_dev == st.st_dev)
		return 0;
	r = make_room(dir, name, x->path, err);
	if (r < 0)
		return r;
	if (linkat(from, old, dir, name, 0) < 0)
		return tar_fail(err, x->path, "link", errno);
	return 0;
}

/* ---- the stream ---- */

static int put_entry(struct unpack *x, struct cos_err *err)
{
	int r = place(x, x->e.path, x->path, err);

	if (r < 0)
		return r;
	if (!x->path[0] && x->e.kind != TAR_DIR)
		return tar_bad(err, x->e.path, "has no name");
	x->u->n.files++;
	tick(x);
	switch (x->e.kind) {
	case TAR_FILE:
		return put_file(x, err);
	case TAR_DIR:
		return put_dir(x, err);
	case TAR_SYMLINK:
		return put_symlink(x, err);
	case TAR_LINK:
		return put_link(x, err);
	case TAR_SPECIAL:
		x->u->n.files--;
		x->u->n.special++;
		return 0;
	}
	return -EINVAL;
}

int tar_unpack(struct tar_unpack *u, struct cos_err *err)
{
	auto_free struct unpack *x = malloc(sizeof(*x));
	mode_t mask = umask(0);
	int r;

	umask(mask);
	if (!x)
		return cos_fail(err, COS_E_KERNEL, ENOMEM, "copy");
	memset(&u->n, 0, sizeof(u->n));
	x->u = u;
	x->implied = 0777 & ~mask;
	if (!str_fmt(x->top, sizeof(x->top), "%s", u->top ?: ""))
		return tar_bad(err, u->top, "the name is too long");
	x->level[0] = (struct level){ .fd = u->root };
	x->n = 1;
	x->dir[0] = '\0';
	tar_in_init(&x->in, u->in);
	while ((r = tar_get_entry(&x->in, &x->e, err)) > 0) {
		r = put_entry(x, err);
		if (r < 0)
			break;
	}
	tar_in_done(&x->in);
	return leave_all(x, r, err);
}
