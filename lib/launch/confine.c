/* lib/launch/confine.c - the last steps before an exec, for a guest's first process and for exec's
 * command */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/utsname.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <signal.h>
#include <unistd.h>

#include "lib/base/io.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "lib/kern/proc.h"
#include "lib/launch/child.h"
#include "lib/launch/guest.h"

#ifndef PR_SET_MEMORY_MERGE
#define PR_SET_MEMORY_MERGE 67 /* Linux 6.4 */
#endif

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

pid_t child_clone_sibling(unsigned long long ns, pid_t *born, int *ret_pidfd, struct cos_err *err)
{
	int pidfd = -1;
	struct clone_args ca = {
		.flags = ns | CLONE_PIDFD | CLONE_PARENT | (born ? CLONE_PARENT_SETTID : 0),
		.pidfd = (uintptr_t)&pidfd,
		.parent_tid = (uintptr_t)born,
	};
	pid_t pid = (pid_t)syscall(SYS_clone3, &ca, sizeof(ca));

	if (pid < 0 && errno == EAGAIN)
		return cos_advise(err, cos_fail(err, COS_E_ADMISSION, EAGAIN, "clone3"),
				  "the guest may have reached its pids.max: 'cosctl stats' tells");
	if (pid < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "clone3");
	if (pid > 0)
		*ret_pidfd = pidfd;
	return pid;
}

int child_become_root(struct cos_err *err)
{
	if (setgroups(0, NULL) < 0 || setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "become root of the user namespace");
	return 0;
}

int child_oom_adj(pid_t pid, const struct launch_host *host, struct cos_err *err)
{
	int r = proc_set_oom_adj(pid, host->oom_adj);

	return r < 0 ? cos_fail(err, COS_E_KERNEL, -r, "oom_score_adj=%d", host->oom_adj) : 0;
}

int child_rlimits(pid_t pid, const struct spec *spec, const struct launch_host *host,
		  struct cos_err *err)
{
	for (enum limit_id id = LIMIT__DISK; id < LIMIT__N; id++) {
		uint64_t v = spec->limits.v[id];
		struct rlimit lim = { .rlim_cur = v == LIMIT_MAX ? RLIM_INFINITY : v };
		char text[LIMIT_TEXT_SIZE];
		int no;

		if (limit_defs[id].resource == RLIMIT_NOFILE && !spec->limits.set[id])
			lim = (struct rlimit){ host->nofile[0], host->nofile[1] };
		else if (!spec->limits.set[id])
			continue;
		else
			lim.rlim_max = lim.rlim_cur;
		if (prlimit(pid, (unsigned)limit_defs[id].resource, &lim, NULL) == 0)
			continue;
		no = errno;
		cos_fail(err, COS_E_UNSUPPORTED, no, "%s=%s", limit_defs[id].name,
			 limit_print(id, v, text));
		return cos_advise(
			err, -no,
			"the daemon may not raise this limit above its own hard limit on this "
			"host: choose less, or start cosd with CAP_SYS_RESOURCE");
	}
	return 0;
}

/* For this process and all that come from it, which Linux 6.4 did up to the next exec only. */
static int merge_pages(struct cos_err *err)
{
	struct utsname u = { .release = "" };
	unsigned major = 0, minor = 0;

	uname(&u);
	if (sscanf(u.release, "%u.%u", &major, &minor) != 2 || major * 1000 + minor < 6007)
		return cos_fail(err, COS_E_UNSUPPORTED, 0,
				"memory.ksm: needs Linux 6.7, and this is %.40s", u.release);
	if (prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0) < 0)
		return cos_advise(
			err, cos_fail(err, COS_E_UNSUPPORTED, errno, "prctl(PR_SET_MEMORY_MERGE)"),
			"the kernel is built without KSM: unset memory.ksm");
	return 0;
}

/* The kernel says EINVAL of an id that the user namespace does not have. */
static int fail_id(const char *what, uint32_t id, struct cos_err *err)
{
	if (errno != EINVAL)
		return cos_fail(err, COS_E_KERNEL, errno, "become %s %u", what, id);
	return cos_fail(err, COS_E_INVALID, 0, "%s %u: the guest has ids 0 to %u", what, id,
			LAUNCH_IDS - 1);
}

int child_confine(const struct launch_rules *rules, const struct who *who, const struct spec *spec,
		  struct cos_err *err)
{
	int r = cap_drop_bounding(rules->caps);

	if (r < 0)
		return cos_fail(err, COS_E_KERNEL, -r, "drop capabilities");
	if (setgroups(who->n_groups, who->groups) < 0 ||
	    setresgid(who->gid, who->gid, who->gid) < 0)
		return fail_id("group", who->gid, err);
	if (spec->no_new_privs && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "no_new_privs");
	r = spec->ksm ? merge_pages(err) : 0;
	if (r < 0)
		return r;
	r = filter_load(&rules->filter); /* while CAP_SYS_ADMIN is held */
	if (r < 0)
		return cos_fail(err, COS_E_KERNEL, -r, "load the system call filter");
	if (setresuid(who->uid, who->uid, who->uid) < 0)
		return fail_id("user", who->uid, err);
	r = cap_set(who->uid == 0 ? rules->caps : 0);
	return r < 0 ? cos_fail(err, COS_E_KERNEL, -r, "set capabilities") : 0;
}

char **child_argv(json_t *command, const char *const *prefix, unsigned n_prefix)
{
	size_t n = json_array_size(command);
	char **argv = calloc(n_prefix + n + 1, sizeof(*argv));

	if (!argv)
		return NULL;
	for (unsigned i = 0; i < n_prefix; i++)
		argv[i] = (char *)prefix[i];
	for (size_t i = 0; i < n; i++)
		argv[n_prefix + i] = (char *)json_string_value(json_array_get(command, i));
	return argv;
}

/* Puts NAME=VALUE into ENV, over an earlier value of the same name. */
static bool put_env(char **env, const char *name, const char *value)
{
	size_t len = strlen(name), i = 0;
	char *s = malloc(len + strlen(value) + 2);

	if (!s)
		return false;
	sprintf(s, "%s=%s", name, value);
	while (env[i] && (strncmp(env[i], name, len) != 0 || env[i][len] != '='))
		i++;
	env[i] = s;
	return true;
}

char **child_env(const struct who *who, json_t *a, json_t *b)
{
	const char *const fixed[][2] = {
		{ "container", "cos" }, { "PATH", DEFAULT_PATH }, { "HOME", who->home },
		{ "TERM", "xterm" },    { "LANG", "C.UTF-8" },
	};
	json_t *const more[] = { a, b };
	char **env = calloc(ARRAY_SIZE(fixed) + json_object_size(a) + json_object_size(b) + 1,
			    sizeof(*env));
	bool good = env != NULL;
	const char *key;
	json_t *v;

	for (size_t i = 0; i < ARRAY_SIZE(fixed) && good; i++)
		good = put_env(env, fixed[i][0], fixed[i][1]);
	for (size_t i = 0; i < ARRAY_SIZE(more) && good; i++) {
		json_object_foreach(more[i], key, v)
			good = good && put_env(env, key, json_string_value(v));
	}
	return good ? env : NULL;
}

static int check_command(const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EACCES;
	return faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) < 0 ? -errno : 0;
}

int child_find_command(const char *cmd, char *const *env, char *buf, size_t size,
		       struct cos_err *err)
{
	const char *path = DEFAULT_PATH;
	int r = -ENOENT;

	while (*env) {
		if (strncmp(*env, "PATH=", 5) == 0)
			path = *env + 5;
		env++;
	}
	if (strchr(cmd, '/')) {
		r = str_fmt(buf, size, "%s", cmd) ? check_command(buf) : -ENAMETOOLONG;
		path = "";
	}
	while (*path && r < 0) {
		size_t n = strcspn(path, ":");
		int one;

		if (!str_fmt(buf, size, "%.*s/%s", (int)n, n ? path : ".", cmd))
			return cos_fail(err, COS_E_NOT_FOUND, ENAMETOOLONG, "%.80s", cmd);
		one = check_command(buf);
		r = one == 0 || r == -ENOENT ? one : r; /* a hit that may not be executed is told */
		path += n + (path[n] == ':');
	}
	if (r == -ENOENT || r == -ENOTDIR)
		return cos_fail(err, COS_E_NOT_FOUND, 0, "%.200s: not found in the guest", cmd);
	return r < 0 ? cos_fail(err, COS_E_NOT_EXEC, -r, "%.200s", cmd) : 0;
}

void child_give_pipes(const int stdio[3], uint32_t id)
{
	for (int i = 0; i < 3; i++) {
		if (stdio[i] >= 0 && fchown(stdio[i], id, id) < 0)
			continue; /* a guest that cannot open them anew can still use them */
	}
}

void child_own_stdio(const struct who *who)
{
	struct stat st;

	for (int i = 0; i < 3; i++) {
		gid_t gid = who->gid;

		if (fstat(i, &st) < 0 || (!S_ISFIFO(st.st_mode) && !isatty(i)))
			continue;
		if (!S_ISFIFO(st.st_mode))
			gid = (gid_t)-1; /* stays tty's, to whom it is writable */
		if (fchown(i, who->uid, gid) < 0)
			continue; /* of a devpts that the guest has made read-only */
	}
}

int child_open_pty(int *ret_master, int *ret_slave, struct cos_err *err)
{
	return child_open_pty_at(AT_FDCWD, "/dev/pts/ptmx", ret_master, ret_slave, err);
}

int child_open_pty_at(int dir, const char *path, int *ret_master, int *ret_slave,
		      struct cos_err *err)
{
	auto_close int master = io_open2(dir, path, O_RDWR | O_NOCTTY | O_NONBLOCK, 0,
					 RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS);
	int unlock = 0, slave;

	if (master < 0)
		return cos_fail(err, COS_E_KERNEL, -master, "open %s", path);
	if (ioctl(master, TIOCSPTLCK, &unlock) < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "unlock a new terminal");
	slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "open a new terminal");
	*ret_master = take_fd(master);
	*ret_slave = slave;
	return 0;
}
