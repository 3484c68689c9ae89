/* cosd/hostwide.c - what instances on one host must not share */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cosd/hostwide.h"
#include "lib/base/io.h"
#include "lib/base/own.h"
#include "lib/base/str.h"

#define HOST_DIR  "/run/cos-host"
#define IDS_END   0xffff0000ULL
#define RANGE     65536ULL
#define SUBID_MAX (1U << 20)

static int open_dir(struct cos_err *err)
{
	int fd;

	if (mkdir(HOST_DIR, 0700) < 0 && errno != EEXIST)
		return cos_fail(err, COS_E_KERNEL, errno, "mkdir " HOST_DIR);
	fd = open(HOST_DIR, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? cos_fail(err, COS_E_KERNEL, errno, "open " HOST_DIR) : fd;
}

/* Whoever leaves removes the file under its lock: a lock counts only on the file that has the name.
 */
static int open_lock(int dir, const char *name)
{
	for (;;) {
		auto_close int fd =
			openat(dir, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
		struct stat ours, named;
		int r;

		if (fd < 0)
			return -errno;
		r = io_lock(fd);
		if (r < 0)
			return r;
		if (fstat(fd, &ours) == 0 && fstatat(dir, name, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
		    ours.st_ino == named.st_ino)
			return take_fd(fd);
	}
}

static void instance_name(char *buf, size_t size, const char *instance)
{
	str_fmt(buf, size, "instance.%s", instance);
}

static void ids_name(char *buf, size_t size, uint64_t base, uint64_t count)
{
	str_fmt(buf, size, "ids.%" PRIu64 "-%" PRIu64, base, count);
}

void hostwide_release(const char *instance, uint64_t base, uint64_t count)
{
	struct cos_err err;
	auto_close int dir = open_dir(&err);
	char name[80];

	if (dir < 0)
		return;
	instance_name(name, sizeof(name), instance);
	unlinkat(dir, name, 0);
	ids_name(name, sizeof(name), base, count);
	unlinkat(dir, name, 0);
}

int hostwide_instance(const char *instance, struct cos_err *err)
{
	auto_close int dir = open_dir(err);
	char name[80];
	int fd;

	if (dir < 0)
		return dir;
	instance_name(name, sizeof(name), instance);
	fd = open_lock(dir, name);
	if (fd == -EWOULDBLOCK)
		return cos_advise(err,
				  cos_fail(err, COS_E_IN_USE, 0, "instance %s of cosd runs already",
					   instance),
				  "choose another name with --instance, or stop the other one");
	return fd < 0 ? cos_fail(err, COS_E_KERNEL, -fd, "lock " HOST_DIR "/%s", name) : fd;
}

static bool overlaps(uint64_t a, uint64_t na, uint64_t b, uint64_t nb)
{
	return a < b + nb && b < a + na;
}

/* A line of /etc/subuid: NAME:FIRST:COUNT. */
static bool subids_overlap(const char *path, uint64_t base, uint64_t n)
{
	auto_free char *text = NULL;
	char *save = NULL;

	if (io_slurp_at(AT_FDCWD, path, SUBID_MAX, &text) < 0)
		return false;
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		uint64_t first, count;
		char *p = strchr(line, ':');

		if (p && sscanf(p + 1, "%" SCNu64 ":%" SCNu64, &first, &count) == 2 &&
		    overlaps(base, n, first, count))
			return true;
	}
	return false;
}

static int is_shown(const char *name, void *arg)
{
	(void)arg;
	return name[0] != '.';
}

/* Guests may still run with the ids of a daemon that was killed. */
static bool has_guests(const char *runtime_dir)
{
	char path[1100];
	auto_close int dir = -1;

	str_fmt(path, sizeof(path), "%s/guests", runtime_dir);
	dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return io_each_entry(dir, is_shown, NULL) > 0;
}

/* Whether somebody has NAME; what nobody has any more is removed. OWN: its block was ours before.
 */
static bool is_taken(int dir, const char *name, const char *runtime_dir, bool *ret_own)
{
	auto_close int fd = openat(dir, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	char owner[1024];

	*ret_own = false;
	if (fd < 0)
		return false;
	if (io_lock(fd) < 0)
		return true;
	if (io_read_fd(fd, owner, sizeof(owner)) > 0) {
		*ret_own = strcmp(owner, runtime_dir) == 0;
		if (*ret_own)
			return false;
		if (has_guests(owner))
			return true;
	}
	unlinkat(dir, name, 0);
	return false;
}

/* What is looked for among the locks of blocks. */
struct search {
	int dir;
	const char *runtime_dir;
	uint64_t base, n;
	bool has_guests; /* there are some of RUNTIME_DIR */
};

static bool is_block(const char *name, uint64_t *ret_base, uint64_t *ret_count)
{
	return sscanf(name, "ids.%" SCNu64 "-%" SCNu64, ret_base, ret_count) == 2;
}

static int is_in_the_way(const char *name, void *arg)
{
	const struct search *s = arg;
	uint64_t first, count;
	bool own;

	return is_block(name, &first, &count) && overlaps(s->base, s->n, first, count * RANGE) &&
	       is_taken(s->dir, name, s->runtime_dir, &own);
}

/* Whether BASE..BASE+N is free of all other instances' blocks. */
static bool is_free(int dir, const char *runtime_dir, uint64_t base, uint64_t n)
{
	struct search s = { .dir = dir, .runtime_dir = runtime_dir, .base = base, .n = n };

	return io_each_entry(dir, is_in_the_way, &s) == 0;
}

static int take(int dir, const char *runtime_dir, uint64_t base, uint64_t count)
{
	char name[80];
	int fd, r;

	ids_name(name, sizeof(name), base, count);
	fd = open_lock(dir, name);
	if (fd < 0)
		return fd;
	r = ftruncate(fd, 0) < 0 || lseek(fd, 0, SEEK_SET) < 0
		    ? -errno
		    : io_write_all(fd, runtime_dir, strlen(runtime_dir));
	if (r < 0)
		close(fd);
	return r < 0 ? r : fd;
}

static int is_own(const char *name, void *arg)
{
	struct search *s = arg;
	uint64_t count;
	bool own = false;

	if (is_block(name, &s->base, &count))
		is_taken(s->dir, name, s->runtime_dir, &own);
	if (!own || count == s->n || s->has_guests)
		return own;
	unlinkat(s->dir, name, 0);
	return 0;
}

/* The block that this runtime directory had before, if its file is still there. While guests run it
 * begins where it did, also if it is of another size: their slots count from there. */
static bool find_own(int dir, const char *runtime_dir, uint64_t count, uint64_t *ret)
{
	struct search s = { .dir = dir,
			    .runtime_dir = runtime_dir,
			    .n = count,
			    .has_guests = has_guests(runtime_dir) };

	if (io_each_entry(dir, is_own, &s) <= 0)
		return false;
	*ret = s.base;
	return true;
}

static int find_block(int dir, const char *runtime_dir, uint64_t base, uint64_t count,
		      uint32_t *ret_base, struct cos_err *err)
{
	uint64_t n = count * RANGE, own = 0;
	int fd;

	if (find_own(dir, runtime_dir, count, &own)) {
		if (own + n > IDS_END || !is_free(dir, runtime_dir, own, n))
			return cos_advise(err,
					  cos_fail(err, COS_E_IN_USE, 0,
						   "guests run with ids from %" PRIu64
						   " on, where there is no room for %" PRIu64
						   " ranges",
						   own, count),
					  "stop them, or set id.count in cosd.json to what it was");
		*ret_base = (uint32_t)own;
		fd = take(dir, runtime_dir, own, count);
		return fd < 0 ? cos_fail(err, COS_E_KERNEL, -fd, "lock the block of user ids") : fd;
	}
	if (subids_overlap("/etc/subuid", base, n) || subids_overlap("/etc/subgid", base, n))
		return cos_advise(err,
				  cos_fail(err, COS_E_IN_USE, 0,
					   "ids %" PRIu64 "..%" PRIu64
					   " overlap /etc/subuid or /etc/subgid",
					   base, base + n - 1),
				  "set id.base in cosd.json to a range that is free");
	for (; base + n <= IDS_END; base += n) {
		if (!is_free(dir, runtime_dir, base, n) || subids_overlap("/etc/subuid", base, n) ||
		    subids_overlap("/etc/subgid", base, n))
			continue;
		fd = take(dir, runtime_dir, base, count);
		*ret_base = (uint32_t)base;
		return fd < 0 ? cos_fail(err, COS_E_KERNEL, -fd, "lock the block of user ids") : fd;
	}
	return cos_advise(err,
			  cos_fail(err, COS_E_ADMISSION, 0,
				   "no block of %" PRIu64 " ranges of user ids is free", count),
			  "lower id.count or id.base in cosd.json");
}

int hostwide_ids(const char *runtime_dir, uint64_t base, uint64_t count, uint32_t *ret_base,
		 struct cos_err *err)
{
	auto_close int dir = open_dir(err);
	int fd;

	if (dir < 0)
		return dir;
	if (flock(dir, LOCK_EX) < 0) /* one at a time chooses; held for a moment */
		return cos_fail(err, COS_E_KERNEL, errno, "lock " HOST_DIR);
	fd = find_block(dir, runtime_dir, base, count, ret_base, err);
	flock(dir, LOCK_UN);
	return fd;
}
