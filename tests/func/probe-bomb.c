/* tests/func/probe-bomb.c - bombs that end by themselves and say what stopped them
 *
 * Exit status 0: something stopped it; 1: it reached its own bound and nothing had. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/own.h"
#include "tests/func/probe.h"

#define MIB (1024UL * 1024)

struct shared {
	atomic_uint tried, made, refused; /* tried: what the bound is for */
	atomic_int why;
	atomic_bool stop;
	time_t until; /* CLOCK_MONOTONIC; nothing of a bomb lives longer, whoever is killed */
	atomic_ulong done;
};

static struct shared *shared_new(void)
{
	struct shared *s =
		mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return s == MAP_FAILED ? NULL : s;
}

static unsigned long number(int argc, char **argv, int i, unsigned long dflt)
{
	return argc > i && is_number(argv[i]) ? strtoul(argv[i], NULL, 10) : dflt;
}

static bool over(struct shared *s)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return atomic_load(&s->stop) || now.tv_sec >= s->until;
}

/* Each process forks until the bound is reached or the time is over. */
static void fork_on(struct shared *s, unsigned max)
{
	while (!over(s)) {
		pid_t pid;

		if (atomic_fetch_add(&s->tried, 1) >= max)
			break;
		pid = fork();
		if (pid < 0) {
			atomic_fetch_sub(&s->tried, 1);
			atomic_store(&s->why, errno);
			atomic_fetch_add(&s->refused, 1);
		} else if (pid == 0) {
			atomic_fetch_add(&s->made, 1);
		}
	}
	while (!over(s))
		usleep(10000);
	_exit(0);
}

/* Ends when it has been refused for SECONDS, or has not been refused at all. */
int cmd_forkbomb(int argc, char **argv)
{
	unsigned max = number(argc, argv, 1, 4000), seconds = number(argc, argv, 2, 2);
	struct shared *s = shared_new();
	struct timespec t = { .tv_nsec = 20000000 }, now;
	unsigned ticks = 0, made;
	pid_t first;

	if (!s)
		return 2;
	clock_gettime(CLOCK_MONOTONIC, &now);
	s->until = now.tv_sec + seconds + 3;
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	first = fork();
	if (first < 0) {
		printf("forkbomb: stopped by %s after 0 processes\n", err_name(errno));
		return 0;
	}
	if (first == 0)
		fork_on(s, max);
	while (ticks < seconds * 50 && atomic_load(&s->made) < max) {
		nanosleep(&t, NULL);
		ticks++;
	}
	made = atomic_load(&s->made);
	atomic_store(&s->stop, true);
	while (wait(NULL) > 0 || errno == EINTR)
		;
	if (!atomic_load(&s->refused)) {
		printf("forkbomb: not stopped after %u processes\n", made);
		return 1;
	}
	printf("forkbomb: stopped by %s after %u processes, %u refusals\n",
	       err_name(atomic_load(&s->why)), made, atomic_load(&s->refused));
	return 0;
}

/* Puts itself first in line for the OOM killer, then touches page after page. */
static void touch_all(struct shared *s, size_t size)
{
	auto_close int adj = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	char *p;

	if (write(adj, "1000", 4) != 4)
		atomic_store(&s->why, 0);
	p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		 -1, 0);
	if (p == MAP_FAILED)
		_exit(errno);
	for (size_t at = 0; at < size; at += 4096) {
		p[at] = 1;
		atomic_store(&s->done, at);
	}
	_exit(0);
}

int cmd_membomb(int argc, char **argv)
{
	size_t size = number(argc, argv, 1, 0) * MIB;
	struct shared *s = shared_new();
	unsigned long mib;
	int status;
	pid_t pid;

	if (!s || size == 0)
		return 2;
	pid = fork();
	if (pid == 0)
		touch_all(s, size);
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return 2;
	mib = atomic_load(&s->done) / MIB;
	if (WIFSIGNALED(status)) {
		printf("membomb: stopped by %s after %lu MiB\n", sigabbrev_np(WTERMSIG(status)),
		       mib);
		return 0;
	}
	if (WEXITSTATUS(status)) {
		printf("membomb: stopped by %s after 0 MiB\n", err_name(WEXITSTATUS(status)));
		return 0;
	}
	printf("membomb: not stopped after %zu MiB\n", size / MIB);
	return 1;
}

/* Opens pipes, which cost kernel memory, until refused; then keeps them until the pipe ends. */
static void open_all(struct shared *s, unsigned max, int until)
{
	char c;

	for (;;) {
		int p[2];

		if (atomic_load(&s->made) >= max)
			break;
		if (pipe(p) < 0) {
			atomic_store(&s->why, errno);
			atomic_fetch_add(&s->refused, 1);
			break;
		}
		atomic_fetch_add(&s->made, 2);
	}
	while (read(until, &c, 1) < 0 && errno == EINTR)
		;
	_exit(0);
}

/* Eight processes, because the limit of descriptors is one for each process. */
int cmd_fdbomb(int argc, char **argv)
{
	unsigned max = number(argc, argv, 1, 200000), n = 0;
	struct shared *s = shared_new();
	struct timespec t = { .tv_nsec = 20000000 };
	int p[2];

	if (!s || pipe(p) < 0)
		return 2;
	for (; n < 8; n++) {
		pid_t pid = fork();

		if (pid < 0)
			break;
		if (pid == 0) {
			close(p[1]);
			open_all(s, max, p[0]);
		}
	}
	for (int i = 0; i < 500 && atomic_load(&s->refused) < n && atomic_load(&s->made) < max; i++)
		nanosleep(&t, NULL);
	close(p[1]);
	while (wait(NULL) > 0 || errno == EINTR)
		;
	if (atomic_load(&s->refused) < n) {
		printf("fdbomb: not stopped after %u descriptors\n", atomic_load(&s->made));
		return 1;
	}
	printf("fdbomb: stopped by %s after %u descriptors in %u processes\n",
	       err_name(atomic_load(&s->why)), atomic_load(&s->made), n);
	return 0;
}

/* Files of one MiB until refused or the bound; returns errno or 0. */
static int fill(int dir, unsigned long max, struct shared *s)
{
	static char block[MIB];

	memset(block, 'x', sizeof(block));
	for (unsigned long i = 0; i < max; i++) {
		char name[32];
		ssize_t n;
		int fd;

		snprintf(name, sizeof(name), "file%lu", i);
		fd = openat(dir, name, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
		if (fd < 0)
			return errno;
		n = write(fd, block, sizeof(block));
		close(fd);
		if (n != (ssize_t)sizeof(block))
			return n < 0 ? errno : ENOSPC;
		atomic_store(&s->done, i + 1);
	}
	return 0;
}

static void unfill(int dir, unsigned long max)
{
	for (unsigned long i = 0; i <= max; i++) {
		char name[32];

		snprintf(name, sizeof(name), "file%lu", i);
		if (unlinkat(dir, name, 0) < 0 && errno == ENOENT)
			break;
	}
}

int cmd_filebomb(int argc, char **argv)
{
	unsigned long max = number(argc, argv, 2, 64), done;
	struct shared *s = shared_new();
	char dir[256];
	int fd, status;
	pid_t pid;

	if (!s || argc < 2)
		return 2;
	snprintf(dir, sizeof(dir), "%s/bomb-XXXXXX", argv[1]);
	fd = mkdtemp(dir) ? open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	if (fd < 0) {
		printf("filebomb: stopped by %s after 0 MiB\n", err_name(errno));
		return 0;
	}
	pid = fork();
	if (pid == 0)
		_exit(fill(fd, max, s));
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return 2;
	done = atomic_load(&s->done);
	unfill(fd, max);
	rmdir(dir);
	if (status == 0) {
		printf("filebomb: not stopped after %lu MiB\n", done);
		return 1;
	}
	printf("filebomb: stopped by %s after %lu MiB\n",
	       WIFSIGNALED(status) ? sigabbrev_np(WTERMSIG(status)) : err_name(WEXITSTATUS(status)),
	       done);
	return 0;
}
