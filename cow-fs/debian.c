/* cow-fs/debian.c - a Debian system as the source of a template, made by mmdebstrap */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cow-fs/debian.h"
#include "cow-fs/fill.h"
#include "cow-fs/program.h"
#include "cow-fs/sandbox.h"
#include "lib/base/io.h"
#include "lib/base/own.h"
#include "lib/base/str.h"

#define BUILD_SECONDS 1800
#define END_MSEC      120000 /* from the end of the archive to that of its maker, who cleans up */
#define FAILED_MSEC   5000   /* from a failure that may have been met to its maker's end */
#define SOURCES_MAX   16
#define TARGETS_MAX   (1U << 20) /* of what apt-get says */
#define LOG_TAIL      16384
#define SCRATCH       "build"

/* The smallest system in which Debian's tools and an administrator find what they expect: minbase
 * is what is essential or required, and apt. To see and set what the guest got: ip, ps, sysctl. No
 * ifupdown or networkd, because cosd sets up the network; no udev, because /dev is made by cosd; no
 * dbus and so no logind, because nothing in a server's start needs them and two processes in each
 * of hundreds of guests are worth saving: "systemctl is-system-running" says running. */
#define VARIANT "minbase"
#define TOOLS   "iproute2,procps"

static const struct {
	const char *name, *packages;
} inits[] = {
#define X(id, name, packages, meaning) [DEBIAN_##id] = { name, packages },
	DEBIAN_INITS(X)
#undef X
};

/* ---- what is asked for ---- */

static bool is_made_of(const char *s, const char *first, const char *more)
{
	return s[0] && strchr(first, s[0]) && s[strspn(s, more)] == '\0';
}

#define LOWER  "abcdefghijklmnopqrstuvwxyz"
#define DIGITS "0123456789"

/* Names as Debian's policy has them: none looks like an option, a path, a pattern or a version. */
static bool are_packages(const char *list)
{
	while (*list) {
		size_t n = strcspn(list, ",");
		char name[64];

		if (!str_fmt(name, sizeof(name), "%.*s", (int)n, list) ||
		    !is_made_of(name, LOWER DIGITS, LOWER DIGITS "+.-"))
			return false;
		list += n + (list[n] == ',');
	}
	return true;
}

static int parse_init(const char *name, enum debian_init *ret, struct cos_err *err)
{
	for (size_t i = 0; i < ARRAY_SIZE(inits); i++) {
		if (strcmp(inits[i].name, name) == 0) {
			*ret = i;
			return 0;
		}
	}
	return cos_fail(err, COS_E_INVALID, 0, "init: \"%s\" is not one of systemd, sysvinit, none",
			str_is_text(name, 64) ? name : "this");
}

int debian_parse(const char *suite, const char *init, const char *include, struct debian *ret,
		 struct cos_err *err)
{
	struct debian d = { .init = DEBIAN_SYSTEMD };

	if (suite && (!is_made_of(suite, LOWER, LOWER DIGITS "-") ||
		      !str_fmt(d.suite, sizeof(d.suite), "%s", suite)))
		return cos_fail(err, COS_E_INVALID, 0,
				"suite: \"%s\" is not of the form [a-z][a-z0-9-]*",
				str_is_text(suite, 64) ? suite : "this");
	if (include &&
	    (!are_packages(include) || !str_fmt(d.include, sizeof(d.include), "%s", include)))
		return cos_fail(err, COS_E_INVALID, 0,
				"include: not names of packages, or more than %zu bytes of them",
				sizeof(d.include) - 1);
	if (init && parse_init(init, &d.init, err) < 0)
		return -EINVAL;
	*ret = d;
	return 0;
}

/* ---- where the packages come from ---- */

struct sources {
	char line[SOURCES_MAX][320]; /* as in sources.list */
	unsigned n;
	bool https;
};

struct target {
	const char *origin, *codename, *uri, *release, *component;
};

/* Cuts LINE, which apt-get made, at its tabs. */
static bool cut_target(char *line, struct target *ret)
{
	const char **const to[] = { &ret->origin, &ret->codename, &ret->uri, &ret->release,
				    &ret->component };

	for (size_t i = 0; i < ARRAY_SIZE(to); i++) {
		if (!line)
			return false;
		*to[i] = line;
		line = strchr(line, '\t');
		if (line)
			*line++ = '\0';
	}
	return true;
}

/* Of Debian itself, and by a protocol that the sandbox can speak. A password in it, which would end
 * up in the template, is not for every guest to read. */
static bool is_usable(const struct target *t)
{
	return strcmp(t->origin, "Debian") == 0 && strpbrk(t->uri, " @[]\"") == NULL &&
	       (strncmp(t->uri, "http://", 7) == 0 || strncmp(t->uri, "https://", 8) == 0);
}

/* SUITE itself, or its stable updates and security fixes. */
static bool is_of_suite(const struct target *t, const char *suite)
{
	size_t n = strlen(suite);
	const char *rest = t->codename + n;

	return strncmp(t->codename, suite, n) == 0 &&
	       (!*rest || strcmp(rest, "-updates") == 0 || strcmp(rest, "-security") == 0);
}

static void add_source(struct sources *s, const struct target *t)
{
	char *line = s->line[s->n];

	if (s->n < SOURCES_MAX &&
	    str_fmt(line, sizeof(s->line[0]), "deb %s %s %s", t->uri, t->release, t->component)) {
		s->n++;
		s->https = s->https || strncmp(t->uri, "https:", 6) == 0;
	}
}

/* One pass over what apt-get said; TEXT is cut up. With an empty SUITE it becomes the first release
 * that is there. Returns whether the release itself was among them. */
static bool take_targets(char *text, char *suite, size_t size, struct sources *s)
{
	bool whole = false;
	char *save = NULL;

	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		struct target t;

		if (!cut_target(line, &t) || !is_usable(&t))
			continue;
		if (!suite[0] && is_made_of(t.codename, LOWER, LOWER DIGITS))
			str_fmt(suite, size, "%s", t.codename);
		if (!suite[0] || !is_of_suite(&t, suite))
			continue;
		whole = whole || strcmp(t.codename, suite) == 0;
		add_source(s, &t);
	}
	return whole;
}

/* What the host's apt has of SUITE; nothing, when it does not have the release itself. */
static void find_sources(char *suite, size_t size, struct sources *ret)
{
	char *argv[] = { (char[]){ "apt-get" },
			 (char[]){ "indextargets" },
			 (char[]){ "--format" },
			 (char[]){ "$(ORIGIN)\t$(CODENAME)\t$(REPO_URI)\t$(RELEASE)\t"
				   "$(COMPONENT)" },
			 (char[]){ "Created-By: Packages" },
			 NULL };
	auto_free char *text = NULL;
	char buf[PROGRAM_PATH_SIZE];
	const char *path = program_find(argv[0], buf);

	ret->n = 0;
	if (path && program_ask(path, argv, TARGETS_MAX, &text) == 0 &&
	    take_targets(text, suite, size, ret))
		return;
	ret->n = 0;
	if (!suite[0])
		str_fmt(suite, size, "stable");
}

/* The host's proxy for apt, as VARIABLE=URL in BUF; false: none. */
static bool find_proxy(const char *name, const char *variable, char *buf, size_t size)
{
	char key[64], *argv[] = { (char[]){ "apt-config" },
				  (char[]){ "dump" },
				  (char[]){ "--format" },
				  (char[]){ "%v%n" },
				  key,
				  NULL };
	auto_free char *text = NULL;
	char place[PROGRAM_PATH_SIZE];
	const char *path = program_find(argv[0], place);

	str_fmt(key, sizeof(key), "Acquire::%s::Proxy", name);
	if (!path || program_ask(path, argv, 4096, &text) != 0)
		return false;
	text[strcspn(text, "\n")] = '\0';
	return strncmp(text, "http", 4) == 0 && str_is_text(text, 1024) &&
	       str_fmt(buf, size, "%s=%s", variable, text);
}

/* ---- the build ---- */

/* Commas between what is not empty. */
static void add_packages(char *list, size_t size, const char *more)
{
	size_t have = strlen(list);

	str_fmt(list + have, size - have, "%s%s", have && more[0] ? "," : "", more);
}

/* Tries to start with the words in place; they live until the return. */
static pid_t start(const struct debian *d, const char *path, struct sandbox *s, struct cos_err *err)
{
	char http[1100], https[1100], suite[sizeof(d->suite)], include[1200] = "--include=" TOOLS;
	struct sources from = { .n = 0 };
	char *env[8] = { (char[]){ "PATH=/usr/sbin:/usr/bin:/sbin:/bin" },
			 (char[]){ "LANG=C.UTF-8" }, (char[]){ "HOME=/tmp" },
			 (char[]){ "TMPDIR=/tmp" } };
	char *argv[SOURCES_MAX + 12] = { (char[]){ "mmdebstrap" },
					 (char[]){ "--mode=root" }, /* of the sandbox */
					 (char[]){ "--format=tar" },
					 (char[]){ "--variant=" VARIANT },
					 (char[]){ "--skip=output/dev,chroot/mount/sys" },
					 include,
					 suite,
					 (char[]){ "-" } };
	unsigned n = 8, m = 4;

	str_fmt(suite, sizeof(suite), "%s", d->suite);
	find_sources(suite, sizeof(suite), &from);
	add_packages(include, sizeof(include), inits[d->init].packages);
	add_packages(include, sizeof(include), d->include);
	add_packages(include, sizeof(include), from.https ? "ca-certificates" : "");
	for (unsigned i = 0; i < from.n; i++)
		argv[n++] = from.line[i];
	if (find_proxy("http", "http_proxy", http, sizeof(http)))
		env[m++] = http;
	if (find_proxy("https", "https_proxy", https, sizeof(https)))
		env[m++] = https;
	for (unsigned i = 0; i < n; i++)
		dprintf(s->log, "%s%s", argv[i], i + 1 < n ? " " : "\n");
	s->path = path;
	s->argv = argv;
	s->env = env;
	return sandbox_start(s, err);
}

int debian_start(const struct debian *d, int dir, int log, struct debian_run *ret,
		 struct cos_err *err)
{
	auto_close int scratch = -1;
	char place[PROGRAM_PATH_SIZE];
	const char *path = program_find("mmdebstrap", place);
	int p[2];
	pid_t pid;

	if (!path)
		return cos_advise(
			err, cos_fail(err, COS_E_UNSUPPORTED, 0, "mmdebstrap is not installed"),
			"install the package mmdebstrap");
	scratch = io_dir_at(dir, SCRATCH, 0700);
	if (scratch < 0)
		return cos_fail(err, COS_E_KERNEL, -scratch, "make a directory to build in");
	if (pipe2(p, O_CLOEXEC) < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "pipe");
	pid = start(d, path,
		    &(struct sandbox){ .scratch = scratch,
				       .out = p[1],
				       .log = log,
				       .id_base = d->id_base,
				       .seconds = BUILD_SECONDS },
		    err);
	close(p[1]);
	if (pid < 0) {
		close(p[0]);
		return pid;
	}
	*ret = (struct debian_run){ .pid = pid, .dir = dir, .tar = p[0], .log = log };
	return 0;
}

/* The first complaint at the end of the log is the cause, those after it are its consequences. */
static int tell_log(int log, int status, struct cos_err *err)
{
	char buf[LOG_TAIL], *line = buf;
	off_t size = lseek(log, 0, SEEK_END), from = size > LOG_TAIL - 1 ? size - LOG_TAIL + 1 : 0;
	ssize_t n = pread(log, buf, sizeof(buf) - 1, from);

	if (status == SANDBOX_TIMEOUT)
		return cos_fail(err, COS_E_TIMEOUT, 0, "mmdebstrap took more than %d minutes",
				BUILD_SECONDS / 60);
	buf[n > 0 ? n : 0] = '\0';
	while (line && strncmp(line, "E: ", 3) != 0) {
		line = strchr(line, '\n');
		line = line ? line + 1 : NULL;
	}
	if (!line)
		return cos_fail(err, COS_E_IMAGE, 0, "mmdebstrap ended with status %d", status);
	line[strcspn(line, "\n")] = '\0';
	str_make_text(line);
	return cos_fail(err, COS_E_IMAGE, 0, "mmdebstrap: %.250s", line + 3);
}

/* Whether PID ends by itself. */
static bool has_ended(pid_t pid, int msec)
{
	auto_close int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return fd >= 0 && poll(&p, 1, msec) > 0;
}

int debian_end(struct debian_run *run, int r, struct cos_err *err)
{
	bool made, doubt = r == 0 || err->code == COS_E_IMAGE;
	int status;

	if (run->pid <= 0)
		return r;
	/* A reader that failed for a reason of its own leaves a maker that works on. */
	made = doubt && has_ended(run->pid, r == 0 ? END_MSEC : FAILED_MSEC);
	status = sandbox_end(run->pid, !made);
	run->pid = 0;
	close_p(&run->tar);
	if (made && status != 0)
		return tell_log(run->log, status, err);
	if (r == 0 && !made)
		return cos_fail(err, COS_E_INTERNAL, 0, "mmdebstrap does not end");
	if (r == 0) /* it has cleaned up, all but the directory itself */
		r = io_remove_tree(run->dir, SCRATCH, 0);
	return r < 0 && made ? cos_fail(err, COS_E_KERNEL, -r, "remove what it was built in") : r;
}

/* ---- the tree ---- */

/* Debian's own table asks for logins on the consoles of a machine. PWR means halt, as for a machine
 * whose power fails. */
static const char inittab[] = "id:2:initdefault:\n"
			      "si::sysinit:/etc/init.d/rcS\n"
			      "~~:S:wait:/sbin/sulogin --force\n"
			      "l0:0:wait:/etc/init.d/rc 0\n"
			      "l1:1:wait:/etc/init.d/rc 1\n"
			      "l2:2:wait:/etc/init.d/rc 2\n"
			      "l3:3:wait:/etc/init.d/rc 3\n"
			      "l4:4:wait:/etc/init.d/rc 4\n"
			      "l5:5:wait:/etc/init.d/rc 5\n"
			      "l6:6:wait:/etc/init.d/rc 6\n"
			      "z6:6:respawn:/sbin/sulogin --force\n"
			      "ca:12345:ctrlaltdel:/sbin/shutdown -t1 -a -r now\n"
			      "pf::powerfail:/sbin/shutdown -t1 -h now\n"
			      "co:2345:respawn:/sbin/getty --noclear 38400 console\n";

int fill_from_debian(struct tree *t, int fd, enum debian_init init, struct cos_err *err)
{
	/* mmdebstrap took them from the host. */
	static const char *const hosts[] = { "etc/hostname", "etc/resolv.conf" };
	struct tree_meta m = { .mode = 0644 };
	int r = fill_from_tar(t, fd, err);

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(hosts); i++)
		r = tree_remove(t, hosts[i], err);
	if (r == 0 && init == DEBIAN_SYSVINIT) {
		m.mtime.tv_sec = time(NULL);
		r = tree_text(t, "etc/inittab", inittab, &m, err);
	}
	return r;
}
