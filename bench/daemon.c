/* bench/daemon.c - a private cosd for a bench, and its client */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/daemon.h"
#include "lib/base/io.h"
#include "lib/base/own.h"
#include "lib/base/str.h"

#define READY_TRIES   2000 /* of 5 ms */
#define REPLY_MAX     (8U << 20)
#define END_WAIT_MSEC 20000

static int tell(int r, const char *what)
{
	fprintf(stderr, "bench: cos: %s: %s\n", what, r < 0 ? strerror(-r) : "failed");
	return r < 0 ? r : -EIO;
}

static int find_program(const struct bench *b, const char *env, const char *name, char *buf)
{
	const char *given = getenv(env);
	bool fits = given ? str_fmt(buf, PATH_MAX, "%s", given)
			  : str_fmt(buf, PATH_MAX, "%s/../%s/%s", b->home, name, name);

	if (fits && access(buf, X_OK) == 0)
		return 0;
	printf("# cos: no program %s (set %s)\n", buf, env);
	return -ENOENT;
}

static int wait_ready(const struct daemon *d)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };

	memcpy(sa.sun_path, d->socket, strlen(d->socket) + 1);
	for (int i = 0; i < READY_TRIES && !bench_stopped(); i++) {
		auto_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

		if (fd >= 0 && connect(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0)
			return 0;
		if (waitpid(d->pid, NULL, WNOHANG) == d->pid)
			return -ECHILD;
		bench_idle(5);
	}
	return -ETIMEDOUT;
}

static int start(struct daemon *d, const char *config)
{
	const char *argv[] = { d->cosd,     "--instance",
			       d->instance, "--state-dir",
			       d->state,    "--runtime-dir",
			       d->runtime,  config ? "--config" : NULL,
			       config,      NULL };
	int r;

	d->pid = bench_spawn(d->b, argv, -1);
	if (d->pid < 0)
		return tell(d->pid, d->cosd);
	r = wait_ready(d);
	if (r == -ECHILD)
		d->pid = -1;
	return r < 0 ? tell(r, "the daemon does not answer") : 0;
}

int daemon_open_with(struct daemon *d, const struct bench *b, const char *root, const char *config)
{
	const char *import[] = { "template", "import", "bench", d->runtime, NULL };
	char path[PATH_MAX];
	int r;

	*d = (struct daemon){ .b = b, .pid = -1 };
	if (find_program(b, "COSD", "cosd", d->cosd) < 0 ||
	    find_program(b, "COSCTL", "cosctl", d->cosctl) < 0)
		return -ENOENT;
	snprintf(d->instance, sizeof(d->instance), "bench-%d", getpid());
	snprintf(d->state, sizeof(d->state), "%s/state", b->dir);
	snprintf(d->runtime, sizeof(d->runtime), "%s/run", b->dir);
	snprintf(d->socket, sizeof(d->socket), "%s/cosd.sock", d->runtime);
	snprintf(path, sizeof(path), "%s/%s", b->dir, root);
	import[3] = path;
	r = start(d, config);
	if (r == 0) {
		r = daemon_call(d, import, -1);
		r = r == 0 ? 0 : tell(r, "template import");
	}
	if (r < 0) {
		bench_show_log(b);
		daemon_close(d);
	}
	return r;
}

int daemon_open(struct daemon *d, const struct bench *b, const char *root)
{
	return daemon_open_with(d, b, root, NULL);
}

static void end_process(struct daemon *d)
{
	auto_close int pidfd = (int)syscall(SYS_pidfd_open, d->pid, 0U);
	struct pollfd p = { .fd = pidfd, .events = POLLIN };

	kill(d->pid, SIGTERM);
	while (poll(&p, 1, END_WAIT_MSEC) < 0 && errno == EINTR)
		;
	kill(d->pid, SIGKILL);
	while (waitpid(d->pid, NULL, 0) < 0 && errno == EINTR)
		;
	d->pid = -1;
}

void daemon_close(struct daemon *d)
{
	static const char *const stop_all[] = { "stop", "--timeout", "0", "--all", NULL };
	static const char *const delete_all[] = { "delete", "--all", NULL };
	char groups[80];

	if (d->pid <= 0)
		return;
	daemon_call(d, stop_all, -1);
	daemon_call(d, delete_all, -1);
	end_process(d);
	str_fmt(groups, sizeof(groups), "cos.%s", d->instance);
	bench_cg_remove(d->b, ".", groups);
	io_remove_tree(d->b->dirfd, "run", 0);
	io_remove_tree(d->b->dirfd, "state", 0);
}

static void command(const struct daemon *d, const char *const *args, const char **argv)
{
	unsigned n = 0;

	argv[n++] = d->cosctl;
	argv[n++] = "--socket";
	argv[n++] = d->socket;
	while (*args && n < DAEMON_ARGS - 1)
		argv[n++] = *args++;
	argv[n] = NULL;
}

int daemon_call(const struct daemon *d, const char *const *args, int out)
{
	const char *argv[DAEMON_ARGS];

	command(d, args, argv);
	return bench_run(d->b, argv, out);
}

int daemon_ask(const struct daemon *d, const char *const *args, char *buf, size_t size)
{
	const char *argv[DAEMON_ARGS];

	command(d, args, argv);
	return bench_capture(d->b, argv, buf, size);
}

pid_t daemon_spawn(const struct daemon *d, const char *const *args, int out)
{
	const char *argv[DAEMON_ARGS];

	command(d, args, argv);
	return bench_spawn(d->b, argv, out);
}

struct reply_to {
	daemon_reply_fn *fn;
	void *arg;
};

/* Finds the replies in the order of the document, however deep the client's output holds them. */
static void find_replies(json_t *j, const struct reply_to *to)
{
	json_t *usec = json_object_get(j, "start_usec"), *v;
	const char *key;
	size_t i;

	if (json_is_integer(usec)) {
		to->fn(to->arg, (uint64_t)json_integer_value(usec), json_object_get(j, "steps"));
		return;
	}
	json_array_foreach(j, i, v) {
		find_replies(v, to);
	}
	json_object_foreach(j, key, v) {
		find_replies(v, to);
	}
}

int daemon_start(const struct daemon *d, const char *names, daemon_reply_fn *fn, void *arg)
{
	const char *args[] = { "start", "-o", "json", names, NULL };
	const struct reply_to to = { fn, arg };
	auto_free char *text = malloc(REPLY_MAX);
	const char *at = text;
	int r = text ? daemon_ask(d, args, text, REPLY_MAX) : -ENOMEM;

	if (r != 0)
		return r < 0 ? r : tell(0, "start");
	while (*at) { /* one document, or one in each line */
		json_error_t where;
		auto_json json_t *j = json_loads(at, JSON_DISABLE_EOF_CHECK, &where);

		if (!j)
			break;
		find_replies(j, &to);
		at += where.position;
	}
	return 0;
}
