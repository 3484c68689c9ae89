/* tests/func/probe-id.c - user ids, capabilities, set-user-id files */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "lib/base/own.h"
#include "tests/func/probe.h"

#define OTHER_UID 1000

/* (uid_t)-1 means "leave it" to some calls and is never the id of anybody. */
static enum outcome id_minus_one(const struct check *c, struct finding *f)
{
	gid_t none = (gid_t)-1;
	enum outcome got = NO;

	(void)c;
	if (setgroups(1, &none) == 0) {
		note(f, "setgroups");
		got = YES;
	}
	if (setgid((gid_t)-1) == 0) {
		note(f, "setgid");
		got = YES;
	}
	if (setuid((uid_t)-1) == 0) {
		note(f, "setuid");
		got = YES;
	}
	return got;
}

/* The first id after the 64 Ki of a guest's map. */
static enum outcome id_outside(const struct check *c, struct finding *f)
{
	int r = setuid(65536);

	(void)c;
	note(f, "%s", r < 0 ? err_name(errno) : "became 65536");
	return r < 0 ? NO : YES;
}

static enum outcome maps_host_root(const struct check *c, struct finding *f)
{
	static const char *const files[] = { "/proc/self/uid_map", "/proc/self/gid_map" };
	enum outcome got = NO;

	(void)c;
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		char text[1024], *line, *at = text;
		unsigned long inside, outside, count;

		if (slurp(files[i], text, sizeof(text)) <= 0)
			return ABSENT;
		while ((line = strsep(&at, "\n"))) {
			if (sscanf(line, "%lu %lu %lu", &inside, &outside, &count) != 3 ||
			    (outside >= 65536 && count <= 65536))
				continue;
			note(f, "%s: %s", files[i], line);
			got = YES;
		}
	}
	return got;
}

#define BIT(cap) (UINT64_C(1) << (cap))

/* With a user namespace all but three; without, Linux-VServer's list less two. */
static enum outcome too_capable(const struct check *c, struct finding *f)
{
	static const char *const sets[] = { "CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:" };
	const uint64_t never = BIT(CAP_SYS_MODULE) | BIT(CAP_SYS_RAWIO) | BIT(CAP_SYS_TIME);
	const uint64_t vserver = BIT(CAP_CHOWN) | BIT(CAP_DAC_OVERRIDE) | BIT(CAP_FOWNER) |
				 BIT(CAP_FSETID) | BIT(CAP_KILL) | BIT(CAP_SETGID) |
				 BIT(CAP_SETUID) | BIT(CAP_NET_BIND_SERVICE) | BIT(CAP_SYS_CHROOT) |
				 BIT(CAP_SYS_TTY_CONFIG) | BIT(CAP_LEASE) | BIT(CAP_SETFCAP) |
				 BIT(CAP_SYS_BOOT) | BIT(CAP_AUDIT_WRITE);
	const uint64_t allowed = probe_opts.userns ? ~never : vserver;
	enum outcome got = NO;
	char text[4096];

	(void)c;
	if (slurp("/proc/self/status", text, sizeof(text)) <= 0)
		return ABSENT;
	for (size_t i = 0; i < ARRAY_SIZE(sets); i++) {
		const char *at = strstr(text, sets[i]);
		uint64_t extra = at ? strtoull(at + strlen(sets[i]), NULL, 16) & ~allowed : ~0ULL;

		if (!extra)
			continue;
		note(f, "%s %llx too many", sets[i], (unsigned long long)extra);
		got = YES;
	}
	return got;
}

static enum outcome filtered(const struct check *c, struct finding *f)
{
	char text[4096];
	const char *at;

	(void)c;
	if (slurp("/proc/self/status", text, sizeof(text)) <= 0 || !(at = strstr(text, "Seccomp:")))
		return ABSENT;
	note(f, "mode %c", at[9]);
	return at[9] == '2' ? YES : NO;
}

static int copy_self(const char *to, mode_t mode)
{
	auto_close int in = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	auto_close int out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	struct stat st;

	if (in < 0 || out < 0 || fstat(in, &st) < 0)
		return -errno;
	while (st.st_size > 0) {
		ssize_t n = sendfile(out, in, NULL, st.st_size);

		if (n <= 0)
			return -EIO;
		st.st_size -= n;
	}
	return fchmod(out, mode) < 0 ? -errno : 0;
}

/* Runs PATH as OTHER_UID; returns the effective user id that it then had, or -1. */
static int euid_of(const char *path)
{
	char buf[64] = "";
	int p[2], euid;
	pid_t pid;

	if (pipe2(p, O_CLOEXEC) < 0)
		return -1;
	pid = fork();
	if (pid == 0) {
		dup2(p[1], 1);
		if (setgroups(0, NULL) == 0 && setresgid(OTHER_UID, OTHER_UID, OTHER_UID) == 0 &&
		    setresuid(OTHER_UID, OTHER_UID, OTHER_UID) == 0)
			execl(path, "probe", "ids", (char *)NULL);
		_exit(127);
	}
	close(p[1]);
	if (read(p[0], buf, sizeof(buf) - 1) <= 0 || sscanf(buf, "%*d %d", &euid) != 1)
		euid = -1;
	close(p[0]);
	waitpid(pid, NULL, 0);
	return euid;
}

/* A set-user-id file makes root of another user inside, unless no_new_privs says that it must not.
 */
static enum outcome setuid_file(const struct check *c, struct finding *f)
{
	bool nnp = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1;
	char dir[64], path[80];
	struct statvfs v;
	int euid, r;

	(void)c;
	r = scratch_dir(f, "/", dir, sizeof(dir));
	if (r < 0)
		r = scratch_any(f, dir, sizeof(dir));
	if (r < 0 || statvfs(dir, &v) < 0 || (v.f_flag & (ST_NOSUID | ST_NOEXEC))) {
		note(f, "no directory without nosuid");
		return ABSENT;
	}
	snprintf(path, sizeof(path), "%s/su", dir);
	r = copy_self(path, 04755);
	if (r < 0 || chmod(dir, 0755) < 0) {
		note(f, "copy: %s", err_name(-r));
		return ABSENT;
	}
	euid = euid_of(path);
	note(f, "became %d%s", euid, nnp ? " with no_new_privs" : "");
	return euid == (nnp ? OTHER_UID : 0) ? YES : NO;
}

/* Ids are shifted on the way to the disk and back: root's files are root's here. */
static enum outcome root_owned(const struct check *c, struct finding *f)
{
	static const char *const paths[] = { "/", "/proc/self/exe", "/tmp", "/dev" };
	enum outcome got = YES;
	struct stat st;

	(void)c;
	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		if (stat(paths[i], &st) < 0 || (st.st_uid == 0 && st.st_gid == 0))
			continue;
		note(f, "%s is owned by %u:%u", paths[i], st.st_uid, st.st_gid);
		got = NO;
	}
	return got;
}

static enum outcome chowns(const struct check *c, struct finding *f)
{
	char dir[64];
	struct stat st;
	int r = scratch_any(f, dir, sizeof(dir));

	(void)c;
	if (r < 0)
		return ABSENT;
	if (chown(dir, 65534, 65534) < 0 || stat(dir, &st) < 0 || st.st_uid != 65534) {
		note(f, "%s", err_name(errno));
		return NO;
	}
	return YES;
}

/* c->path is the name of the attribute. trusted.* is what overlay keeps its own marks in. */
static enum outcome sets_xattr(const struct check *c, struct finding *f)
{
	static const struct vfs_cap_data cap = {
		.magic_etc = VFS_CAP_REVISION_2,
		.data[0].permitted = 1 << CAP_NET_BIND_SERVICE,
	};
	char dir[64], path[80];
	int fd, r;

	if (scratch_any(f, dir, sizeof(dir)) < 0)
		return ABSENT;
	snprintf(path, sizeof(path), "%s/file", dir);
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0755);
	if (fd < 0)
		return ABSENT;
	r = fsetxattr(fd, c->path, &cap, sizeof(cap), 0);
	note(f, "%s", r < 0 ? err_name(errno) : "it worked");
	return r < 0 ? NO : YES;
}

/* clang-format off */
const struct check checks_id[] = {
	{ "id-minus-one", WANT_NO, WANT_NO, .run = id_minus_one },
	{ "id-outside", WANT_NO, WANT_YES, .run = id_outside },
	{ "maps-host-root", WANT_NO, WANT_YES, .run = maps_host_root },
	{ "too-capable", WANT_NO, WANT_NO, .run = too_capable },
	{ "filtered", WANT_YES, WANT_YES, .run = filtered },
	{ "setuid-file", WANT_YES, WANT_YES, .run = setuid_file },
	{ "root-owned", WANT_YES, WANT_YES, .run = root_owned },
	{ "chown", WANT_YES, WANT_YES, .run = chowns },
	{ "file-capability", WANT_YES, WANT_YES, sets_xattr, "security.capability", 0, { 0 } },
	{ "trusted-xattr", WANT_NO, WANT_NO, sets_xattr, "trusted.cos_probe", 0, { 0 } },
	{ NULL, WANT_ANY, WANT_ANY, NULL, NULL, 0, { 0 } },
};
