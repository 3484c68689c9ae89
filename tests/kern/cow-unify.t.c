/* tests/kern/cow-unify.t.c - files of guests that do not run become stubs, and stay what they were
 */
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "cow-fs/inner.h"
#include "cow-fs/manifest.h"
#include "tests/kern/cow-guest.h"

#define ID_A "00000000000000000000000000000aaa"
#define BIG  50000UL

static struct cowfs_unified n;

static int unify(const char *guest)
{
	const struct cowfs_unify u = { 0 };

	let_settle();
	memset(&n, 0, sizeof(n));
	return cowfs_unify(&store, guest, &u, &n, &err);
}

static void equal_files_become_one(void)
{
	int a, b, m;
	struct stat st, other;

	make_guest("a", "t", NULL);
	make_guest("b", "t", NULL);
	a = upper_of("a");
	b = upper_of("b");
	put_data(a, "one", 1, BIG, 0644);
	put_data(b, "uno", 1, BIG, 0755);
	put_data(a, "small", 2, 4000, 0644);
	put_data(a, "two", 3, BIG, 0644);
	mkdirat(b, "dir", 0755);
	put_data(b, "dir/two", 3, BIG, 04711);
	fchownat(b, "dir/two", 12, 34, 0);
	fchmodat(b, "dir/two", 04711, 0);
	ok(unify("a") == 0 && n.swapped == 2 && n.added == 2 && n.found == 0,
	   "the first guest's files go into the pool");
	ok(unify("b") == 0 && n.swapped == 2 && n.added == 0 && n.found == 2 &&
		   n.freed_bytes >= 2 * BIG,
	   "the second one's are there");
	ok(is_stub(a, "one") && is_stub(b, "uno") && is_stub(b, "dir/two") && !is_stub(a, "small"),
	   "stubs, but for small ones");
	ok(stat_of(b, "uno").st_blocks <= 8, "that take no space");
	ok(unify("b") == 0 && n.swapped == 0 && n.candidates == 0, "once more is nothing to do");
	m = mount_guest("b");
	ok(m >= 0, "mounted: %s", m < 0 ? err.why : "");
	ok(has_data(m, "uno", 1, BIG) && has_data(m, "dir/two", 3, BIG), "the content is there");
	st = stat_of(m, "dir/two");
	ok(st.st_mode == (S_IFREG | 04711) && st.st_uid == GUEST_IDS + 12 &&
		   st.st_gid == GUEST_IDS + 34 && st.st_size == BIG && st.st_nlink == 1,
	   "so are the looks");
	other = stat_of(m, "uno");
	ok(st.st_ino != other.st_ino && st.st_mtim.tv_sec == 1000000000, "times and own inodes");
	close(m);
	close(a);
	close(b);
}

static void a_write_leaves_the_others_alone(void)
{
	int m = mount_guest("b"), k = mount_guest("a"), fd = openat(m, "uno", O_RDWR);

	ok(pwrite(fd, "X", 1, 100) == 1, "written");
	close(fd);
	ok(!has_data(m, "uno", 1, BIG) && has_data(k, "one", 1, BIG), "only that guest's changed");
	ok(!is_stub(upper_of("b"), "uno"), "it is a file of its own again");
	close(m);
	close(k);
}

static void the_guest_cannot_see_how(void)
{
	int m = mount_guest("a");
	char list[256], v[64];
	int fd = openat(m, "one", O_RDONLY);
	ssize_t len = flistxattr(fd, list, sizeof(list));
	bool shown = false;

	for (ssize_t at = 0; at < len; at += (ssize_t)strlen(list + at) + 1)
		shown = shown || strncmp(list + at, "trusted.overlay", 15) == 0;
	ok(!shown && fgetxattr(fd, "trusted.overlay.redirect", v, sizeof(v)) < 0,
	   "attributes of the overlay are hidden");
	ok(!has(m, OBJECT_FOLDER), "so is the pool");
	close(fd);
	close(m);
}

/* As the guest's root: with its ids and its capabilities only. */
static void be_guest_root(void)
{
	if (setns(guest_userns, CLONE_NEWUSER) < 0 || setresgid(0, 0, 0) < 0 ||
	    setresuid(0, 0, 0) < 0)
		_exit(98);
}

static int in_guest(int (*fn)(int m), int m)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		be_guest_root();
		_exit(fn(m));
	}
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int use_the_name(int m)
{
	return mkdirat(m, OBJECT_FOLDER, 0755) < 0 || mkdirat(m, OBJECT_FOLDER "/u", 0755) < 0 ||
	       linkat(m, "one", m, "one-more", 0) < 0 || renameat(m, "two", m, "due") < 0 ||
	       fsetxattr(openat(m, "one", O_RDONLY), "trusted.overlay.redirect", "/x", 2, 0) == 0;
}

static int leave_the_name(int m)
{
	return unlinkat(m, OBJECT_FOLDER "/u", AT_REMOVEDIR) < 0 ||
	       unlinkat(m, OBJECT_FOLDER, AT_REMOVEDIR) < 0;
}

static void the_guest_may_use_the_pools_name(void)
{
	int m = mount_guest("a");

	ok(in_guest(use_the_name, m) == 0, "the guest makes /.c, links and renames stubs");
	ok(has_data(m, "one", 1, BIG) && has_data(m, "one-more", 1, BIG) &&
		   has_data(m, "due", 3, BIG),
	   "and reads them as before");
	close(m);
	m = mount_guest("a");
	ok(m >= 0 && has_data(m, "one", 1, BIG) && has_data(m, "due", 3, BIG),
	   "also when it was started again");
	ok(in_guest(leave_the_name, m) == 0 && !has(m, OBJECT_FOLDER), "taken away again");
	close(m);
	m = mount_guest("a");
	ok(!has(m, OBJECT_FOLDER) && has_data(m, "one-more", 1, BIG), "the pool stays hidden");
	close(m);
}

static void attributes_stay(void)
{
	static const char cap[] = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00"
				  "\x00\x00\x00\x00\x00\x00\x00\x00";
	char got[32];
	int up, m, fd;

	make_guest("x", "t", NULL);
	up = upper_of("x");
	put_data(up, "f", 7, BIG, 0755);
	fd = openat(up, "f", O_WRONLY);
	fsetxattr(fd, "user.note", "hello", 5, 0);
	ok(fsetxattr(fd, "security.capability", cap, 20, 0) == 0, "a file with capabilities");
	close(fd);
	put_data(up, "flagged", 8, BIG, 0644);
	fd = openat(up, "flagged", O_RDONLY);
	fsetxattr(fd, "trusted.overlay.protattr", "i", 1, 0);
	close(fd);
	ok(unify("x") == 0 && n.swapped == 1 && n.unable == 1, "swapped, but for one with flags");
	m = mount_guest("x");
	fd = openat(m, "f", O_RDONLY);
	ok(fgetxattr(fd, "user.note", got, sizeof(got)) == 5 && memcmp(got, "hello", 5) == 0,
	   "user attributes");
	ok(fgetxattr(fd, "security.capability", got, sizeof(got)) >= 20,
	   "and capabilities are there");
	close(fd);
	close(m);
	close(up);
}

static void what_must_not_be_shared_is_not(void)
{
	const char *const more[] = { "data/*.db", NULL };
	const struct cowfs_unify u = { .exclude = more };
	int up;

	make_guest("s", "t", NULL);
	up = upper_of("s");
	mkdirat(up, "etc", 0755);
	mkdirat(up, "etc/ssh", 0755);
	mkdirat(up, "data", 0755);
	put_data(up, "etc/shadow", 1, BIG, 0600);
	put_data(up, "etc/ssh/ssh_host_key", 1, BIG, 0600);
	put_data(up, "data/x.db", 1, BIG, 0600);
	put_data(up, "linked", 1, BIG, 0600);
	linkat(up, "linked", up, "twice", 0);
	mknodat(up, "gone", S_IFCHR, makedev(0, 0));
	mknodat(up, "fifo", S_IFIFO | 0600, 0);
	symlinkat("/etc/shadow", up, "sym");
	put_data(up, "sparse", 1, 4096, 0600);
	ftruncate(openat(up, "sparse", O_WRONLY), 1ULL << 40);
	let_settle();
	ok(cowfs_unify(&store, "s", &u, &n, &err) == 0 && n.swapped == 0 && n.excluded == 3,
	   "keys, patterns, hard links, sparse and special files stay as they are");
	ok(entries_in(store.tmp) == 0 && !has(home_of("s"), "sw"), "nothing is left of it");
	close(up);
}

static void open_files_stay(void)
{
	int up, fd, readers[2];
	void *map;

	make_guest("o", "t", NULL);
	up = upper_of("o");
	put_data(up, "written", 1, BIG, 0644);
	put_data(up, "mapped", 1, BIG, 0644);
	put_data(up, "read", 1, BIG, 0644);
	put_data(up, "lib.so.1", 1, BIG, 0644);
	fd = openat(up, "written", O_WRONLY);
	map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, openat(up, "mapped", O_RDWR), 0);
	readers[0] = openat(up, "read", O_RDONLY);
	readers[1] = openat(up, "lib.so.1", O_RDONLY);
	ok(unify("o") == 0 && n.swapped == 1 && n.busy == 3,
	   "open for writing or read by somebody: left, but for a library");
	ok(is_stub(up, "lib.so.1"), "which may have readers");
	munmap(map, 4096);
	close(fd);
	close(readers[0]);
	close(readers[1]);
	put_data(up, "fresh", 1, BIG, 0644);
	n.busy = 0;
	ok(cowfs_unify(&store, "o", &(struct cowfs_unify){ 0 }, &n, &err) == 0 && n.busy >= 1,
	   "changed just now: left");
	close(up);
}

static void nothing_is_done_dry(void)
{
	const struct cowfs_unify u = { .dry_run = true };
	int up, before, after;

	make_guest("d", "t", NULL);
	up = upper_of("d");
	put_data(up, "one", 1, BIG, 0644);
	put_data(up, "new", 77, BIG, 0644);
	put_data(up, "new2", 77, BIG, 0644);
	before = (int)entries_in(home_of("d"));
	let_settle();
	ok(cowfs_unify(&store, "d", &u, &n, &err) == 0 && n.swapped == 3 && n.found == 1 &&
		   n.added == 1,
	   "a dry run tells what would be");
	after = (int)entries_in(home_of("d"));
	ok(!is_stub(up, "one") && before == after, "and does nothing");
	close(up);
}

static void who_runs_is_not_taken_for_stopped(void)
{
	int m, up;

	make_guest("r", "t", NULL);
	up = upper_of("r");
	put_data(up, "f", 1, BIG, 0644);
	m = mount_guest("r");
	ok(unify("r") == -EBUSY && err.code == COS_E_IN_USE && !is_stub(up, "f"),
	   "a mounted guest is refused: %s", err.why);
	close(m);
	ok(unify("r") == 0 && n.swapped == 1, "unmounted, it is not");
	close(up);
}

static void domains_do_not_mix(void)
{
	struct cowfs_pool p;
	int up, m;

	make_guest("red1", "t", "red");
	make_guest("red2", "t", "red");
	up = upper_of("red1");
	put_data(up, "one", 1, BIG, 0644);
	put_data(upper_of("red2"), "one", 1, BIG, 0644);
	ok(unify("red1") == 0 && n.found == 0 && n.added == 1,
	   "not found in another domain's pool");
	ok(unify("red2") == 0 && n.found == 1, "found in its own");
	m = mount_guest("red2");
	ok(has_data(m, "one", 1, BIG) && !has(m, OBJECT_FOLDER), "and read");
	close(m);
	cowfs_pool_open(&store, "red", COWFS_POOL_TAKE, &p, &err);
	ok(p.lock >= 0, "the domain's lock is its own");
	cowfs_pool_close(&p);
	close(up);
}

/* The guest's names are bytes, its directories as deep as it likes. */
static void hostile_trees_are_walked(void)
{
	int up, at;
	char name[256];

	make_guest("h", "t", NULL);
	up = upper_of("h");
	put_data(up, "a\nb\x01\xff", 1, BIG, 0644);
	memset(name, 'n', 255);
	name[255] = '\0';
	put_data(up, name, 1, BIG, 0644);
	put_data(up, ".cos-sw-0123456789abcdef-0", 1, BIG, 0644);
	symlinkat("/", up, "root");
	at = dup(up);
	for (int i = 0; i < 1000; i++) {
		int next = io_dir_at(at, "deep", 0755);

		if (i == 100 || i == 900)
			put_data(at, "f", 1, BIG, 0644);
		close(at);
		at = next;
	}
	close(at);
	at = io_dir_at(up, "wide", 0755);
	for (int i = 0; i < 20000; i++) {
		snprintf(name, sizeof(name), "%d", i);
		mknodat(at, name, S_IFREG | 0600, 0);
	}
	close(at);
	ok(unify("h") == 0 && n.swapped == 4 && n.too_deep == 1,
	   "odd names, wide and deep directories: %d, %d", (int)n.swapped, (int)n.too_deep);
	at = mount_guest("h");
	ok(has_data(at, "a\nb\x01\xff", 1, BIG), "read");
	close(at);
	close(up);
}

static unsigned kill_at;

static int kill_me(const struct cowfs_unified *count, void *arg)
{
	(void)count;
	(void)arg;
	if (kill_at-- == 0)
		raise(SIGKILL);
	return 0;
}

#define KILLED_FILES 150
#define ROUNDS       24

static void make_killed(const char *name, unsigned seed)
{
	char file[16];
	int up;

	make_guest(name, "t", NULL);
	up = upper_of(name);
	for (unsigned i = 0; i < KILLED_FILES; i++) {
		snprintf(file, sizeof(file), "f%u", i);
		put_data(up, file, seed + i, 9000, 0644);
	}
	close(up);
}

static bool is_whole(const char *name, unsigned seed)
{
	int m = mount_guest(name);
	bool whole = m >= 0;
	char file[16];

	if (m < 0)
		printf("# %s\n", err.why);
	for (unsigned i = 0; i < KILLED_FILES; i++) {
		snprintf(file, sizeof(file), "f%u", i);
		whole = whole && has_data(m, file, seed + i, 9000);
	}
	close(m);
	return whole;
}

/* Killed at each place where it can be told to end, and at other times. */
static void a_kill_anywhere_harms_nothing(void)
{
	const struct cowfs_unify u = { .progress = kill_me };
	unsigned kills = 0, good = 0, done = 0;
	char name[16];

	for (unsigned round = 0; round < ROUNDS; round++) {
		int status;
		pid_t pid;

		snprintf(name, sizeof(name), "k%u", round);
		make_killed(name, 1000 + round / 2 * 1000);
		let_settle();
		pid = fork();
		if (pid == 0) {
			kill_at = round < 5 ? round : 1000;
			_exit(cowfs_unify(&store, name, &u, &n, &err) < 0);
		}
		if (round >= 5) {
			usleep((round - 4) * 400);
			kill(pid, SIGKILL);
		}
		waitpid(pid, &status, 0);
		kills += WIFSIGNALED(status);
		good += is_whole(name, 1000 + round / 2 * 1000);
		done += unify(name) == 0 && is_stub(upper_of(name), "f9") &&
			!has(home_of(name), "sw") && is_whole(name, 1000 + round / 2 * 1000);
	}
	ok(good == ROUNDS && kills >= 5, "files are whole after each of %u kills", kills);
	ok(done == ROUNDS, "and after the next run, which goes on");
}

static void two_at_once_do_not_meet(void)
{
	pid_t pid[2];
	int status[2], m;
	bool whole = true;
	char name[16];

	make_guest("p1", "t", NULL);
	make_guest("p2", "t", NULL);
	for (int g = 0; g < 2; g++) {
		int up = upper_of(g ? "p2" : "p1");

		for (unsigned i = 0; i < 300; i++) {
			snprintf(name, sizeof(name), "f%u", i);
			put_data(up, name, 5000 + i, 9000, 0644);
		}
		close(up);
	}
	let_settle();
	for (int g = 0; g < 2; g++) {
		pid[g] = fork();
		if (pid[g] == 0)
			_exit(unify(g ? "p2" : "p1") < 0);
	}
	for (int g = 0; g < 2; g++)
		waitpid(pid[g], &status[g], 0);
	ok(status[0] == 0 && status[1] == 0, "two guests are unified at once");
	m = mount_guest("p2");
	for (unsigned i = 0; i < 300; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		whole = whole && has_data(m, name, 5000 + i, 9000);
	}
	ok(whole, "their files are whole");
	close(m);
	pid[0] = fork();
	if (pid[0] == 0) {
		int home = home_of("p1"), note = openat(home, "unify", O_RDWR);

		_exit(io_lock(note) == 0 && unify("p1") == -EBUSY ? 0 : 1);
	}
	waitpid(pid[0], status, 0);
	ok(status[0] == 0, "one guest by two is refused");
}

static void a_start_waits_for_a_batch(void)
{
	int home = home_of("a"), m;

	flock(home, LOCK_EX);
	m = mount_guest("a");
	ok(m == -EBUSY && err.code == COS_E_STATE, "a guest worked on for long does not start: %s",
	   err.why);
	close(home);
	m = mount_guest("a");
	ok(m >= 0, "then it does");
	close(m);
}

int main(void)
{
	int root;

	fixture_init();
	guests_init();
	root = make_layer(ID_A);
	put_data(root, "template", 42, BIG, 0644);
	close(root);
	make_template("t", ID_A);
	equal_files_become_one();
	a_write_leaves_the_others_alone();
	the_guest_cannot_see_how();
	the_guest_may_use_the_pools_name();
	attributes_stay();
	what_must_not_be_shared_is_not();
	open_files_stay();
	nothing_is_done_dry();
	who_runs_is_not_taken_for_stopped();
	domains_do_not_mix();
	hostile_trees_are_walked();
	a_kill_anywhere_harms_nothing();
	two_at_once_do_not_meet();
	a_start_waits_for_a_batch();
	cowfs_close(&store);
	return tap_done();
}
