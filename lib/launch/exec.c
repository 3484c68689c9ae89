/* lib/launch/exec.c - a command in a running guest
 *
 * A helper enters the control groups as a process of the host, then all of the guest's namespaces
 * in one setns() on its first process, and from there makes the command's process as a sibling
 * (CLONE_PARENT). That one has the guest's rights from its first instruction; it is not dumpable
 * until the exec. */
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "lib/base/io.h"
#include "lib/base/own.h"
#include "lib/kern/proc.h"
#include "lib/launch/child.h"
#include "lib/launch/guest.h"
#include "lib/launch/msg.h"

#define FD_SYNC 3
#define JOIN_NS                                                                                    \
	(CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP)

static int open_stdio(const struct launch_exec *x, int *ret_master, struct cos_err *err)
{
	int slave = -1, r = 0;

	*ret_master = -1;
	if (x->tty) {
		struct winsize ws = { .ws_row = x->rows, .ws_col = x->cols };

		r = child_open_pty(ret_master, &slave, err);
		if (r < 0)
			return r;
		ioctl(slave, TIOCSWINSZ, &ws);
	}
	for (int i = 0; i < 3 && r == 0; i++) {
		if (dup2(x->tty ? slave : x->stdio[i], i) < 0)
			r = cos_fail(err, COS_E_KERNEL, errno, "place descriptor %d", i);
	}
	if (r == 0 && setsid() < 0)
		r = cos_fail(err, COS_E_KERNEL, errno, "setsid");
	if (r == 0 && x->tty && ioctl(0, TIOCSCTTY, 0) < 0)
		r = cos_fail(err, COS_E_KERNEL, errno, "take the terminal");
	return r;
}

static int prepare(const struct launch_exec *x, struct who *who, int *ret_sock, int sock,
		   struct cos_err *err)
{
	int master, r = open_stdio(x, &master, err);

	if (r == 0)
		r = who_find(x->user ?: x->spec->user, who, err);
	if (r < 0)
		return r;
	child_own_stdio(who);
	r = msg_send(sock, MSG_READY, 0, &master, master >= 0 ? 1 : 0);
	if (r < 0)
		return cos_fail(err, COS_E_INTERNAL, -r, "the daemon is gone");
	if (dup3(sock, FD_SYNC, O_CLOEXEC) < 0 && errno != EINVAL)
		return cos_fail(err, COS_E_KERNEL, errno, "place descriptors");
	*ret_sock = FD_SYNC;
	r = proc_close_from(FD_SYNC + 1);
	if (r < 0)
		return cos_fail(err, COS_E_KERNEL, -r, "close descriptors");
	return child_rlimits(0, x->spec, x->host, err);
}

static int command_main(const struct launch_exec *x, int sock)
{
	struct cos_err err = { 0 };
	struct who who = { 0 };
	char path[4096], **argv = NULL, **env = NULL;
	unsigned n = 0;
	struct msg m;
	/* not a word before the helper has told who this is */
	int r = msg_recv(sock, MSG_RELEASE, &m, NULL, &n, &err);

	if (r == 0)
		r = prepare(x, &who, &sock, sock, &err);
	if (r == 0) {
		argv = child_argv(x->command, NULL, 0);
		env = child_env(&who, x->spec->env, x->env);
		if (!argv || !env)
			r = cos_fail(&err, COS_E_KERNEL, ENOMEM, "arguments");
	}
	if (r == 0)
		r = child_confine(x->rules, &who, x->spec, &err);
	if (r == 0 && chdir(x->cwd ?: x->spec->cwd) < 0)
		r = cos_fail(&err, COS_E_INVALID, errno, "cwd %s in the guest",
			     x->cwd ?: x->spec->cwd);
	if (r == 0)
		r = child_find_command(argv[0], env, path, sizeof(path), &err);
	if (r == 0) {
		execve(path, argv, env);
		r = errno;
		cos_fail(&err, r == ENOENT ? COS_E_NOT_FOUND : COS_E_NOT_EXEC, r, "execve %s",
			 path);
	}
	msg_fail(sock, &err);
	return 126;
}

/* Through the pidfd the kernel takes all namespaces of the guest's first process at once: there is
 * no moment in which a process with the host's capabilities is visible in the guest. */
static int join(const struct launch_exec *x, struct cos_err *err)
{
	int ns = JOIN_NS | (x->spec->userns ? CLONE_NEWUSER : 0);

	if (setns(x->guest, ns) < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "setns to the guest");
	return x->spec->userns ? child_become_root(err) : 0;
}

/* Returns its exit status. */
static int exec_helper(struct launch_exec *x, int sock)
{
	int keep[] = { sock, x->guest, x->stdio[0], x->stdio[1], x->stdio[2] };
	int tasks[CG_HIER_MAX + 1], pidfd = -1, r;
	struct cos_err err = { 0 };
	pid_t pid;

	proc_reset_signals();
	umask(022);
	r = child_oom_adj(getpid(), x->host, &err);
	if (r == 0)
		r = cg_open_tasks(&x->host->topo, x->cg, tasks, &err);
	if (r == 0) {
		r = cg_enter_self(tasks);
		if (r < 0)
			cos_fail(&err, COS_E_KERNEL, -r, "enter the control groups");
	}
	proc_close_but(keep, ARRAY_SIZE(keep));
	if (r == 0)
		r = join(x, &err);
	*x->born = 0; /* the page is there when the kernel writes to it */
	pid = r < 0 ? r : child_clone_sibling(0, x->born, &pidfd, &err);
	if (pid == 0)
		return command_main(x, sock);
	if (pid < 0)
		msg_fail(sock, &err);
	else
		msg_born(sock, pid, pidfd);
	return 0;
}

/* The helper is born in GROUP, in which the command stays; -1: there is no v2. */
static int start_helper(struct launch_exec *x, int sock, int group)
{
	int helper = -1;
	struct clone_args ca = {
		.flags = CLONE_PIDFD | (group >= 0 ? CLONE_INTO_CGROUP : 0),
		.pidfd = (uintptr_t)&helper,
		.exit_signal = SIGCHLD,
		.cgroup = group >= 0 ? (uint64_t)group : 0,
	};
	pid_t pid = (pid_t)syscall(SYS_clone3, &ca, sizeof(ca));

	if (pid == 0)
		_exit(exec_helper(x, sock));
	if (pid < 0)
		return -errno;
	x->helper = helper;
	return 0;
}

/* What a guest can bring about: its groups are too many, threaded, have given their controllers
 * away, or one goes as it is wanted. No failure of the host's is among it. */
static bool is_guests_doing(int r, bool made)
{
	if (made)
		return r == -EBUSY || r == -EOPNOTSUPP || r == -ENODEV;
	return r == -EAGAIN || r == -ENOENT;
}

/* In the guest's own group, or beside it when the guest has made that impossible. */
static int start_somewhere(struct launch_exec *x, int sock, struct cos_err *err)
{
	auto_close int inner = x->cg->payload < 0 ? -1 : cg_inner_dir(x->cg), beside = -1;
	int r = x->cg->payload < 0 || inner >= 0 ? start_helper(x, sock, inner) : inner;

	if (r < 0 && is_guests_doing(r, inner >= 0)) {
		beside = cg_exec_dir(&x->host->topo, x->cg, err);
		if (beside < 0)
			return beside;
		r = start_helper(x, sock, beside);
	}
	return r < 0 ? cos_fail(err, COS_E_KERNEL, -r, "make a process in the guest's groups") : 0;
}

int launch_exec_start(struct launch_exec *x, struct cos_err *err)
{
	int sv[2], r;

	x->sync = x->pidfd = x->master = x->helper = -1;
	x->pid = 0;
	x->tty_checked = false;
	x->born = mmap(NULL, sizeof(*x->born), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		       -1, 0);
	if (x->born == MAP_FAILED) {
		x->born = NULL;
		return cos_fail(err, COS_E_KERNEL, errno, "share a page with the helper");
	}
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv) < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "socketpair");
	child_give_pipes(x->stdio, x->id_base);
	r = start_somewhere(x, sv[1], err);
	close(sv[1]);
	if (r < 0)
		close(sv[0]);
	else
		x->sync = sv[0];
	return r;
}

bool launch_is_terminal(int fd)
{
	struct stat st;
	int number;

	return fstat(fd, &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == makedev(5, 2) &&
	       ioctl(fd, TIOCGPTN, &number) == 0;
}

/* The master comes from inside: it has to be what it is said to be before a client may have it. */
static int check_master(int fd, struct cos_err *err)
{
	if (launch_is_terminal(fd))
		return 0;
	return cos_fail(err, COS_E_DENIED, 0, "the guest's /dev/pts/ptmx is not a terminal");
}

static int take_born(struct launch_exec *x, struct cos_err *err)
{
	int r = msg_take_born(x->sync, &x->pid, &x->pidfd, err);
	siginfo_t si;

	/* It is known, or it was reaped already: then its number is soon another's. */
	if (r == 0 || waitid(P_PID, (id_t)*x->born, &si, WEXITED | WNOHANG | WNOWAIT) < 0)
		*x->born = 0;
	if (r < 0)
		return r;
	proc_signal(x->helper, SIGKILL); /* has no more to do */
	r = msg_send(x->sync, MSG_RELEASE, 0, NULL, 0);
	return r < 0 ? cos_fail(err, COS_E_INTERNAL, -r, "the command's process died")
		     : LAUNCH_WAIT;
}

static int take_ready(struct launch_exec *x, struct cos_err *err)
{
	unsigned n = 1;
	struct msg m;
	int r = msg_recv(x->sync, MSG_READY, &m, &x->master, &n, err);

	if (r == 0 && x->tty)
		r = check_master(x->master, err);
	x->tty_checked = r == 0;
	return r < 0 ? r : LAUNCH_WAIT;
}

/* Packets arrive in order: born, ready, and the end or a failure. */
static int next_packet(struct launch_exec *x, struct cos_err *err)
{
	if (x->pidfd < 0)
		return take_born(x, err);
	if (!x->tty_checked)
		return take_ready(x, err);
	return msg_recv_end(x->sync, json_string_value(json_array_get(x->command, 0)), err);
}

int launch_exec_continue(struct launch_exec *x, struct cos_err *err)
{
	struct pollfd p = { .fd = x->sync, .events = POLLIN };
	int r = LAUNCH_WAIT;

	while (r == LAUNCH_WAIT && poll(&p, 1, 0) > 0)
		r = next_packet(x, err);
	return r;
}

void launch_exec_abort(struct launch_exec *x)
{
	if (x->helper >= 0)
		proc_signal(x->helper, SIGKILL);
	if (x->pidfd >= 0)
		proc_signal(x->pidfd, SIGKILL);
}

/* Unreaped it would keep the guest's first process from ending. */
bool launch_exec_orphan(struct launch_exec *x)
{
	pid_t pid = x->born ? *x->born : 0;

	if (pid <= 0)
		return false;
	*x->born = 0;
	x->pid = pid;
	x->pidfd = proc_pidfd(pid);
	return x->pidfd >= 0 && proc_signal(x->pidfd, SIGKILL) == 0;
}

void launch_exec_done(struct launch_exec *x)
{
	if (x->born)
		munmap(x->born, sizeof(*x->born));
	x->born = NULL;
}
