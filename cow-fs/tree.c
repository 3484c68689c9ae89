/* cow-fs/tree.c - a template's tree while it is made */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cow-fs/inner.h"
#include "cow-fs/identity.h"
#include "cow-fs/tree.h"
#include "lib/base/clock.h"
#include "lib/base/io.h"
#include "lib/base/own.h"
#include "lib/base/str.h"

#define NO_LINKS    (RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS)
#define BENEATH     (RESOLVE_BENEATH | RESOLVE_NO_XDEV | NO_LINKS)
#define PERM_BITS   07777
#define TELL_USEC   100000
#define LOOK_EVERY  64 /* entries or pieces of data between looks at the clock */
#define PARENT_MODE 0755

struct tree_late {
	char *path;
	struct timespec mtime;
};

void tree_init(struct tree *t, int root)
{
	memset(t, 0, sizeof(*t));
	t->root = root;
	t->parent = -1;
}

void tree_done(struct tree *t)
{
	while (t->n_late > 0)
		free(t->late[--t->n_late].path);
	free(take_ptr(t->late));
	close_p(&t->parent);
}

const char *tree_show(char *buf, const char *name)
{
	size_t have = 0;

	if (str_is_text(name, TREE_SHOW_SIZE - 1))
		return strcpy(buf, name);
	while (*name && have + 8 < TREE_SHOW_SIZE) {
		unsigned char c = (unsigned char)*name++;

		if (c >= ' ' && c < 0x7f)
			buf[have++] = (char)c;
		else
			have += (size_t)snprintf(buf + have, 5, "\\x%02x", c);
	}
	strcpy(buf + have, *name ? "..." : "");
	return buf;
}

int tree_fail(struct cos_err *err, const char *path, const char *call, int sys)
{
	char shown[TREE_SHOW_SIZE];
	enum cos_err_code code = COS_E_KERNEL;
	int r;

	if (sys == ELOOP || sys == ENOTDIR || sys == ENAMETOOLONG || sys == EFBIG || sys == EMLINK)
		code = COS_E_IMAGE;
	if (sys == EOPNOTSUPP)
		code = COS_E_UNSUPPORTED;
	r = cos_fail(err, code, sys, "%s: %s", tree_show(shown, path[0] ? path : "."), call);
	if (sys == ENOSPC || sys == EDQUOT)
		return cos_advise(err, r, "free space on the file system of the state directory");
	if (sys == EOPNOTSUPP)
		return cos_advise(err, r, "keep the state directory on ext4, xfs or btrfs");
	return r;
}

static int refuse(struct cos_err *err, const char *path, const char *why)
{
	char shown[TREE_SHOW_SIZE];

	return cos_fail(err, COS_E_IMAGE, 0, "%s: %s", tree_show(shown, path), why);
}

int tree_path(const char *name, char *ret, struct cos_err *err)
{
	const char *p = name;
	unsigned depth = 0;
	size_t have = 0;

	for (p += strspn(p, "/"); *p; p += strspn(p, "/")) {
		size_t n = strcspn(p, "/");

		if (n == 1 && p[0] == '.') {
			p += n;
			continue;
		}
		if (n == 2 && memcmp(p, "..", 2) == 0)
			return refuse(err, name, "the name has a \"..\" in it");
		if (have == 0 && n == strlen(TREE_RESERVED) && memcmp(p, TREE_RESERVED, n) == 0)
			return refuse(err, name,
				      "cos keeps the name /" TREE_RESERVED " for itself");
		if (have + 1 + n + 1 > TREE_PATH_SIZE)
			return refuse(err, name, "the name is longer than 4095 bytes");
		if (++depth > TREE_DEPTH_MAX)
			return refuse(err, name, "nested deeper than 256 directories");
		if (have > 0)
			ret[have++] = '/';
		memcpy(ret + have, p, n);
		have += n;
		p += n;
	}
	ret[have] = '\0';
	return 0;
}

static int tick(struct tree *t, struct cos_err *err)
{
	uint64_t now;
	int r;

	if (!t->progress || t->ticks++ % LOOK_EVERY != 0)
		return 0;
	now = clock_usec();
	if (now - t->told_usec < TELL_USEC)
		return 0;
	t->told_usec = now;
	r = t->progress(t);
	return r < 0 ? cos_fail(err, COS_E_KERNEL, -r, "report progress") : 0;
}

static int count_entry(struct tree *t, const char *path, struct cos_err *err)
{
	if (++t->n.files > TREE_ENTRIES_MAX)
		return refuse(err, path, "more than 10000000 entries");
	return tick(t, err);
}

static int check_owner(const struct tree_meta *m, const char *path, struct cos_err *err)
{
	char shown[TREE_SHOW_SIZE];

	if (m->uid >= 0 && m->uid <= TREE_ID_MAX && m->gid >= 0 && m->gid <= TREE_ID_MAX)
		return 0;
	return cos_fail(err, COS_E_IMAGE, 0,
			"%s: owner %lld:%lld is outside of a guest's ids 0 to %d",
			tree_show(shown, path[0] ? path : "."), (long long)m->uid,
			(long long)m->gid, TREE_ID_MAX);
}

/* ---- parents ---- */

/* The directory that the first LEN bytes of PATH name, part by part; missing ones are made, as tar
 * does. */
static int make_parents(struct tree *t, const char *path, size_t len)
{
	auto_close int dir = io_open2(t->root, ".", O_PATH | O_DIRECTORY, 0, 0);
	char part[NAME_MAX + 1];

	for (size_t at = 0; at < len && dir >= 0;) {
		size_t n = strcspn(path + at, "/");
		int next;

		if (n > NAME_MAX)
			return -ENAMETOOLONG;
		memcpy(part, path + at, n);
		part[n] = '\0';
		if (mkdirat(dir, part, PARENT_MODE) < 0 && errno != EEXIST)
			return -errno;
		next = io_open2(dir, part, O_PATH | O_DIRECTORY, 0, BENEATH);
		close_p(&dir);
		dir = next;
		at += n + 1;
	}
	return take_fd(dir);
}

static int open_parent(struct tree *t, const char *path, size_t len, struct cos_err *err)
{
	char dir[TREE_PATH_SIZE];
	int fd;

	memcpy(dir, path, len);
	dir[len] = '\0';
	fd = io_open2(t->root, dir, O_PATH | O_DIRECTORY, 0, BENEATH);
	if (fd == -ENOENT)
		fd = make_parents(t, path, len);
	if (fd == -ELOOP)
		return refuse(err, path, "a symbolic link stands where its directory should");
	if (fd == -ENOTDIR)
		return refuse(err, path, "a file stands where its directory should");
	return fd < 0 ? tree_fail(err, path, "open its directory", -fd) : fd;
}

/* Borrowed until the next call: entries come directory by directory. */
static int parent_of(struct tree *t, const char *path, const char **ret_name, struct cos_err *err)
{
	const char *slash = strrchr(path, '/');
	size_t len = slash ? (size_t)(slash - path) : 0;
	int fd;

	if (len == 0) {
		*ret_name = path;
		return t->root;
	}
	if (t->parent < 0 || len != t->parent_len || memcmp(path, t->parent_path, len) != 0) {
		fd = open_parent(t, path, len, err);
		if (fd < 0)
			return fd;
		close_p(&t->parent);
		t->parent = fd;
		t->parent_len = len;
		memcpy(t->parent_path, path, len);
	}
	*ret_name = slash + 1;
	return t->parent;
}

static int remove_child(const char *name, void *arg)
{
	return io_remove_tree(*(const int *)arg, name, 0);
}

int tree_erase(struct tree *t, const char *path, bool content_only, struct cos_err *err)
{
	const char *slash = strrchr(path, '/');
	char parent[TREE_PATH_SIZE] = ".";
	auto_close int dir = -1;
	int r;

	/* It may be in what goes. */
	if (!content_only)
		close_p(&t->parent);
	if (content_only && path[0])
		strcpy(parent, path);
	else if (slash && !content_only)
		str_fmt(parent, sizeof(parent), "%.*s", (int)(slash - path), path);
	dir = io_open2(t->root, parent, O_RDONLY | O_DIRECTORY, 0, BENEATH);
	if (dir == -ENOENT || dir == -ENOTDIR || dir == -ELOOP)
		return 0;
	if (dir < 0)
		return tree_fail(err, path, "open", -dir);
	r = content_only ? io_each_entry(dir, remove_child, &dir)
			 : io_remove_tree(dir, slash ? slash + 1 : path, 0);
	return r < 0 ? tree_fail(err, path, "remove", -r) : 0;
}

/* Takes away what an entry of the same name left; the later one wins, as in tar. */
static int make_room(struct tree *t, int dir, const char *name, const char *path,
		     struct cos_err *err)
{
	if (unlinkat(dir, name, 0) == 0)
		return 0;
	if (errno == EISDIR && unlinkat(dir, name, AT_REMOVEDIR) == 0)
		return 0;
	if (errno == ENOTEMPTY && t->is_layered)
		return tree_erase(t, path, false, err);
	if (errno == ENOTEMPTY)
		return refuse(err, path, "a directory with content has the same name");
	return tree_fail(err, path, "replace", errno);
}

/* ---- entries ---- */

/* The root is nobody's entry: only a directory may have its name. */
static int begin(struct tree *t, const char *path, const struct tree_meta *m, const char **ret_name,
		 struct cos_err *err)
{
	int r = count_entry(t, path, err);

	if (r == 0 && m)
		r = check_owner(m, path, err);
	if (r < 0)
		return r;
	if (!path[0])
		return refuse(err, ".", "the tree's root is not a directory");
	return parent_of(t, path, ret_name, err);
}

/* An archive may say anything for the fraction. */
static struct timespec valid(struct timespec ts)
{
	if (ts.tv_nsec < 0 || ts.tv_nsec >= 1000000000)
		ts.tv_nsec = 0;
	return ts;
}

/* Order: a change of owner clears setuid bits and file capabilities, so it comes first. */
static int set_looks(int fd, const struct tree_meta *m, const char *path, struct cos_err *err)
{
	if (fchown(fd, (uid_t)m->uid, (gid_t)m->gid) < 0)
		return tree_fail(err, path, "chown", errno);
	if (fchmod(fd, m->mode & PERM_BITS) < 0)
		return tree_fail(err, path, "chmod", errno);
	return 0;
}

/* For what cannot be opened: symbolic links and fifos. */
static int set_all_at(int dir, const char *name, const struct tree_meta *m, const char *path,
		      struct cos_err *err)
{
	const struct timespec ts[2] = { valid(m->mtime), valid(m->mtime) };

	if (fchownat(dir, name, (uid_t)m->uid, (gid_t)m->gid, AT_SYMLINK_NOFOLLOW) < 0)
		return tree_fail(err, path, "chown", errno);
	if (utimensat(dir, name, ts, AT_SYMLINK_NOFOLLOW) < 0)
		return tree_fail(err, path, "utimensat", errno);
	return 0;
}

static int remember_mtime(struct tree *t, const char *path, struct timespec mtime,
			  struct cos_err *err)
{
	if (t->n_late == t->late_room) {
		size_t room = t->late_room ? t->late_room * 2 : 256;
		struct tree_late *more = realloc(t->late, room * sizeof(*more));

		if (!more)
			return tree_fail(err, path, "remember its time", ENOMEM);
		t->late = more;
		t->late_room = room;
	}
	t->late[t->n_late].path = strdup(path);
	if (!t->late[t->n_late].path)
		return tree_fail(err, path, "remember its time", ENOMEM);
	t->late[t->n_late++].mtime = mtime;
	return 0;
}

static int make_dir(struct tree *t, int dir, const char *name, const char *path,
		    struct cos_err *err)
{
	struct stat st;
	int r;

	if (mkdirat(dir, name, 0700) == 0)
		return 0;
	if (errno != EEXIST)
		return tree_fail(err, path, "mkdir", errno);
	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode))
		return 0;
	r = make_room(t, dir, name, path, err);
	if (r == 0 && mkdirat(dir, name, 0700) < 0)
		r = tree_fail(err, path, "mkdir", errno);
	return r;
}

int tree_dir(struct tree *t, const char *path, const struct tree_meta *m, struct cos_err *err)
{
	auto_close int fd = -1;
	const char *name = ".";
	int r = count_entry(t, path, err), dir = t->root;

	if (r == 0)
		r = check_owner(m, path, err);
	if (r == 0 && path[0]) {
		dir = parent_of(t, path, &name, err);
		r = dir < 0 ? dir : make_dir(t, dir, name, path, err);
	}
	if (r == 0)
		r = remember_mtime(t, path, m->mtime, err);
	if (r < 0)
		return r;
	fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return tree_fail(err, path, "open", errno);
	r = set_looks(fd, m, path, err);
	return r < 0 ? r : take_fd(fd);
}

int tree_file(struct tree *t, const char *path, struct cos_err *err)
{
	const int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
	const char *name;
	int dir = begin(t, path, NULL, &name, err), fd, r;

	if (dir < 0)
		return dir;
	fd = openat(dir, name, flags, 0600);
	if (fd < 0 && errno == EEXIST) {
		r = make_room(t, dir, name, path, err);
		if (r < 0)
			return r;
		fd = openat(dir, name, flags, 0600);
	}
	if (fd < 0)
		return tree_fail(err, path, "create", errno);
	t->path = path;
	return fd;
}

int tree_wrote(struct tree *t, uint64_t bytes, struct cos_err *err)
{
	t->n.bytes += bytes;
	if (t->max_bytes > 0 && t->n.bytes > t->max_bytes)
		return refuse(err, t->path, "with it the image has more data than allowed");
	return tick(t, err);
}

int tree_write(struct tree *t, int fd, const void *s, size_t len, off_t at, struct cos_err *err)
{
	const char *p = s;

	while (len > 0) {
		ssize_t n = pwrite(fd, p, len, at);
		int r;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return tree_fail(err, t->path, "write", errno);
		p += n;
		at += n;
		len -= (size_t)n;
		r = tree_wrote(t, (uint64_t)n, err);
		if (r < 0)
			return r;
	}
	return 0;
}

int tree_file_end(struct tree *t, int fd, const struct tree_meta *m, struct cos_err *err)
{
	const struct timespec ts[2] = { valid(m->mtime), valid(m->mtime) };
	const char *path = t->path;
	int r = check_owner(m, path, err);

	if (r == 0)
		r = set_looks(fd, m, path, err);
	if (r == 0 && futimens(fd, ts) < 0)
		r = tree_fail(err, path, "utimensat", errno);
	return r;
}

int tree_text(struct tree *t, const char *path, const char *text, const struct tree_meta *m,
	      struct cos_err *err)
{
	auto_close int fd = tree_file(t, path, err);
	int r = fd < 0 ? fd : tree_write(t, fd, text, strlen(text), 0, err);

	return r < 0 ? r : tree_file_end(t, fd, m, err);
}

int tree_symlink(struct tree *t, const char *path, const char *target, const struct tree_meta *m,
		 struct cos_err *err)
{
	const char *name;
	int dir = begin(t, path, m, &name, err), r;

	if (dir < 0)
		return dir;
	if (!target || !target[0])
		return refuse(err, path, "a symbolic link to nothing");
	if (symlinkat(target, dir, name) == 0)
		return set_all_at(dir, name, m, path, err);
	if (errno != EEXIST)
		return tree_fail(err, path, "symlink", errno);
	r = make_room(t, dir, name, path, err);
	if (r == 0 && symlinkat(target, dir, name) < 0)
		r = tree_fail(err, path, "symlink", errno);
	return r < 0 ? r : set_all_at(dir, name, m, path, err);
}

int tree_fifo(struct tree *t, const char *path, const struct tree_meta *m, struct cos_err *err)
{
	const char *name = path;
	int dir = begin(t, path, m, &name, err), r;

	if (dir < 0)
		return dir;
	if (mknodat(dir, name, S_IFIFO | 0600, 0) < 0) {
		if (errno != EEXIST)
			return tree_fail(err, path, "mkfifo", errno);
		r = make_room(t, dir, name, path, err);
		if (r < 0)
			return r;
		if (mknodat(dir, name, S_IFIFO | 0600, 0) < 0)
			return tree_fail(err, path, "mkfifo", errno);
	}
	r = set_all_at(dir, name, m, path, err);
	if (r == 0 && fchmodat(dir, name, m->mode & PERM_BITS, 0) < 0)
		r = tree_fail(err, path, "chmod", errno);
	return r;
}

/* The target's directory is not made: a target that is not there cannot be linked to. */
static int link_target(struct tree *t, const char *path, const char *target, const char **ret_name,
		       struct cos_err *err)
{
	const char *slash = strrchr(target, '/');
	char dir[TREE_PATH_SIZE] = ".";
	int fd;

	if (slash) {
		memcpy(dir, target, (size_t)(slash - target));
		dir[slash - target] = '\0';
	}
	*ret_name = slash ? slash + 1 : target;
	fd = io_open2(t->root, dir, O_PATH | O_DIRECTORY, 0, BENEATH);
	if (fd == -ENOENT || fd == -ELOOP || fd == -ENOTDIR)
		return refuse(err, path, "a hard link to what the image does not have");
	return fd < 0 ? tree_fail(err, path, "open the directory of its target", -fd) : fd;
}

int tree_link(struct tree *t, const char *path, const char *target, struct cos_err *err)
{
	const char *name = path, *old;
	auto_close int from = -1;
	struct stat st;
	int dir = begin(t, path, NULL, &name, err), r;

	if (dir < 0)
		return dir;
	from = link_target(t, path, target, &old, err);
	if (from < 0)
		return from;
	if (fstatat(from, old, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return refuse(err, path, "a hard link to what the image does not have");
	if (S_ISDIR(st.st_mode))
		return refuse(err, path, "a hard link to a directory");
	if (strcmp(path, target) == 0 || linkat(from, old, dir, name, 0) == 0)
		return 0;
	if (errno != EEXIST)
		return tree_fail(err, path, "link", errno);
	r = make_room(t, dir, name, path, err);
	if (r == 0 && linkat(from, old, dir, name, 0) < 0)
		r = tree_fail(err, path, "link", errno);
	return r;
}

int tree_remove(struct tree *t, const char *path, struct cos_err *err)
{
	const char *name;
	int dir = parent_of(t, path, &name, err);

	if (dir < 0)
		return dir;
	return unlinkat(dir, name, 0) < 0 && errno != ENOENT ? tree_fail(err, path, "unlink", errno)
							     : 0;
}

/* ---- the end ---- */

int tree_finish(struct tree *t, struct cos_err *err)
{
	const char *at = "";
	int r = identity_forget(t->root, &at);

	if (r < 0)
		return tree_fail(err, at, "forget the identity", -r);
	for (size_t i = 0; i < t->n_late; i++) {
		const char *path = t->late[i].path[0] ? t->late[i].path : ".";
		auto_close int fd = io_open2(t->root, path, O_RDONLY | O_DIRECTORY, 0, BENEATH);
		const struct timespec mtime = valid(t->late[i].mtime), ts[2] = { mtime, mtime };

		/* A later entry may have replaced it. */
		if (fd >= 0 && futimens(fd, ts) < 0)
			return tree_fail(err, path, "utimensat", errno);
	}
	return 0;
}
