/* tests/kern/cow-guest.h - guests for a test: a template, roots on it, and these mounted */
#pragma once

#include "cow-fs/mount.h"
#include "cow-fs/pool.h"
#include "cow-fs/root.h"
#include "cow-fs/unify.h"
#include "tests/kern/cow-fixture.h"

#define GUEST_IDS (1U << 20)

static unsigned features;
static int guest_userns = -1;

/* A layer as an import leaves it, without one; its tree's descriptor. */
static inline int make_layer(const char *id)
{
	int dir = io_dir_at(store.layers, id, 0700), root = io_dir_at(dir, "root", 0755);
	static const char meta[] = "{\"files\":2,\"bytes\":7,\"created\":5,\"source\":\"tar\"}";

	io_replace_at(dir, "meta.json", meta, strlen(meta), 0600, false);
	close(dir);
	return root;
}

static inline void make_template(const char *name, const char *id)
{
	char file[160], text[160];

	snprintf(file, sizeof(file), "%s.json", name);
	snprintf(text, sizeof(text), "{\"layers\":[\"%s\"],\"created\":5,\"arch\":\"x86_64\"}", id);
	io_replace_at(store.templates, file, text, strlen(text), 0600, false);
}

static inline void guests_init(void)
{
	int r = cowfs_probe(store.dir, &err);

	if (r < 0 || !(r & 1 << COWFS_POOL)) {
		printf("1..0 # SKIP this kernel cannot unify: %s\n", err.why);
		exit(0);
	}
	features = (unsigned)r;
	guest_userns = cowfs_userns_make(GUEST_IDS);
	if (guest_userns < 0)
		exit(99);
}

static inline int make_guest(const char *name, const char *template, const char *domain)
{
	const struct cowfs_source from = { .template = template, .domain = domain };

	return cowfs_root_make(&store, name, &from, false, &err);
}

/* The guest's upper directory. */
static inline int upper_of(const char *name)
{
	char path[80];

	snprintf(path, sizeof(path), "%s/up", name);
	return openat(store.guests, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static inline int home_of(const char *name)
{
	return openat(store.guests, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* The guest's root mounted with mapped owners; it is closed to unmount it. */
static inline int mount_guest(const char *name)
{
	struct cowfs_root root;
	struct cowfs_mount m;
	int r = cowfs_root_open(&store, name, &root, &err);

	if (r < 0)
		return r;
	m = cowfs_root_mount(&root);
	m.userns = guest_userns;
	m.id_base = GUEST_IDS;
	r = cowfs_mount(&m, features, &err);
	cowfs_root_close(&root);
	return r;
}

/* SIZE bytes that are the same for the same SEED, durable times in the past. */
static inline void put_data(int dir, const char *name, unsigned seed, size_t size, mode_t mode)
{
	const struct timespec old[2] = { { .tv_sec = 1000000000 }, { .tv_sec = 1000000000 } };
	int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	unsigned char buf[4096];

	for (size_t at = 0; at < size; at += sizeof(buf)) {
		size_t n = size - at < sizeof(buf) ? size - at : sizeof(buf);

		for (size_t i = 0; i < n; i++) {
			seed = seed * 1103515245 + 12345;
			buf[i] = (unsigned char)(seed >> 16);
		}
		if (io_write_all(fd, buf, n) < 0)
			exit(99);
	}
	fchmod(fd, mode);
	futimens(fd, old);
	close(fd);
}

static inline bool has_data(int dir, const char *name, unsigned seed, size_t size)
{
	int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
	unsigned char buf[4096];
	bool good = fd >= 0;
	size_t at = 0;
	ssize_t n;

	while (good && (n = read(fd, buf, sizeof(buf))) > 0) {
		for (ssize_t i = 0; i < n; i++) {
			seed = seed * 1103515245 + 12345;
			good = good && buf[i] == (unsigned char)(seed >> 16);
		}
		at += (size_t)n;
	}
	close(fd);
	return good && at == size;
}

static inline bool is_stub(int dir, const char *name)
{
	int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	char at[OBJECT_PATH_SIZE];
	int r = fd < 0 ? fd : stub_look(fd, at);

	close(fd);
	return r == STUB_OURS;
}

/* Until a file's times are old enough to be trusted. */
static inline void let_settle(void)
{
	const struct timespec t = { .tv_nsec = 40000000 };

	nanosleep(&t, NULL);
}
