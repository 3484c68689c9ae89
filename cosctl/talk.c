/* cosctl/talk.c - calls to the daemon: one, or one for each name with some at once */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cosctl/cosctl.h"
#include "lib/base/own.h"
#include "lib/base/str.h"

#define PARALLEL     8
#define PARALLEL_MAX 128

int talk(const struct args *a, const char *method, json_t *params, json_t **ret, const char *object)
{
	struct client c;
	struct cos_err err;
	int r = client_open(a->socket, &c, &err);

	if (r < 0)
		return say_error(a, object, &err);
	r = client_call(&c, method, params, ret, &err);
	client_close(&c);
	return r < 0 ? say_error(a, object, &err) : 0;
}

static void print_progress(json_t *answer, bool *shown)
{
	char text[32];

	if (!isatty(STDERR_FILENO))
		return;
	fprintf(stderr, "\r%" JSON_INTEGER_FORMAT " files, %s ",
		json_integer_value(json_object_get(answer, "files")),
		out_bytes((uint64_t)json_integer_value(json_object_get(answer, "bytes")), text));
	*shown = true;
}

int talk_long(const struct args *a, const char *method, json_t *params, int fd, json_t **ret,
	      const char *object)
{
	struct client c;
	struct cos_err err;
	bool shown = false;
	int r = client_open(a->socket, &c, &err);

	if (r < 0)
		return say_error(a, object, &err);
	r = client_send(&c, method, params, true, &fd, fd >= 0 ? 1 : 0, &err);
	while (r == 0 || r == 1) {
		auto_json json_t *answer = NULL;

		r = client_recv(&c, &answer, &err);
		if (r == 1)
			print_progress(answer, &shown);
		if (shown && r != 1)
			fputs("\r\033[K", stderr);
		if (r == 0) {
			*ret = take_ptr(answer);
			break;
		}
	}
	client_close(&c);
	return r < 0 ? say_error(a, object, &err) : 0;
}

struct slot {
	struct client c;
	const char *name; /* NULL: free */
};

static int begin(const struct args *a, struct slot *s, const char *method, json_t *params,
		 const char *name, struct cos_err *err)
{
	auto_json json_t *own = json_copy(params);
	int r = client_open(a->socket, &s->c, err);

	if (r < 0)
		return r;
	json_object_set_new(own, "name", json_string(name));
	r = client_send(&s->c, method, own, false, NULL, 0, err);
	if (r < 0)
		client_close(&s->c);
	else
		s->name = name;
	return r;
}

static int finish(const struct args *a, struct slot *s, json_t *answers)
{
	json_t *answer = NULL;
	struct cos_err err;
	int r = client_recv(&s->c, &answer, &err), status = 0;

	if (r < 0) {
		status = say_error(a, s->name, &err);
	} else {
		json_object_set_new(answer, "name", json_string(s->name));
		json_array_append_new(answers, answer);
	}
	client_close(&s->c);
	s->name = NULL;
	return status;
}

static unsigned parallel_of(const struct args *a)
{
	uint64_t n;

	if (!a->value['P'])
		return PARALLEL;
	return str_to_u64(a->value['P'], &n) == 0 && n >= 1 && n <= PARALLEL_MAX ? (unsigned)n : 0;
}

/* Fills free slots with the next names; returns how many are busy. */
static unsigned fill(const struct args *a, struct slot *slots, unsigned n, const char *method,
		     json_t *params, char **names, unsigned count, unsigned *next, int *status)
{
	struct cos_err err;
	unsigned busy = 0;

	for (unsigned i = 0; i < n; i++) {
		while (!slots[i].name && *next < count) {
			const char *name = names[(*next)++];

			if (begin(a, &slots[i], method, params, name, &err) < 0) {
				int s = say_error(a, name, &err);

				*status = *status ?: s;
				if (err.code == COS_E_UNREACHABLE)
					*next = count;
			}
		}
		busy += slots[i].name != NULL;
	}
	return busy;
}

int talk_each(const struct args *a, const char *method, json_t *params, char **names,
	      unsigned count, json_t *answers)
{
	struct slot slots[PARALLEL_MAX] = { 0 };
	struct pollfd fds[PARALLEL_MAX];
	unsigned n = parallel_of(a), next = 0;
	int status = 0;

	if (n == 0)
		return say_usage(a, "--parallel takes 1..128");
	while (fill(a, slots, n, method, params, names, count, &next, &status) > 0) {
		for (unsigned i = 0; i < n; i++)
			fds[i] = (struct pollfd){ slots[i].name ? slots[i].c.sock : -1, POLLIN, 0 };
		if (poll(fds, n, -1) < 0 && errno != EINTR)
			break;
		for (unsigned i = 0; i < n; i++) {
			int s = slots[i].name && fds[i].revents ? finish(a, &slots[i], answers) : 0;

			status = status ?: s;
		}
	}
	return status;
}

bool talk_state_is(json_t *guest, const char *const *states)
{
	const char *state = json_string_value(json_object_get(guest, "state"));

	for (; state && states && *states; states++) {
		if (strcmp(*states, state) == 0)
			return true;
	}
	return state && !states;
}

static int all_names(const struct args *a, const char *const *states, char ***ret, unsigned *ret_n)
{
	auto_json json_t *params = json_object(), *answer = NULL;
	json_t *g, *list;
	unsigned n = 0;
	size_t i;
	int r = talk(a, "io.cos.Guest.List", params, &answer, "--all");

	if (r)
		return r;
	list = json_object_get(answer, "guests");
	*ret = calloc(json_array_size(list) + 1, sizeof(**ret));
	json_array_foreach(list, i, g) {
		if (talk_state_is(g, states))
			(*ret)[n++] = strdup(json_string_value(json_object_get(g, "name")) ?: "");
	}
	*ret_n = n;
	return 0;
}

int talk_names(const struct args *a, const char *const *states, char ***ret, unsigned *ret_n)
{
	struct cos_err err;

	if (a->value['a'] && a->argc > 0)
		return say_usage(a, "names beside --all");
	if (a->value['a'])
		return all_names(a, states, ret, ret_n);
	if (a->argc == 0)
		return say_usage(a, "no name given");
	return names_expand(a->argv, a->argc, ret, ret_n, &err) < 0 ? say_error(a, NULL, &err) : 0;
}

int talk_rows(const struct args *a, const char *method, json_t *params, const char *key,
	      json_t **ret)
{
	auto_json json_t *none = json_object(), *answer = NULL;
	int r = talk(a, method, params ?: none, &answer, NULL);

	if (r == 0)
		*ret = json_incref(json_object_get(answer, key));
	return r;
}
