/* cosd/worker.c - the worker: opens everything, recovers, serves */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cosd/admit.h"
#include "cosd/bucket.h"
#include "cosd/call.h"
#include "cosd/cpus.h"
#include "cosd/guest.h"
#include "cosd/io-bucket.h"
#include "cosd/hits.h"
#include "cosd/meter.h"
#include "cosd/points.h"
#include "cosd/requires.h"
#include "cow-fs/mount.h"
#include "cow-fs/space.h"
#include "lib/base/clock.h"
#include "lib/base/io.h"
#include "lib/base/log.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "lib/kern/proc.h"

static void reload(struct daemon *d)
{
	struct conf next;
	struct cos_err err;

	if (conf_load(d->args, false, &next, &err) < 0 ||
	    conf_check_reload(&d->conf, &next, &err) < 0) {
		log_say(LOG_ERROR, "configuration not reloaded, the old one stays: %s", err.why);
		event_say(d, NULL, "reload-refused", json_pack("{s:s}", "reason", err.why));
		return;
	}
	d->conf = next;
	log_open("cosd", (enum log_level)d->conf.log_level);
	meters_reload(d);
	log_say(LOG_INFO, "configuration reloaded");
	event_say(d, NULL, "reload", NULL);
}

/* Sent to the worker, an end is meant for the daemon; sent by the keeper, it is the worker's. */
static void signal_ready(struct loop_source *s, uint32_t events)
{
	struct daemon *d = container_of(s, struct daemon, signals);
	struct signalfd_siginfo si;

	(void)events;
	while (read(s->fd, &si, sizeof(si)) == sizeof(si)) {
		if (si.ssi_signo == SIGHUP)
			reload(d);
		else if ((pid_t)si.ssi_pid == getppid())
			d->loop.stop = true;
		else
			keeplink_stop(d);
	}
}

static int watch_signals(struct daemon *d, struct cos_err *err)
{
	sigset_t set;
	int r;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_SETMASK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	d->signals = (struct loop_source){
		.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK),
		.ready = signal_ready,
	};
	r = d->signals.fd < 0 ? -errno : loop_add(&d->loop, &d->signals, EPOLLIN);
	return r < 0 ? cos_fail(err, COS_E_KERNEL, -r, "watch signals") : 0;
}

static int open_dirs(struct daemon *d, struct cos_err *err)
{
	d->state = open(d->args->state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	d->runtime = open(d->args->runtime_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (d->state < 0 || d->runtime < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "open %s",
				d->state < 0 ? d->args->state_dir : d->args->runtime_dir);
	return 0;
}

/* The daemon takes all the descriptors it may have; guests start with what it was started with. */
static void raise_nofile(struct daemon *d)
{
	struct rlimit lim;

	getrlimit(RLIMIT_NOFILE, &lim);
	d->host.nofile[0] = lim.rlim_cur > 1024 ? 1024 : lim.rlim_cur;
	d->host.nofile[1] = lim.rlim_max;
	lim.rlim_cur = lim.rlim_max;
	setrlimit(RLIMIT_NOFILE, &lim);
}

/* For tests of what older kernels need: features named in --without are not used. */
static unsigned without(const char *names)
{
	static const struct {
		const char *name;
		unsigned bit;
	} all[] = {
#define X(id, name, since, help) { name, 1U << COWFS_##id },
		COWFS_FEATURES(X)
#undef X
	};
	unsigned bits = 0;

	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		if (strstr(names, all[i].name))
			bits |= all[i].bit;
	}
	return bits;
}

int program_open(const char *exe, const char *folder, const char *name)
{
	const char *slash = strrchr(exe, '/');
	char path[PATH_MAX];
	int fd = -1;

	if (slash && str_fmt(path, sizeof(path), "%.*s/%s", (int)(slash - exe), exe, name))
		fd = open(path, O_RDONLY | O_CLOEXEC);
	if (slash && fd < 0 &&
	    str_fmt(path, sizeof(path), "%.*s/../%s/%s", (int)(slash - exe), exe, folder, name))
		fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* Hosts without machines need none. */
static int open_vmm(const struct daemon *d, struct cos_err *err)
{
	auto_close int fd = program_open(d->args->exe, "vmm", "cos-vmm");
	int sealed = fd < 0 ? fd : launch_vmm_seal(fd);

	if (sealed < 0 && sealed != -ENOENT)
		return cos_fail(err, COS_E_KERNEL, -sealed, "seal cos-vmm");
	return sealed < 0 ? 0 : sealed;
}

static int open_host(struct daemon *d, struct cos_err *err)
{
	int r = cg_topo_open(d->args->instance, &d->host.topo, err);

	if (r < 0)
		return r;
	raise_nofile(d);
	d->host.oom_adj = launch_oom_adj();
	d->host.init = launch_init_open(err);
	if (d->host.init < 0)
		return d->host.init;
	r = open_vmm(d, err);
	if (r < 0)
		return r;
	d->host.vmm = r > 0 ? r : -1;
	r = cowfs_open(d->state, &d->cow, err);
	if (r < 0)
		return r;
	d->cow.busy_msec = 0;
	d->cow.project_base = (uint32_t)d->conf.project_base;
	cowfs_limit_tidy(&d->cow);
	r = cowfs_probe(d->cow.dir, err);
	if (r < 0)
		return r;
	d->host.overlay = (unsigned)r & ~without(d->args->without);
	return 0;
}

static int setup(struct daemon *d, struct cos_err *err)
{
	int r = loop_init(&d->loop);

	if (r < 0)
		return cos_fail(err, COS_E_KERNEL, -r, "epoll");
	r = conf_load(d->args, false, &d->conf, err);
	if (r == 0 && (r = proc_boot_id(d->boot_id)) < 0)
		r = cos_fail(err, COS_E_KERNEL, -r, "read the boot id");
	if (r == 0)
		r = open_dirs(d, err);
	if (r == 0)
		r = watch_signals(d, err);
	if (r == 0)
		r = store_open(d, err);
	if (r == 0)
		r = events_open(d, err);
	if (r == 0)
		r = open_host(d, err);
	if (r == 0 && !(d->slots = calloc(d->args->id_count / 8 + 1, 1)))
		r = cos_fail(err, COS_E_KERNEL, ENOMEM, "slots");
	if (r == 0) {
		buckets_init(d);
		io_buckets_init(d);
		r = net_open(d, err);
	}
	if (r == 0)
		r = meters_open(d, err);
	if (r == 0)
		r = recover(d, err);
	if (r == 0)
		r = net_ready(d, err);
	if (r == 0) {
		cpus_share(d);
		admit_weigh(d);
		hits_init(d);
		memory_init(d);
		meters_start(d);
		pool_init(d);
		requires_init(d);
	}
	if (r == 0)
		r = conns_listen(d, err);
	if (r == 0 && (r = keeplink_watch(d)) < 0)
		r = cos_fail(err, COS_E_KERNEL, -r, "watch the keeper");
	return r;
}

static void write_pid(struct daemon *d)
{
	char pid[16];

	snprintf(pid, sizeof(pid), "%d\n", (int)getpid());
	if (io_replace_at(d->runtime, "cosd.pid", pid, strlen(pid), 0644, false) < 0)
		log_say(LOG_WARN, "cosd.pid not written");
}

/* Starts that are under way end with the worker: their guests were not released. */
static void abandon_starts(struct daemon *d)
{
	struct list *p, *next;
	struct cos_err err;

	list_for_each_safe(p, next, &d->guests) {
		struct guest *g = list_entry(p, struct guest, link);

		if (g->state == GS_STARTING && guest_event(g, GE_STOP, &err) == 0 &&
		    guest_event(g, GE_DOWN, &err) == 0)
			guest_drop_unstarted(g);
	}
}

int worker_run(struct keep_args *a, int link)
{
	struct daemon d = {
		.args = a,
		.keeper = { .fd = link },
		.reaper = { .fire = slot_reaper_fire },
	};
	struct list *const lists[] = { &d.guests, &d.rules,   &d.conns, &d.jobs,   &d.execs,
				       &d.checks, &d.waiting, &d.dying, &d.buckets };
	struct cos_err err = { 0 };
	int r;

	for (size_t i = 0; i < ARRAY_SIZE(lists); i++)
		list_init(lists[i]);
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	umask(022);
	if (a->kill_points)
		points_enable(a->runtime_dir);
	r = setup(&d, &err);
	if (r < 0) {
		log_say(LOG_ERROR, "cosd: %s%s%s; %s", err.what, err.what[0] ? ": " : "", err.why,
			cos_err_todo(&err));
		cg_topo_close(&d.host.topo, a->instance, true);
		return 1;
	}
	log_open("cosd", (enum log_level)d.conf.log_level);
	write_pid(&d);
	event_say(&d, NULL, "daemon-start", json_pack("{s:s}", "version", PACKAGE_VERSION));
	jobs_sweep(&d);
	keeplink_ready(&d);
	r = loop_run(&d.loop);
	abandon_starts(&d);
	jobs_close(&d);
	conns_close(&d);
	event_say(&d, NULL, "daemon-stop", NULL);
	meters_close(&d);
	net_close(&d);
	cg_topo_close(&d.host.topo, a->instance, true);
	return r < 0;
}
