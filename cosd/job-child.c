/* cosd/job-child.c - the process of a job */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <linux/sched.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "cosd/call.h"
#include "cosd/daemon.h"
#include "cosd/job-child.h"
#include "lib/base/jsonx.h"
#include "lib/base/log.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "lib/kern/cg.h"
#include "lib/kern/proc.h"

#define JOB_INPUT 3
#define JOB_GUEST 4
#define JOB_LOCK  5
#define LOCK_NAME "jobs.lock" /* in the runtime directory; each job holds it, shared */
#define OLD_MSEC  5000

int job_program(const char *exe)
{
	return program_open(exe, "cow-fs", "cow-fs");
}

/* As the child itself would tell it. */
static void tell_error(int fd, const struct cos_err *err)
{
	auto_json json_t *j = jsonx_of_err(err);

	json_dumpfd(j, fd, JSON_COMPACT | JSON_ENSURE_ASCII);
}

static void enter_groups(const struct job_child *c, const struct launch_host *host)
{
	int tasks[CG_HIER_MAX + 1];
	struct cos_err err;
	int r = cg_open_tasks(&host->topo, c->cg, tasks, &err);

	if (r == 0) {
		r = cg_enter_self(tasks);
		if (r == 0)
			r = proc_set_oom_adj(getpid(), host->oom_adj);
		if (r < 0)
			cos_fail(&err, COS_E_KERNEL, -r, "enter the control groups");
	}
	if (r == 0)
		return;
	tell_error(c->errors, &err);
	_exit(1);
}

/* It ends with the worker, and the next one can wait until it has: by then it may be about to make
 * something, or may have a guest frozen. */
static int follow_worker(const struct job_child *c)
{
	int lock;

	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
		return -1;
	lock = openat(c->runtime, LOCK_NAME, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (lock < 0 || flock(lock, LOCK_SH | LOCK_NB) < 0 || getppid() != c->worker)
		return -1;
	return fcntl(lock, F_DUPFD_CLOEXEC, 100);
}

static void run_child(const struct job_child *c, const struct launch_host *host, char *const *argv)
{
	char *const env[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", NULL };
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC), keep, input, guest, lock = -1;

	proc_reset_signals();
	fcntl(c->out, F_SETFL, 0);
	fcntl(c->errors, F_SETFL, 0);
	if (c->cg)
		enter_groups(c, host);
	if (c->guest < 0 && (lock = follow_worker(c)) < 0) /* what is in a guest's may be frozen */
		_exit(125);
	input = c->input < 0 ? -1 : fcntl(c->input, F_DUPFD_CLOEXEC, 100);
	guest = c->guest < 0 ? -1 : fcntl(c->guest, F_DUPFD_CLOEXEC, 100);
	keep = fcntl(c->program, F_DUPFD_CLOEXEC, 100);
	if (dup2(null, 0) < 0 || dup2(c->out, 1) < 0 || dup2(c->errors, 2) < 0 ||
	    (input >= 0 && dup2(input, JOB_INPUT) < 0) ||
	    (guest >= 0 && dup2(guest, JOB_GUEST) < 0) || (lock >= 0 && dup2(lock, JOB_LOCK) < 0))
		_exit(125);
	proc_close_but((int[]){ keep, input >= 0 ? JOB_INPUT : -1, guest >= 0 ? JOB_GUEST : -1,
				lock >= 0 ? JOB_LOCK : -1 },
		       4);
	syscall(SYS_execveat, keep, "", argv, env, 0x1000 /* AT_EMPTY_PATH */);
	_exit(127);
}

/* As fork(), with the child in the groups that it is to be in. */
pid_t job_fork(const struct job_child *c, const struct launch_host *host, char *const *argv,
	       struct cos_err *err)
{
	auto_close int group = c->cg ? cg_exec_dir(&host->topo, c->cg, err) : -1;
	struct clone_args ca = {
		.flags = group >= 0 ? CLONE_INTO_CGROUP : 0,
		.exit_signal = SIGCHLD,
		.cgroup = group >= 0 ? (uint64_t)group : 0,
	};
	pid_t pid;

	if (c->cg && group < 0 && host->topo.v2 >= 0)
		return group;
	pid = (pid_t)syscall(SYS_clone3, &ca, sizeof(ca));
	if (pid == 0)
		run_child(c, host, argv);
	if (pid < 0 && errno == EAGAIN && c->guest >= 0)
		return cos_advise(err, cos_fail(err, COS_E_ADMISSION, EAGAIN, "clone3"),
				  "the guest may have reached its pids.max: 'cosctl stats' tells");
	return pid < 0 ? cos_fail(err, COS_E_KERNEL, errno, "clone3") : pid;
}

void jobs_await_old(struct daemon *d)
{
	auto_close int lock = openat(d->runtime, LOCK_NAME, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	const struct timespec pause = { .tv_nsec = 1000000 };

	if (lock < 0)
		return;
	for (unsigned tries = 0; flock(lock, LOCK_EX | LOCK_NB) < 0; tries++) {
		if (tries == OLD_MSEC) {
			log_say(LOG_WARN, "a child of the last worker does not end");
			return;
		}
		nanosleep(&pause, NULL);
	}
}
