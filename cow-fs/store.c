/* cow-fs/store.c - the folders of templates, layers and guests' roots */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cow-fs/inner.h"
#include "cow-fs/project.h"
#include "cow-fs/store.h"
#include "lib/base/io.h"
#include "lib/base/jsonx.h"
#include "lib/base/own.h"
#include "lib/base/str.h"

#define FORMAT      "1\n"
#define FORMAT_POOL "2\n" /* files may be stubs, which who knows only 1 would not find data of */
#define RECORD_MAX  16384

static const struct {
	const char *name;
	size_t offset;
	mode_t mode;
} folders[] = {
	{ "layers", offsetof(struct cowfs, layers), 0700 },
	{ "templates", offsetof(struct cowfs, templates), 0700 },
	{ "guests", offsetof(struct cowfs, guests), 0700 },
	{ "snapshots", offsetof(struct cowfs, snapshots), 0700 },
	{ "trash", offsetof(struct cowfs, trash), 0700 },
	{ "tmp", offsetof(struct cowfs, tmp), 0700 },
	{ "log", offsetof(struct cowfs, log), 0700 },
	/* A guest's processes pass through it, with its ids. */
	{ "pool", offsetof(struct cowfs, pool), 0755 },
};

int cowfs_id_make(char *id)
{
	unsigned char raw[(COWFS_ID_SIZE - 1) / 2];

	if (getrandom(raw, sizeof(raw), 0) != (ssize_t)sizeof(raw))
		return -EIO;
	for (size_t i = 0; i < sizeof(raw); i++)
		snprintf(id + 2 * i, 3, "%02x", raw[i]);
	return 0;
}

bool cowfs_is_id(const char *s)
{
	return strlen(s) == COWFS_ID_SIZE - 1 && strspn(s, "0123456789abcdef") == COWFS_ID_SIZE - 1;
}

int cowfs_lock(const struct cowfs *c, int how)
{
	int r;

	do
		r = flock(c->lock, how);
	while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : 0;
}

void cowfs_unlock(const struct cowfs *c)
{
	flock(c->lock, LOCK_UN);
}

int cowfs_need_lock(const struct cowfs *c, int how, struct cos_err *err)
{
	int r = cowfs_lock(c, how);

	return r < 0 ? cos_fail(err, COS_E_KERNEL, -r, "lock cow/lock") : 0;
}

int cowfs_check_guest(const char *name, struct cos_err *err)
{
	return str_is_name(name) ? 0
				 : cos_fail(err, COS_E_INVALID, 0, "%s is not a guest's name",
					    str_is_text(name, 128) ? name : "this");
}

int cowfs_retire(const struct cowfs *c, int dir, const char *name)
{
	char id[COWFS_ID_SIZE];
	int r = cowfs_id_make(id);

	if (r < 0)
		return r;
	return renameat(dir, name, c->trash, id) < 0 ? -errno : 0;
}

/* The first opener writes the format, under the lock; everybody compares. */
static int check_format(const struct cowfs *c, struct cos_err *err)
{
	char have[32] = "";
	ssize_t r = io_read_at(c->dir, "format", have, sizeof(have));

	if (r == -ENOENT) {
		r = cowfs_lock(c, LOCK_EX);
		if (r == 0 && faccessat(c->dir, "format", F_OK, 0) < 0)
			r = io_replace_at(c->dir, "format", FORMAT, strlen(FORMAT), 0600, true);
		cowfs_unlock(c);
		if (r < 0)
			return cos_fail(err, COS_E_KERNEL, (int)-r, "write cow/format");
		r = io_read_at(c->dir, "format", have, sizeof(have));
	}
	if (r < 0 && r != -E2BIG)
		return cos_fail(err, COS_E_KERNEL, (int)-r, "read cow/format");
	if (r == -E2BIG || (strcmp(have, FORMAT) != 0 && strcmp(have, FORMAT_POOL) != 0)) {
		have[strcspn(have, "\n")] = '\0';
		r = cos_fail(
			err, COS_E_UNSUPPORTED, 0,
			"cow/format in the state directory is \"%.16s\"; this cos knows only 1 "
			"and 2",
			str_is_text(have, 16) ? have : "?");
		return cos_advise(err, (int)r, "upgrade cos, or use another state directory");
	}
	return 0;
}

static int open_folders(struct cowfs *c, int state_dir, struct cos_err *err)
{
	int r;

	c->dir = io_dir_at(state_dir, "cow", 0700);
	if (c->dir < 0)
		return cos_fail(err, COS_E_KERNEL, -c->dir, "open cow in the state directory");
	/* Upper layers hold unshifted ids: nobody but root may come near them. */
	if (fchmod(c->dir, 0700) < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "chmod cow in the state directory");
	c->lock = openat(c->dir, "lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (c->lock < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "open cow/lock");
	r = check_format(c, err);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(folders); i++) {
		int fd = io_dir_at(c->dir, folders[i].name, folders[i].mode);

		if (fd < 0)
			return cos_fail(err, COS_E_KERNEL, -fd, "open cow/%s", folders[i].name);
		*(int *)(void *)((char *)c + folders[i].offset) = fd;
	}
	return r;
}

int cowfs_domain_open(const struct cowfs *c, const char *domain)
{
	auto_close int domains = -1;

	if (!domain || !domain[0])
		return fcntl(c->dir, F_DUPFD_CLOEXEC, 3);
	domains = io_dir_at(c->dir, "domains", 0700);
	return domains < 0 ? domains : io_dir_at(domains, domain, 0700);
}

int cowfs_format_pool(const struct cowfs *c)
{
	char have[32] = "";
	ssize_t r = io_read_at(c->dir, "format", have, sizeof(have));

	if (r < 0)
		return (int)r;
	return strcmp(have, FORMAT_POOL) == 0 ? 0
					      : io_replace_at(c->dir, "format", FORMAT_POOL,
							      strlen(FORMAT_POOL), 0600, true);
}

int cowfs_open(int state_dir, struct cowfs *ret, struct cos_err *err)
{
	struct cowfs c = { -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, COWFS_BUSY_MSEC, PROJECT_BASE };
	int r = open_folders(&c, state_dir, err);

	if (r < 0)
		cowfs_close(&c);
	else
		*ret = c;
	return r;
}

void cowfs_close(struct cowfs *c)
{
	for (size_t i = 0; i < ARRAY_SIZE(folders); i++)
		close_p((int *)(void *)((char *)c + folders[i].offset));
	close_p(&c->lock);
	close_p(&c->dir);
}

int cowfs_layers_parse(json_t *v, const char *at, struct cowfs_layers *l, struct cos_err *err)
{
	size_t n = json_array_size(v);

	if (n < 1 || n > COWFS_LAYERS_MAX)
		return jsonx_bad(err, at, "is not an array of 1 to %d layers", COWFS_LAYERS_MAX);
	for (size_t i = 0; i < n; i++) {
		const char *id = json_string_value(json_array_get(v, i));

		if (!id || !cowfs_is_id(id))
			return jsonx_bad(err, at, "element %zu is not a layer's id", i);
		memcpy(l->id[i], id, COWFS_ID_SIZE);
	}
	l->n = (unsigned)n;
	return 0;
}

json_t *cowfs_layers_json(const struct cowfs_layers *l)
{
	auto_json json_t *a = json_array();

	for (unsigned i = 0; i < l->n; i++) {
		if (json_array_append_new(a, json_string(l->id[i])) < 0)
			return NULL;
	}
	return take_ptr(a);
}

int cowfs_json_read(int dir, const char *name, const struct jsonx_field *f, size_t n, void *to,
		    struct cos_err *err)
{
	auto_json json_t *j = NULL;
	char text[RECORD_MAX];
	ssize_t len = io_read_at(dir, name, text, sizeof(text));
	int r;

	if (len == -ENOENT)
		return -ENOENT;
	if (len < 0)
		return cos_fail(err, COS_E_KERNEL, (int)-len, "read %s", name);
	r = jsonx_parse(text, (size_t)len, name, &j, err);
	if (r == 0) {
		r = jsonx_fill(j, "", f, n, to, err);
		r = r < 0 ? jsonx_locate(err, r, name, text, (size_t)len) : 0;
	}
	if (r == 0)
		return 0;
	/* Nobody's request was wrong: what we once wrote is not there as we wrote it. */
	err->code = COS_E_KERNEL;
	return cos_advise(err, -EUCLEAN,
			  "the state directory is damaged: restore it from a backup");
}

static int parse_template_layers(json_t *v, const char *at, void *to, struct cos_err *err)
{
	return cowfs_layers_parse(v, at, &((struct cowfs_template *)to)->layers, err);
}

int cowfs_template_read(const struct cowfs *c, const char *name, struct cowfs_template *ret,
			struct cos_err *err)
{
	static const struct jsonx_field fields[] = {
		{ .name = "layers",
		  .type = JSONX_FN,
		  .required = true,
		  .parse = parse_template_layers },
		{ .name = "created",
		  .type = JSONX_UINT,
		  .offset = offsetof(struct cowfs_template, created),
		  .max = INT64_MAX },
		{ .name = "arch",
		  .type = JSONX_STR,
		  .offset = offsetof(struct cowfs_template, arch),
		  .max = sizeof(ret->arch) - 1 },
	};
	char file[COWFS_NAME_SIZE + 8];
	int r;

	if (!str_is_template(name))
		return cos_fail(err, COS_E_INVALID, 0, "%s is not a template's name",
				str_is_text(name, 128) ? name : "this");
	if (!str_fmt(file, sizeof(file), "%s.json", name))
		return cos_fail(err, COS_E_INVALID, ENAMETOOLONG, "%s", name);
	memset(ret, 0, sizeof(*ret));
	r = cowfs_json_read(c->templates, file, fields, ARRAY_SIZE(fields), ret, err);
	if (r == -ENOENT)
		return cos_fail(err, COS_E_NO_TEMPLATE, 0, "there is no template %s", name);
	return r < 0 ? cos_context(err, r, "template %s", name) : 0;
}

int cowfs_template_find(const struct cowfs *c, const char *name, struct cowfs_layers *ret,
			struct cos_err *err)
{
	struct cowfs_template t;
	int r = cowfs_template_read(c, name, &t, err);

	if (r == 0)
		*ret = t.layers;
	return r;
}

static int parse_record_layers(json_t *v, const char *at, void *to, struct cos_err *err)
{
	return cowfs_layers_parse(v, at, &((struct cowfs_record *)to)->layers, err);
}

int cowfs_record_read(const struct cowfs *c, const char *guest, struct cowfs_record *ret,
		      struct cos_err *err)
{
	static const struct jsonx_field fields[] = {
		{ .name = "template",
		  .type = JSONX_STR,
		  .offset = offsetof(struct cowfs_record, template),
		  .min = 1,
		  .max = sizeof(ret->template) - 1 },
		{ .name = "layers", .type = JSONX_FN, .parse = parse_record_layers },
		{ .name = "rootfs",
		  .type = JSONX_STR,
		  .offset = offsetof(struct cowfs_record, rootfs),
		  .min = 1,
		  .max = sizeof(ret->rootfs) - 1 },
		{ .name = "domain",
		  .type = JSONX_STR,
		  .offset = offsetof(struct cowfs_record, domain),
		  .min = 1,
		  .max = sizeof(ret->domain) - 1 },
	};
	char file[COWFS_NAME_SIZE + 16];
	int r = cowfs_check_guest(guest, err);

	if (r < 0)
		return r;
	str_fmt(file, sizeof(file), "%s/root.json", guest);
	ret->template[0] = ret->rootfs[0] = ret->domain[0] = '\0';
	ret->layers.n = 0;
	r = cowfs_json_read(c->guests, file, fields, ARRAY_SIZE(fields), ret, err);
	if (r == -ENOENT)
		return cos_fail(err, COS_E_NO_GUEST, 0, "guest %s has no root directory", guest);
	if (r == 0 && ret->domain[0] && !str_is_name(ret->domain))
		r = cos_fail(err, COS_E_KERNEL, EUCLEAN, "%s: the domain is not a name", file);
	if (r == 0 && (ret->layers.n > 0) == (ret->rootfs[0] != '\0'))
		r = cos_fail(err, COS_E_KERNEL, EUCLEAN, "%s: neither layers nor a rootfs, or both",
			     file);
	return r;
}
