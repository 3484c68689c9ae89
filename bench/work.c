/* bench/work.c - what measured guests and bare groups do
 *
 *	work [-g DIR]... COMMAND ARGUMENT...
 *
 *	stay					waits for a signal
 *	spin PROCS FROM END			uses CPU
 *	stall IDLE-MSEC				idles, then runs until it is held back for the
 *						first time: "CPU-USEC STALL-END-USEC", the second
 *						counted from the first
 *	read|write FILE BLOCK PROCS FROM END	direct I/O at random blocks; tells how many were
 *						done between FROM and END
 *	bomb END				forks
 *	eat END					takes memory until it is killed, again and again
 *	run TIMES PROGRAM			tells for each run the nanoseconds from fork to
 *						its end
 *	count-none|count-cpu|count-memory COUNT END
 *	count-reads COUNT END FILE
 *	count-trips COUNT END ADDRESS PORT CPU	what it says, see bench/work-count.c
 *	send COUNT END ADDRESS			small datagrams
 *	receive COUNT END
 *	same steps|copies N ROUNDS		see bench/work-same.c
 *
 * -g joins the control group DIR. FROM and END are nanoseconds of CLOCK_MONOTONIC, which guests and
 * host share. Static: it runs in a guest that has nothing else. */
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench/work.h"

#define PROCS_MAX  64
#define STALL_NSEC 100000000U /* longer than another's turn on the CPU */
#define EAT_STEP   (1U << 20)
#define ALIGNMENT  4096U
#define DEPTH_MAX  64

uint64_t work_now(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000000000U + (uint64_t)ts.tv_nsec;
}

int work_tell(const char *what)
{
	fprintf(stderr, "work: %s: %s\n", what, strerror(errno));
	return 1;
}

uint64_t work_number(const char *s)
{
	return strtoull(s, NULL, 10);
}

static int join(const char *group)
{
	char path[512];
	int fd;

	snprintf(path, sizeof(path), "%s/cgroup.procs", group);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	return fd >= 0 && write(fd, "0", 1) == 1 ? 0 : work_tell(path);
}

/* ---- CPU ---- */

static int stay(char **arg)
{
	(void)arg;
	return pause();
}

static void sleep_until(uint64_t nsec)
{
	const struct timespec ts = { (time_t)(nsec / 1000000000U), (long)(nsec % 1000000000U) };

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) != 0)
		;
}

static int spin(char **arg)
{
	uint64_t procs = work_number(arg[0]), end = work_number(arg[2]);

	for (uint64_t i = 1; i < procs && i < PROCS_MAX; i++) {
		if (fork() == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			break;
		}
	}
	sleep_until(work_number(arg[1]));
	while (work_now(CLOCK_MONOTONIC) < end)
		;
	while (wait(NULL) > 0)
		;
	return 0;
}

static int stall(char **arg)
{
	uint64_t idle = work_number(arg[0]) * 1000000U, start, last, t, used;
	const struct timespec ts = { (time_t)(idle / 1000000000U), (long)(idle % 1000000000U) };

	nanosleep(&ts, NULL);
	used = work_now(CLOCK_PROCESS_CPUTIME_ID);
	start = last = work_now(CLOCK_MONOTONIC);
	while ((t = work_now(CLOCK_MONOTONIC)) - last < STALL_NSEC)
		last = t;
	used = work_now(CLOCK_PROCESS_CPUTIME_ID) - used;
	printf("%llu %llu %llu\n", (unsigned long long)used / 1000,
	       (unsigned long long)(last - start) / 1000, (unsigned long long)(t - start) / 1000);
	return 0;
}

/* ---- disk ---- */

uint64_t work_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

struct disk {
	int fd;
	size_t block;
	uint64_t blocks, random;
	uint64_t from, end, done;
	aio_context_t aio;
	unsigned flying;
};

static void disk_aim(struct disk *d, struct iocb *cb)
{
	cb->aio_offset = (long long)(work_random(&d->random) % d->blocks * d->block);
}

static int disk_init(struct disk *d, struct iocb *cb, unsigned depth, bool writes)
{
	for (unsigned i = 0; i < depth; i++) {
		void *buf;

		if (posix_memalign(&buf, ALIGNMENT, d->block) != 0)
			return work_tell("memory");
		cb[i] = (struct iocb){ .aio_fildes = (unsigned)d->fd,
				       .aio_lio_opcode = writes ? IOCB_CMD_PWRITE : IOCB_CMD_PREAD,
				       .aio_buf = (uintptr_t)buf,
				       .aio_nbytes = d->block };
	}
	return syscall(SYS_io_setup, depth, &d->aio) < 0 ? work_tell("io_setup") : 0;
}

static int disk_submit(struct disk *d, struct iocb *cb)
{
	disk_aim(d, cb);
	d->flying++;
	return syscall(SYS_io_submit, d->aio, 1L, &cb) == 1 ? 0 : work_tell("io_submit");
}

/* Keeps all of CB in flight until the end. */
static int disk_loop(struct disk *d, struct iocb *cb, unsigned depth)
{
	struct io_event done[DEPTH_MAX];
	int r = 0;

	for (unsigned i = 0; i < depth && r == 0; i++)
		r = disk_submit(d, &cb[i]);
	while (r == 0 && d->flying > 0) {
		long n = syscall(SYS_io_getevents, d->aio, 1L, (long)DEPTH_MAX, done, NULL);
		uint64_t t = work_now(CLOCK_MONOTONIC);

		for (long i = 0; i < n && r == 0; i++) {
			d->flying--;
			d->done += t >= d->from && t < d->end;
			if (done[i].res != (long long)d->block)
				r = work_tell("short or failed");
			else if (t < d->end)
				r = disk_submit(d, (struct iocb *)(uintptr_t)done[i].obj);
		}
	}
	return r;
}

static int disk(char **arg)
{
	static struct iocb cb[DEPTH_MAX];
	struct disk d = { .block = work_number(arg[2]),
			  .from = work_number(arg[4]),
			  .end = work_number(arg[5]),
			  .random = work_now(CLOCK_MONOTONIC) | 1 };
	uint64_t depth = work_number(arg[3]);
	struct stat st;

	d.fd = open(arg[1], O_RDWR | O_DIRECT | O_CLOEXEC);
	if (d.fd < 0 || fstat(d.fd, &st) < 0)
		return work_tell(arg[1]);
	d.blocks = d.block ? (uint64_t)st.st_size / d.block : 0;
	if (d.blocks == 0 || depth < 1 || depth > DEPTH_MAX)
		return work_tell("block or depth");
	if (disk_init(&d, cb, (unsigned)depth, strcmp(arg[0], "write") == 0) != 0 ||
	    disk_loop(&d, cb, (unsigned)depth) != 0)
		return 1;
	printf("%llu\n", (unsigned long long)d.done);
	return 0;
}

/* ---- hogs ---- */

static int bomb(char **arg)
{
	uint64_t end = work_number(arg[0]);

	while (work_now(CLOCK_MONOTONIC) < end)
		fork(); /* what fails is tried again */
	return 0;
}

static int eat_until(uint64_t end)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (work_now(CLOCK_MONOTONIC) < end) {
		char *p = mmap(NULL, EAT_STEP, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

		if (p == MAP_FAILED)
			return 1;
	}
	return 0;
}

static int eat(char **arg)
{
	uint64_t end = work_number(arg[0]);

	while (work_now(CLOCK_MONOTONIC) < end) {
		pid_t pid = fork();

		if (pid == 0)
			return eat_until(end);
		waitpid(pid, NULL, 0);
	}
	return 0;
}

/* ---- latency ---- */

static int run(char **arg)
{
	uint64_t times = work_number(arg[0]);
	char *argv[] = { arg[1], NULL };

	for (uint64_t i = 0; i < times; i++) {
		uint64_t t = work_now(CLOCK_MONOTONIC);
		int status = 0;
		pid_t pid;

		errno = posix_spawn(&pid, arg[1], NULL, NULL, argv, environ);
		if (errno != 0 || waitpid(pid, &status, 0) < 0 || status != 0)
			return work_tell(arg[1]);
		printf("%llu\n", (unsigned long long)(work_now(CLOCK_MONOTONIC) - t));
	}
	return 0;
}

/* ---- */

static const struct command {
	const char *name;
	int args; /* with_name: the name is the first of them */
	bool with_name;
	int (*fn)(char **arg);
} commands[] = {
	{ "stay", 0, false, stay },
	{ "spin", 3, false, spin },
	{ "stall", 1, false, stall },
	{ "read", 6, true, disk },
	{ "write", 6, true, disk },
	{ "bomb", 1, false, bomb },
	{ "eat", 1, false, eat },
	{ "run", 2, false, run },
	{ "same", 3, false, same },
	{ "count-none", 2, false, count_none },
	{ "count-cpu", 2, false, count_cpu },
	{ "count-memory", 2, false, count_memory },
	{ "count-reads", 3, false, count_reads },
	{ "count-trips", 5, false, count_trips },
	{ "send", 3, false, count_sent },
	{ "receive", 2, false, count_received },
};

int main(int argc, char **argv)
{
	int i = 1;

	for (; i + 1 < argc && strcmp(argv[i], "-g") == 0; i += 2) {
		if (join(argv[i + 1]) != 0)
			return 1;
	}
	for (size_t c = 0; i < argc && c < sizeof(commands) / sizeof(commands[0]); c++) {
		int first = commands[c].with_name ? i : i + 1;

		if (strcmp(argv[i], commands[c].name) == 0 && argc - first == commands[c].args)
			return commands[c].fn(&argv[first]);
	}
	fprintf(stderr, "usage: work [-g DIR]... COMMAND ARGUMENT..., see bench/work.c\n");
	return 2;
}
