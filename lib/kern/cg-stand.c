/* lib/kern/cg-stand.c - how a guest stands to its limits: held, most held, hits, pressure */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/io.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "lib/kern/cg-inner.h"

static const struct counter *counter_of(const struct cg_topo *t, enum limit_id id)
{
	int h = t->where[limit_defs[id].ctl];

	for (const struct counter *c = counters; h >= 0 && c < counters + n_counters; c++) {
		if (c->limit == id && c->version == t->h[h].version)
			return c;
	}
	return NULL;
}

static uint64_t number_in(const char *text, const char *key)
{
	return key ? cg_flat_value(text, key) : strtoull(text, NULL, 10);
}

/* The number after KEY, or without one the file's only number; LIMIT_MAX when it is not there. */
static uint64_t number(int dir, const char *file, const char *key)
{
	char text[2048];

	if (!file || dir < 0 || io_read_at(dir, file, text, sizeof(text)) <= 0)
		return LIMIT_MAX;
	return number_in(text, key);
}

/* Before Linux 6.11 v2 counted a refused fork in the group of the process that forked, not in the
 * one with the limit. What a guest's own groups below count then is not seen. */
static uint64_t refused_forks(int dir, const char *slot)
{
	static const char *const groups[] = { "payload", "exec" };
	uint64_t sum = LIMIT_MAX;

	for (size_t i = 0; i < ARRAY_SIZE(groups); i++) {
		char path[120];
		uint64_t v;

		str_fmt(path, sizeof(path), "%s/%s/pids.events", slot, groups[i]);
		v = number(dir, path, "max");
		if (v != LIMIT_MAX)
			sum = sum == LIMIT_MAX ? v : sum + v;
	}
	return sum;
}

bool cg_stand(const struct cg_topo *t, const struct cg_guest *g, enum limit_id id,
	      struct cg_stand *ret)
{
	const struct counter *c = counter_of(t, id);
	int dir;

	if (!c)
		return false;
	dir = g->dir[t->where[limit_defs[id].ctl]];
	*ret = (struct cg_stand){
		.held = number(dir, c->held, NULL),
		.most = number(dir, c->most, NULL),
		.hits = number(dir, c->hits, c->hits_key),
	};
	if (id == LIMIT_PIDS_MAX && ret->hits == LIMIT_MAX)
		ret->hits = refused_forks(dir, ".");
	return true;
}

bool cg_told(const struct cg_topo *t, const char *slot, enum limit_id id, int *fd, uint64_t *ret)
{
	const struct counter *c = counter_of(t, id);
	uint64_t v = LIMIT_MAX;
	char text[2048];
	ssize_t n = -1;
	int root;

	if (!c || !c->told)
		return false;
	root = t->h[t->where[limit_defs[id].ctl]].root;
	if (*fd < 0 && str_fmt(text, sizeof(text), "%s/%s", slot, c->told))
		*fd = openat(root, text, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (*fd >= 0)
		n = pread(*fd, text, sizeof(text) - 1, 0);
	if (n > 0) {
		text[n] = '\0';
		v = number_in(text, c->told_key);
	} else if (id == LIMIT_PIDS_MAX) {
		v = refused_forks(root, slot);
	}
	if (v == LIMIT_MAX)
		return false;
	*ret = v;
	return true;
}

const char *const cg_psi_name[PSI__N] = {
	[PSI_CPU] = "cpu",
	[PSI_MEMORY] = "memory",
	[PSI_IO] = "io",
};

int cg_pressure(const struct cg_topo *t, const struct cg_guest *g, enum cg_psi which,
		struct cg_pressure *ret)
{
	struct cg_pressure p = { 0 };
	char file[32], text[512], *full;
	unsigned long long some_usec, full_usec;

	str_fmt(file, sizeof(file), "%s.pressure", cg_psi_name[which]);
	if (t->v2 < 0 || io_read_at(g->dir[t->v2], file, text, sizeof(text)) <= 0 ||
	    sscanf(text, "some avg10=%lf avg60=%lf avg300=%*f total=%llu", &p.some_avg10,
		   &p.some_avg60, &some_usec) != 3)
		return -ENOENT;
	p.some_usec = some_usec;
	full = strstr(text, "\nfull ");
	if (full && sscanf(full, "\nfull avg10=%lf avg60=%lf avg300=%*f total=%llu", &p.full_avg10,
			   &p.full_avg60, &full_usec) == 3)
		p.full_usec = full_usec;
	*ret = p;
	return 0;
}
