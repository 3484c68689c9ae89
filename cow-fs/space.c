/* cow-fs/space.c - bounds of the space that a guest's own files take */
#include <errno.h>
#include <inttypes.h>
#include <sys/vfs.h>

#include "cow-fs/image.h"
#include "cow-fs/project.h"
#include "cow-fs/space.h"
#include "lib/base/own.h"

const char *const cowfs_limit_word[COWFS_LIMIT__N] = {
#define X(id, name, word, meaning) [COWFS_LIMIT_##id] = word,
	COWFS_LIMIT_KINDS(X)
#undef X
};

static const char *try_kind(enum cowfs_limit_kind kind, int dir)
{
	return kind == COWFS_LIMIT_PROJECT ? project_try(dir) : image_try();
}

void cowfs_limit_probe(int dir, struct cowfs_limit_found ret[COWFS_LIMIT__N])
{
#define X(id, name, word, meaning) [COWFS_LIMIT_##id] = { name, meaning, false, "" },
	static const struct cowfs_limit_found rows[] = { COWFS_LIMIT_KINDS(X) };
#undef X

	for (enum cowfs_limit_kind i = 0; i < COWFS_LIMIT__N; i++) {
		ret[i] = rows[i];
		ret[i].why = try_kind(i, dir);
		ret[i].works = !ret[i].why[0];
	}
}

/* A process with the host's user namespace may take its files out of a project. */
static const char *why_not(const struct cowfs *c, enum cowfs_limit_kind kind, bool in_userns)
{
	if (kind == COWFS_LIMIT_PROJECT && !in_userns)
		return "with userns=false the guest's root could leave a project";
	return try_kind(kind, c->dir);
}

static bool is_bound(const struct cowfs_space *max)
{
	return max->bytes != COWFS_NO_LIMIT || max->inodes != COWFS_NO_LIMIT;
}

/* A file system has a size. */
static bool fits(enum cowfs_limit_kind kind, const struct cowfs_space *max)
{
	return kind != COWFS_LIMIT_LOOP || max->bytes != COWFS_NO_LIMIT;
}

int cowfs_limit_choose(const struct cowfs *c, const struct cowfs_bounds *b,
		       enum cowfs_limit_kind *ret, struct cos_err *err)
{
	const struct cowfs_space *max = &b->max;
	const enum cowfs_limit_kind want = b->kind;
	const char *why[COWFS_LIMIT__N] = { "", "" };

	for (enum cowfs_limit_kind i = 0; i < COWFS_LIMIT__N; i++) {
		if ((want != COWFS_LIMIT__N && want != i) || !fits(i, max))
			continue;
		why[i] = why_not(c, i, b->in_userns);
		if (!why[i][0]) {
			*ret = i;
			return 0;
		}
	}
	if (want == COWFS_LIMIT__N && !is_bound(max)) {
		*ret = want;
		return 0;
	}
	if (want != COWFS_LIMIT__N && !fits(want, max))
		return cos_fail(err, COS_E_INVALID, 0, "disk.quota=%s needs disk.max",
				cowfs_limit_word[want]);
	if (want != COWFS_LIMIT__N)
		return cos_advise(err,
				  cos_fail(err, COS_E_UNSUPPORTED, 0, "disk.quota=%s: %s",
					   cowfs_limit_word[want], why[want]),
				  "'cosctl doctor' lists what this host can enforce");
	return cos_advise(
		err,
		cos_fail(err, COS_E_UNSUPPORTED, 0,
			 "disk limits: project quota: %s; loop image: %s", why[COWFS_LIMIT_PROJECT],
			 why[COWFS_LIMIT_LOOP][0] ? why[COWFS_LIMIT_LOOP] : "needs disk.max"),
		"'cosctl doctor' lists what this host can enforce");
}

enum cowfs_limit_kind cowfs_limit_kind(int home)
{
	if (image_is_there(home))
		return COWFS_LIMIT_LOOP;
	return project_of(home) ? COWFS_LIMIT_PROJECT : COWFS_LIMIT__N;
}

static int set_project(int home, const struct cowfs_space *max, struct cos_err *err)
{
	const char *why = project_enforced(home);
	int r = why[0] ? -EOPNOTSUPP : project_limit(home, max);

	if (r == 0 || !is_bound(max))
		return 0;
	cos_fail(err, COS_E_UNSUPPORTED, why[0] ? 0 : -r, "disk limits: %s",
		 why[0] ? why : "set the quota of its project");
	return cos_advise(err, r, "mount the file system of the state directory with prjquota");
}

static int set_image(int home, const struct cowfs_space *max, struct cos_err *err)
{
	uint64_t bytes = 0, taken;
	int r = image_size(home, &bytes, &taken);

	if (r < 0)
		return cos_fail(err, COS_E_KERNEL, -r, "look at the loop image");
	if (max->bytes / 4096 < bytes / 4096 || max->bytes == COWFS_NO_LIMIT)
		return cos_advise(err,
				  cos_fail(err, COS_E_UNSUPPORTED, 0,
					   "disk.max: its files are in a loop image of %" PRIu64
					   " bytes, which only grows",
					   bytes),
				  "make a new guest, and copy what is to be kept");
	return image_grow(home, max->bytes, err);
}

int cowfs_limit_set(int home, const struct cowfs_space *max, struct cos_err *err)
{
	switch (cowfs_limit_kind(home)) {
	case COWFS_LIMIT_PROJECT:
		return set_project(home, max, err);
	case COWFS_LIMIT_LOOP:
		return set_image(home, max, err);
	case COWFS_LIMIT__N:
		break;
	}
	if (!is_bound(max))
		return 0;
	return cos_advise(
		err,
		cos_fail(err, COS_E_UNSUPPORTED, 0, "disk limits: its files are not under a quota"),
		"give disk.max when a guest is created; 'cosctl doctor' tells what this "
		"host can enforce");
}

int cowfs_limit_open(int home, struct cos_err *err)
{
	return image_mount(home, err);
}

int cowfs_limit_used(int home, int disk, struct cowfs_space *ret)
{
	struct statfs fs;
	uint64_t bytes;

	switch (cowfs_limit_kind(home)) {
	case COWFS_LIMIT_PROJECT:
		return project_used(home, ret);
	case COWFS_LIMIT_LOOP:
		if (disk >= 0 && fstatfs(disk, &fs) == 0) {
			ret->bytes = (fs.f_blocks - fs.f_bfree) * (uint64_t)fs.f_bsize;
			ret->inodes = fs.f_files - fs.f_ffree;
			return 0;
		}
		ret->inodes = COWFS_NO_LIMIT;
		return image_size(home, &bytes, &ret->bytes);
	case COWFS_LIMIT__N:
		break;
	}
	return -ENODATA;
}

void cowfs_limit_drop(int home)
{
	static const struct cowfs_space none = { COWFS_NO_LIMIT, COWFS_NO_LIMIT };

	if (project_of(home))
		project_limit(home, &none);
}

void cowfs_limit_tidy(const struct cowfs *c)
{
	if (!project_enforced(c->dir)[0])
		project_tidy(c);
}
