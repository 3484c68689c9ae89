/* lib/tar/inner.h - the stream's entries, read and written one by one */
#pragma once

#include <sys/types.h>
#include <time.h>

#include "lib/tar/tar.h"

#define TAR_BLOCK      512
#define TAR_BUFFER     (128U << 10)
#define TAR_PIECES_MAX 65536

enum tar_kind { TAR_FILE, TAR_DIR, TAR_SYMLINK, TAR_LINK, TAR_SPECIAL };

struct tar_piece {
	uint64_t at, len;
};

struct tar_entry {
	enum tar_kind kind;
	mode_t mode; /* permissions only */
	uint64_t uid, gid;
	struct timespec mtime;
	uint64_t size; /* of a file as one reads it, holes included */
	/* of a file with holes where its data is, in order; not SPARSE: everywhere */
	bool sparse;
	size_t n_pieces;
	struct tar_piece *pieces; /* borrowed */
	char path[TAR_PATH_SIZE], link[TAR_PATH_SIZE];
};

struct tar_header {
	char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], sum[8], type, link[100];
	char magic[6], version[2], uname[32], gname[32], major[8], minor[8], prefix[155], pad[12];
};
_Static_assert(sizeof(struct tar_header) == TAR_BLOCK, "a tar header is a block");

/* Sum of the bytes of H, those of its own field taken as spaces. */
unsigned tar_sum(const struct tar_header *h);

/* What the system call CALL said about PATH. */
int tar_fail(struct cos_err *err, const char *path, const char *call, int sys);
/* The stream is wrong. */
int tar_bad(struct cos_err *err, const char *path, const char *why);

/* --- write.c: leaves --- */
struct tar_out {
	int fd; /* borrowed */
	size_t have;
	char buf[TAR_BUFFER];
};
/* Everything up to the data, which then has to be put and padded. */
int tar_put_entry(struct tar_out *o, const struct tar_entry *e);
int tar_put(struct tar_out *o, const void *s, size_t len);
int tar_put_zeros(struct tar_out *o, uint64_t len);
/* After LEN bytes of data. */
int tar_put_pad(struct tar_out *o, uint64_t len);
/* The end mark, and all of it goes out. */
int tar_put_end(struct tar_out *o);

/* --- read.c --- */
struct tar_extra {
	unsigned has; /* a bit for each enum in read.c */
	uint64_t size, uid, gid, real_size, major, minor;
	struct timespec mtime;
	char path[TAR_PATH_SIZE], name[TAR_PATH_SIZE], link[TAR_PATH_SIZE];
};

struct tar_in {
	int fd; /* borrowed */
	uint64_t left, entries;
	unsigned pad; /* bytes after the data */
	struct tar_extra x;
	struct tar_piece *pieces;
	size_t at, have;
	char buf[TAR_BUFFER];
};
void tar_in_init(struct tar_in *in, int fd);
void tar_in_done(struct tar_in *in);
/* The next entry, after what is left of the last one's data: 1, or 0 at the end mark. */
int tar_get_entry(struct tar_in *in, struct tar_entry *ret, struct cos_err *err);
/* At most MAX bytes of data, borrowed until the next call. Returns their number, 0 at the end. */
ssize_t tar_get_data(struct tar_in *in, const void **ret, uint64_t max, struct cos_err *err);

#ifdef __clang_analyzer__
#define tar_fail(...) ((tar_fail)(__VA_ARGS__), -1) /* as in lib/base/err.h */
#define tar_bad(...)  ((tar_bad)(__VA_ARGS__), -1)
#endif
