/* tests/kern/cos-init.t.c - cos-init as PID 1 of a pid namespace: status, signals, orphans, errors
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "lib/base/io.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "tests/tap.h"

#define DEADLINE_SEC 60
#define WAIT_MSEC    10000
#define ORPHANS      20

extern char **environ;

#ifdef COS_ASAN
/* The command looks for its signals' default action, and must not find the sanitizer's. */
const char *__asan_default_options(void);

const char *__asan_default_options(void)
{
	return "handle_segv=0:handle_sigbus=0:handle_sigill=0:handle_sigfpe=0:handle_abort=0";
}
#endif

static char init_path[PATH_MAX]; /* cos-init */
static char self_path[PATH_MAX]; /* this program, which is also the command in the guest */

struct guest {
	pid_t pid;    /* cos-init, seen from outside */
	int in, out;  /* the other ends of the guest's 0 and 1, -1 with a terminal */
	int status;   /* the other end of its 3 */
	int terminal; /* master, -1 without */
};

/* ---- the command in the guest: self_path MODE ... ---- */

static int payload_args(int argc, char **argv)
{
	for (int i = 0; i < argc; i++)
		fwrite(argv[i], 1, strlen(argv[i]) + 1, stdout);
	for (char **e = environ; *e; e++)
		fwrite(*e, 1, strlen(*e) + 1, stdout);
	return 0;
}

/* 0 if a fresh program finds what it may expect: no blocked or ignored signal, its own session,
 * only descriptors 0 to 2, and the working directory of its starter. */
static int payload_clean(void)
{
	sigset_t mask;
	char cwd[PATH_MAX];

	sigprocmask(SIG_SETMASK, NULL, &mask);
	for (int sig = 1; sig < SIGRTMAX; sig++) {
		struct sigaction sa;

		if (sigismember(&mask, sig) == 1)
			return 10;
		if (sigaction(sig, NULL, &sa) == 0 && sa.sa_handler != SIG_DFL)
			return 11;
	}
	if (getsid(0) != getpid() || getpgrp() != getpid() || getppid() != 1)
		return 12;
	if (fcntl(3, F_GETFD) >= 0 || errno != EBADF)
		return 13;
	if (!getcwd(cwd, sizeof(cwd)) || strcmp(cwd, "/proc") != 0)
		return 14;
	return 0;
}

static int payload_tty(bool expected)
{
	auto_close int fd = open("/dev/tty", O_RDWR | O_CLOEXEC);

	if (!expected)
		return fd < 0 && errno == ENXIO ? 0 : 10;
	if (fd < 0)
		return 11;
	return tcgetsid(0) == getpid() && tcgetpgrp(0) == getpgrp() ? 0 : 12;
}

static volatile sig_atomic_t got;

static void on_signal(int sig)
{
	got = sig;
}

/* Says "ready", then exits with 64 plus the first signal that arrives. */
static int payload_signal(void)
{
	static const int sigs[] = { SIGTERM, SIGHUP, SIGUSR1, SIGWINCH, SIGTSTP };
	sigset_t all, old;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &old);
	for (size_t i = 0; i < ARRAY_SIZE(sigs); i++)
		signal(sigs[i], on_signal);
	if (write(1, "ready", 5) != 5)
		return 1;
	while (!got)
		sigsuspend(&old);
	return 64 + got;
}

static void orphan(void)
{
	char c;

	/* Ends only when PID 1 is its parent, so that PID 1 has to reap it. */
	if (fork() == 0) {
		while (getppid() != 1)
			sched_yield();
		_exit(7);
	}
	if (read(0, &c, 1) != 1) /* keeps a live parent until the test says go */
		_exit(1);
	_exit(0);
}

/* Leaves ORPHANS processes to PID 1, says "ready", and ends when its input does. */
static int payload_orphans(void)
{
	char c;

	for (int i = 0; i < ORPHANS; i++) {
		pid_t pid = fork();

		if (pid == 0)
			orphan();
	}
	for (int i = 0; i < ORPHANS; i++)
		wait(NULL);
	if (write(1, "ready", 5) != 5)
		return 1;
	return read(0, &c, 1) == 0 ? 0 : 2;
}

/* Closes its output and lives on until its input ends. */
static int payload_hold(void)
{
	char c;

	close(1);
	close(2);
	return read(0, &c, 1) == 0 ? 0 : 2;
}

/* The main process ends at once; a child that ignores all would stay for ever. */
static int payload_leave(void)
{
	int p[2];
	char c;

	if (pipe(p) < 0)
		return 1;
	if (fork() == 0) {
		for (int sig = 1; sig < SIGRTMAX; sig++)
			signal(sig, SIG_IGN);
		if (write(p[1], "x", 1) == 1)
			for (;;)
				pause();
		_exit(1);
	}
	return read(p[0], &c, 1) == 1 ? 5 : 1;
}

static int payload(int argc, char **argv)
{
	const char *mode = argv[1];

	if (strcmp(mode, "args") == 0)
		return payload_args(argc, argv);
	if (strcmp(mode, "exit") == 0)
		return atoi(argv[2]);
	if (strcmp(mode, "die") == 0) {
		prctl(PR_SET_DUMPABLE, 0);
		kill(getpid(), atoi(argv[2]));
		return 0;
	}
	if (strcmp(mode, "clean") == 0)
		return payload_clean();
	if (strcmp(mode, "tty") == 0)
		return payload_tty(true);
	if (strcmp(mode, "no-tty") == 0)
		return payload_tty(false);
	if (strcmp(mode, "signal") == 0)
		return payload_signal();
	if (strcmp(mode, "orphans") == 0)
		return payload_orphans();
	if (strcmp(mode, "hold") == 0)
		return payload_hold();
	if (strcmp(mode, "leave") == 0)
		return payload_leave();
	return 99;
}

/* ---- outside ---- */

/* What a careless starter leaves behind; cos-init has to put it right. */
static void spoil_signals(void)
{
	sigset_t all;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	signal(SIGCHLD, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGRTMIN + 3, SIG_IGN);
}

__attribute__((noreturn)) static void child_main(const int *fds, char **argv, char **envp)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	spoil_signals();
	for (int fd = 0; fd < 4; fd++)
		dup2(fds[fd], fd); /* their sources are all above 3 */
	syscall(SYS_close_range, 4U, ~0U, 0U);
	if (chdir("/proc") < 0)
		_exit(120);
	execve(init_path, argv, envp);
	_exit(121);
}

/* A descriptor above 3, so that child_main() overwrites no source. */
static int raised(int fd)
{
	int up = fcntl(fd, F_DUPFD_CLOEXEC, 10);

	close(fd);
	return up;
}

static int pipe_raised(int p[2])
{
	if (pipe2(p, O_CLOEXEC) < 0)
		return -errno;
	p[0] = raised(p[0]);
	p[1] = raised(p[1]);
	return 0;
}

static int open_terminal(int *ret_slave)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);

	if (master < 0 || grantpt(master) < 0 || unlockpt(master) < 0)
		return -errno;
	*ret_slave = raised(open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC));
	return *ret_slave < 0 ? -errno : raised(master);
}

/* Starts cos-init with ARGV; false when the host cannot (the test fails then). */
static bool guest_start(struct guest *g, char **argv, char **envp, bool terminal)
{
	struct clone_args ca = { .flags = CLONE_NEWPID, .exit_signal = SIGCHLD };
	int in[2], out[2], st[2], slave = -1;

	*g = (struct guest){ -1, -1, -1, -1, -1 };
	if (pipe_raised(in) < 0 || pipe_raised(out) < 0 || pipe_raised(st) < 0)
		return false;
	if (terminal)
		g->terminal = open_terminal(&slave);
	if (terminal && g->terminal < 0)
		return false;
	g->pid = (pid_t)syscall(SYS_clone3, &ca, sizeof(ca));
	if (g->pid == 0)
		child_main(terminal ? (int[]){ slave, slave, slave, st[1] }
				    : (int[]){ in[0], out[1], out[1], st[1] },
			   argv, envp);
	close(in[0]);
	close(out[1]);
	close(st[1]);
	if (slave >= 0)
		close(slave);
	g->in = in[1];
	g->out = out[0];
	g->status = st[0];
	return g->pid > 0;
}

/* Starts `cos-init SELF MODE ARG` without an environment. */
static bool guest_mode(struct guest *g, const char *mode, const char *arg)
{
	char *argv[] = { "cos-init", self_path, (char *)mode, (char *)arg, NULL };
	char *envp[] = { NULL };

	return guest_start(g, argv, envp, false);
}

/* Waits for cos-init's own end; its exit status, or -N when signal N ended it. */
static int guest_wait(struct guest *g)
{
	int status = SIGABRT;

	while (g->pid > 0 && waitpid(g->pid, &status, 0) < 0 && errno == EINTR)
		;
	close_p(&g->in);
	close_p(&g->out);
	close_p(&g->status);
	close_p(&g->terminal);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

/* The errno told over descriptor 3, 0 at end of file, -1 for anything else. */
static int guest_started(struct guest *g)
{
	int e = 0;
	ssize_t n = read(g->status, &e, sizeof(e));

	return n == 0 ? 0 : n == sizeof(e) ? e : -1;
}

/* Never a process group: a guest that did not start has pid -1, and kill() would take that for all.
 */
static int guest_kill(const struct guest *g, int sig)
{
	return g->pid > 0 ? kill(g->pid, sig) : -1;
}

static bool guest_says(struct guest *g, const char *word)
{
	char buf[16] = "";
	size_t want = strlen(word);

	for (size_t have = 0; have < want;) {
		ssize_t n = read(g->out, buf + have, want - have);

		if (n <= 0)
			return false;
		have += (size_t)n;
	}
	return strcmp(buf, word) == 0;
}

static bool ends(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	char c;

	return poll(&p, 1, WAIT_MSEC) == 1 && read(fd, &c, 1) == 0;
}

/* Number of processes, dead ones included, whose parent is PID. */
static int count_children(pid_t pid)
{
	DIR *d = opendir("/proc");
	struct dirent *e;
	int n = 0;

	while (d && (e = readdir(d))) {
		char name[300], buf[512], *close_paren;
		int ppid;

		if (!str_fmt(name, sizeof(name), "/proc/%s/stat", e->d_name) ||
		    io_read_at(AT_FDCWD, name, buf, sizeof(buf)) <= 0)
			continue;
		close_paren = strrchr(buf, ')');
		if (close_paren && sscanf(close_paren, ") %*c %d", &ppid) == 1 && ppid == pid)
			n++;
	}
	if (d)
		closedir(d);
	return n;
}

static int count_fds(pid_t pid)
{
	char name[64];
	struct dirent *e;
	int n = 0;
	DIR *d;

	snprintf(name, sizeof(name), "/proc/%d/fd", pid);
	d = opendir(name);
	if (!d)
		return -1;
	while ((e = readdir(d)))
		n += e->d_name[0] != '.';
	closedir(d);
	return n;
}

static void test_status(void)
{
	struct guest g;

	ok(guest_mode(&g, "exit", "0") && guest_started(&g) == 0, "3 ends when the command runs");
	ok(guest_wait(&g) == 0, "exit 0 is passed on");
	ok(guest_mode(&g, "exit", "42") && guest_wait(&g) == 42, "exit 42 is passed on");
	ok(guest_mode(&g, "exit", "255") && guest_wait(&g) == 255, "exit 255 is passed on");
	ok(guest_mode(&g, "die", "9") && guest_wait(&g) == 128 + 9, "SIGKILL gives 137");
	ok(guest_mode(&g, "die", "11") && guest_wait(&g) == 128 + 11, "SIGSEGV gives 139");
	ok(guest_mode(&g, "leave", NULL) && guest_wait(&g) == 5,
	   "the guest ends with its command, whoever is left in it");
}

static void test_clean_start(void)
{
	struct guest g;
	int r;

	r = guest_mode(&g, "clean", NULL) ? guest_wait(&g) : -1;
	ok(r == 0, "signals, session, descriptors and directory as a command expects them (%d)", r);
}

static bool equal_vector(const char *buf, size_t len, char **argv, char **envp)
{
	const char *at = buf;

	for (int part = 0; part < 2; part++) {
		for (char **v = part ? envp : argv; *v; v++) {
			if ((size_t)(at - buf) >= len || strcmp(at, *v) != 0)
				return false;
			at += strlen(*v) + 1;
		}
	}
	return at == buf + len;
}

static void test_arguments(void)
{
	char *argv[] = { "cos-init", self_path, "args", "", "-t", "--", "a b\n", "", NULL };
	char *envp[] = { "A=1", "", "EMPTY=", "no equals sign", "B=x y", NULL };
	char buf[PATH_MAX + 256];
	struct guest g;
	ssize_t n = -1;

	if (guest_start(&g, argv, envp, false))
		n = io_read_fd(g.out, buf, sizeof(buf));
	ok(n > 0 && equal_vector(buf, (size_t)n, argv + 1, envp),
	   "arguments and environment go through unchanged, empty ones too");
	ok(guest_wait(&g) == 0, "and the command succeeds");
}

static void test_signals(void)
{
	static const int sigs[] = { SIGTERM, SIGHUP, SIGUSR1, SIGWINCH };
	struct guest g;

	for (size_t i = 0; i < ARRAY_SIZE(sigs); i++) {
		bool up = guest_mode(&g, "signal", NULL) && guest_says(&g, "ready");

		if (up)
			guest_kill(&g, sigs[i]);
		ok(up && guest_wait(&g) == 64 + sigs[i], "%s is forwarded", strsignal(sigs[i]));
	}
	if (!guest_mode(&g, "signal", NULL) || !guest_says(&g, "ready"))
		ok(false, "start");
	guest_kill(&g, SIGTSTP);
	guest_kill(&g, SIGTTIN);
	guest_kill(&g, SIGCHLD);
	guest_kill(&g, SIGSEGV);
	guest_kill(&g, SIGUSR1);
	ok(guest_wait(&g) == 64 + SIGUSR1, "stop signals, SIGCHLD and SIGSEGV do nothing");
	ok(guest_mode(&g, "hold", NULL) && guest_started(&g) == 0 && guest_kill(&g, SIGTERM) == 0 &&
		   guest_wait(&g) == 128 + SIGTERM,
	   "a forwarded SIGTERM ends a command that does not handle it");
}

static void test_orphans(void)
{
	struct guest g;
	int left = -1;

	if (!guest_mode(&g, "orphans", NULL))
		ok(false, "start");
	for (int i = 0; i < ORPHANS; i++) {
		if (write(g.in, "g", 1) != 1)
			break;
	}
	ok(guest_says(&g, "ready"), "%d processes lost their parent", ORPHANS);
	for (int ms = 0; ms < WAIT_MSEC; ms++) {
		left = count_children(g.pid);
		if (left == 1)
			break;
		poll(NULL, 0, 1); /* an exit that others reap has no event for us */
	}
	ok(left == 1, "PID 1 reaped them all: it has the command only (%d)", left);
	close_p(&g.in);
	ok(guest_wait(&g) == 0, "and the command's status is its own");
}

static void test_stdio(void)
{
	struct guest g;
	char name[64], cwd[8] = "";

	if (!guest_mode(&g, "hold", NULL))
		ok(false, "start");
	ok(guest_started(&g) == 0 && ends(g.out),
	   "output ends with its last holder while the guest runs on");
	ok(waitpid(g.pid, NULL, WNOHANG) == 0, "it does run on");
	for (int ms = 0; ms < WAIT_MSEC && count_fds(g.pid) != 0; ms++)
		poll(NULL, 0, 1);
	ok(count_fds(g.pid) == 0, "PID 1 holds no descriptor");
	snprintf(name, sizeof(name), "/proc/%d/cwd", g.pid);
	for (int ms = 0; ms < WAIT_MSEC && strcmp(cwd, "/") != 0; ms++) {
		ssize_t n = readlink(name, cwd, sizeof(cwd) - 1);

		cwd[n > 0 ? n : 0] = '\0';
		poll(NULL, 0, 1);
	}
	ok(strcmp(cwd, "/") == 0, "PID 1 holds no directory but the root");
	close_p(&g.in);
	ok(guest_wait(&g) == 0, "and the command sees the end of its input");
}

static void exec_fails(const char *path, int want, int status)
{
	char *argv[] = { "cos-init", (char *)path, NULL };
	char *envp[] = { NULL };
	struct guest g;
	int e = -1, r = -1;

	if (guest_start(&g, argv, envp, false)) {
		e = guest_started(&g);
		r = guest_wait(&g);
	}
	ok(e == want && r == status, "%s is told and exits with %d (%d, %d)", strerrorname_np(want),
	   status, e, r);
}

static void write_file(int dir, const char *name, const char *text, mode_t mode)
{
	auto_close int fd = openat(dir, name, O_WRONLY | O_CREAT | O_CLOEXEC, mode);

	if (fd < 0 || io_write_all(fd, text, strlen(text)) < 0)
		perror(name);
}

static void test_exec_errors(void)
{
	char dir[] = "/tmp/cos-init-test-XXXXXX", path[64];
	auto_close int fd = mkdtemp(dir) ? open(dir, O_DIRECTORY | O_CLOEXEC) : -1;

	if (fd < 0) {
		ok(false, "a temporary directory");
		return;
	}
	write_file(fd, "plain", "no program\n", 0644);
	write_file(fd, "text", "no program\n", 0755);
	exec_fails("/nonexistent/program", ENOENT, 127);
	snprintf(path, sizeof(path), "%s/plain", dir);
	exec_fails(path, EACCES, 126);
	snprintf(path, sizeof(path), "%s/text", dir);
	exec_fails(path, ENOEXEC, 126);
	exec_fails("relative", EINVAL, 125);
	ok(io_remove_tree(AT_FDCWD, dir, 0) == 0, "clean up");
}

/* A starter that has gone must not change the status by way of SIGPIPE. */
static void test_starter_gone(void)
{
	char *argv[] = { "cos-init", "/nonexistent/program", NULL };
	char *envp[] = { NULL };
	struct guest g;

	if (!guest_start(&g, argv, envp, false))
		ok(false, "start");
	close_p(&g.status);
	ok(guest_wait(&g) == 127, "the status is the same when nobody reads 3");
}

static void test_terminal(void)
{
	char *argv[] = { "cos-init", "-t", self_path, "tty", NULL };
	char *envp[] = { NULL };
	struct guest g;
	int r = -1;

	if (!guest_start(&g, argv, envp, true))
		ok(false, "start");
	ok(guest_started(&g) == 0 && (r = guest_wait(&g)) == 0,
	   "-t: 0 is the controlling terminal and its foreground is ours (%d)", r);
	ok(guest_start(&g, argv, envp, false) && guest_started(&g) == ENOTTY &&
		   guest_wait(&g) == 126,
	   "-t on a pipe is an error that is told");
	argv[1] = self_path;
	argv[2] = "no-tty";
	argv[3] = NULL;
	ok(guest_start(&g, argv, envp, true) && guest_wait(&g) == 0,
	   "without -t there is no controlling terminal");
}

static bool find_paths(void)
{
	const char *given = getenv("COS_INIT"), *build = getenv("TOP_BUILDDIR");
	char buf[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self_path, sizeof(self_path) - 1);

	snprintf(buf, sizeof(buf), "%s/lib/launch/cos-init", build ? build : ".");
	return n > 0 && realpath(given ? given : buf, init_path) != NULL;
}

int main(int argc, char **argv)
{
	if (argc > 1)
		return payload(argc, argv);
	alarm(DEADLINE_SEC);
	signal(SIGPIPE, SIG_IGN);
	if (geteuid() != 0) {
		tap_skip("cos-init", "root is needed for a pid namespace");
		return tap_done();
	}
	if (!find_paths()) {
		ok(false, "find cos-init: set COS_INIT or TOP_BUILDDIR");
		return tap_done();
	}
	test_status();
	test_clean_start();
	test_arguments();
	test_signals();
	test_orphans();
	test_stdio();
	test_exec_errors();
	test_starter_gone();
	test_terminal();
	return tap_done();
}
