/* cow-fs/swap.c - what a unification notes down, and recovery after a crash */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cow-fs/inner.h"
#include "cow-fs/swap.h"
#include "lib/base/io.h"
#include "lib/base/own.h"

#define NOTE   "unify"
#define PLACE  "sw"
#define MARK   ".cos-sw-" /* and 16 digits: SWAP_PREFIX_SIZE with NUL */
#define DIGITS 16

static bool is_prefix(const char *s)
{
	const size_t n = strlen(MARK);

	return strlen(s) == SWAP_PREFIX_SIZE - 1 && memcmp(s, MARK, n) == 0 &&
	       strspn(s + n, "0123456789abcdef") == DIGITS;
}

struct leftovers {
	int upper;
	const char *prefix;
};

static int remove_leftover(const char *name, void *arg)
{
	const struct leftovers *l = arg;

	if (strncmp(name, l->prefix, SWAP_PREFIX_SIZE - 1) != 0)
		return 0;
	return io_remove_tree(l->upper, name, 0);
}

/* The caller holds the lock. What is in the note may be torn: then there was no directory yet,
 * because the note is durable before one is made. */
static int recover(int home, int upper, int note)
{
	auto_close int up = -1;
	char prefix[SWAP_PREFIX_SIZE + 1] = "";
	const struct leftovers l = { .upper = upper, .prefix = prefix };
	ssize_t n = pread(note, prefix, sizeof(prefix) - 1, 0);
	int r = 0;

	if (n < 0)
		return -errno;
	if (n == 0)
		return 0;
	prefix[n] = '\0';
	if (is_prefix(prefix)) {
		up = openat(upper, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		r = up < 0 ? -errno : io_each_entry(up, remove_leftover, (void *)&l);
	}
	if (r == 0)
		r = io_remove_tree(home, PLACE, 0);
	return r == 0 && ftruncate(note, 0) < 0 ? -errno : r;
}

int cowfs_swap_recover(int home, int upper)
{
	auto_close int note = openat(home, NOTE, O_RDWR | O_NOFOLLOW | O_CLOEXEC);

	if (note < 0)
		return errno == ENOENT ? 0 : -errno;
	if (io_lock(note) < 0) /* at work on the guest as it runs */
		return 0;
	return recover(home, upper, note);
}

static int note_down(int home, int note, char *ret_prefix)
{
	char prefix[COWFS_ID_SIZE + 16] = MARK;
	int r = cowfs_id_make(prefix + strlen(MARK));

	if (r < 0)
		return r;
	prefix[SWAP_PREFIX_SIZE - 1] = '\0';
	if (pwrite(note, prefix, SWAP_PREFIX_SIZE - 1, 0) != SWAP_PREFIX_SIZE - 1)
		return -EIO;
	if (fsync(note) < 0 || fsync(home) < 0)
		return -errno;
	memcpy(ret_prefix, prefix, SWAP_PREFIX_SIZE);
	return 0;
}

int swap_begin(int home, int upper, char ret_prefix[SWAP_PREFIX_SIZE])
{
	auto_close int note = openat(home, NOTE, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	int r = note < 0 ? -errno : io_lock(note);

	if (r == 0)
		r = recover(home, upper, note);
	if (r == 0)
		r = note_down(home, note, ret_prefix);
	return r < 0 ? r : take_fd(note);
}

void swap_end(int home, int fd, bool is_clean)
{
	/* What cannot be taken away, or forgotten, the next recovery finds. */
	if (is_clean && io_remove_tree(home, PLACE, 0) == 0 && ftruncate(fd, 0) < 0)
		fsync(fd);
	close(fd);
}
