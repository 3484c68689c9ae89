/* lib/launch/cos-init.c - the init of a guest that brings none: runs one command, forwards, reaps
 *
 *	cos-init [-t] CMD ARG...
 *
 * PID 1 of a pid namespace. CMD is an absolute path; argv from CMD on and the environment go
 *through unchanged. Descriptors 0 to 2 are the command's; with -t, 0 is to be its controlling
 *terminal. Descriptor 3 tells the starter how the start went: end of file when the command is
 *executed, an int errno before it if it could not be. Descriptor 5 may be the terminal's master: it
 *is held, unused, as long as the guest lives. Exits with the command's status, 128 + N if signal N
 *ended it, 127 or 126 if it could not be executed, 125 if cos-init was called wrongly. */
#include "lib/launch/cos-init-sys.h"

#define STATUS_FD  3
#define CONSOLE_FD 5 /* with -t, the terminal's master: held so that it is not hung up */
#define SIGNALS    64
#define BIT(sig)   (1UL << ((sig)-1))

enum exit_status { EXIT_USAGE = 125, EXIT_NOT_EXEC = 126, EXIT_NOT_FOUND = 127 };

/* Left unblocked. A fault of our own must end us and not wait to be fetched; the terminal's stop
 * signals are ignored. */
#define NOT_FETCHED                                                                                \
	(BIT(SIGSEGV) | BIT(SIGBUS) | BIT(SIGILL) | BIT(SIGFPE) | BIT(SIGTRAP) | BIT(SIGSYS) |     \
	 BIT(SIGTSTP) | BIT(SIGTTIN) | BIT(SIGTTOU))

struct command {
	char *const *argv;
	char *const *envp;
	int terminal; /* bool */
};

/* The stack of the child until it executes the command; a page is plenty for its few calls. */
static char child_stack[4096] __attribute__((aligned(16)));

__attribute__((noreturn)) static void fail(long err, int status)
{
	int e = (int)-err;

	sys_sigaction(SIGPIPE, SIG_IGN); /* the starter may be gone */
	sys_write(STATUS_FD, &e, sizeof(e));
	sys_exit(status);
}

static void child_main(void *arg)
{
	const struct command *c = arg;
	long r;

	sys_set_cloexec(STATUS_FD);
	sys_setsid();
	if (c->terminal) {
		sys_set_cloexec(CONSOLE_FD);
		r = sys_set_ctty(0);
		if (r < 0)
			fail(r, EXIT_NOT_EXEC);
	}
	sys_sigmask(0);
	r = sys_execve(c->argv[0], c->argv, c->envp);
	fail(r, r == -ENOENT ? EXIT_NOT_FOUND : EXIT_NOT_EXEC);
}

/* Ends this process, and with it the guest, when CHILD has ended. FLAGS as wait4(2). */
static void reap(int child, int flags)
{
	int status = 0;
	long pid;

	while ((pid = sys_wait(&status, flags)) > 0) {
		if (pid == child)
			sys_exit(status & 0x7f ? 128 + (status & 0x7f) : status >> 8 & 0xff);
	}
}

__attribute__((noreturn)) static void serve(int child)
{
	for (;;) {
		siginfo_t info;
		long sig;

		info.si_code = 0;
		sig = sys_sigwait(~NOT_FETCHED, &info);

		if (sig == SIGCHLD)
			reap(child, WNOHANG);
		else if (sig > 0 && info.si_code <= 0) /* positive: from the kernel, meant for us */
			sys_kill(child, (int)sig);
		else if (sig < 0 && sig != -EINTR)
			reap(child, 0); /* a filter refuses to wait for signals: never spin */
	}
}

/* What the starter ignored must not stay ignored, SIGCHLD least of all: no status would be kept. */
static void reset_signals(void)
{
	sys_sigmask(~NOT_FETCHED);
	for (int sig = 1; sig <= SIGNALS; sig++)
		sys_sigaction(sig, SIG_DFL);
}

__attribute__((noreturn, used)) void init_main(long *sp);

void init_main(long *sp)
{
	char *const *argv = (char *const *)(sp + 1);
	struct command c = { .envp = argv + *sp + 1 };
	long child;

	sys_set_undumpable(); /* nobody inside takes descriptors out of it */
	argv += *sp > 0;
	if (*argv && (*argv)[0] == '-' && (*argv)[1] == 't' && !(*argv)[2]) {
		c.terminal = 1;
		argv++;
	}
	if (!*argv || (*argv)[0] != '/')
		fail(-EINVAL, EXIT_USAGE);
	c.argv = argv;
	reset_signals();
	child = sys_clone_vm(child_stack + sizeof(child_stack), child_main, &c);
	if (child < 0)
		fail(child, EXIT_NOT_EXEC);
	sys_close(STATUS_FD);
	for (int fd = 0; fd < STATUS_FD; fd++)
		sys_close(fd); /* readers must see the end when the command's last holder is gone */
	sys_chdir("/");
	sys_sigaction(SIGTSTP, SIG_IGN);
	sys_sigaction(SIGTTIN, SIG_IGN);
	sys_sigaction(SIGTTOU, SIG_IGN);
	serve((int)child);
}

SYS_ENTRY(init_main);
