/* cosd/jobs.c - long work is a child process with its own command line: cow-fs
 *
 * Its standard output has lines "progress FILES BYTES" and "warning TEXT", which become answers; on
 * failure its standard error ends with the error as JSON. The child has neither descriptors nor
 * environment of the daemon but what is named here. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cosd/api.h"
#include "lib/base/jsonx.h"
#include "lib/base/log.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "lib/kern/proc.h"

#define SWEEP_INLINE 64 /* entries that are removed at once; more are a child's work */
#define ARGS_MAX     16
#define JOB_INPUT    3

struct job {
	struct list link;
	struct daemon *d;
	struct call *call; /* NULL: nobody waits */
	struct loop_source out, errors, process;
	struct loop_timer free_timer;
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
	struct loop_source *const s[] = { &j->out, &j->errors, &j->process };

	for (size_t i = 0; i < ARRAY_SIZE(s); i++) {
		loop_del(s[i]);
		close_p(&s[i]->fd);
	}
	list_del(&j->link);
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

static void job_error(struct job *j, int status, struct cos_err *err)
{
	auto_json json_t *e = NULL;
	const char *start = strchr(j->error, '{'), *name;

	j->error[j->n_error] = '\0';
	*err = (struct cos_err){ .code = COS_E_INTERNAL };
	if (start)
		e = json_loads(start, JSON_DISABLE_EOF_CHECK, NULL);
	name = json_string_value(json_object_get(e, "error"));
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
	if (j->again)
		jobs_sweep(j->d);
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

static void run_child(int program, char *const *argv, int input, int out, int errors)
{
	char *const env[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", NULL };
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC), keep;

	proc_reset_signals();
	input = input < 0 ? -1 : fcntl(input, F_DUPFD_CLOEXEC, 100);
	keep = fcntl(program, F_DUPFD_CLOEXEC, 100);
	if (dup2(null, 0) < 0 || dup2(out, 1) < 0 || dup2(errors, 2) < 0 ||
	    (input >= 0 && dup2(input, JOB_INPUT) < 0))
		_exit(125);
	proc_close_but((int[]){ keep, input >= 0 ? JOB_INPUT : -1 }, 2);
	syscall(SYS_execveat, keep, "", argv, env, 0x1000 /* AT_EMPTY_PATH */);
	_exit(127);
}

static int watch(struct job *j, struct loop_source *s, int fd,
		 void (*ready)(struct loop_source *, uint32_t))
{
	*s = (struct loop_source){ .fd = fd, .ready = ready };
	return loop_add(&j->d->loop, s, EPOLLIN);
}

static int spawn(struct job *j, char *const *argv, int input, struct cos_err *err)
{
	auto_close int program = open_program(j->d->args->exe);
	int out[2], errors[2];
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
	pid = fork();
	if (pid == 0) {
		fcntl(out[1], F_SETFL, 0);
		fcntl(errors[1], F_SETFL, 0);
		run_child(program, argv, input, out[1], errors[1]);
	}
	close(out[1]);
	close(errors[1]);
	j->out.fd = out[0];
	j->errors.fd = errors[0];
	if (pid < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "fork");
	j->pidfd = proc_pidfd(pid);
	if (j->pidfd < 0 || watch(j, &j->out, out[0], out_ready) < 0 ||
	    watch(j, &j->errors, errors[0], errors_ready) < 0 ||
	    watch(j, &j->process, j->pidfd, process_ready) < 0) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		return cos_fail(err, COS_E_KERNEL, EIO, "watch cow-fs");
	}
	return 0;
}

static int start(struct daemon *d, struct call *c, const char *const *args, int input,
		 struct cos_err *err)
{
	char *argv[ARGS_MAX] = { "cow-fs", "--state-dir", (char *)d->args->state_dir,
				 "--json-errors", "--progress" };
	struct job *j = calloc(1, sizeof(*j));
	size_t n = 5;
	int r;

	if (!j)
		return cos_fail(err, COS_E_KERNEL, ENOMEM, "cow-fs");
	while (*args && n + 1 < ARGS_MAX)
		argv[n++] = (char *)*args++;
	j->d = d;
	j->call = c;
	j->warnings = json_array();
	j->out.fd = j->errors.fd = j->process.fd = -1;
	list_add_tail(&d->jobs, &j->link);
	r = spawn(j, argv, input, err);
	if (r < 0)
		job_end(j);
	return r;
}

int job_start(struct call *c, const char *const *args, int input, struct cos_err *err)
{
	return start(c->d, c, args, input, err);
}

void jobs_sweep(struct daemon *d)
{
	static const char *const args[] = { "sweep", NULL };
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
	if (r == -EAGAIN && start(d, NULL, args, -1, &err) < 0)
		log_say(LOG_ERROR, "%s", err.why);
}
