/* tests/unit/tar.t.c - trees into streams and back, and streams that mean harm */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "lib/base/io.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "lib/tar/inner.h"
#include "tests/tap.h"

#define LONG_NAME                                                                                  \
	"long-123456789-123456789-123456789-123456789-123456789-123456789-123456789-123456789-"    \
	"123456789-123456789-123456789-123456789"

static char base[] = "/tmp/cos-tar-XXXXXX";
static int dir;            /* base */
static struct cos_err err; /* of the last call */

/* ---- files ---- */

static void put(const char *name, const char *text)
{
	auto_close int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	io_write_all(fd, text, strlen(text));
}

static bool holds(const char *name, const char *text)
{
	char buf[256];
	ssize_t n = io_read_at(dir, name, buf, sizeof(buf));

	return n == (ssize_t)strlen(text) && memcmp(buf, text, (size_t)n) == 0;
}

static bool is_there(const char *name)
{
	return faccessat(dir, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static struct stat look(const char *name)
{
	struct stat st = { 0 };

	fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW);
	return st;
}

static int open_dir(const char *name)
{
	return openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static int new_stream(void)
{
	return memfd_create("stream", MFD_CLOEXEC);
}

/* ---- both directions ---- */

static struct tar_pack packed;

/* base/NAME as a stream, at its beginning; -1 when it fails. */
static int pack(const char *name, bool follow)
{
	auto_close int fd = new_stream();
	char path[TAR_PATH_SIZE + 64];

	str_fmt(path, sizeof(path), "%s/%s", base, name);
	packed = (struct tar_pack){ .path = path, .out = fd, .owners = true, .follow = follow };
	if (tar_pack(&packed, &err) < 0)
		return -1;
	lseek(fd, 0, SEEK_SET);
	return take_fd(fd);
}

static struct tar_unpack unpacked;

/* Takes the stream. */
static int unpack(int stream, const char *to, const char *top, const char *as, bool owners)
{
	auto_close int in = stream, root = open_dir(to);
	int r;

	unpacked = (struct tar_unpack){
		.in = in, .root = root, .top = top, .as = as, .owners = owners
	};
	err = (struct cos_err){ .code = COS_E_NONE };
	r = tar_unpack(&unpacked, &err);
	if (r < 0)
		printf("# %s\n", err.why);
	return r;
}

/* ---- streams by hand ---- */

struct entry {
	const char *name;
	char type;
	const char *link, *data;
	unsigned mode;
};

/* SIZE has at least the twelve bytes of its field. */
static void put_header(int fd, const struct entry *e, const char *size)
{
	struct tar_header h = { .type = e->type, .magic = "ustar", .version = { '0', '0' } };

	memcpy(h.name, e->name, strnlen(e->name, sizeof(h.name)));
	if (e->link)
		memcpy(h.link, e->link, strnlen(e->link, sizeof(h.link)));
	snprintf(h.mode, sizeof(h.mode), "%07o", (e->mode ?: 0644) & 07777);
	strcpy(h.uid, "0000000");
	strcpy(h.gid, "0000000");
	memcpy(h.size, size, sizeof(h.size));
	strcpy(h.mtime, "00000000001");
	snprintf(h.sum, sizeof(h.sum), "%06o", tar_sum(&h));
	h.sum[7] = ' ';
	io_write_all(fd, &h, sizeof(h));
}

static void put_entry(int fd, const struct entry *e)
{
	static const char zeros[TAR_BLOCK];
	size_t len = e->data ? strlen(e->data) : 0;
	char size[32];

	snprintf(size, sizeof(size), "%011zo", len);
	put_header(fd, e, size);
	io_write_all(fd, e->data ?: "", len);
	io_write_all(fd, zeros, -len % TAR_BLOCK);
}

static void put_end(int fd)
{
	static const char zeros[2 * TAR_BLOCK];

	io_write_all(fd, zeros, sizeof(zeros));
	lseek(fd, 0, SEEK_SET);
}

static int stream_of(const struct entry *e, size_t n)
{
	int fd = new_stream();

	for (size_t i = 0; i < n; i++)
		put_entry(fd, &e[i]);
	put_end(fd);
	return fd;
}

#define STREAM(...)                                                                                \
	stream_of((const struct entry[]){ __VA_ARGS__ },                                           \
		  sizeof((const struct entry[]){ __VA_ARGS__ }) / sizeof(struct entry))

#define A_DIR(path)                                                                                \
	{                                                                                          \
		.name = path, .type = '5', .mode = 0755                                            \
	}
#define A_FILE(path, text)                                                                         \
	{                                                                                          \
		.name = path, .type = '0', .data = text                                            \
	}
#define A(path, kind)                                                                              \
	{                                                                                          \
		.name = path, .type = kind, .mode = 0755                                           \
	}

/* ---- what is copied comes back the same ---- */

static void put_sized(const char *name, size_t len)
{
	auto_close int fd = openat(dir, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0640);
	auto_free char *s = malloc(len + 1);

	for (size_t i = 0; i < len; i++)
		s[i] = (char)(i * 7 + i / 509);
	io_write_all(fd, s, len);
}

static bool same_data(const char *a, const char *b)
{
	auto_free char *x = NULL, *y = NULL;
	ssize_t n = io_slurp_at(dir, a, 64U << 20, &x), m = io_slurp_at(dir, b, 64U << 20, &y);

	return n >= 0 && n == m && memcmp(x, y, (size_t)n) == 0;
}

static bool same_looks(const char *a, const char *b)
{
	struct stat x = look(a), y = look(b);

	return x.st_mode == y.st_mode && x.st_mtim.tv_sec == y.st_mtim.tv_sec &&
	       x.st_mtim.tv_nsec == y.st_mtim.tv_nsec && x.st_size == y.st_size;
}

static void test_round_trip(void)
{
	static const size_t sizes[] = { 0, 1, 511, 512, 513, 131072, 262144, 262145, 1000003 };
	const struct timespec ts[2] = { { 5, 0 }, { 1234567890, 123456789 } };
	char from[600], to[600];

	mkdirat(dir, "a", 0755);
	mkdirat(dir, "a/empty", 0711);
	mkdirat(dir, "a/" LONG_NAME, 0755);
	mkdirat(dir, "a/" LONG_NAME "/" LONG_NAME, 0755);
	put("a/" LONG_NAME "/" LONG_NAME "/end", "deep");
	put("a/new\nline", "n");
	put("a/\xff\xfe", "bytes");
	put("a/e\xcc\x81", "not composed");
	symlinkat("../nowhere", dir, "a/link");
	symlinkat(LONG_NAME LONG_NAME, dir, "a/long-link");
	put("a/two", "names");
	linkat(dir, "a/two", dir, "a/" LONG_NAME "-too", 0);
	fchmodat(dir, "a/two", 0751, 0);
	utimensat(dir, "a/two", ts, 0);
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		str_fmt(from, sizeof(from), "a/size-%zu", sizes[i]);
		put_sized(from, sizes[i]);
	}
	fchmodat(dir, "a/empty", 0555, 0);
	utimensat(dir, "a", ts, 0);
	mkdirat(dir, "b", 0755);
	ok(unpack(pack("a", false), "b", "a", NULL, false) == 0, "a tree is packed and unpacked");
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		str_fmt(from, sizeof(from), "a/size-%zu", sizes[i]);
		str_fmt(to, sizeof(to), "b/a/size-%zu", sizes[i]);
		ok(same_data(from, to) && same_looks(from, to), "%zu bytes", sizes[i]);
	}
	ok(holds("b/a/" LONG_NAME "/" LONG_NAME "/end", "deep"), "a path of 300 bytes");
	ok(holds("b/a/new\nline", "n") && holds("b/a/\xff\xfe", "bytes") &&
		   holds("b/a/e\xcc\x81", "not composed"),
	   "names are bytes");
	ok(readlinkat(dir, "b/a/link", to, sizeof(to)) == 10 && memcmp(to, "../nowhere", 10) == 0,
	   "a symbolic link");
	ok(readlinkat(dir, "b/a/long-link", to, sizeof(to)) == 2 * (ssize_t)strlen(LONG_NAME),
	   "a long one");
	ok(look("b/a/two").st_ino == look("b/a/" LONG_NAME "-too").st_ino &&
		   look("b/a/two").st_nlink == 2,
	   "a file with two names is one file");
	ok(same_looks("a/two", "b/a/two") && same_looks("a/empty", "b/a/empty") &&
		   same_looks("a", "b/a"),
	   "modes and times, also of directories");
	ok(unpacked.n.files == packed.n.files && unpacked.n.bytes == packed.n.bytes,
	   "both sides count the same");
}

static void test_holes(void)
{
	auto_close int fd = openat(dir, "holes", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	struct stat st;

	io_write_all(fd, "front", 5);
	ok(pwrite(fd, "middle", 6, 100 << 20) == 6 && ftruncate(fd, 1LL << 40) == 0,
	   "a file of 1 TiB with holes");
	mkdirat(dir, "h", 0755);
	ok(unpack(pack("holes", false), "h", "holes", "copy", false) == 0, "is copied");
	st = look("h/copy");
	ok(st.st_size == 1LL << 40 && st.st_blocks < 1024 && packed.n.bytes < 1 << 20,
	   "without what is not there");
	auto_close int copy = openat(dir, "h/copy", O_RDONLY | O_CLOEXEC);
	char buf[8] = "";

	ok(pread(copy, buf, 6, 100 << 20) == 6 && memcmp(buf, "middle", 6) == 0,
	   "what is there stands at its place");
	ok(ftruncate(fd, 0) == 0 && ftruncate(fd, 1 << 20) == 0 &&
		   unpack(pack("holes", false), "h", NULL, "none", false) == 0 &&
		   look("h/none").st_size == 1 << 20 && look("h/none").st_blocks == 0,
	   "a file that is one hole");
}

static void test_sources(void)
{
	mkdirat(dir, "s", 0755);
	mkdirat(dir, "s/sub", 0755);
	put("s/f", "file");
	symlinkat("f", dir, "s/to-f");
	symlinkat("sub", dir, "s/to-sub");
	put("s/sub/g", "below");
	mkfifoat(dir, "s/fifo", 0644);
	mkdirat(dir, "t", 0755);
	ok(unpack(pack("s/.", false), "t", ".", NULL, false) == 0 && holds("t/sub/g", "below") &&
		   !is_there("t/s"),
	   "DIR/. is what is in it");
	ok(packed.n.special == 1 && !is_there("t/fifo"), "a fifo is left out, and not waited for");
	ok(unpack(pack("s/to-f", false), "t", NULL, "l1", false) == 0 &&
		   S_ISLNK(look("t/l1").st_mode),
	   "a link is a link");
	ok(unpack(pack("s/to-f", true), "t", "to-f", NULL, false) == 0 && holds("t/to-f", "file"),
	   "or followed, when asked for");
	ok(unpack(pack("s/to-sub/", false), "t", "to-sub", "l2", false) == 0 &&
		   holds("t/l2/g", "below"),
	   "a slash behind it follows it too");
	ok(pack("s/fifo", false) < 0 && err.code == COS_E_INVALID, "a fifo alone is refused");
	ok(pack("s/f/", false) < 0 && err.sys == ENOTDIR, "a file is no directory");
	ok(pack("s/nosuch", false) < 0 && err.sys == ENOENT, "what is not there is told");
	ok(pack("s/nosuch/x", false) < 0 && err.sys == ENOENT, "and so is its directory");
}

static void test_targets(void)
{
	char path[TAR_PATH_SIZE];
	static const struct {
		const char *path, *as; /* NULL: refused */
		bool need_dir;
	} rows[] = {
		{ "t", "", false },        { "t/", "", true },        { "t/new", "new", false },
		{ "t/f", "f", false },     { "t/new", NULL, true },   { "t/new/", NULL, false },
		{ "t/f/", NULL, false },   { "t/no/x", NULL, false }, { "t/..", "", false },
		{ "s/fifo", NULL, false }, { "s/to-sub", "", false }, { "s/to-f", "to-f", false },
		{ "t/no/.", NULL, false },
	};

	put("t/f", "file");
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct tar_target t = { .root = -1 };
		int r;

		str_fmt(path, sizeof(path), "%s/%s", base, rows[i].path);
		r = tar_target_open(path, rows[i].need_dir, 0, &t, &err);
		ok(rows[i].as ? r == 0 && strcmp(t.as, rows[i].as) == 0 : r < 0 && err.why[0],
		   "to %s%s", rows[i].path, rows[i].need_dir ? ", a directory" : "");
		close_p(&t.root);
	}
}

/* ---- where things go ---- */

static void test_names(void)
{
	mkdirat(dir, "n", 0755);
	ok(unpack(STREAM(A_FILE("/n1/../../out", "x")), "n", NULL, NULL, false) < 0 &&
		   err.code == COS_E_IMAGE && !is_there("out"),
	   "\"..\" is refused");
	ok(unpack(STREAM(A_FILE("///abs/./file", "x")), "n", NULL, NULL, false) == 0 &&
		   holds("n/abs/file", "x"),
	   "an absolute name is beneath");
	ok(unpack(STREAM(A_DIR("d/"), A_FILE("d/f", "1")), "n", "d", NULL, false) == 0 &&
		   holds("n/d/f", "1"),
	   "below the name that was asked for");
	ok(unpack(STREAM(A_DIR("d/"), A_FILE(".bashrc", "evil")), "n", "d", NULL, false) < 0 &&
		   !is_there("n/.bashrc"),
	   "beside it is refused");
	ok(unpack(STREAM(A_FILE("dd/f", "evil")), "n", "d", NULL, false) < 0,
	   "and what only begins alike");
	ok(unpack(STREAM(A_DIR("."), A_FILE("./f", "2")), "n", NULL, "new", false) == 0 &&
		   holds("n/new/f", "2"),
	   "contents under a new name");
	ok(unpack(STREAM(A_FILE("x/f", "3"), A_FILE("y/f", "3")), "n", NULL, "other", false) < 0 &&
		   holds("n/other/f", "3") && !is_there("n/y"),
	   "the first name is the only one when it is replaced");
	ok(unpack(STREAM(A_FILE(".", "x")), "n", NULL, NULL, false) < 0, "the root is no file");
	ok(unpack(STREAM(A_FILE("deep/er/f", "4"), { "deep/", '5', .mode = 0700 }), "n", NULL, NULL,
		  false) == 0 &&
		   look("n/deep").st_mode == (S_IFDIR | 0700),
	   "a directory may come after what is in it");
}

static void test_in_the_way(void)
{
	const struct entry through = A_FILE("w/l/f", "evil");

	mkdirat(dir, "w", 0750);
	mkdirat(dir, "outside", 0755);
	put("outside/f", "mine");
	symlinkat("../outside", dir, "w/l");
	ok(unpack(STREAM(through), ".", NULL, NULL, false) < 0 && err.code == COS_E_EXISTS &&
		   holds("outside/f", "mine"),
	   "a link that stands in the way is not followed");
	ok(unpack(STREAM({ "w/m", '2', "../outside", NULL, 0 }, A_FILE("w/m/f", "evil")), ".", NULL,
		  NULL, false) < 0 &&
		   holds("outside/f", "mine"),
	   "nor one that came before");
	ok(unpack(STREAM({ "w/m/", '5', .mode = 0777 }), ".", NULL, NULL, false) < 0 &&
		   S_ISLNK(look("w/m").st_mode),
	   "nor is it taken for a directory");
	symlinkat("../outside/f", dir, "w/lf");
	ok(unpack(STREAM(A_FILE("w/lf", "new")), ".", NULL, NULL, false) == 0 &&
		   holds("w/lf", "new") && holds("outside/f", "mine"),
	   "a link gives way to a file");
	linkat(dir, "outside/f", dir, "w/hard", 0);
	ok(unpack(STREAM(A_FILE("w/hard", "new")), ".", NULL, NULL, false) == 0 &&
		   holds("w/hard", "new") && holds("outside/f", "mine"),
	   "a file is replaced, not written to");
	mkfifoat(dir, "w/fifo", 0644);
	ok(unpack(STREAM(A_FILE("w/fifo", "x")), ".", NULL, NULL, false) < 0 &&
		   S_ISFIFO(look("w/fifo").st_mode),
	   "a fifo stays");
	mkdirat(dir, "w/dir", 0755);
	ok(unpack(STREAM(A_FILE("w/dir", "x")), ".", NULL, NULL, false) < 0 &&
		   S_ISDIR(look("w/dir").st_mode),
	   "a directory does not give way to a file");
	ok(unpack(STREAM(A_DIR("w/hard/")), ".", NULL, NULL, false) < 0 && holds("w/hard", "new"),
	   "nor a file to a directory");
	ok(unpack(STREAM({ "w/", '5', .mode = 0777 }), ".", NULL, NULL, false) == 0 &&
		   look("w").st_mode == (S_IFDIR | 0750),
	   "a directory that is there keeps its mode");
}

static void test_links(void)
{
	mkdirat(dir, "k", 0755);
	put("k/secret", "mine");
	ok(unpack(STREAM({ "t/l", '1', "../outside/f", NULL, 0 }), "k", NULL, NULL, false) < 0,
	   "a hard link to \"..\" is refused");
	ok(unpack(STREAM({ "t/l", '1', "secret", NULL, 0 }), "k", "t", NULL, false) < 0 &&
		   !is_there("k/t/l"),
	   "one to what is beside the name too");
	symlinkat("../outside", dir, "k/s");
	ok(unpack(STREAM({ "l", '1', "s/f", NULL, 0 }), "k", NULL, NULL, false) < 0,
	   "one through a link too");
	ok(unpack(STREAM({ "l", '1', "nosuch", NULL, 0 }), "k", NULL, NULL, false) < 0,
	   "one to nothing too");
	ok(unpack(STREAM(A_FILE("t/a", "1"), { "t/b", '1', "t/a", NULL, 0 },
			 { "t/b", '1', "t/a", NULL, 0 }, { "t/a", '1', "t/a", NULL, 0 }),
		  "k", "t", "u", false) == 0 &&
		   look("k/u/a").st_ino == look("k/u/b").st_ino,
	   "one to a file of the stream, under its new name");
}

static void test_kinds(void)
{
	mkdirat(dir, "i", 0755);
	ok(unpack(STREAM(A("c", '3'), A("b", '4'), A("p", '6'), A_FILE("f", "x")), "i", NULL, NULL,
		  false) == 0 &&
		   unpacked.n.special == 3 && !is_there("i/c") && !is_there("i/p") &&
		   holds("i/f", "x"),
	   "devices and fifos are left out");
	ok(unpack(STREAM({ "suid", '0', NULL, "x", 07755 }, { "sgid/", '5', .mode = 07777 }), "i",
		  NULL, NULL, false) == 0 &&
		   look("i/suid").st_mode == (S_IFREG | 0755) &&
		   look("i/sgid").st_mode == (S_IFDIR | 01777),
	   "set-id bits are dropped");
	ok(unpack(STREAM(A("x", 'M')), "i", NULL, NULL, false) < 0, "an unknown kind is refused");
	ok(unpack(STREAM(A("old/", '\0'), { "old/f", '\0', NULL, "v7", 0 }), "i", NULL, NULL,
		  false) == 0 &&
		   holds("i/old/f", "v7"),
	   "the form of old archives");
	ok(unpack(STREAM({ "pax_global_header", 'g', NULL, "13 path=none\n", 0 },
			 { "PaxHeaders", 'x', NULL, "19 path=other/name\n", 0 },
			 A_FILE("short", "pax"), { "@L", 'L', NULL, LONG_NAME "/gnu", 0 },
			 A_FILE("cut", "gnu")),
		  "i", NULL, NULL, false) == 0 &&
		   holds("i/other/name", "pax") && holds("i/" LONG_NAME "/gnu", "gnu") &&
		   !is_there("i/none"),
	   "names in extended headers");
	if (geteuid() == 0) {
		ok(unpack(STREAM({ "x", 'x', NULL, "12 uid=1000\n", 0 },
				 { "own", '0', NULL, "x", 04755 }),
			  "i", NULL, NULL, true) == 0 &&
			   look("i/own").st_uid == 1000 &&
			   look("i/own").st_mode == (S_IFREG | 04755),
		   "owners and set-id bits are kept when asked for");
		ok(unpack(STREAM({ "x", 'x', NULL, "18 uid=4294967295\n", 0 }, A_FILE("own2", "x")),
			  "i", NULL, NULL, true) < 0 &&
			   !is_there("i/own2"),
		   "an owner that no guest has is refused");
	} else {
		tap_skip("owners and set-id bits are kept when asked for", "needs root");
		tap_skip("an owner that no guest has is refused", "needs root");
	}
}

/* ---- what is not an archive ---- */

static int bad_size(const char *size)
{
	int fd = new_stream();

	put_header(fd, &(struct entry){ "big", '0', NULL, NULL, 0 }, size);
	put_end(fd);
	return fd;
}

static void test_damage(void)
{
	static const struct {
		const char *what, *text;
	} extra[] = {
		{ "no length", "path=x\n" },
		{ "a length of nothing", "0 path=x\n" },
		{ "a length too long", "99 path=x\n" },
		{ "no newline", "9 path=xx" },
		{ "no value", "7 path\n" },
		{ "a size too large", "28 size=99999999999999999\n" },
		{ "a size beyond numbers", "33 size=99999999999999999999999\n" },
		{ "holes of another form", "22 GNU.sparse.major=0\n" },
		{ "holes in numbers", "24 GNU.sparse.numblocks=1\n" },
		{ "holes without a length", "22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n" },
	};
	int fd;

	mkdirat(dir, "x", 0755);
	for (size_t i = 0; i < ARRAY_SIZE(extra); i++)
		ok(unpack(STREAM({ "x", 'x', NULL, extra[i].text, 0 }, A_FILE("f", "x")), "x", NULL,
			  NULL, false) < 0 &&
			   !is_there("x/f"),
		   "an extended header with %s", extra[i].what);
	fd = new_stream();
	io_write_all(fd, "\x1f\x8b this is compressed", 22);
	put_end(fd);
	ok(unpack(fd, "x", NULL, NULL, false) < 0 && strstr(cos_err_todo(&err), "zcat"),
	   "what is compressed is told");
	ok(unpack(new_stream(), "x", NULL, NULL, false) < 0 && strstr(err.why, "cut off"),
	   "an empty stream is cut off");
	ok(unpack(bad_size("77777777777"), "x", NULL, NULL, false) < 0 && !is_there("x/big"),
	   "a file without its data is taken away");
	ok(unpack(bad_size("\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff"), "x", NULL, NULL, false) < 0,
	   "a size beyond 16 TiB");
	ok(unpack(bad_size("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), "x", NULL, NULL,
		  false) < 0,
	   "a negative size");
	ok(unpack(bad_size("nonsense   "), "x", NULL, NULL, false) < 0, "a size that is no number");
}

static void test_maps(void)
{
	static const char head[] = "22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n"
				   "27 GNU.sparse.realsize=100\n21 GNU.sparse.name=f\n";
	static const struct {
		const char *what, *map;
		bool good;
	} maps[] = {
		{ "that fits", "2\n0\n3\n50\n3\n", true },
		{ "of nothing", "", false },
		{ "backwards", "2\n50\n3\n0\n3\n", false },
		{ "beyond the end", "2\n0\n3\n98\n3\n", false },
		{ "of more than comes", "2\n0\n3\n50\n4\n", false },
		{ "of less than comes", "1\n0\n3\n", false },
		{ "too long", "99999999\n", false },
		{ "of words", "two\n", false },
		{ "that overflows", "2\n0\n3\n18446744073709551615\n3\n", false },
		{ "with a minus", "2\n0\n3\n-1\n3\n", false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(maps); i++) {
		char data[TAR_BLOCK + 7];
		int r;

		memset(data, '\n', sizeof(data));
		memcpy(data, maps[i].map, strlen(maps[i].map));
		strcpy(data + TAR_BLOCK, "abcdef");
		unlinkat(dir, "x/f", 0);
		r = unpack(STREAM({ "x", 'x', NULL, head, 0 }, A_FILE("s", data)), "x", NULL, NULL,
			   false);
		ok(maps[i].good ? r == 0 && look("x/f").st_size == 100
				: r < 0 && err.code == COS_E_IMAGE && !is_there("x/f"),
		   "a map of holes %s", maps[i].what);
	}
}

/* Wherever a stream is cut, it is told, and no file is there in part. */
static void test_cuts(void)
{
	auto_close int whole = pack("s", false);
	off_t end = lseek(whole, 0, SEEK_END), good = 0;
	auto_free char *s = malloc((size_t)end);
	unsigned wrong = 0;

	put("s/f", "file");
	ok(pread(whole, s, (size_t)end, 0) == end, "a stream of %lld bytes", (long long)end);
	for (off_t at = 0; at < end - 2 * TAR_BLOCK; at += at % TAR_BLOCK == 500 ? 12 : 100) {
		int fd = new_stream();

		mkdirat(dir, "cut", 0755);
		io_write_all(fd, s, (size_t)at);
		lseek(fd, 0, SEEK_SET);
		wrong += unpack(fd, "cut", "s", NULL, false) == 0 || err.code != COS_E_IMAGE;
		wrong += is_there("cut/s/f") && !holds("cut/s/f", "file");
		good++;
		io_remove_tree(dir, "cut", 0);
	}
	ok(wrong == 0, "cut at %lld places", (long long)good);
}

static void test_split(void)
{
	static const struct {
		const char *path, *dir, *name;
		bool slash;
	} rows[] = {
		{ "a", ".", "a", false },       { "/a", "/", "a", false },
		{ "a/b", "a/", "b", false },    { "a/b//", "a/", "b", true },
		{ "/", "/", ".", true },        { ".", ".", ".", false },
		{ "a/..", "a/..", ".", false }, { "a/.", "a/.", ".", false },
		{ "...", ".", "...", false },   { "..a", ".", "..a", false },
	};
	struct tar_name n;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		ok(tar_split(rows[i].path, &n) == 0 && strcmp(n.dir, rows[i].dir) == 0 &&
			   strcmp(n.name, rows[i].name) == 0 && n.slash == rows[i].slash,
		   "%s is %s in %s", rows[i].path, rows[i].name, rows[i].dir);
	ok(tar_split("", &n) == -ENOENT, "no path");
	ok(tar_split(LONG_NAME LONG_NAME LONG_NAME, &n) == -ENAMETOOLONG, "a name too long");
}

int main(void)
{
	umask(022);
	if (!mkdtemp(base))
		return 1;
	dir = open(base, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	test_split();
	test_round_trip();
	test_holes();
	test_sources();
	test_targets();
	test_names();
	test_in_the_way();
	test_links();
	test_kinds();
	test_damage();
	test_maps();
	test_cuts();
	close(dir);
	io_remove_tree(AT_FDCWD, base, 0);
	return tap_done();
}
