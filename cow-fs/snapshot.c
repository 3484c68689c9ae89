/* cow-fs/snapshot.c - snapshots and clones of guests that do not run */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cow-fs/clone-inner.h"
#include "cow-fs/identity.h"
#include "cow-fs/inner.h"
#include "cow-fs/object.h"
#include "cow-fs/snapshot.h"
#include "cow-fs/space.h"
#include "cow-fs/take.h"
#include "lib/base/clock.h"
#include "lib/base/io.h"
#include "lib/base/jsonx.h"
#include "lib/base/own.h"
#include "lib/base/str.h"

#define VOLATILE "wk/work/incompat/volatile"

static int put_json(int dir, const char *name, json_t *owned, bool durable)
{
	auto_json json_t *j = owned;
	auto_free char *text = json_dumps(j, JSON_COMPACT);

	return text ? io_replace_at(dir, name, text, strlen(text), 0600, durable) : -ENOMEM;
}

/* ---- an upper directory becomes a layer ---- */

static int count_entry(const char *name, void *arg)
{
	if (strcmp(name, OBJECT_FOLDER) != 0)
		++*(unsigned *)arg;
	return 0;
}

/* Nothing was written since the last layer was made. */
static bool is_untouched(const struct cowfs *c, const struct cowfs_taken *t)
{
	auto_close int top = -1;
	struct stat st, was;
	struct cos_err err;
	unsigned n = 0;

	top = cowfs_layer_open(c, t->rec.layers.id[0], &err);
	if (top < 0 || io_each_entry(t->up, count_entry, &n) < 0 || n > 0)
		return false;
	return fstat(t->up, &st) == 0 && fstat(top, &was) == 0 && st.st_mode == was.st_mode &&
	       st.st_uid == was.st_uid && st.st_gid == was.st_gid;
}

/* What makes a layer of the guest's directory, but for its place. */
static int dress_as_layer(const struct cowfs_taken *t, bool durable, const char *guest,
			  struct cos_err *err)
{
	int r = stub_show_pool(t->up);

	if (r == -EEXIST)
		return cos_advise(err,
				  cos_fail(err, COS_E_STATE, 0,
					   "%s has made a file or directory /" OBJECT_FOLDER,
					   guest),
				  "remove it in the guest: cos keeps that name for itself");
	if (r == 0)
		r = put_json(t->home, "meta.json",
			     json_pack("{s:I, s:s}", "created", (json_int_t)clock_wall_usec(),
				       "source", "guest"),
			     durable);
	/* Its mark is lost with the work directory: what it warns of must not be. */
	if (r == 0 && faccessat(t->home, VOLATILE, F_OK, AT_SYMLINK_NOFOLLOW) == 0 &&
	    syncfs(t->home) < 0)
		r = -errno;
	return r < 0 ? cos_fail(err, COS_E_KERNEL, -r, "make a layer of %s", guest) : 0;
}

/* The new home waits in the layer's place; one exchange later it is the guest's. */
static int exchange(const struct cowfs *c, const char *guest, const char *tmp, const char *id,
		    bool durable)
{
	if (renameat(c->tmp, tmp, c->layers, id) < 0)
		return -errno;
	if (durable && fsync(c->layers) < 0)
		return -errno;
	if (renameat2(c->guests, guest, c->layers, id, RENAME_EXCHANGE) < 0)
		return -errno;
	return durable && (fsync(c->guests) < 0 || fsync(c->layers) < 0) ? -errno : 0;
}

static void push_layer(struct cowfs_layers *l, const char *id)
{
	memmove(l->id[1], l->id[0], l->n * sizeof(l->id[0]));
	memcpy(l->id[0], id, COWFS_ID_SIZE);
	l->n++;
}

/* T's record gets the new layer; T itself holds what is the layer now. The caller has the store's
 * lock. */
static int freeze_upper(const struct cowfs *c, const char *guest, struct cowfs_taken *t,
			bool durable, struct cos_err *err)
{
	char id[COWFS_ID_SIZE], tmp[COWFS_ID_SIZE + 8] = "";
	int r;

	if (is_untouched(c, t))
		return 0;
	if (t->rec.layers.n == COWFS_LAYERS_MAX)
		return cos_advise(err,
				  cos_fail(err, COS_E_UNSUPPORTED, 0, "%s has %d layers already",
					   guest, COWFS_LAYERS_MAX),
				  "'cow-fs flatten %s' makes one of them", guest);
	r = dress_as_layer(t, durable, guest, err);
	if (r < 0)
		return r;
	r = cowfs_id_make(id);
	if (r == 0) {
		push_layer(&t->rec.layers, id);
		r = cowfs_home_make(c, &t->rec, t->up, durable, tmp);
	}
	if (r == 0)
		r = exchange(c, guest, tmp, id, durable);
	if (r < 0) {
		cowfs_retire(c, c->tmp, tmp);
		return cos_fail(err, COS_E_KERNEL, -r, "make a layer of %s", guest);
	}
	cowfs_limit_drop(t->home);
	/* Of no use in a layer; nobody looks at it if it stays. */
	io_remove_tree(t->home, "wk", 0);
	unlinkat(t->home, "root.json", 0);
	return 0;
}

/* ---- records of snapshots ---- */

struct snapshot {
	struct cowfs_layers layers;
	uint64_t created;
};

static int parse_layers(json_t *v, const char *at, void *to, struct cos_err *err)
{
	return cowfs_layers_parse(v, at, &((struct snapshot *)to)->layers, err);
}

static int snapshot_read(int dir, const char *file, struct snapshot *ret, struct cos_err *err)
{
	static const struct jsonx_field fields[] = {
		{ .name = "layers", .type = JSONX_FN, .required = true, .parse = parse_layers },
		{ .name = "created",
		  .type = JSONX_UINT,
		  .offset = offsetof(struct snapshot, created),
		  .max = INT64_MAX },
	};

	memset(ret, 0, sizeof(*ret));
	return cowfs_json_read(dir, file, fields, ARRAY_SIZE(fields), ret, err);
}

static int file_of(const char *name, char ret[COWFS_NAME_SIZE], struct cos_err *err)
{
	if (!str_is_name(name) || !str_fmt(ret, COWFS_NAME_SIZE, "%s.json", name))
		return cos_fail(err, COS_E_INVALID, 0, "%s is not a snapshot's name",
				str_is_text(name, 128) ? name : "this");
	return 0;
}

static int open_folder(const struct cowfs *c, const char *guest, bool make, struct cos_err *err)
{
	int fd = cowfs_check_guest(guest, err);

	if (fd < 0)
		return fd;
	fd = make ? io_dir_at(c->snapshots, guest, 0700)
		  : openat(c->snapshots, guest, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd >= 0)
		return fd;
	if (make)
		return cos_fail(err, COS_E_KERNEL, -fd, "make cow/snapshots/%s", guest);
	return cos_fail(err, errno == ENOENT ? COS_E_INVALID : COS_E_KERNEL,
			errno == ENOENT ? 0 : errno, "%s has no snapshots", guest);
}

static int no_snapshot(const char *guest, const char *name, struct cos_err *err)
{
	cos_fail(err, COS_E_INVALID, 0, "%s has no snapshot %s", guest, name);
	return -ENOENT;
}

static int make_locked(const struct cowfs *c, const char *guest, const char *file,
		       struct cos_err *err)
{
	auto_close int dir = -1;
	struct cowfs_taken t;
	int r = cowfs_take(c, guest, COWFS_TAKE_STOPPED, &t, err);

	if (r < 0)
		return r;
	dir = open_folder(c, guest, true, err);
	if (dir < 0)
		r = dir;
	else if (faccessat(dir, file, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		r = cos_fail(err, COS_E_EXISTS, 0, "%s has a snapshot of that name", guest);
	if (r == 0)
		r = freeze_upper(c, guest, &t, true, err);
	if (r == 0) {
		r = put_json(dir, file,
			     json_pack("{s:o, s:I}", "layers", cowfs_layers_json(&t.rec.layers),
				       "created", (json_int_t)clock_wall_usec()),
			     true);
		if (r == 0 && fsync(c->snapshots) < 0)
			r = -errno;
		if (r < 0)
			cos_fail(err, COS_E_KERNEL, -r, "write cow/snapshots/%s/%s", guest, file);
	}
	cowfs_let_go(&t);
	return r;
}

int cowfs_snapshot_make(const struct cowfs *c, const char *guest, const char *name,
			struct cos_err *err)
{
	char file[COWFS_NAME_SIZE];
	int r = file_of(name, file, err);

	if (r == 0)
		r = cowfs_need_lock(c, LOCK_SH, err);
	if (r < 0)
		return r;
	r = make_locked(c, guest, file, err);
	cowfs_unlock(c);
	return r < 0 ? cos_context(err, r, "snapshot %s", guest) : 0;
}

/* ---- list ---- */

struct listing {
	int dir;
	const struct cowfs *c;
	const char *guest;
	json_t *out;
	struct cos_err *err;
};

static bool is_current(const struct listing *l, const struct cowfs_layers *s)
{
	struct cowfs_record rec;
	struct cowfs_taken t = { .home = -1, .up = -1, .note = -1 };
	struct cos_err ignored;
	bool same;

	if (cowfs_record_read(l->c, l->guest, &rec, &ignored) < 0 || rec.layers.n != s->n)
		return false;
	for (unsigned i = 0; i < s->n; i++) {
		if (strcmp(rec.layers.id[i], s->id[i]) != 0)
			return false;
	}
	t.rec = rec;
	t.home = openat(l->c->guests, l->guest, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	t.up = t.home < 0 ? -1 : openat(t.home, "up", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	same = t.up >= 0 && is_untouched(l->c, &t);
	cowfs_let_go(&t);
	return same;
}

static int list_one(const char *file, void *arg)
{
	struct listing *l = arg;
	char name[COWFS_NAME_SIZE];
	struct snapshot s;
	size_t n = strlen(file), at = 0;
	json_t *j, *other;
	int r;

	if (n < 6 || n >= sizeof(name) || strcmp(file + n - 5, ".json") != 0)
		return 0;
	str_fmt(name, sizeof(name), "%.*s", (int)n - 5, file);
	r = snapshot_read(l->dir, file, &s, l->err);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	j = json_pack("{s:s, s:o, s:I, s:b}", "name", name, "layers", cowfs_layers_json(&s.layers),
		      "created", (json_int_t)s.created, "current", is_current(l, &s.layers));
	while ((other = json_array_get(l->out, at)) &&
	       json_integer_value(json_object_get(other, "created")) <= (json_int_t)s.created)
		at++;
	return json_array_insert_new(l->out, at, j) < 0
		       ? cos_fail(l->err, COS_E_KERNEL, ENOMEM, "list snapshots")
		       : 0;
}

int cowfs_snapshot_list(const struct cowfs *c, const char *guest, json_t **ret, struct cos_err *err)
{
	auto_json json_t *out = json_array();
	auto_close int dir = -1;
	struct listing l = { .c = c, .guest = guest, .out = out, .err = err };
	struct cowfs_record rec;
	int r = cowfs_record_read(c, guest, &rec, err);

	if (r < 0)
		return r;
	dir = l.dir = openat(c->snapshots, guest, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	err->code = COS_E_NONE;
	if (dir < 0 && errno != ENOENT)
		return cos_fail(err, COS_E_KERNEL, errno, "open cow/snapshots/%s", guest);
	if (dir >= 0)
		r = io_each_entry(dir, list_one, &l);
	if (r < 0 && err->code == COS_E_NONE)
		return cos_fail(err, COS_E_KERNEL, -r, "read cow/snapshots/%s", guest);
	if (r == 0)
		*ret = take_ptr(out);
	return r;
}

/* ---- restore, delete ---- */

static int restore_locked(const struct cowfs *c, const char *guest, const char *name,
			  const char *file, struct cos_err *err)
{
	auto_close int dir = open_folder(c, guest, false, err), at = -1, top = -1;
	char tmp[COWFS_ID_SIZE + 8] = "";
	struct cowfs_taken t;
	struct snapshot s;
	int r;

	if (dir < 0)
		return dir;
	r = snapshot_read(dir, file, &s, err);
	if (r < 0)
		return r == -ENOENT ? no_snapshot(guest, name, err) : r;
	at = cowfs_layer_open(c, s.layers.id[0], err);
	top = at < 0 ? -1 : openat(at, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (top < 0)
		return at < 0 ? at : cos_fail(err, COS_E_KERNEL, errno, "open the top layer");
	r = cowfs_take(c, guest, COWFS_TAKE_STOPPED, &t, err);
	if (r < 0)
		return r;
	t.rec.layers = s.layers;
	r = cowfs_home_make(c, &t.rec, top, true, tmp);
	if (r == 0 && renameat2(c->tmp, tmp, c->guests, guest, RENAME_EXCHANGE) < 0)
		r = -errno;
	if (r == 0)
		cowfs_limit_drop(t.home);
	if (tmp[0])
		cowfs_retire(c, c->tmp, tmp);
	if (r == 0 && fsync(c->guests) < 0)
		r = -errno;
	cowfs_let_go(&t);
	return r < 0 ? cos_fail(err, COS_E_KERNEL, -r, "put the snapshot in place") : 0;
}

int cowfs_snapshot_restore(const struct cowfs *c, const char *guest, const char *name,
			   struct cos_err *err)
{
	char file[COWFS_NAME_SIZE];
	int r = file_of(name, file, err);

	if (r == 0)
		r = cowfs_need_lock(c, LOCK_SH, err);
	if (r < 0)
		return r;
	r = restore_locked(c, guest, name, file, err);
	cowfs_unlock(c);
	return r < 0 ? cos_context(err, r, "restore %s", guest) : 0;
}

int cowfs_snapshot_delete(const struct cowfs *c, const char *guest, const char *name,
			  struct cos_err *err)
{
	auto_close int dir = -1;
	char file[COWFS_NAME_SIZE];
	int r = file_of(name, file, err);

	if (r < 0)
		return r;
	dir = open_folder(c, guest, false, err);
	if (dir < 0)
		return dir;
	if (unlinkat(dir, file, 0) < 0)
		return errno == ENOENT ? no_snapshot(guest, name, err)
				       : cos_fail(err, COS_E_KERNEL, errno,
						  "unlink cow/snapshots/%s/%s", guest, file);
	return fsync(dir) < 0 ? cos_fail(err, COS_E_KERNEL, errno, "fsync cow/snapshots/%s", guest)
			      : 0;
}

/* ---- what they name ---- */

struct naming {
	int dir;
	const struct cowfs *c;
	int (*fn)(const struct cowfs_layers *l, void *arg);
	void *arg;
	struct cos_err *err;
};

static int name_one(const char *file, void *arg)
{
	struct naming *k = arg;
	struct snapshot s;
	size_t n = strlen(file);
	int r;

	if (n < 6 || strcmp(file + n - 5, ".json") != 0)
		return 0;
	r = snapshot_read(k->dir, file, &s, k->err);
	if (r == -ENOENT)
		return 0;
	return r < 0 ? r : k->fn(&s.layers, k->arg);
}

static int name_guests(const char *guest, void *arg)
{
	struct naming *k = arg;
	auto_close int dir =
		openat(k->c->snapshots, guest, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (dir < 0)
		return errno == ENOENT ? 0 : -errno;
	k->dir = dir;
	return io_each_entry(dir, name_one, k);
}

int cowfs_snapshots_each(const struct cowfs *c, int (*fn)(const struct cowfs_layers *l, void *arg),
			 void *arg, struct cos_err *err)
{
	struct naming k = { .c = c, .fn = fn, .arg = arg, .err = err };

	return io_each_entry(c->snapshots, name_guests, &k);
}

/* ---- clone ---- */

static int clone_locked(const struct cowfs *c, const struct cowfs_cloning *k, const void *arg,
			struct cos_err *err)
{
	char tmp[COWFS_ID_SIZE + 8] = "";
	struct cowfs_taken t;
	int r;

	(void)arg;
	if (faccessat(c->guests, k->to, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		return cos_fail(err, COS_E_EXISTS, 0, "guest %s has a root directory already",
				k->to);
	r = cowfs_take(c, k->from, COWFS_TAKE_STOPPED, &t, err);
	if (r < 0)
		return r;
	r = freeze_upper(c, k->from, &t, k->durable, err);
	if (r == 0) {
		r = cowfs_home_make(c, &t.rec, t.up, k->durable, tmp);
		if (r < 0)
			cos_fail(err, COS_E_KERNEL, -r, "make cow/guests/%s", k->to);
		else if (k->anew)
			r = identity_forget_home(c, c->tmp, tmp, k->features, err);
		if (r == 0)
			r = cowfs_home_publish(c, tmp, k->to, k->durable, err);
		if (r < 0)
			cowfs_retire(c, c->tmp, tmp);
	}
	cowfs_let_go(&t);
	return r;
}

int cowfs_clone_by(const struct cowfs *c, const struct cowfs_cloning *k, clone_fn *fn,
		   const void *arg, struct cos_err *err)
{
	int r = cowfs_check_guest(k->to, err);

	if (r == 0)
		r = cowfs_need_lock(c, LOCK_SH, err);
	if (r < 0)
		return r;
	r = fn(c, k, arg, err);
	cowfs_unlock(c);
	return r < 0 ? cos_context(err, r, "clone %s", k->from) : 0;
}

int cowfs_clone(const struct cowfs *c, const struct cowfs_cloning *k, struct cos_err *err)
{
	return cowfs_clone_by(c, k, clone_locked, NULL, err);
}
