/* cosctl/cmd-guest.c - commands that make guests and move them through their lives */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <limits.h>
#include <unistd.h>

#include "cosctl/cosctl.h"
#include "cosctl/spec.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "lib/model/spec.h"

int cmd_create(struct args *a)
{
	auto_json json_t *spec = NULL;
	struct cos_err err;
	char **names = NULL;
	unsigned n = 0;
	int status = 0, r = spec_from_args(a, &spec, &names, &n, &err);

	if (r < 0)
		return say_error(a, NULL, &err);
	for (unsigned i = 0; i < n; i++) {
		auto_json json_t *params = NULL;
		int s;

		json_object_set_new(spec, "name", json_string(names[i]));
		params = json_pack("{s:O}", "spec", spec);
		s = talk(a, "io.cos.Guest.Create", params, NULL, names[i]);
		status = status ?: s;
		if (s == 9)
			break;
	}
	names_free(names, n);
	return status;
}

static void print_answers(const struct args *a, json_t *answers)
{
	auto_json json_t *doc = json_pack("{s:O}", "guests", answers);

	if (a->format == OUT_JSON)
		out_json(doc);
}

static int each(struct args *a, const char *method, json_t *params, const char *const *states)
{
	auto_json json_t *answers = json_array();
	char **names = NULL;
	unsigned n = 0;
	int r = talk_names(a, states, &names, &n);

	if (a->rest)
		r = say_usage(a, "'--' is for create, run and exec");
	if (r == 0) {
		r = talk_each(a, method, params, names, n, answers);
		print_answers(a, answers);
	}
	names_free(names, n);
	return r;
}

static const char *const down[] = { "defined", "failed", NULL };
static const char *const up[] = { "starting", "running", "frozen", "stopping", NULL };
static const char *const running[] = { "running", NULL };
static const char *const frozen[] = { "frozen", NULL };

static bool is_down(json_t *guest)
{
	return talk_state_is(guest, down);
}

static bool is_for_autostart(json_t *guest)
{
	return is_down(guest) && json_is_true(json_object_get(guest, "autostart"));
}

/* One that is to be started again by itself stays down only if it is told to stop. */
static bool is_up(json_t *guest)
{
	return talk_state_is(guest, up) || json_is_true(json_object_get(guest, "restart_due"));
}

/* All guests that are WANTED, turn by turn. One that fails keeps no other from its turn. */
static int in_turns(struct args *a, const char *method, json_t *params,
		    bool (*wanted)(json_t *guest), bool stop)
{
	auto_json json_t *guests = NULL, *answers = json_array();
	auto_free struct turn *turns = NULL;
	auto_free char **names = NULL;
	unsigned n = 0, count;
	int status = talk_rows(a, "io.cos.Guest.List", NULL, "guests", &guests);

	if (status || order_turns(guests, wanted, stop, &turns, &n) < 0 ||
	    !(names = calloc(n + 1, sizeof(*names))))
		return status ?: 1;
	for (unsigned i = 0; i < n; i += count) {
		int s;

		for (count = 0; i + count < n && turns[i + count].turn == turns[i].turn; count++)
			names[count] = (char *)turns[i + count].name;
		s = talk_each(a, method, params, names, count, answers);
		status = status ?: s;
		if (s == EXIT_USAGE || s == cos_err_defs[COS_E_UNREACHABLE].exit_status)
			break;
	}
	print_answers(a, answers);
	return status;
}

static int add_time(struct args *a, json_t *params, char letter, const char *key)
{
	const char *text = a->value[(unsigned char)letter];
	char why[80];
	uint64_t usec;

	if (!text)
		return 0;
	if (str_to_usec(text, &usec) < 0 || usec % 1000000) {
		snprintf(why, sizeof(why),
			 "--%s takes a time in whole seconds such as 30, 30s or 2m",
			 letter == 't' ? "timeout" : "wait");
		return say_usage(a, why);
	}
	json_object_set_new(params, key, json_integer((json_int_t)(usec / 1000000)));
	return 0;
}

/* --wait or --wait=TIME */
static int add_wait(struct args *a, json_t *params)
{
	if (!a->value['V'])
		return 0;
	json_object_set_new(params, "wait", json_true());
	return a->value['V'][0] ? add_time(a, params, 'V', "within") : 0;
}

int cmd_start(struct args *a)
{
	auto_json json_t *params = json_object();
	bool autostart = a->value['O'] != NULL;
	int r = add_wait(a, params);

	if (r || (!autostart && !a->value['a']))
		return r ?: each(a, "io.cos.Guest.Start", params, down);
	if (autostart && a->value['a'])
		return say_usage(a, "--autostart beside --all");
	if (a->argc > 0 || a->rest)
		return say_usage(a, autostart ? "names beside --autostart" : "names beside --all");
	json_object_set_new(params, "ensure", json_true()); /* another may have required it */
	return in_turns(a, "io.cos.Guest.Start", params, autostart ? is_for_autostart : is_down,
			false);
}

int cmd_stop(struct args *a)
{
	auto_json json_t *params = json_object();
	int r = add_time(a, params, 't', "timeout");

	if (r == 0)
		r = add_wait(a, params);
	json_object_del(params, "wait"); /* an answer means the end anyway */
	if (r || !a->value['a'])
		return r ?: each(a, "io.cos.Guest.Stop", params, up);
	if (a->argc > 0 || a->rest)
		return say_usage(a, "names beside --all");
	return in_turns(a, "io.cos.Guest.Stop", params, is_up, true);
}

int cmd_restart(struct args *a)
{
	auto_json json_t *params = json_object();
	int r = add_time(a, params, 't', "timeout");

	return r ?: each(a, "io.cos.Guest.Restart", params, NULL);
}

int cmd_freeze(struct args *a)
{
	auto_json json_t *params = json_object();

	return each(a, "io.cos.Guest.Freeze", params, running);
}

int cmd_thaw(struct args *a)
{
	auto_json json_t *params = json_object();

	return each(a, "io.cos.Guest.Thaw", params, frozen);
}

int cmd_kill(struct args *a)
{
	auto_json json_t *params = json_object();

	if (a->value['s'])
		json_object_set_new(params, "signal", json_string(a->value['s']));
	return each(a, "io.cos.Guest.Kill", params, up);
}

int cmd_delete(struct args *a)
{
	auto_json json_t *params = json_object();

	if (a->value['F'])
		json_object_set_new(params, "force", json_true());
	return each(a, "io.cos.Guest.Delete", params, a->value['F'] ? NULL : down);
}

int cmd_set(struct args *a)
{
	auto_json json_t *spec = json_object(), *params = NULL;
	struct cos_err err;

	if (a->argc < 2)
		return say_usage(a, "a name and KEY=VALUE are needed");
	for (int i = 1; i < a->argc; i++) {
		if (spec_change_word(spec, a->argv[i], &err) < 0)
			return say_error(a, a->argv[0], &err);
	}
	params = json_pack("{s:s, s:O, s:b}", "name", a->argv[0], "spec", spec, "force",
			   a->value['F'] != NULL);
	if (!params)
		return say_usage(a, "the name is not valid UTF-8");
	return talk(a, "io.cos.Guest.Set", params, NULL, a->argv[0]);
}

static int need_one(struct args *a)
{
	return a->argc == 1 && !a->rest ? 0 : say_usage(a, "one name is needed");
}

/* A terminal of ours on both sides: then the command gets one. */
static bool wants_tty(const struct args *a)
{
	if (a->value['X'])
		return false;
	return a->value['x'] || (isatty(STDIN_FILENO) && isatty(STDOUT_FILENO));
}

static void add_size(json_t *params)
{
	unsigned short rows, cols;

	pump_size(&rows, &cols);
	json_object_set_new(params, "rows", json_integer(rows));
	json_object_set_new(params, "cols", json_integer(cols));
}

/* The streams that came with the first answer. */
static void take_streams(struct client *c, struct pump *p, bool tty, bool console)
{
	p->to_guest = p->from_guest = frame_take_fd(&c->in);
	p->from_guest_err = -1;
	p->tty = tty && isatty(STDIN_FILENO);
	p->resize = tty && !console ? p->to_guest : -1;
	if (!tty && !console) {
		p->from_guest = frame_take_fd(&c->in);
		p->from_guest_err = frame_take_fd(&c->in);
	}
}

static int run_detached(struct args *a, json_t *params, const char *name)
{
	int r = talk(a, "io.cos.Guest.Run", params, NULL, name);

	if (r == 0)
		printf("%s\n", name);
	return r == 0 || r == 126 || r == 127 ? r : EXIT_OURS;
}

static int run_attached(struct args *a, json_t *params, const char *name, bool tty)
{
	struct pump p = { .args = a, .guest = name };
	struct client c;
	struct cos_err err;
	int r = client_open(a->socket, &c, &err);

	json_object_set_new(params, "attach", json_string(tty ? "console" : "pipes"));
	if (tty)
		add_size(params);
	if (r == 0)
		r = client_send(&c, "io.cos.Guest.Run", params, true, NULL, 0, &err);
	if (r == 0)
		r = client_recv(&c, NULL, &err);
	if (r < 0)
		return say_error_125(a, name, &err);
	take_streams(&c, &p, tty, tty);
	p.client = r == 1 ? &c : NULL;
	return pump_run(&p);
}

int cmd_run(struct args *a)
{
	auto_json json_t *spec = NULL, *params = NULL;
	struct cos_err err;
	char **names = NULL;
	unsigned n = 0;
	int r = spec_from_args(a, &spec, &names, &n, &err);

	if (r < 0)
		return say_error_125(a, NULL, &err);
	if (n != 1) {
		say_usage(a, "one name is needed");
		return EXIT_OURS;
	}
	json_object_set_new(spec, "name", json_string(names[0]));
	if (a->value['m'])
		json_object_set_new(spec, "ephemeral", json_true());
	params = json_pack("{s:O}", "spec", spec);
	r = a->value['d'] ? run_detached(a, params, names[0])
			  : run_attached(a, params, names[0], wants_tty(a));
	names_free(names, n);
	return r;
}

static int exec_in(struct args *a, const char *name, json_t *params, bool tty)
{
	struct pump p = { .args = a };
	struct client c;
	struct cos_err err;
	int r = client_open(a->socket, &c, &err);

	json_object_set_new(params, "name", json_string(name));
	if (tty) {
		json_object_set_new(params, "tty", json_true());
		add_size(params);
	}
	if (r == 0)
		r = client_send(&c, "io.cos.Guest.Exec", params, true, NULL, 0, &err);
	if (r == 0)
		r = client_recv(&c, NULL, &err);
	if (r < 0)
		return say_error_125(a, name, &err);
	take_streams(&c, &p, tty, false);
	p.client = r == 1 ? &c : NULL;
	return pump_run(&p);
}

static void add_term(json_t *params)
{
	json_t *env = json_object_get(params, "env");
	const char *term = getenv("TERM");

	if (!env) {
		env = json_object();
		json_object_set_new(params, "env", env);
	}
	if (term && str_is_text(term, 64) && !json_object_get(env, "TERM"))
		json_object_set_new(env, "TERM", json_string(term));
}

int cmd_exec(struct args *a)
{
	auto_json json_t *params = json_object();
	bool tty = wants_tty(a);
	json_t *command;
	struct cos_err err;
	int begin = a->argc > 1 && strcmp(a->argv[1], "--") == 0 ? 2 : 1;

	if (a->argc <= begin) {
		say_usage(a, "a name and a command are needed");
		return EXIT_OURS;
	}
	command = args_to_json(a->argv + begin, a->argc - begin, &err);
	if (!command)
		return say_error_125(a, a->argv[0], &err);
	json_object_set_new(params, "command", command);
	if (env_from_args(a, params, &err) < 0)
		return say_error_125(a, a->argv[0], &err);
	if (a->value['u'])
		json_object_set_new(params, "user", json_string(a->value['u']));
	if (a->value['w'])
		json_object_set_new(params, "cwd", json_string(a->value['w']));
	if (tty)
		add_term(params);
	return exec_in(a, a->argv[0], params, tty);
}

/* The user's shell as far as it is there, else /bin/sh. */
int cmd_enter(struct args *a)
{
	static const char script[] = "for s in /bin/bash /bin/ash /bin/sh; do "
				     "[ -x $s ] && exec $s -l; done";
	auto_json json_t *params = NULL;

	if (need_one(a))
		return EXIT_OURS;
	params = json_pack("{s:[s,s,s]}", "command", "/bin/sh", "-c", script);
	if (a->value['u'])
		json_object_set_new(params, "user", json_string(a->value['u']));
	add_term(params);
	return exec_in(a, a->argv[0], params, isatty(STDIN_FILENO));
}

int cmd_console(struct args *a)
{
	struct pump p = { .args = a, .escape = true };
	auto_json json_t *params = NULL;
	struct client c;
	struct cos_err err;
	int r = need_one(a);

	if (r)
		return r;
	params = json_pack("{s:s}", "name", a->argv[0]);
	if (!params)
		return say_usage(a, "the name is not valid UTF-8");
	if (isatty(STDOUT_FILENO))
		add_size(params);
	r = client_open(a->socket, &c, &err);
	if (r == 0)
		r = client_call(&c, "io.cos.Guest.Console", params, NULL, &err);
	if (r < 0)
		return say_error(a, a->argv[0], &err);
	take_streams(&c, &p, true, true);
	p.guest = a->argv[0];
	if (p.tty)
		fprintf(stderr, "Console of %s. ^] detaches.\r\n", a->argv[0]);
	return pump_run(&p);
}
