/* cow-fs/root.c - guests' root directories: make, open, remove */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cow-fs/image.h"
#include "cow-fs/inner.h"
#include "cow-fs/object.h"
#include "cow-fs/project.h"
#include "cow-fs/root.h"
#include "lib/base/io.h"
#include "lib/base/own.h"
#include "lib/base/str.h"

#define OPEN_PATH  (O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
#define OPEN_DIR   (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
#define UPPER_MODE 07777

static int rootfs_open(const char *path, struct cos_err *err)
{
	int fd;

	if (path[0] != '/' || !str_is_text(path, PATH_MAX - 1))
		return cos_fail(err, COS_E_INVALID, 0, "rootfs: %s is not an absolute path",
				str_is_text(path, 128) ? path : "this");
	fd = io_open2(AT_FDCWD, path, O_PATH | O_DIRECTORY, 0,
		      RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS);
	if (fd >= 0)
		return fd;
	fd = cos_fail(err, COS_E_IMAGE, -fd, "open rootfs %s", path);
	if (err->sys == ELOOP)
		return cos_advise(err, fd, "name the directory by a path without symbolic links");
	return fd;
}

int cowfs_layer_open(const struct cowfs *c, const char *id, struct cos_err *err)
{
	char path[COWFS_ID_SIZE + 8];
	int fd;

	str_fmt(path, sizeof(path), "%s/root", id);
	fd = openat(c->layers, path, OPEN_PATH);
	if (fd < 0 && errno == ENOENT) {
		str_fmt(path, sizeof(path), "%s/up", id);
		fd = openat(c->layers, path, OPEN_PATH);
	}
	if (fd < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "open cow/layers/%s", path);
	return fd;
}

char *cowfs_record_text(const struct cowfs_record *rec)
{
	auto_json json_t *j = json_object();
	int r = 0;

	if (rec->rootfs[0])
		r |= json_object_set_new(j, "rootfs", json_string(rec->rootfs));
	if (rec->template[0])
		r |= json_object_set_new(j, "template", json_string(rec->template));
	if (rec->layers.n > 0)
		r |= json_object_set_new(j, "layers", cowfs_layers_json(&rec->layers));
	if (rec->domain[0])
		r |= json_object_set_new(j, "domain", json_string(rec->domain));
	return r < 0 ? NULL : json_dumps(j, JSON_COMPACT);
}

/* What a new root is made from. */
struct plan {
	char *text;      /* the record's */
	struct stat top; /* the directory whose looks it takes */
	enum cowfs_limit_kind kind;
	struct cowfs_space max;
	bool durable;
};

/* Whoever asks for nothing gets a project where that is free: then what is used is known. */
static int choose_kind(const struct cowfs *c, const struct cowfs_bounds *b, struct plan *p,
		       struct cos_err *err)
{
	static const struct cowfs_bounds none = { COWFS_LIMIT__N,
						  true,
						  { COWFS_NO_LIMIT, COWFS_NO_LIMIT } };

	b = b ?: &none;
	p->max = b->max;
	return cowfs_limit_choose(c, b, &p->kind, err);
}

static int prepare(const struct cowfs *c, const struct cowfs_source *from, struct plan *p,
		   struct cos_err *err)
{
	struct cowfs_record rec = { .layers.n = 0 };
	auto_close int top = -1;
	int r = choose_kind(c, from->bounds, p, err);

	if (r < 0)
		return r;
	if (from->domain && !str_is_name(from->domain))
		return cos_fail(err, COS_E_INVALID, 0, "%s is not a domain's name",
				str_is_text(from->domain, 128) ? from->domain : "this");
	str_fmt(rec.domain, sizeof(rec.domain), "%s", from->domain ?: "");
	if (from->rootfs) {
		top = rootfs_open(from->rootfs, err);
		str_fmt(rec.rootfs, sizeof(rec.rootfs), "%s", from->rootfs);
	} else {
		r = cowfs_template_find(c, from->template, &rec.layers, err);
		if (r < 0)
			return r;
		top = cowfs_layer_open(c, rec.layers.id[0], err);
		str_fmt(rec.template, sizeof(rec.template), "%s", from->template);
	}
	if (top < 0)
		return top;
	if (fstat(top, &p->top) < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "stat the template's root directory");
	p->text = cowfs_record_text(&rec);
	return p->text ? 0 : cos_fail(err, COS_E_KERNEL, ENOMEM, "make root.json");
}

/* Nobody sees the directory yet: no need to put the file in place by a rename. */
static int write_record(int home, const struct plan *p)
{
	auto_close int fd =
		openat(home, "root.json", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	int r = fd < 0 ? -errno : io_write_all(fd, p->text, strlen(p->text));

	return r == 0 && p->durable && fsync(fd) < 0 ? -errno : r;
}

static int make_layers(int dir, const struct plan *p)
{
	if (mkdirat(dir, "up", 0700) < 0 || mkdirat(dir, "wk", 0700) < 0)
		return -errno;
	/* A merged directory looks like its upper one: so / will look as the template's. */
	if (fchownat(dir, "up", p->top.st_uid, p->top.st_gid, 0) < 0 ||
	    fchmodat(dir, "up", p->top.st_mode & UPPER_MODE, 0) < 0)
		return -errno;
	return 0;
}

static int fill(const struct cowfs *c, int home, const struct plan *p)
{
	auto_close int seed = -1;
	int r = 0;

	if (p->kind == COWFS_LIMIT_PROJECT)
		r = project_give(c, home);
	else if (p->kind == COWFS_LIMIT_LOOP)
		r = seed = io_dir_at(home, IMAGE_SEED, 0700);
	if (r >= 0)
		r = make_layers(seed < 0 ? home : seed, p);
	return r == 0 ? write_record(home, p) : r;
}

static int check_again(const struct cowfs *c, const struct cowfs_source *from, const struct plan *p,
		       struct cos_err *err)
{
	struct plan now = { .text = NULL };
	int r = prepare(c, from, &now, err);

	if (r == 0 && strcmp(now.text, p->text) != 0)
		r = cos_advise(
			err,
			cos_fail(err, COS_E_STATE, 0, "%s was replaced meanwhile", from->template),
			"try again");
	free(now.text);
	return r;
}

/* It takes long. Meanwhile not the store is locked but the directory, which keeps a sweep away from
 * it as well; what it is to stand on may go. */
static int fill_image(const struct cowfs *c, int home, const struct cowfs_source *from,
		      const struct plan *p, struct cos_err *err)
{
	struct cos_err ignored;
	int r = io_lock(home), locked;

	if (r < 0)
		return r;
	cowfs_unlock(c);
	r = image_make(home, &p->max, err);
	locked = cowfs_need_lock(c, LOCK_SH, r < 0 ? &ignored : err);
	if (r == 0)
		r = locked;
	return r == 0 ? check_again(c, from, p, err) : r;
}

/* Made under a name that only a sweep looks at, then renamed. */
static int publish(const struct cowfs *c, const char *guest, const struct cowfs_source *from,
		   const struct plan *p, struct cos_err *err)
{
	char tmp[COWFS_ID_SIZE + 8] = "g-";
	auto_close int home = -1;
	int r = cowfs_id_make(tmp + 2);

	if (r < 0)
		return r;
	home = io_dir_at(c->tmp, tmp, 0700);
	r = home < 0 ? home : fill(c, home, p);
	if (r == 0 && p->kind == COWFS_LIMIT_LOOP)
		r = fill_image(c, home, from, p, err);
	if (r == 0 && renameat2(c->tmp, tmp, c->guests, guest, RENAME_NOREPLACE) < 0)
		r = -errno;
	if (r < 0) {
		cowfs_retire(c, c->tmp, tmp);
		return r;
	}
	if (!p->durable || (fsync(home) == 0 && fsync(c->guests) == 0))
		return 0;
	r = -errno;
	cowfs_retire(c, c->guests, guest);
	return r;
}

static int make_locked(const struct cowfs *c, const char *guest, const struct cowfs_source *from,
		       bool durable, struct cos_err *err)
{
	struct plan p = { .durable = durable };
	int r = prepare(c, from, &p, err);

	if (r < 0)
		return r;
	err->code = COS_E_NONE;
	r = publish(c, guest, from, &p, err);
	free(p.text);
	if (r == 0 || err->code != COS_E_NONE)
		return r < 0 ? cos_context(err, r, "make cow/guests/%s", guest) : 0;
	if (r == -EEXIST)
		return cos_fail(err, COS_E_EXISTS, 0, "guest %s has a root directory already",
				guest);
	if (r == -ENOSPC || r == -EDQUOT)
		return cos_advise(err, cos_fail(err, COS_E_KERNEL, -r, "make cow/guests/%s", guest),
				  "free space on the file system of the state directory");
	return cos_fail(err, COS_E_KERNEL, -r, "make cow/guests/%s", guest);
}

int cowfs_root_make(const struct cowfs *c, const char *guest, const struct cowfs_source *from,
		    bool durable, struct cos_err *err)
{
	int r = cowfs_check_guest(guest, err);

	if (r < 0)
		return r;
	if (!from->template == !from->rootfs)
		return cos_fail(err, COS_E_INVALID, 0, "%s: name a template or a rootfs", guest);
	r = cowfs_need_lock(c, LOCK_SH, err);
	if (r < 0)
		return r;
	r = make_locked(c, guest, from, durable, err);
	cowfs_unlock(c);
	return r;
}

int cowfs_root_limit(const struct cowfs *c, const char *guest, const struct cowfs_space *max,
		     struct cos_err *err)
{
	int r = cowfs_check_guest(guest, err);
	auto_close int home = r < 0 ? -1 : openat(c->guests, guest, OPEN_DIR);

	if (r < 0)
		return r;
	if (home < 0 && errno == ENOENT)
		return cos_fail(err, COS_E_NO_GUEST, 0, "guest %s has no root directory", guest);
	if (home < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "open cow/guests/%s", guest);
	return cowfs_limit_set(home, max, err);
}

int cowfs_root_remove(const struct cowfs *c, const char *guest, struct cos_err *err)
{
	int r = cowfs_check_guest(guest, err);
	auto_close int home = -1;

	if (r < 0)
		return r;
	home = openat(c->guests, guest, OPEN_DIR);
	if (home >= 0)
		cowfs_limit_drop(home);
	/* First: they would be a later guest's of the name. */
	r = cowfs_retire(c, c->snapshots, guest);
	if (r == 0 || r == -ENOENT)
		r = cowfs_retire(c, c->guests, guest);
	if (r < 0 && r != -ENOENT)
		return cos_fail(err, COS_E_KERNEL, -r, "rename cow/guests/%s", guest);
	return 0;
}

/* Whether the layer or guest DIR/ID has stubs; tells. */
static int note_stubs(int dir, const char *id, struct cowfs_root *r, struct cos_err *err)
{
	char path[COWFS_ID_SIZE + 16];

	str_fmt(path, sizeof(path), "%s/manifest", id);
	if (faccessat(dir, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		r->needs_pool = true;
	else if (errno != ENOENT)
		return cos_fail(err, COS_E_KERNEL, errno, "look for %s", path);
	return 0;
}

static int open_lower(const struct cowfs *c, const struct cowfs_record *rec, struct cowfs_root *r,
		      struct cos_err *err)
{
	int fd, e = 0;

	if (rec->rootfs[0]) {
		fd = rootfs_open(rec->rootfs, err);
		if (fd < 0)
			return fd;
		r->lower[r->n_lower++] = fd;
		return 0;
	}
	while (e == 0 && r->n_lower < rec->layers.n) {
		const char *id = rec->layers.id[r->n_lower];

		fd = cowfs_layer_open(c, id, err);
		if (fd < 0)
			return fd;
		r->lower[r->n_lower++] = fd;
		e = note_stubs(c->layers, id, r, err);
	}
	return e;
}

/* Templates are everybody's: their objects are in the default pool. */
static int open_pools(const struct cowfs *c, const struct cowfs_record *rec, struct cowfs_root *r,
		      struct cos_err *err)
{
	int fd, e;

	if (rec->rootfs[0])
		return 0;
	if (rec->domain[0]) {
		auto_close int base = cowfs_domain_open(c, rec->domain);

		fd = base < 0 ? base : io_dir_at(base, "pool", 0755);
		if (fd < 0)
			return cos_fail(err, COS_E_KERNEL, -fd, "open the pool of domain %s",
					rec->domain);
		r->pool[r->n_pool++] = fd;
	}
	fd = openat(c->pool, ".", OPEN_PATH);
	if (fd < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "open cow/pool");
	r->pool[r->n_pool++] = fd;
	e = stub_hide_pool(r->upper);
	return e < 0 ? cos_fail(err, COS_E_KERNEL, -e, "hide the pool from the guest") : 0;
}

/* The directory that is locked must be the one that has the name: who works on a guest's files may
 * put another one there. 0: again. */
static int lock_home(const struct cowfs *c, const char *guest, int fd, struct cos_err *err)
{
	struct stat st, at;

	if (flock(fd, LOCK_SH | LOCK_NB) < 0)
		return errno == EWOULDBLOCK || errno == EINTR
			       ? 0
			       : cos_fail(err, COS_E_KERNEL, errno, "lock cow/guests/%s", guest);
	if (fstat(fd, &st) < 0 || fstatat(c->guests, guest, &at, AT_SYMLINK_NOFOLLOW) < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "stat cow/guests/%s", guest);
	return st.st_ino == at.st_ino;
}

static int open_home(const struct cowfs *c, const char *guest, struct cos_err *err)
{
	const struct timespec pause = { .tv_nsec = 1000000 };

	for (unsigned tries = 0; tries <= c->busy_msec; tries++) {
		auto_close int fd = openat(c->guests, guest, OPEN_DIR);
		int r;

		if (fd < 0 && errno == ENOENT)
			return cos_fail(err, COS_E_NO_GUEST, 0, "guest %s has no root directory",
					guest);
		if (fd < 0)
			return cos_fail(err, COS_E_KERNEL, errno, "open cow/guests/%s", guest);
		r = lock_home(c, guest, fd, err);
		if (r != 0)
			return r < 0 ? r : take_fd(fd);
		if (tries < c->busy_msec)
			nanosleep(&pause, NULL);
	}
	return cos_advise(err,
			  cos_fail(err, COS_E_STATE, 0, "the files of %s are worked on", guest),
			  "try again when its snapshot, clone or unification is done");
}

static int open_own(const struct cowfs *c, const char *guest, struct cowfs_root *r,
		    struct cos_err *err)
{
	int e;

	r->home = open_home(c, guest, err);
	if (r->home < 0)
		return r->home;
	if (image_is_there(r->home)) {
		r->disk = image_mount(r->home, err);
		if (r->disk < 0)
			return r->disk;
	}
	r->upper = openat(r->disk < 0 ? r->home : r->disk, "up", OPEN_PATH);
	r->work = r->upper < 0 ? -1 : openat(r->disk < 0 ? r->home : r->disk, "wk", OPEN_PATH);
	if (r->work < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "open cow/guests/%s/{up,wk}", guest);
	e = note_stubs(r->home, ".", r, err);
	if (e < 0)
		return e;
	e = cowfs_swap_recover(r->home, r->upper);
	return e < 0 ? cos_fail(err, COS_E_KERNEL, -e, "take away what a unification left") : 0;
}

int cowfs_root_open(const struct cowfs *c, const char *guest, struct cowfs_root *ret,
		    struct cos_err *err)
{
	struct cowfs_root root = { .home = -1, .disk = -1, .upper = -1, .work = -1 };
	struct cowfs_record rec;
	int r = cowfs_record_read(c, guest, &rec, err);

	if (r < 0)
		return r;
	r = open_own(c, guest, &root, err);
	/* Again: it may have changed before the lock. */
	if (r == 0)
		r = cowfs_record_read(c, guest, &rec, err);
	if (r == 0)
		r = open_lower(c, &rec, &root, err);
	if (r == 0)
		r = open_pools(c, &rec, &root, err);
	if (r < 0)
		cowfs_root_close(&root);
	else
		*ret = root;
	return r;
}

void cowfs_root_close(struct cowfs_root *r)
{
	while (r->n_lower > 0)
		close_p(&r->lower[--r->n_lower]);
	while (r->n_pool > 0)
		close_p(&r->pool[--r->n_pool]);
	close_p(&r->work);
	close_p(&r->upper);
	close_p(&r->disk);
	close_p(&r->home);
}

struct cowfs_mount cowfs_root_mount(const struct cowfs_root *r)
{
	return (struct cowfs_mount){
		.lower = r->lower,
		.n_lower = r->n_lower,
		.pool = r->pool,
		.n_pool = r->n_pool,
		.needs_pool = r->needs_pool,
		.home = r->disk < 0 ? r->home : r->disk,
		.home_is_mount = r->disk >= 0,
		.userns = -1,
	};
}

#define MARK_DIR "work/incompat"
#define BOOT     "boot"

int cowfs_root_revolatile(const struct cowfs_root *r, const char *boot_id, bool once,
			  struct cos_err *err)
{
	bool marked = faccessat(r->work, MARK_DIR "/volatile", F_OK, AT_SYMLINK_NOFOLLOW) == 0;
	char was[64] = "";
	int e = 0;

	if (!once) {
		io_read_at(r->home, BOOT, was, sizeof(was));
		if (marked && strcmp(was, boot_id) != 0)
			return cos_advise(
				err,
				cos_fail(err, COS_E_KERNEL, EUCLEAN,
					 "the guest is volatile and the host went down since "
					 "it ran"),
				"its files may be half written: delete it and create it anew");
		if (strcmp(was, boot_id) != 0)
			e = io_replace_at(r->home, BOOT, boot_id, strlen(boot_id), 0600, false);
	}
	if (e == 0 && marked)
		e = io_remove_tree(r->work, MARK_DIR, 0);
	return e < 0 ? cos_fail(err, COS_E_KERNEL, -e, "make the guest's root volatile again") : 0;
}
