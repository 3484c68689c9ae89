/* cow-fs/take.c - a guest that is held, so that nobody starts or unifies it */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cow-fs/image.h"
#include "cow-fs/mount.h"
#include "cow-fs/object.h"
#include "cow-fs/project.h"
#include "cow-fs/root.h"
#include "cow-fs/take.h"
#include "lib/base/io.h"
#include "lib/base/own.h"
#include "lib/base/str.h"

#define OPEN_DIR (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

static int in_use(struct cos_err *err, const char *guest, const char *how)
{
	return cos_advise(err, cos_fail(err, COS_E_IN_USE, 0, "%s %s", guest, how),
			  "stop it, or wait until what works on it is done");
}

int cowfs_say_own_disk(const char *guest, struct cos_err *err)
{
	return cos_advise(err,
			  cos_fail(err, COS_E_UNSUPPORTED, 0,
				   "%s has its files on a file system of its own (disk.quota=loop)",
				   guest),
			  "clone it while it is stopped; the rest is for guests with "
			  "disk.quota=project or without disk limits");
}

static int lock_home(const struct cowfs *c, const char *guest, struct cowfs_taken *t,
		     struct cos_err *err)
{
	const struct timespec pause = { .tv_nsec = 1000000 };
	int r = -EWOULDBLOCK;

	for (unsigned tries = 0; r == -EWOULDBLOCK && tries <= c->busy_msec; tries++) {
		r = io_lock(t->home);
		if (r == -EWOULDBLOCK && tries < c->busy_msec)
			nanosleep(&pause, NULL);
	}
	if (r == -EWOULDBLOCK)
		return in_use(err, guest, "is being started");
	return r < 0 ? cos_fail(err, COS_E_KERNEL, -r, "lock cow/guests/%s", guest) : 0;
}

/* A snapshot may have made a layer of what was opened before it was locked. */
static int check_home(const struct cowfs *c, const char *guest, const struct cowfs_taken *t,
		      struct cos_err *err)
{
	struct stat st, at;

	if (fstat(t->home, &st) == 0 && fstatat(c->guests, guest, &at, AT_SYMLINK_NOFOLLOW) == 0 &&
	    st.st_ino == at.st_ino)
		return 0;
	return cos_fail(err, COS_E_STATE, 0, "%s got another root directory", guest);
}

static int lock_note(const char *guest, struct cowfs_taken *t, struct cos_err *err)
{
	int r = cowfs_swap_recover(t->home, t->up);

	if (r < 0)
		return cos_fail(err, COS_E_KERNEL, -r, "take away what a unification left");
	t->note = openat(t->home, "unify", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	r = t->note < 0 ? -errno : io_lock(t->note);
	if (r == -EWOULDBLOCK)
		return in_use(err, guest, "is being unified");
	return r < 0 ? cos_fail(err, COS_E_KERNEL, -r, "lock cow/guests/%s/unify", guest) : 0;
}

static int take(const struct cowfs *c, const char *guest, bool running, struct cowfs_taken *t,
		struct cos_err *err)
{
	int r = cowfs_record_read(c, guest, &t->rec, err);

	if (r < 0)
		return r;
	t->home = openat(c->guests, guest, OPEN_DIR);
	if (t->home >= 0 && image_is_there(t->home))
		return cowfs_say_own_disk(guest, err);
	t->up = t->home < 0 ? -1 : openat(t->home, "up", OPEN_DIR);
	if (t->up < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "open cow/guests/%s/up", guest);
	r = lock_note(guest, t, err);
	if (r == 0 && !running)
		r = lock_home(c, guest, t, err);
	if (r == 0)
		r = check_home(c, guest, t, err);
	if (r == 0)
		r = cowfs_record_read(c, guest, &t->rec, err);
	if (r < 0 || running)
		return r;
	r = cowfs_upper_in_use(t->up);
	if (r > 0)
		return in_use(err, guest, "runs");
	return r < 0 ? cos_fail(err, COS_E_KERNEL, -r, "look whether %s runs", guest) : 0;
}

/* The device stays for a moment after what was on it. */
static int await_device(const struct cowfs *c, const char *guest, int home, struct cos_err *err)
{
	const struct timespec pause = { .tv_nsec = 1000000 };

	for (unsigned tries = 0; image_in_use(home); tries++) {
		if (tries == c->busy_msec)
			return in_use(err, guest, "runs");
		nanosleep(&pause, NULL);
	}
	return 0;
}

static int take_image(const struct cowfs *c, const char *guest, struct cowfs_taken *t,
		      struct cos_err *err)
{
	int r = cowfs_record_read(c, guest, &t->rec, err);

	if (r < 0)
		return r;
	t->home = openat(c->guests, guest, OPEN_DIR);
	if (t->home < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "open cow/guests/%s", guest);
	r = lock_home(c, guest, t, err);
	return r < 0 ? r : await_device(c, guest, t->home, err);
}

int cowfs_take(const struct cowfs *c, const char *guest, enum cowfs_taking how,
	       struct cowfs_taken *ret, struct cos_err *err)
{
	int r;

	ret->home = ret->up = ret->note = -1;
	r = how == COWFS_TAKE_IMAGE ? take_image(c, guest, ret, err)
				    : take(c, guest, how == COWFS_TAKE_RUNNING, ret, err);
	if (r == 0 && ret->rec.rootfs[0])
		r = cos_advise(err,
			       cos_fail(err, COS_E_UNSUPPORTED, 0,
					"%s stands on a directory, not on a template", guest),
			       "import the directory as a template");
	if (r < 0)
		cowfs_let_go(ret);
	return r;
}

void cowfs_let_go(struct cowfs_taken *t)
{
	close_p(&t->up);
	close_p(&t->note);
	close_p(&t->home);
}

/* ---- a new home ---- */

/* A merged root directory looks like its upper one. */
static int copy_looks(int from, int to)
{
	struct stat st;

	if (fstat(from, &st) < 0 || fchown(to, st.st_uid, st.st_gid) < 0 ||
	    fchmod(to, st.st_mode & 07777) < 0)
		return -errno;
	return stub_copy_attrs(from, to);
}

int cowfs_home_make(const struct cowfs *c, const struct cowfs_record *rec, int up, bool durable,
		    char ret_name[COWFS_ID_SIZE + 8])
{
	auto_close int home = -1, work = -1, to = -1;
	auto_free char *text = cowfs_record_text(rec);
	int r;

	strcpy(ret_name, "g-");
	r = text ? cowfs_id_make(ret_name + 2) : -ENOMEM;
	if (r < 0)
		return r;
	home = io_dir_at(c->tmp, ret_name, 0700);
	if (home >= 0 && !project_try(c->dir)[0]) {
		r = project_give(c, home);
		if (r < 0)
			return r;
	}
	to = home < 0 ? home : io_dir_at(home, "up", 0700);
	work = to < 0 ? to : io_dir_at(home, "wk", 0700);
	if (work < 0)
		return work;
	r = copy_looks(up, to);
	if (r == 0)
		r = io_replace_at(home, "root.json", text, strlen(text), 0600, durable);
	return r;
}

int cowfs_home_publish(const struct cowfs *c, const char *name, const char *to, bool durable,
		       struct cos_err *err)
{
	if (renameat2(c->tmp, name, c->guests, to, RENAME_NOREPLACE) < 0)
		return errno == EEXIST
			       ? cos_fail(err, COS_E_EXISTS, 0,
					  "guest %s has a root directory already", to)
			       : cos_fail(err, COS_E_KERNEL, errno, "make cow/guests/%s", to);
	return durable && fsync(c->guests) < 0
		       ? cos_fail(err, COS_E_KERNEL, errno, "fsync cow/guests")
		       : 0;
}
