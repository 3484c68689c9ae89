/* tests/kern/cow-live.t.c - files are unified while their guest appends to, maps and renames them
 *
 * COW_LIVE_OPS=N does N operations instead of a short run, COW_LIVE_FS=xfs or btrfs on another file
 * system than ext4. Each worker knows what its files have to
 * hold: the memory it shares with the test is not the guest's. */
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cow-fs/freeze.h"
#include "tests/kern/cow-guest.h"
#include "tests/kern/cow-image.h"

#define ID_A    "00000000000000000000000000000aaa"
#define WORKERS 3
#define FILES   1500
#define BASE    9000U
#define GROWN   64 /* records until a file is written anew */
#define STORED  16 /* values of a word: few contents, or the pool grows without end */

/* What a worker has done to a file, and what must be in it therefore. */
struct shadow {
	uint64_t records, mapped;
	unsigned seed;
};

static struct {
	uint64_t ops, lost;
	bool stop;
	struct shadow file[WORKERS][FILES];
	uint64_t done[WORKERS];
} * shared;

static struct freeze_group group = { .dir = -1 };
static char group_path[96];

/* ---- the guest ---- */

static void lost(const char *what, unsigned w, unsigned i)
{
	printf("# worker %u, file %u: %s\n", w, i, what);
	fflush(stdout);
	__atomic_add_fetch(&shared->lost, 1, __ATOMIC_RELAXED);
}

/* Record N of a file is its number. All that were appended must be there, in order. */
static void append(int dir, const char *name, unsigned w, unsigned i)
{
	struct shadow *s = &shared->file[w][i];
	int fd = openat(dir, name, O_RDWR | O_APPEND | O_CLOEXEC);
	uint64_t have[GROWN + 1], next = s->records;
	ssize_t n = pread(fd, have, sizeof(have), BASE);

	if (fd < 0 || n != (ssize_t)(s->records * sizeof(*have)))
		lost("appended records", w, i);
	for (ssize_t k = 0; k < n / (ssize_t)sizeof(*have); k++) {
		if (have[k] != (uint64_t)k)
			lost("a record", w, i);
	}
	if (write(fd, &next, sizeof(next)) == sizeof(next))
		s->records++;
	close(fd);
}

/* The mapping outlives its descriptor. */
static void map_and_store(int dir, const char *name, unsigned w, unsigned i)
{
	struct shadow *s = &shared->file[w][i];
	int fd = openat(dir, name, O_RDWR | O_CLOEXEC);
	uint64_t *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	close(fd);
	if (map == MAP_FAILED) {
		lost("mmap", w, i);
		return;
	}
	if (map[1] != s->mapped % STORED)
		lost("what was stored", w, i);
	for (int k = 0; k < 3; k++) {
		map[1] = ++s->mapped % STORED;
		if (k < 2 && i % 8 == 0)
			sched_yield();
	}
	munmap(map, 4096);
}

static void write_anew(int dir, const char *name, unsigned w, unsigned i)
{
	struct shadow *s = &shared->file[w][i];
	char tmp[32];

	snprintf(tmp, sizeof(tmp), ".tmp%u", w);
	put_data(dir, tmp, s->seed, BASE, i % 5 ? 0644 : 0755);
	if (renameat(dir, tmp, dir, name) < 0)
		lost("rename", w, i);
	s->records = 0;
	s->mapped = 0;
	{
		int fd = openat(dir, name, O_WRONLY | O_CLOEXEC);

		pwrite(fd, &s->mapped, sizeof(s->mapped), 8);
		close(fd);
	}
}

static void work(int m, unsigned w)
{
	unsigned random = w * 77 + 1;
	char name[32];
	int dir;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (setns(guest_userns, CLONE_NEWUSER) < 0 || setresgid(0, 0, 0) < 0 ||
	    setresuid(0, 0, 0) < 0)
		_exit(98);
	snprintf(name, sizeof(name), "w%u", w);
	mkdirat(m, name, 0755);
	dir = openat(m, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (unsigned i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		shared->file[w][i].seed = i % 5; /* the same in all */
		write_anew(dir, name, w, i);
	}
	while (!__atomic_load_n(&shared->stop, __ATOMIC_RELAXED)) {
		unsigned i;

		random = random * 1103515245 + 12345;
		i = (random >> 8) % FILES;
		snprintf(name, sizeof(name), "f%u", i);
		if (shared->file[w][i].records >= GROWN)
			write_anew(dir, name, w, i);
		else if (random >> 30)
			append(dir, name, w, i);
		else
			map_and_store(dir, name, w, i);
		__atomic_add_fetch(&shared->ops, 1, __ATOMIC_RELAXED);
		shared->done[w]++;
	}
	_exit(0);
}

static pid_t start_worker(int m, unsigned w)
{
	pid_t pid = fork();
	char self[16];

	if (pid != 0)
		return pid;
	snprintf(self, sizeof(self), "%d", getpid());
	if (io_write_at(group.dir, "cgroup.procs", self, strlen(self)) < 0)
		_exit(97);
	work(m, w);
	_exit(1);
}

/* ---- the host ---- */

static void group_done(void)
{
	if (getpid() != fixture_owner || group.dir < 0)
		return;
	freeze_group(false, &group);
	rmdir(group_path);
}

static bool group_init(void)
{
	static const char *const places[] = { "/sys/fs/cgroup/freezer", "/sys/fs/cgroup/unified",
					      "/sys/fs/cgroup" };

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		snprintf(group_path, sizeof(group_path), "%s/cos-test-live-%d", places[i],
			 getpid());
		if (mkdir(group_path, 0755) < 0)
			continue;
		if (freeze_group_open(group_path, &group) == 0)
			return atexit(group_done) == 0;
		rmdir(group_path);
	}
	return false;
}

static bool is_right(int m, unsigned w, unsigned i)
{
	const struct shadow *s = &shared->file[w][i];
	uint64_t have[GROWN + 1], mapped = 0;
	char path[32];
	bool good;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "w%u/f%u", w, i);
	fd = openat(m, path, O_RDONLY | O_CLOEXEC);
	n = pread(fd, have, sizeof(have), BASE);
	good = fd >= 0 && n == (ssize_t)(s->records * sizeof(*have)) &&
	       pread(fd, &mapped, sizeof(mapped), 8) == sizeof(mapped) &&
	       mapped == s->mapped % STORED;
	for (ssize_t k = 0; good && k < n / (ssize_t)sizeof(*have); k++)
		good = have[k] == (uint64_t)k;
	close(fd);
	return good;
}

static unsigned count_wrong(int m)
{
	unsigned wrong = 0;

	for (unsigned w = 0; w < WORKERS; w++) {
		for (unsigned i = 0; i < FILES; i++)
			wrong += !is_right(m, w, i);
	}
	return wrong;
}

static void nothing_is_lost(uint64_t want)
{
	struct cowfs_unified n, sum = { 0 };
	pid_t pid[WORKERS];
	unsigned runs = 0;
	int m, r = 0, status;
	struct cowfs_live live = { .freeze = freeze_group, .arg = &group };
	const struct cowfs_unify u = { .min_bytes = 4096, .live = &live };

	make_guest("g", "t", NULL);
	fchownat(upper_of("g"), ".", 0, 0, AT_EMPTY_PATH);
	m = live.merged = mount_guest("g");
	for (unsigned w = 0; w < WORKERS; w++)
		pid[w] = start_worker(m, w);
	/* On a busy host the operations may be over before the second run is. */
	while (r == 0 && runs < 100000 &&
	       (__atomic_load_n(&shared->ops, __ATOMIC_RELAXED) < want || runs < 2 ||
		(sum.swapped <= 100 && runs < 100))) {
		memset(&n, 0, sizeof(n));
		r = cowfs_unify(&store, "g", &u, &n, &err);
		sum.swapped += n.swapped;
		sum.busy += n.busy;
		sum.batches += n.batches;
		sum.frozen_usec += n.frozen_usec;
		if (n.frozen_max_usec > sum.frozen_max_usec)
			sum.frozen_max_usec = n.frozen_max_usec;
		runs++;
		if (kill(pid[0], 0) < 0 || __atomic_load_n(&shared->lost, __ATOMIC_RELAXED) > 100)
			break;
	}
	__atomic_store_n(&shared->stop, true, __ATOMIC_RELAXED);
	for (unsigned w = 0; w < WORKERS; w++) {
		waitpid(pid[w], &status, 0);
		ok(WIFEXITED(status) && WEXITSTATUS(status) == 0, "worker %u: %llu operations", w,
		   (unsigned long long)shared->done[w]);
	}
	ok(r == 0 && runs > 1, "%u runs: %s", runs, r < 0 ? err.why : "good");
	printf("# %llu operations, %llu swaps, %llu busy, %llu batches, frozen %llu us (longest "
	       "%llu us, %llu us for each swap)\n",
	       (unsigned long long)shared->ops, (unsigned long long)sum.swapped,
	       (unsigned long long)sum.busy, (unsigned long long)sum.batches,
	       (unsigned long long)sum.frozen_usec, (unsigned long long)sum.frozen_max_usec,
	       (unsigned long long)(sum.frozen_usec / (sum.swapped ? sum.swapped : 1)));
	ok(sum.swapped > 100, "files were swapped while they were written");
	ok(shared->lost == 0, "nothing was lost, as the guest sees it");
	ok(count_wrong(m) == 0, "nor as the host does");
	close(m);
	m = mount_guest("g");
	ok(m >= 0 && count_wrong(m) == 0, "nor when it is started again");
	close(m);
}

static void another_root_is_refused(void)
{
	struct cowfs_live live = { .freeze = freeze_group, .arg = &group };
	const struct cowfs_unify u = { .live = &live };
	struct cowfs_unified n = { 0 };
	int up, m, other;

	make_guest("h", "t", NULL);
	make_guest("i", "t", NULL);
	up = upper_of("h");
	put_data(up, "f", 1, 20000, 0644);
	m = mount_guest("h");
	other = mount_guest("i");
	live.merged = other;
	let_settle();
	ok(cowfs_unify(&store, "h", &u, &n, &err) < 0 && err.code == COS_E_STATE &&
		   !is_stub(up, "f"),
	   "the root of another guest: %s", err.why);
	ok(has_data(m, "f", 1, 20000) && entries_in(up) == 2, "nothing was done");
	live.merged = m;
	ok(cowfs_unify(&store, "h", &u, &n, &err) == 0 && n.swapped == 1 && is_stub(up, "f"),
	   "its own");
	ok(has_data(m, "f", 1, 20000) && entries_in(up) == 2, "the guest sees the same");
	close(m);
	close(other);
	close(up);
}

/* Killed while the guest runs: it goes on, and its next start finds nothing odd. */
static void a_kill_leaves_the_guest_whole(void)
{
	struct cowfs_live live = { .freeze = freeze_group, .arg = &group };
	const struct cowfs_unify u = { .live = &live };
	struct cowfs_unified n = { 0 };
	unsigned good = 0, odd = 0;
	char name[16];

	for (unsigned round = 0; round < 12; round++) {
		int up, m;
		pid_t pid;

		snprintf(name, sizeof(name), "k%u", round);
		make_guest(name, "t", NULL);
		up = upper_of(name);
		for (unsigned i = 0; i < 100; i++) {
			char file[16];

			snprintf(file, sizeof(file), "f%u", i);
			put_data(up, file, 500 * round + i, 9000, 0644);
		}
		m = live.merged = mount_guest(name);
		let_settle();
		pid = fork();
		if (pid == 0)
			_exit(cowfs_unify(&store, name, &u, &n, &err) < 0);
		usleep(round * 500);
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		freeze_group(false, &group);
		close(m);
		m = mount_guest(name);
		for (unsigned i = 0; i < 100; i++) {
			char file[16];

			snprintf(file, sizeof(file), "f%u", i);
			good += has_data(m, file, 500 * round + i, 9000);
		}
		odd += entries_in(up) != 101; /* and what hides the pool */
		close(m);
		close(up);
	}
	ok(good == 1200 && odd == 0, "%u of 1200 files are whole, %u directories are odd", good,
	   odd);
}

int main(void)
{
	const char *asked = getenv("COW_LIVE_OPS");
	int root;

	fixture_init();
	if (!image_fixture(getenv("COW_LIVE_FS") ?: "ext4", 1ULL << 30))
		return 0;
	guests_init();
	if (!group_init()) {
		printf("1..0 # SKIP no freezer\n");
		return 0;
	}
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	root = make_layer(ID_A);
	close(root);
	make_template("t", ID_A);
	nothing_is_lost(asked ? strtoull(asked, NULL, 10) : 40000);
	another_root_is_refused();
	a_kill_leaves_the_guest_whole();
	cowfs_close(&store);
	return tap_done();
}
