/* cosd/api-template.c - templates: long work goes to cow-fs, the rest is read here */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "cosd/api.h"
#include "lib/base/jsonx.h"
#include "lib/base/own.h"
#include "lib/base/str.h"

#define INCLUDE_MAX 1023

struct params {
	char name[COWFS_NAME_SIZE], kind[17], suite[33], init[17];
	json_t *include;
};

#define F_NAME(req)                                                                                \
	{                                                                                          \
		.name = "name", .type = JSONX_STR, .offset = offsetof(struct params, name),        \
		.min = 1, .max = COWFS_NAME_SIZE - 1, .required = req                              \
	}

static int check_name(const struct params *p, struct cos_err *err)
{
	return str_is_template(p->name) ? 0 : jsonx_bad(err, "/name", "not the name of a template");
}

int api_template_import(struct call *c, json_t *params, struct cos_err *err)
{
	static const struct jsonx_field fields[] = { F_NAME(true) };
	struct params p = { .name = "" };
	auto_close int fd = -1;
	int r = jsonx_fill(params, "", fields, ARRAY_SIZE(fields), &p, err);

	if (r == 0)
		r = check_name(&p, err);
	if (r < 0)
		return r;
	fd = call_take_fd(c);
	if (fd < 0)
		return cos_fail(err, COS_E_INVALID, 0,
				"no descriptor of a directory or archive came along");
	return job_start(c, (const char *[]){ "template", "import", p.name, "--fd", "3", NULL }, fd,
			 err);
}

/* The packages with commas between them; each is one, because it has none. */
static int join(json_t *list, char *word, size_t size, struct cos_err *err)
{
	json_t *e;
	size_t i, have;

	word[0] = '\0';
	if (list && !json_is_array(list))
		return jsonx_bad(err, "/include", "not an array");
	json_array_foreach(list, i, e) {
		const char *s = json_string_value(e);

		if (!s || !s[0] || strlen(s) != json_string_length(e) || strchr(s, ','))
			return jsonx_bad(err, "/include", "element %zu is not a package", i);
		have = strlen(word);
		if (!str_fmt(word + have, size - have, "%s%s", have ? "," : "--include=", s))
			return jsonx_bad(err, "/include", "longer than %d bytes", INCLUDE_MAX);
	}
	return 0;
}

/* Scripts of packages run with user ids of no guest: from the first build on one range is kept for
 * them, by as many builds as there are at a time. */
static int lease_ids(struct daemon *d, char *word, size_t size, struct cos_err *err)
{
	static int slot = -1;

	if (slot < 0)
		slot = slot_lease(d, err);
	if (slot < 0)
		return -ENOSPC;
	str_fmt(word, size, "--ids=%u", slot_id_base(d, (unsigned)slot));
	return 0;
}

/* What suite, init and packages may be is checked by cow-fs. */
static int start_build(struct call *c, const struct params *p, struct cos_err *err)
{
	char suite[64], init[32], include[INCLUDE_MAX + 16], ids[32];
	const char *argv[10] = { "template", "build", p->kind, "--name", p->name };
	unsigned n = 5;
	int r = join(p->include, include, sizeof(include), err);

	if (r == 0 && strcmp(p->kind, "debian") == 0) {
		r = lease_ids(c->d, ids, sizeof(ids), err);
		argv[n++] = ids;
	}
	if (r < 0)
		return r;
	if (p->suite[0] && str_fmt(suite, sizeof(suite), "--suite=%s", p->suite))
		argv[n++] = suite;
	if (p->init[0] && str_fmt(init, sizeof(init), "--init=%s", p->init))
		argv[n++] = init;
	if (include[0])
		argv[n++] = include;
	return job_start(c, argv, -1, err);
}

int api_template_build(struct call *c, json_t *params, struct cos_err *err)
{
	static const char *const kinds[] = { "busybox", "debian" };
	static const struct jsonx_field fields[] = {
		{ .name = "kind",
		  .type = JSONX_STR,
		  .offset = offsetof(struct params, kind),
		  .min = 1,
		  .max = 16,
		  .required = true },
		F_NAME(false),
		{ .name = "suite",
		  .type = JSONX_STR,
		  .offset = offsetof(struct params, suite),
		  .min = 1,
		  .max = 32 },
		{ .name = "init",
		  .type = JSONX_STR,
		  .offset = offsetof(struct params, init),
		  .min = 1,
		  .max = 16 },
		{ .name = "include",
		  .type = JSONX_ANY,
		  .offset = offsetof(struct params, include) },
	};
	struct params p = { .name = "" };
	int r = jsonx_fill(params, "", fields, ARRAY_SIZE(fields), &p, err);
	bool known = false;

	if (r < 0)
		return r;
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		known = known || strcmp(p.kind, kinds[i]) == 0;
	if (!known)
		return jsonx_bad(err, "/kind", "\"%s\" is not a kind of template: busybox, debian",
				 p.kind);
	if (!p.name[0])
		strcpy(p.name, p.kind);
	r = check_name(&p, err);
	return r < 0 ? r : start_build(c, &p, err);
}

int api_template_list(struct call *c, json_t *params, struct cos_err *err)
{
	json_t *list;
	int r = jsonx_fill(params, "", NULL, 0, NULL, err);

	if (r == 0)
		r = cowfs_template_list(&c->d->cow, &list, err);
	if (r == 0)
		call_reply(c, json_pack("{s:o}", "templates", list), NULL, 0);
	return r;
}

int api_template_delete(struct call *c, json_t *params, struct cos_err *err)
{
	static const struct jsonx_field fields[] = { F_NAME(true) };
	struct params p = { .name = "" };
	int r = jsonx_fill(params, "", fields, ARRAY_SIZE(fields), &p, err);

	if (r == 0)
		r = cowfs_template_delete(&c->d->cow, p.name, err);
	if (r < 0)
		return r;
	jobs_sweep(c->d);
	call_reply(c, NULL, NULL, 0);
	return 0;
}
