/* cosd/api-copy.c - files into and out of running guests
 *
 * The daemon looks at no path: it gives one end of a pipe to the client, the other to a process in
 * the guest (cow-fs/inside.h), and tells the client how that one ended. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "cosd/api.h"
#include "cosd/guest.h"
#include "cow-fs/inside.h"
#include "lib/base/jsonx.h"
#include "lib/base/own.h"

struct params {
	char name[NAME_SIZE], path[TAR_PATH_SIZE];
	bool archive, directory, follow;
};

#define F_NAME                                                                                     \
	{                                                                                          \
		.name = "name", .type = JSONX_STR, .offset = offsetof(struct params, name),        \
		.min = 1, .max = NAME_SIZE - 1, .required = true                                   \
	}
#define F_PATH                                                                                     \
	{                                                                                          \
		.name = "path", .type = JSONX_STR, .offset = offsetof(struct params, path),        \
		.min = 1, .max = TAR_PATH_SIZE - 1, .required = true                               \
	}
#define F_BOOL(word)                                                                               \
	{                                                                                          \
		.name = #word, .type = JSONX_BOOL, .offset = offsetof(struct params, word)         \
	}

/* A copy that nobody waits for could not be called off. */
static int check(struct call *c, const char *name, struct guest **ret, struct cos_err *err)
{
	struct guest *g = NULL;
	int r;

	if (!c->more)
		return cos_fail(err, COS_E_INVALID, 0, "the call has to be made with \"more\"");
	r = guest_need(c->d, name, &g, err);
	if (r == 0)
		r = api_may(c, g, err);
	if (r == 0)
		r = api_need_container(g, err);
	if (r < 0)
		return r;
	if (g->state == GS_FROZEN)
		return cos_fail(err, COS_E_STATE, 0, "%s is frozen", g->name);
	if (g->pidfd < 0)
		return cos_fail(err, COS_E_NOT_RUNNING, 0, "%s is %s", g->name,
				guest_state_name[g->state]);
	*ret = g;
	return 0;
}

static void add_flag(char *flags, enum inside_flag f, bool on)
{
	size_t n = strlen(flags);

	if (!on)
		return;
	flags[n] = (char)f;
	flags[n + 1] = '\0';
}

/* OURS: which end of the pipe is for the process in the guest. */
static int copy(struct call *c, const struct params *p, const char *verb, int ours,
		struct cos_err *err)
{
	struct guest *g = NULL;
	char flags[8] = "";
	int fds[2], r = check(c, p->name, &g, err);

	if (r < 0)
		return r;
	add_flag(flags, INSIDE_USERNS, g->spec.userns);
	add_flag(flags, INSIDE_ARCHIVE, p->archive);
	add_flag(flags, INSIDE_DIRECTORY, p->directory);
	add_flag(flags, INSIDE_FOLLOW, p->follow);
	if (pipe2(fds, O_CLOEXEC) < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "pipe");
	r = job_start_in(c, g, (const char *[]){ "--", "guest", verb, p->path, flags, NULL },
			 fds[ours], err);
	close(fds[ours]);
	if (r < 0)
		close(fds[!ours]);
	else
		call_continue(c, NULL, &fds[!ours], 1);
	return r;
}

int api_guest_copy_in(struct call *c, json_t *params, struct cos_err *err)
{
	static const struct jsonx_field fields[] = { F_NAME, F_PATH, F_BOOL(archive),
						     F_BOOL(directory) };
	struct params p = { .name = "" };
	int r = jsonx_fill(params, "", fields, ARRAY_SIZE(fields), &p, err);

	return r < 0 ? r : copy(c, &p, "write", 0, err);
}

int api_guest_copy_out(struct call *c, json_t *params, struct cos_err *err)
{
	static const struct jsonx_field fields[] = { F_NAME, F_PATH, F_BOOL(follow) };
	struct params p = { .name = "" };
	int r = jsonx_fill(params, "", fields, ARRAY_SIZE(fields), &p, err);

	return r < 0 ? r : copy(c, &p, "read", 1, err);
}
