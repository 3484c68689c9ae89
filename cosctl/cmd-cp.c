/* cosctl/cmd-cp.c - files into and out of guests
 *
 * The caller's own files are opened here, with the caller's rights, and go as a stream. What comes
 * from a guest is hostile: it is unpacked beneath the one name that was asked for. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cosctl/cosctl.h"
#include "lib/base/clock.h"
#include "lib/base/io.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "lib/model/spec.h"
#include "lib/tar/tar.h"

#define CHUNK     65536
#define TELL_USEC 100000

/* One side of the command line. */
struct side {
	char guest[NAME_SIZE]; /* "": here */
	const char *path;
	bool stream; /* "-" */
};

struct copying {
	struct args *a;
	const char *object; /* the source as it was written */
	struct client client;
	int pipe;  /* the end that came from the daemon */
	bool told; /* progress is on the terminal */
	uint64_t told_usec;
};

/* ---- what is said ---- */

static void tell(const struct tar_count *n, void *arg)
{
	struct copying *c = arg;
	uint64_t now = clock_usec();
	char text[32];

	if (now - c->told_usec < TELL_USEC || !isatty(STDERR_FILENO))
		return;
	c->told_usec = now;
	c->told = true;
	fprintf(stderr, "\r%s: %" PRIu64 " files, %s\033[K", c->object, n->files,
		out_bytes(n->bytes, text));
}

static void clear_line(struct copying *c)
{
	if (c->told)
		fputs("\r\033[K", stderr);
	c->told = false;
}

/* It may come from the guest's side. */
static void warn(const char *text, void *arg)
{
	const struct copying *c = arg;
	char shown[200];

	str_fmt(shown, sizeof(shown), "%s", text);
	str_make_text(shown);
	fprintf(stderr, "cosctl: %s: %s\n", c->object, shown);
}

/* ---- the daemon ---- */

static int begin(struct copying *c, const char *method, json_t *params, struct cos_err *err)
{
	int r = client_open(c->a->socket, &c->client, err);

	if (r < 0)
		return r;
	r = client_send(&c->client, method, params, true, NULL, 0, err);
	if (r == 0)
		r = client_recv(&c->client, NULL, err);
	c->pipe = r < 0 ? -1 : frame_take_fd(&c->client.in);
	if (r >= 0 && c->pipe < 0)
		r = cos_fail(err, COS_E_INTERNAL, 0, "the daemon sent no stream");
	if (r < 0)
		client_close(&c->client);
	return r;
}

/* What the other end says, when this one has done its part. */
static int finish(struct copying *c, struct cos_err *err)
{
	int r;

	do {
		auto_json json_t *answer = NULL;
		json_t *w;
		size_t i;

		r = client_recv(&c->client, &answer, err);
		if (r == 0)
			json_array_foreach(json_object_get(answer, "warnings"), i, w)
				warn(json_string_value(w) ?: "", c);
	} while (r == 1);
	return r;
}

/* R is this side's result. Where the stream broke off the other side knows why. With WAIT it is
 * waited for in any case: it takes away what it has made in part. */
static int end(struct copying *c, int r, bool wait, struct cos_err *err)
{
	bool broke_off = r == -EPIPE || (r < 0 && err->code == COS_E_IMAGE);
	struct cos_err other;
	int theirs = 0;

	clear_line(c);
	close_p(&c->pipe);
	if (r == 0 || broke_off || wait)
		theirs = finish(c, &other);
	client_close(&c->client);
	if (theirs == 0 || (r < 0 && !broke_off))
		return r;
	*err = other;
	return theirs;
}

/* ---- out of a guest ---- */

/* What was asked for, under the name that it gets here. */
static int open_local(const struct side *from, const struct side *to, bool many,
		      struct tar_target *ret, struct tar_name *ret_name, struct cos_err *err)
{
	int r = tar_split(from->path, ret_name);

	if (r < 0)
		return cos_fail(err, COS_E_INVALID, -r, "the path");
	return tar_target_open(to->path, many, 0, ret, err);
}

static int pump_out(struct copying *c, struct cos_err *err)
{
	char buf[CHUNK];
	ssize_t n;
	int r = 0;

	while (r == 0 && (n = read(c->pipe, buf, sizeof(buf))) != 0) {
		if (n > 0)
			r = io_write_all(STDOUT_FILENO, buf, (size_t)n);
		else if (errno != EINTR)
			r = -errno;
	}
	return r < 0 ? cos_fail(err, COS_E_KERNEL, -r, "copy to standard output") : 0;
}

static int unpack(struct copying *c, const struct tar_target *to, const struct tar_name *name,
		  struct cos_err *err)
{
	struct tar_unpack u = {
		.in = c->pipe,
		.root = to->root,
		.top = name->name,
		.as = to->as[0] ? to->as : NULL,
		.owners = c->a->value['A'] && geteuid() == 0,
		.tick = tell,
		.arg = c,
	};
	int r = tar_unpack(&u, err);

	clear_line(c);
	tar_say_left_out(&u.n, warn, c);
	return r;
}

static int copy_out(struct copying *c, const struct side *from, const struct side *to, bool many,
		    struct cos_err *err)
{
	auto_json json_t *params = json_pack("{s:s, s:s, s:b}", "name", from->guest, "path",
					     from->path, "follow", c->a->value['k'] != NULL);
	struct tar_target target = { .root = -1 };
	struct tar_name name;
	int r = 0;

	if (!params)
		return cos_fail(err, COS_E_INVALID, 0, "the path is not valid UTF-8");
	if (!to->stream)
		r = open_local(from, to, many, &target, &name, err);
	if (r < 0)
		return r;
	r = begin(c, "io.cos.Guest.CopyOut", params, err);
	if (r >= 0) {
		r = to->stream ? pump_out(c, err) : unpack(c, &target, &name, err);
		r = end(c, r, false, err);
	}
	close_p(&target.root);
	return r;
}

/* ---- into a guest ---- */

/* Until the input ends, or the other end does not read any more. */
static int pump_in(struct copying *c, struct cos_err *err)
{
	struct pollfd fds[] = { { STDIN_FILENO, POLLIN, 0 }, { c->pipe, 0, 0 } };
	char buf[CHUNK];

	for (;;) {
		ssize_t n;
		int r;

		if (poll(fds, ARRAY_SIZE(fds), -1) < 0)
			continue;
		if (fds[1].revents)
			return cos_fail(err, COS_E_KERNEL, EPIPE, "write the archive");
		n = read(STDIN_FILENO, buf, sizeof(buf));
		if (n == 0)
			return 0;
		if (n < 0 && errno != EINTR && errno != EAGAIN)
			return cos_fail(err, COS_E_KERNEL, errno, "read standard input");
		r = n > 0 ? io_write_all(c->pipe, buf, (size_t)n) : 0;
		if (r < 0)
			return cos_fail(err, COS_E_KERNEL, -r, "write the archive");
	}
}

static int pack(struct copying *c, const struct side *from, struct cos_err *err)
{
	struct tar_pack p = {
		.path = from->path,
		.follow = c->a->value['k'],
		.out = c->pipe,
		.owners = c->a->value['A'],
		.tick = tell,
		.arg = c,
	};
	int r = tar_pack(&p, err);

	clear_line(c);
	tar_say_left_out(&p.n, warn, c);
	return r;
}

static int copy_in(struct copying *c, const struct side *from, const struct side *to, bool many,
		   struct cos_err *err)
{
	auto_json json_t *params =
		json_pack("{s:s, s:s, s:b, s:b}", "name", to->guest, "path", to->path, "archive",
			  c->a->value['A'] != NULL, "directory", many || from->stream);
	struct stat st;
	int r;

	if (!params)
		return cos_fail(err, COS_E_INVALID, 0, "the path is not valid UTF-8");
	if (!from->stream && fstatat(AT_FDCWD, from->path, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return cos_advise(err, cos_fail(err, COS_E_KERNEL, errno, "%s", from->path),
				  "check the path");
	r = begin(c, "io.cos.Guest.CopyIn", params, err);
	if (r < 0)
		return r;
	r = from->stream ? pump_in(c, err) : pack(c, from, err);
	return end(c, r, true, err);
}

/* ---- the command line ---- */

/* GUEST:PATH; a path of the host that has a colon is written ./a:b. */
static struct side side_of(const char *text)
{
	struct side s = { .path = text };
	const char *colon = strchr(text, ':');

	if (strcmp(text, "-") == 0) {
		s.stream = true;
	} else if (colon && str_fmt(s.guest, sizeof(s.guest), "%.*s", (int)(colon - text), text) &&
		   str_is_name(s.guest)) {
		s.path = colon + 1;
	} else {
		s.guest[0] = '\0';
	}
	return s;
}

static int copy_one(struct args *a, const char *source, const struct side *to, bool many)
{
	const struct side from = side_of(source);
	struct copying c = { .a = a, .object = source, .pipe = -1 };
	struct cos_err err;
	int r;

	if (!from.guest[0] == !to->guest[0])
		return say_usage(a, "one side has to be GUEST:PATH, and one not");
	if (!from.path[0])
		return say_usage(a, "a path is empty");
	r = from.guest[0] ? copy_out(&c, &from, to, many, &err)
			  : copy_in(&c, &from, to, many, &err);
	return r < 0 ? say_error(a, source, &err) : 0;
}

int cmd_cp(struct args *a)
{
	struct side to;
	int status = 0;

	if (a->argc < 2 || a->rest)
		return say_usage(a, "a source and a destination are needed");
	to = side_of(a->argv[a->argc - 1]);
	if (!to.path[0])
		return say_usage(a, "a path is empty");
	if (to.stream && a->argc > 2)
		return say_usage(a, "standard output takes one source");
	if (to.stream && isatty(STDOUT_FILENO))
		return say_usage(a, "standard output is a terminal");
	signal(SIGPIPE, SIG_IGN);
	for (int i = 0; i + 1 < a->argc; i++) {
		int r = copy_one(a, a->argv[i], &to, a->argc > 2);

		status = status ?: r;
	}
	return status;
}
