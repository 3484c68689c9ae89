/* tests/func/probe.c - containment seen from inside a guest: the table of checks and its runner
 *
 * Built static, copied into a root file system and run there. Prints TAP. See probe.h. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/own.h"
#include "tests/func/probe.h"

#define CHECK_SECONDS 30

struct probe_opts probe_opts;

static const struct check *const tables[] = {
	checks_call, checks_file, checks_mount, checks_cgroup, checks_proc, checks_id,
};

static const struct command {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *help;
} commands[] = {
	{ "forkbomb", cmd_forkbomb, "[MAX [SECONDS]]: fork until refused, then keep trying" },
	{ "membomb", cmd_membomb, "SIZE: touch SIZE MiB in a child" },
	{ "fdbomb", cmd_fdbomb, "[MAX]: open descriptors in many processes" },
	{ "filebomb", cmd_filebomb, "DIR SIZE: write SIZE MiB of files" },
	{ "reboot", cmd_reboot,
	  "restart|halt|poweroff: reboot(2), never in the first pid namespace" },
	{ "watch", cmd_watch, "SECONDS: take what can be had from processes that enter" },
	{ "listen", cmd_listen, "NAME: listen on an abstract socket until killed" },
	{ "self", cmd_self, ": print own ids, descriptors, environment" },
	{ "exe", cmd_exe, ": can the file that we run be written, and is it the host's?" },
	{ "ids", cmd_ids, ": print real and effective user id" },
};

void note(struct finding *f, const char *fmt, ...)
{
	size_t n = strlen(f->text);
	va_list ap;

	if (n && n + 2 < sizeof(f->text)) {
		memcpy(f->text + n, ", ", 3);
		n += 2;
	}
	va_start(ap, fmt);
	vsnprintf(f->text + n, sizeof(f->text) - n, fmt, ap);
	va_end(ap);
}

const char *err_name(int err)
{
	const char *s = strerrorname_np(err);

	return s ? s : "?";
}

bool refused(int err)
{
	return err == EPERM || err == EACCES || err == ENOSYS;
}

bool is_number(const char *s)
{
	return *s && s[strspn(s, "0123456789")] == '\0';
}

int scratch_dir(struct finding *f, const char *base, char *ret, size_t size)
{
	char path[sizeof(f->scratch[0])];
	int n = snprintf(path, sizeof(path), "%s/probe-XXXXXX", strcmp(base, "/") ? base : "");

	if (n < 0 || (size_t)n >= sizeof(path) || (size_t)n >= size || f->n_scratch == SCRATCH_MAX)
		return -ENAMETOOLONG;
	if (!mkdtemp(path))
		return -errno;
	memcpy(f->scratch[f->n_scratch++], path, sizeof(path));
	memcpy(ret, path, n + 1);
	return 0;
}

int scratch_any(struct finding *f, char *ret, size_t size)
{
	static const char *const base[] = { "/tmp", "/run", "/dev/shm", "/" };
	int r = -ENOENT;

	for (size_t i = 0; i < ARRAY_SIZE(base); i++) {
		r = scratch_dir(f, base[i], ret, size);
		if (r == 0)
			break;
	}
	return r;
}

ssize_t slurp(const char *path, char *buf, size_t size)
{
	auto_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	size_t len = 0;
	ssize_t n = 0;

	if (fd < 0)
		return -errno;
	while (len < size - 1 && (n = read(fd, buf + len, size - 1 - len)) > 0)
		len += n;
	buf[len] = '\0';
	return len == 0 && n < 0 ? -errno : (ssize_t)len;
}

bool on_host(const char *type, unsigned first)
{
	struct stat st;
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/ns/%s", type);
	return stat(path, &st) == 0 && st.st_ino == first;
}

/* To mount cgroup2 from the first cgroup namespace would set the options of all its mounts. */
int private_mounts(void)
{
	if (unshare(CLONE_NEWNS) < 0 ||
	    (on_host("cgroup", FIRST_CGROUP_NS) && unshare(CLONE_NEWCGROUP) < 0))
		return -errno;
	return mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ? -errno : 0;
}

int each_entry(const char *path, int (*fn)(const char *name, void *arg), void *arg)
{
	DIR *d = opendir(path);
	struct dirent *e;
	int r = 0;

	if (!d)
		return -errno;
	while (r == 0 && (e = readdir(d)))
		if (strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
			r = fn(e->d_name, arg);
	closedir(d);
	return r;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st;
	(void)at;
	if (type == FTW_DP)
		rmdir(path);
	else
		unlink(path);
	return 0;
}

/* What the table wants beside what was found; an ABSENT check neither passes nor fails. */
static bool report(unsigned n, const struct check *c, enum outcome got, const struct finding *f)
{
	enum want want = probe_opts.userns ? c->userns : c->shared;
	bool good = got == ABSENT || want == WANT_ANY || (got == YES) == (want == WANT_YES);

	if (got == ABSENT)
		printf("ok %u - %s # SKIP %s\n", n, c->name, f->text);
	else
		printf("%sok %u - %s: %s%s%s%s\n", good ? "" : "not ", n, c->name,
		       got == YES ? "yes" : "no", f->text[0] ? " (" : "", f->text,
		       f->text[0] ? ")" : "");
	fflush(stdout);
	return good;
}

/* How the check's process ended; a filter that kills has refused. */
static enum outcome reap(pid_t pid, struct finding *f)
{
	int status;

	if (waitpid(pid, &status, 0) != pid)
		return ABSENT;
	if (WIFEXITED(status))
		return WEXITSTATUS(status);
	note(f, "killed by %s", sigabbrev_np(WTERMSIG(status)));
	return WTERMSIG(status) == SIGSYS ? NO : ABSENT;
}

static enum outcome run_check(const struct check *c, struct finding *f)
{
	enum outcome got;
	pid_t pid;

	memset(f, 0, sizeof(*f));
	pid = fork();
	if (pid < 0) {
		note(f, "fork: %s", err_name(errno));
		return ABSENT;
	}
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		alarm(CHECK_SECONDS);
		_exit(c->run(c, f));
	}
	got = reap(pid, f);
	for (unsigned i = 0; i < f->n_scratch && i < SCRATCH_MAX; i++)
		nftw(f->scratch[i], remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
	return got;
}

static int run_all(const char *only)
{
	struct finding *f =
		mmap(NULL, sizeof(*f), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	unsigned n = 0, failed = 0;

	if (f == MAP_FAILED)
		return 2;
	for (size_t t = 0; t < ARRAY_SIZE(tables); t++) {
		for (const struct check *c = tables[t]; c->name; c++) {
			if (only && strcmp(only, c->name))
				continue;
			failed += !report(n + 1, c, run_check(c, f), f);
			n++;
		}
	}
	printf("1..%u\n", n);
	if (n == 0)
		fprintf(stderr, "probe: no check is called %s\n", only ? only : "?");
	return failed || n == 0;
}

static int usage(FILE *out)
{
	fputs("usage: probe --userns=yes|no [--only NAME] [--hostname NAME] [--hide TEXT]...\n"
	      "             [--link IFNAME]... [--env NAME]... [--abstract NAME]\n"
	      "       probe --list\n",
	      out);
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		fprintf(out, "       probe %s %s\n", commands[i].name, commands[i].help);
	return 2;
}

static int list(void)
{
	static const char *const word[] = { "no", "yes", "any" };

	for (size_t t = 0; t < ARRAY_SIZE(tables); t++)
		for (const struct check *c = tables[t]; c->name; c++)
			printf("%s\t%s\t%s\n", c->name, word[c->userns], word[c->shared]);
	return 0;
}

static void add(const char **to, unsigned *n, const char *s)
{
	if (*n < HIDE_MAX)
		to[(*n)++] = s;
}

static int option(int c, const char *arg)
{
	struct probe_opts *o = &probe_opts;

	switch (c) {
	case 'u':
		o->userns = strcmp(arg, "yes") == 0;
		return o->userns || strcmp(arg, "no") == 0;
	case 'n':
		o->hostname = arg;
		return 1;
	case 'a':
		o->abstract = arg;
		return 1;
	case 'x':
		add(o->hide, &o->n_hide, arg);
		return 1;
	case 'i':
		add(o->links, &o->n_links, arg);
		return 1;
	case 'e':
		add(o->env, &o->n_env, arg);
		return 1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	static const struct option longopts[] = {
		{ "userns", required_argument, NULL, 'u' },
		{ "only", required_argument, NULL, 'o' },
		{ "hostname", required_argument, NULL, 'n' },
		{ "hide", required_argument, NULL, 'x' },
		{ "link", required_argument, NULL, 'i' },
		{ "env", required_argument, NULL, 'e' },
		{ "abstract", required_argument, NULL, 'a' },
		{ "list", no_argument, NULL, 'l' },
		{ NULL, 0, NULL, 0 },
	};
	const char *only = NULL;
	bool have_column = false;
	int c;

	for (size_t i = 0; argc > 1 && i < ARRAY_SIZE(commands); i++)
		if (strcmp(argv[1], commands[i].name) == 0)
			return commands[i].run(argc - 1, argv + 1);
	while ((c = getopt_long(argc, argv, "", longopts, NULL)) != -1) {
		if (c == 'l')
			return list();
		if (c == 'o')
			only = optarg;
		else if (!option(c, optarg))
			return usage(stderr);
		have_column |= c == 'u';
	}
	return have_column && optind == argc ? run_all(only) : usage(stderr);
}
