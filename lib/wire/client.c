/* lib/wire/client.c - the client's side: connect, call, follow */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/base/io.h"
#include "lib/base/jsonx.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "lib/wire/client.h"

int client_open(const char *path, struct client *ret, struct cos_err *err)
{
	auto_close int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un sa = { .sun_family = AF_UNIX };

	if (sock < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "socket");
	if (!str_fmt(sa.sun_path, sizeof(sa.sun_path), "%s", path))
		return cos_fail(err, COS_E_INVALID, ENAMETOOLONG, "socket %s", path);
	if (connect(sock, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		return cos_fail(err, errno == EACCES ? COS_E_DENIED : COS_E_UNREACHABLE, errno,
				"connect to %s", path);
	ret->sock = take_fd(sock);
	frame_in_init(&ret->in, WIRE_REPLY_MAX);
	return 0;
}

void client_close(struct client *c)
{
	close_p(&c->sock);
	frame_in_done(&c->in);
}

int client_send(struct client *c, const char *method, json_t *params, bool more, const int *fds,
		unsigned n, struct cos_err *err)
{
	auto_json json_t *call = json_pack("{s:s, s:O}", "method", method, "parameters", params);
	auto_free char *text = NULL;
	size_t len, at = 0;

	if (more)
		json_object_set_new(call, "more", json_true());
	text = call ? json_dumps(call, JSON_COMPACT) : NULL;
	if (!text)
		return cos_fail(err, COS_E_KERNEL, ENOMEM, "build the call");
	len = strlen(text) + 1;
	if (len > WIRE_MESSAGE_MAX)
		return cos_fail(err, COS_E_INVALID, E2BIG, "the request is longer than %u bytes",
				WIRE_MESSAGE_MAX);
	while (at < len) {
		ssize_t w = io_send_fds(c->sock, text + at, len - at, fds, at == 0 ? n : 0, 0);

		if (w == -EPIPE || w == -ECONNRESET)
			break; /* it may have said why before it closed: the answer tells */
		if (w < 0)
			return cos_fail(err, COS_E_UNREACHABLE, (int)-w, "send to the daemon");
		at += (size_t)w;
	}
	return 0;
}

static void copy_text(char *to, size_t size, json_t *params, const char *key)
{
	str_fmt(to, size, "%s", json_string_value(json_object_get(params, key)) ?: "");
	str_make_text(to); /* also where it was cut */
}

static int take_error(const char *name, json_t *params, struct cos_err *err)
{
	static const char prefix[] = "io.cos.";

	*err = (struct cos_err){ .code = COS_E_INTERNAL };
	if (strncmp(name, prefix, strlen(prefix)) == 0)
		err->code = cos_err_by_name(name + strlen(prefix));
	else if (strncmp(name, "org.varlink.service.", 20) == 0)
		err->code = COS_E_INVALID;
	err->sys = (int)json_integer_value(json_object_get(params, "errno"));
	copy_text(err->what, sizeof(err->what), params, "what");
	copy_text(err->why, sizeof(err->why), params, "why");
	copy_text(err->todo, sizeof(err->todo), params, "todo");
	if (!err->why[0])
		str_fmt(err->why, sizeof(err->why), "%s",
			name[0] ? name : "the daemon gave no reason");
	str_make_text(err->why);
	return -(err->sys > 0 ? err->sys : cos_err_defs[err->code].no);
}

int client_recv(struct client *c, json_t **ret_params, struct cos_err *err)
{
	auto_json json_t *reply = NULL;
	const char *text, *name;
	json_t *params;
	size_t len;
	int r;

	while (!(text = frame_peek(&c->in, &len))) {
		ssize_t n = frame_read(&c->in, c->sock, 0);

		if (n == 0 || n == -ECONNRESET)
			return cos_fail(err, COS_E_UNREACHABLE, 0,
					"the daemon closed the connection");
		if (n < 0)
			return cos_fail(err, COS_E_UNREACHABLE, (int)-n, "receive from the daemon");
	}
	r = jsonx_parse(text, len, "reply", &reply, err);
	frame_take(&c->in);
	if (r < 0)
		return r;
	params = json_object_get(reply, "parameters");
	name = json_string_value(json_object_get(reply, "error"));
	if (name)
		return take_error(name, params, err);
	if (ret_params)
		*ret_params = params ? json_incref(params) : json_object();
	return json_is_true(json_object_get(reply, "continues"));
}

int client_call(struct client *c, const char *method, json_t *params, json_t **ret_params,
		struct cos_err *err)
{
	int r = client_send(c, method, params, false, NULL, 0, err);

	return r < 0 ? r : client_recv(c, ret_params, err);
}
