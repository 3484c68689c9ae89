/* cosd/keep.c - the keeper: parent of the worker; starts it again, ends with it, is upgraded */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cosd/hostwide.h"
#include "cosd/keeper.h"
#include "cosd/notify.h"
#include "cosd/points.h"
#include "lib/base/clock.h"
#include "lib/base/io.h"
#include "lib/base/log.h"
#include "lib/base/own.h"

#define RESTART_QUICK_USEC USEC_PER_SEC /* a worker that lived shorter waits before the next */
#define STOP_WAIT_USEC     (5 * USEC_PER_SEC)
#define UNMOUNT_TRIES      250
#define UNMOUNT_WAIT_USEC  20000

/* --- the worker --- */

static void start_worker(struct keeper *k)
{
	struct cos_err err;
	int fd;

	k->worker_began_usec = clock_usec();
	k->worker = keep_start_worker(k->args, &fd, &err);
	if (k->worker < 0) {
		log_say(LOG_ERROR, "%s", err.why);
		k->worker = 0;
		loop_timer_set(&k->loop, &k->restart, USEC_PER_SEC);
		return;
	}
	if (kept_serve(k, fd) < 0)
		log_say(LOG_ERROR, "watch the worker: %s", strerrorname_np(errno));
}

static void restart_fire(struct loop_timer *t)
{
	start_worker(container_of(t, struct keeper, restart));
}

static void stop_kill_fire(struct loop_timer *t)
{
	struct keeper *k = container_of(t, struct keeper, stop_kill);

	if (k->worker > 0)
		kill(k->worker, SIGKILL);
}

void keeper_stop(struct keeper *k)
{
	k->stopping = true;
	if (k->worker > 0) {
		kill(k->worker, SIGTERM);
		loop_timer_set(&k->loop, &k->stop_kill, STOP_WAIT_USEC);
	} else {
		k->loop.stop = true;
	}
}

static void worker_ended(struct keeper *k, int status)
{
	uint64_t lived = clock_usec() - k->worker_began_usec;

	k->worker = 0;
	loop_del(&k->link);
	if (k->stopping) {
		k->loop.stop = true;
		return;
	}
	if (!k->served && !kept_any_lives(k) && WIFEXITED(status) && WEXITSTATUS(status)) {
		k->failed = k->loop.stop = true; /* it has said why; nothing would be different */
		return;
	}
	if (!k->upgrade)
		log_say(LOG_WARN, "the worker ended (wait status %#x) and is started again",
			status);
	loop_timer_set(&k->loop, &k->restart, lived < RESTART_QUICK_USEC ? USEC_PER_SEC : 0);
}

/* Everybody who became our child by the worker's death ends here; guests that are kept are reaped
 * by their own pidfd, so that their status is not lost. */
static void reap(struct keeper *k)
{
	siginfo_t si;
	int status;

	if (k->worker > 0 && waitpid(k->worker, &status, WNOHANG) == k->worker)
		worker_ended(k, status);
	for (si.si_pid = 0;
	     waitid(P_ALL, 0, &si, WEXITED | WNOHANG | WNOWAIT) == 0 && si.si_pid > 0;
	     si.si_pid = 0) {
		if (!kept_reap(k, si.si_pid))
			waitpid(si.si_pid, NULL, WNOHANG);
	}
}

/* --- the program on the disk, with all that is held --- */

/* The program on the disk, with all that is held: an upgrade, or a worker that takes the keeper's
 * place. */
static void become_again(struct keeper *k)
{
	struct keep_item *items;
	unsigned n;

	k->upgrade = true;
	if (k->worker > 0) {
		kill(k->worker, SIGKILL); /* may be killed at any instruction, and so is */
		waitpid(k->worker, NULL, 0);
	}
	items = kept_items(k, &n);
	log_say(LOG_INFO, "the keeper executes %s", k->args->exe);
	keep_become(k->args, items, n, false);
	log_say(LOG_ERROR, "execute %s: %s: going on with the old program", k->args->exe,
		strerrorname_np(errno));
	free(items);
	k->upgrade = false;
	worker_ended(k, 0);
}

/* --- signals --- */

static void signal_ready(struct loop_source *s, uint32_t events)
{
	struct keeper *k = container_of(s, struct keeper, signals);
	struct signalfd_siginfo si;

	(void)events;
	while (read(s->fd, &si, sizeof(si)) == sizeof(si)) {
		switch (si.ssi_signo) {
		case SIGCHLD:
			reap(k);
			break;
		case SIGTERM:
		case SIGINT:
			keeper_stop(k);
			break;
		case SIGHUP:
			if (k->worker > 0)
				kill(k->worker, SIGHUP);
			break;
		case SIGUSR2:
			become_again(k);
			break;
		}
	}
}

static int watch_signals(struct keeper *k, struct cos_err *err)
{
	sigset_t set;
	int r;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGUSR2);
	sigprocmask(SIG_SETMASK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	k->signals = (struct loop_source){
		.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK),
		.ready = signal_ready,
	};
	r = k->signals.fd < 0 ? -errno : loop_add(&k->loop, &k->signals, EPOLLIN);
	return r < 0 ? cos_fail(err, COS_E_KERNEL, -r, "watch signals") : 0;
}

/* --- from start to end --- */

static int open_dirs(struct keeper *k, struct cos_err *err)
{
	auto_close int state = open(k->args->state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	k->runtime = open(k->args->runtime_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (state < 0 || k->runtime < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "open %s",
				state < 0 ? k->args->state_dir : k->args->runtime_dir);
	k->logs = io_dir_at(state, "log", 0700);
	return k->logs < 0
		       ? cos_fail(err, COS_E_KERNEL, -k->logs, "open %s/log", k->args->state_dir)
		       : 0;
}

/* A process of its own takes what is held; this one, which somebody waits for, can end. */
static bool leave_holder(struct keeper *k)
{
	unsigned n;
	struct keep_item *items;
	pid_t pid;

	if (k->args->holding || !kept_any_lives(k) || !(items = kept_items(k, &n)))
		return false;
	pid = fork();
	if (pid == 0) {
		setsid();
		keep_become(k->args, items, n, true);
		_exit(1);
	}
	free(items);
	if (pid > 0)
		log_say(LOG_INFO, "process %d holds %u guests for the next cosd", (int)pid, n);
	return pid > 0;
}

/* A sweep that the worker left behind may still have files open. */
static void unmount_state(struct keeper *k)
{
	for (int i = 0; i < UNMOUNT_TRIES; i++) {
		if (umount2(k->args->state_dir, UMOUNT_NOFOLLOW) == 0) {
			unlinkat(k->runtime, KEEP_STATE_MOUNT, 0);
			return;
		}
		usleep(UNMOUNT_WAIT_USEC);
	}
	log_say(LOG_WARN, "%s stays mounted: %s", k->args->state_dir, strerrorname_np(errno));
}

static void finish(struct keeper *k)
{
	bool held = leave_holder(k);

	if (k->args->holding) {
		unlinkat(k->runtime, "hold.sock", 0);
		return;
	}
	unlinkat(k->runtime, "cosd.pid", 0);
	unlinkat(k->runtime, "cosd.sock", 0);
	unlinkat(k->runtime, "user.sock", 0);
	kept_drop(k);
	close_p(&k->logs);
	if (!held && k->args->state_mounted)
		unmount_state(k);
	if (!held)
		hostwide_release(k->args->instance, k->args->id_base, k->args->id_count);
	unlinkat(k->runtime, "keep.pid", 0); /* last: whoever waits for the end looks at it */
}

/* Three descriptors for each guest. */
static void raise_nofile(void)
{
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim) == 0) {
		lim.rlim_cur = lim.rlim_max;
		setrlimit(RLIMIT_NOFILE, &lim);
	}
}

int keep_run(const struct keep_args *a, const struct keep_item *items, unsigned n)
{
	struct keeper k = {
		.args = a,
		.runtime = -1,
		.logs = -1,
		.link = { .fd = -1 },
		.restart = { .fire = restart_fire },
		.stop_kill = { .fire = stop_kill_fire },
	};
	struct cos_err err = { 0 };
	char pid[16];
	int r;

	list_init(&k.kept);
	raise_nofile();
	prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	if (a->kill_points)
		points_enable(a->runtime_dir);
	r = loop_init(&k.loop) < 0 ? cos_fail(&err, COS_E_KERNEL, errno, "epoll")
				   : open_dirs(&k, &err);
	if (r == 0)
		r = watch_signals(&k, &err);
	if (r < 0) {
		log_say(LOG_ERROR, "keeper: %s", err.why);
		return 1;
	}
	if (!a->holding) {
		snprintf(pid, sizeof(pid), "%d\n", (int)getpid());
		io_replace_at(k.runtime, "keep.pid", pid, strlen(pid), 0644, false);
		notify_main_pid();
	}
	for (unsigned i = 0; i < n; i++)
		kept_add(&k, &items[i].m, items[i].pidfd, items[i].console);
	reap(&k); /* children that ended while this process became the keeper */
	if (!a->holding)
		start_worker(&k);
	else if (kept_listen(&k, &err) < 0)
		log_say(LOG_ERROR, "holder: %s", err.why);
	r = loop_run(&k.loop);
	finish(&k);
	return r < 0 || k.failed;
}
