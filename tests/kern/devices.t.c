/* tests/kern/devices.t.c - device rules on a v1 and a v2 group, by opening what they name */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/io.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "lib/kern/devbpf.h"
#include "tests/tap.h"

#define MKNOD      (-1) /* in place of open flags: make a node of that number */
#define PROBES_MAX 16

struct probe {
	const char *path; /* NULL: none, for MKNOD */
	mode_t type;
	unsigned major, minor;
	int flags;
	int want; /* 0 or an errno */
};

/* Rules of one device stand apart on purpose: both versions must take them together. */
static const char *const mixed_rules[] = { "c 1:5 rwm", "c 1:3 r", "c 1:8 r",
					   "a 7:1 r",   "c *:* m", "c 1:8 w" };
static const struct probe mixed_probes[] = {
	{ "/dev/zero", S_IFCHR, 1, 5, O_RDWR, 0 },
	{ "/dev/null", S_IFCHR, 1, 3, O_RDONLY, 0 },
	{ "/dev/null", S_IFCHR, 1, 3, O_WRONLY, EPERM },
	{ "/dev/null", S_IFCHR, 1, 3, O_RDWR, EPERM },
	{ "/dev/random", S_IFCHR, 1, 8, O_RDWR, 0 },
	{ "/dev/urandom", S_IFCHR, 1, 9, O_RDONLY, EPERM },
	{ "/dev/kmsg", S_IFCHR, 1, 11, O_RDONLY, EPERM },
	{ "/dev/loop0", S_IFBLK, 7, 0, O_RDONLY, EPERM },
	{ "/dev/loop1", S_IFBLK, 7, 1, O_RDONLY, 0 },
	{ "/dev/loop1", S_IFBLK, 7, 1, O_RDWR, EPERM },
	{ NULL, S_IFCHR, 1, 11, MKNOD, 0 },
	{ NULL, S_IFBLK, 7, 0, MKNOD, EPERM },
};

static const struct probe profile_probes[] = {
	{ "/dev/zero", S_IFCHR, 1, 5, O_RDWR, 0 },
	{ "/dev/null", S_IFCHR, 1, 3, O_RDWR, 0 },
	{ "/dev/full", S_IFCHR, 1, 7, O_RDWR, 0 },
	{ "/dev/random", S_IFCHR, 1, 8, O_RDWR, 0 },
	{ "/dev/urandom", S_IFCHR, 1, 9, O_RDWR, 0 },
	{ "/dev/mem", S_IFCHR, 1, 1, O_RDONLY, EPERM },
	{ "/dev/kmsg", S_IFCHR, 1, 11, O_RDONLY, EPERM },
	{ "/dev/loop0", S_IFBLK, 7, 0, O_RDONLY, EPERM },
	{ "/dev/loop-control", S_IFCHR, 10, 237, O_RDWR, EPERM },
	{ "/dev/kvm", S_IFCHR, 10, 232, O_RDWR, EPERM },
	{ NULL, S_IFCHR, 1, 11, MKNOD, 0 },
	{ NULL, S_IFBLK, 7, 0, MKNOD, 0 },
};

static const struct probe empty_probes[] = {
	{ "/dev/zero", S_IFCHR, 1, 5, O_RDONLY, EPERM },
	{ "/dev/null", S_IFCHR, 1, 3, O_WRONLY, EPERM },
	{ NULL, S_IFCHR, 1, 3, MKNOD, EPERM },
};

/* A version: how rules get into force, and how a process gets in. */
struct version {
	const char *name, *fstype, *option, *enter;
	int (*apply)(const struct dev_rules *r, int cgroup, struct cos_err *err);
};

static int apply_v2(const struct dev_rules *r, int cgroup, struct cos_err *err)
{
	auto_close int prog = dev_bpf_load(r, err);
	int rc;

	if (prog < 0)
		return prog;
	rc = dev_bpf_attach(prog, cgroup);
	return rc < 0 ? cos_fail(err, COS_E_KERNEL, -rc, "attach") : 0;
}

static const struct version versions[] = {
	{ "v1", "cgroup", "devices", "tasks", dev_v1_apply },
	{ "v2", "cgroup2", NULL, "cgroup.procs", apply_v2 },
};

static bool has_option(char *options, const char *option)
{
	char *save = NULL;

	for (char *s = strtok_r(options, ",\n", &save); s; s = strtok_r(NULL, ",\n", &save)) {
		if (strcmp(s, option) == 0)
			return true;
	}
	return false;
}

/* Opens the root of the version's hierarchy; -ENOENT if it is not mounted. */
static int open_root(const struct version *v)
{
	char line[1024], point[512], type[64], options[256];
	FILE *f = fopen("/proc/self/mountinfo", "re");
	int fd = -ENOENT;

	while (f && fd < 0 && fgets(line, sizeof(line), f)) {
		const char *tail = strstr(line, " - ");

		if (!tail || sscanf(line, "%*s %*s %*s %*s %511s", point) != 1 ||
		    sscanf(tail, " - %63s %*s %255s", type, options) != 2)
			continue;
		if (strcmp(type, v->fstype) == 0 && (!v->option || has_option(options, v->option)))
			fd = open(point, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	}
	if (f)
		fclose(f);
	return fd;
}

static int try_probe(const struct probe *p, int dir)
{
	int fd, r = 0;

	if (p->flags == MKNOD) {
		if (mknodat(dir, "node", p->type | 0600, makedev(p->major, p->minor)) < 0)
			return errno;
		unlinkat(dir, "node", 0);
		return 0;
	}
	fd = open(p->path, p->flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0)
		r = errno;
	else
		close(fd);
	return r;
}

/* Whether the host has the device by that name, and itself lets it be opened. */
static bool is_there(const struct probe *p, int dir)
{
	struct stat st;

	if (p->path && (stat(p->path, &st) < 0 || (st.st_mode & S_IFMT) != p->type ||
			st.st_rdev != makedev(p->major, p->minor)))
		return false;
	return try_probe(p, dir) == 0;
}

/* In a child: enters the group; the number of probes that went otherwise. */
static int run_probes(const struct version *v, int cgroup, const struct probe *p, size_t n, int dir)
{
	bool there[PROBES_MAX];
	int bad = 0;

	for (size_t i = 0; i < n; i++)
		there[i] = is_there(&p[i], dir);
	if (io_write_at(cgroup, v->enter, "0", 1) < 0)
		return 255;
	for (size_t i = 0; i < n; i++) {
		int r = there[i] ? try_probe(&p[i], dir) : p[i].want;

		if (there[i] && r == p[i].want)
			continue;
		printf("# %s: %s %u:%u flags %d: %s\n", v->name, p[i].path ?: "mknod", p[i].major,
		       p[i].minor, p[i].flags,
		       !there[i] ? "the host has none" : (r ? strerrorname_np(r) : "allowed"));
		fflush(stdout);
		bad += there[i];
	}
	return bad;
}

static void check(const struct version *v, int root, json_t *list, const char *what,
		  const struct probe *p, size_t n)
{
	char name[48], tmp[] = "/tmp/cos-test-XXXXXX";
	struct dev_rules rules;
	struct cos_err err = { 0 };
	int r = dev_rules_parse(list, "", &rules, &err), st = -1;
	pid_t pid;

	str_fmt(name, sizeof(name), "cos-test-%d", (int)getpid());
	ok(r == 0 && mkdirat(root, name, 0755) == 0, "%s: %s: group %s %s", v->name, what, name,
	   err.why);
	if (mkdtemp(tmp)) {
		auto_close int cgroup = openat(root, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		auto_close int dir = open(tmp, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		r = v->apply(&rules, cgroup, &err);
		ok(r == 0, "%s: %s: applied %s", v->name, what, err.why);
		pid = r == 0 ? fork() : -1;
		if (pid == 0)
			_exit(run_probes(v, cgroup, p, n, dir));
		if (pid > 0)
			waitpid(pid, &st, 0);
		ok(st == 0, "%s: %s: %zu devices as the rules say", v->name, what, n);
		rmdir(tmp);
	}
	ok(unlinkat(root, name, AT_REMOVEDIR) == 0, "%s: %s: group removed", v->name, what);
}

static json_t *list_of(const char *const *s, size_t n)
{
	json_t *list = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(list, json_string(s[i]));
	return list;
}

static void check_version(const struct version *v)
{
	auto_json json_t *mixed = list_of(mixed_rules, ARRAY_SIZE(mixed_rules));
	auto_json json_t *empty = json_array();
	auto_json json_t *doc = NULL;
	auto_close int root = open_root(v);
	char path[512];

	if (root < 0) {
		tap_skip(v->name, v->option ? "no v1 devices hierarchy is mounted"
					    : "no cgroup2 is mounted");
		return;
	}
	check(v, root, mixed, "mixed rules", mixed_probes, ARRAY_SIZE(mixed_probes));
	check(v, root, empty, "no rule", empty_probes, ARRAY_SIZE(empty_probes));
	str_fmt(path, sizeof(path), "%s/profiles/default.json", getenv("srcdir") ?: ".");
	doc = json_load_file(path, 0, NULL);
	check(v, root, json_object_get(doc, "devices"), "profile", profile_probes,
	      ARRAY_SIZE(profile_probes));
}

static void rules_are_parsed(void)
{
	static const char *const wrong[] = {
		"",          "c",
		"c 1:3",     "c 1:3 ",
		"d 1:3 r",   "c 1 r",
		"c 1:3 rx",  "c 1:3 rr",
		"c  1:3 r",  "c 4096:1 r",
		"c -1:3 r",  "c 1:1048576 r",
		"c 1:3 r w", "c :3 r",
		"c 1: r",    "c 1:3 rwm ",
		"c +1:3 r",  "c 1*:3 r",
		"c 1:3:4 r", "c 0x1:3 r",
		"a *:*",     "c 99999999999999999999:1 r",
	};
	static const char *const good[] = { "c 4095:1048575 m", "a *:* rw", "b *:* m", "b *:7 r" };
	auto_json json_t *list = list_of(good, ARRAY_SIZE(good));
	struct dev_rules r = { .n = 99 };
	struct cos_err err = { 0 };
	unsigned bad = 0;

	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		auto_json json_t *one = json_pack("[s, s]", "c 1:3 r", wrong[i]);

		if (dev_rules_parse(one, "/d", &r, &err) == -EINVAL && r.n == 99 &&
		    strncmp(err.why, "/d/1: ", 6) == 0)
			continue;
		printf("# \"%s\" is taken\n", wrong[i]);
		bad++;
	}
	ok(bad == 0, "wrong rules are refused by their place");
	ok(dev_rules_parse(list, "", &r, &err) == 0 && r.n == 4 && r.r[0].major == 4095 &&
		   r.r[0].minor == 1048575 && r.r[1].type == 'c' && r.r[1].major == DEV_ANY &&
		   r.r[2].type == 'b' && r.r[2].access == 7 && r.r[3].minor == 7,
	   "\"a\" is two rules, and the same device is one");
	ok(dev_rules_parse(NULL, "/d", &r, &err) == -EINVAL, "a list is asked for");
}

static void longest_program_loads(void)
{
	auto_json json_t *list = json_array();
	struct dev_rules r;
	struct cos_err err = { 0 };
	int prog = -1;

	for (int i = 0; i < DEV_RULES_MAX; i++)
		json_array_append_new(list, json_sprintf("c %d:%d r", i, i));
	ok(dev_rules_parse(list, "", &r, &err) == 0 && r.n == DEV_RULES_MAX, "%d rules %s",
	   DEV_RULES_MAX, err.why);
	prog = dev_bpf_load(&r, &err);
	ok(prog >= 0, "the longest program loads %s", err.why);
	close_p(&prog);
	json_array_append_new(list, json_string("b 1:1 r"));
	ok(dev_rules_parse(list, "/d", &r, &err) == -EINVAL && strncmp(err.why, "/d/64:", 6) == 0,
	   "one more is refused [%s]", err.why);
}

int main(void)
{
	rules_are_parsed();
	if (geteuid() != 0) {
		tap_skip("devices", "needs root");
		return tap_done();
	}
	longest_program_loads();
	for (size_t i = 0; i < ARRAY_SIZE(versions); i++)
		check_version(&versions[i]);
	return tap_done();
}
