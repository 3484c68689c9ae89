/* lib/tar/tar.h - files as a tar stream, and back beneath a directory
 *
 * The two ends of 'cosctl cp': the client's, with the rights of who calls it, and a confined
 * process in the guest. Each takes the other's stream for hostile. Written is POSIX pax, a file
 * with holes as a GNU sparse file 1.0; read is that and what tar programs write, not compressed.
 * Owners are numbers. Extended attributes are not carried. Only files, directories, symbolic and
 * hard links are: other kinds are left out and counted.
 *
 * Not libarchive: its libraries would cost each start of cosctl 2 ms, and what it loads at run time
 * (character sets) a process must not look for in a guest's root. */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/base/err.h"

#define TAR_PATH_SIZE   4096     /* with NUL */
#define TAR_DEPTH_MAX   256      /* directories above an entry */
#define TAR_ENTRIES_MAX 10000000 /* of one stream */
#define TAR_FILE_MAX    (1ULL << 44)
#define TAR_ID_MAX      65535 /* what a guest's ids end with */

struct tar_count {
	uint64_t files;   /* entries */
	uint64_t bytes;   /* of data, holes not counted */
	uint64_t special; /* left out: devices, fifos, sockets */
	uint64_t mounts;  /* left out: what lies below proc, sysfs and the like */
	uint64_t changed; /* files that became shorter while they were read: filled with zeros */
};

/* Called for each entry and each piece of data. */
typedef void tar_tick(const struct tar_count *n, void *arg);

/* Calls SAY for each kind of thing that N says was not copied as it is. */
void tar_say_left_out(const struct tar_count *n, void (*say)(const char *text, void *arg),
		      void *arg);

/* A path cut at its last name. For one that names a directory by itself ("/", "a/.", "..") DIR is
 * all of it and NAME is ".". */
struct tar_name {
	char dir[TAR_PATH_SIZE];
	char name[NAME_MAX + 1];
	bool slash; /* it ended in one: a link there is followed, to a directory */
};
/* -ENOENT for "", -ENAMETOOLONG. Leaf. */
int tar_split(const char *path, struct tar_name *ret);

struct tar_pack {
	const char *path; /* a file or, with all that is in it, a directory */
	bool follow;      /* PATH itself may be a symbolic link to it */
	uint64_t resolve; /* RESOLVE_* for PATH */
	int out;          /* blocking; borrowed */
	bool owners;      /* told as they are, else 0 */
	tar_tick *tick;   /* NULL: none */
	void *arg;
	struct tar_count n; /* filled */
};

/* Writes the whole stream. Entries are named NAME, NAME/..., with the NAME that tar_split() finds.
 * Nothing that is not a file is opened, no link inside is followed, no mount of proc, sysfs and the
 * like entered from outside; what goes away meanwhile is not an error. */
int tar_pack(struct tar_pack *p, struct cos_err *err);

/* Where a stream is unpacked to. */
struct tar_target {
	int root;              /* O_PATH; the caller's */
	char as[NAME_MAX + 1]; /* "" when PATH is a directory, else what its last name is to be */
};
/* PATH is a directory, or will be: a name in one; with NEED_DIR it has to be there. -EEXIST for
 * what is neither file nor directory. */
int tar_target_open(const char *path, bool need_dir, uint64_t resolve, struct tar_target *ret,
		    struct cos_err *err);

struct tar_unpack {
	int in;   /* borrowed, as ROOT */
	int root; /* beneath it all is made */
	/* What all names in the stream begin with; "." stands for nothing. NULL: whatever the first
	 * one begins with if AS is given, else they may differ. */
	const char *top;
	const char *as; /* replaces it; NULL: it stays */
	bool owners;    /* also set-id bits; else the caller's, and none */
	tar_tick *tick; /* NULL: none */
	void *arg;
	struct tar_count n; /* filled */
};

/* Reads the stream up to its end mark. No link is followed, ".." refused. A file or link that
 * stands at an entry's place is replaced, never written into; a directory that is there keeps its
 * looks; other things stay and are an error. What was made before a failure stays, but no file in
 * part. BadImage for a stream that is wrong. */
int tar_unpack(struct tar_unpack *u, struct cos_err *err);
