/* cow-fs/unify.c - unification: candidates, objects, manifest; unify-swap.c does the rest */
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "cow-fs/image.h"
#include "cow-fs/inner.h"
#include "cow-fs/mount.h"
#include "cow-fs/root.h"
#include "cow-fs/unify-inner.h"
#include "lib/base/clock.h"
#include "lib/base/io.h"
#include "lib/base/own.h"
#include "lib/base/str.h"

#define DISK_BLOCK  512U       /* the unit of st_blocks */
#define SPARSE_FROM (1U << 20) /* longer files with less data than half stay */
#define TICK_FILES  64
/* Kernels without fine-grained times change a file's times by the tick: a write after the look at
 * them might not show until the next one. Ticks are 10 ms at most. */
#define SETTLE_USEC 20000

const char *const cowfs_excludes[] = {
	"etc/shadow*",     "etc/gshadow*",    "etc/ssh/ssh_host_*", "etc/ssl/private/*",
	"*.ssh/*",         "*.gnupg/*",       "etc/machine-id",     "*/random-seed",
	"etc/krb5.keytab", "etc/wireguard/*", "*/private/*.key",    NULL,
};

/* ---- leases ---- */

int unify_lease(int fd, bool readers)
{
	/* Not SIGIO, which would end the process: this one is ignored unless somebody asks. */
	if (fcntl(fd, F_SETSIG, SIGURG) < 0)
		return -errno;
	return fcntl(fd, F_SETLEASE, readers ? F_RDLCK : F_WRLCK) < 0 ? -errno : 0;
}

bool unify_is_leased(int fd)
{
	return fcntl(fd, F_GETLEASE) == F_RDLCK;
}

void unify_unlease(int fd)
{
	fcntl(fd, F_SETLEASE, F_UNLCK);
}

static int check_lease(void *arg)
{
	return unify_is_leased(*(const int *)arg) ? 0 : -EAGAIN;
}

/* ---- what may be unified ---- */

bool unify_is_same(const struct candidate *c, const struct stat *st)
{
	return S_ISREG(st->st_mode) && st->st_nlink == 1 && st->st_ino == c->ino &&
	       (uint64_t)st->st_size == c->size && st->st_ctim.tv_sec == c->ctime.tv_sec &&
	       st->st_ctim.tv_nsec == c->ctime.tv_nsec && st->st_mtim.tv_sec == c->mtime.tv_sec &&
	       st->st_mtim.tv_nsec == c->mtime.tv_nsec;
}

static bool is_excluded(const struct unify *f, const char *path)
{
	const char *const *more = f->u->exclude;

	for (const char *const *p = cowfs_excludes; *p; p++) {
		if (fnmatch(*p, path, 0) == 0)
			return true;
	}
	for (; more && *more; more++) {
		if (fnmatch(*more, path, 0) == 0)
			return true;
	}
	return false;
}

static bool is_worth_it(const struct unify *f, const struct stat *st)
{
	uint64_t size = (uint64_t)st->st_size, data = (uint64_t)st->st_blocks * DISK_BLOCK;

	if (size <= f->min_bytes || st->st_nlink != 1 || data == 0)
		return false;
	return size <= SPARSE_FROM || data >= size / 2;
}

static bool is_settled(const struct stat *st)
{
	uint64_t changed =
		(uint64_t)st->st_ctim.tv_sec * USEC_PER_SEC + (uint64_t)st->st_ctim.tv_nsec / 1000;

	return clock_read_usec(CLOCK_REALTIME_COARSE) >= changed + SETTLE_USEC;
}

/* Inode flags of the guest's are kept by overlayfs in an attribute, which a stub does not take. */
static bool has_flags(int fd)
{
	return fgetxattr(fd, "trusted.overlay.protattr", NULL, 0) >= 0;
}

/* ---- rounds ---- */

static void forget_round(struct unify *f)
{
	while (f->n > 0)
		free(f->cand[--f->n].path);
}

/* Data first, then the short names, which make it usable. */
static int settle_round(struct unify *f)
{
	bool any = false;
	int r = 0;

	for (size_t i = 0; i < f->n; i++)
		any = any || f->cand[i].pending;
	if (!any)
		return 0;
	r = pool_sync(f->pool);
	for (size_t i = 0; i < f->n && r == 0; i++) {
		if (!f->cand[i].pending)
			continue;
		r = pool_settle(f->pool, &f->cand[i].digest);
		if (r == -EEXIST) {
			f->cand[i].lost = true;
			f->count.unable++;
			r = 0;
		}
	}
	return r;
}

static int note_round(struct unify *f)
{
	auto_free struct digest *d = calloc(f->n, sizeof(*d));

	if (!d)
		return -ENOMEM;
	for (size_t i = 0; i < f->n; i++)
		d[i] = f->cand[i].digest;
	return manifest_add(f->home, &f->manifest, d, f->n);
}

/* Everything that stubs will name is on the disk before the first stub. */
static int flush_round(struct unify *f)
{
	uint64_t start = clock_usec();
	int r = 0;

	if (f->n == 0 || f->u->dry_run) {
		forget_round(f);
		return 0;
	}
	r = settle_round(f);
	if (r == 0)
		r = note_round(f);
	if (r == 0)
		r = pool_sync(f->pool);
	f->count.sync_usec += clock_usec() - start;
	if (r < 0) {
		f->pool->unsettled = true;
		return cos_fail(f->err, COS_E_KERNEL, -r, "write objects and manifest");
	}
	r = unify_swap_all(f);
	forget_round(f);
	return r;
}

/* ---- one file ---- */

/* The digest of what is in the file while nobody writes to it. */
static int hash_still(struct unify *f, int fd, const struct stat *st, struct digest *ret)
{
	struct stat after;
	uint64_t size = 0;
	int r = unify_lease(fd, true);

	if (r < 0)
		return r;
	r = digest_fd(f->g, fd, (uint64_t)st->st_size, check_lease, &fd, ret, &size);
	if (r == 0 && !unify_is_leased(fd))
		r = -EAGAIN;
	unify_unlease(fd);
	if (r == -EFBIG)
		return -EAGAIN;
	if (r < 0)
		return r;
	if (fstat(fd, &after) < 0)
		return -errno;
	f->count.hashed_bytes += size;
	return size == (uint64_t)st->st_size && after.st_ctim.tv_sec == st->st_ctim.tv_sec &&
			       after.st_ctim.tv_nsec == st->st_ctim.tv_nsec
		       ? 0
		       : -EAGAIN;
}

/* POOL_THERE or POOL_PENDING when the pool has, or will have, exactly what was hashed. */
static int put_object(struct unify *f, int fd, const struct stat *st, const struct digest *d)
{
	struct digest is;
	struct stat got;
	uint64_t size;
	int r = pool_find(f->pool, d);

	if (r == POOL_THERE) {
		f->count.found++;
		return r;
	}
	if (r < 0)
		return r;
	r = pool_add(f->pool, f->g, fd, (uint64_t)st->st_size, &is, &size);
	if (r == -ENOSPC || r == -EDQUOT) {
		/* What is known to be double makes room. */
		int e = flush_round(f);

		if (e < 0)
			return e;
		r = pool_add(f->pool, f->g, fd, (uint64_t)st->st_size, &is, &size);
	}
	if (r < 0)
		return r == -EFBIG ? -EAGAIN : r;
	/* The content of just then is in the pool for nothing: gc takes it. */
	if (memcmp(&is, d, sizeof(is)) != 0) {
		f->pool->unsettled = true;
		return -EAGAIN;
	}
	if (fstat(fd, &got) == 0)
		f->count.added_bytes += (uint64_t)got.st_blocks * DISK_BLOCK;
	f->count.added++;
	return r;
}

static int remember(struct unify *f, const char *path, const struct stat *st,
		    const struct digest *d, bool pending)
{
	struct candidate *c = &f->cand[f->n];

	*c = (struct candidate){
		.path = strdup(path),
		.size = (uint64_t)st->st_size,
		.blocks = (uint64_t)st->st_blocks,
		.ino = st->st_ino,
		.ctime = st->st_ctim,
		.mtime = st->st_mtim,
		.digest = *d,
		.pending = pending,
	};
	if (!c->path)
		return -ENOMEM;
	return ++f->n == ROUND_MAX ? flush_round(f) : 0;
}

static int count_dry(struct unify *f, const struct stat *st, const struct digest *d)
{
	int r = pool_find(f->pool, d);

	if (r < 0)
		return r;
	f->count.found += r == POOL_THERE;
	if (r != POOL_THERE) {
		r = digest_set_add(&f->seen, d);
		if (r < 0)
			return r;
		f->count.added += (unsigned)r;
		f->count.added_bytes += r ? (uint64_t)st->st_blocks * DISK_BLOCK : 0;
	}
	f->count.swapped++;
	f->count.freed_bytes += (uint64_t)st->st_blocks * DISK_BLOCK;
	return 0;
}

static int take_file(struct unify *f, int fd, const char *path)
{
	char at[OBJECT_PATH_SIZE];
	struct digest d;
	struct stat st;
	int r;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || !is_worth_it(f, &st))
		return 0;
	r = stub_look(fd, at);
	if (r != STUB_NOT)
		return r < 0 ? r : 0;
	if (has_flags(fd))
		return -EPERM;
	if (f->is_guest && !is_settled(&st))
		return -EAGAIN;
	f->count.candidates++;
	r = hash_still(f, fd, &st, &d);
	if (r < 0)
		return r;
	if (f->u->dry_run)
		return count_dry(f, &st, &d);
	r = put_object(f, fd, &st, &d);
	return r < 0 ? r : remember(f, path, &st, &d, r == POOL_PENDING);
}

/* A failure of one file leaves that file as it is; one of the run ends it. */
static int sort_out(struct unify *f, int r)
{
	if (f->err->code != COS_E_NONE)
		return r;
	switch (r) {
	case -EAGAIN:
	case -ETXTBSY:
	case -ENOENT:
		f->count.busy++;
		return 0;
	case -EPERM:
	case -ENOSPC:
	case -EDQUOT:
	case -ERANGE:
	case -EUCLEAN:
	case -ELOOP:
	case -EOPNOTSUPP:
		f->count.unable++;
		return 0;
	default:
		return r;
	}
}

static int look(const struct walk_entry *e, void *arg)
{
	struct unify *f = arg;
	auto_close int fd = -1;
	int r = 0;

	if (!S_ISREG(e->st.st_mode))
		return WALK_ON;
	if (f->count.seen++ % TICK_FILES == 0 && f->u->progress)
		r = f->u->progress(&f->count, f->u->arg);
	if (r != 0)
		return r < 0 ? r : -ECANCELED;
	if (!is_worth_it(f, &e->st))
		return WALK_ON;
	if (is_excluded(f, e->path)) {
		f->count.excluded++;
		return WALK_ON;
	}
	/* A fifo may stand there by now. */
	fd = openat(e->dir, e->name,
		    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_NOATIME | O_CLOEXEC);
	r = fd < 0 ? -errno : take_file(f, fd, e->path);
	return r < 0 ? sort_out(f, r) : WALK_ON;
}

/* ---- a run ---- */

/* A stub takes no block but where its attributes do not fit into the inode. */
static uint64_t least_bytes(int top)
{
	struct statfs fs;

	return fstatfs(top, &fs) == 0 && fs.f_type == EXT4_SUPER_MAGIC ? 8192 : 4096;
}

static void unify_free(struct unify *f)
{
	if (!f)
		return;
	forget_round(f);
	digest_set_done(&f->manifest);
	digest_set_done(&f->seen);
	close_p(&f->place);
	digester_free(f->g);
	free(f);
}

static struct unify *unify_new(struct cowfs_pool *pool, int home, int top,
			       const struct cowfs_unify *u, struct cos_err *err)
{
	struct unify *f = calloc(1, sizeof(*f));

	err->code = COS_E_NONE;
	if (!f)
		return NULL;
	f->place = -1;
	f->batch_max = BATCH_MAX / 4;
	f->g = digester_new();
	if (!f->g) {
		free(f);
		return NULL;
	}
	f->u = u;
	f->pool = pool;
	f->home = home;
	f->top = top;
	f->err = err;
	f->min_bytes = u->min_bytes ? u->min_bytes : least_bytes(top);
	return f;
}

static int run(struct unify *f)
{
	struct walk w = { .top = f->top, .fn = look, .arg = f };
	int r = manifest_read(f->home, &f->manifest);

	if (r < 0)
		return cos_fail(f->err, COS_E_KERNEL, -r, "read the manifest");
	if (!f->u->dry_run) {
		f->place = io_dir_at(f->home, "sw", 0700);
		if (f->place < 0)
			return cos_fail(f->err, COS_E_KERNEL, -f->place, "make sw");
	}
	r = walk_tree(&w);
	f->count.too_deep = w.left_out;
	if (r == 0)
		r = flush_round(f);
	else if (f->n > 0)
		f->pool->unsettled = true;
	if (r < 0 && f->err->code == COS_E_NONE)
		return cos_fail(f->err, COS_E_KERNEL, -r, "walk the guest's files");
	return r;
}

int cowfs_unify_tree(struct cowfs_pool *pool, int home, int top, const struct cowfs_unify *u,
		     struct cowfs_unified *ret, struct cos_err *err)
{
	struct unify *f = unify_new(pool, home, top, u, err);
	int r;

	if (!f)
		return cos_fail(err, COS_E_KERNEL, ENOMEM, "unify");
	r = run(f);
	*ret = f->count;
	unify_free(f);
	if (r == 0)
		r = io_remove_tree(home, "sw", 0);
	return r;
}

/* A snapshot may have made a layer of the directory that was opened. */
static bool is_guests_home(const struct cowfs *c, const char *guest, int home)
{
	struct stat st, at;

	return fstat(home, &st) == 0 && fstatat(c->guests, guest, &at, AT_SYMLINK_NOFOLLOW) == 0 &&
	       st.st_ino == at.st_ino;
}

static int run_guest(struct unify *f, const struct cowfs *c, const char *guest)
{
	int note = -1, r;

	if (!f->u->dry_run) {
		note = swap_begin(f->home, f->top, f->prefix);
		if (note == -EWOULDBLOCK)
			return cos_fail(f->err, COS_E_IN_USE, 0, "%s is being unified already",
					guest);
		if (note < 0)
			return cos_fail(f->err, COS_E_KERNEL, -note, "begin to unify %s", guest);
	}
	r = is_guests_home(c, guest, f->home)
		    ? run(f)
		    : cos_fail(f->err, COS_E_STATE, 0, "%s got another root directory", guest);
	if (note >= 0)
		swap_end(f->home, note, !f->is_dirty);
	return r;
}

int cowfs_unify(const struct cowfs *c, const char *guest, const struct cowfs_unify *u,
		struct cowfs_unified *ret, struct cos_err *err)
{
	auto_close int home = -1, up = -1;
	struct cowfs_record rec;
	struct cowfs_pool pool;
	struct unify *f;
	int r = cowfs_record_read(c, guest, &rec, err);

	if (r < 0)
		return r;
	if (rec.rootfs[0])
		return cos_advise(err,
				  cos_fail(err, COS_E_UNSUPPORTED, 0,
					   "%s stands on a directory, not on a template", guest),
				  "import the directory as a template");
	home = openat(c->guests, guest, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (home >= 0 && image_is_there(home))
		return cowfs_say_own_disk(guest, err);
	up = home < 0 ? -1 : openat(home, "up", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (up < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "open cow/guests/%s/up", guest);
	r = cowfs_pool_open(c, rec.domain, u->dry_run ? COWFS_POOL_LOOK : COWFS_POOL_ADD, &pool,
			    err);
	if (r < 0)
		return r;
	f = unify_new(&pool, home, up, u, err);
	if (f) {
		f->is_guest = true;
		r = run_guest(f, c, guest);
		*ret = f->count;
	} else {
		r = cos_fail(err, COS_E_KERNEL, ENOMEM, "unify");
	}
	unify_free(f);
	cowfs_pool_close(&pool);
	return r < 0 ? cos_context(err, r, "unify %s", guest) : 0;
}
