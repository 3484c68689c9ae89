/* cosd/api-template.c - templates: long work goes to cow-fs, the rest is read here */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "cosd/api.h"
#include "lib/base/jsonx.h"
#include "lib/base/own.h"
#include "lib/base/str.h"

struct params {
	char name[COWFS_NAME_SIZE], kind[17];
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

int api_template_build(struct call *c, json_t *params, struct cos_err *err)
{
	static const struct jsonx_field fields[] = {
		{ .name = "kind",
		  .type = JSONX_STR,
		  .offset = offsetof(struct params, kind),
		  .min = 1,
		  .max = 16,
		  .required = true },
		F_NAME(false),
	};
	struct params p = { .name = "" };
	int r = jsonx_fill(params, "", fields, ARRAY_SIZE(fields), &p, err);

	if (r < 0)
		return r;
	if (strcmp(p.kind, "busybox") != 0)
		return jsonx_bad(err, "/kind", "\"%s\" is not a kind of template: busybox", p.kind);
	if (!p.name[0])
		strcpy(p.name, p.kind);
	r = check_name(&p, err);
	if (r < 0)
		return r;
	return job_start(c, (const char *[]){ "template", "build", p.kind, "--name", p.name, NULL },
			 -1, err);
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
