/* cow-fs/tree.h - a template's tree while it is made: whatever the names say, nothing leaves it
 *
 * Parents are opened beneath the root without following any link. Names come from archives and
 * foreign directories: leading slashes are dropped, ".." is refused. A name that comes again
 * replaces what was there. Functions tell; errors name the entry, made printable. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "lib/base/err.h"

#define TREE_PATH_SIZE   4096     /* with NUL */
#define TREE_DEPTH_MAX   256      /* directories above an entry */
#define TREE_ENTRIES_MAX 10000000 /* that are put in, replaced ones too */
#define TREE_ID_MAX      65533    /* a guest has 64 Ki ids, and the last two have meanings */
#define TREE_SHOW_SIZE   132

/* Folder of the pool of shared files in a guest's lower layers: no template may have it. */
#define TREE_RESERVED ".c"

struct tree_count {
	uint64_t files; /* entries of every kind */
	uint64_t bytes; /* of data, holes not counted */
	/* left out: device nodes, sockets, what was mounted below a directory, extended attributes
	 * that mean something to the host only */
	uint64_t devices, sockets, mounts, xattrs;
};

struct tree_meta {
	mode_t mode;      /* the type is ignored */
	int64_t uid, gid; /* refused when not in 0..TREE_ID_MAX */
	struct timespec mtime;
};

struct tree_late;

struct tree {
	int root;           /* borrowed */
	uint64_t max_bytes; /* of data; 0: no bound */
	bool is_layered;    /* a file may take the place of a directory with content */
	struct tree_count n;
	/* Called about ten times a second; not 0 ends the work with that errno. */
	int (*progress)(struct tree *t);
	/* private */
	const char *path; /* of the file that is being written */
	uint64_t told_usec;
	unsigned ticks;
	int parent; /* the last entry's, and its path */
	size_t parent_len;
	char parent_path[TREE_PATH_SIZE];
	struct tree_late *late; /* times of directories, set when all is in them */
	size_t n_late, late_room;
};

/* ROOT is an empty directory. The caller's umask must be 0. */
void tree_init(struct tree *t, int root);
void tree_done(struct tree *t);

/* NAME for an error: control characters and what is not UTF-8 as \xNN, at most TREE_SHOW_SIZE. */
const char *tree_show(char *buf, const char *name);
/* Fails with what the system call CALL said about PATH, in the code that fits the errno. */
int tree_fail(struct cos_err *err, const char *path, const char *call, int sys);

/* NAME without "." and superfluous slashes, "" for the root itself; RET takes TREE_PATH_SIZE.
 * BadImage for what no template may hold. The functions below take only such paths. */
int tree_path(const char *name, char *ret, struct cos_err *err);

/* Makes a directory, or gives an existing one new looks. Returns a descriptor, for attributes. */
int tree_dir(struct tree *t, const char *path, const struct tree_meta *m, struct cos_err *err);
/* Makes an empty file and returns a descriptor to write to. PATH stays until tree_file_end(), which
 * is called when the data is in. One file at a time. */
int tree_file(struct tree *t, const char *path, struct cos_err *err);
int tree_write(struct tree *t, int fd, const void *s, size_t len, off_t at, struct cos_err *err);
/* After data that went in without tree_write(). */
int tree_wrote(struct tree *t, uint64_t bytes, struct cos_err *err);
int tree_file_end(struct tree *t, int fd, const struct tree_meta *m, struct cos_err *err);
/* A whole file with the text TEXT. */
int tree_text(struct tree *t, const char *path, const char *text, const struct tree_meta *m,
	      struct cos_err *err);
int tree_symlink(struct tree *t, const char *path, const char *target, const struct tree_meta *m,
		 struct cos_err *err);
int tree_fifo(struct tree *t, const char *path, const struct tree_meta *m, struct cos_err *err);
/* TARGET is a path in this tree that has been made before. */
int tree_link(struct tree *t, const char *path, const char *target, struct cos_err *err);

/* Takes the file or link PATH away; 0 also when there is none. */
int tree_remove(struct tree *t, const char *path, struct cos_err *err);

/* Takes away PATH, or with CONTENT_ONLY what is in that directory, whatever it is; 0 also when
 * there is none. */
int tree_erase(struct tree *t, const char *path, bool content_only, struct cos_err *err);

/* Removes what must differ from guest to guest (machine-id, ssh host keys), then sets the times of
 * directories. The last call. */
int tree_finish(struct tree *t, struct cos_err *err);
