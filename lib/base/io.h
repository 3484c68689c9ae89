/* lib/base/io.h - reading, writing and opening relative to a directory descriptor
 *
 * Leaves: they return 0, a useful number or a negative errno, and neither log nor allocate unless
 * they say so. All descriptors are close-on-exec. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Writes all of S to the existing file NAME by one write: control files take a value or not. */
int io_write_at(int dir, const char *name, const char *s, size_t len);
__attribute__((format(printf, 3, 4))) int io_writef_at(int dir, const char *name, const char *fmt,
						       ...);
/* Reads at most SIZE - 1 bytes and ends them with NUL; returns their number, -E2BIG if more. */
ssize_t io_read_at(int dir, const char *name, char *buf, size_t size);
ssize_t io_read_fd(int fd, char *buf, size_t size);
/* As io_read_at, but allocates; *RET_S is the caller's and NUL ends it; -E2BIG beyond MAX bytes. */
ssize_t io_slurp_at(int dir, const char *name, size_t max, char **ret_s);
ssize_t io_slurp_fd(int fd, size_t max, char **ret_s);
/* Writes all, however many write() it takes. */
int io_write_all(int fd, const void *s, size_t len);
/* The same from AT on; the file's position stays. */
int io_write_all_at(int fd, const void *s, size_t len, off_t at);
/* Puts a file in place by rename: readers see the old content or the new one, never part of one.
 * With DURABLE the file and its directory (then not O_PATH, not AT_FDCWD) are on the disk when it
 * returns. One writer at a time for each name. */
int io_replace_at(int dir, const char *name, const void *s, size_t len, mode_t mode, bool durable);
/* openat2(): RESOLVE is a set of RESOLVE_* flags from <linux/openat2.h>. */
int io_open2(int dir, const char *path, int flags, mode_t mode, uint64_t resolve);
/* Opens a directory, made first if it is missing; returns its descriptor. */
int io_dir_at(int dir, const char *name, mode_t mode);
/* Calls FN for each entry of DIR but "." and "..", in no order, until it returns not 0; returns
 * that, 0 after the last one, or -errno when DIR cannot be read (-EBADF for -1). FN may remove the
 * entry it is called for; one that is made meanwhile may be seen or not. DIR's own position is
 * neither used nor moved. */
int io_each_entry(int dir, int (*fn)(const char *name, void *arg), void *arg);
/* Removes what PATH names and all below it without following a link there; 0 also when there is
 * nothing. At most MAX entries (0: no bound), then -EAGAIN: call again. Crosses no mount point,
 * bind mounts included: -EXDEV. Any depth: what lies deeper than some tens of levels is first moved
 * up to the top. */
int io_remove_tree(int dir, const char *path, unsigned max);
/* Passes N descriptors (0..16, else -E2BIG) along with LEN bytes (at least 1 on a stream); one
 * sendmsg(). */
ssize_t io_send_fds(int sock, const void *buf, size_t len, const int *fds, unsigned n, int flags);
/* Receives up to *N descriptors into FDS and sets *N to how many came; further ones are closed. */
ssize_t io_recv_fds(int sock, void *buf, size_t len, int *fds, unsigned *n, int flags);
/* Sets the file's lock (flock) without waiting; -EWOULDBLOCK if another holds it. */
int io_lock(int fd);
/* Opens /dev/null for each of descriptors 0 to 2 that is closed: a stream that the caller has
 * closed must not become the number of a lock or a socket. For the start of a program. */
void io_fill_stdio(void);
