/* tests/kern/cow-import.t.c - templates from tar archives, friendly and hostile */
#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "cow-fs/import.h"
#include "lib/base/own.h"
#include "tests/kern/cow-import.h"

#define SPARSE_SIZE (10LL << 30)

/* ---- what comes out is what went in ---- */

static void add_friendly(struct tar *t)
{
	tar_add(t, &(struct member){ .name = "./", .type = '5', .mode = 0755, .mtime = 11 });
	tar_add(t, &(struct member){ .name = "d/",
				     .type = '5',
				     .mode = 02750,
				     .uid = 5,
				     .gid = 6,
				     .mtime = 22 });
	tar_add(t, &(struct member){ .name = "d/su",
				     .mode = 04755,
				     .uid = 65533,
				     .gid = 65533,
				     .mtime = 33,
				     .data = "program" });
	tar_add(t, &(struct member){ .name = "d/same", .link = "./d/su", .type = '1' });
	tar_add(t, &(struct member){ .name = "d/abs", .link = "/d/su", .type = '1' });
	tar_add(t, &(struct member){ .name = "l",
				     .link = "/etc/passwd",
				     .type = '2',
				     .uid = 9,
				     .gid = 9,
				     .mtime = 44 });
	tar_add(t,
		&(struct member){ .name = "p", .type = '6', .mode = 0620, .uid = 3, .mtime = 5 });
	tar_add(t, &(struct member){ .name = "/abs/olute", .data = "x" });
	tar_add(t, &(struct member){ .name = "new\nline\x01", .data = "n" });
	tar_add(t, &(struct member){ .name = "latin\xe4", .data = "1" });
	/* "a" with a combining diaeresis: names are bytes, not to be normalised */
	tar_add(t, &(struct member){ .name = "u", .data = "2", .pax = "path=a\xcc\x88/x" });
	tar_add(t, &(struct member){
			   .name = "v", .link = "x", .type = '1', .pax = "linkpath=a\xcc\x88/x" });
	tar_add(t, &(struct member){
			   .name = "w", .link = "x", .type = '2', .pax = "linkpath=o\xcc\x88" });
	tar_add(t, &(struct member){ .name = "x", .data = "3", .pax = "SCHILY.xattr.user.k=v" });
	tar_add(t, &(struct member){ .name = "s", .pax = "SCHILY.xattr.security.selinux=label" });
	tar_add(t, &(struct member){ .name = "acl",
				     .mode = 0640,
				     .pax = "SCHILY.acl.access=user::rw-,user:77:r-x,group::r--,"
					    "mask::r-x,other::---" });
	tar_end(t);
}

static void check_friendly(const char *how)
{
	auto_close int root = tree_of("t");
	char value[64];
	struct stat st = stat_of(root, "d/su");
	int fd;

	ok(root >= 0, "%s: the template is there", how);
	ok(st.st_mode == (S_IFREG | 04755) && st.st_uid == 65533 && st.st_mtime == 33 &&
		   st.st_nlink == 3 && says(root, "d/su", "program"),
	   "a set-uid file with owner, time and hard links");
	ok(stat_of(root, "d/same").st_ino == st.st_ino &&
		   stat_of(root, "d/abs").st_ino == st.st_ino,
	   "the links are to it");
	st = stat_of(root, "d");
	ok(st.st_mode == (S_IFDIR | 02750) && st.st_gid == 6 && st.st_mtime == 22, "a directory");
	ok(stat_of(root, ".").st_mtime == 11 && stat_of(root, ".").st_mode == (S_IFDIR | 0755),
	   "the root itself");
	st = stat_of(root, "l");
	ok(S_ISLNK(st.st_mode) && st.st_uid == 9 && st.st_mtime == 44 &&
		   readlinkat(root, "l", value, sizeof(value)) == 11,
	   "a symbolic link");
	st = stat_of(root, "p");
	ok(st.st_mode == (S_IFIFO | 0620) && st.st_uid == 3, "a fifo");
	ok(says(root, "abs/olute", "x"), "an absolute name is below the root");
	ok(says(root, "new\nline\x01", "n") && says(root, "latin\xe4", "1") &&
		   says(root, "a\xcc\x88/x", "2") && says(root, "v", "2") &&
		   readlinkat(root, "w", value, sizeof(value)) == 3 &&
		   memcmp(value, "o\xcc\x88", 3) == 0,
	   "names keep their bytes");
	fd = openat(root, "x", O_RDONLY | O_CLOEXEC);
	ok(fgetxattr(fd, "user.k", value, sizeof(value)) == 1 && value[0] == 'v',
	   "a user.* attribute");
	close(fd);
	ok(counted.xattrs == 1, "a label of another host is counted and left out");
	fd = openat(root, "acl", O_RDONLY | O_CLOEXEC);
	ok(fgetxattr(fd, "system.posix_acl_access", value, sizeof(value)) == 4 + 5 * 8, "an ACL");
	close(fd);
	ok(stat_of(root, "acl").st_mode == (S_IFREG | 0650), "whose mask is the group's bits");
}

static int compress_tar(struct tar *t, int (*filter)(struct archive *))
{
	auto_close int fd = memfd_create("cow-test", MFD_CLOEXEC);
	struct archive *a = archive_write_new();
	struct archive_entry *e = archive_entry_new();

	archive_write_set_format_raw(a);
	filter(a);
	archive_write_open_fd(a, fd);
	archive_entry_set_filetype(e, AE_IFREG);
	archive_write_header(a, e);
	archive_write_data(a, t->buf, t->n);
	archive_write_close(a);
	archive_entry_free(e);
	archive_write_free(a);
	free(t->buf);
	*t = (struct tar){ 0 };
	lseek(fd, 0, SEEK_SET);
	return take_fd(fd);
}

static void archives_come_out_as_they_went_in(void)
{
	static const struct {
		const char *name;
		int (*filter)(struct archive *);
	} kinds[] = {
		{ "plain", archive_write_add_filter_none },
		{ "gz", archive_write_add_filter_gzip },
		{ "xz", archive_write_add_filter_xz },
		{ "zst", archive_write_add_filter_zstd },
	};

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		struct tar t = { 0 };
		int r;

		add_friendly(&t);
		r = import_from("t", IMPORT_TAR, compress_tar(&t, kinds[i].filter));
		ok(r == 0, "tar, %s: %s", kinds[i].name, err.why);
		check_friendly(kinds[i].name);
		drop("t");
	}
	ok(nothing_is_left(), "deleted without a trace");
}

/* ---- what is refused ---- */

static void hostile_archives_are_refused(void)
{
#define DIR_A                                                                                      \
	{                                                                                          \
		.name = "a", .type = '5', .mode = 0755                                             \
	}
	static const struct {
		const char *what, *word; /* the reason has it */
		struct member m[3];
	} cases[] = {
		{ "..", "..", { { .name = "../x" } } },
		{ ".. inside", "..", { { .name = "a/../../x" } } },
		{ ".. at the end", "..", { { .name = "a/..", .type = '5' } } },
		{ "absolute with ..", "..", { { .name = "/../x" } } },
		{ "a link as parent",
		  "symbolic link",
		  { { .name = "a", .link = "/tmp", .type = '2' }, { .name = "a/x" } } },
		{ "a relative link as parent",
		  "symbolic link",
		  { DIR_A, { .name = "b", .link = "a", .type = '2' }, { .name = "b/x" } } },
		{ "a link as grandparent",
		  "symbolic link",
		  { { .name = "a", .link = "/tmp", .type = '2' }, { .name = "a/x/y" } } },
		{ "a file as parent", "a file stands", { { .name = "a" }, { .name = "a/x" } } },
		{ "a hard link out of it",
		  "..",
		  { { .name = "h", .link = "../../etc/passwd", .type = '1' } } },
		{ "a hard link through a link",
		  "does not have",
		  { { .name = "a", .link = "/etc", .type = '2' },
		    { .name = "h", .link = "a/passwd", .type = '1' } } },
		{ "a hard link to nothing",
		  "does not have",
		  { { .name = "h", .link = "etc/passwd", .type = '1' } } },
		{ "a hard link to a directory",
		  "a directory",
		  { DIR_A, { .name = "h", .link = "a", .type = '1' } } },
		{ "a whiteout", "whiteout", { { .name = "w", .type = '3' } } },
		{ "trusted.overlay.*",
		  "trusted.overlay.opaque",
		  { { .name = "o",
		      .type = '5',
		      .pax = "SCHILY.xattr.trusted.overlay.opaque=y" } } },
		{ "trusted.*",
		  "trusted.x",
		  { { .name = "o", .pax = "SCHILY.xattr.trusted.x=y" } } },
		{ "trusted.* of a link",
		  "trusted.x",
		  { { .name = "o",
		      .link = "x",
		      .type = '2',
		      .pax = "SCHILY.xattr.trusted.x=y" } } },
		{ "a broken file capability",
		  "security.capability",
		  { { .name = "o", .pax = "SCHILY.xattr.security.capability=zz" } } },
		{ "owner 65534", "65534", { { .name = "o", .uid = 65534 } } },
		{ "group 65536", "65536", { { .name = "o", .gid = 65536 } } },
		{ "owner 4294967295", "4294967295", { { .name = "o", .pax = "uid=4294967295" } } },
		{ "owner 65535 of a directory",
		  "65535",
		  { { .name = "o/", .type = '5', .uid = 65535 } } },
		{ "owner of a link",
		  "65534",
		  { { .name = "o", .link = "x", .type = '2', .uid = 65534 } } },
		{ "an id in an ACL",
		  "70000",
		  { { .name = "o",
		      .pax = "SCHILY.acl.access=user::rw-,user:70000:r--,group::r--,"
			     "mask::r--,other::---" } } },
		{ "the root as a file", "root", { { .name = ".", .data = "x" } } },
		{ "the root as a link", "root", { { .name = ".", .link = "/", .type = '2' } } },
		{ "a full directory replaced",
		  "directory with content",
		  { DIR_A, { .name = "a/x" }, { .name = "a", .data = "f" } } },
		{ "the pool's name", "/.c", { { .name = ".c/x" } } },
		{ "a size of 8 EiB", "", { { .name = "s", .pax = "size=9223372036854775807" } } },
		{ "a negative size", "", { { .name = "s", .pax = "GNU.sparse.realsize=-5" } } },
		{ "a hole map past the end",
		  "",
		  { { .name = "s",
		      .data = "abc",
		      .pax = "GNU.sparse.map=9223372036854775807,10" } } },
	};
#undef DIR_A

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct tar t = { 0 };
		int r;

		for (size_t k = 0; k < 3 && cases[i].m[k].name; k++)
			tar_add(&t, &cases[i].m[k]);
		tar_end(&t);
		r = import_tar("bad", &t);
		ok(r < 0 && err.code == COS_E_IMAGE && strstr(err.why, cases[i].word) &&
			   strlen(err.why) > 5,
		   "%s: %s", cases[i].what, err.why);
		ok(tree_of("bad") < 0 && nothing_is_left(), "and nothing is left");
	}
}

static void long_and_deep_names_are_refused(void)
{
	char pax[6000] = "path=";
	struct tar t = { 0 };

	while (strlen(pax) < 5 + 4100)
		strcat(pax, "a/bcdefghi");
	tar_add(&t, &(struct member){ .name = "x", .pax = pax });
	tar_end(&t);
	ok(import_tar("bad", &t) < 0 && strstr(err.why, "deeper"), "too deep: %.40s", err.why);
	strcpy(pax, "path=");
	while (strlen(pax) < 5 + 4100)
		strcat(pax, "/a23456789012345678901234567890");
	tar_add(&t, &(struct member){ .name = "x", .pax = pax });
	tar_end(&t);
	ok(import_tar("bad", &t) < 0 && strstr(err.why, "longer"), "too long");
	pax[5 + 300] = '\0';
	memset(pax + 5, 'n', 300);
	tar_add(&t, &(struct member){ .name = "x", .pax = pax });
	tar_end(&t);
	ok(import_tar("bad", &t) < 0 && err.code == COS_E_IMAGE, "a name of 300 bytes");
	ok(nothing_is_left(), "nothing is left");
}

static void cut_and_damaged_archives_are_refused(void)
{
	struct tar t = { 0 };
	unsigned taken = 0, cuts = 0, silent = 0;
	char junk[4096];
	int fd;

	add_friendly(&t);
	/* The last 512 bytes are the second block of the end mark, which tar does not need. */
	for (size_t n = 0; n < t.n - 1024; n += 256, cuts++) {
		int r = import_from("bad", IMPORT_TAR, memory_file(t.buf, n));

		taken += r == 0;
		silent += r < 0 && (err.code != COS_E_IMAGE || !err.why[0]);
		if (r == 0)
			drop("bad");
	}
	ok(cuts > 40 && taken == 0 && silent == 0,
	   "cut at %u places: always refused, with a reason", cuts);
	fd = compress_tar(&t, archive_write_add_filter_gzip);
	ftruncate(fd, lseek(fd, 0, SEEK_END) - 20);
	lseek(fd, 0, SEEK_SET);
	ok(import_from("bad", IMPORT_TAR, fd) < 0 && err.code == COS_E_IMAGE, "gzip cut: %s",
	   err.why);
	add_friendly(&t);
	fd = compress_tar(&t, archive_write_add_filter_zstd);
	pwrite(fd, "XXXX", 4, lseek(fd, 0, SEEK_END) / 2);
	lseek(fd, 0, SEEK_SET);
	ok(import_from("bad", IMPORT_TAR, fd) < 0 && err.code == COS_E_IMAGE, "zstd damaged: %s",
	   err.why);
	memset(junk, 'j', sizeof(junk));
	ok(import_from("bad", IMPORT_TAR, memory_file(junk, sizeof(junk))) < 0 &&
		   err.code == COS_E_IMAGE,
	   "garbage: %s", err.why);
	ok(import_from("bad", IMPORT_TAR, memory_file("", 0)) < 0 && err.code == COS_E_IMAGE,
	   "nothing: %s", err.why);
	tar_end(&t);
	ok(import_tar("bad", &t) < 0 && err.code == COS_E_IMAGE, "no entries: %s", err.why);
	ok(nothing_is_left(), "nothing is left");
}

/* ---- particular entries ---- */

static void the_last_of_a_name_wins(void)
{
	struct tar t = { 0 };
	int root;

	tar_add(&t, &(struct member){ .name = "f", .data = "first" });
	tar_add(&t, &(struct member){ .name = "h", .link = "f", .type = '1' });
	tar_add(&t, &(struct member){ .name = "f", .data = "second" });
	tar_add(&t, &(struct member){ .name = "l", .link = "h", .type = '2' });
	tar_add(&t, &(struct member){ .name = "l", .data = "file" });
	tar_add(&t, &(struct member){ .name = "d/", .type = '5', .mode = 0700 });
	tar_add(&t, &(struct member){ .name = "d/in", .data = "kept" });
	tar_add(&t, &(struct member){ .name = "d/", .type = '5', .mode = 0711, .mtime = 8 });
	tar_add(&t, &(struct member){ .name = "e/", .type = '5' });
	tar_add(&t, &(struct member){ .name = "e", .link = "d", .type = '2' });
	tar_add(&t, &(struct member){ .name = "g", .data = "file" });
	tar_add(&t, &(struct member){ .name = "g/", .type = '5', .mode = 0755 });
	tar_add(&t, &(struct member){ .name = "h", .link = "h", .type = '1' });
	tar_end(&t);
	ok(import_tar("dup", &t) == 0, "duplicates are taken: %s", err.why);
	root = tree_of("dup");
	ok(says(root, "f", "second") && says(root, "h", "first"),
	   "not written through a hard link");
	ok(says(root, "l", "file"), "nor through a symbolic one");
	ok(stat_of(root, "d").st_mode == (S_IFDIR | 0711) && stat_of(root, "d").st_mtime == 8 &&
		   says(root, "d/in", "kept"),
	   "a directory gets new looks and keeps its content");
	ok(S_ISLNK(stat_of(root, "e").st_mode) && S_ISDIR(stat_of(root, "g").st_mode),
	   "kinds may change");
	close(root);
	drop("dup");
}

static void devices_are_left_out(void)
{
	struct tar t = { 0 };
	int root;

	tar_add(&t, &(struct member){ .name = "null", .type = '3', .major = 1, .minor = 3 });
	tar_add(&t, &(struct member){ .name = "sda", .type = '4', .major = 8 });
	tar_add(&t, &(struct member){ .name = "f" });
	tar_end(&t);
	ok(import_tar("dev", &t) == 0 && counted.devices == 2 && counted.files == 1,
	   "devices are counted");
	root = tree_of("dev");
	ok(!has(root, "null") && !has(root, "sda") && has(root, "f"), "and not made");
	close(root);
	drop("dev");
}

static void identities_are_removed(void)
{
	struct tar t = { 0 };
	int root;

	tar_add(&t, &(struct member){ .name = "etc/", .type = '5', .mode = 0755, .mtime = 9 });
	tar_add(&t, &(struct member){ .name = "etc/machine-id", .mode = 0444, .data = "1234\n" });
	tar_add(&t, &(struct member){ .name = "etc/ssh/ssh_host_rsa_key", .data = "secret" });
	tar_add(&t, &(struct member){ .name = "etc/ssh/ssh_host_rsa_key.pub", .data = "public" });
	tar_add(&t, &(struct member){ .name = "etc/ssh/ssh_host_l", .link = "/x", .type = '2' });
	tar_add(&t, &(struct member){ .name = "etc/ssh/sshd_config", .data = "conf" });
	tar_end(&t);
	ok(import_tar("id", &t) == 0, "imported");
	root = tree_of("id");
	ok(says(root, "etc/machine-id", "") &&
		   stat_of(root, "etc/machine-id").st_mode == (S_IFREG | 0444),
	   "machine-id is empty");
	ok(!has(root, "etc/ssh/ssh_host_rsa_key") && !has(root, "etc/ssh/ssh_host_rsa_key.pub") &&
		   has(root, "etc/ssh/ssh_host_l") && has(root, "etc/ssh/sshd_config"),
	   "host keys are gone, the rest is not");
	ok(stat_of(root, "etc").st_mtime == 9, "which the directory's time does not show");
	close(root);
	drop("id");
	tar_add(&t, &(struct member){ .name = "real/ssh_host_x", .data = "kept" });
	tar_add(&t, &(struct member){ .name = "real/id", .data = "kept" });
	tar_add(&t, &(struct member){ .name = "etc/ssh", .link = "../real", .type = '2' });
	tar_add(&t,
		&(struct member){ .name = "etc/machine-id", .link = "../real/id", .type = '2' });
	tar_end(&t);
	ok(import_tar("id", &t) == 0, "imported with links");
	root = tree_of("id");
	ok(says(root, "real/ssh_host_x", "kept") && says(root, "real/id", "kept"),
	   "no link is followed");
	close(root);
	drop("id");
}

static int sparse_tar(void)
{
	auto_close int fd = memfd_create("cow-test", MFD_CLOEXEC);
	struct archive *a = archive_write_new();
	struct archive_entry *e = archive_entry_new();
	char block[4096], hole[65536] = "";
	la_int64_t at = 0;

	archive_write_set_format_pax(a);
	archive_write_open_fd(a, fd);
	archive_entry_set_pathname(e, "sparse");
	archive_entry_set_filetype(e, AE_IFREG);
	archive_entry_set_perm(e, 0600);
	archive_entry_set_size(e, SPARSE_SIZE);
	archive_entry_sparse_add_entry(e, 1LL << 30, sizeof(block));
	archive_write_header(a, e);
	memset(block, 's', sizeof(block));
	/* The writer drops what the map says are holes, but wants to see them. */
	for (; at < 1LL << 30; at += (la_int64_t)sizeof(hole))
		archive_write_data(a, hole, sizeof(hole));
	archive_write_data(a, block, sizeof(block));
	archive_write_finish_entry(a);
	archive_write_close(a);
	archive_entry_free(e);
	archive_write_free(a);
	lseek(fd, 0, SEEK_SET);
	return take_fd(fd);
}

static void check_sparse(int root, const char *how)
{
	struct stat st = stat_of(root, "sparse");
	auto_close int fd = openat(root, "sparse", O_RDONLY | O_CLOEXEC);
	char c = 0;

	ok(st.st_size == SPARSE_SIZE && st.st_blocks <= 64, "%s: 10 GiB of holes take %lld blocks",
	   how, (long long)st.st_blocks);
	ok(pread(fd, &c, 1, (1LL << 30) + 4095) == 1 && c == 's', "the data is in its place");
}

static void holes_stay_holes(void)
{
	auto_close int root = -1, dir = io_dir_at(fixture_dir, "holes", 0700);
	int fd = openat(dir, "sparse", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	char block[4096];

	ok(import_from("sp", IMPORT_TAR, sparse_tar()) == 0 && counted.bytes <= 65536,
	   "a sparse file in a tar: %llu bytes of data", (unsigned long long)counted.bytes);
	root = tree_of("sp");
	check_sparse(root, "tar");
	drop("sp");
	memset(block, 's', sizeof(block));
	ftruncate(fd, SPARSE_SIZE);
	pwrite(fd, block, sizeof(block), 1LL << 30);
	close(fd);
	ok(import_from("sp", IMPORT_DIR, dup(dir)) == 0, "a sparse file in a directory");
	close_p(&root);
	root = tree_of("sp");
	check_sparse(root, "directory");
	drop("sp");
}

static void data_is_bounded(void)
{
	const char data[] = "0123456789";
	struct import_source src = { .kind = IMPORT_TAR, .max_bytes = 15 };
	struct tar t = { 0 };

	tar_add(&t, &(struct member){ .name = "a", .data = data });
	tar_add(&t, &(struct member){ .name = "b", .data = data });
	tar_end(&t);
	src.fd = tar_file(&t);
	ok(cowfs_import(&store, "big", &src, NULL, NULL, &counted, &err) < 0 &&
		   err.code == COS_E_IMAGE && nothing_is_left(),
	   "more data than allowed: %s", err.why);
	close(src.fd);
}

int main(void)
{
	fixture_init();
	archives_come_out_as_they_went_in();
	hostile_archives_are_refused();
	long_and_deep_names_are_refused();
	cut_and_damaged_archives_are_refused();
	the_last_of_a_name_wins();
	devices_are_left_out();
	identities_are_removed();
	holes_stay_holes();
	data_is_bounded();
	cowfs_close(&store);
	return tap_done();
}
