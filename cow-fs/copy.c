/* cow-fs/copy.c - a directory into a template's tree */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <search.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "cow-fs/attr.h"
#include "cow-fs/fill.h"
#include "lib/base/io.h"
#include "lib/base/own.h"
#include "lib/base/str.h"

/* The source may be changed by others while it is read: no link is followed, no mount entered. */
#define NOT_ELSEWHERE                                                                              \
	(RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV)
#define BUFFER_SIZE ATTR_VALUE_MAX
#define LINKS_MAX   4000000 /* names of files that have several */
#define PIECE       (64U << 20)

/* A file with several names, by what it is in the source. */
struct inode {
	dev_t dev;
	ino_t ino;
	char *path; /* the first name, in the tree */
};

struct copy {
	struct tree *t;
	const struct fill_except *except;
	void *inodes; /* tsearch() of struct inode */
	unsigned n_inodes;
	bool no_clone, no_range;   /* the file systems cannot: do not ask again */
	char path[TREE_PATH_SIZE]; /* of the entry at hand */
	char names[ATTR_VALUE_MAX], buf[BUFFER_SIZE];
};

static int copy_entries(struct copy *c, int dir, size_t len, struct cos_err *err);

/* ---- hard links ---- */

static int compare_inode(const void *a, const void *b)
{
	const struct inode *x = a, *y = b;

	if (x->ino != y->ino)
		return x->ino < y->ino ? -1 : 1;
	return x->dev < y->dev ? -1 : x->dev > y->dev;
}

static void free_inode(void *p)
{
	struct inode *i = p;

	free(i->path);
	free(i);
}

/* The first name of the file in *RET, NULL if it is this one, which is remembered. */
static int first_name(struct copy *c, const struct stat *st, const char **ret, struct cos_err *err)
{
	struct inode key = { .dev = st->st_dev, .ino = st->st_ino }, *i;
	struct inode *const *found = tfind(&key, &c->inodes, compare_inode);

	if (found) {
		*ret = (*found)->path;
		return 0;
	}
	if (++c->n_inodes > LINKS_MAX)
		return cos_fail(err, COS_E_IMAGE, 0, "more than %d files have several names",
				LINKS_MAX);
	i = malloc(sizeof(*i));
	if (!i)
		return tree_fail(err, c->path, "remember its inode", ENOMEM);
	*i = (struct inode){ .dev = st->st_dev, .ino = st->st_ino, .path = strdup(c->path) };
	if (!i->path || !tsearch(i, &c->inodes, compare_inode)) {
		free_inode(i);
		return tree_fail(err, c->path, "remember its inode", ENOMEM);
	}
	*ret = NULL;
	return 0;
}

/* ---- attributes ---- */

static int copy_xattr(struct copy *c, int from, int to, const char *name, struct cos_err *err)
{
	struct attr a = { .name = name, .value = c->buf };
	ssize_t n;

	switch (attr_judge(name)) {
	case ATTR_DROP:
		c->t->n.xattrs++;
		return 0;
	case ATTR_REFUSE:
		return attr_refused(name, c->path, err);
	case ATTR_KEEP:
		break;
	}
	n = fgetxattr(from, name, c->buf, sizeof(c->buf));
	if (n < 0)
		return errno == ENODATA ? 0 : tree_fail(err, c->path, "getxattr", errno);
	a.size = (size_t)n;
	return attr_set(to, &a, c->path, err);
}

static int copy_xattrs(struct copy *c, int from, int to, struct cos_err *err)
{
	ssize_t n = flistxattr(from, c->names, sizeof(c->names));
	int r = 0;

	if (n < 0)
		return errno == EOPNOTSUPP ? 0 : tree_fail(err, c->path, "listxattr", errno);
	for (ssize_t at = 0; r == 0 && at < n; at += (ssize_t)strlen(c->names + at) + 1)
		r = copy_xattr(c, from, to, c->names + at, err);
	return r;
}

/* ---- data ---- */

static bool is_cannot(int no)
{
	return no == EXDEV || no == EOPNOTSUPP || no == EINVAL || no == ENOSYS || no == ENOTTY ||
	       no == EPERM;
}

static int copy_by_buffer(struct copy *c, int from, int to, off_t at, off_t end,
			  struct cos_err *err)
{
	while (at < end) {
		size_t want =
			end - at < (off_t)sizeof(c->buf) ? (size_t)(end - at) : sizeof(c->buf);
		ssize_t n = pread(from, c->buf, want, at);
		int r;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return tree_fail(err, c->path, "read", errno);
		if (n == 0)
			break;
		r = tree_write(c->t, to, c->buf, (size_t)n, at, err);
		if (r < 0)
			return r;
		at += n;
	}
	return 0;
}

/* In the kernel, where the file systems share blocks if they can. */
static int copy_range(struct copy *c, int from, int to, off_t at, off_t end, struct cos_err *err)
{
	while (at < end && !c->no_range) {
		off_t out = at, in = at;
		size_t want = end - at < (off_t)PIECE ? (size_t)(end - at) : PIECE;
		ssize_t n = copy_file_range(from, &in, to, &out, want, 0);
		int r;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && is_cannot(errno))
			c->no_range = true;
		else if (n < 0)
			return tree_fail(err, c->path, "copy_file_range", errno);
		if (n <= 0) /* 0: cut meanwhile, or a file system that lies: reading tells */
			break;
		at += n;
		r = tree_wrote(c->t, (uint64_t)n, err);
		if (r < 0)
			return r;
	}
	return copy_by_buffer(c, from, to, at, end, err);
}

/* Only what is data: holes of the source are holes of the copy. */
static int copy_data(struct copy *c, int from, int to, off_t size, struct cos_err *err)
{
	off_t at = 0;
	int r = 0;

	while (r == 0 && at < size) {
		off_t data = lseek(from, at, SEEK_DATA), hole;

		if (data < 0 && errno == ENXIO)
			break;
		if (data < 0)
			data = at;
		hole = lseek(from, data, SEEK_HOLE);
		if (hole <= data || hole > size)
			hole = size;
		r = copy_range(c, from, to, data, hole, err);
		at = hole;
	}
	if (r == 0 && ftruncate(to, size) < 0)
		r = tree_fail(err, c->path, "set its size", errno);
	return r;
}

static int copy_content(struct copy *c, int from, int to, const struct stat *st,
			struct cos_err *err)
{
	if (st->st_size == 0)
		return 0;
	if (!c->no_clone && ioctl(to, FICLONE, from) == 0)
		return tree_wrote(c->t, (uint64_t)st->st_blocks * 512, err);
	if (!c->no_clone)
		c->no_clone = is_cannot(errno);
	/* Small and without holes: three calls less. */
	if (st->st_size <= (off_t)sizeof(c->buf) && (off_t)st->st_blocks * 512 >= st->st_size)
		return copy_by_buffer(c, from, to, 0, st->st_size, err);
	return copy_data(c, from, to, st->st_size, err);
}

/* ---- entries ---- */

static struct tree_meta meta_of(const struct stat *st)
{
	return (struct tree_meta){
		.mode = st->st_mode,
		.uid = st->st_uid,
		.gid = st->st_gid,
		.mtime = st->st_mtim,
	};
}

/* -EXDEV: something is mounted there. */
static int open_entry(struct copy *c, int dir, const char *name, int flags, struct cos_err *err)
{
	int fd = io_open2(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | flags, 0,
			  NOT_ELSEWHERE);

	return fd < 0 && fd != -EXDEV ? tree_fail(err, c->path, "open", -fd) : fd;
}

static int copy_file(struct copy *c, int dir, const char *name, struct cos_err *err)
{
	auto_close int from = open_entry(c, dir, name, 0, err), to = -1;
	const char *first = NULL;
	struct tree_meta m;
	struct stat st;
	int r = 0;

	if (from == -EXDEV) {
		c->t->n.mounts++;
		return 0;
	}
	if (from < 0)
		return from;
	if (fstat(from, &st) < 0 || !S_ISREG(st.st_mode))
		return tree_fail(err, c->path, "stat", ESTALE);
	if (st.st_nlink > 1)
		r = first_name(c, &st, &first, err);
	if (r < 0)
		return r;
	if (first)
		return tree_link(c->t, c->path, first, err);
	to = tree_file(c->t, c->path, err);
	if (to < 0)
		return to;
	m = meta_of(&st);
	r = copy_content(c, from, to, &st, err);
	if (r == 0)
		r = tree_file_end(c->t, to, &m, err);
	return r == 0 ? copy_xattrs(c, from, to, err) : r;
}

static bool is_excepted(const struct copy *c, const struct stat *st)
{
	return c->except && st->st_dev == c->except->dev && st->st_ino == c->except->ino;
}

/* ST is what stands at the name; under a mount only the directory's looks are taken. */
static int copy_dir(struct copy *c, int dir, const char *name, const struct stat *st,
		    struct cos_err *err)
{
	auto_close int from = open_entry(c, dir, name, O_DIRECTORY, err), to = -1;
	const struct tree_meta m = meta_of(st);
	size_t len = strlen(c->path);
	int r;

	if (from < 0 && from != -EXDEV)
		return from;
	to = tree_dir(c->t, c->path, &m, err);
	if (to < 0)
		return to;
	if (from == -EXDEV || is_excepted(c, st)) {
		c->t->n.mounts += from == -EXDEV;
		return 0;
	}
	r = copy_xattrs(c, from, to, err);
	close_p(&to); /* one descriptor for each level is enough */
	return r == 0 ? copy_entries(c, take_fd(from), len, err) : r;
}

static int copy_symlink(struct copy *c, int dir, const char *name, const struct stat *st,
			struct cos_err *err)
{
	const struct tree_meta m = meta_of(st);
	char target[TREE_PATH_SIZE];
	ssize_t n = readlinkat(dir, name, target, sizeof(target) - 1);

	if (n < 0)
		return tree_fail(err, c->path, "readlink", errno);
	target[n] = '\0';
	return tree_symlink(c->t, c->path, target, &m, err);
}

static int copy_entry(struct copy *c, int dir, const char *name, struct cos_err *err)
{
	struct tree_meta m;
	struct stat st;

	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) < 0)
		return tree_fail(err, c->path, "stat", errno);
	m = meta_of(&st);
	switch (st.st_mode & S_IFMT) {
	case S_IFREG:
		return copy_file(c, dir, name, err);
	case S_IFDIR:
		return copy_dir(c, dir, name, &st, err);
	case S_IFLNK:
		return copy_symlink(c, dir, name, &st, err);
	case S_IFIFO:
		return tree_fifo(c->t, c->path, &m, err);
	case S_IFCHR:
		if (st.st_rdev == makedev(0, 0)) {
			char shown[TREE_SHOW_SIZE];
			int r = cos_fail(err, COS_E_IMAGE, 0, "%s: is a whiteout of an overlay",
					 tree_show(shown, c->path));

			return cos_advise(err, r, "import the merged tree, not one of its layers");
		}
		c->t->n.devices++;
		return 0;
	case S_IFBLK:
		c->t->n.devices++;
		return 0;
	}
	c->t->n.sockets++;
	return 0;
}

/* LEN bytes of c->path name the directory. */
static int copy_each(struct copy *c, DIR *d, size_t len, struct cos_err *err)
{
	struct dirent *e;
	int r = 0;

	while (r == 0 && (errno = 0, e = readdir(d))) {
		char raw[TREE_PATH_SIZE + NAME_MAX + 2];

		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		c->path[len] = '\0';
		str_fmt(raw, sizeof(raw), "%s%s%s", c->path, len ? "/" : "", e->d_name);
		r = tree_path(raw, c->path, err);
		if (r == 0)
			r = copy_entry(c, dirfd(d), e->d_name, err);
	}
	c->path[len] = '\0';
	return r == 0 && errno ? tree_fail(err, c->path, "read directory", errno) : r;
}

/* Takes DIR. As deep as tree_path() allows. */
static int copy_entries(struct copy *c, int dir, size_t len, struct cos_err *err)
{
	DIR *d = fdopendir(dir);
	int r;

	if (!d) {
		r = tree_fail(err, c->path, "read directory", errno);
		close(dir);
		return r;
	}
	r = copy_each(c, d, len, err);
	closedir(d);
	return r;
}

static int copy_root(struct copy *c, int fd, struct cos_err *err)
{
	auto_close int to = -1, from = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct tree_meta m;
	struct stat st;
	int r;

	if (from < 0 || fstat(from, &st) < 0)
		return tree_fail(err, "", "open", errno);
	m = meta_of(&st);
	to = tree_dir(c->t, "", &m, err);
	if (to < 0)
		return to;
	r = copy_xattrs(c, from, to, err);
	return r == 0 ? copy_entries(c, take_fd(from), 0, err) : r;
}

int fill_from_dir(struct tree *t, int fd, const struct fill_except *except, struct cos_err *err)
{
	auto_free struct copy *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return cos_fail(err, COS_E_KERNEL, ENOMEM, "copy directory");
	c->t = t;
	c->except = except;
	r = copy_root(c, fd, err);
	tdestroy(c->inodes, free_inode);
	return r;
}
