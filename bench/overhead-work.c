/* bench/overhead-work.c - does the operations of bench/overhead, on the host or in a guest
 *
 *	overhead-work serve CPU
 *	overhead-work exit
 *
 * "serve" runs on that CPU, reads lines "ROW OPS" (numbers) and answers each with "NSEC OPS", or
 * with a negative errno for NSEC. All paths are relative to where it was started. "exit" is what
 * the rows with exec run. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench/overhead-work.h"

#define PAGE       4096UL
#define RING_MAX   16U
#define RING_BYTES 65536U
#define FDS        100

static unsigned char area[RING_BYTES];
volatile unsigned work_sink;

int64_t work_nsec(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

int64_t work_repeat(int (*op)(void), unsigned ops)
{
	int64_t from = 0;
	unsigned warm = ops / 4 + 1;

	for (unsigned i = 0; i < warm + ops; i++) {
		int r;

		if (i == warm)
			from = work_nsec();
		r = op();
		if (r < 0)
			return r;
	}
	return work_nsec() - from;
}

/* ---- calls and signals ---- */

static int op_call(void)
{
	return syscall(SYS_getppid) < 0 ? -errno : 0;
}

int64_t batch_call(unsigned *ops)
{
	return work_repeat(op_call, *ops);
}

static void on_user(int sig)
{
	(void)sig;
}

static int op_signal(void)
{
	return kill(getpid(), SIGUSR1) < 0 ? -errno : 0;
}

int64_t batch_signal(unsigned *ops)
{
	struct sigaction sa = { .sa_handler = on_user };

	sigaction(SIGUSR1, &sa, NULL);
	return work_repeat(op_signal, *ops);
}

static struct {
	volatile unsigned left;
	volatile char *page;
} prot;

/* The write is tried again each time the handler returns. */
static void on_fault(int sig)
{
	(void)sig;
	prot.left--;
	if (prot.left == 0)
		mprotect((void *)prot.page, PAGE, PROT_READ | PROT_WRITE);
}

static void prot_faults(unsigned n)
{
	mprotect((void *)prot.page, PAGE, PROT_READ);
	prot.left = n;
	*prot.page = 1;
}

int64_t batch_prot(unsigned *ops)
{
	struct sigaction sa = { .sa_handler = on_fault };
	int64_t from;
	void *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return -errno;
	sigaction(SIGSEGV, &sa, NULL);
	prot.page = p;
	*prot.page = 0;
	prot_faults(*ops / 4 + 1);
	from = work_nsec();
	prot_faults(*ops);
	from = work_nsec() - from;
	signal(SIGSEGV, SIG_DFL);
	munmap(p, PAGE);
	return from;
}

static struct {
	fd_set set;
	int max;
} wait_for;

static int op_select(void)
{
	struct timeval now = { 0 };
	fd_set in = wait_for.set;

	return select(wait_for.max + 1, &in, NULL, NULL, &now) < 0 ? -errno : 0;
}

int64_t batch_select(unsigned *ops)
{
	int p[2], fd[FDS];
	int64_t r;

	if (pipe2(p, O_CLOEXEC) < 0)
		return -errno;
	FD_ZERO(&wait_for.set);
	for (int i = 0; i < FDS; i++) {
		fd[i] = dup(p[0]);
		if (fd[i] >= 0)
			FD_SET(fd[i], &wait_for.set);
		wait_for.max = fd[i];
	}
	r = wait_for.max < 0 ? -EMFILE : work_repeat(op_select, *ops);
	for (int i = 0; i < FDS; i++)
		close(fd[i]);
	close(p[0]);
	close(p[1]);
	return r;
}

/* ---- processes that hand a byte round ---- */

struct ring {
	unsigned n;
	size_t bytes;        /* that each member reads before it hands on */
	int in[RING_MAX];    /* what member i reads from */
	int out[RING_MAX];   /* what it writes to */
	pid_t pid[RING_MAX]; /* [0] is this process */
};

static int hand_on(const struct ring *g, unsigned i)
{
	unsigned sum = 0;
	char c;

	if (read(g->in[i], &c, 1) != 1)
		return -EPIPE;
	for (size_t at = 0; at < g->bytes; at += sizeof(unsigned)) {
		unsigned v;

		memcpy(&v, area + at, sizeof(v));
		sum += v;
	}
	work_sink = sum;
	return write(g->out[i], &c, 1) == 1 ? 0 : -EPIPE;
}

static void member(const struct ring *g, unsigned i)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	memset(area, (int)i, g->bytes); /* pages of its own */
	while (hand_on(g, i) == 0)
		;
	_exit(0);
}

static void ring_close(struct ring *g)
{
	for (unsigned i = 1; i < g->n; i++) {
		if (g->pid[i] > 0)
			kill(g->pid[i], SIGKILL);
	}
	for (unsigned i = 0; i < g->n; i++) {
		if (g->pid[i] > 0)
			waitpid(g->pid[i], NULL, 0);
		close(g->in[i]);
		if (g->out[i] != g->in[i])
			close(g->out[i]);
	}
}

static int ring_fork(struct ring *g)
{
	memset(area, 0, g->bytes);
	for (unsigned i = 1; i < g->n; i++) {
		g->pid[i] = fork();
		if (g->pid[i] == 0)
			member(g, i);
		if (g->pid[i] < 0)
			return -errno;
	}
	return 0;
}

static int ring_pipes(struct ring *g)
{
	for (unsigned i = 0; i < g->n; i++) {
		int p[2];

		if (pipe2(p, O_CLOEXEC) < 0)
			return -errno;
		g->out[i] = p[1];
		g->in[(i + 1) % g->n] = p[0];
	}
	return 0;
}

/* One operation is the way from one member to the next. */
static int64_t ring_run(struct ring *g, unsigned *ops)
{
	unsigned rounds = *ops / g->n + 1, warm = rounds / 4 + 1;
	int64_t from = 0;
	int r = write(g->out[0], "", 1) == 1 ? 0 : -EPIPE;

	for (unsigned i = 0; i < warm + rounds && r == 0; i++) {
		if (i == warm)
			from = work_nsec();
		r = hand_on(g, 0);
	}
	*ops = rounds * g->n;
	return r < 0 ? r : work_nsec() - from;
}

static int64_t batch_ring(unsigned *ops, unsigned n, size_t bytes)
{
	struct ring g = { .n = n, .bytes = bytes };
	int64_t r;

	memset(g.in, -1, sizeof(g.in));
	memset(g.out, -1, sizeof(g.out));
	r = ring_pipes(&g);
	if (r == 0)
		r = ring_fork(&g);
	if (r == 0)
		r = ring_run(&g, ops);
	ring_close(&g);
	return r;
}

int64_t batch_ctx_2(unsigned *ops)
{
	return batch_ring(ops, 2, 0);
}

int64_t batch_ctx_8(unsigned *ops)
{
	return batch_ring(ops, 8, 16384);
}

int64_t batch_ctx_16(unsigned *ops)
{
	return batch_ring(ops, 16, 65536);
}

/* There and back is one operation. */
int64_t batch_pipe(unsigned *ops)
{
	unsigned hops = *ops * 2;
	int64_t r = batch_ring(&hops, 2, 0);

	*ops = hops / 2;
	return r;
}

int64_t batch_local(unsigned *ops)
{
	struct ring g = { .n = 2 };
	unsigned hops = *ops * 2;
	int s[2];
	int64_t r;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s) < 0)
		return -errno;
	g.in[0] = g.out[0] = s[0];
	g.in[1] = g.out[1] = s[1];
	r = ring_fork(&g);
	if (r == 0)
		r = ring_run(&g, &hops);
	ring_close(&g);
	*ops = hops / 2;
	return r;
}

/* ---- new processes ---- */

static int wait_for_child(pid_t pid)
{
	int status;

	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		return -errno;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -ECHILD;
}

static int op_fork(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	return wait_for_child(pid);
}

static int op_exec(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		execl("bin/overhead-work", "overhead-work", "exit", (char *)NULL);
		_exit(127);
	}
	return wait_for_child(pid);
}

static int op_sh(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		execl("bin/sh", "sh", "-c", "bin/overhead-work exit", (char *)NULL);
		_exit(127);
	}
	return wait_for_child(pid);
}

int64_t batch_fork(unsigned *ops)
{
	return work_repeat(op_fork, *ops);
}

int64_t batch_exec(unsigned *ops)
{
	return work_repeat(op_exec, *ops);
}

int64_t batch_sh(unsigned *ops)
{
	return work_repeat(op_sh, *ops);
}

/* ---- orders ---- */

static work_batch *const batches[] = {
#define X(id, fn, ...) batch_##fn,
	OVERHEAD_ROWS(X)
#undef X
};

static int pin(const char *cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((unsigned)atoi(cpu), &set);
	return sched_setaffinity(0, sizeof(set), &set) < 0 ? -errno : 0;
}

static int serve(void)
{
	char line[64];

	mkdir(WORK_DIR, 0755);
	while (fgets(line, sizeof(line), stdin)) {
		unsigned row, ops;
		int64_t r = -EINVAL;

		if (sscanf(line, "%u %u", &row, &ops) == 2 &&
		    row < sizeof(batches) / sizeof(batches[0]) && ops > 0)
			r = batches[row](&ops);
		printf("%lld %u\n", (long long)r, ops);
		fflush(stdout);
	}
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "exit") == 0)
		return 0;
	if (argc != 3 || strcmp(argv[1], "serve") != 0)
		return 2;
	if (pin(argv[2]) < 0)
		return 3;
	return serve();
}
