/* lib/tar/pack.c - a file or a directory into a stream */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "lib/base/io.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "lib/tar/inner.h"

#define ONE_NAME   (RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS)
#define SMALL      (256U << 10) /* files up to here are read before their length is told */
#define PIECES_MAX 4096         /* between holes; what comes behind is sent with its holes */
#define LINKS_MAX  1000000      /* names of files that have several; more are sent again */

/* A file with several names, by the first. */
struct inode {
	dev_t dev;
	ino_t ino;
	char path[];
};

struct pack {
	struct tar_pack *p;
	void *inodes; /* tsearch() of struct inode */
	unsigned n_inodes;
	struct cos_err *err;
	bool told; /* ERR holds the failure */
	struct tar_entry e;
	struct tar_piece pieces[PIECES_MAX];
	struct tar_out out;
	char buf[SMALL];
};

/* A directory while its entries are walked. */
struct level {
	struct pack *k;
	int fd;
	dev_t dev;
	size_t len; /* of its path in k->e.path */
	unsigned depth;
};

static int put_any(struct pack *k, int dir, const char *name, const struct level *above);

static int fail(struct pack *k, const char *call, int sys)
{
	k->told = true;
	return tar_fail(k->err, k->e.path, call, sys);
}

static int refuse(struct pack *k, const char *why)
{
	k->told = true;
	return cos_advise(k->err, cos_fail(k->err, COS_E_INVALID, 0, "%.120s: %s", k->e.path, why),
			  "copy what is below or beside it");
}

/* R of tar_put() and its like. */
static int sent(struct pack *k, int r)
{
	if (r < 0 && !k->told) {
		k->told = true;
		cos_fail(k->err, COS_E_KERNEL, -r, "write the archive");
	}
	return r;
}

static void tick(struct pack *k)
{
	if (k->p->tick)
		k->p->tick(&k->p->n, k->p->arg);
}

/* ---- hard links ---- */

static int compare_inode(const void *a, const void *b)
{
	const struct inode *x = a, *y = b;

	if (x->ino != y->ino)
		return x->ino < y->ino ? -1 : 1;
	return x->dev < y->dev ? -1 : x->dev > y->dev;
}

/* The first name of the file; NULL if it is this one, which is remembered. */
static const char *first_name(struct pack *k, const struct stat *st)
{
	const struct inode key = { .dev = st->st_dev, .ino = st->st_ino };
	struct inode *const *found = tfind(&key, &k->inodes, compare_inode), *i;

	if (found)
		return (*found)->path;
	i = k->n_inodes < LINKS_MAX ? malloc(sizeof(*i) + strlen(k->e.path) + 1) : NULL;
	if (!i)
		return NULL;
	i->dev = st->st_dev;
	i->ino = st->st_ino;
	strcpy(i->path, k->e.path);
	if (tsearch(i, &k->inodes, compare_inode))
		k->n_inodes++;
	else
		free(i);
	return NULL;
}

/* ---- entries ---- */

static int put_entry(struct pack *k, enum tar_kind kind, const struct stat *st)
{
	if (++k->p->n.files > TAR_ENTRIES_MAX)
		return refuse(k, "there are more than 10000000 entries");
	k->e.kind = kind;
	k->e.mode = st->st_mode & 07777;
	k->e.uid = k->p->owners ? st->st_uid : 0;
	k->e.gid = k->p->owners ? st->st_gid : 0;
	k->e.mtime = st->st_mtim;
	if (kind != TAR_SYMLINK && kind != TAR_LINK)
		k->e.link[0] = '\0';
	tick(k);
	return sent(k, tar_put_entry(&k->out, &k->e));
}

static int put_data(struct pack *k, const void *s, size_t len)
{
	k->p->n.bytes += len;
	tick(k);
	return sent(k, tar_put(&k->out, s, len));
}

/* ---- files ---- */

/* What was there when its name was read is gone, or is something else now. */
static bool is_gone(int r)
{
	return r == -ENOENT || r == -ELOOP || r == -ENOTDIR || r == -ENXIO;
}

/* As far as the file goes, at most LEN bytes from AT. */
static ssize_t read_some(struct pack *k, int fd, size_t len, off_t at)
{
	size_t have = 0;

	while (have < len) {
		ssize_t n = pread(fd, k->buf + have, len - have, at + (off_t)have);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fail(k, "read", errno);
		if (n == 0)
			break;
		have += (size_t)n;
	}
	return (ssize_t)have;
}

/* Read first: files of proc and sysfs do not tell their length. */
static int put_small(struct pack *k, int fd, const struct stat *st)
{
	ssize_t n = read_some(k, fd, sizeof(k->buf), 0);
	int r;

	if (n < 0)
		return (int)n;
	if (st->st_size == 0 && n == (ssize_t)sizeof(k->buf))
		return refuse(k, "has no length and does not end within 256 KiB");
	k->e.size = (uint64_t)n;
	r = put_entry(k, TAR_FILE, st);
	if (r == 0)
		r = put_data(k, k->buf, (size_t)n);
	return r < 0 ? r : sent(k, tar_put_pad(&k->out, (uint64_t)n));
}

/* The length was told: a file that is shorter now is filled up. */
static int put_piece(struct pack *k, int fd, const struct tar_piece *p, bool *ret_short)
{
	uint64_t at = p->at, end = p->at + p->len;
	int r = 0;

	while (r == 0 && at < end) {
		size_t want = end - at < sizeof(k->buf) ? (size_t)(end - at) : sizeof(k->buf);
		ssize_t n = read_some(k, fd, want, (off_t)at);

		if (n < 0)
			return (int)n;
		if (n == 0) {
			*ret_short = true;
			return sent(k, tar_put_zeros(&k->out, end - at));
		}
		r = put_data(k, k->buf, (size_t)n);
		at += (uint64_t)n;
	}
	return r;
}

/* Where the file has data; the last piece takes all that is left when there are too many. */
static void find_pieces(struct pack *k, int fd, const struct stat *st)
{
	off_t at = 0, size = st->st_size, data, hole;

	k->e.pieces = k->pieces;
	k->e.n_pieces = 0;
	k->e.sparse = (uint64_t)st->st_blocks * 512 < (uint64_t)size;
	while (k->e.sparse && at < size) {
		data = lseek(fd, at, SEEK_DATA);
		if (data < 0 && errno == ENXIO)
			break;
		hole = data < 0 ? -1 : lseek(fd, data, SEEK_HOLE);
		if (data < at || hole <= data) {
			data = at;
			hole = size;
		}
		if (hole > size || k->e.n_pieces == PIECES_MAX - 1)
			hole = size;
		if (data >= size)
			break;
		k->pieces[k->e.n_pieces++] =
			(struct tar_piece){ (uint64_t)data, (uint64_t)(hole - data) };
		at = hole;
	}
	if (!k->e.sparse) {
		k->pieces[0] = (struct tar_piece){ 0, (uint64_t)size };
		k->e.n_pieces = 1;
	}
}

static int put_large(struct pack *k, int fd, const struct stat *st)
{
	uint64_t sum = 0;
	bool is_short = false;
	int r;

	if ((uint64_t)st->st_size > TAR_FILE_MAX)
		return refuse(k, "is larger than 16 TiB");
	find_pieces(k, fd, st);
	k->e.size = (uint64_t)st->st_size;
	r = put_entry(k, TAR_FILE, st);
	for (size_t i = 0; r == 0 && i < k->e.n_pieces; i++) {
		r = put_piece(k, fd, &k->pieces[i], &is_short);
		sum += k->pieces[i].len;
	}
	k->p->n.changed += is_short;
	k->e.sparse = false;
	return r < 0 ? r : sent(k, tar_put_pad(&k->out, sum));
}

static int put_file(struct pack *k, int dir, const char *name, uint64_t resolve)
{
	/* what was a file a moment ago may be a fifo now */
	auto_close int fd = io_open2(dir, name, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0, resolve);
	const char *first = NULL;
	struct stat st;

	if (fd < 0)
		return is_gone(fd) ? -ENOENT : fail(k, "open", -fd);
	if (fstat(fd, &st) < 0)
		return fail(k, "stat", errno);
	if (!S_ISREG(st.st_mode))
		return -ENOENT;
	if (st.st_nlink > 1)
		first = first_name(k, &st);
	if (first) {
		strcpy(k->e.link, first);
		return put_entry(k, TAR_LINK, &st);
	}
	return st.st_size <= (off_t)sizeof(k->buf) ? put_small(k, fd, &st) : put_large(k, fd, &st);
}

/* ---- directories ---- */

/* File systems in which the kernel shows itself. */
static bool is_shown(int fd)
{
	static const long types[] = {
		PROC_SUPER_MAGIC,
		SYSFS_MAGIC,
		CGROUP_SUPER_MAGIC,
		CGROUP2_SUPER_MAGIC,
		DEVPTS_SUPER_MAGIC,
		DEBUGFS_MAGIC,
		TRACEFS_MAGIC,
		SECURITYFS_MAGIC,
		BPF_FS_MAGIC,
		PSTOREFS_MAGIC,
		EFIVARFS_MAGIC,
		BINFMTFS_MAGIC,
		NSFS_MAGIC,
		0x19800202 /* mqueue */,
		0x65735543 /* fusectl */,
	};
	struct statfs fs;

	if (fstatfs(fd, &fs) < 0)
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		if ((long)fs.f_type == types[i])
			return true;
	}
	return false;
}

static int each(const char *name, void *arg)
{
	const struct level *l = arg;
	struct pack *k = l->k;
	int r;

	if (!str_fmt(k->e.path + l->len, sizeof(k->e.path) - l->len, "/%s", name)) {
		k->e.path[l->len] = '\0';
		return refuse(k, "a path in it is longer than 4095 bytes");
	}
	r = put_any(k, l->fd, name, l);
	k->e.path[l->len] = '\0';
	return r == -ENOENT && !k->told ? 0 : r; /* it went away */
}

static int put_dir(struct pack *k, int dir, const char *name, uint64_t resolve,
		   const struct level *above)
{
	auto_close int fd = io_open2(dir, name, O_RDONLY | O_DIRECTORY, 0, resolve);
	struct level l = { .k = k, .fd = fd, .depth = above ? above->depth + 1 : 0 };
	struct stat st;
	int r;

	if (fd < 0)
		return is_gone(fd) ? -ENOENT : fail(k, "open", -fd);
	if (fstat(fd, &st) < 0)
		return fail(k, "stat", errno);
	if (l.depth == TAR_DEPTH_MAX)
		return refuse(k, "is nested deeper than 256 directories");
	r = put_entry(k, TAR_DIR, &st);
	if (r < 0)
		return r;
	if (above && st.st_dev != above->dev && is_shown(fd)) {
		k->p->n.mounts++;
		return 0;
	}
	l.dev = st.st_dev;
	l.len = strlen(k->e.path);
	r = io_each_entry(fd, each, &l);
	if (r == -ENOENT && !k->told) /* removed meanwhile, perhaps with its process */
		r = 0;
	return r < 0 && !k->told ? fail(k, "read the directory", -r) : r;
}

static int put_symlink(struct pack *k, int dir, const char *name, const struct stat *st)
{
	ssize_t n = readlinkat(dir, name, k->e.link, sizeof(k->e.link) - 1);

	if (n < 0)
		return errno == ENOENT || errno == EINVAL ? -ENOENT : fail(k, "readlink", errno);
	k->e.link[n] = '\0';
	return put_entry(k, TAR_SYMLINK, st);
}

/* -ENOENT, untold: it is not there any more. ABOVE is NULL for what was asked for. */
static int put_any(struct pack *k, int dir, const char *name, const struct level *above)
{
	bool follow = !above && k->p->follow;
	uint64_t resolve = above || !follow ? ONE_NAME : k->p->resolve;
	struct stat st;

	if (fstatat(dir, name, &st, (follow ? 0 : AT_SYMLINK_NOFOLLOW) | AT_NO_AUTOMOUNT) < 0)
		return errno == ENOENT ? -ENOENT : fail(k, "stat", errno);
	switch (st.st_mode & S_IFMT) {
	case S_IFREG:
		return put_file(k, dir, name, resolve);
	case S_IFDIR:
		return put_dir(k, dir, name, resolve, above);
	case S_IFLNK:
		return put_symlink(k, dir, name, &st);
	}
	if (!above) {
		str_fmt(k->e.path, sizeof(k->e.path), "%s", k->p->path);
		return refuse(k, "is a device, fifo or socket");
	}
	k->p->n.special++;
	return 0;
}

static int pack(struct pack *k, struct tar_pack *p)
{
	auto_close int dir = -1;
	struct tar_name n;
	struct stat st;
	int r = tar_split(p->path, &n);

	if (r < 0)
		return tar_fail(k->err, p->path, "its name", -r);
	dir = io_open2(AT_FDCWD, n.dir, O_PATH | O_DIRECTORY, 0, p->resolve);
	if (dir < 0)
		return tar_fail(k->err, n.dir, "open the directory", -dir);
	strcpy(k->e.path, n.name);
	p->follow |= n.slash;
	if (n.slash && fstatat(dir, n.name, &st, 0) == 0 && !S_ISDIR(st.st_mode))
		return tar_fail(k->err, p->path, "open the directory", ENOTDIR);
	r = put_any(k, dir, n.name, NULL);
	if (r == -ENOENT && !k->told)
		return tar_fail(k->err, p->path, "open", ENOENT);
	return r < 0 ? r : sent(k, tar_put_end(&k->out));
}

int tar_pack(struct tar_pack *p, struct cos_err *err)
{
	auto_free struct pack *k = malloc(sizeof(*k));
	int r;

	if (!k)
		return cos_fail(err, COS_E_KERNEL, ENOMEM, "copy");
	memset(&p->n, 0, sizeof(p->n));
	memset(&k->e, 0, sizeof(k->e));
	k->p = p;
	k->inodes = NULL;
	k->n_inodes = 0;
	k->err = err;
	k->told = false;
	k->out.fd = p->out;
	k->out.have = 0;
	r = pack(k, p);
	tdestroy(k->inodes, free);
	return r;
}
