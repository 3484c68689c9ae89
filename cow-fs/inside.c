/* cow-fs/inside.c - files into and out of a running guest, by a process that joins it */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <jansson.h>
#include <linux/capability.h>
#include <linux/openat2.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cow-fs/confine.h"
#include "cow-fs/inside.h"
#include "lib/base/own.h"

/* /proc/PID/root and the like lead to what a process of the guest has, not to a path of its. */
#define RESOLVE RESOLVE_NO_MAGICLINKS

static bool has(const char *flags, enum inside_flag f)
{
	return strchr(flags, (int)f);
}

static int join(const char *flags, struct cos_err *err)
{
	int ns = CLONE_NEWNS | (has(flags, INSIDE_USERNS) ? CLONE_NEWUSER : 0);

	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 || setns(INSIDE_GUEST, ns) < 0)
		return cos_fail(err, errno == ESRCH ? COS_E_NOT_RUNNING : COS_E_KERNEL, errno,
				"setns to the guest");
	close(INSIDE_GUEST);
	if (setgroups(0, NULL) < 0 || setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "become root of the user namespace");
	return 0;
}

/* From the join on every file of the C library's that is opened is the guest's: what it would load
 * or read is made ready before, and the filter lets no code be mapped after. */
static int enter(const char *flags, struct cos_err *err)
{
	struct filter filter = { 0 };
	int r = confine_filter(&filter, err);

	if (r < 0)
		return r;
	json_object_seed(0);
	umask(022);
	r = join(flags, err);
	if (r == 0)
		r = confine_joined(&filter, err);
	/* A reader that goes away is an error to be told, not a death. */
	signal(SIGPIPE, SIG_IGN);
	filter_done(&filter);
	return r;
}

int inside_read(const char *path, const char *flags, struct tar_count *ret, struct cos_err *err)
{
	struct tar_pack p = {
		.path = path,
		.follow = has(flags, INSIDE_FOLLOW),
		.resolve = RESOLVE,
		.out = INSIDE_STREAM,
		.owners = true,
	};
	int r = enter(flags, err);

	if (r == 0)
		r = tar_pack(&p, err);
	*ret = p.n;
	return r;
}

/* Who wrote a padded archive is not to be told that nobody reads it. */
static int drain(struct cos_err *err)
{
	char buf[4096];
	ssize_t n;

	while ((n = read(INSIDE_STREAM, buf, sizeof(buf))) > 0 || (n < 0 && errno == EINTR))
		;
	return n < 0 ? cos_fail(err, COS_E_KERNEL, errno, "read the archive") : 0;
}

int inside_write(const char *path, const char *flags, struct tar_count *ret, struct cos_err *err)
{
	struct tar_target to = { .root = -1 };
	struct tar_unpack u = {
		.in = INSIDE_STREAM,
		.owners = has(flags, INSIDE_ARCHIVE),
	};
	int r = enter(flags, err);

	if (r == 0)
		r = tar_target_open(path, has(flags, INSIDE_DIRECTORY), RESOLVE, &to, err);
	if (r == 0) {
		u.root = to.root;
		u.as = to.as[0] ? to.as : NULL;
		r = tar_unpack(&u, err);
		close(to.root);
	}
	if (r == 0)
		r = drain(err);
	*ret = u.n;
	return r;
}
