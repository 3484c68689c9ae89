/* tests/fault/kill-drill.t.c - keeper and worker are killed before and after every step of
 * everything
 *
 * The points come from the daemon itself (cosd --list-points). For each one, each side of it and
 * each of the two processes: an operation is begun that passes the point, the process dies there,
 * the daemon comes back by itself, what the operation left is deleted, and then nothing differs
 * from before: mounts, control groups, processes, namespaces, descriptors, files. Meanwhile a guest
 * keeps answering over its console, and in the end its exit status is the one it gave. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/io.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "lib/wire/client.h"
#include "tests/tap.h"

#define WAIT_USEC  (10 * USEC_PER_SEC)
#define POINTS_MAX 128
#define PRINT_SIZE 65536

static char top[256], sock[300], instance[64], cosd_path[512];
static pid_t daemon_pid;
static char points[POINTS_MAX][64];
static unsigned n_points;

/* --- the daemon --- */

static pid_t read_pid(const char *name)
{
	char path[400], buf[32];

	str_fmt(path, sizeof(path), "%s/run/%s", top, name);
	return io_read_at(AT_FDCWD, path, buf, sizeof(buf)) > 0 ? (pid_t)strtol(buf, NULL, 10) : -1;
}

static bool is_alive(pid_t pid)
{
	char path[40], buf[512], *p;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	if (pid <= 0 || io_read_at(AT_FDCWD, path, buf, sizeof(buf)) <= 0)
		return false;
	p = strrchr(buf, ')');
	return p && p[2] != 'Z';
}

static int call(const char *method, json_t *params, json_t **ret)
{
	struct client c;
	struct cos_err err;
	int r = client_open(sock, &c, &err);

	if (r == 0) {
		r = client_call(&c, method, params, ret, &err);
		client_close(&c);
	}
	json_decref(params);
	return r;
}

/* Both processes run and the daemon answers; *RET gets the worker's pid. */
static bool is_up(void)
{
	json_t *answer = NULL;
	bool up = is_alive(read_pid("keep.pid")) && is_alive(read_pid("cosd.pid")) &&
		  call("io.cos.Host.Info", json_object(), &answer) == 0;

	up = up && json_integer_value(json_object_get(answer, "pid")) == read_pid("cosd.pid") &&
	     json_integer_value(json_object_get(answer, "keeper")) == read_pid("keep.pid");
	json_decref(answer);
	return up;
}

static bool await(bool (*is)(void))
{
	uint64_t until = clock_usec() + WAIT_USEC;

	while (!is()) {
		if (clock_usec() > until)
			return false;
		usleep(5000);
	}
	return true;
}

static bool start_daemon(void)
{
	char state[300], run[300];

	str_fmt(state, sizeof(state), "%s/state", top);
	str_fmt(run, sizeof(run), "%s/run", top);
	daemon_pid = fork();
	if (daemon_pid == 0) {
		char log[300];
		int fd;

		str_fmt(log, sizeof(log), "%s/cosd.log", top);
		fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
		dup2(fd, 1);
		dup2(fd, 2);
		execl(cosd_path, "cosd", "--kill-points", "--instance", instance, "--state-dir",
		      state, "--runtime-dir", run, "--net-pool", "10.66.0.0/24", "--uplink", "none",
		      (char *)NULL);
		_exit(127);
	}
	return await(is_up);
}

/* --- what must be the same afterwards --- */

struct print {
	char text[PRINT_SIZE];
	size_t n;
};

__attribute__((format(printf, 2, 3))) static void add(struct print *p, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	p->n += (size_t)vsnprintf(p->text + p->n, sizeof(p->text) - p->n, fmt, ap);
	va_end(ap);
	if (p->n >= sizeof(p->text))
		p->n = sizeof(p->text) - 1;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Files and directories below PATH, sorted; the event log may be rotated and is left out. */
static void add_tree(struct print *p, const char *path, unsigned depth)
{
	struct dirent *e;
	char *names[512];
	size_t n = 0;
	DIR *d = opendir(path);

	while (d && (e = readdir(d)) && n < ARRAY_SIZE(names)) {
		if (e->d_name[0] != '.' && strncmp(e->d_name, "events.log", 10) != 0)
			names[n++] = strdup(e->d_name);
	}
	if (d)
		closedir(d);
	qsort(names, n, sizeof(*names), by_name);
	for (size_t i = 0; i < n; i++) {
		char sub[1024];
		struct stat st;

		str_fmt(sub, sizeof(sub), "%s/%s", path, names[i]);
		add(p, "file %s\n", sub);
		if (depth > 0 && lstat(sub, &st) == 0 && S_ISDIR(st.st_mode))
			add_tree(p, sub, depth - 1);
		free(names[i]);
	}
}

static void add_mounts(struct print *p)
{
	auto_free char *text = NULL;
	char *save = NULL;

	if (io_slurp_at(AT_FDCWD, "/proc/self/mountinfo", 4U << 20, &text) < 0)
		return;
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char *id = strstr(line, top);

		if (id)
			add(p, "mount %s\n", id);
	}
}

/* In each hierarchy below the mount, and in "." where that is the only one. */
static void add_groups(struct print *p)
{
	struct dirent *e;
	DIR *d = opendir("/sys/fs/cgroup");

	while (d && (e = readdir(d))) {
		char path[512];

		str_fmt(path, sizeof(path), "/sys/fs/cgroup/%s/cos.%s", e->d_name, instance);
		if (strcmp(e->d_name, "..") == 0 || access(path, F_OK) < 0)
			continue;
		for (DIR *g = opendir(path); g; closedir(g), g = NULL) {
			struct dirent *s;

			while ((s = readdir(g))) {
				if (isdigit((unsigned char)s->d_name[0]) ||
				    strncmp(s->d_name, "job.", 4) == 0)
					add(p, "group %s/%s\n", path, s->d_name);
			}
		}
	}
	if (d)
		closedir(d);
}

static pid_t parent_of(pid_t pid)
{
	char path[40], buf[512], *p;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	if (io_read_at(AT_FDCWD, path, buf, sizeof(buf)) <= 0 || !(p = strrchr(buf, ')')))
		return -1;
	return (pid_t)strtol(p + 4, NULL, 10);
}

static bool descends(pid_t pid, pid_t from)
{
	for (int i = 0; i < 16 && pid > 1; i++) {
		if (pid == from)
			return true;
		pid = parent_of(pid);
	}
	return false;
}

/* The daemon's processes and the guests', zombies too. A guest that lost its keeper has another
 * parent. */
static void add_processes(struct print *p)
{
	pid_t keeper = read_pid("keep.pid");
	struct dirent *e;
	char group[100];
	DIR *d = opendir("/proc");
	int guests = 0, others = 0;

	str_fmt(group, sizeof(group), "/cos.%s/", instance);
	while (d && (e = readdir(d))) {
		pid_t pid = (pid_t)strtol(e->d_name, NULL, 10);
		char path[40], buf[4096] = "";

		if (pid <= 0)
			continue;
		snprintf(path, sizeof(path), "/proc/%d/cgroup", pid);
		io_read_at(AT_FDCWD, path, buf, sizeof(buf));
		if (strstr(buf, group))
			guests++;
		else
			others += descends(pid, keeper);
	}
	if (d)
		closedir(d);
	add(p, "processes in guests %d\nprocesses of the daemon %d\n", guests, others);
}

/* The device programs of profiles, which cgroup v2 needs, are kept from their first use; counters
 * of guests that are there are opened some time in the worker's first second. */
static bool comes_and_stays(const char *link)
{
	char group[80];

	str_fmt(group, sizeof(group), "/cos.%s/", instance);
	return strcmp(link, "anon_inode:bpf-prog") == 0 ||
	       (strstr(link, group) && !strstr(link, "(deleted)"));
}

/* What each is, but not which socket or pipe. */
static void add_descriptors(struct print *p, const char *who)
{
	char path[64], *names[256];
	struct dirent *e;
	size_t n = 0;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/fd", read_pid(who));
	d = opendir(path);
	while (d && (e = readdir(d)) && n < ARRAY_SIZE(names)) {
		char link[300] = "", *at;

		if (readlinkat(dirfd(d), e->d_name, link, sizeof(link) - 1) <= 0 ||
		    comes_and_stays(link))
			continue;
		at = strchr(link, '[');
		if (at && isdigit((unsigned char)at[1]))
			*at = '\0';
		names[n++] = strdup(link);
	}
	if (d)
		closedir(d);
	qsort(names, n, sizeof(*names), by_name);
	for (size_t i = 0, same = 1; i < n; i++, same++) {
		if (i + 1 == n || strcmp(names[i], names[i + 1]) != 0) {
			add(p, "descriptors of %s: %zu %s\n", who, same, names[i]);
			same = 0;
		}
	}
	for (size_t i = 0; i < n; i++)
		free(names[i]);
}

/* The first LEN bytes of each line that a tool of the network's tells. */
static void add_output(struct print *p, const char *command, int len)
{
	FILE *f = popen(command, "r");
	char line[512];

	while (f && fgets(line, sizeof(line), f))
		add(p, "%.*s\n", (int)strnlen(line, (size_t)len), line);
	if (f)
		pclose(f);
}

static void add_network(struct print *p)
{
	struct if_nameindex *links = if_nameindex();
	char command[80];

	for (unsigned i = 0; links && links[i].if_index; i++) {
		add(p, "link %s\n", links[i].if_name);
		str_fmt(command, sizeof(command), "tc class show dev %s", links[i].if_name);
		add_output(p, command, 19); /* "class htb c05:1000 " */
	}
	if_freenameindex(links);
	add_output(p, "ip route", 80);
	add_output(p, "nft --stateless list ruleset", 200);
}

static void add_loop_device(struct print *p, const char *name)
{
	char path[300], file[400] = "";

	str_fmt(path, sizeof(path), "/sys/block/%s/loop/backing_file", name);
	if (io_read_at(AT_FDCWD, path, file, sizeof(file)) > 0 &&
	    strncmp(file, top, strlen(top)) == 0)
		add(p, "loop device %s", file);
}

static void add_loop_devices(struct print *p)
{
	DIR *dir = opendir("/sys/block");
	const struct dirent *e;

	while (dir && (e = readdir(dir))) {
		if (strncmp(e->d_name, "loop", 4) == 0)
			add_loop_device(p, e->d_name);
	}
	if (dir)
		closedir(dir);
}

static void take_print(struct print *p)
{
	char path[400];

	p->n = 0;
	p->text[0] = '\0';
	add_mounts(p);
	add_groups(p);
	add_processes(p);
	add_network(p);
	add_loop_devices(p);
	add_descriptors(p, "keep.pid");
	add_descriptors(p, "cosd.pid");
	str_fmt(path, sizeof(path), "%s/run", top);
	add_tree(p, path, 1);
	str_fmt(path, sizeof(path), "%s/state", top);
	add_tree(p, path, 3);
}

static struct print before, after;

/* What the last operations let go may still be going: a print counts when the next one equals it.
 */
static bool is_settled(void)
{
	before = after;
	take_print(&after);
	return strcmp(before.text, after.text) == 0;
}

static bool is_same(void)
{
	take_print(&after);
	return strcmp(before.text, after.text) == 0;
}

/* --- the guest that runs through it all --- */

static int console_open(void)
{
	json_t *params = json_pack("{s:s}", "name", "base");
	struct client c;
	struct cos_err err;
	int fd = -1;

	if (client_open(sock, &c, &err) == 0) {
		if (client_call(&c, "io.cos.Guest.Console", params, NULL, &err) == 0)
			fd = frame_take_fd(&c.in);
		client_close(&c);
	}
	json_decref(params);
	return fd;
}

/* Says WORD and waits for "pong WORD". */
static bool answers(const char *word)
{
	auto_close int fd = console_open();
	uint64_t until = clock_usec() + WAIT_USEC;
	char want[64], buf[4096];
	size_t have = 0;

	if (fd < 0 || dprintf(fd, "%s\n", word) < 0)
		return false;
	str_fmt(want, sizeof(want), "pong %s", word);
	while (clock_usec() < until && have + 1 < sizeof(buf)) {
		struct pollfd p = { fd, POLLIN, 0 };
		ssize_t n;

		if (poll(&p, 1, 100) <= 0)
			continue;
		n = read(fd, buf + have, sizeof(buf) - 1 - have);
		if (n <= 0)
			return false;
		have += (size_t)n;
		buf[have] = '\0';
		if (strstr(buf, want))
			return true;
	}
	return false;
}

static pid_t base_pid(void)
{
	json_t *answer = NULL, *g;
	pid_t pid = -1;

	if (call("io.cos.Guest.List", json_pack("{s:s}", "name", "base"), &answer) == 0) {
		g = json_array_get(json_object_get(answer, "guests"), 0);
		pid = (pid_t)json_integer_value(json_object_get(g, "pid"));
	}
	json_decref(answer);
	return pid;
}

static json_t *spec(const char *name, const char *script)
{
	return json_pack("{s:{s:s, s:s, s:[s,s,s], s:i}}", "spec", "name", name, "template",
			 "busybox", "command", "sh", "-c", script, "stop_timeout", 1);
}

/* Where there can be one, x has its files in a loop image: none of its devices may stay. */
static json_t *spec_x(void)
{
	json_t *j = spec("x", "sleep 1000");

	if (access("/dev/loop-control", R_OK | W_OK) == 0 && access("/sbin/mke2fs", X_OK) == 0)
		json_object_set_new(json_object_get(j, "spec"), "limits",
				    json_pack("{s:s}", "disk.max", "16M"));
	return j;
}

/* Of a machine that ends when it is asked to; NULL: not here. */
static json_t *machine(const char *name)
{
	const char *build = getenv("TOP_BUILDDIR") ?: ".";
	char kernel[512];

	str_fmt(kernel, sizeof(kernel), "%s/tests/vmm/guest", build);
	if (access("/dev/kvm", R_OK | W_OK) < 0 || access(kernel, R_OK) < 0)
		return NULL;
	return json_pack("{s:{s:s, s:s, s:s, s:s, s:s, s:b, s:i}}", "spec", "name", name, "type",
			 "vm", "vm.kernel", kernel, "vm.cmdline", "test=button", "vm.memory", "16M",
			 "vm.acpi", 0, "stop_timeout", 1);
}

/* --- the drill --- */

/* Everything a guest can be made to do, so that every point is passed by one of these. Answers do
 * not matter: the daemon dies on the way. */
static void exercise(const char *point)
{
	json_t *exec = json_pack("{s:s, s:[s]}", "name", "x", "command", "true");
	bool boot = strncmp(point, "boot.", 5) == 0;

	if (strncmp(point, "keep.", 5) == 0 || strncmp(point, "end.", 4) == 0 ||
	    strncmp(point, "start.", 6) == 0 || boot || strncmp(point, "create.", 7) == 0 ||
	    strncmp(point, "clone.", 6) == 0)
		json_object_set_new(exec, "name", json_string("none"));
	if (strncmp(point, "clone.", 6) == 0)
		call("io.cos.Guest.Clone", json_pack("{s:s, s:s}", "from", "base", "name", "x"),
		     NULL);
	else
		call("io.cos.Guest.Create", boot ? machine("x") : spec_x(), NULL);
	call("io.cos.Guest.Start", json_pack("{s:s}", "name", "x"), NULL);
	call("io.cos.Guest.Exec", exec, NULL);
	call("io.cos.Guest.Stop", json_pack("{s:s, s:i}", "name", "x", "timeout", 1), NULL);
	call("io.cos.Guest.Start", json_pack("{s:s}", "name", "x"), NULL);
	call("io.cos.Guest.Stop", json_pack("{s:s, s:b}", "name", "x", "kill", 1), NULL);
	call("io.cos.Guest.Delete", json_pack("{s:s, s:b}", "name", "x", "force", 1), NULL);
}

static void arm(const char *who, const char *point, const char *when)
{
	auto_close int dir = -1;
	char text[128], path[300];

	str_fmt(path, sizeof(path), "%s/run", top);
	dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	str_fmt(text, sizeof(text), "%s %s %s\n", who, point, when);
	io_replace_at(dir, "kill-at", text, strlen(text), 0600, false);
}

static bool was_hit(void)
{
	char path[300];

	str_fmt(path, sizeof(path), "%s/run/kill-at", top);
	return access(path, F_OK) < 0;
}

static bool x_is_gone(void)
{
	json_t *answer = NULL;
	bool gone;

	call("io.cos.Guest.Delete", json_pack("{s:s, s:b}", "name", "x", "force", 1), NULL);
	gone = call("io.cos.Guest.List", json_pack("{s:s}", "name", "x"), &answer) == -ENOENT;
	json_decref(answer);
	return gone;
}

static void print_difference(void)
{
	static struct print was;

	was = before;
	for (char *save = NULL, *l = strtok_r(after.text, "\n", &save); l;
	     l = strtok_r(NULL, "\n", &save)) {
		if (!strstr(before.text, l))
			printf("# now there: %s\n", l);
	}
	take_print(&after);
	for (char *save = NULL, *l = strtok_r(before.text, "\n", &save); l;
	     l = strtok_r(NULL, "\n", &save)) {
		if (!strstr(after.text, l))
			printf("# gone: %s\n", l);
	}
	before = was;
}

static void drill(const char *who, const char *point, const char *when, pid_t base)
{
	static unsigned n;
	char word[32];
	bool hit, up, gone, same, alive;

	arm(who, point, when);
	exercise(point);
	hit = was_hit();
	up = await(is_up);
	gone = await(x_is_gone);
	snprintf(word, sizeof(word), "w%u", ++n);
	alive = answers(word) && base_pid() == base; /* opens the new keeper's log, too */
	same = await(is_same);
	ok(hit && up && gone && same && alive, "%s killed %s %s%s%s%s%s%s", who, when, point,
	   hit ? "" : ": point not passed", up ? "" : ": daemon not back",
	   gone ? "" : ": guest stays", same ? "" : ": something is left",
	   alive ? "" : ": the running guest does not answer");
	if (!same)
		print_difference();
}

static void load_points(bool machines)
{
	char line[64];
	int p[2];
	pid_t pid;
	FILE *in;

	if (pipe(p) < 0)
		return;
	pid = fork();
	if (pid == 0) {
		dup2(p[1], 1);
		execl(cosd_path, "cosd", "--list-points", (char *)NULL);
		_exit(127);
	}
	close(p[1]);
	in = fdopen(p[0], "r");
	while (in && fgets(line, sizeof(line), in) && n_points < POINTS_MAX) {
		line[strcspn(line, "\n")] = '\0';
		if (strncmp(line, "boot.", 5) != 0 || machines)
			strcpy(points[n_points++], line);
	}
	if (in)
		fclose(in);
	waitpid(pid, NULL, 0);
}

static bool is_down(void)
{
	return !is_alive(read_pid("keep.pid")) && !is_alive(read_pid("cosd.pid"));
}

static void clean_up(void)
{
	char path[300];
	pid_t keeper = read_pid("keep.pid");

	call("io.cos.Guest.Delete", json_pack("{s:s, s:b}", "name", "x", "force", 1), NULL);
	call("io.cos.Guest.Delete", json_pack("{s:s, s:b}", "name", "base", "force", 1), NULL);
	if (keeper > 1)
		kill(keeper, SIGTERM);
	await(is_down);
	str_fmt(path, sizeof(path), "%s/state", top);
	umount2(path, MNT_DETACH);
	io_remove_tree(AT_FDCWD, top, 0);
}

/* Before Linux 6.15 the status of a process that has lost its parent may be lost, too. */
static bool may_be_unknown(void)
{
	unsigned major, minor;
	struct utsname u;

	return uname(&u) == 0 && sscanf(u.release, "%u.%u", &major, &minor) == 2 &&
	       (major < 6 || (major == 6 && minor < 15));
}

static bool has_ended(void)
{
	json_t *answer = NULL, *g;
	const char *end;
	bool ended = false;

	if (call("io.cos.Guest.List", json_pack("{s:s}", "name", "base"), &answer) == 0) {
		g = json_array_get(json_object_get(answer, "guests"), 0);
		end = json_string_value(json_object_get(g, "last_end"));
		ended = !json_object_get(g, "pid") && end &&
			(strcmp(end, "exit 7") == 0 ||
			 (may_be_unknown() && strcmp(end, "unknown") == 0));
	}
	json_decref(answer);
	return ended;
}

static bool set_up(bool machines)
{
	static const char loop[] =
		"while read w; do [ \"$w\" = quit ] && exit 7; echo pong $w; done";

	if (!start_daemon())
		return false;
	if (call("io.cos.Template.Build", json_pack("{s:s}", "kind", "busybox"), NULL) < 0 ||
	    call("io.cos.Guest.Create", spec("base", loop), NULL) < 0 ||
	    call("io.cos.Guest.Start", json_pack("{s:s}", "name", "base"), NULL) < 0)
		return false;
	exercise("clone.once"); /* what is only made at first use is there before the first print */
	exercise("start.once");
	if (machines)
		exercise("boot.once");
	return answers("first");
}

static int drill_all(void)
{
	static const char *const who[] = { "self", "peer" }, *const when[] = { "before", "after" };
	auto_json json_t *probe = machine("x");
	pid_t base;
	int fd;

	if (!probe)
		tap_skip("machines", "no /dev/kvm, or no tests/vmm/guest");
	load_points(probe != NULL);
	ok(n_points > 20, "the daemon names %u points", n_points);
	ok(set_up(probe != NULL), "a daemon and a guest that answers over its console");
	base = base_pid();

	await(is_settled);
	for (unsigned i = 0; i < n_points; i++) {
		for (unsigned k = 0; k < 4; k++)
			drill(who[k / 2], points[i], when[k % 2], base);
	}
	fd = console_open();
	dprintf(fd, "quit\n");
	ok(await(has_ended), "the guest's end is known%s",
	   may_be_unknown() ? ", if not its status" : " by its status");
	close(fd);
	printf("# %u points, %u kills\n", n_points, n_points * 4);
	return tap_done();
}

/* The drill is a child, so that what it made goes also when it is told to end in the midst. */
static int run(void)
{
	int sig, status = 0;
	sigset_t set;
	pid_t pid;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	pid = fork();
	if (pid < 0)
		return 1;
	if (pid == 0) {
		sigprocmask(SIG_UNBLOCK, &set, NULL);
		exit(drill_all());
	}
	if (sigwait(&set, &sig) == 0 && sig != SIGCHLD)
		kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	clean_up();
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

int main(void)
{
	const char *build = getenv("TOP_BUILDDIR") ?: ".";

	if (geteuid() != 0) {
		puts("1..0 # SKIP needs root");
		return 0;
	}
	if (unshare(CLONE_NEWNET) < 0) /* whose links and tables nobody else changes */
		return 1;
	signal(SIGPIPE, SIG_IGN);
	str_fmt(cosd_path, sizeof(cosd_path), "%s/cosd/cosd", build);
	str_fmt(top, sizeof(top), "/tmp/cos-drill.XXXXXX");
	if (!mkdtemp(top))
		return 1;
	str_fmt(sock, sizeof(sock), "%s/run/cosd.sock", top);
	str_fmt(instance, sizeof(instance), "drill-%d", (int)getpid());
	return run();
}
