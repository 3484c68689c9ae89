/* cow-fs/selftest.c - whether this kernel and file system keep the rules that unification needs */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "cow-fs/inner.h"
#include "cow-fs/mount.h"
#include "cow-fs/object.h"
#include "cow-fs/selftest.h"
#include "lib/base/io.h"
#include "lib/base/own.h"
#include "lib/base/str.h"

#define ID_BASE (1U << 20)
#define OWNER   7U
#define TEXT    "what the object holds\n"
#define LENGTH  (sizeof(TEXT) - 1)

struct trial {
	char name[PLACE_NAME_SIZE];
	int dir; /* all of it */
	int pool, low, up, mnt;
	struct digest digest;
	unsigned features;
};

/* ---- the place ---- */

struct leftover {
	int dir;
	const char *what;
};

static int remove_leftover(const char *name, void *arg)
{
	const struct leftover *l = arg;
	size_t n = strlen(l->what);
	uint64_t pid;

	if (strncmp(name, l->what, n) == 0 && name[n] == '.' &&
	    str_to_u64(name + n + 1, &pid) == 0 && pid <= INT32_MAX &&
	    (pid == (uint64_t)getpid() || (kill((pid_t)pid, 0) < 0 && errno == ESRCH)))
		io_remove_tree(l->dir, name, 0);
	return 0;
}

int cowfs_place_open(int dir, const char *what, char ret_name[static PLACE_NAME_SIZE])
{
	struct leftover l = { dir, what };
	int r = io_each_entry(dir, remove_leftover, &l);

	str_fmt(ret_name, PLACE_NAME_SIZE, "%s.%d", what, getpid());
	return r < 0 ? r : io_dir_at(dir, ret_name, 0700);
}

/* ---- parts ---- */

static int write_file(int dir, const char *name, const char *text, mode_t mode)
{
	auto_close int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
	int r = fd < 0 ? -errno : io_write_all(fd, text, strlen(text));

	return r;
}

static int make_object(struct trial *t)
{
	auto_close int ref = io_dir_at(t->dir, "ref", 0700), folder = -1, sub = -1;
	auto_close int fd = -1;
	char path[OBJECT_PATH_SIZE], from[40];

	folder = io_dir_at(t->pool, OBJECT_FOLDER, 0755);
	for (size_t i = 0; i < DIGEST_SIZE; i++)
		t->digest.b[i] = (unsigned char)(i * 7 + 1);
	object_path(&t->digest, path);
	path[1] = '\0';
	sub = folder < 0 ? -1 : io_dir_at(folder, path, 0755);
	if (sub < 0 || ref < 0)
		return -EIO;
	fd = openat(ref, ".", O_RDWR | O_TMPFILE | O_CLOEXEC, 0444);
	if (fd < 0)
		return -errno;
	snprintf(from, sizeof(from), "/proc/self/fd/%d", fd);
	if (write(fd, TEXT, LENGTH) != (ssize_t)LENGTH ||
	    linkat(AT_FDCWD, from, ref, "object", AT_SYMLINK_FOLLOW) < 0 ||
	    linkat(ref, "object", sub, path + 2, 0) < 0)
		return -errno;
	return 0;
}

static int put_stub(const struct trial *t, int dir, const char *name)
{
	auto_close int like = openat(t->dir, "like", O_RDONLY | O_CLOEXEC);
	struct stat st;

	if (like < 0 || fstat(like, &st) < 0)
		return -errno;
	st.st_mode = S_IFREG | 0754;
	st.st_uid = st.st_gid = OWNER;
	st.st_size = (off_t)LENGTH;
	return stub_make(dir, name, &t->digest, like, &st);
}

/* -EBADMSG when it is another text. */
static int expect(int dir, const char *name, const char *text)
{
	char buf[128];
	ssize_t n = io_read_at(dir, name, buf, sizeof(buf));

	if (n < 0)
		return (int)n;
	return strcmp(buf, text) == 0 ? 0 : -EBADMSG;
}

/* ---- rules, in order: each may need those before it ---- */

static int objects_have_two_names(struct trial *t)
{
	int r = write_file(t->dir, "like", "", 0600);

	return r < 0 ? r : make_object(t);
}

static int stubs_are_made(struct trial *t)
{
	int r = put_stub(t, t->up, "one");

	r = r == 0 ? put_stub(t, t->up, "two") : r;
	r = r == 0 ? put_stub(t, t->low, "low") : r;
	/* Who mounts has no id inside: it could make no file there later. */
	r = r == 0 ? write_file(t->up, "file", "old", 0644) : r;
	r = r == 0 ? write_file(t->up, "busy", TEXT, 0644) : r;
	return r == 0 ? stub_hide_pool(t->up) : r;
}

static int it_mounts(struct trial *t)
{
	auto_close int userns = cowfs_userns_make(ID_BASE);
	const int lower[] = { t->low };
	const struct cowfs_mount m = {
		.lower = lower,
		.n_lower = 1,
		.pool = &t->pool,
		.n_pool = 1,
		.needs_pool = true,
		.home = t->dir,
		.userns = userns,
		.id_base = ID_BASE,
	};
	struct cos_err err;

	if (userns < 0)
		return userns;
	t->mnt = cowfs_mount(&m, t->features, &err);
	return t->mnt < 0 ? t->mnt : 0;
}

static int stubs_show_the_object(struct trial *t)
{
	int r = expect(t->mnt, "one", TEXT);

	return r == 0 ? expect(t->mnt, "two", TEXT) : r;
}

static int stubs_keep_their_looks(struct trial *t)
{
	struct stat st;

	if (fstatat(t->mnt, "one", &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	return st.st_uid == ID_BASE + OWNER && (st.st_mode & 07777) == 0754 &&
			       st.st_size == (off_t)LENGTH && st.st_nlink == 1
		       ? 0
		       : -EBADMSG;
}

static int stubs_work_in_a_layer(struct trial *t)
{
	return expect(t->mnt, "low", TEXT);
}

static int the_pool_is_hidden(struct trial *t)
{
	struct stat st;

	return fstatat(t->mnt, OBJECT_FOLDER, &st, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT
		       ? 0
		       : -EBADMSG;
}

static int a_write_breaks_the_link(struct trial *t)
{
	auto_close int fd = openat(t->mnt, "one", O_WRONLY | O_APPEND | O_CLOEXEC);
	int r = fd < 0 ? -errno : io_write_all(fd, "more", 4);

	r = r == 0 ? expect(t->mnt, "one", TEXT "more") : r;
	r = r == 0 ? expect(t->mnt, "two", TEXT) : r;
	return r == 0 ? expect(t->dir, "ref/object", TEXT) : r;
}

/* As a unification of a running guest does it. */
static int a_stub_replaces_a_file(struct trial *t)
{
	auto_close int sub = -1;
	int r = expect(t->mnt, "file", "old");

	if (r == 0 && mkdirat(t->dir, "sw", 0700) < 0)
		r = -errno;
	sub = r < 0 ? -1 : openat(t->dir, "sw", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	r = r == 0 ? put_stub(t, sub, "0") : r;
	if (r == 0 && (renameat(t->dir, "sw", t->up, "sw") < 0 ||
		       renameat(t->mnt, "sw/0", t->mnt, "file") < 0 ||
		       unlinkat(t->mnt, "sw", AT_REMOVEDIR) < 0))
		r = -errno;
	return r == 0 ? expect(t->mnt, "file", TEXT) : r;
}

static int lease(int fd, int how)
{
	int r;

	if (fcntl(fd, F_SETSIG, SIGURG) < 0)
		return -errno;
	r = fcntl(fd, F_SETLEASE, how) < 0 ? -errno : 0;
	if (r == 0)
		fcntl(fd, F_SETLEASE, F_UNLCK);
	return r;
}

static int leases_see_writers(struct trial *t)
{
	auto_close int writer = openat(t->mnt, "busy", O_RDWR | O_CLOEXEC);
	auto_close int fd = -1, reader = -1;
	void *map;
	int r;

	if (writer < 0)
		return -errno;
	fd = openat(t->up, "busy", O_RDONLY | O_CLOEXEC);
	if (lease(fd, F_RDLCK) != -EAGAIN)
		return -EBADMSG;
	map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, writer, 0);
	if (map == MAP_FAILED)
		return -errno;
	close_p(&writer);
	r = lease(fd, F_RDLCK);
	munmap(map, 4096);
	if (r != -EAGAIN)
		return -EBADMSG;
	r = lease(fd, F_WRLCK);
	reader = openat(t->mnt, "busy", O_RDONLY | O_CLOEXEC);
	if (r == 0 && (reader < 0 || lease(fd, F_WRLCK) != -EAGAIN))
		return -EBADMSG;
	return r == 0 ? lease(fd, F_RDLCK) : r;
}

/* Or what is stored after the file was hashed would be lost: so it is on tmpfs. */
static int a_store_by_mapping_shows_in_the_times(struct trial *t)
{
	const struct timespec old[2] = { { .tv_sec = 1 }, { .tv_sec = 1 } };
	auto_close int fd = openat(t->mnt, "busy", O_RDWR | O_CLOEXEC), up = -1;
	struct stat before, after;
	char *map;

	up = openat(t->up, "busy", O_RDONLY | O_CLOEXEC);
	if (fd < 0 || up < 0 || futimens(up, old) < 0)
		return -errno;
	map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return -errno;
	if (fstat(up, &before) == 0)
		map[0] = 'W';
	munmap(map, 4096);
	if (fstat(up, &after) < 0)
		return -errno;
	return before.st_mtim.tv_sec != after.st_mtim.tv_sec ? 0 : -EBADMSG;
}

static int a_guests_root_is_known_to_be_in_use(struct trial *t)
{
	auto_close int free_one = io_dir_at(t->dir, "free", 0700);
	int r = free_one < 0 ? free_one : cowfs_upper_in_use(free_one);

	if (r != 0)
		return r < 0 ? r : -EBADMSG;
	r = cowfs_upper_in_use(t->up);
	return r == 1 ? 0 : r < 0 ? r : -EBADMSG;
}

static const struct {
	const char *name;
	int (*try)(struct trial *t);
} rules[] = {
	{ "an object is made without a name and gets two", objects_have_two_names },
	{ "stubs take the overlay's attributes", stubs_are_made },
	{ "a root with the pool as its last layer is mounted, owners mapped", it_mounts },
	{ "two stubs show one object", stubs_show_the_object },
	{ "a stub keeps owner, mode and size", stubs_keep_their_looks },
	{ "a stub works in a lower layer", stubs_work_in_a_layer },
	{ "the pool is hidden", the_pool_is_hidden },
	{ "a write copies the data and leaves the object", a_write_breaks_the_link },
	{ "a stub replaces a file of a mounted root", a_stub_replaces_a_file },
	{ "a lease tells of writers, maps and readers", leases_see_writers },
	{ "a store through a mapping changes a file's times",
	  a_store_by_mapping_shows_in_the_times },
	{ "the kernel tells which root is in use", a_guests_root_is_known_to_be_in_use },
};

static int open_trial(int dir, struct trial *t)
{
	auto_close int work = -1;

	t->dir = cowfs_place_open(dir, "selftest", t->name);
	if (t->dir < 0)
		return t->dir;
	t->pool = io_dir_at(t->dir, "pool", 0755);
	t->low = io_dir_at(t->dir, "layer", 0755);
	t->up = io_dir_at(t->dir, "up", 0755);
	work = io_dir_at(t->dir, "wk", 0700);
	return t->pool < 0 || t->low < 0 || t->up < 0 || work < 0 ? -EIO : 0;
}

static void close_trial(int dir, struct trial *t)
{
	close_p(&t->mnt);
	close_p(&t->up);
	close_p(&t->low);
	close_p(&t->pool);
	close_p(&t->dir);
	if (t->name[0])
		io_remove_tree(dir, t->name, 0);
}

int cowfs_selftest(int dir, unsigned features, cowfs_say *say, void *arg, struct cos_err *err)
{
	struct trial t = { .dir = -1,
			   .pool = -1,
			   .low = -1,
			   .up = -1,
			   .mnt = -1,
			   .features = features | 1U << COWFS_POOL };
	int r = open_trial(dir, &t);

	if (r < 0)
		cos_fail(err, COS_E_KERNEL, -r, "make directories for the self-test");
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(rules); i++) {
		r = rules[i].try(&t);
		if (say)
			say(rules[i].name, r,
			    r == -EBADMSG ? "done, but with another result"
			    : r < 0       ? strerrordesc_np(-r)
					  : "",
			    arg);
		if (r < 0)
			cos_fail(err, COS_E_UNSUPPORTED, -r, "self-test: %s", rules[i].name);
	}
	close_trial(dir, &t);
	return r;
}
