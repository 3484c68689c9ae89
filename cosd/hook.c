/* cosd/hook.c - programs of the host that run on a guest's way through its life */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cosd/hook.h"
#include "lib/base/clock.h"
#include "lib/base/io.h"
#include "lib/base/log.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "lib/kern/proc.h"

#define OCI_VERSION "1.2.0" /* of the runtime specification whose words are used */
#define ENV_MAX     6
#define ENV_SIZE    160 /* the longest one is the path of a socket */

struct hook {
	struct guest *g; /* NULL: it is gone */
	enum hook_id id, next;
	hook_done *then;            /* NULL: given up */
	struct loop_source process; /* the one beside the hook */
	int report;
};

bool hook_is_set(const struct guest *g, enum hook_id id)
{
	return g->spec.hooks[id] != NULL;
}

bool hook_runs(const struct guest *g, enum hook_id id)
{
	const struct hook *h = g->hook;

	return h && h->then && (h->next == HOOK__N ? h->id : h->next) == id;
}

/* --- what it is given --- */

/* The guest as cos-api(7) describes it, with what OCI's hooks look for. */
static json_t *state_json(struct guest *g, enum hook_id id)
{
	json_t *j = guest_state_json(g);

	json_object_set_new(j, "ociVersion", json_string(OCI_VERSION));
	json_object_set_new(j, "id", json_string(g->name));
	json_object_set_new(j, "status", json_string(hook_defs[id].oci));
	json_object_set_new(j, "bundle",
			    json_sprintf("%s/cow/guests/%s", g->d->args->state_dir, g->name));
	return j;
}

static int make_input(struct guest *g, enum hook_id id)
{
	auto_close int fd = memfd_create("cos-hook", MFD_CLOEXEC);
	auto_json json_t *state = state_json(g, id);
	auto_free char *text = json_dumps(state, JSON_COMPACT);
	int r;

	if (fd < 0 || !text)
		return fd < 0 ? -errno : -ENOMEM;
	r = io_write_all(fd, text, strlen(text));
	if (r < 0)
		return r;
	return lseek(fd, 0, SEEK_SET) < 0 ? -errno : take_fd(fd);
}

static void make_env(const struct guest *g, enum hook_id id, char buf[ENV_MAX][ENV_SIZE])
{
	const struct keep_args *a = g->d->args;

	strcpy(buf[0], "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
	str_fmt(buf[1], ENV_SIZE, "COS_GUEST=%s", g->name);
	str_fmt(buf[2], ENV_SIZE, "COS_HOOK=%s", hook_defs[id].name);
	str_fmt(buf[3], ENV_SIZE, "COS_INSTANCE=%s", a->instance);
	str_fmt(buf[4], ENV_SIZE, "COS_SOCKET=%s/cosd.sock", a->runtime_dir);
	buf[5][0] = '\0';
	if (g->pid > 0)
		str_fmt(buf[5], ENV_SIZE, "COS_PID=%d", (int)g->pid);
}

static _Noreturn void run_child(const struct guest *g, enum hook_id id, int input, int report)
{
	char buf[ENV_MAX][ENV_SIZE], *env[ENV_MAX + 1] = { NULL };
	char *argv[SPEC_ARGS_MAX + 1] = { NULL };
	json_t *word;
	size_t i;

	make_env(g, id, buf);
	for (i = 0; i < ENV_MAX && buf[i][0]; i++)
		env[i] = buf[i];
	json_array_foreach(g->spec.hooks[id], i, word)
		argv[i] = (char *)json_string_value(word);
	hook_watch(&(struct hook_job){
		.argv = argv,
		.env = env,
		.input = input,
		.report = report,
		.time_usec = g->spec.hook_timeout * USEC_PER_SEC,
		.nofile = g->d->host.nofile,
	});
}

/* --- how it ended --- */

/* Lines of text; a byte that is none becomes '?'. Returns where the last line begins. */
static const char *clean(char *s, size_t n)
{
	char *last = s;

	for (char *p = s; p < s + n; p++) {
		if (*p == '\0')
			*p = '?';
		else if (*p == '\t' || *p == '\r')
			*p = ' ';
	}
	s[n] = '\0';
	while (n > 0 && (s[n - 1] == '\n' || s[n - 1] == ' '))
		s[--n] = '\0';
	for (char *line = s, *end; line; line = end ? end + 1 : NULL) {
		end = strchr(line, '\n');
		if (end)
			*end = '\0';
		str_make_text(line);
		if (line[0])
			last = line;
		if (end)
			*end = '\n';
	}
	return last;
}

static void say_failed(const struct guest *g, enum hook_id id, const char *reason, const char *text)
{
	json_t *more = json_pack("{s:s, s:s}", "hook", hook_defs[id].name, "reason", reason);

	if (text[0])
		json_object_set_new(more, "output", json_string(text));
	event_say(g->d, g->name, "hook-failed", more);
}

static int failed(const struct guest *g, enum hook_id id, enum cos_err_code code,
		  const char *reason, const char *last, struct cos_err *err)
{
	const char *path = json_string_value(json_array_get(g->spec.hooks[id], 0));

	return cos_advise(err,
			  cos_fail(err, code, 0, "%s %.100s: %s%s%.150s", hook_defs[id].name,
				   path ?: "", reason, last[0] ? ": " : "", last),
			  "mend the hook, or take it away: cosctl set %s hooks='{\"%s\":[]}'",
			  g->name, hook_defs[id].name);
}

static int outcome(const struct hook *h, struct cos_err *err)
{
	struct hook_report rep;
	char text[HOOK_TEXT_MAX + 1], reason[64];
	const struct guest *g = h->g;
	ssize_t n = recv(h->report, &rep, sizeof(rep), MSG_DONTWAIT);
	const char *last;

	if (n != sizeof(rep) || rep.n > sizeof(rep.text)) {
		rep = (struct hook_report){ .n = 0 };
		str_fmt(reason, sizeof(reason), "the process beside it was killed");
	} else if (rep.timed_out) {
		str_fmt(reason, sizeof(reason), "killed after %llu s",
			(unsigned long long)g->spec.hook_timeout);
	} else if (rep.status == 0) {
		return 0;
	} else {
		status_text(rep.status, reason);
	}
	memcpy(text, rep.text, rep.n);
	last = clean(text, rep.n);
	say_failed(g, h->id, reason, text);
	return failed(g, h->id, rep.timed_out ? COS_E_TIMEOUT : COS_E_UNSUPPORTED, reason, last,
		      err);
}

static void hook_free(struct loop_source *s)
{
	free(container_of(s, struct hook, process));
}

static void process_ready(struct loop_source *s, uint32_t events)
{
	struct hook *h = container_of(s, struct hook, process);
	enum hook_id next = h->next;
	hook_done *then = h->then;
	struct guest *g = h->g;
	struct cos_err err;
	int r = 0;

	(void)events;
	proc_reap(s->fd);
	if (g && then && next == HOOK__N)
		r = outcome(h, &err);
	loop_del(s);
	close_p(&s->fd);
	close_p(&h->report);
	if (!g)
		return;
	g->hook = NULL;
	if (!then) /* nobody waits for it any more */
		return;
	if (next != HOOK__N)
		hook_run(g, next, then);
	else
		then(g, r < 0 ? &err : NULL);
}

/* --- running it --- */

static int spawn(struct guest *g, enum hook_id id, struct hook *h)
{
	auto_close int input = make_input(g, id);
	int sv[2], pidfd, r;
	pid_t pid;

	if (input < 0)
		return input;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv) < 0)
		return -errno;
	pid = fork();
	if (pid == 0)
		run_child(g, id, input, sv[1]);
	close(sv[1]);
	pidfd = pid < 0 ? -errno : proc_pidfd(pid);
	h->process = (struct loop_source){ .fd = pidfd, .ready = process_ready, .gone = hook_free };
	r = pidfd < 0 ? pidfd : loop_add(&g->d->loop, &h->process, EPOLLIN);
	if (r == 0) {
		h->report = sv[0];
		return 0;
	}
	close(sv[0]); /* which ends it */
	if (pidfd >= 0)
		proc_kill_wait(pidfd);
	else if (pid > 0)
		waitpid(pid, NULL, 0);
	close_p(&pidfd);
	return r;
}

static void start(struct guest *g, enum hook_id id, hook_done *then)
{
	struct hook *h = calloc(1, sizeof(*h));
	int r = h ? spawn(g, id, h) : -ENOMEM;
	struct cos_err err;

	if (r == 0) {
		h->g = g;
		h->id = id;
		h->next = HOOK__N;
		h->then = then;
		g->hook = h;
		return;
	}
	free(h);
	say_failed(g, id, strerrordesc_np(-r) ?: "not started", "");
	failed(g, id, COS_E_KERNEL, strerrordesc_np(-r) ?: "not started", "", &err);
	then(g, &err);
}

void hook_run(struct guest *g, enum hook_id id, hook_done *then)
{
	hook_give_up(g);
	if (!hook_is_set(g, id)) {
		then(g, NULL);
	} else if (g->hook) {
		g->hook->next = id;
		g->hook->then = then;
	} else {
		start(g, id, then);
	}
}

void hook_give_up(struct guest *g)
{
	struct hook *h = g->hook;

	if (!h)
		return;
	if (h->then && h->next == HOOK__N)
		say_failed(g, h->id, "killed: the guest went on without it", "");
	close_p(&h->report);
	h->then = NULL;
	h->next = HOOK__N;
}

void hook_forget(struct guest *g)
{
	hook_give_up(g);
	if (g->hook)
		g->hook->g = NULL;
	g->hook = NULL;
}
