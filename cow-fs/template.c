/* cow-fs/template.c - templates: who uses what, list and delete */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "cow-fs/inner.h"
#include "cow-fs/store.h"
#include "lib/base/io.h"
#include "lib/base/jsonx.h"
#include "lib/base/own.h"
#include "lib/base/str.h"

#define USERS_SHOWN 3

struct layer_meta {
	uint64_t files, bytes, created;
	char source[16];
};

static int read_meta(const struct cowfs *c, const char *id, struct layer_meta *ret,
		     struct cos_err *err)
{
	static const struct jsonx_field fields[] = {
		{ .name = "files",
		  .type = JSONX_UINT,
		  .offset = offsetof(struct layer_meta, files),
		  .max = INT64_MAX },
		{ .name = "bytes",
		  .type = JSONX_UINT,
		  .offset = offsetof(struct layer_meta, bytes),
		  .max = INT64_MAX },
		{ .name = "created",
		  .type = JSONX_UINT,
		  .offset = offsetof(struct layer_meta, created),
		  .max = INT64_MAX },
		{ .name = "source",
		  .type = JSONX_STR,
		  .offset = offsetof(struct layer_meta, source),
		  .max = sizeof(ret->source) - 1 },
	};
	char file[COWFS_ID_SIZE + 16];
	int r;

	memset(ret, 0, sizeof(*ret));
	str_fmt(file, sizeof(file), "%s/meta.json", id);
	r = cowfs_json_read(c->layers, file, fields, ARRAY_SIZE(fields), ret, err);
	return r == -ENOENT ? cos_fail(err, COS_E_KERNEL, ENOENT, "read layers/%s", file) : r;
}

/* The template whose file this is; false for the remains of an interrupted write. */
static bool name_of_file(const char *file, char *ret)
{
	size_t n = strlen(file);

	if (n < 6 || n - 5 >= COWFS_NAME_SIZE || strcmp(file + n - 5, ".json") != 0)
		return false;
	memcpy(ret, file, n - 5);
	ret[n - 5] = '\0';
	return str_is_template(ret);
}

/* ---- list ---- */

struct listing {
	const struct cowfs *c;
	json_t *by_name, *by_top; /* the same objects by template and by top layer */
	struct cos_err *err;
};

static int list_template(const char *file, void *arg)
{
	struct listing *l = arg;
	char name[COWFS_NAME_SIZE];
	struct layer_meta m = { 0 };
	struct cowfs_template t;
	uint64_t files = 0, bytes = 0;
	json_t *j;
	int r;

	if (!name_of_file(file, name))
		return 0;
	r = cowfs_template_read(l->c, name, &t, l->err);
	if (r < 0) /* deleted while we read */
		return l->err->code == COS_E_NO_TEMPLATE ? 0 : r;
	/* From the bottom, so that M is the top's when the loop ends. */
	for (unsigned i = t.layers.n; r == 0 && i > 0; i--) {
		r = read_meta(l->c, t.layers.id[i - 1], &m, l->err);
		files += m.files;
		bytes += m.bytes;
	}
	if (r < 0)
		return cos_context(l->err, r, "template %s", name);
	j = json_pack("{s:s, s:o, s:I, s:I, s:I, s:s, s:s, s:i}", "name", name, "layers",
		      cowfs_layers_json(&t.layers), "files", (json_int_t)files, "bytes",
		      (json_int_t)bytes, "created", (json_int_t)t.created, "source", m.source,
		      "arch", t.arch, "users", 0);
	if (json_object_set(l->by_top, t.layers.id[0], j) < 0 ||
	    json_object_set_new(l->by_name, name, j) < 0)
		return cos_fail(l->err, COS_E_KERNEL, ENOMEM, "list templates");
	return 0;
}

static int count_user(const char *guest, void *arg)
{
	struct listing *l = arg;
	struct cowfs_record rec;
	struct cos_err err;
	json_t *t, *users;

	/* A damaged record is told about where that guest is used, not here. */
	if (cowfs_record_read(l->c, guest, &rec, &err) < 0)
		return 0;
	t = rec.template[0] ? json_object_get(l->by_name, rec.template) : NULL;
	for (unsigned i = 0; !t && i < rec.layers.n; i++)
		t = json_object_get(l->by_top, rec.layers.id[i]);
	users = json_object_get(t, "users");
	json_integer_set(users, json_integer_value(users) + 1);
	return 0;
}

static int compare(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Directories have no order, users want one. */
static int append_sorted(json_t *to, json_t *from)
{
	size_t n = json_object_size(from), i = 0;
	auto_free const char **keys = calloc(n + 1, sizeof(*keys));
	const char *key;
	json_t *v;

	if (!keys)
		return -ENOMEM;
	json_object_foreach(from, key, v)
		keys[i++] = key;
	qsort(keys, n, sizeof(*keys), compare);
	for (i = 0; i < n; i++) {
		if (json_array_append(to, json_object_get(from, keys[i])) < 0)
			return -ENOMEM;
	}
	return 0;
}

int cowfs_template_list(const struct cowfs *c, json_t **ret, struct cos_err *err)
{
	auto_json json_t *by_name = json_object();
	auto_json json_t *by_top = json_object();
	auto_json json_t *out = json_array();
	struct listing l = { .c = c, .by_name = by_name, .by_top = by_top, .err = err };
	int r;

	err->code = COS_E_NONE;
	r = io_each_entry(c->templates, list_template, &l);
	if (r < 0 && err->code != COS_E_NONE && err->code != COS_E_NO_TEMPLATE)
		return r;
	if (r == 0)
		r = io_each_entry(c->guests, count_user, &l);
	if (r == 0)
		r = append_sorted(out, by_name);
	if (r < 0)
		return cos_fail(err, COS_E_KERNEL, -r, "read cow/templates and cow/guests");
	*ret = take_ptr(out);
	return 0;
}

/* ---- delete ---- */

struct users {
	const struct cowfs *c;
	const char *template, *top;
	unsigned n;
	char names[USERS_SHOWN * 66];
	struct cos_err *err;
};

static bool has_layer(const struct cowfs_layers *l, const char *id)
{
	for (unsigned i = 0; i < l->n; i++) {
		if (strcmp(l->id[i], id) == 0)
			return true;
	}
	return false;
}

static int find_user(const char *guest, void *arg)
{
	struct users *u = arg;
	struct cowfs_record rec;
	size_t have = strlen(u->names);
	int r = cowfs_record_read(u->c, guest, &rec, u->err);

	if (r < 0)
		return u->err->code == COS_E_NO_GUEST ? 0 : r;
	if (strcmp(rec.template, u->template) != 0 && !has_layer(&rec.layers, u->top))
		return 0;
	if (u->n++ < USERS_SHOWN)
		str_fmt(u->names + have, sizeof(u->names) - have, "%s%s", have ? ", " : "", guest);
	return 0;
}

static int unlink_unused(const struct cowfs *c, const char *name, struct cos_err *err)
{
	char file[COWFS_NAME_SIZE + 8];
	struct cowfs_layers layers;
	struct users u = { .c = c, .template = name, .err = err };
	int r = cowfs_template_find(c, name, &layers, err);

	if (r < 0)
		return r;
	u.top = layers.id[0];
	err->code = COS_E_NONE;
	r = io_each_entry(c->guests, find_user, &u);
	if (r < 0 && err->code == COS_E_NONE)
		return cos_fail(err, COS_E_KERNEL, -r, "read cow/guests");
	if (r < 0)
		return r;
	if (u.n > 0)
		return cos_fail(err, COS_E_IN_USE, 0, "%u guest%s on template %s: %s%s", u.n,
				u.n == 1 ? " stands" : "s stand", name, u.names,
				u.n > USERS_SHOWN ? ", ..." : "");
	str_fmt(file, sizeof(file), "%s.json", name);
	if (unlinkat(c->templates, file, 0) < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "unlink templates/%s", file);
	str_fmt(file, sizeof(file), "%s.log", name);
	unlinkat(c->log, file, 0); /* only what was built here has one */
	return 0;
}

int cowfs_template_delete(const struct cowfs *c, const char *name, struct cos_err *err)
{
	int r = cowfs_need_lock(c, LOCK_EX, err);

	if (r < 0)
		return r;
	r = unlink_unused(c, name, err);
	cowfs_unlock(c);
	if (r < 0)
		return r;
	/* On the disk a template goes before its layers. Not under the lock: it takes long. */
	if (fsync(c->templates) < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "fsync cow/templates");
	r = cowfs_need_lock(c, LOCK_EX, err);
	if (r < 0)
		return r;
	r = cowfs_layers_collect(c, err);
	cowfs_unlock(c);
	return r < 0 ? r : 0;
}

/* ---- layers that nothing names ---- */

struct collecting {
	const struct cowfs *c;
	json_t *named; /* ids as keys */
	unsigned unnamed, retired;
	bool retire; /* else only count */
	struct cos_err *err;
};

static int name_layers(struct collecting *k, const struct cowfs_layers *l)
{
	for (unsigned i = 0; i < l->n; i++) {
		if (json_object_set_new(k->named, l->id[i], json_true()) < 0)
			return cos_fail(k->err, COS_E_KERNEL, ENOMEM, "collect layers");
	}
	return 0;
}

static int name_by_template(const char *file, void *arg)
{
	struct collecting *k = arg;
	char name[COWFS_NAME_SIZE];
	struct cowfs_layers l;
	int r;

	if (!name_of_file(file, name))
		return 0;
	r = cowfs_template_find(k->c, name, &l, k->err);
	return r < 0 ? r : name_layers(k, &l);
}

static int name_by_guest(const char *guest, void *arg)
{
	struct collecting *k = arg;
	struct cowfs_record rec;
	int r = cowfs_record_read(k->c, guest, &rec, k->err);

	if (r < 0) /* removed while we read */
		return k->err->code == COS_E_NO_GUEST ? 0 : r;
	return name_layers(k, &rec.layers);
}

static int name_by_snapshot(const struct cowfs_layers *l, void *arg)
{
	return name_layers(arg, l);
}

static int collect_layer(const char *id, void *arg)
{
	struct collecting *k = arg;
	auto_close int fd = -1;

	if (!cowfs_is_id(id) || json_object_get(k->named, id))
		return 0;
	k->unnamed++;
	if (!k->retire)
		return 0;
	fd = io_open2(k->c->layers, id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, 0);
	/* Locked: its importer is about to name it. */
	if (fd < 0 || io_lock(fd) < 0)
		return 0;
	if (cowfs_retire(k->c, k->c->layers, id) == 0)
		k->retired++;
	return 0;
}

int cowfs_layers_collect(const struct cowfs *c, struct cos_err *err)
{
	auto_json json_t *named = json_object();
	struct collecting k = { .c = c, .named = named, .err = err };
	int r;

	err->code = COS_E_NONE;
	r = io_each_entry(c->templates, name_by_template, &k);
	/* Mostly the templates name all there is: no need to read what a thousand guests name. */
	if (r == 0)
		r = io_each_entry(c->layers, collect_layer, &k);
	if (r == 0 && k.unnamed > 0) {
		r = io_each_entry(c->guests, name_by_guest, &k);
		if (r == 0)
			r = cowfs_snapshots_each(c, name_by_snapshot, &k, err);
		k.retire = true;
		if (r == 0)
			r = io_each_entry(c->layers, collect_layer, &k);
	}
	if (r < 0 && err->code == COS_E_NONE)
		return cos_fail(err, COS_E_KERNEL, -r, "collect layers");
	return r < 0 ? r : (int)k.retired;
}
