/* tests/kern/cow-pool.t.c - objects, manifests, and what kills and crashes leave of them */
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cow-fs/manifest.h"
#include "cow-fs/mount.h"
#include "cow-fs/pool.h"
#include "cow-fs/selftest.h"
#include "lib/base/own.h"
#include "tests/kern/cow-fixture.h"

#define TRIERS 4

static struct digester *hash;

static int file_of(const char *text, size_t times)
{
	int fd = openat(fixture_dir, ".", O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);

	for (size_t i = 0; i < times; i++) {
		if (io_write_all(fd, text, strlen(text)) < 0)
			exit(99);
	}
	return fd;
}

static unsigned rules;

static void count_rule(const char *rule, int r, const char *why, void *arg)
{
	(void)arg;
	ok(r == 0, "%s%s%s", rule, why[0] ? ": " : "", why);
	rules++;
}

static int is_a_try(const char *name, void *arg)
{
	(void)arg;
	return strncmp(name, "probe", 5) == 0 || strncmp(name, "selftest", 8) == 0;
}

static void the_kernel_keeps_the_rules(void)
{
	int features = cowfs_probe(store.dir, &err);

	ok(features >= 0 && (features & 1 << COWFS_POOL), "probed");
	ok(cowfs_selftest(store.dir, (unsigned)features, count_rule, NULL, &err) == 0 && rules > 8,
	   "%u rules hold", rules);
	ok(io_each_entry(store.dir, is_a_try, NULL) == 0, "nothing is left of it");
}

static void many_try_at_once(void)
{
	auto_close int left = io_dir_at(store.dir, "probe.2147483647", 0700);
	bool all = true;

	for (int i = 0; i < TRIERS; i++) {
		if (fork() == 0) {
			for (int n = 0; n < 5; n++) {
				int r = cowfs_probe(store.dir, &err);

				if (r < 0 || !(r & 1 << COWFS_POOL))
					_exit(1);
			}
			_exit(0);
		}
	}
	for (int status, i = 0; i < TRIERS; i++)
		all &= wait(&status) > 0 && status == 0;
	ok(all, "%d processes that try at once find what one finds", TRIERS);
	ok(io_each_entry(store.dir, is_a_try, NULL) == 0, "nothing is left, of dead ones either");
}

static void names_are_the_digest(void)
{
	struct digest d, back;
	char path[OBJECT_PATH_SIZE], ref[OBJECT_REF_SIZE];
	uint64_t size;
	int fd = file_of("abc", 1);

	ok(digest_fd(hash, fd, 100, NULL, NULL, &d, &size) == 0 && size == 3, "hashed");
	object_ref(&d, ref);
	ok(strcmp(ref, "ba/ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad") == 0,
	   "the whole digest: %s", ref);
	object_path(&d, path);
	/* The digest in base64url starts so. */
	ok(strcmp(path, "u/ngWv48Bz-pBQUDeXa4") == 0, "its first 114 bits: %s", path);
	ok(object_from_ref("ba", ref + 3, &back) && memcmp(&d, &back, sizeof(d)) == 0, "and back");
	ok(!object_from_ref("bb", ref + 3, &back) && !object_from_ref("ba", "ba", &back),
	   "what is no digest is none");
	ok(digest_fd(hash, fd, 2, NULL, NULL, &d, &size) == -EFBIG, "a bound is kept");
	close(fd);
}

static void objects_are_added_once(void)
{
	struct cowfs_pool p;
	struct digest d, again;
	char ref[OBJECT_REF_SIZE], path[OBJECT_PATH_SIZE];
	uint64_t size;
	struct stat st;
	int fd = file_of("0123456789abcdef", 5000), r;

	r = cowfs_pool_open(&store, NULL, COWFS_POOL_ADD, &p, &err);
	ok(r == 0, "opened: %s", r < 0 ? err.why : "");
	ok(says(store.dir, "format", "2\n"), "the store has a pool from now on");
	ok(pool_add(&p, hash, fd, UINT64_MAX, &d, &size) == POOL_PENDING && size == 80000, "added");
	ok(pool_find(&p, &d) == POOL_PENDING, "not to be used yet");
	ok(pool_add(&p, hash, fd, UINT64_MAX, &again, &size) == POOL_PENDING &&
		   memcmp(&d, &again, sizeof(d)) == 0,
	   "another one that adds it has to wait for the disk as well");
	ok(pool_sync(&p) == 0 && pool_settle(&p, &d) == 0, "settled");
	ok(pool_find(&p, &d) == POOL_THERE, "there");
	ok(pool_settle(&p, &d) == 0, "settled twice is fine");
	ok(pool_add(&p, hash, fd, UINT64_MAX, &again, &size) == POOL_THERE, "added once");
	object_ref(&d, ref);
	object_path(&d, path);
	fstatat(p.ref, ref, &st, AT_SYMLINK_NOFOLLOW);
	ok(st.st_nlink == 2 && st.st_mode == (S_IFREG | 0444) && st.st_uid == 0, "two names");
	ok(stat_of(p.objects, path).st_ino == st.st_ino, "of one file");
	ok(pool_add(&p, hash, fd, 100, &again, &size) == -EFBIG, "what grew is left");
	close(fd);
	fd = openat(fixture_dir, ".", O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
	ftruncate(fd, 64 << 20);
	pwrite(fd, "end", 3, (64 << 20) - 3);
	ok(pool_add(&p, hash, fd, UINT64_MAX, &d, &size) == POOL_PENDING && size == 64 << 20,
	   "a file with a hole");
	object_ref(&d, ref);
	fstatat(p.ref, ref, &st, AT_SYMLINK_NOFOLLOW);
	ok(st.st_blocks < 64, "keeps it");
	pool_sync(&p);
	pool_settle(&p, &d);
	cowfs_pool_close(&p);
	close(fd);
}

static int count_object(const struct digest *d, const struct stat *st, void *arg)
{
	unsigned *n = arg;

	(void)d;
	n[st->st_nlink > 1]++;
	return 0;
}

/* A process that adds and is killed before its objects are settled. */
static void a_killed_run_leaves_nothing_that_is_used(void)
{
	unsigned n[2] = { 0 };
	struct cowfs_pool p;
	int ready[2];
	pid_t pid;
	char c;

	pipe2(ready, O_CLOEXEC);
	pid = fork();
	if (pid == 0) {
		struct digest d;
		uint64_t size;

		cowfs_pool_open(&store, NULL, COWFS_POOL_ADD, &p, &err);
		pool_add(&p, hash, file_of("killed", 2000), UINT64_MAX, &d, &size);
		write(ready[1], "x", 1);
		for (;;)
			pause();
	}
	read(ready[0], &c, 1);
	ok(cowfs_pool_open(&store, NULL, COWFS_POOL_TAKE, &p, &err) == -EBUSY &&
		   err.code == COS_E_IN_USE,
	   "nobody takes objects away meanwhile: %s", err.why);
	ok(cowfs_pool_open(&store, NULL, COWFS_POOL_ADD, &p, &err) == 0, "others may add");
	pool_each(&p, count_object, n);
	ok(n[0] == 1 && n[1] == 2, "one object is pending");
	cowfs_pool_close(&p);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	ok(cowfs_pool_open(&store, NULL, COWFS_POOL_ADD, &p, &err) == 0 && p.removed == 1,
	   "the next one takes it away");
	n[0] = n[1] = 0;
	pool_each(&p, count_object, n);
	ok(n[0] == 0 && n[1] == 2, "and nothing else");
	ok(entries_in(p.runs) == 1, "only its own note is there");
	cowfs_pool_close(&p);
	ok(cowfs_pool_open(&store, NULL, COWFS_POOL_TAKE, &p, &err) == 0, "now it can be taken");
	ok(entries_in(p.runs) == 0, "no note is left");
	cowfs_pool_close(&p);
	close(ready[0]);
	close(ready[1]);
}

/* After a power cut a name may be there and its data not. */
static void a_torn_object_is_never_used(void)
{
	struct cowfs_pool p;
	struct digest d, is;
	char ref[OBJECT_REF_SIZE];
	uint64_t size;
	int fd = file_of("torn", 3000), bad;

	digest_fd(hash, fd, UINT64_MAX, NULL, NULL, &d, &size);
	object_ref(&d, ref);
	cowfs_pool_open(&store, NULL, COWFS_POOL_ADD, &p, &err);
	ref[2] = '\0';
	mkdirat(p.ref, ref, 0755);
	ref[2] = '/';
	bad = openat(p.ref, ref, O_WRONLY | O_CREAT | O_EXCL, 0444);
	ok(pool_add(&p, hash, fd, UINT64_MAX, &is, &size) == -EUCLEAN,
	   "one that is pending and not what its name says is not built upon");
	close(bad);
	p.unsettled = true;
	cowfs_pool_close(&p);
	cowfs_pool_open(&store, NULL, COWFS_POOL_ADD, &p, &err);
	ok(p.removed == 1 && pool_find(&p, &d) == POOL_MISSING, "the next run removes it");
	ok(pool_add(&p, hash, fd, UINT64_MAX, &is, &size) == POOL_PENDING, "then it can be added");
	pool_sync(&p);
	pool_settle(&p, &is);
	ok(pool_drop(&p, &is) == 0 && pool_find(&p, &is) == POOL_MISSING, "and dropped");
	cowfs_pool_close(&p);
	close(fd);
}

static void domains_have_their_own(void)
{
	struct cowfs_pool p, q;
	struct digest d;
	uint64_t size;
	int fd = file_of("domain", 2000);

	ok(cowfs_pool_open(&store, "red", COWFS_POOL_ADD, &p, &err) == 0, "opened");
	ok(pool_add(&p, hash, fd, UINT64_MAX, &d, &size) == POOL_PENDING, "added");
	pool_sync(&p);
	pool_settle(&p, &d);
	ok(cowfs_pool_open(&store, NULL, COWFS_POOL_TAKE, &q, &err) == 0, "another lock");
	ok(pool_find(&q, &d) == POOL_MISSING, "other objects");
	cowfs_pool_close(&q);
	cowfs_pool_close(&p);
	ok(cowfs_pool_open(&store, "../x", COWFS_POOL_ADD, &p, &err) == -EINVAL,
	   "no path as a name");
	close(fd);
}

static struct digest numbered(unsigned i)
{
	struct digest d = { { 0 } };

	memcpy(d.b, &i, sizeof(i));
	memcpy(d.b + 8, &i, sizeof(i));
	return d;
}

static void manifests_are_supersets(void)
{
	int dir = io_dir_at(fixture_dir, "m", 0700), fd;
	struct digest_set s = { 0 }, t = { 0 };
	struct digest d[3000];
	bool all = true;

	for (unsigned i = 0; i < 3000; i++)
		d[i] = numbered(i);
	ok(manifest_read(dir, &s) == 0 && s.n == 0, "none is an empty one");
	ok(manifest_add(dir, &s, d, 2000) == 0 && s.n == 2000, "made");
	ok(manifest_add(dir, &s, d + 1000, 2000) == 0 && s.n == 3000, "added to");
	ok(stat_of(dir, MANIFEST).st_size == 16 + 3000 * 32, "each is there once");
	ok(manifest_read(dir, &t) == 0 && t.n == 3000, "read");
	for (unsigned i = 0; i < 3000; i++)
		all = all && digest_set_has(&t, &d[i]);
	ok(all, "all of them");
	digest_set_done(&t);
	fd = openat(dir, MANIFEST, O_WRONLY | O_APPEND);
	write(fd, "half a digest", 13);
	close(fd);
	ok(manifest_read(dir, &t) == 0 && t.n == 3000, "half a digest at the end is none");
	d[0] = numbered(99999);
	ok(manifest_add(dir, &t, d, 1) == 0 && stat_of(dir, MANIFEST).st_size == 16 + 3001 * 32,
	   "and is written over");
	digest_set_done(&t);
	ok(manifest_read(dir, &t) == 0 && t.n == 3001 && digest_set_has(&t, &d[0]), "whole again");
	digest_set_done(&t);
	digest_set_add(&t, &d[5]);
	ok(manifest_replace(dir, &t) == 0, "written anew");
	digest_set_done(&t);
	ok(manifest_read(dir, &t) == 0 && t.n == 1, "with one");
	digest_set_done(&t);
	fd = openat(dir, MANIFEST, O_WRONLY | O_TRUNC);
	write(fd, "cos mani", 8);
	ok(manifest_read(dir, &t) == 0 && t.n == 0, "one that was being begun is empty");
	ok(manifest_add(dir, &t, d, 1) == 0 && manifest_read(dir, &s) == 0, "and can be begun");
	pwrite(fd, "something else...", 16, 0);
	ok(manifest_read(dir, &t) == -EUCLEAN, "something else is refused");
	close(fd);
	digest_set_done(&s);
	digest_set_done(&t);
	close(dir);
}

int main(void)
{
	fixture_init();
	hash = digester_new();
	the_kernel_keeps_the_rules();
	many_try_at_once();
	names_are_the_digest();
	objects_are_added_once();
	a_killed_run_leaves_nothing_that_is_used();
	a_torn_object_is_never_used();
	domains_have_their_own();
	manifests_are_supersets();
	digester_free(hash);
	cowfs_close(&store);
	return tap_done();
}
