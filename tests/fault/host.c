/* tests/fault/host.c - a host for starts that fail: store, control groups, rules; and what it holds
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cow-fs/inner.h"
#include "cow-fs/mount.h"
#include "lib/base/io.h"
#include "lib/base/jsonx.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "tests/fault/host.h"
#include "tests/tap.h"

#define MOUNT "mount "

static char scratch[] = "/tmp/cos-fault.XXXXXX";
static struct host *host_of_exit; /* whose groups are to go */

/* Also when the program ends early; children of a start do not come here. */
static void remove_scratch(void)
{
	if (host_of_exit)
		cg_topo_close(&host_of_exit->launch.topo, host_of_exit->instance, true);
	io_remove_tree(AT_FDCWD, scratch, 0);
}

static void skip_all(const char *why)
{
	printf("1..0 # SKIP %s\n", why);
	exit(0);
}

static void bail(const char *what, const char *why)
{
	printf("Bail out! %s: %s\n", what, why);
	exit(99);
}

static int put_file(int dir, const char *name, const char *text)
{
	return io_replace_at(dir, name, text, strlen(text), 0644, false);
}

/* A directory as the guest's lower layer: one program and the files that a start looks at. */
static int make_rootfs(int dir)
{
	static const char *const dirs[] = { "rootfs",
					    "rootfs/bin",
					    "rootfs/etc",
					    "rootfs/usr",
					    "rootfs/usr/share",
					    "rootfs/usr/share/zoneinfo",
					    "bound",
					    "state" };
	const char *top = getenv("TOP_BUILDDIR");
	auto_free char *program = NULL;
	char path[4096];
	ssize_t n;
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++)
		r = mkdirat(dir, dirs[i], 0755) < 0 ? -errno : r;
	str_fmt(path, sizeof(path), "%s/tests/fault/stay", top ?: ".");
	n = io_slurp_at(AT_FDCWD, path, 1 << 20, &program);
	if (n < 0)
		bail(path, strerror((int)-n));
	r = r ?: io_replace_at(dir, "rootfs/bin/stay", program, (size_t)n, 0755, false);
	r = r ?: put_file(dir, "rootfs/etc/passwd", "root:x:0:0:root:/root:/bin/sh\n");
	r = r ?: put_file(dir, "rootfs/etc/group", "root:x:0:\naudio:x:29:root\n");
	return r ?: put_file(dir, "rootfs/usr/share/zoneinfo/UTC", "TZif");
}

static int make_spec(struct host *h, struct cos_err *err)
{
	const char *top = getenv("TOP_SRCDIR");
	auto_json json_t *own = NULL, *base = NULL, *doc = NULL;
	auto_free char *text = NULL;
	char path[4096], rootfs[64], bound[64];
	ssize_t n;
	int r;

	str_fmt(path, sizeof(path), "%s/profiles/default.json", top ?: ".");
	n = io_slurp_at(AT_FDCWD, path, SPEC_BYTES_MAX, &text);
	if (n < 0)
		bail(path, strerror((int)-n));
	str_fmt(rootfs, sizeof(rootfs), "%s/rootfs", h->path);
	str_fmt(bound, sizeof(bound), "%s/bound", h->path);
	own = json_pack("{s:s, s:s, s:[s], s:b, s:s, s:[{s:s, s:s, s:b}], s:{s:i, s:i}}", "name",
			GUEST, "rootfs", rootfs, "command", "/bin/stay", "volatile", 1, "timezone",
			"UTC", "binds", "source", bound, "target", "/mnt/bound", "readonly", 1,
			"limits", "pids.max", 64, "rlimit.core", 0);
	r = jsonx_parse(text, (size_t)n, path, &base, err);
	if (r == 0)
		r = spec_expand(base, NULL, 0, own, &doc, err);
	return r == 0 ? spec_parse(doc, &h->spec, err) : r;
}

/* Where there is KVM. */
static int make_machine(struct host *h, struct cos_err *err)
{
	const char *top = getenv("TOP_BUILDDIR");
	auto_json json_t *doc = NULL;
	char path[4096], kernel[PATH_MAX];
	auto_close int fd = -1;

	str_fmt(path, sizeof(path), "%s/vmm/cos-vmm", top ?: ".");
	if (access("/dev/kvm", R_OK | W_OK) < 0)
		return 0;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	h->launch.vmm = fd < 0 ? -errno : launch_vmm_seal(fd);
	str_fmt(path, sizeof(path), "%s/tests/vmm/guest", top ?: ".");
	if (h->launch.vmm < 0 || !realpath(path, kernel))
		bail(path, strerror(h->launch.vmm < 0 ? -h->launch.vmm : errno));
	doc = json_pack("{s:s, s:s, s:s, s:s, s:s, s:{s:i}}", "name", GUEST, "type", "vm",
			"vm.kernel", kernel, "vm.cmdline", "test=halt", "vm.memory", "64M",
			"limits", "pids.max", 64);
	return spec_parse(doc, &h->machine, err);
}

static int open_host(struct host *h, struct cos_err *err)
{
	auto_close int state = openat(h->dir, "state", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r = cg_topo_open(h->instance, &h->launch.topo, err);

	if (r < 0)
		skip_all(err->why);
	host_of_exit = h;
	h->launch.nofile[0] = h->launch.nofile[1] = 256;
	h->launch.oom_adj = launch_oom_adj();
	h->launch.init = launch_init_open(err);
	r = h->launch.init < 0 ? h->launch.init : cowfs_open(state, &h->cow, err);
	r = r < 0 ? r : cowfs_probe(h->cow.dir, err);
	if (r < 0)
		return r;
	h->launch.overlay = (unsigned)r;
	r = make_spec(h, err);
	r = r < 0 ? r : make_machine(h, err);
	return r < 0 ? r : launch_rules_make(&h->spec, &h->launch, &h->rules, err);
}

void host_init(struct host *h)
{
	struct cos_err err = { 0 };

	*h = (struct host){ .launch.vmm = -1, .dir = -1 };
	if (geteuid() != 0)
		skip_all("needs root");
	if (unshare(CLONE_NEWNS | CLONE_NEWNET) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		skip_all("no namespaces");
	umask(022);
	snprintf(h->instance, sizeof(h->instance), "fault-%d", (int)getpid());
	h->path = mkdtemp(scratch);
	if (!h->path || atexit(remove_scratch) != 0 ||
	    (h->dir = open(h->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
		bail(scratch, strerror(errno));
	/* The guest's root is none on the host: it has to come through. */
	if (chmod(h->path, 0755) < 0 || make_rootfs(h->dir) < 0 || open_host(h, &err) < 0) {
		host_done(h);
		bail("host", err.why);
	}
}

void host_done(struct host *h)
{
	spec_done(&h->spec);
	spec_done(&h->machine);
	launch_rules_done(&h->rules);
	close_p(&h->launch.init);
	close_p(&h->launch.vmm);
	cg_topo_close(&h->launch.topo, h->instance, true);
	cowfs_close(&h->cow);
	close_p(&h->dir);
}

static void say_names(FILE *to, const char *what, int dir)
{
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	while (d && (e = readdir(d))) {
		if (e->d_type == DT_DIR && e->d_name[0] != '.')
			fprintf(to, "%s %s\n", what, e->d_name);
	}
	if (d)
		closedir(d);
}

static void say_descriptors(FILE *to)
{
	for (int fd = 0; fd < 1024; fd++) {
		char path[40], target[200];
		ssize_t n;

		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		n = readlink(path, target, sizeof(target) - 1);
		if (n >= 0)
			fprintf(to, "descriptor %d %.*s\n", fd, (int)n, target);
	}
}

char *host_holds(const struct host *h)
{
	struct if_nameindex *links = if_nameindex();
	auto_free char *mounts = NULL;
	char *text = NULL, *save = NULL;
	size_t size;
	FILE *to;

	if (io_slurp_at(AT_FDCWD, "/proc/self/mountinfo", 4U << 20, &mounts) < 0)
		bail("mountinfo", "not readable");
	to = open_memstream(&text, &size);
	if (!to)
		bail("memory", "none");
	for (char *line = strtok_r(mounts, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		fprintf(to, MOUNT "%s\n", line);
	for (struct if_nameindex *l = links; l && l->if_index; l++)
		fprintf(to, "link %s\n", l->if_name);
	if_freenameindex(links);
	for (unsigned i = 0; i < h->launch.topo.n; i++)
		say_names(to, h->launch.topo.h[i].path, h->launch.topo.h[i].root);
	say_names(to, "unfinished", h->cow.tmp);
	say_names(to, "root", h->cow.guests);
	say_descriptors(to);
	fclose(to);
	return text;
}

static bool has_line(const char *text, const char *line, size_t len)
{
	for (const char *p = text; *p; p += strcspn(p, "\n"), p += *p == '\n') {
		if (strcspn(p, "\n") == len && strncmp(p, line, len) == 0)
			return true;
	}
	return false;
}

/* Lines of FROM that IN does not have; those that begin with EXCEPT may be missing. */
static unsigned say_missing(const char *from, const char *in, const char *except, const char *what)
{
	unsigned n = 0;

	for (const char *p = from; *p; p += strcspn(p, "\n"), p += *p == '\n') {
		size_t len = strcspn(p, "\n");

		if (has_line(in, p, len) || (except && strncmp(p, except, strlen(except)) == 0))
			continue;
		printf("# %s %.*s\n", what, (int)len, p);
		n++;
	}
	return n;
}

/* A mount may go: who removes its mount point elsewhere takes it from every namespace. */
unsigned host_diff(const char *before, const char *after)
{
	return say_missing(before, after, MOUNT, "gone:") +
	       say_missing(after, before, NULL, "left:");
}

unsigned host_strays(pid_t except)
{
	auto_free char *list = NULL;
	char *save = NULL;
	unsigned n = 0;

	if (io_slurp_at(AT_FDCWD, "/proc/thread-self/children", 65536, &list) < 0)
		bail("/proc/thread-self/children", "not readable");
	for (char *p = strtok_r(list, " ", &save); p; p = strtok_r(NULL, " ", &save)) {
		pid_t pid = (pid_t)strtol(p, NULL, 10);

		if (pid == except)
			continue;
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		n++;
	}
	return n;
}

bool host_groups_go(const struct host *h)
{
	for (int i = 0; i < 1000; i++) {
		if (cg_remove(&h->launch.topo, GUEST) == 0)
			return true;
		usleep(1000);
	}
	return false;
}
