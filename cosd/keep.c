/* cosd/keep.c - the keeper: parent of the worker, holder of what guests must not lose */
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
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cosd/console.h"
#include "cosd/hostwide.h"
#include "cosd/keep.h"
#include "cosd/notify.h"
#include "cosd/points.h"
#include "lib/base/clock.h"
#include "lib/base/io.h"
#include "lib/base/log.h"
#include "lib/base/loop.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "lib/kern/proc.h"

#define RESTART_QUICK_USEC USEC_PER_SEC /* a worker that lived shorter waits before the next */
#define STOP_WAIT_USEC     (5 * USEC_PER_SEC)
#define UNMOUNT_TRIES      50
#define UNMOUNT_WAIT_USEC  20000
#define RETRY_USEC         10000

struct keeper;

struct kept {
	struct list link;
	struct keeper *k;
	struct keep_msg m;
	int pidfd;
	bool told; /* the worker knows that it has ended */
	struct console console;
	struct loop_source src; /* the pidfd */
	struct loop_timer retry;
};

struct keeper {
	const struct keep_args *args;
	struct loop loop;
	struct list kept;
	struct loop_source signals, link;
	struct loop_timer restart, stop_kill;
	pid_t worker;
	uint64_t worker_began_usec;
	int runtime, logs;
	bool stopping, upgrade;
};

static struct kept *find(struct keeper *k, uint32_t slot)
{
	struct list *p;

	list_for_each(p, &k->kept) {
		if (list_entry(p, struct kept, link)->m.slot == slot)
			return list_entry(p, struct kept, link);
	}
	return NULL;
}

static int tell(struct keeper *k, const struct keep_msg *m, const int *fds, unsigned n)
{
	if (k->link.fd < 0 || k->args->holding)
		return -ENOTCONN;
	return (int)io_send_fds(k->link.fd, m, sizeof(*m), fds, n, MSG_DONTWAIT);
}

static bool any_lives(const struct keeper *k);

static void tell_exit(struct kept *e)
{
	struct keep_msg m = e->m;

	m.op = KEEP_EXIT;
	e->told = tell(e->k, &m, NULL, 0) > 0;
	if (e->k->args->holding && !any_lives(e->k))
		e->k->loop.stop = true;
	else if (!e->told && e->k->link.fd >= 0 && !e->k->args->holding) /* its queue is full */
		loop_timer_set(&e->k->loop, &e->retry, RETRY_USEC);
}

/* While the worker lives it is the parent and reaps; an orphan's parent is the keeper. */
static void kept_ended(struct kept *e)
{
	int status;

	point("keep", "exit", false, e->k->worker);
	if (!e->m.ended) {
		if (proc_exit_status(e->pidfd, &status) == -EAGAIN) {
			loop_timer_set(&e->k->loop, &e->retry, RETRY_USEC);
			point("keep", "exit", true, e->k->worker);
			return;
		}
		e->m.ended = 1;
		e->m.status = status;
		proc_reap(e->pidfd);
	}
	tell_exit(e);
	point("keep", "exit", true, e->k->worker);
}

static void kept_ready(struct loop_source *s, uint32_t events)
{
	struct kept *e = container_of(s, struct kept, src);

	(void)events;
	loop_del(s);
	kept_ended(e);
}

static void kept_retry(struct loop_timer *t)
{
	kept_ended(container_of(t, struct kept, retry));
}

static void kept_free(struct loop_timer *t)
{
	free(container_of(t, struct kept, retry));
}

static void add(struct keeper *k, const struct keep_msg *m, int pidfd, int console)
{
	struct kept *e = calloc(1, sizeof(*e));

	if (!e || find(k, m->slot)) {
		log_say(LOG_ERROR, "slot %u cannot be kept", m->slot);
		free(e);
		close_p(&pidfd);
		close_p(&console);
		return;
	}
	e->k = k;
	e->m = *m;
	e->m.name[sizeof(e->m.name) - 1] = '\0';
	e->pidfd = pidfd;
	e->src = (struct loop_source){ .fd = pidfd, .ready = kept_ready };
	e->retry.fire = kept_retry;
	list_add_tail(&k->kept, &e->link);
	if (console >= 0 && console_open(&e->console, &k->loop, console, k->logs, e->m.name,
					 k->args->log_bytes) < 0)
		log_say(LOG_ERROR, "console of %s: %s", e->m.name, strerrorname_np(errno));
	if (!e->m.ended && loop_add(&k->loop, &e->src, EPOLLIN) < 0)
		log_say(LOG_ERROR, "watch %s: %s", e->m.name, strerrorname_np(errno));
}

static void del(struct kept *e)
{
	console_close(&e->console);
	loop_del(&e->src);
	close_p(&e->pidfd);
	list_del(&e->link);
	e->retry.fire = kept_free; /* when the loop knows nothing of it any more */
	loop_timer_set(&e->k->loop, &e->retry, 0);
}

static bool send_list(struct keeper *k, int sock)
{
	struct keep_msg end = { .op = KEEP_END };
	struct list *p;

	list_for_each(p, &k->kept) {
		struct kept *e = list_entry(p, struct kept, link);
		int fds[2] = { e->pidfd, e->console.master };
		struct keep_msg m = e->m;

		m.op = KEEP_ITEM;
		e->told = e->m.ended;
		if (io_send_fds(sock, &m, sizeof(m), fds, e->console.open ? 2 : 1, 0) < 0)
			return false;
	}
	return io_send_fds(sock, &end, sizeof(end), NULL, 0, 0) > 0;
}

static void stop(struct keeper *k)
{
	k->stopping = true;
	if (k->worker > 0) {
		kill(k->worker, SIGTERM);
		loop_timer_set(&k->loop, &k->stop_kill, STOP_WAIT_USEC);
	} else {
		k->loop.stop = true;
	}
}

static void remove_log(struct keeper *k, const char *name)
{
	char file[80];

	str_fmt(file, sizeof(file), "%.63s.log", name);
	unlinkat(k->logs, file, 0);
	str_fmt(file, sizeof(file), "%.63s.log.1", name);
	unlinkat(k->logs, file, 0);
}

static void serve(struct keeper *k, const struct keep_msg *m, int *fds, unsigned n)
{
	struct kept *e = find(k, m->slot);

	switch ((enum keep_op)m->op) {
	case KEEP_ADD:
		point("keep", "add", false, k->worker);
		if (n >= 1)
			add(k, m, take_fd(fds[0]), n == 2 ? take_fd(fds[1]) : -1);
		point("keep", "add", true, k->worker);
		break;
	case KEEP_DEL:
		point("keep", "del", false, k->worker);
		if (e)
			del(e);
		point("keep", "del", true, k->worker);
		break;
	case KEEP_VIEW:
		if (e && n == 1)
			console_view(&e->console, take_fd(fds[0]));
		break;
	case KEEP_LIST:
		send_list(k, k->link.fd);
		break;
	case KEEP_READY:
		notify_ready();
		break;
	case KEEP_UNLOG:
		remove_log(k, m->name);
		break;
	case KEEP_STOP:
		stop(k);
		break;
	case KEEP_ITEM:
	case KEEP_END:
	case KEEP_EXIT:
		break;
	}
	for (unsigned i = 0; i < n; i++)
		close_p(&fds[i]);
}

static void link_ready(struct loop_source *s, uint32_t events)
{
	struct keeper *k = container_of(s, struct keeper, link);
	int fds[2] = { -1, -1 };
	unsigned n = 2;
	struct keep_msg m;
	ssize_t got = io_recv_fds(s->fd, &m, sizeof(m), fds, &n, MSG_DONTWAIT);

	(void)events;
	if (got == sizeof(m))
		serve(k, &m, fds, n);
	else if (got >= 0 || got != -EAGAIN) /* its end is reported by SIGCHLD as well */
		loop_del(s);
}

static void link_gone(struct loop_source *s)
{
	close_p(&s->fd);
}

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
	k->link = (struct loop_source){ .fd = fd, .ready = link_ready, .gone = link_gone };
	if (loop_add(&k->loop, &k->link, EPOLLIN) < 0)
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

static void worker_ended(struct keeper *k, int status)
{
	uint64_t lived = clock_usec() - k->worker_began_usec;

	k->worker = 0;
	loop_del(&k->link);
	if (k->stopping) {
		k->loop.stop = true;
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
		struct list *p;
		bool ours = false;

		list_for_each(p, &k->kept) {
			struct kept *e = list_entry(p, struct kept, link);

			if (e->m.pid == si.si_pid && !e->m.ended) {
				kept_ended(e);
				ours = true;
				break;
			}
		}
		if (!ours)
			waitpid(si.si_pid, NULL, WNOHANG);
	}
}

static void become_again(struct keeper *k);

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
			stop(k);
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

static struct keep_item *items_of(struct keeper *k, unsigned *ret_n)
{
	struct keep_item *items;
	unsigned n = 0;
	struct list *p;

	list_for_each(p, &k->kept)
		n++;
	items = calloc(n + 1, sizeof(*items));
	n = 0;
	list_for_each(p, &k->kept) {
		struct kept *e = list_entry(p, struct kept, link);

		if (!items)
			break;
		items[n].m = e->m;
		items[n].pidfd = e->pidfd;
		items[n++].console = e->console.open ? e->console.master : -1;
	}
	*ret_n = n;
	return items;
}

static bool any_lives(const struct keeper *k)
{
	struct list *p;

	list_for_each(p, &k->kept) {
		if (!list_entry(p, struct kept, link)->m.ended)
			return true;
	}
	return false;
}

/* --- holding: no worker, until the next daemon comes --- */

static void hold_ready(struct loop_source *s, uint32_t events)
{
	struct keeper *k = container_of(s, struct keeper, link);
	auto_close int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC);

	(void)events;
	if (fd < 0)
		return;
	if (send_list(k, fd))
		k->loop.stop = true; /* what was sent lives on in the other process */
}

static int hold_listen(struct keeper *k, struct cos_err *err)
{
	auto_close int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int r = 0;

	str_fmt(sa.sun_path, sizeof(sa.sun_path), "%s/hold.sock", k->args->runtime_dir);
	unlink(sa.sun_path);
	umask(0177);
	if (fd < 0 || bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 || listen(fd, 1) < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "listen at %s", sa.sun_path);
	k->link = (struct loop_source){ .fd = take_fd(fd), .ready = hold_ready };
	r = loop_add(&k->loop, &k->link, EPOLLIN);
	return r < 0 ? cos_fail(err, COS_E_KERNEL, -r, "watch %s", sa.sun_path) : 0;
}

/* A process of its own takes what is held; this one, which somebody waits for, can end. */
static bool leave_holder(struct keeper *k)
{
	unsigned n;
	struct keep_item *items;
	pid_t pid;

	if (k->args->holding || !any_lives(k) || !(items = items_of(k, &n)))
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
	items = items_of(k, &n);
	log_say(LOG_INFO, "the keeper executes %s", k->args->exe);
	keep_become(k->args, items, n, false);
	log_say(LOG_ERROR, "execute %s: %s: going on with the old program", k->args->exe,
		strerrorname_np(errno));
	free(items);
	k->upgrade = false;
	worker_ended(k, 0);
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
	while (!list_is_empty(&k->kept))
		del(list_entry(k->kept.next, struct kept, link));
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
		add(&k, &items[i].m, items[i].pidfd, items[i].console);
	reap(&k); /* children that ended while this process became the keeper */
	if (!a->holding)
		start_worker(&k);
	else if (hold_listen(&k, &err) < 0)
		log_say(LOG_ERROR, "holder: %s", err.why);
	r = loop_run(&k.loop);
	finish(&k);
	return r < 0;
}
