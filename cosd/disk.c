/* cosd/disk.c - space for guests' own files: disk.max and disk.inodes */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "cosd/admit.h"
#include "cosd/disk.h"
#include "lib/base/own.h"

#define NO_USERNS  "with userns=false the guest's root could leave the project"
#define FULL_BYTES 65536U /* so little that a write of some size fails */

static const enum limit_id ids[] = { LIMIT_DISK_MAX, LIMIT_DISK_INODES };

static int open_home(const struct guest *g)
{
	return openat(g->d->cow.guests, g->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

static struct cowfs_space space_of(const struct limits *l)
{
	return (struct cowfs_space){ l->v[LIMIT_DISK_MAX], l->v[LIMIT_DISK_INODES] };
}

static bool are_same(const struct limits *a, const struct limits *b)
{
	return a->v[LIMIT_DISK_MAX] == b->v[LIMIT_DISK_MAX] &&
	       a->v[LIMIT_DISK_INODES] == b->v[LIMIT_DISK_INODES];
}

const char *disk_quota(const struct guest *g)
{
	auto_close int home = open_home(g);
	enum cowfs_limit_kind kind = home < 0 ? COWFS_LIMIT__N : cowfs_limit_kind(home);

	return kind == COWFS_LIMIT__N ? NULL : cowfs_limit_word[kind];
}

void disk_bounds(const struct spec *s, struct cowfs_bounds *ret)
{
	static const enum cowfs_limit_kind kinds[] = {
		[DISK_AUTO] = COWFS_LIMIT__N,
		[DISK_PROJECT] = COWFS_LIMIT_PROJECT,
		[DISK_LOOP] = COWFS_LIMIT_LOOP,
	};

	*ret = (struct cowfs_bounds){ kinds[s->disk_quota], s->userns, space_of(&s->limits) };
}

static int say_home(const struct guest *g, struct cos_err *err)
{
	return cos_fail(err, COS_E_KERNEL, errno, "open cow/guests/%s", g->name);
}

static int refuse(struct cos_err *err, enum limit_id id, const char *why)
{
	return cos_advise(err,
			  cos_fail(err, COS_E_UNSUPPORTED, 0, "%s: %s", limit_defs[id].name, why),
			  "'cosctl doctor' lists what this host can enforce");
}

int disk_begin(const struct guest *g, struct cos_err *err)
{
	const struct cowfs_space max = space_of(&g->spec.limits);
	auto_close int home = open_home(g);

	if (home < 0)
		return say_home(g, err);
	if (!g->spec.userns && cowfs_limit_kind(home) == COWFS_LIMIT_PROJECT &&
	    (max.bytes != COWFS_NO_LIMIT || max.inodes != COWFS_NO_LIMIT))
		return refuse(err, LIMIT_DISK_MAX, NO_USERNS);
	return cowfs_limit_set(home, &max, err);
}

/* The number of inodes goes with the size, and both were fixed when it was made. */
static int check_image(const struct limits *now, const struct limits *next, struct cos_err *err)
{
	if (now->v[LIMIT_DISK_INODES] != next->v[LIMIT_DISK_INODES])
		return refuse(err, LIMIT_DISK_INODES,
			      "is fixed when a guest with a file system of its own is created");
	if (next->v[LIMIT_DISK_MAX] < now->v[LIMIT_DISK_MAX] ||
	    next->v[LIMIT_DISK_MAX] == LIMIT_MAX)
		return refuse(err, LIMIT_DISK_MAX,
			      "a file system of the guest's own has a size, and only grows");
	if (next->v[LIMIT_DISK_INODES] != LIMIT_MAX)
		return refuse(err, LIMIT_DISK_MAX,
			      "with more space its file system would have more than disk.inodes");
	return next->v[LIMIT_DISK_MAX] > now->v[LIMIT_DISK_MAX] ? cowfs_limit_may_grow(err) : 0;
}

static int check_kind(const struct guest *g, int home, const struct spec *next, struct cos_err *err)
{
	struct cowfs_limit_found found[COWFS_LIMIT__N];
	enum cowfs_limit_kind kind = cowfs_limit_kind(home);

	if (kind == COWFS_LIMIT_LOOP)
		return check_image(&g->spec.limits, &next->limits, err);
	if (next->limits.v[LIMIT_DISK_MAX] == LIMIT_MAX &&
	    next->limits.v[LIMIT_DISK_INODES] == LIMIT_MAX)
		return 0;
	if (kind == COWFS_LIMIT__N)
		return cos_advise(err,
				  refuse(err, LIMIT_DISK_MAX,
					 "the guest was created without a quota of its own"),
				  "create guests with disk.max; 'cosctl doctor' tells what this "
				  "host can enforce");
	if (!next->userns)
		return refuse(err, LIMIT_DISK_MAX, NO_USERNS);
	cowfs_limit_probe(g->d->cow.dir, found);
	return found[kind].works ? 0 : refuse(err, LIMIT_DISK_MAX, found[kind].why);
}

static int check_used(struct guest *g, const struct limits *next, struct cos_err *err)
{
	struct cowfs_space used;
	char text[LIMIT_TEXT_SIZE];

	if (!disk_used(g, &used))
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
		uint64_t held = ids[i] == LIMIT_DISK_MAX ? used.bytes : used.inodes;

		if (held == COWFS_NO_LIMIT || held <= next->v[ids[i]] ||
		    next->v[ids[i]] >= g->spec.limits.v[ids[i]])
			continue;
		return cos_advise(err,
				  cos_fail(err, COS_E_ADMISSION, 0,
					   "%s=%.40s: the guest's files take %" PRIu64,
					   limit_defs[ids[i]].name,
					   limit_print(ids[i], next->v[ids[i]], text), held),
				  "choose more, or --force: until it has removed files the guest "
				  "then cannot write any");
	}
	return 0;
}

int disk_check(struct guest *g, const struct spec *next, bool force, struct cos_err *err)
{
	auto_close int home = -1;
	int r;

	if (are_same(&g->spec.limits, &next->limits))
		return 0;
	home = open_home(g);
	if (home < 0)
		return say_home(g, err);
	r = check_kind(g, home, next, err);
	if (r == 0)
		r = admit_check_disk(g->d, g, &next->limits, err);
	return r == 0 && !force ? check_used(g, &next->limits, err) : r;
}

bool disk_grows(const struct guest *g, const struct spec *next)
{
	auto_close int home = -1;

	if (are_same(&g->spec.limits, &next->limits))
		return false;
	home = open_home(g);
	return home >= 0 && cowfs_limit_kind(home) == COWFS_LIMIT_LOOP;
}

int disk_set(const struct guest *g, const struct limits *before, struct cos_err *err)
{
	return are_same(&g->spec.limits, before) ? 0 : disk_begin(g, err);
}

bool disk_used(struct guest *g, struct cowfs_space *ret)
{
	auto_close int home = open_home(g);
	struct cos_err ignored;

	if (home < 0)
		return false;
	if (g->pid > 0 && g->disk < 0 && cowfs_limit_kind(home) == COWFS_LIMIT_LOOP)
		g->disk = cowfs_limit_open(home, &ignored);
	return cowfs_limit_used(home, g->disk, ret) == 0;
}

bool disk_taken(const struct guest *g, struct cowfs_space *ret)
{
	auto_close int home = open_home(g);

	return home >= 0 && cowfs_limit_used(home, -1, ret) == 0;
}

bool disk_is_full(const struct guest *g, enum limit_id id, const struct cowfs_space *used)
{
	uint64_t max = g->spec.limits.v[id];
	struct statfs fs;

	/* A file system of its own is full before disk.max is reached, or with fewer inodes. */
	if (g->disk >= 0 && fstatfs(g->disk, &fs) == 0)
		return id == LIMIT_DISK_INODES ? fs.f_ffree == 0
					       : fs.f_bavail * (uint64_t)fs.f_bsize < FULL_BYTES;
	if (max == LIMIT_MAX)
		return false;
	if (id == LIMIT_DISK_INODES)
		return used->inodes != COWFS_NO_LIMIT && used->inodes >= max;
	return used->bytes + FULL_BYTES > max;
}

void disk_end(struct guest *g)
{
	close_p(&g->disk);
}
