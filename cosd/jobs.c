/* cosd/jobs.c - long work is a child process with its own command line: cow-fs
 *
 * Its standard output has lines "progress FILES BYTES" and "warning TEXT", which become answers; on
 * failure its standard error ends with the error as JSON. The child has neither descriptors nor
 * environment of the daemon but what is named here. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cosd/api.h"
#include "cosd/guest.h"
#include "lib/base/clock.h"
#include "lib/base/jsonx.h"
#include "lib/base/log.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "lib/kern/proc.h"

#define SWEEP_INLINE 64 /* entries that are removed at once; more are a child's work */
#define ARGS_MAX     16
#define JOB_INPUT    3
#define JOB_GUEST    4
#define GRACE_USEC   USEC_PER_SEC

struct job {
	struct list link;
	struct daemon *d;
	struct call *call; /* NULL: nobody waits */
	struct loop_source out, errors, process;
	struct loop_source guest; /* pidfd of the one that it works in; -1 */
	char guest_name[NAME_SIZE];
	struct loop_timer free_timer, kill_timer;
	int pidfd;
	char line[512], error[2048];
	size_t n_line, n_error;
	uint64_t files, bytes;
	json_t *warnings;
	bool again; /* a sweep: there is more since it began */
};

static void job_free_fire(struct loop_timer *t)
{
	struct job *j = container_of(t, struct job, free_timer);

	json_decref(j->warnings);
	free(j);
}

static void job_end(struct job *j)
{
	struct loop_source *const s[] = { &j->out, &j->errors, &j->process, &j->guest };

	for (size_t i = 0; i < ARRAY_SIZE(s); i++) {
		loop_del(s[i]);
		close_p(&s[i]->fd);
	}
	list_del(&j->link);
	loop_timer_clear(&j->kill_timer);
	j->free_timer.fire = job_free_fire;
	loop_timer_set(&j->d->loop, &j->free_timer, 0);
}

static void take_line(struct job *j, const char *line)
{
	static const char warning[] = "warning ";

	if (sscanf(line, "progress %" SCNu64 " %" SCNu64, &j->files, &j->bytes) == 2) {
		if (j->call && j->call->more)
			call_continue(j->call,
				      json_pack("{s:I, s:I}", "files", (json_int_t)j->files,
						"bytes", (json_int_t)j->bytes),
				      NULL, 0);
	} else if (strncmp(line, warning, strlen(warning)) == 0 &&
		   json_array_size(j->warnings) < 32) {
		json_array_append_new(j->warnings, json_string(line + strlen(warning)));
	}
}

static void drain_out(struct job *j)
{
	ssize_t n;

	while ((n = read(j->out.fd, j->line + j->n_line, sizeof(j->line) - 1 - j->n_line)) > 0) {
		char *end;

		j->n_line += (size_t)n;
		j->line[j->n_line] = '\0';
		while ((end = strchr(j->line, '\n'))) {
			*end = '\0';
			take_line(j, j->line);
			j->n_line -= (size_t)(end + 1 - j->line);
			memmove(j->line, end + 1, j->n_line + 1);
		}
		if (j->n_line == sizeof(j->line) - 1)
			j->n_line = 0; /* no line of ours is that long */
	}
	if (n == 0)
		loop_del(&j->out);
}

static void drain_errors(struct job *j)
{
	char buf[1024];
	ssize_t n;

	while ((n = read(j->errors.fd, buf, sizeof(buf))) > 0) {
		size_t room = sizeof(j->error) - 1 - j->n_error;
		size_t take = (size_t)n < room ? (size_t)n : room;

		memcpy(j->error + j->n_error, buf, take);
		j->n_error += take;
	}
	if (n == 0)
		loop_del(&j->errors);
}

static void out_ready(struct loop_source *s, uint32_t events)
{
	(void)events;
	drain_out(container_of(s, struct job, out));
}

static void errors_ready(struct loop_source *s, uint32_t events)
{
	(void)events;
	drain_errors(container_of(s, struct job, errors));
}

static void copy(char *to, size_t size, json_t *j, const char *key)
{
	str_fmt(to, size, "%s", json_string_value(json_object_get(j, key)) ?: "");
}

static bool guest_is_gone(const struct job *j)
{
	const struct guest *g = guest_find(j->d, j->guest_name);
	struct pollfd p = { .fd = j->guest.fd, .events = POLLIN };

	return !g || g->state == GS_STOPPING || poll(&p, 1, 0) != 0;
}

/* What works in a guest is killed with it, or by its limits. */
static int killed_inside(const struct job *j, struct cos_err *err)
{
	int r;

	if (guest_is_gone(j))
		return cos_fail(err, COS_E_NOT_RUNNING, 0, "%s ended meanwhile", j->guest_name);
	r = cos_fail(err, COS_E_KERNEL, 0, "the process that works in %s was killed",
		     j->guest_name);
	return cos_advise(err, r, "'cosctl stats %s' tells whether memory.max was reached",
			  j->guest_name);
}

static void job_error(struct job *j, int status, struct cos_err *err)
{
	auto_json json_t *e = NULL;
	const char *start, *name;

	j->error[j->n_error] = '\0';
	start = strchr(j->error, '{');
	*err = (struct cos_err){ .code = COS_E_INTERNAL };
	if (start)
		e = json_loads(start, JSON_DISABLE_EOF_CHECK, NULL);
	name = json_string_value(json_object_get(e, "error"));
	if (!name && j->guest.fd >= 0 && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) {
		killed_inside(j, err);
		return;
	}
	if (!name) {
		cos_fail(err, COS_E_INTERNAL, 0, "cow-fs ended with wait status %#x: %.200s",
			 status, j->error);
		return;
	}
	err->code = cos_err_by_name(name);
	copy(err->what, sizeof(err->what), e, "what");
	copy(err->why, sizeof(err->why), e, "why");
	copy(err->todo, sizeof(err->todo), e, "todo");
}

static void process_ready(struct loop_source *s, uint32_t events)
{
	struct job *j = container_of(s, struct job, process);
	struct cos_err err;
	int status;

	(void)events;
	if (proc_exit_status(s->fd, &status) < 0)
		return;
	proc_reap(s->fd);
	drain_out(j);
	drain_errors(j);
	if (j->call && status == 0) {
		call_reply(j->call,
			   json_pack("{s:I, s:I, s:O}", "files", (json_int_t)j->files, "bytes",
				     (json_int_t)j->bytes, "warnings", j->warnings),
			   NULL, 0);
	} else if (status != 0) {
		job_error(j, status, &err);
		if (j->call)
			call_fail(j->call, &err);
		else
			log_say(LOG_ERROR, "cow-fs: %s", err.why);
	}
	j->call = NULL;
	job_end(j);
	if (j->again || WIFSIGNALED(status)) /* it could not clear away what it had made */
		jobs_sweep(j->d);
}

static void kill_fire(struct loop_timer *t)
{
	proc_signal(container_of(t, struct job, kill_timer)->pidfd, SIGKILL);
}

/* Nobody waits for the result. What works in a guest has seen its stream end with the client: it
 * may take away what it has made in part. */
static void client_gone(struct call *c)
{
	struct job *j = c->data;

	loop_timer_set(&j->d->loop, &j->kill_timer, GRACE_USEC);
}

static void guest_ended_meanwhile(struct loop_source *s, uint32_t events)
{
	(void)events;
	proc_signal(container_of(s, struct job, guest)->pidfd, SIGKILL);
	loop_del(s);
}

/* The program lies beside cosd, or beside cosd's folder in a build tree. */
static int open_program(const char *exe)
{
	static const char *const places[] = { "cow-fs", "../cow-fs/cow-fs" };
	const char *slash = strrchr(exe, '/');
	int fd = -1;

	for (size_t i = 0; slash && i < ARRAY_SIZE(places) && fd < 0; i++) {
		char path[PATH_MAX];

		str_fmt(path, sizeof(path), "%.*s/%s", (int)(slash - exe), exe, places[i]);
		fd = open(path, O_PATH | O_CLOEXEC);
	}
	return fd < 0 ? -errno : fd;
}

/* What becomes of the child; all borrowed. */
struct child {
	int program, input, out, errors;
	int guest; /* pidfd of the one in whose groups it is to be; -1: the daemon's */
	const char *guest_name;
	const struct cg_guest *cg;
};

/* As the child itself would tell it. */
static void tell_error(int fd, const struct cos_err *err)
{
	auto_json json_t *j =
		json_pack("{s:s, s:s, s:s, s:s}", "error", cos_err_defs[err->code].name, "what",
			  err->what, "why", err->why, "todo", cos_err_todo(err));

	json_dumpfd(j, fd, JSON_COMPACT | JSON_ENSURE_ASCII);
}

static void enter_groups(const struct child *c, const struct cg_topo *topo)
{
	int tasks[CG_HIER_MAX + 1];
	struct cos_err err;
	int r = cg_open_tasks(topo, c->cg, tasks, &err);

	if (r == 0) {
		r = cg_enter_self(tasks);
		if (r < 0)
			cos_fail(&err, COS_E_KERNEL, -r, "enter the control groups");
	}
	if (r == 0)
		return;
	tell_error(c->errors, &err);
	_exit(1);
}

static void run_child(const struct child *c, const struct cg_topo *topo, char *const *argv)
{
	char *const env[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", NULL };
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC), keep, input, guest;

	proc_reset_signals();
	fcntl(c->out, F_SETFL, 0);
	fcntl(c->errors, F_SETFL, 0);
	if (c->cg)
		enter_groups(c, topo);
	input = c->input < 0 ? -1 : fcntl(c->input, F_DUPFD_CLOEXEC, 100);
	guest = c->guest < 0 ? -1 : fcntl(c->guest, F_DUPFD_CLOEXEC, 100);
	keep = fcntl(c->program, F_DUPFD_CLOEXEC, 100);
	if (dup2(null, 0) < 0 || dup2(c->out, 1) < 0 || dup2(c->errors, 2) < 0 ||
	    (input >= 0 && dup2(input, JOB_INPUT) < 0) ||
	    (guest >= 0 && dup2(guest, JOB_GUEST) < 0))
		_exit(125);
	proc_close_but((int[]){ keep, input >= 0 ? JOB_INPUT : -1, guest >= 0 ? JOB_GUEST : -1 },
		       3);
	syscall(SYS_execveat, keep, "", argv, env, 0x1000 /* AT_EMPTY_PATH */);
	_exit(127);
}

/* As fork(), with the child in the guest's groups. */
static pid_t fork_child(const struct child *c, const struct cg_topo *topo, struct cos_err *err)
{
	auto_close int group = c->cg ? cg_exec_dir(topo, c->cg, err) : -1;
	struct clone_args ca = {
		.flags = group >= 0 ? CLONE_INTO_CGROUP : 0,
		.exit_signal = SIGCHLD,
		.cgroup = group >= 0 ? (uint64_t)group : 0,
	};
	pid_t pid;

	if (c->cg && group < 0 && topo->v2 >= 0)
		return group;
	pid = (pid_t)syscall(SYS_clone3, &ca, sizeof(ca));
	if (pid < 0 && errno == EAGAIN && c->cg)
		return cos_advise(err, cos_fail(err, COS_E_ADMISSION, EAGAIN, "clone3"),
				  "the guest may have reached its pids.max: 'cosctl stats' tells");
	return pid < 0 ? cos_fail(err, COS_E_KERNEL, errno, "clone3") : pid;
}

static int watch(struct job *j, struct loop_source *s, int fd,
		 void (*ready)(struct loop_source *, uint32_t))
{
	*s = (struct loop_source){ .fd = fd, .ready = ready };
	return loop_add(&j->d->loop, s, EPOLLIN);
}

static int watch_all(struct job *j, pid_t pid)
{
	int r;

	j->pidfd = proc_pidfd(pid);
	r = j->pidfd < 0 ? j->pidfd : watch(j, &j->out, j->out.fd, out_ready);
	if (r == 0)
		r = watch(j, &j->errors, j->errors.fd, errors_ready);
	if (r == 0)
		r = watch(j, &j->process, j->pidfd, process_ready);
	if (r == 0 && j->guest.fd >= 0)
		r = watch(j, &j->guest, j->guest.fd, guest_ended_meanwhile);
	return r;
}

static int spawn(struct job *j, struct child *c, char *const *argv, struct cos_err *err)
{
	auto_close int program = open_program(j->d->args->exe);
	int out[2], errors[2], r;
	pid_t pid;

	if (program < 0)
		return cos_fail(err, COS_E_UNSUPPORTED, -program, "open cow-fs beside %s",
				j->d->args->exe);
	if (pipe2(out, O_CLOEXEC | O_NONBLOCK) < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "pipe");
	if (pipe2(errors, O_CLOEXEC | O_NONBLOCK) < 0) {
		close(out[0]);
		close(out[1]);
		return cos_fail(err, COS_E_KERNEL, errno, "pipe");
	}
	c->program = program;
	c->out = out[1];
	c->errors = errors[1];
	pid = fork_child(c, &j->d->host.topo, err);
	if (pid == 0)
		run_child(c, &j->d->host.topo, argv);
	close(out[1]);
	close(errors[1]);
	j->out.fd = out[0];
	j->errors.fd = errors[0];
	if (pid < 0)
		return pid;
	r = watch_all(j, pid);
	if (r < 0) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		if (j->process.fd < 0)
			close_p(&j->pidfd);
		return cos_fail(err, COS_E_KERNEL, -r, "watch cow-fs");
	}
	return 0;
}

static int start(struct daemon *d, struct call *call, const char *const *args, struct child *c,
		 struct cos_err *err)
{
	char *argv[ARGS_MAX] = { "cow-fs", "--state-dir", (char *)d->args->state_dir,
				 "--json-errors", "--progress" };
	struct job *j = calloc(1, sizeof(*j));
	size_t n = 5;
	int r = 0;

	if (!j)
		return cos_fail(err, COS_E_KERNEL, ENOMEM, "cow-fs");
	while (*args && n + 1 < ARGS_MAX)
		argv[n++] = (char *)*args++;
	j->d = d;
	j->call = call;
	j->warnings = json_array();
	j->out.fd = j->errors.fd = j->process.fd = -1;
	j->kill_timer.fire = kill_fire;
	j->guest.fd = c->guest < 0 ? -1 : fcntl(c->guest, F_DUPFD_CLOEXEC, 0);
	list_add_tail(&d->jobs, &j->link);
	if (j->guest.fd < 0 && c->guest >= 0)
		r = cos_fail(err, COS_E_KERNEL, errno, "duplicate a descriptor");
	if (r == 0)
		r = spawn(j, c, argv, err);
	if (r < 0) {
		job_end(j);
		return r;
	}
	if (c->guest >= 0)
		str_fmt(j->guest_name, sizeof(j->guest_name), "%s", c->guest_name);
	if (call && !call->oneway) {
		call->data = j;
		call->client_gone = client_gone;
	}
	return 0;
}

int job_start(struct call *c, const char *const *args, int input, struct cos_err *err)
{
	struct child child = { .input = input, .guest = -1 };

	return start(c->d, c, args, &child, err);
}

int job_start_in(struct call *c, struct guest *g, const char *const *args, int input,
		 struct cos_err *err)
{
	struct cg_guest cg = CG_GUEST_NONE;
	struct child child = {
		.input = input,
		.guest = g->pidfd,
		.guest_name = g->name,
		.cg = &cg,
	};
	int r = guest_open_groups(g, &cg, err);

	if (r < 0)
		return r;
	r = start(c->d, c, args, &child, err);
	cg_close(&cg);
	return r;
}

void jobs_sweep(struct daemon *d)
{
	static const char *const args[] = { "sweep", NULL };
	struct child child = { .input = -1, .guest = -1 };
	struct cos_err err;
	struct list *p;
	int r;

	list_for_each(p, &d->jobs) { /* one child at a time, however many guests are deleted */
		struct job *j = list_entry(p, struct job, link);

		if (!j->call) {
			j->again = true;
			return;
		}
	}
	r = cowfs_sweep(&d->cow, SWEEP_INLINE);
	if (r == -EAGAIN && start(d, NULL, args, &child, &err) < 0)
		log_say(LOG_ERROR, "%s", err.why);
}
