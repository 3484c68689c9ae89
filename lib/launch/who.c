/* lib/launch/who.c - users and groups by the guest's own files, which may hold anything */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/base/io.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "lib/launch/child.h"

#define DB_BYTES_MAX (1U << 20)

/* A file of the guest: a regular one, of bounded size, else as if it were not there. */
static char *read_db(const char *path)
{
	auto_close int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	struct stat st;
	char *text;

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return NULL;
	return io_slurp_fd(fd, DB_BYTES_MAX, &text) < 0 ? NULL : text;
}

/* Cuts LINE at its colons; returns how many fields there are. */
static unsigned split(char *line, char **field, unsigned max)
{
	unsigned n = 0;

	for (char *p = line; p && n < max; n++) {
		field[n] = p;
		p = strchr(p, ':');
		if (p)
			*p++ = '\0';
	}
	return n;
}

static bool to_id(const char *s, uint32_t *ret)
{
	uint64_t v;

	/* -1 means "no change" to the kernel, in both its spellings */
	if (str_to_u64(s, &v) < 0 || v >= UINT32_MAX)
		return false;
	*ret = (uint32_t)v;
	return true;
}

/* The passwd entry of NAME, or of UID when NAME is NULL. */
static bool find_user(char *db, const char *name, uid_t uid, struct who *w, char *ret_name,
		      size_t size)
{
	char *save = NULL, *f[7];

	for (char *line = db ? strtok_r(db, "\n", &save) : NULL; line;
	     line = strtok_r(NULL, "\n", &save)) {
		uint32_t u, g;

		if (split(line, f, 7) < 6 || !to_id(f[2], &u) || !to_id(f[3], &g))
			continue;
		if (name ? strcmp(f[0], name) != 0 : u != uid)
			continue;
		w->uid = u;
		w->gid = g;
		if (f[5][0] == '/' && strlen(f[5]) < sizeof(w->home))
			strcpy(w->home, f[5]);
		return str_fmt(ret_name, size, "%s", f[0]);
	}
	return false;
}

static bool list_has(char *list, const char *name)
{
	char *save = NULL;

	for (char *m = strtok_r(list, ",", &save); m; m = strtok_r(NULL, ",", &save)) {
		if (strcmp(m, name) == 0)
			return true;
	}
	return false;
}

/* Groups that list USER; and the id of GROUP, if one is asked for by name. */
static bool scan_groups(char *db, const char *user, const char *group, struct who *w)
{
	char *save = NULL, *f[4];
	bool found = false;

	for (char *line = db ? strtok_r(db, "\n", &save) : NULL; line;
	     line = strtok_r(NULL, "\n", &save)) {
		uint32_t g;

		if (split(line, f, 4) < 4 || !to_id(f[2], &g))
			continue;
		if (group && strcmp(f[0], group) == 0) {
			w->gid = g;
			found = true;
		}
		if (user && w->n_groups < WHO_GROUPS_MAX && list_has(f[3], user))
			w->groups[w->n_groups++] = g;
	}
	return found;
}

int who_parse(const char *text, char *passwd, char *groups, struct who *ret, struct cos_err *err)
{
	struct who w = { .home = "/" };
	char user[64], name[64] = "";
	const char *group;
	bool found;

	if (!text)
		text = "0:0";
	group = strchr(text, ':');
	if (!str_fmt(user, sizeof(user), "%.*s", (int)(group ? group - text : (long)strlen(text)),
		     text))
		return cos_fail(err, COS_E_INVALID, 0, "user %s: too long", text);
	if (to_id(user, &w.uid)) {
		uid_t uid = w.uid;

		found = find_user(passwd, NULL, uid, &w, name, sizeof(name));
		if (!found && uid == 0)
			strcpy(w.home, "/root");
		found = true;
	} else {
		found = find_user(passwd, user, 0, &w, name, sizeof(name));
	}
	if (!found)
		return cos_fail(err, COS_E_INVALID, 0, "user %s: not in the guest's /etc/passwd",
				user);
	if (group) {
		group++;
		found = to_id(group, &w.gid);
		if (!scan_groups(groups, name[0] ? name : NULL, found ? NULL : group, &w) && !found)
			return cos_fail(err, COS_E_INVALID, 0,
					"group %s: not in the guest's /etc/group", group);
	} else {
		scan_groups(groups, name[0] ? name : NULL, NULL, &w);
	}
	*ret = w;
	return 0;
}

int who_find(const char *text, struct who *ret, struct cos_err *err)
{
	auto_free char *passwd = read_db("/etc/passwd");
	auto_free char *group = read_db("/etc/group");

	return who_parse(text, passwd, group, ret, err);
}
