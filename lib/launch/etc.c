/* lib/launch/etc.c - the few files of a guest that cos writes, from inside its root
 *
 * This runs with the guest's own rights after pivot_root(): whatever links the guest has put there
 * lead to places of its own. Files are replaced by rename, so a link or a FIFO in their place is
 * not opened. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <linux/openat2.h>

#include "lib/base/io.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "lib/launch/child.h"
#include "lib/launch/guest.h"

#define BENEATH (RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS)

static bool holds(int etc, const char *name, const char *text)
{
	auto_close int fd = openat(etc, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	char have[4096];
	struct stat st;

	return fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
	       io_read_fd(fd, have, sizeof(have)) >= 0 && strcmp(have, text) == 0;
}

/* Nobody reads along yet: a file that is not there needs no rename to appear whole. */
static int create(int etc, const char *name, const char *text)
{
	auto_close int fd = openat(etc, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

	return fd < 0 ? -errno : io_write_all(fd, text, strlen(text));
}

static int put(int etc, const char *name, const char *text, struct cos_err *err)
{
	int r = create(etc, name, text);

	if (r == -EEXIST)
		r = holds(etc, name, text)
			    ? 0
			    : io_replace_at(etc, name, text, strlen(text), 0644, false);

	if (r < 0)
		return cos_advise(
			err, cos_fail(err, COS_E_KERNEL, -r, "write /etc/%s in the guest", name),
			"mend the guest's /etc, or create the guest with manage=false");
	return 0;
}

static int set_timezone(int etc, const char *zone, struct cos_err *err)
{
	char target[128];

	str_fmt(target, sizeof(target), "/usr/share/zoneinfo/%s", zone);
	if (faccessat(AT_FDCWD, target, F_OK, 0) < 0)
		return cos_fail(err, COS_E_INVALID, errno, "timezone: %s in the guest", target);
	if (unlinkat(etc, "localtime", 0) < 0 && errno != ENOENT)
		return cos_fail(err, COS_E_KERNEL, errno, "remove /etc/localtime in the guest");
	if (symlinkat(target, etc, "localtime") < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "link /etc/localtime in the guest");
	return 0;
}

int child_write_etc(const struct launch *l, struct cos_err *err)
{
	auto_close int etc = io_open2(AT_FDCWD, "etc", O_RDONLY | O_DIRECTORY, 0, BENEATH);
	const char *name = l->spec->hostname;
	char text[512];
	int r = 0;

	if (etc == -ENOENT) /* a root without /etc has nobody who would read it */
		return 0;
	if (etc < 0)
		return cos_fail(err, COS_E_IMAGE, -etc, "/etc of the guest is not a directory");
	if (l->spec->manage) {
		str_fmt(text, sizeof(text), "%s\n", name);
		r = put(etc, "hostname", text, err);
		str_fmt(text, sizeof(text),
			"127.0.0.1\tlocalhost\n127.0.1.1\t%s\n"
			"::1\tlocalhost ip6-localhost ip6-loopback\n",
			name);
		if (r == 0)
			r = put(etc, "hosts", text, err);
		if (r == 0)
			r = put(etc, "resolv.conf", l->resolv ?: "", err);
	}
	if (r == 0 && l->spec->timezone)
		r = set_timezone(etc, l->spec->timezone, err);
	return r;
}
