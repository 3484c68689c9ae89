/* tests/func/probe-proc.c - processes, descriptors, environment, network: what came in from outside
 */
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "lib/base/own.h"
#include "tests/func/probe.h"

#define TEXT_MAX 65536

extern char **environ;

static enum outcome first_namespaces(const struct check *c, struct finding *f)
{
	static const struct {
		const char *type;
		unsigned first;
	} ns[] = {
		{ "ipc", FIRST_IPC_NS }, { "uts", FIRST_UTS_NS },       { "user", FIRST_USER_NS },
		{ "pid", FIRST_PID_NS }, { "cgroup", FIRST_CGROUP_NS }, { "net", FIRST_NET_NS },
		{ "mnt", FIRST_MNT_NS },
	};
	enum outcome got = NO;

	(void)c;
	for (size_t i = 0; i < ARRAY_SIZE(ns); i++) {
		if (!on_host(ns[i].type, ns[i].first) ||
		    (!probe_opts.userns && strcmp(ns[i].type, "user") == 0))
			continue;
		note(f, "%s", ns[i].type);
		got = YES;
	}
	return got;
}

static enum outcome other_proc(const struct check *c, struct finding *f)
{
	char buf[32] = "", own[32];

	(void)c;
	snprintf(own, sizeof(own), "%d", getpid());
	if (readlink("/proc/self", buf, sizeof(buf) - 1) > 0 && strcmp(buf, own) == 0)
		return NO;
	note(f, "/proc/self is %s, we are %s", buf, own);
	return YES;
}

/* Kernel threads have no executable and no memory; our own processes have one number each. */
static int one_pid(const char *name, void *arg)
{
	char path[300], text[4096];
	const char *nspid, *vm;
	unsigned n = 0;

	if (!is_number(name))
		return 0;
	snprintf(path, sizeof(path), "/proc/%s/status", name);
	if (slurp(path, text, sizeof(text)) <= 0)
		return 0; /* it has ended */
	nspid = strstr(text, "\nNSpid:");
	vm = strstr(text, "\nVmSize:");
	if (nspid)
		n = strcspn(strchr(nspid, '\t') + 1, "\t\n") ==
		    strcspn(strchr(nspid, '\t') + 1, "\n");
	if (n == 1 && (vm || strstr(text, "\nState:\tZ") || strstr(text, "\nState:\tX")))
		return 0;
	note(arg, "process %s: %.*s", name, (int)strcspn(text, "\n"), text);
	return 1;
}

static enum outcome foreign_processes(const struct check *c, struct finding *f)
{
	(void)c;
	return each_entry("/proc", one_pid, f) == 1 ? YES : NO;
}

static bool var_known(const char *var)
{
	static const char *const names[] = { "container", "PATH", "HOME", "TERM", "LANG" };
	size_t n = strcspn(var, "=");

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (strlen(names[i]) == n && strncmp(var, names[i], n) == 0)
			return true;
	for (unsigned i = 0; i < probe_opts.n_env; i++)
		if (strlen(probe_opts.env[i]) == n && strncmp(var, probe_opts.env[i], n) == 0)
			return true;
	return false;
}

static enum outcome own_environ(const struct check *c, struct finding *f)
{
	enum outcome got = NO;

	(void)c;
	for (char **e = environ; *e; e++) {
		if (var_known(*e))
			continue;
		note(f, "%s", *e);
		got = YES;
	}
	return got;
}

static enum outcome init_environ(const struct check *c, struct finding *f)
{
	auto_free char *text = calloc(1, TEXT_MAX);
	enum outcome got = NO;
	ssize_t n = text ? slurp("/proc/1/environ", text, TEXT_MAX) : -ENOMEM;

	(void)c;
	if (n < 0) {
		note(f, "%s", err_name(-n));
		return NO;
	}
	for (char *e = text; e < text + n; e += strlen(e) + 1) {
		if (!*e || var_known(e))
			continue;
		note(f, "%s", e);
		got = YES;
	}
	return got;
}

static enum outcome documented_environ(const struct check *c, struct finding *f)
{
	static const char *const names[] = { "container", "PATH", "HOME", "LANG" };
	const char *container = getenv("container");

	(void)c;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (!getenv(names[i]))
			note(f, "no %s", names[i]);
	if (!container || strcmp(container, "cos"))
		note(f, "container is %s", container ? container : "not set");
	return f->text[0] ? NO : YES;
}

static enum outcome own_descriptors(const struct check *c, struct finding *f)
{
	enum outcome got = NO;

	(void)c;
	for (int fd = 3; fd < 65536; fd++) {
		char path[32], to[128] = "";

		if (fcntl(fd, F_GETFD) < 0)
			continue;
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		if (readlink(path, to, sizeof(to) - 1) < 0)
			strcpy(to, "?");
		note(f, "%d is %s", fd, to);
		got = YES;
	}
	return got;
}

/* A directory or a path descriptor is a way out; a disk or a foreign terminal is the host's. */
static enum outcome std_descriptors(const struct check *c, struct finding *f)
{
	enum outcome got = NO;

	(void)c;
	for (int fd = 0; fd < 3; fd++) {
		struct stat st;
		int flags = fcntl(fd, F_GETFL);

		if (flags < 0 || fstat(fd, &st) < 0)
			continue;
		if (!(flags & O_PATH) && !S_ISDIR(st.st_mode) && !S_ISBLK(st.st_mode) &&
		    (!S_ISCHR(st.st_mode) || major(st.st_rdev) == 136 ||
		     st.st_rdev == makedev(1, 3)))
			continue;
		note(f, "%d is mode 0%o, flags 0x%x", fd, st.st_mode, flags);
		got = YES;
	}
	return got;
}

/* An init of ours waits on anonymous objects; one of the guest's own may have anything of its own.
 */
static int init_fd(const char *name, void *arg)
{
	char path[300], to[256] = "";
	struct stat st, own;

	snprintf(path, sizeof(path), "/proc/1/fd/%s", name);
	if (!is_number(name) || readlink(path, to, sizeof(to) - 1) < 0)
		return 0;
	if (atoi(name) <= 2 || strncmp(to, "anon_inode:[", 12) == 0)
		return 0;
	if (to[0] == '/' && strncmp(to, "/memfd:", 7) && stat(path, &st) == 0 &&
	    stat(to, &own) == 0 && st.st_dev == own.st_dev && st.st_ino == own.st_ino)
		return 0;
	note(arg, "%s is %s", name, to);
	return 1;
}

static enum outcome init_descriptors(const struct check *c, struct finding *f)
{
	int r;

	(void)c;
	if (getpid() == 1) {
		note(f, "we are init");
		return NO;
	}
	r = each_entry("/proc/1/fd", init_fd, f);
	if (r < 0)
		note(f, "%s", err_name(-r));
	return r == 1 ? YES : NO;
}

/* A file of the host that runs in the guest, as init does, must be a copy that nobody can write. */
static enum outcome init_binary(const struct check *c, struct finding *f)
{
	auto_close int fd = open("/proc/1/exe", O_RDONLY | O_CLOEXEC);
	char to[256] = "", again[64];
	struct stat st, own;
	int seals, rw;

	(void)c;
	if (fd < 0) {
		note(f, "%s", err_name(errno));
		return NO;
	}
	if (readlink("/proc/1/exe", to, sizeof(to) - 1) > 0 && stat(to, &own) == 0 &&
	    fstat(fd, &st) == 0 && own.st_dev == st.st_dev && own.st_ino == st.st_ino) {
		note(f, "%s is the guest's own", to);
		return NO;
	}
	seals = fcntl(fd, F_GET_SEALS);
	if (seals >= 0 &&
	    (seals & (F_SEAL_WRITE | F_SEAL_SHRINK)) == (F_SEAL_WRITE | F_SEAL_SHRINK)) {
		note(f, "%s is sealed", to);
		return NO;
	}
	snprintf(again, sizeof(again), "/proc/self/fd/%d", fd);
	rw = open(again, O_WRONLY | O_CLOEXEC);
	note(f, "%s is not sealed; open for writing: %s", to, rw < 0 ? err_name(errno) : "done");
	return YES;
}

/* Its mappings must be files of the guest, or memory. */
static enum outcome init_maps(const struct check *c, struct finding *f)
{
	auto_free char *text = malloc(TEXT_MAX);
	char *line, *at = text;

	(void)c;
	if (!text || slurp("/proc/1/maps", text, TEXT_MAX) <= 0) {
		note(f, "not readable");
		return NO;
	}
	while ((line = strsep(&at, "\n"))) {
		const char *path = strchr(line, '/');

		if (!path || strncmp(path, "/memfd:", 7) == 0 ||
		    strncmp(path, "/dev/zero", 9) == 0 || access(path, F_OK) == 0)
			continue;
		note(f, "%s", path);
		return YES;
	}
	return NO;
}

static enum outcome init_places(const struct check *c, struct finding *f)
{
	struct stat root, own;
	char cwd[256] = "";
	enum outcome got = NO;

	(void)c;
	if (stat("/proc/1/root", &root) == 0 && stat("/", &own) == 0 &&
	    (root.st_dev != own.st_dev || root.st_ino != own.st_ino)) {
		note(f, "its root is not ours");
		got = YES;
	}
	if (readlink("/proc/1/cwd", cwd, sizeof(cwd) - 1) > 0 && cwd[0] != '/') {
		note(f, "its working directory is %s", cwd);
		got = YES;
	}
	return got;
}

static bool link_known(const char *name)
{
	if (strcmp(name, "lo") == 0)
		return true;
	for (unsigned i = 0; i < probe_opts.n_links; i++)
		if (strcmp(name, probe_opts.links[i]) == 0)
			return true;
	return false;
}

static enum outcome foreign_links(const struct check *c, struct finding *f)
{
	struct if_nameindex *all = if_nameindex();
	enum outcome got = NO;

	(void)c;
	for (struct if_nameindex *i = all; i && i->if_index; i++) {
		if (link_known(i->if_name))
			continue;
		note(f, "%s", i->if_name);
		got = YES;
	}
	if_freenameindex(all);
	return got;
}

static enum outcome loopback(const struct check *c, struct finding *f)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	auto_close int srv = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	auto_close int cl = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct ifreq ifr = { .ifr_name = "lo" };
	socklen_t len = sizeof(a);

	(void)c;
	if (ioctl(srv, SIOCGIFFLAGS, &ifr) < 0 || !(ifr.ifr_flags & IFF_UP)) {
		note(f, "lo is not up");
		return NO;
	}
	if (bind(srv, (struct sockaddr *)&a, len) < 0 || listen(srv, 1) < 0 ||
	    getsockname(srv, (struct sockaddr *)&a, &len) < 0 ||
	    connect(cl, (struct sockaddr *)&a, len) < 0) {
		note(f, "%s", err_name(errno));
		return NO;
	}
	return YES;
}

static enum outcome low_port(const struct check *c, struct finding *f)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(80) };
	auto_close int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int r = bind(fd, (struct sockaddr *)&a, sizeof(a));

	(void)c;
	note(f, "%s", r < 0 ? err_name(errno) : "port 80");
	return r < 0 ? NO : YES;
}

static enum outcome unix_names(const struct check *c, struct finding *f)
{
	auto_free char *text = malloc(TEXT_MAX);
	enum outcome got = NO;
	char *line, *at = text;

	(void)c;
	if (!text || slurp("/proc/net/unix", text, TEXT_MAX) <= 0)
		return NO;
	while ((line = strsep(&at, "\n"))) {
		char path[128];

		if (sscanf(line, "%*s %*s %*s %*s %*s %*s %*s %127s", path) != 1 ||
		    strcmp(path, "Path") == 0)
			continue;
		note(f, "%s", path);
		got = YES;
	}
	return got;
}

static enum outcome abstract_socket(const struct check *c, struct finding *f)
{
	auto_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	const char *name = probe_opts.abstract;

	(void)c;
	if (!name || strlen(name) > sizeof(a.sun_path) - 2) {
		note(f, "no --abstract");
		return ABSENT;
	}
	memcpy(a.sun_path + 1, name, strlen(name));
	if (connect(fd, (struct sockaddr *)&a,
		    offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name)) == 0)
		return YES;
	note(f, "%s", err_name(errno));
	return NO;
}

static enum outcome own_name(const struct check *c, struct finding *f)
{
	struct utsname u;

	(void)c;
	if (!probe_opts.hostname) {
		note(f, "no --hostname");
		return ABSENT;
	}
	if (uname(&u) == 0 && strcmp(u.nodename, probe_opts.hostname) == 0)
		return YES;
	note(f, "it is %s", u.nodename);
	return NO;
}

/* The name that it has already. */
static enum outcome set_name(const struct check *c, struct finding *f)
{
	struct utsname u;
	int r = uname(&u);

	(void)c;
	if (r == 0)
		r = sethostname(u.nodename, strlen(u.nodename));
	note(f, "%s", r < 0 ? err_name(errno) : "it worked");
	return r < 0 ? NO : YES;
}

static int count_entry(const char *name, void *arg)
{
	note(arg, "%s", name);
	return 1;
}

/* System V objects and message queues; each file of /proc has one line of headings. */
static enum outcome ipc_objects(const struct check *c, struct finding *f)
{
	static const char *const files[] = { "/proc/sysvipc/msg", "/proc/sysvipc/sem",
					     "/proc/sysvipc/shm" };
	enum outcome got = NO;

	(void)c;
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		char text[4096];
		const char *nl;

		if (slurp(files[i], text, sizeof(text)) <= 0 || !(nl = strchr(text, '\n')) ||
		    !nl[1])
			continue;
		note(f, "%s", files[i]);
		got = YES;
	}
	return each_entry("/dev/mqueue", count_entry, f) == 1 ? YES : got;
}

/* clang-format off */
const struct check checks_proc[] = {
	{ "first-namespaces", WANT_NO, WANT_NO, .run = first_namespaces },
	{ "other-proc", WANT_NO, WANT_NO, .run = other_proc },
	{ "foreign-processes", WANT_NO, WANT_NO, .run = foreign_processes },
	{ "environ", WANT_NO, WANT_NO, .run = own_environ },
	{ "environ-init", WANT_NO, WANT_NO, .run = init_environ },
	{ "environ-documented", WANT_YES, WANT_YES, .run = documented_environ },
	{ "descriptors", WANT_NO, WANT_NO, .run = own_descriptors },
	{ "descriptors-std", WANT_NO, WANT_NO, .run = std_descriptors },
	{ "descriptors-init", WANT_NO, WANT_NO, .run = init_descriptors },
	{ "init-binary", WANT_NO, WANT_NO, .run = init_binary },
	{ "init-maps", WANT_NO, WANT_NO, .run = init_maps },
	{ "init-places", WANT_NO, WANT_NO, .run = init_places },
	{ "foreign-links", WANT_NO, WANT_NO, .run = foreign_links },
	{ "loopback", WANT_YES, WANT_YES, .run = loopback },
	{ "port-80", WANT_YES, WANT_YES, .run = low_port },
	{ "unix-names", WANT_NO, WANT_NO, .run = unix_names },
	{ "abstract-socket", WANT_NO, WANT_NO, .run = abstract_socket },
	{ "hostname", WANT_YES, WANT_YES, .run = own_name },
	{ "sethostname", WANT_YES, WANT_NO, .run = set_name },
	{ "ipc-objects", WANT_NO, WANT_NO, .run = ipc_objects },
	{ NULL, WANT_ANY, WANT_ANY, NULL, NULL, 0, { 0 } },
};
