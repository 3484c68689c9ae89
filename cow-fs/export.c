/* cow-fs/export.c - a template out of the store, as a pax archive or an OCI layout */
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "cow-fs/attr.h"
#include "cow-fs/digest.h"
#include "cow-fs/flatten.h"
#include "cow-fs/inner.h"
#include "cow-fs/walk.h"
#include "lib/base/io.h"
#include "lib/base/own.h"
#include "lib/base/str.h"

#define PIECE (256U << 10)

struct export
{
	struct archive *a;
	struct archive_entry_linkresolver *links;
	struct cos_err *err;
	struct tree_count n;
	char names[ATTR_VALUE_MAX], value[ATTR_VALUE_MAX], buf[PIECE];
};

static int fail_archive(struct export *x, const char *path)
{
	char shown[TREE_SHOW_SIZE];
	int no = archive_errno(x->a);

	return cos_fail(x->err, COS_E_KERNEL, no > 0 && no < 4096 ? no : EIO, "%s: write: %s",
			tree_show(shown, path), archive_error_string(x->a) ?: "failed");
}

/* A name that is no UTF-8 goes as the bytes that it is, and the archive says so. */
static bool is_written(struct export *x, int r)
{
	const char *why = r == ARCHIVE_WARN ? archive_error_string(x->a) : NULL;

	return r == ARCHIVE_OK || (why && strncmp(why, "Can't translate ", 16) == 0);
}

/* Those that an import keeps. Access lists go as the attributes that they are: another import of
 * ours sets them so. */
static int add_attrs(struct export *x, int fd, struct archive_entry *e)
{
	ssize_t len = flistxattr(fd, x->names, sizeof(x->names));

	if (len < 0)
		return errno == EOPNOTSUPP ? 0 : -errno;
	for (ssize_t at = 0; at < len; at += (ssize_t)strlen(x->names + at) + 1) {
		ssize_t n;

		if (attr_judge(x->names + at) != ATTR_KEEP)
			continue;
		n = fgetxattr(fd, x->names + at, x->value, sizeof(x->value));
		if (n < 0)
			return -errno;
		archive_entry_xattr_add_entry(e, x->names + at, x->value, (size_t)n);
	}
	return 0;
}

/* A map of what is data, where that is not all: the archive has only that. */
static void add_holes(struct archive_entry *e, int fd, off_t size)
{
	off_t at = 0, end;

	while (at < size && (at = lseek(fd, at, SEEK_DATA)) >= 0) {
		end = lseek(fd, at, SEEK_HOLE);
		if (end < 0 || (at == 0 && end >= size))
			return;
		archive_entry_sparse_add_entry(e, at, end - at);
		at = end;
	}
	if (at < 0 && archive_entry_sparse_count(e) == 0) /* nothing but a hole */
		archive_entry_sparse_add_entry(e, size, 0);
}

static int add_data(struct export *x, int fd, const char *path, uint64_t size)
{
	uint64_t at = 0;

	while (at < size) {
		ssize_t n = pread(fd, x->buf, size - at < PIECE ? size - at : PIECE, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return tree_fail(x->err, path, "read", n < 0 ? errno : EIO);
		if (archive_write_data(x->a, x->buf, (size_t)n) < n)
			return fail_archive(x, path);
		at += (uint64_t)n;
		x->n.bytes += (uint64_t)n;
	}
	return 0;
}

static int put(struct export *x, struct archive_entry *e, int fd, const struct walk_entry *w)
{
	struct archive_entry *rest = NULL;
	int r;

	/* The first name of a file has its data, the others are links. */
	archive_entry_linkify(x->links, &e, &rest);
	if (!is_written(x, archive_write_header(x->a, e)))
		return fail_archive(x, w->path);
	x->n.files++;
	r = S_ISREG(w->st.st_mode) && !archive_entry_hardlink(e) && w->st.st_size > 0
		    ? add_data(x, fd, w->path, (uint64_t)w->st.st_size)
		    : 0;
	return r;
}

static int add_entry(const struct walk_entry *w, void *arg)
{
	struct export *x = arg;
	bool opens = S_ISREG(w->st.st_mode) || S_ISDIR(w->st.st_mode);
	struct archive_entry *e;
	auto_close int fd = -1;
	char target[TREE_PATH_SIZE];
	int r = 0;

	if (strcmp(w->path, OBJECT_FOLDER) == 0)
		return WALK_SKIP;
	if (opens)
		fd = openat(w->dir, w->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (opens && fd < 0)
		return tree_fail(x->err, w->path, "open", errno);
	e = archive_entry_new();
	if (!e)
		return -ENOMEM;
	archive_entry_copy_stat(e, &w->st);
	archive_entry_copy_pathname(e, w->path);
	if (S_ISLNK(w->st.st_mode)) {
		ssize_t n = readlinkat(w->dir, w->name, target, sizeof(target) - 1);

		target[n > 0 ? n : 0] = '\0';
		archive_entry_copy_symlink(e, target);
	}
	if (fd >= 0)
		r = add_attrs(x, fd, e);
	if (S_ISREG(w->st.st_mode))
		add_holes(e, fd, w->st.st_size);
	if (r < 0)
		r = tree_fail(x->err, w->path, "read its attributes", -r);
	else
		r = put(x, e, fd, w);
	archive_entry_free(e);
	return r;
}

static int write_archive(int mnt, int out, struct tree_count *ret, struct cos_err *err)
{
	auto_free struct export *x = calloc(1, sizeof(*x));
	struct walk w = { .top = mnt, .fn = add_entry, .arg = x };
	struct walk_entry top = { .dir = mnt, .name = ".", .path = "." };
	int r;

	if (!x)
		return cos_fail(err, COS_E_KERNEL, ENOMEM, "export");
	err->code = COS_E_NONE;
	x->err = err;
	x->a = archive_write_new();
	x->links = archive_entry_linkresolver_new();
	archive_entry_linkresolver_set_strategy(x->links, ARCHIVE_FORMAT_TAR_PAX_RESTRICTED);
	setlocale(LC_CTYPE, "C.UTF-8"); /* what the names are in; without it all go as bytes */
	r = archive_write_set_format_pax(x->a) == ARCHIVE_OK &&
			    archive_write_open_fd(x->a, out) == ARCHIVE_OK
		    ? 0
		    : fail_archive(x, ".");
	if (r == 0)
		r = fstat(mnt, &top.st) < 0 ? -errno : add_entry(&top, x);
	if (r == 0)
		r = walk_tree(&w);
	if (r == 0 && w.left_out > 0)
		r = cos_fail(err, COS_E_IMAGE, 0, "directories are nested too deep");
	if (r < 0 && err->code == COS_E_NONE)
		cos_fail(err, COS_E_KERNEL, -r, "read the template");
	if (r == 0 && archive_write_close(x->a) != ARCHIVE_OK)
		r = fail_archive(x, ".");
	*ret = x->n;
	archive_entry_linkresolver_free(x->links);
	archive_write_free(x->a);
	return r;
}

int cowfs_export_tar(const struct cowfs *c, const char *template, unsigned features, int out,
		     struct tree_count *ret, struct cos_err *err)
{
	struct cowfs_layers l;
	auto_close int mnt = -1;
	int r = cowfs_template_find(c, template, &l, err);

	if (r < 0)
		return r;
	mnt = cowfs_layers_mount(c, &l, NULL, -1, features, err);
	r = mnt < 0 ? mnt : write_archive(mnt, out, ret, err);
	return r < 0 ? cos_context(err, r, "export %s", template) : 0;
}

/* ---- OCI ---- */

/* Moves DIR/tmp among the blobs; what it is called is in HEX, how long it is in *RET_SIZE. */
static int name_blob(struct digester *g, int blobs, char hex[OBJECT_REF_SIZE], uint64_t *ret_size)
{
	auto_close int fd = openat(blobs, "tmp", O_RDONLY | O_CLOEXEC);
	struct digest d;
	int r = fd < 0 ? -errno : digest_fd(g, fd, UINT64_MAX, NULL, NULL, &d, ret_size);

	if (r < 0)
		return r;
	object_ref(&d, hex);
	memmove(hex, hex + 3, strlen(hex + 3) + 1);
	return renameat(blobs, "tmp", blobs, hex) < 0 ? -errno : 0;
}

static int put_json(int dir, const char *name, json_t *owned)
{
	auto_json json_t *j = owned;
	auto_free char *text = json_dumps(j, JSON_COMPACT);

	return text ? io_replace_at(dir, name, text, strlen(text), 0644, false) : -ENOMEM;
}

static json_t *descriptor(const char *kind, const char *hex, uint64_t size)
{
	char digest[OBJECT_REF_SIZE + 8], media[96];

	str_fmt(digest, sizeof(digest), "sha256:%s", hex);
	str_fmt(media, sizeof(media), "application/vnd.oci.image.%s", kind);
	return json_pack("{s:s, s:s, s:I}", "mediaType", media, "digest", digest, "size",
			 (json_int_t)size);
}

/* The layer is there as HEX: what leads to it. */
static int put_image(struct digester *g, int dir, int blobs, const char *machine, const char *hex,
		     uint64_t size)
{
	const char *arch = strcmp(machine, "x86_64") == 0    ? "amd64"
			   : strcmp(machine, "aarch64") == 0 ? "arm64"
							     : machine;
	char diff[OBJECT_REF_SIZE + 8], config[OBJECT_REF_SIZE], manifest[OBJECT_REF_SIZE];
	uint64_t config_size = 0, manifest_size = 0;
	int r;

	str_fmt(diff, sizeof(diff), "sha256:%s", hex);
	r = put_json(blobs, "tmp",
		     json_pack("{s:s, s:s, s:{}, s:{s:s, s:[s]}}", "architecture", arch, "os",
			       "linux", "config", "rootfs", "type", "layers", "diff_ids", diff));
	if (r == 0)
		r = name_blob(g, blobs, config, &config_size);
	if (r == 0)
		r = put_json(blobs, "tmp",
			     json_pack("{s:i, s:s, s:o, s:[o]}", "schemaVersion", 2, "mediaType",
				       "application/vnd.oci.image.manifest.v1+json", "config",
				       descriptor("config.v1+json", config, config_size), "layers",
				       descriptor("layer.v1.tar", hex, size)));
	if (r == 0)
		r = name_blob(g, blobs, manifest, &manifest_size);
	if (r == 0)
		r = put_json(dir, "oci-layout", json_pack("{s:s}", "imageLayoutVersion", "1.0.0"));
	if (r == 0)
		r = put_json(dir, "index.json",
			     json_pack("{s:i, s:[o]}", "schemaVersion", 2, "manifests",
				       descriptor("manifest.v1+json", manifest, manifest_size)));
	return r;
}

int cowfs_export_oci(const struct cowfs *c, const char *template, unsigned features, int dir,
		     struct tree_count *ret, struct cos_err *err)
{
	auto_close int top = io_dir_at(dir, "blobs", 0755), blobs = -1, out = -1;
	struct digester *g = digester_new();
	char hex[OBJECT_REF_SIZE];
	struct cowfs_template t;
	uint64_t size = 0;
	int r = cowfs_template_read(c, template, &t, err);

	blobs = r < 0 || top < 0 ? -1 : io_dir_at(top, "sha256", 0755);
	out = blobs < 0 ? -1 : openat(blobs, "tmp", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (r == 0 && (out < 0 || !g))
		r = cos_fail(err, COS_E_KERNEL, g ? errno : ENOMEM, "make the layout");
	if (r == 0)
		r = cowfs_export_tar(c, template, features, out, ret, err);
	if (r == 0) {
		r = name_blob(g, blobs, hex, &size);
		if (r == 0)
			r = put_image(g, dir, blobs, t.arch, hex, size);
		if (r < 0)
			cos_fail(err, COS_E_KERNEL, -r, "write the layout");
	}
	digester_free(g);
	return r;
}
