/* cow-fs/walk.c - all that is below a directory which a guest may have filled */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cow-fs/walk.h"
#include "lib/base/own.h"

struct level {
	DIR *d;
	size_t len; /* of the path up to here, with its slash */
	struct stat st;
};

struct state {
	struct walk *w;
	dev_t dev;
	unsigned depth; /* levels open */
	struct level level[WALK_DEPTH_MAX + 1];
	char path[TREE_PATH_SIZE + 1];
};

/* Takes FD. */
static int push(struct state *s, int fd, size_t len, const struct stat *st)
{
	struct level *l = &s->level[s->depth];

	l->d = fdopendir(fd);
	if (!l->d) {
		int r = -errno;

		close(fd);
		return r;
	}
	l->len = len;
	l->st = *st;
	s->depth++;
	return 0;
}

static int pop(struct state *s)
{
	struct level *l = &s->level[--s->depth];
	int r = 0;

	if (s->depth > 0 && s->w->leave) {
		const struct level *up = l - 1;
		struct walk_entry e = { .dir = dirfd(up->d), .path = s->path, .st = l->st };

		s->path[l->len - 1] = '\0';
		e.name = s->path + up->len;
		r = s->w->leave(dirfd(l->d), &e, s->w->arg);
	}
	closedir(l->d);
	return r;
}

static int enter(struct state *s, const struct walk_entry *e, size_t len)
{
	struct stat st;
	int fd;

	if (s->depth > WALK_DEPTH_MAX || len + 2 > TREE_PATH_SIZE) {
		s->w->left_out++;
		return 0;
	}
	fd = openat(e->dir, e->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT || errno == ENOTDIR || errno == ELOOP ? 0 : -errno;
	/* Another one of the name by now would be walked like any other: but not another mount. */
	if (fstat(fd, &st) < 0 || st.st_dev != s->dev) {
		close(fd);
		return 0;
	}
	s->path[len] = '/';
	s->path[len + 1] = '\0';
	return push(s, fd, len + 1, &st);
}

static int visit(struct state *s, const char *name)
{
	const struct level *l = &s->level[s->depth - 1];
	struct walk_entry e = { .dir = dirfd(l->d), .path = s->path };
	size_t n = strlen(name);
	int r;

	if (l->len + n + 1 > TREE_PATH_SIZE) {
		s->w->left_out++;
		return 0;
	}
	memcpy(s->path + l->len, name, n + 1);
	e.name = s->path + l->len;
	if (fstatat(e.dir, name, &e.st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (e.st.st_dev != s->dev)
		return 0;
	r = s->w->fn(&e, s->w->arg);
	if (r < 0 || r == WALK_SKIP || !S_ISDIR(e.st.st_mode))
		return r < 0 ? r : 0;
	return enter(s, &e, l->len + n);
}

static int step(struct state *s)
{
	struct dirent *d;

	errno = 0;
	d = readdir(s->level[s->depth - 1].d);
	if (!d)
		return errno ? -errno : pop(s);
	if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
		return 0;
	return visit(s, d->d_name);
}

int walk_tree(struct walk *w)
{
	auto_free struct state *s = calloc(1, sizeof(*s));
	struct stat st;
	int fd, r;

	if (!s)
		return -ENOMEM;
	fd = openat(w->top, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0) {
		close(fd);
		return -EIO;
	}
	s->w = w;
	s->dev = st.st_dev;
	r = push(s, fd, 0, &st);
	while (r == 0 && s->depth > 0)
		r = step(s);
	while (s->depth > 0)
		closedir(s->level[--s->depth].d);
	return r;
}
