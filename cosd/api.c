/* cosd/api.c - the method table, who may call what, and the calls that describe the service */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cosd/api.h"
#include "cosd/guest.h"
#include "lib/base/jsonx.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "lib/wire/idl.h"

static int get_info(struct call *c, json_t *params, struct cos_err *err)
{
	(void)params;
	(void)err;
	call_reply(c,
		   json_pack("{s:s, s:s, s:s, s:s, s:o}", "vendor", "cos", "product", "cosd",
			     "version", PACKAGE_VERSION, "url", "", "interfaces", idl_interfaces()),
		   NULL, 0);
	return 0;
}

static int get_description(struct call *c, json_t *params, struct cos_err *err)
{
	const char *name = json_string_value(json_object_get(params, "interface"));
	auto_free char *text = name ? idl_text(name) : NULL;

	if (!text)
		return jsonx_bad(err, "/interface", "there is no such interface");
	call_reply(c, json_pack("{s:s}", "description", text), NULL, 0);
	return 0;
}

static const struct method methods[] = {
#define X(interface, name, fn, flags, in, out, help) { interface, #name, in, out, help, fn, flags },
	COS_METHODS(X)
#undef X
		{ "org.varlink.service", "GetInfo", "", "", "", get_info, API_ANY },
	{ "org.varlink.service", "GetInterfaceDescription", "", "", "", get_description, API_ANY },
};

static const struct method *find_method(const char *name)
{
	const char *dot = strrchr(name, '.');

	for (const struct method *m = methods; dot && m < methods + ARRAY_SIZE(methods); m++) {
		if (strcmp(m->name, dot + 1) == 0 && strlen(m->interface) == (size_t)(dot - name) &&
		    strncmp(m->interface, name, (size_t)(dot - name)) == 0)
			return m;
	}
	return NULL;
}

struct request {
	char method[128];
	json_t *parameters;
	bool more, oneway, upgrade;
};

static int parse_request(json_t *req, struct request *ret, struct cos_err *err)
{
	static const struct jsonx_field fields[] = {
		{ .name = "method",
		  .type = JSONX_STR,
		  .offset = offsetof(struct request, method),
		  .min = 1,
		  .max = 127,
		  .required = true },
		{ .name = "parameters",
		  .type = JSONX_ANY,
		  .offset = offsetof(struct request, parameters) },
		{ .name = "more", .type = JSONX_BOOL, .offset = offsetof(struct request, more) },
		{ .name = "oneway",
		  .type = JSONX_BOOL,
		  .offset = offsetof(struct request, oneway) },
		{ .name = "upgrade",
		  .type = JSONX_BOOL,
		  .offset = offsetof(struct request, upgrade) },
	};
	int r = jsonx_fill(req, "", fields, ARRAY_SIZE(fields), ret, err);

	if (r == 0 && ret->upgrade)
		return jsonx_bad(err, "/upgrade", "not offered");
	if (r == 0 && ret->parameters && !json_is_object(ret->parameters))
		return jsonx_bad(err, "/parameters", "not an object");
	return r;
}

static int check_call(const struct conn *conn, const struct method *m, const struct request *q,
		      struct cos_err *err)
{
	if (!m)
		return cos_fail(err, COS_E_INVALID, 0, "there is no method %s", q->method);
	if (q->more && !(m->flags & API_MORE))
		return cos_fail(err, COS_E_INVALID, 0, "%s answers once: \"more\" is not for it",
				q->method);
	if (!conn->root && !(m->flags & (API_ANY | API_OWNER)))
		return cos_fail(err, COS_E_DENIED, 0, "%s is for cosd.sock, not for user.sock",
				q->method);
	return 0;
}

void api_serve(struct conn *conn, json_t *req)
{
	struct call *c = calloc(1, sizeof(*c));
	struct request q = { .method = "" };
	const struct method *m = NULL;
	struct cos_err err;
	int r;

	if (!c) {
		conn->eof = true;
		return;
	}
	c->d = conn->d;
	c->conn = conn;
	c->root = conn->root;
	c->uid = conn->uid;
	list_init(&c->link);
	conn->call = c;
	r = parse_request(req, &q, &err);
	if (r == 0) {
		c->oneway = q.oneway;
		m = find_method(q.method);
		r = check_call(conn, m, &q, &err);
	}
	if (r == 0) {
		c->method = m;
		c->more = q.more;
		c->params = q.parameters ? json_incref(q.parameters) : json_object();
		r = m->fn(c, c->params, &err);
	}
	if (r < 0)
		call_fail(c, &err);
}

int api_may(const struct call *c, const struct guest *g, struct cos_err *err)
{
	if (c->root || c->uid == g->spec.owner)
		return 0;
	return cos_fail(err, COS_E_DENIED, 0, "%s belongs to user %llu", g->name,
			(unsigned long long)g->spec.owner);
}

int api_need_container(const struct guest *g, struct cos_err *err)
{
	if (g->spec.type == GUEST_CONTAINER)
		return 0;
	return cos_advise(err,
			  cos_fail(err, COS_E_UNSUPPORTED, 0,
				   "%s is a machine: only its own kernel sees its files and "
				   "processes",
				   g->name),
			  "'cosctl console %s' leads to its console", g->name);
}
