/* cosd/acct.c - the accountant's process: takes samples, commits them, has queries answered */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cosd/acct.h"
#include "lib/base/clock.h"
#include "lib/base/io.h"
#include "lib/base/log.h"
#include "lib/base/loop.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "lib/kern/cap.h"
#include "lib/kern/proc.h"

#define READERS_MAX     8
#define SAMPLES_MAX     65536
#define COMMIT_USEC     (USEC_PER_SEC / 2) /* after the last samples, should their end not come */
#define TEND_USEC       (10 * USEC_PER_SEC)
#define TEND_AGAIN_USEC (USEC_PER_SEC / 5)
#define OPEN_AGAIN_USEC (2 * USEC_PER_SEC)
#define ANSWER_SEC      60
#define DAMAGED         3 /* a reader's exit status */

struct accountant {
	struct loop loop;
	struct loop_source sock, signals;
	struct loop_timer commit, tend, reopen;
	struct ledger_conf conf;
	char *dir;
	int lock;
	struct ledger *ledger;         /* NULL: it could not be opened */
	struct ledger_sample *samples; /* not committed yet */
	unsigned n;
	uint64_t tick;
	int fault; /* what the worker was told last */
	unsigned readers;
	union {
		struct acct_head head;
		struct acct_conf conf;
		struct acct_samples samples;
		struct acct_query query;
	} in;
};

/* --- to the worker --- */

static void tell(struct accountant *a, enum acct_op op, int fault, const char *text)
{
	struct acct_note n = { .head = { .op = op, .tick = a->tick }, .fault = fault };

	str_fmt(n.text, sizeof(n.text), "%s", text);
	send(a->sock.fd, &n, sizeof(n), MSG_NOSIGNAL);
}

static void tell_fault(struct accountant *a, int r, const struct cos_err *err)
{
	if (a->fault == r)
		return;
	a->fault = r;
	log_say(LOG_ERROR, "%s", err->why);
	tell(a, ACCT_FAULT, -r, err->why);
}

static void tell_moved(struct accountant *a, char *moved)
{
	if (!moved)
		return;
	log_say(LOG_ERROR, "the ledger was damaged: it is in %s, and a new one begins", moved);
	tell(a, ACCT_MOVED, 0, moved);
	free(moved);
}

/* --- the ledger --- */

static void open_ledger(struct accountant *a)
{
	struct cos_err err;
	char *moved = NULL;
	int r;

	if (a->ledger || !a->dir)
		return;
	r = ledger_open(a->dir, &a->conf, &a->ledger, &moved, &err);
	if (r < 0) {
		tell_fault(a, r, &err);
		loop_timer_set(&a->loop, &a->reopen, OPEN_AGAIN_USEC);
		return;
	}
	tell_moved(a, moved);
	loop_timer_set(&a->loop, &a->tend, 0);
}

static void reopen_fire(struct loop_timer *t)
{
	open_ledger(container_of(t, struct accountant, reopen));
}

/* R: a failure of the ledger. */
static void failed(struct accountant *a, int r, const struct cos_err *why)
{
	struct cos_err err = *why;
	char *moved = NULL;

	if (r == -EUCLEAN) {
		log_say(LOG_ERROR, "%s", why->why);
		r = ledger_replace(a->ledger, &moved, &err);
		tell_moved(a, moved);
	}
	if (r < 0)
		tell_fault(a, r, &err);
	if (r < 0 && r != -ENOSPC && r != -EBUSY) {
		ledger_close(a->ledger);
		a->ledger = NULL;
		loop_timer_set(&a->loop, &a->reopen, OPEN_AGAIN_USEC);
	}
}

static void commit(struct accountant *a)
{
	struct cos_err err;
	int r;

	loop_timer_clear(&a->commit);
	if (a->n == 0 || !a->ledger) {
		a->n = 0;
		return;
	}
	r = ledger_take(a->ledger, a->samples, a->n, &err);
	if (r == -EUCLEAN) {
		failed(a, r, &err);
		r = a->ledger ? ledger_take(a->ledger, a->samples, a->n, &err) : r;
	} else if (r < 0) {
		failed(a, r, &err);
	}
	a->n = 0;
	if (r < 0)
		return;
	a->fault = 0;
	tell(a, ACCT_TAKEN, 0, "");
}

static void commit_fire(struct loop_timer *t)
{
	commit(container_of(t, struct accountant, commit));
}

static void tend_fire(struct loop_timer *t)
{
	struct accountant *a = container_of(t, struct accountant, tend);
	struct cos_err err;
	bool more = false;
	int r;

	if (!a->ledger)
		return;
	r = ledger_tend(a->ledger, clock_wall_usec(), &more, &err);
	if (r < 0)
		failed(a, r, &err);
	loop_timer_set(&a->loop, t, more ? TEND_AGAIN_USEC : TEND_USEC);
}

/* One accountant at a time: the one of a worker that was killed may still be writing. */
static int lock_dir(struct accountant *a)
{
	char path[ACCT_DIR_SIZE + 8];

	str_fmt(path, sizeof(path), "%s/lock", a->dir);
	a->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (a->lock < 0)
		return -errno;
	for (int tries = 0; io_lock(a->lock) < 0; tries++) {
		if (tries == 3000)
			return -EWOULDBLOCK;
		usleep(10000);
	}
	return 0;
}

static void configure(struct accountant *a)
{
	int r;

	a->conf = a->in.conf.conf;
	if (a->ledger)
		ledger_configure(a->ledger, &a->conf);
	if (a->dir)
		return;
	a->in.conf.dir[ACCT_DIR_SIZE - 1] = '\0';
	a->dir = strdup(a->in.conf.dir);
	r = a->dir ? lock_dir(a) : -ENOMEM;
	if (r < 0) {
		log_say(LOG_ERROR, "accountant: lock %s: %s", a->in.conf.dir, strerrorname_np(-r));
		a->loop.stop = true;
		return;
	}
	open_ledger(a);
}

/* --- queries --- */

static void refuse(int out, const char *why)
{
	dprintf(out, "{\"error\": \"%s\"}\n", why);
}

/* A process of its own: it may take as long as the client reads, and SQLite's data bases are not to
 * be taken across a fork. */
static void run_reader(int query, int out)
{
	char *const argv[] = { "cosd", "--ledger-query", "3", NULL };
	char *const env[] = { NULL };

	proc_reset_signals();
	if (dup2(out, STDOUT_FILENO) < 0 || (query != 3 && dup2(query, 3) < 0))
		_exit(1);
	fcntl(3, F_SETFD, 0);
	proc_close_but((int[]){ 3 }, 1);
	execve("/proc/self/exe", argv, env);
	_exit(1);
}

static void start_reader(struct accountant *a, int out)
{
	auto_close int fd = -1;
	pid_t pid;

	if (a->readers >= READERS_MAX || !a->ledger) {
		refuse(out, a->ledger ? "too many queries at once" : "the ledger is not open");
		return;
	}
	fd = memfd_create("ledger-query", MFD_CLOEXEC);
	if (fd < 0 || io_write_all(fd, a->dir, strlen(a->dir) + 1) < 0 ||
	    ftruncate(fd, ACCT_DIR_SIZE) < 0 || lseek(fd, ACCT_DIR_SIZE, SEEK_SET) < 0 ||
	    io_write_all(fd, &a->in.query.query, sizeof(a->in.query.query)) < 0) {
		refuse(out, "no memory");
		return;
	}
	pid = fork();
	if (pid == 0)
		run_reader(fd, out);
	if (pid < 0)
		refuse(out, "no process");
	else
		a->readers++;
}

int acct_answer(int fd)
{
	struct ledger_query *q = calloc(1, sizeof(*q));
	char dir[ACCT_DIR_SIZE];
	int r;

	if (!q || pread(fd, dir, sizeof(dir), 0) != sizeof(dir) ||
	    pread(fd, q, sizeof(*q), ACCT_DIR_SIZE) != sizeof(*q))
		return 1;
	dir[sizeof(dir) - 1] = '\0';
	alarm(ANSWER_SEC);
	r = ledger_answer(dir, q, STDOUT_FILENO);
	free(q);
	return r == -EUCLEAN ? DAMAGED : r < 0;
}

/* --- the loop --- */

static void take_samples(struct accountant *a, size_t len)
{
	const struct acct_samples *in = &a->in.samples;

	if (in->head.n > ACCT_BATCH || len < offsetof(struct acct_samples, sample[in->head.n]))
		return;
	if (a->n + in->head.n > SAMPLES_MAX)
		commit(a);
	memcpy(a->samples + a->n, in->sample, in->head.n * sizeof(*in->sample));
	a->n += in->head.n;
	a->tick = in->head.tick;
	if (in->head.end)
		commit(a);
	else
		loop_timer_set(&a->loop, &a->commit, COMMIT_USEC);
}

static void sock_ready(struct loop_source *s, uint32_t events)
{
	struct accountant *a = container_of(s, struct accountant, sock);
	int fds[1] = { -1 };
	unsigned n_fds = 1;
	ssize_t n = io_recv_fds(s->fd, &a->in, sizeof(a->in), fds, &n_fds, 0);

	(void)events;
	if (n == -EINTR || n == -EAGAIN)
		return;
	if (n <= 0) {
		commit(a);
		a->loop.stop = true;
	} else if (a->in.head.op == ACCT_CONF && n == sizeof(struct acct_conf)) {
		configure(a);
	} else if (a->in.head.op == ACCT_SAMPLES) {
		take_samples(a, (size_t)n);
	} else if (a->in.head.op == ACCT_QUERY && fds[0] >= 0) {
		start_reader(a, fds[0]);
	}
	close_p(&fds[0]);
}

static void signals_ready(struct loop_source *s, uint32_t events)
{
	struct accountant *a = container_of(s, struct accountant, signals);
	struct signalfd_siginfo si;
	struct cos_err err;
	int status, r;

	(void)events;
	while (read(s->fd, &si, sizeof(si)) == sizeof(si)) {
	}
	while (waitpid(-1, &status, WNOHANG) > 0) {
		a->readers--;
		/* a reader has met a damage that the writer may never see */
		if (!WIFEXITED(status) || WEXITSTATUS(status) != DAMAGED || !a->ledger)
			continue;
		r = ledger_check(a->ledger, &err);
		if (r < 0)
			failed(a, r, &err);
	}
}

/* It reads and writes root's files and does nothing else. */
static void drop_rights(void)
{
	struct rlimit core = { 0, 0 };

	setrlimit(RLIMIT_CORE, &core);
	cap_drop_bounding(0);
	cap_set(0);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	umask(077);
}

static int watch(struct accountant *a, int sock)
{
	sigset_t set;
	int r;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_SETMASK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGINT, SIG_IGN); /* a terminal's, meant for the daemon, which closes the socket */
	a->signals = (struct loop_source){
		.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK),
		.ready = signals_ready,
	};
	a->sock = (struct loop_source){ .fd = sock, .ready = sock_ready };
	r = loop_init(&a->loop);
	if (r == 0)
		r = loop_add(&a->loop, &a->signals, EPOLLIN);
	return r == 0 ? loop_add(&a->loop, &a->sock, EPOLLIN) : r;
}

int acct_run(int sock)
{
	struct accountant *a = calloc(1, sizeof(*a));
	int r;

	log_open("cosd-accountant", LOG_INFO);
	drop_rights();
	fcntl(sock, F_SETFD, FD_CLOEXEC);
	if (!a || !(a->samples = calloc(SAMPLES_MAX, sizeof(*a->samples))))
		return 1;
	a->lock = -1;
	a->commit.fire = commit_fire;
	a->tend.fire = tend_fire;
	a->reopen.fire = reopen_fire;
	r = watch(a, sock);
	if (r == 0)
		r = loop_run(&a->loop);
	ledger_close(a->ledger);
	return r < 0;
}
