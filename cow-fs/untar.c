/* cow-fs/untar.c - a tar archive into a template's tree, by libarchive's reader */
#include <archive.h>
#include <archive_entry.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <locale.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "cow-fs/attr.h"
#include "cow-fs/fill.h"
#include "lib/base/own.h"

#define READ_SIZE    (256U << 10)
#define ACL_ROWS_MAX 1024
#define WHITEOUT     ".wh."
#define OPAQUE       ".wh..wh..opq"

/* Of an archive's entries: all as they are, or those of an image's layer in two passes. */
enum pass { PASS_ALL, PASS_WHITEOUTS, PASS_ENTRIES };

#define auto_archive __attribute__((cleanup(archive_free_p)))

static void archive_free_p(struct archive **a)
{
	if (*a)
		archive_read_free(*a);
}

static int fail_archive(struct archive *a, const char *path, struct cos_err *err)
{
	char shown[TREE_SHOW_SIZE];
	const char *why = archive_error_string(a);

	if (!why)
		why = "damaged";
	return path ? cos_fail(err, COS_E_IMAGE, 0, "%s: %s", tree_show(shown, path), why)
		    : cos_fail(err, COS_E_IMAGE, 0, "%s", why);
}

static int refuse(struct cos_err *err, const char *path, const char *why)
{
	char shown[TREE_SHOW_SIZE];

	return cos_fail(err, COS_E_IMAGE, 0, "%s: %s", tree_show(shown, path), why);
}

/* ---- attributes ---- */

static int put_xattrs(struct tree *t, struct archive_entry *e, int fd, const char *path,
		      struct cos_err *err)
{
	struct attr a;
	int r = 0;

	archive_entry_xattr_reset(e);
	while (r == 0 && archive_entry_xattr_next(e, &a.name, &a.value, &a.size) == ARCHIVE_OK) {
		switch (attr_judge(a.name)) {
		case ATTR_KEEP:
			/* Those of links and fifos are left out. */
			r = fd < 0 ? 0 : attr_set(fd, &a, path, err);
			break;
		case ATTR_DROP:
			t->n.xattrs++;
			break;
		case ATTR_REFUSE:
			r = attr_refused(a.name, path, err);
			break;
		}
	}
	return r;
}

/* libarchive's tags in the order that the kernel wants them in. */
static const struct {
	int theirs;
	uint16_t ours;
} acl_tags[] = {
	{ ARCHIVE_ENTRY_ACL_USER_OBJ, ACL_USER_OBJ },   { ARCHIVE_ENTRY_ACL_USER, ACL_USER },
	{ ARCHIVE_ENTRY_ACL_GROUP_OBJ, ACL_GROUP_OBJ }, { ARCHIVE_ENTRY_ACL_GROUP, ACL_GROUP },
	{ ARCHIVE_ENTRY_ACL_MASK, ACL_MASK },           { ARCHIVE_ENTRY_ACL_OTHER, ACL_OTHER },
};

static int compare_acl(const void *a, const void *b)
{
	const struct posix_acl_xattr_entry *x = a, *y = b;

	if (x->e_tag != y->e_tag)
		return le16toh(x->e_tag) < le16toh(y->e_tag) ? -1 : 1;
	return le32toh(x->e_id) < le32toh(y->e_id) ? -1 : le32toh(x->e_id) > le32toh(y->e_id);
}

static uint16_t acl_tag(int theirs)
{
	for (size_t i = 0; i < ARRAY_SIZE(acl_tags); i++) {
		if (acl_tags[i].theirs == theirs)
			return acl_tags[i].ours;
	}
	return 0;
}

/* The archive's ACL of TYPE in the kernel's form, as setxattr(2) takes it. */
static int put_acl(struct archive_entry *e, int type, const struct attr *as, int fd,
		   const char *path, struct cos_err *err)
{
	struct {
		struct posix_acl_xattr_header head;
		struct posix_acl_xattr_entry row[ACL_ROWS_MAX];
	} acl = { .head.a_version = htole32(POSIX_ACL_XATTR_VERSION) };
	struct attr a = *as;
	int got, perms, tag, id;
	const char *name;
	size_t n = 0;

	archive_entry_acl_reset(e, type);
	while (archive_entry_acl_next(e, type, &got, &perms, &tag, &id, &name) == ARCHIVE_OK) {
		uint16_t ours = acl_tag(tag);

		if (n == ACL_ROWS_MAX || ours == 0)
			return refuse(err, path, "its ACL cannot be kept");
		acl.row[n].e_tag = htole16(ours);
		acl.row[n].e_perm = htole16((uint16_t)(perms & 7));
		acl.row[n++].e_id =
			htole32(ours == ACL_USER || ours == ACL_GROUP ? (uint32_t)id
								      : (uint32_t)ACL_UNDEFINED_ID);
	}
	qsort(acl.row, n, sizeof(acl.row[0]), compare_acl);
	a.value = &acl;
	a.size = sizeof(acl.head) + n * sizeof(acl.row[0]);
	return attr_set(fd, &a, path, err);
}

static int put_acls(struct archive_entry *e, int fd, const char *path, struct cos_err *err)
{
	static const struct {
		int type;
		struct attr a;
	} kinds[] = {
		{ ARCHIVE_ENTRY_ACL_TYPE_ACCESS, { .name = "system.posix_acl_access" } },
		{ ARCHIVE_ENTRY_ACL_TYPE_DEFAULT, { .name = "system.posix_acl_default" } },
	};
	int have = archive_entry_acl_types(e), r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(kinds); i++) {
		if (have & kinds[i].type)
			r = put_acl(e, kinds[i].type, &kinds[i].a, fd, path, err);
	}
	return r;
}

static int put_attrs(struct tree *t, struct archive_entry *e, int fd, const char *path,
		     struct cos_err *err)
{
	int r = put_xattrs(t, e, fd, path, err);

	return r == 0 && fd >= 0 ? put_acls(e, fd, path, err) : r;
}

/* ---- entries ---- */

/* Data comes in blocks with their place: what is between them are holes and stays so. */
static int put_data(struct tree *t, struct archive *a, int fd, int64_t size, struct cos_err *err)
{
	const void *block;
	size_t len;
	la_int64_t at;
	int r;

	while ((r = archive_read_data_block(a, &block, &len, &at)) == ARCHIVE_OK) {
		if (at < 0 || at > size || (int64_t)len > size - at)
			return refuse(err, t->path, "has data past its end");
		r = tree_write(t, fd, block, len, at, err);
		if (r < 0)
			return r;
	}
	if (r != ARCHIVE_EOF)
		return fail_archive(a, t->path, err);
	if (ftruncate(fd, size) < 0)
		return tree_fail(err, t->path, "set its size", errno);
	return 0;
}

static int put_file(struct tree *t, struct archive *a, struct archive_entry *e, const char *path,
		    const struct tree_meta *m, struct cos_err *err)
{
	auto_close int fd = tree_file(t, path, err);
	int r;

	if (fd < 0)
		return fd;
	if (archive_entry_size(e) < 0)
		return refuse(err, path, "has a negative size");
	r = put_data(t, a, fd, archive_entry_size(e), err);
	if (r == 0)
		r = tree_file_end(t, fd, m, err);
	return r == 0 ? put_attrs(t, e, fd, path, err) : r;
}

static int put_dir(struct tree *t, struct archive_entry *e, const char *path,
		   const struct tree_meta *m, struct cos_err *err)
{
	auto_close int fd = tree_dir(t, path, m, err);

	return fd < 0 ? fd : put_attrs(t, e, fd, path, err);
}

static int put_link(struct tree *t, const char *path, const char *target, struct cos_err *err)
{
	char to[TREE_PATH_SIZE];
	int r = tree_path(target, to, err);

	return r < 0 ? cos_context(err, r, "hard link") : tree_link(t, path, to, err);
}

static int put_device(struct tree *t, struct archive_entry *e, const char *path,
		      struct cos_err *err)
{
	if (archive_entry_filetype(e) == AE_IFCHR && archive_entry_rdev(e) == makedev(0, 0))
		return refuse(err, path, "is a whiteout of an overlay");
	t->n.devices++;
	return 0;
}

static int put_typed(struct tree *t, struct archive *a, struct archive_entry *e, const char *path,
		     struct cos_err *err)
{
	const struct tree_meta m = {
		.mode = archive_entry_perm(e),
		.uid = archive_entry_uid(e),
		.gid = archive_entry_gid(e),
		.mtime = { archive_entry_mtime(e), archive_entry_mtime_nsec(e) },
	};
	int r;

	switch (archive_entry_filetype(e)) {
	case AE_IFREG:
		return put_file(t, a, e, path, &m, err);
	case AE_IFDIR:
		return put_dir(t, e, path, &m, err);
	case AE_IFLNK:
		r = tree_symlink(t, path, archive_entry_symlink(e), &m, err);
		return r < 0 ? r : put_attrs(t, e, -1, path, err);
	case AE_IFIFO:
		r = tree_fifo(t, path, &m, err);
		return r < 0 ? r : put_attrs(t, e, -1, path, err);
	case AE_IFCHR:
	case AE_IFBLK:
		return put_device(t, e, path, err);
	case AE_IFSOCK:
		t->n.sockets++;
		return 0;
	}
	return refuse(err, path, "is of no kind that cos knows");
}

/* PATH is a whiteout: "d/.wh.x" takes d/x away, "d/.wh..wh..opq" all that is in d. */
static int take_away(struct tree *t, const char *path, const char *base, struct cos_err *err)
{
	const char *name = base + strlen(WHITEOUT);
	char at[TREE_PATH_SIZE];
	size_t dir = (size_t)(base - path);

	memcpy(at, path, dir);
	at[dir] = '\0';
	if (strcmp(base, OPAQUE) == 0) {
		if (dir > 0)
			at[dir - 1] = '\0';
		return tree_erase(t, at, true, err);
	}
	if (strncmp(name, WHITEOUT, strlen(WHITEOUT)) ==
	    0) /* some program's own, for nobody else */
		return 0;
	if (!name[0] || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return refuse(err, path, "is a whiteout of nothing");
	strcpy(at + dir, name);
	return tree_erase(t, at, false, err);
}

/* Whether the entry is dealt with: 1. PATH is valid. */
static int take_whiteout(struct tree *t, const char *path, enum pass pass, struct cos_err *err)
{
	const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
	bool is_one = strncmp(base, WHITEOUT, strlen(WHITEOUT)) == 0;
	int r = 0;

	if (pass == PASS_ALL)
		return 0;
	if (pass == PASS_WHITEOUTS && is_one)
		r = take_away(t, path, base, err);
	return r < 0 ? r : is_one || pass == PASS_WHITEOUTS;
}

static int put_entry(struct tree *t, struct archive *a, struct archive_entry *e, enum pass pass,
		     struct cos_err *err)
{
	const char *name = archive_entry_pathname(e), *target = archive_entry_hardlink(e);
	char path[TREE_PATH_SIZE];
	int r;

	if (!name)
		return cos_fail(err, COS_E_IMAGE, 0, "entry %llu has no readable name",
				(unsigned long long)t->n.files + 1);
	r = tree_path(name, path, err);
	if (r == 0)
		r = take_whiteout(t, path, pass, err);
	if (r != 0)
		return r < 0 ? r : 0;
	return target ? put_link(t, path, target, err) : put_typed(t, a, e, path, err);
}

/* ---- the archive ---- */

static int open_archive(struct archive *a, int fd)
{
	int r = archive_read_support_format_tar(a);

	/* Only what libarchive does by itself: other filters start programs. */
	r |= archive_read_support_filter_gzip(a);
	r |= archive_read_support_filter_xz(a);
	r |= archive_read_support_filter_zstd(a);
	return r == ARCHIVE_OK ? archive_read_open_fd(a, fd, READ_SIZE) : r;
}

/* Ends a tar as tar does: an archive that just stops was cut, even between two entries. */
static int check_end(struct archive *a, int64_t end_of_last, uint64_t entries, enum pass pass,
		     struct cos_err *err)
{
	if (entries == 0 && pass != PASS_ALL) /* a layer without a change */
		return 0;
	if (entries == 0)
		return cos_fail(err, COS_E_IMAGE, 0, "the archive has no entries");
	if (archive_filter_bytes(a, 0) <= end_of_last)
		return cos_fail(err, COS_E_IMAGE, 0,
				"the archive is cut off: its end mark is missing");
	return 0;
}

/* Names in pax headers are UTF-8, which libarchive would change to its composed form. In the C
 * locale it cannot, leaves all names (also those of users, which nobody needs) as they are, and
 * says so. */
static bool is_harmless(struct archive *a)
{
	const char *s = archive_error_string(a);

	return s && strstr(s, "can't be converted from UTF-8");
}

static int fill(struct tree *t, int fd, enum pass pass, struct cos_err *err)
{
	auto_archive struct archive *a = archive_read_new();
	struct archive_entry *e;
	int64_t end = 0;
	uint64_t entries = 0;
	int r;

	if (!a || !setlocale(LC_CTYPE, "C"))
		return cos_fail(err, COS_E_KERNEL, ENOMEM, "read archive");
	if (open_archive(a, fd) != ARCHIVE_OK)
		return fail_archive(a, NULL, err);
	while ((r = archive_read_next_header(a, &e)) == ARCHIVE_OK ||
	       (r == ARCHIVE_WARN && is_harmless(a))) {
		entries++;
		r = put_entry(t, a, e, pass, err);
		if (r < 0)
			return r;
		if (archive_read_data_skip(a) != ARCHIVE_OK)
			return fail_archive(a, archive_entry_pathname(e), err);
		end = archive_filter_bytes(a, 0);
	}
	/* Other warnings are refused too: an attribute is not what was packed. */
	if (r != ARCHIVE_EOF)
		return fail_archive(a, r == ARCHIVE_WARN ? archive_entry_pathname(e) : NULL, err);
	return check_end(a, end, entries, pass, err);
}

int fill_from_tar(struct tree *t, int fd, struct cos_err *err)
{
	return fill(t, fd, PASS_ALL, err);
}

int fill_from_layer(struct tree *t, int fd, enum layer_pass pass, struct cos_err *err)
{
	t->is_layered = true;
	return fill(t, fd, pass == LAYER_PUTS ? PASS_ENTRIES : PASS_WHITEOUTS, err);
}
