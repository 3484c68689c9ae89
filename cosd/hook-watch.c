/* cosd/hook-watch.c - the process beside a hook: reads what it prints, ends it and all of its group
 *
 * It is a child of the worker that executes nothing. The hook has a session of its own; a daemon
 * that a hook leaves behind on purpose makes another one and lives on. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cosd/hook.h"
#include "lib/base/clock.h"
#include "lib/base/own.h"
#include "lib/kern/proc.h"

#define END_WAIT_MSEC 1000 /* for what was killed; in a call that does not end it stays */
#define DRAIN_READS   64   /* others of the group may print until they are killed */

struct watch {
	const struct hook_job *job;
	struct hook_report report;
	pid_t pid;
	int pidfd, out;
};

static _Noreturn void be_hook(const struct hook_job *j, int out)
{
	struct rlimit nofile = { j->nofile[0], j->nofile[1] };
	int no;

	proc_reset_signals();
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	setsid();
	umask(022);
	setrlimit(RLIMIT_NOFILE, &nofile);
	if (dup2(j->input, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0)
		_exit(126);
	proc_close_from(3);
	execve(j->argv[0], j->argv, j->env);
	no = errno;
	dprintf(2, "execve: %s\n", strerrordesc_np(no));
	_exit(no == ENOENT ? 127 : 126);
}

/* Reads once; what there is no room for is dropped. False at the end. */
static bool drain(struct watch *w)
{
	char buf[65536];
	ssize_t n = read(w->out, buf, sizeof(buf));
	size_t room = sizeof(w->report.text) - w->report.n;

	if (n > 0) {
		size_t take = (size_t)n < room ? (size_t)n : room;

		memcpy(w->report.text + w->report.n, buf, take);
		w->report.n += (unsigned)take;
	}
	if (n == 0)
		close_p(&w->out);
	return n > 0;
}

/* The first process is reaped last: until then its number, the group's, is nobody else's. */
static void end_group(struct watch *w)
{
	struct pollfd p = { .fd = w->pidfd, .events = POLLIN };

	kill(-w->pid, SIGKILL);
	kill(w->pid, SIGKILL); /* it has no group before its first instructions */
	poll(&p, 1, END_WAIT_MSEC);
	waitpid(w->pid, &w->report.status, WNOHANG);
	for (int i = 0; i < DRAIN_READS && w->out >= 0 && drain(w); i++)
		;
}

static int msec_until(uint64_t at_usec)
{
	uint64_t now = clock_usec();

	return at_usec <= now ? 0 : (int)((at_usec - now + 999) / 1000);
}

/* Until the hook ends, its time is up, or nobody wants to know any more. */
static void attend(struct watch *w)
{
	uint64_t until = clock_usec() + w->job->time_usec;

	for (;;) {
		struct pollfd p[] = { { .fd = w->pidfd, .events = POLLIN },
				      { .fd = w->job->report },
				      { .fd = w->out, .events = POLLIN } };
		int r = poll(p, ARRAY_SIZE(p), msec_until(until));

		w->report.timed_out = r == 0;
		if (r == 0 || p[0].revents || p[1].revents)
			return;
		if (r > 0 && p[2].revents)
			drain(w);
	}
}

_Noreturn void hook_watch(const struct hook_job *j)
{
	struct watch w = { .job = j, .out = -1, .report.status = W_EXITCODE(126, 0) };
	int out[2];

	proc_reset_signals();
	setsid(); /* what a terminal sends to the daemon is not for this one */
	prctl(PR_SET_NAME, "cosd-hook", 0, 0, 0);
	proc_close_but((int[]){ j->input, j->report }, 2);
	if (chdir("/") < 0 || pipe2(out, O_CLOEXEC | O_NONBLOCK) < 0)
		_exit(1);
	w.out = out[0];
	w.pid = fork();
	if (w.pid == 0) {
		fcntl(out[1], F_SETFL, 0);
		be_hook(j, out[1]);
	}
	close(out[1]);
	w.pidfd = w.pid > 0 ? proc_pidfd(w.pid) : -1;
	if (w.pid > 0 && w.pidfd >= 0)
		attend(&w);
	if (w.pid > 0)
		end_group(&w);
	send(j->report, &w.report, sizeof(w.report), MSG_DONTWAIT | MSG_NOSIGNAL);
	_exit(0);
}
