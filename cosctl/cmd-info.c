/* cosctl/cmd-info.c - commands that tell: list, show, status, get, logs, events, doctor */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cosctl/cosctl.h"
#include "lib/base/clock.h"
#include "lib/base/io.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "lib/model/spec.h"

#define FOLLOW_MSEC 500

int cmd_list(struct args *a)
{
	static const struct column cols[] = {
		{ "NAME", "name", COL_TEXT },
		{ "STATE", "state", COL_TEXT },
		{ "PID", "pid", COL_COUNT },
		{ "TEMPLATE", "template", COL_TEXT },
		{ "STARTED", "started_usec", COL_AGE },
		{ "HEALTH", "health", COL_RARE },
		{ "REASON", "reason", COL_TEXT },
	};
	auto_json json_t *rows = NULL;
	int r = talk_rows(a, "io.cos.Guest.List", NULL, "guests", &rows), status;

	if (r)
		return r;
	status = out_only_names(a, NULL, &rows);
	out_rows(a, rows, "guests", cols, ARRAY_SIZE(cols));
	return status;
}

static int show(struct args *a, bool expanded, json_t **ret)
{
	auto_json json_t *params = NULL;

	if (a->argc < 1)
		return say_usage(a, "a name is needed");
	params = json_pack("{s:s, s:b}", "name", a->argv[0], "expanded", expanded);
	if (!params)
		return say_usage(a, "the name is not valid UTF-8");
	return talk(a, "io.cos.Guest.Show", params, ret, a->argv[0]);
}

int cmd_show(struct args *a)
{
	auto_json json_t *answer = NULL;
	int r = a->argc == 1 ? show(a, a->value['e'] != NULL, &answer)
			     : say_usage(a, "one name is needed");

	if (r == 0)
		out_json(answer);
	return r;
}

int cmd_status(struct args *a)
{
	static const char *const keys[] = { "state",          "health", "reason",   "last_end",
					    "restarts",       "type",   "template", "rootfs",
					    "ipv4",           "ipv6",   "pid",      "id_base",
					    "start_cost_usec" };
	auto_json json_t *answer = NULL;
	uint64_t now = clock_wall_usec(), started;
	json_t *state;
	const char *name;
	bool runs;
	char text[32];
	int r = a->argc == 1 ? show(a, false, &answer) : say_usage(a, "one name is needed");

	if (r)
		return r;
	state = json_object_get(answer, "state");
	name = json_string_value(json_object_get(state, "state")) ?: "";
	runs = strcmp(name, "running") == 0 || strcmp(name, "frozen") == 0;
	if (a->format == OUT_JSON) {
		auto_json json_t *doc = json_copy(state);

		out_json(doc);
		return runs ? 0 : 3;
	}
	printf("%-16s %s\n", "name", a->argv[0]);
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		json_t *v = json_object_get(state, keys[i]);

		if (json_is_string(v))
			printf("%-16s %s\n", keys[i], json_string_value(v));
		else if (json_is_integer(v))
			printf("%-16s %" JSON_INTEGER_FORMAT "\n", keys[i], json_integer_value(v));
	}
	started = (uint64_t)json_integer_value(json_object_get(state, "started_usec"));
	if (started)
		printf("%-16s %s\n", "up", out_age(now > started ? now - started : 0, text));
	return runs ? 0 : 3;
}

static void print_value(const char *key, json_t *v, bool with_key)
{
	auto_free char *text = NULL;

	if (with_key)
		printf("%s=", key);
	if (json_is_string(v)) {
		printf("%s\n", json_string_value(v));
		return;
	}
	text = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);
	printf("%s\n", text ?: "");
}

/* Limits that were not set have their default; the daemon enforces it just the same. */
static json_t *value_in_force(json_t *doc, const char *key)
{
	enum limit_id id = limit_find(key);
	json_t *v = id == LIMIT__N ? json_object_get(doc, key)
				   : json_object_get(json_object_get(doc, "limits"), key);
	const struct spec_key *k = spec_key_find(key);
	char text[LIMIT_TEXT_SIZE];

	if (v)
		return json_incref(v);
	if (id < LIMIT__DISK)
		return json_string(limit_print(id, limit_defs[id].dflt, text));
	if (id < LIMIT__N)
		return json_string("inherited");
	return k ? json_string(k->dflt) : NULL;
}

int cmd_get(struct args *a)
{
	auto_json json_t *answer = NULL;
	json_t *doc;
	int r = a->argc == 1 || a->argc == 2 ? show(a, true, &answer)
					     : say_usage(a, "a name is needed");

	if (r)
		return r;
	doc = json_object_get(answer, "spec");
	if (a->argc == 2) {
		auto_json json_t *v = value_in_force(doc, a->argv[1]);

		if (!v)
			return say_usage(a, "there is no such key or limit");
		print_value(a->argv[1], v, false);
		return 0;
	}
	for (unsigned i = 0; i < n_spec_keys; i++) {
		auto_json json_t *v = value_in_force(doc, spec_keys[i].name);

		if (strcmp(spec_keys[i].name, "limits") != 0 &&
		    strcmp(spec_keys[i].name, "seccomp") != 0)
			print_value(spec_keys[i].name, v, true);
	}
	for (enum limit_id id = 0; id < LIMIT__N; id++) {
		auto_json json_t *v = value_in_force(doc, limit_defs[id].name);

		print_value(limit_defs[id].name, v, true);
	}
	return 0;
}

/* --- logs --- */

/* Opens the guest's log files; returns how many, oldest first. */
static int open_logs(struct args *a, int *fds, int *ret_n)
{
	auto_json json_t *params = json_pack("{s:s}", "name", a->argv[0]), *answer = NULL;
	struct client c;
	struct cos_err err;
	int r;

	if (!params)
		return say_usage(a, "the name is not valid UTF-8");
	r = client_open(a->socket, &c, &err);
	if (r == 0)
		r = client_call(&c, "io.cos.Guest.Logs", params, &answer, &err);
	if (r < 0)
		return say_error(a, a->argv[0], &err);
	*ret_n = (int)json_integer_value(json_object_get(answer, "files"));
	for (int i = 0; i < *ret_n; i++)
		fds[i] = frame_take_fd(&c.in);
	client_close(&c);
	return 0;
}

/* How far the log was printed: a file keeps its number when it is rotated, and while it is held
 * open no other file can get it. */
struct place {
	ino_t file;
	off_t at;
};

/* Prints what of the file was not printed yet. */
static void copy_rest(int fd, struct place *p)
{
	char buf[65536];
	struct stat st;
	ssize_t n;

	if (fstat(fd, &st) < 0)
		return;
	if (st.st_ino != p->file)
		*p = (struct place){ .file = st.st_ino };
	while ((n = pread(fd, buf, sizeof(buf), p->at)) > 0) {
		int r = io_write_all(STDOUT_FILENO, buf, (size_t)n);

		if (r < 0) {
			fprintf(stderr, "cosctl: write: %s\n", strerrordesc_np(-r));
			exit(1);
		}
		p->at += n;
	}
}

static void copy_logs(const int *fds, int n, struct place *p)
{
	struct stat st;
	int first = n == 2 && fstat(fds[1], &st) == 0 && st.st_ino == p->file;

	if (n == 0)
		*p = (struct place){ 0 };
	for (int i = first; i < n; i++)
		copy_rest(fds[i], p);
}

/* Prints what comes until the file was rotated away, or for a moment nothing came: it may have been
 * rotated before it was watched. */
static void wait_change(int in, int fd, struct place *p)
{
	struct pollfd ready = { .fd = in, .events = POLLIN };
	struct inotify_event ev; /* just one: a watched file's has no name */
	char path[40];
	int wd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	wd = inotify_add_watch(in, path, IN_MODIFY | IN_MOVE_SELF | IN_DELETE_SELF | IN_ATTRIB);
	do
		copy_rest(fd, p);
	while (poll(&ready, 1, FOLLOW_MSEC) > 0 && read(in, &ev, sizeof(ev)) == sizeof(ev) &&
	       (ev.mask & IN_MODIFY));
	inotify_rm_watch(in, wd);
}

int cmd_logs(struct args *a)
{
	int fds[2] = { -1, -1 }, held = -1, n = 0, in, r;
	struct place place = { 0 };

	if (a->argc != 1)
		return say_usage(a, "one name is needed");
	in = inotify_init1(IN_CLOEXEC);
	for (;;) {
		r = open_logs(a, fds, &n);
		if (r)
			return r;
		copy_logs(fds, n, &place);
		if (!a->value['l'])
			return 0;
		close_p(&held);
		if (n == 0) /* nothing was written yet */
			poll(NULL, 0, FOLLOW_MSEC);
		else
			wait_change(in, fds[n - 1], &place);
		held = n > 0 ? take_fd(fds[n - 1]) : -1;
		close_p(&fds[0]);
	}
}

/* --- events --- */

static void print_event(struct args *a, json_t *e)
{
	json_t *v;
	const char *key;
	char when[32];
	time_t t = (time_t)(json_integer_value(json_object_get(e, "time_usec")) / USEC_PER_SEC);
	struct tm tm;

	if (a->format == OUT_JSON) {
		json_dumpf(e, stdout, JSON_COMPACT);
		putchar('\n');
		return;
	}
	strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&t, &tm));
	printf("%s  %-6" JSON_INTEGER_FORMAT " %-16s %s", when,
	       json_integer_value(json_object_get(e, "seq")),
	       json_string_value(json_object_get(e, "event")) ?: "",
	       json_string_value(json_object_get(e, "guest")) ?: "-");
	json_object_foreach(e, key, v) {
		auto_free char *text = NULL;

		if (strcmp(key, "seq") == 0 || strcmp(key, "time_usec") == 0 ||
		    strcmp(key, "event") == 0 || strcmp(key, "guest") == 0)
			continue;
		text = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);
		printf(" %s=%s", key, text ?: "");
	}
	putchar('\n');
}

/* Prints what comes; 0 when that was all, with the number to ask from next, or 0, in *NEXT. */
static int take_events(struct args *a, struct client *c, json_int_t *next, struct cos_err *err)
{
	for (;;) {
		auto_json json_t *answer = NULL;
		int r = client_recv(c, &answer, err);

		if (r == 1)
			print_event(a, json_object_get(answer, "event"));
		fflush(stdout);
		if (r != 1) {
			*next = r < 0 ? 0 : json_integer_value(json_object_get(answer, "next"));
			return r;
		}
	}
}

int cmd_events(struct args *a)
{
	auto_json json_t *params = json_object();
	struct client c;
	struct cos_err err;
	uint64_t since = 0;
	json_int_t next;
	int r;

	if (a->value['S'] && str_to_u64(a->value['S'], &since) < 0)
		return say_usage(a, "--since takes a number");
	json_object_set_new(params, "since", json_integer((json_int_t)since));
	if (a->value['l'])
		json_object_set_new(params, "follow", json_true());
	r = client_open(a->socket, &c, &err);
	if (r < 0)
		return say_error(a, NULL, &err);
	do {
		r = client_send(&c, "io.cos.Event.Follow", params, true, NULL, 0, &err);
		if (r == 0)
			r = take_events(a, &c, &next, &err);
		if (r == 0)
			json_object_set_new(params, "since", json_integer(next));
	} while (r == 0 && next);
	client_close(&c);
	return r < 0 ? say_error(a, NULL, &err) : 0;
}

/* --- host --- */

int cmd_doctor(struct args *a)
{
	static const struct column cols[] = {
		{ "CHECK", "check", COL_TEXT },
		{ "RESULT", "result", COL_TEXT },
		{ "FOUND", "text", COL_TEXT },
		{ "DO", "todo", COL_TEXT },
	};
	auto_json json_t *rows = NULL;
	int r = talk_rows(a, "io.cos.Host.Doctor", NULL, "checks", &rows);
	json_t *row;
	size_t i;

	if (r)
		return r;
	out_rows(a, rows, "checks", cols, ARRAY_SIZE(cols));
	json_array_foreach(rows, i, row) {
		if (strcmp(json_string_value(json_object_get(row, "result")) ?: "", "bad") == 0)
			r = 1;
	}
	return r;
}

int cmd_version(struct args *a)
{
	auto_json json_t *params = json_object(), *answer = NULL;
	struct client c;
	struct cos_err err;
	int r;

	printf("cosctl %s\n", PACKAGE_VERSION);
	r = client_open(a->socket, &c, &err);
	if (r == 0) {
		r = client_call(&c, "io.cos.Host.Info", params, &answer, &err);
		client_close(&c);
	}
	if (r < 0)
		return say_error(a, NULL, &err);
	printf("cosd   %s (instance %s, pid %" JSON_INTEGER_FORMAT ")\n",
	       json_string_value(json_object_get(answer, "version")) ?: "?",
	       json_string_value(json_object_get(answer, "instance")) ?: "?",
	       json_integer_value(json_object_get(answer, "pid")));
	return 0;
}
