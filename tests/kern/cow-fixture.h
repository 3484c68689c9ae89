/* tests/kern/cow-fixture.h - a store of its own for a test, and tar archives made by hand
 *
 * Hostile archives are not what any library would write: headers are put together here byte by
 * byte. */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cow-fs/inner.h"
#include "cow-fs/store.h"
#include "lib/base/io.h"
#include "tests/tap.h"

static char fixture_path[] = "/tmp/cow-test.XXXXXX";
static int fixture_dir = -1; /* holds state/ and what a test needs besides */
static pid_t fixture_owner;
static struct cowfs store;
static struct cos_err err;

static inline void fixture_done(void)
{
	if (getpid() != fixture_owner)
		return;
	/* With all that is mounted below it. */
	while (umount2(fixture_path, MNT_DETACH) == 0)
		;
	io_remove_tree(AT_FDCWD, fixture_path, 0);
}

/* Ends the test when it cannot be run at all. */
static inline void fixture_init(void)
{
	int state;

	if (geteuid() != 0) {
		printf("1..0 # SKIP needs root\n");
		exit(0);
	}
	/* Mounts of this test are seen by nobody else and go with it. */
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
		printf("1..0 # SKIP no mount namespace\n");
		exit(0);
	}
	umask(022);
	fixture_owner = getpid();
	if (!mkdtemp(fixture_path) || atexit(fixture_done) != 0)
		exit(99);
	fixture_dir = open(fixture_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	state = io_dir_at(fixture_dir, "state", 0700);
	if (state < 0 || cowfs_open(state, &store, &err) < 0) {
		fprintf(stderr, "%s\n", err.why);
		exit(99);
	}
	close(state);
}

static inline int count_one(const char *name, void *arg)
{
	(void)name;
	++*(unsigned *)arg;
	return 0;
}

static inline unsigned entries_in(int dir)
{
	unsigned n = 0;

	io_each_entry(dir, count_one, &n);
	return n;
}

static inline bool has(int dir, const char *name)
{
	return faccessat(dir, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static inline struct stat stat_of(int dir, const char *name)
{
	struct stat st = { 0 };

	fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW);
	return st;
}

static inline bool says(int dir, const char *name, const char *text)
{
	char buf[256];

	return io_read_at(dir, name, buf, sizeof(buf)) >= 0 && strcmp(buf, text) == 0;
}

/* The top layer's tree of a template, -1 if there is none. */
static inline int tree_of(const char *template)
{
	struct cowfs_layers l;
	struct cos_err ignored;
	char path[COWFS_ID_SIZE + 8];

	if (cowfs_template_find(&store, template, &l, &ignored) < 0)
		return -1;
	snprintf(path, sizeof(path), "%s/root", l.id[0]);
	return openat(store.layers, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static inline void sweep_all(void)
{
	int n = 0;

	while (cowfs_sweep(&store, 0) == -EAGAIN && ++n < 100)
		;
}

/* ---- tar ---- */

struct tar {
	unsigned char *buf;
	size_t n, room;
};

struct member {
	const char *name, *link, *data;
	/* '0' file, '1' hard link, '2' symlink, '3' '4' devices, '5' directory, '6' fifo */
	char type;
	unsigned mode, uid, gid, major, minor;
	uint64_t mtime;
	const char *pax; /* "KEY=VALUE" for a header of its own before this one */
};

static inline void tar_raw(struct tar *t, const void *p, size_t n)
{
	size_t padded = (n + 511) / 512 * 512;

	if (t->n + padded > t->room) {
		t->room = (t->n + padded) * 2;
		t->buf = realloc(t->buf, t->room);
	}
	memset(t->buf + t->n, 0, padded);
	memcpy(t->buf + t->n, p, n);
	t->n += padded;
}

static inline void tar_octal(char *field, size_t size, uint64_t v)
{
	field[--size] = '\0';
	for (; size > 0; v /= 8)
		field[--size] = (char)('0' + v % 8);
}

static inline void tar_head(struct tar *t, const struct member *m, size_t size)
{
	struct {
		char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], sum[8], type;
		char link[100], magic[6], version[2], uname[32], gname[32], major[8], minor[8];
		char prefix[155], pad[12];
	} h = { .type = (char)(m->type ? m->type : '0'),
		.magic = "ustar",
		.version = { '0', '0' } };
	unsigned sum = 0;

	memcpy(h.name, m->name, strnlen(m->name, sizeof(h.name)));
	if (m->link)
		memcpy(h.link, m->link, strnlen(m->link, sizeof(h.link)));
	tar_octal(h.mode, sizeof(h.mode), m->mode ? m->mode : 0644);
	tar_octal(h.uid, sizeof(h.uid), m->uid);
	tar_octal(h.gid, sizeof(h.gid), m->gid);
	tar_octal(h.size, sizeof(h.size), size);
	tar_octal(h.mtime, sizeof(h.mtime), m->mtime);
	tar_octal(h.major, sizeof(h.major), m->major);
	tar_octal(h.minor, sizeof(h.minor), m->minor);
	memset(h.sum, ' ', sizeof(h.sum));
	for (size_t i = 0; i < sizeof(h); i++)
		sum += ((unsigned char *)&h)[i];
	tar_octal(h.sum, sizeof(h.sum) - 1, sum);
	tar_raw(t, &h, sizeof(h));
}

static inline void tar_pax(struct tar *t, const char *pair)
{
	size_t n = strlen(pair) + 2, digits = 1;
	char text[8192];

	/* The length counts its own digits. */
	for (size_t v = 10; n + digits >= v; v *= 10)
		digits++;
	snprintf(text, sizeof(text), "%zu %s\n", n + digits, pair);
	tar_head(t, &(struct member){ .name = "pax", .type = 'x' }, strlen(text));
	tar_raw(t, text, strlen(text));
}

static inline void tar_add(struct tar *t, const struct member *m)
{
	size_t size = m->data ? strlen(m->data) : 0;

	if (m->pax)
		tar_pax(t, m->pax);
	tar_head(t, m, size);
	if (size)
		tar_raw(t, m->data, size);
}

static inline void tar_end(struct tar *t)
{
	char zero[1024] = "";

	tar_raw(t, zero, sizeof(zero));
}

static inline int memory_file(const void *p, size_t n)
{
	int fd = memfd_create("cow-test", MFD_CLOEXEC);

	if (io_write_all(fd, p, n) < 0)
		exit(99);
	lseek(fd, 0, SEEK_SET);
	return fd;
}

/* The archive as a file; T is emptied. */
static inline int tar_file(struct tar *t)
{
	int fd = memory_file(t->buf, t->n);

	free(t->buf);
	*t = (struct tar){ 0 };
	return fd;
}
