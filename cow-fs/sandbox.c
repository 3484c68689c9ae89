/* cow-fs/sandbox.c - a foreign program that runs as root, but not as the host's */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/mount.h>
#include <linux/sched.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cow-fs/sandbox.h"
#include "lib/base/own.h"
#include "lib/kern/mnt.h"
#include "lib/kern/proc.h"

#define NAMESPACES (CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS)
#define FILE_MAX   (4ULL << 30) /* of one file, the log included */
#define EXIT_OURS  125

/* ---- inside: the first process ---- */

/* Standard streams in place, and nothing else open but SYNC and SCRATCH. */
static int place_fds(const struct sandbox *s, int sync, int scratch)
{
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

	if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(s->out, STDOUT_FILENO) < 0 ||
	    dup2(s->log, STDERR_FILENO) < 0)
		return -errno;
	proc_close_but((int[]){ sync, scratch }, 2);
	return 0;
}

static int wait_for_maps(int sync)
{
	ssize_t n;
	char c;

	do
		n = read(sync, &c, 1);
	while (n < 0 && errno == EINTR);
	return n == 1 ? 0 : -ECONNRESET;
}

static int become_root(void)
{
	if (setgroups(0, NULL) < 0 || setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)
		return -errno;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return -errno;
	return 0;
}

/* Changes of credentials clear it; a parent that died before cannot take the answer. */
static int die_with_parent(void)
{
	return prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 ? -errno : 0;
}

static int shape_mounts(int scratch)
{
	auto_close int top = -1, tmp = -1;
	int r;

	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return -errno;
	top = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	r = top < 0 ? -errno : mnt_attr(top, MOUNT_ATTR_RDONLY, 0, true);
	if (r < 0)
		return r;
	tmp = open("/tmp", O_PATH | O_DIRECTORY | O_CLOEXEC);
	return tmp < 0 ? -errno : mnt_attach(scratch, tmp);
}

static int set_limits(void)
{
	struct rlimit file, core = { 0, 0 };

	if (getrlimit(RLIMIT_FSIZE, &file) < 0)
		return -errno;
	if (file.rlim_max > FILE_MAX)
		file.rlim_max = FILE_MAX;
	file.rlim_cur = file.rlim_max;
	return setrlimit(RLIMIT_FSIZE, &file) < 0 || setrlimit(RLIMIT_CORE, &core) < 0 ? -errno : 0;
}

/* What is in the scratch directory is thrown away with it: waiting until the disk has it, as dpkg
 * does for each file, would take most of the time. These calls do nothing and succeed. */
static int ignore_syncs(void)
{
	static const int calls[] = {
		SCMP_SYS(fsync),  SCMP_SYS(fdatasync),       SCMP_SYS(sync),
		SCMP_SYS(syncfs), SCMP_SYS(sync_file_range), SCMP_SYS(msync),
	};
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
	int r = ctx ? 0 : -ENOMEM;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(calls); i++)
		r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(0), calls[i], 0);
	if (r == 0)
		r = seccomp_load(ctx);
	if (ctx)
		seccomp_release(ctx);
	return r;
}

static int enter(const struct sandbox *s, int sync, int scratch)
{
	int r = place_fds(s, sync, scratch);

	proc_reset_signals();
	umask(022);
	if (r == 0)
		r = wait_for_maps(sync);
	if (r == 0)
		r = become_root();
	if (r == 0)
		r = die_with_parent();
	if (r == 0)
		r = shape_mounts(scratch);
	if (r == 0)
		r = set_limits();
	return r < 0 ? r : ignore_syncs();
}

static int exit_code(int status)
{
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* Reaps whatever ends, until MAIN has; its exit status. */
static int supervise(pid_t main_pid, const sigset_t *chld, unsigned seconds)
{
	struct timespec now, left = { 0 };
	time_t until;

	clock_gettime(CLOCK_BOOTTIME, &now);
	for (until = now.tv_sec + (time_t)seconds; now.tv_sec < until;
	     clock_gettime(CLOCK_BOOTTIME, &now)) {
		int status;
		pid_t pid;

		while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
			if (pid == main_pid)
				return exit_code(status);
		}
		left.tv_sec = until - now.tv_sec;
		sigtimedwait(chld, NULL, &left);
	}
	return SANDBOX_TIMEOUT;
}

static int first_process(const struct sandbox *s, int sync, int scratch)
{
	int r = enter(s, sync, scratch);
	sigset_t chld;
	pid_t pid;

	if (send(sync, &r, sizeof(r), MSG_NOSIGNAL) != sizeof(r) || r < 0)
		return EXIT_OURS;
	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	sigprocmask(SIG_BLOCK, &chld, NULL);
	pid = fork();
	if (pid == 0) {
		sigprocmask(SIG_UNBLOCK, &chld, NULL);
		setsid();
		if (chdir("/") == 0)
			execve(s->path, s->argv, s->env);
		dprintf(STDERR_FILENO, "E: execve %s: %s\n", s->path, strerror(errno));
		_exit(EXIT_OURS);
	}
	/* Only the program holds these from here on: their ends mean its end. */
	close(STDOUT_FILENO);
	close(sync);
	close(scratch);
	return pid < 0 ? EXIT_OURS : supervise(pid, &chld, s->seconds);
}

/* ---- outside ---- */

static int open_scratch(const struct sandbox *s)
{
	auto_close int mnt = -1;
	int r;

	if (fchown(s->scratch, s->id_base, s->id_base) < 0 || fchmod(s->scratch, 01777) < 0)
		return -errno;
	mnt = mnt_clone(s->scratch, "", false);
	r = mnt < 0 ? mnt : mnt_attr(mnt, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, 0, false);
	return r < 0 ? r : take_fd(mnt);
}

/* The maps, a byte that says so, and the answer: 0 or what failed inside. */
static int let_go(const struct sandbox *s, pid_t pid, int sync)
{
	int r = proc_write_maps(pid, s->id_base, SANDBOX_IDS), answer;

	if (r < 0)
		return r;
	if (send(sync, "", 1, MSG_NOSIGNAL) != 1 ||
	    read(sync, &answer, sizeof(answer)) != sizeof(answer))
		return -ECONNRESET;
	return answer;
}

pid_t sandbox_start(const struct sandbox *s, struct cos_err *err)
{
	struct clone_args ca = { .flags = NAMESPACES, .exit_signal = SIGCHLD };
	auto_close int scratch = open_scratch(s);
	int sv[2], r;
	pid_t pid;

	if (scratch < 0)
		return cos_fail(err, COS_E_KERNEL, -scratch, "make a directory to build in");
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "socketpair");
	pid = (pid_t)syscall(SYS_clone3, &ca, sizeof(ca));
	if (pid == 0)
		_exit(first_process(s, sv[1], scratch));
	r = pid < 0 ? -errno : 0;
	close(sv[1]);
	if (pid < 0) {
		close(sv[0]);
		return cos_advise(err,
				  cos_fail(err, COS_E_UNSUPPORTED, -r, "clone3 with namespaces"),
				  "allow user namespaces: /proc/sys/user/max_user_namespaces");
	}
	r = let_go(s, pid, sv[0]);
	if (r < 0)
		sandbox_end(pid, true);
	close(sv[0]);
	return r < 0 ? cos_fail(err, COS_E_KERNEL, -r, "prepare a process with ids %u..%u",
				s->id_base, s->id_base + SANDBOX_IDS - 1)
		     : pid;
}

int sandbox_end(pid_t pid, bool kill_first)
{
	int status = 0;

	if (kill_first)
		kill(pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return exit_code(status);
}
