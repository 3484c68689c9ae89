/* cosd/jobs.c - long work is a child process with its own command line: cow-fs
 *
 * Its standard output has lines "progress FILES BYTES" and "warning TEXT", which become answers; on
 * failure its standard error ends with the error as JSON. The child has neither descriptors nor
 * environment of the daemon but what is named here. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cosd/api.h"
#include "cosd/guest.h"
#include "cosd/job-child.h"
#include "cosd/job-group.h"
#include "lib/base/clock.h"
#include "lib/base/jsonx.h"
#include "lib/base/log.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "lib/kern/proc.h"

#define SWEEP_INLINE 64 /* entries that are removed at once; more are a child's work */
#define ARGS_MAX     24
#define GRACE_USEC   USEC_PER_SEC
#define FOUND_MAX    1000
#define CLOSE_TRIES  100 /* a millisecond each */

struct job {
	struct list link;
	struct daemon *d;
	struct call *call; /* NULL: nobody waits */
	struct loop_source out, errors, process;
	struct loop_source guest; /* pidfd of the one that it ends with; -1 */
	bool inside;              /* it works in that one's groups */
	bool background;          /* in d->job_group */
	char guest_name[NAME_SIZE], makes[NAME_SIZE];
	const char *how; /* GUEST is ... meanwhile */
	bool yields, yielded;
	void (*done)(const struct job_end *e);
	void *arg;
	struct loop_timer free_timer, kill_timer;
	int pidfd;
	char line[2048], error[2048];
	size_t n_line, n_error;
	uint64_t files, bytes;
	json_t *warnings, *found, *result;
	bool again; /* a sweep: there is more since it began */
};

static void job_free_fire(struct loop_timer *t)
{
	struct job *j = container_of(t, struct job, free_timer);

	json_decref(j->warnings);
	json_decref(j->found);
	json_decref(j->result);
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
	if (j->background)
		job_group_leave(j->d);
	loop_timer_clear(&j->kill_timer);
	j->free_timer.fire = job_free_fire;
	loop_timer_set(&j->d->loop, &j->free_timer, 0);
}

static void take_line(struct job *j, const char *line)
{
	static const char warning[] = "warning ";
	char object[65], what[16];

	if (sscanf(line, "progress %" SCNu64 " %" SCNu64, &j->files, &j->bytes) == 2) {
		if (j->call && j->call->more)
			call_continue(j->call,
				      json_pack("{s:I, s:I}", "files", (json_int_t)j->files,
						"bytes", (json_int_t)j->bytes),
				      NULL, 0);
	} else if (strncmp(line, warning, strlen(warning)) == 0 &&
		   json_array_size(j->warnings) < 32) {
		json_array_append_new(j->warnings, json_string(line + strlen(warning)));
	} else if (sscanf(line, "found %64s %15s", object, what) == 2 &&
		   json_array_size(j->found) < FOUND_MAX) {
		json_array_append_new(j->found,
				      json_pack("{s:s, s:s}", "object", object, "what", what));
	} else if (line[0] == '{' && !j->result) {
		j->result = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
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

static bool guest_is_gone(const struct job *j)
{
	const struct guest *g = guest_find(j->d, j->guest_name);
	struct pollfd p = { .fd = j->guest.fd, .events = POLLIN };

	return !g || g->state == GS_STOPPING || poll(&p, 1, 0) != 0;
}

/* What works in a guest or on its files is killed with it, or by its limits. */
static int say_killed(const struct job *j, struct cos_err *err)
{
	int r;

	if (j->yielded)
		return cos_advise(err,
				  cos_fail(err, COS_E_STATE, 0,
					   "%s was started or deleted meanwhile", j->guest_name),
				  "what is done stays done: try again");
	if (j->guest.fd >= 0 && guest_is_gone(j))
		return cos_fail(err, COS_E_NOT_RUNNING, 0, "%s ended meanwhile", j->guest_name);
	if (!j->inside)
		return cos_advise(err, cos_fail(err, COS_E_KERNEL, 0, "cow-fs was killed"),
				  "nothing is left half done: try again");
	r = cos_fail(err, COS_E_KERNEL, 0, "the process that works in %s was killed",
		     j->guest_name);
	return cos_advise(err, r, "'cosctl stats %s' tells whether memory.max was reached",
			  j->guest_name);
}

static void job_error(struct job *j, int status, struct cos_err *err)
{
	auto_json json_t *e = NULL;
	const char *start;

	j->error[j->n_error] = '\0';
	start = strchr(j->error, '{');
	if (start)
		e = json_loads(start, JSON_DISABLE_EOF_CHECK, NULL);
	if (e && jsonx_to_err(e, err))
		return;
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) {
		say_killed(j, err);
		return;
	}
	cos_fail(err, COS_E_INTERNAL, 0, "cow-fs ended with wait status %#x: %.200s", status,
		 j->error);
}

static void answer(struct job *j, int status)
{
	struct cos_err err;
	const struct job_end e = {
		.d = j->d,
		.call = j->call,
		.result = j->result,
		.warnings = j->warnings,
		.found = j->found,
		.err = status ? &err : NULL,
		.killed = WIFSIGNALED(status),
		.arg = j->arg,
	};

	if (status != 0)
		job_error(j, status, &err);
	if (j->done)
		j->done(&e);
	else if (j->call && status == 0 && j->call->job_done)
		j->call->job_done(j->call);
	else if (j->call && status == 0)
		call_reply(j->call,
			   json_pack("{s:I, s:I, s:O}", "files", (json_int_t)j->files, "bytes",
				     (json_int_t)j->bytes, "warnings", j->warnings),
			   NULL, 0);
	else if (j->call)
		call_fail(j->call, &err);
	else if (status != 0)
		log_say(LOG_ERROR, "cow-fs: %s", err.why);
	j->call = NULL;
}

static void process_ready(struct loop_source *s, uint32_t events)
{
	struct job *j = container_of(s, struct job, process);
	struct daemon *d = j->d;
	int status;

	(void)events;
	if (proc_exit_status(s->fd, &status) < 0)
		return;
	proc_reap(s->fd);
	drain_out(j);
	drain_errors(j);
	answer(j, status);
	job_end(j);
	if (j->how)
		guest_yielded(d, j->guest_name);
	if (j->again || WIFSIGNALED(status)) /* it could not clear away what it had made */
		jobs_sweep(j->d);
}

static void kill_job(struct job *j)
{
	if (j->background)
		job_group_hurry(j->d);
	proc_signal(j->pidfd, SIGKILL);
}

static void kill_fire(struct loop_timer *t)
{
	kill_job(container_of(t, struct job, kill_timer));
}

/* Nobody waits for the result. What works in a guest has seen its stream end with the client, what
 * tells how it gets on sees that nobody reads: they may take away what they have made in part. */
static void client_gone(struct call *c)
{
	struct job *j = c->data;

	loop_del(&j->out);
	close_p(&j->out.fd);
	loop_timer_set(&j->d->loop, &j->kill_timer, GRACE_USEC);
}

static void guest_ended_meanwhile(struct loop_source *s, uint32_t events)
{
	(void)events;
	kill_job(container_of(s, struct job, guest));
	loop_del(s);
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

static int spawn(struct job *j, struct job_child *c, char *const *argv, struct cos_err *err)
{
	auto_close int program = job_program(j->d->args->exe);
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
	pid = job_fork(c, &j->d->host, argv, err);
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

static int start(struct daemon *d, struct call *call, const struct job_order *o,
		 struct job_child *c, struct cos_err *err)
{
	char *argv[ARGS_MAX] = { "cow-fs", "--state-dir", (char *)d->args->state_dir,
				 "--json-errors", "--progress" };
	struct job *j = calloc(1, sizeof(*j));
	int pidfd = o->guest ? o->guest->pidfd : -1, r = 0;
	size_t n = 5;

	if (!j)
		return cos_fail(err, COS_E_KERNEL, ENOMEM, "cow-fs");
	for (const char *const *a = o->args; *a && n + 1 < ARGS_MAX; a++)
		argv[n++] = (char *)*a;
	*j = (struct job){
		.d = d,
		.call = call,
		.warnings = json_array(),
		.found = json_array(),
		.out.fd = -1,
		.errors.fd = -1,
		.process.fd = -1,
		.kill_timer.fire = kill_fire,
		.guest.fd = pidfd < 0 ? -1 : fcntl(pidfd, F_DUPFD_CLOEXEC, 0),
		.inside = c->guest >= 0,
		.how = o->how,
		.yields = o->yields,
		.done = o->done,
		.arg = o->arg,
	};
	str_fmt(j->guest_name, sizeof(j->guest_name), "%s", o->guest ? o->guest->name : "");
	str_fmt(j->makes, sizeof(j->makes), "%s", o->makes ?: "");
	c->input = o->input;
	c->worker = getpid();
	c->runtime = d->runtime;
	list_add_tail(&d->jobs, &j->link);
	if (j->guest.fd < 0 && pidfd >= 0)
		r = cos_fail(err, COS_E_KERNEL, errno, "duplicate a descriptor");
	if (r == 0 && o->background) {
		c->cg = job_group_enter(d, err);
		j->background = c->cg;
		r = c->cg ? 0 : -EIO;
	}
	if (r == 0)
		r = spawn(j, c, argv, err);
	if (r < 0) {
		job_end(j);
		return r;
	}
	if (call && !call->oneway) {
		call->data = j;
		call->client_gone = client_gone;
	}
	return 0;
}

int job_run(struct call *c, const struct job_order *o, struct cos_err *err)
{
	struct job_child child = { .guest = -1 };

	return start(c->d, c, o, &child, err);
}

int job_start(struct call *c, const char *const *args, int input, struct cos_err *err)
{
	const struct job_order o = { .args = args, .input = input };

	return job_run(c, &o, err);
}

int job_start_in(struct call *c, struct guest *g, const char *const *args, int input,
		 struct cos_err *err)
{
	const struct job_order o = { .args = args, .input = input, .guest = g };
	struct cg_guest cg = CG_GUEST_NONE;
	struct job_child child = { .guest = g->pidfd, .cg = &cg };
	int r = guest_open_groups(g, &cg, err);

	if (r < 0)
		return r;
	r = start(c->d, c, &o, &child, err);
	cg_close(&cg);
	return r;
}

/* The one that works on the files of guest NAME. */
static struct job *find_job(struct daemon *d, const char *name)
{
	struct list *p;

	list_for_each(p, &d->jobs) {
		struct job *j = list_entry(p, struct job, link);

		if (j->how && strcmp(j->guest_name, name) == 0)
			return j;
	}
	return NULL;
}

int jobs_check(struct daemon *d, const char *name, struct cos_err *err)
{
	const struct job *j = find_job(d, name);

	if (!j)
		return 0;
	return cos_advise(err, cos_fail(err, COS_E_IN_USE, 0, "%s is being %s", name, j->how),
			  "try again when that is done");
}

bool jobs_hold(struct daemon *d, const char *name)
{
	struct job *j = find_job(d, name);

	if (j && j->yields) {
		j->yielded = true;
		kill_job(j);
	}
	return j;
}

bool jobs_make(struct daemon *d, const char *name)
{
	struct list *p;

	list_for_each(p, &d->jobs) {
		if (strcmp(list_entry(p, struct job, link)->makes, name) == 0)
			return true;
	}
	return false;
}

unsigned jobs_background(const struct daemon *d)
{
	unsigned n = 0;
	struct list *p;

	list_for_each(p, &d->jobs)
		n += list_entry(p, struct job, link)->background;
	return n;
}

void jobs_close(struct daemon *d)
{
	struct list *p, *next;

	list_for_each_safe(p, next, &d->jobs) {
		struct job *j = list_entry(p, struct job, link);

		kill_job(j);
		proc_kill_wait(j->pidfd);
		job_end(j);
	}
	for (unsigned i = 0; i < CLOSE_TRIES && !list_is_empty(&d->dying); i++) {
		usleep(1000);
		slot_reaper_fire(&d->reaper);
	}
}

void jobs_sweep(struct daemon *d)
{
	static const char *const args[] = { "sweep", NULL };
	const struct job_order o = { .args = args, .input = -1 };
	struct job_child child = { .guest = -1 };
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
	if (r == -EAGAIN && start(d, NULL, &o, &child, &err) < 0)
		log_say(LOG_ERROR, "%s", err.why);
}
