/* cosd/main.c - the daemon's program: arguments, the things to hold, then keeper or worker */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <grp.h>
#include <linux/mount.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <limits.h>
#include <unistd.h>

#include "cosd/acct.h"
#include "cosd/conf.h"
#include "cosd/daemon.h"
#include "cosd/hostwide.h"
#include "cosd/keep.h"
#include "cosd/points.h"
#include "lib/base/io.h"
#include "lib/base/log.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "lib/kern/mnt.h"
#include "lib/kern/proc.h"

static const char usage[] =
	"usage: cosd [--instance NAME] [--state-dir DIR] [--runtime-dir DIR] [--config FILE]\n"
	"            [--net-pool A.B.C.D/M] [--uplink LINK]\n"
	"            [--without FEATURE[,FEATURE...]] [--kill-points]\n"
	"       cosd --help | --version | --list-points\n";

/* Guests may be given this program to run (exec's child until it executes the command): they must
 * not find the file on the disk behind /proc/self/exe. So it always runs from memory that cannot be
 * written. */
static int run_sealed(char **argv)
{
	auto_close int self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	char path[PATH_MAX];
	ssize_t n;
	int sealed;

	if (self < 0)
		return -errno;
	if (fcntl(self, F_GET_SEALS) >= 0) /* it does already; only memory files have seals */
		return 0;
	n = readlink("/proc/self/exe", path, sizeof(path) - 1);
	if (n < 0)
		return -errno;
	path[n] = '\0';
	setenv("COSD_EXE", path, 1);
	sealed = proc_seal(self, "cosd");
	if (sealed < 0)
		return sealed;
	syscall(SYS_execveat, sealed, "", argv, environ, AT_EMPTY_PATH);
	return -errno;
}

static int make_dir(const char *path, mode_t mode, struct cos_err *err)
{
	char part[PATH_MAX];

	for (const char *p = path; *p;) {
		p += strspn(p, "/");
		p += strcspn(p, "/");
		str_fmt(part, sizeof(part), "%.*s", (int)(p - path), path);
		if (mkdir(part, *p ? 0755 : mode) < 0 && errno != EEXIST)
			return cos_fail(err, COS_E_KERNEL, errno, "mkdir %s", part);
	}
	return 0;
}

/* Guests' files lie below with the ids that they have inside: nobody else may come here, and
 * nothing here may be set-user-id or a device on the host. */
static int mount_state(struct keep_args *a, struct cos_err *err)
{
	auto_close int dir = open(a->state_dir, O_PATH | O_DIRECTORY | O_CLOEXEC), mnt = -1;
	auto_close int run = open(a->runtime_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct statvfs s;
	int r;

	if (dir < 0 || run < 0 || chmod(a->state_dir, 0700) < 0 || statvfs(a->state_dir, &s) < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "open %s", a->state_dir);
	if ((s.f_flag & ST_NOSUID) && (s.f_flag & ST_NODEV)) {
		a->state_mounted = faccessat(run, KEEP_STATE_MOUNT, F_OK, 0) == 0;
		return 0;
	}
	mnt = mnt_clone(dir, "", true);
	r = mnt < 0 ? mnt : mnt_attr(mnt, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, 0, false);
	if (r == 0) /* first, so that a mount of ours is never taken for somebody else's */
		r = io_replace_at(run, KEEP_STATE_MOUNT, "", 0, 0600, false);
	if (r == 0)
		r = mnt_attach(mnt, dir);
	if (r < 0)
		return cos_fail(err, COS_E_KERNEL, -r, "mount %s on itself with nosuid,nodev",
				a->state_dir);
	a->state_mounted = true;
	return 0;
}

static int lock_runtime(struct keep_args *a, struct cos_err *err)
{
	char path[PATH_MAX];
	int r;

	str_fmt(path, sizeof(path), "%s/lock", a->runtime_dir);
	a->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	r = a->lock < 0 ? -errno : io_lock(a->lock);
	if (r == -EWOULDBLOCK)
		return cos_advise(
			err,
			cos_fail(err, COS_E_IN_USE, 0, "a cosd uses %s already", a->runtime_dir),
			"stop it, or choose another --runtime-dir");
	return r < 0 ? cos_fail(err, COS_E_KERNEL, -r, "lock %s", path) : 0;
}

static int listen_at(const char *dir, const char *name, mode_t mode, gid_t group,
		     struct cos_err *err)
{
	auto_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un sa = { .sun_family = AF_UNIX };

	if (!str_fmt(sa.sun_path, sizeof(sa.sun_path), "%s/%s", dir, name))
		return cos_fail(err, COS_E_INVALID, ENAMETOOLONG, "socket %s/%s", dir, name);
	unlink(sa.sun_path); /* the lock is ours: nobody listens there */
	if (fd < 0 || bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 ||
	    chown(sa.sun_path, 0, group) < 0 || chmod(sa.sun_path, mode) < 0 ||
	    listen(fd, 1024) < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "listen at %s", sa.sun_path);
	return take_fd(fd);
}

static int listen_all(struct keep_args *a, const struct conf *c, struct cos_err *err)
{
	struct group *g = getgrnam(c->socket_group);

	a->listen[0] =
		listen_at(a->runtime_dir, "cosd.sock", g ? 0660 : 0600, g ? g->gr_gid : 0, err);
	if (a->listen[0] < 0)
		return a->listen[0];
	a->listen[1] = listen_at(a->runtime_dir, "user.sock", 0666, 0, err);
	return a->listen[1] < 0 ? a->listen[1] : 0;
}

/* Everything that has to be held before the first worker starts. */
static int acquire(struct keep_args *a, bool must_conf, struct cos_err *err)
{
	auto_close int instance = -1;
	struct conf c;
	int r = conf_load(a, must_conf, &c, err);

	if (r < 0)
		return r;
	a->log_bytes = c.console_log_bytes;
	a->id_count = (uint32_t)c.id_count;
	r = make_dir(a->state_dir, 0700, err);
	if (r == 0)
		r = make_dir(a->runtime_dir, 0755, err);
	if (r == 0)
		r = lock_runtime(a, err);
	if (r == 0) {
		instance = hostwide_instance(a->instance, err);
		r = instance < 0 ? instance : 0;
	}
	if (r == 0) {
		a->id_lock = hostwide_ids(a->runtime_dir, c.id_base, c.id_count, &a->id_base, err);
		r = a->id_lock < 0 ? a->id_lock : 0;
	}
	if (r == 0)
		r = mount_state(a, err);
	if (r == 0)
		r = listen_all(a, &c, err);
	if (r == 0)
		a->instance_lock = take_fd(instance);
	return r;
}

static int say(const struct cos_err *err)
{
	fprintf(stderr, "cosd: %s%s%s\n  why: %s\n  do:  %s\n", err->what, err->what[0] ? ": " : "",
		cos_err_defs[err->code].title, err->why, cos_err_todo(err));
	return cos_err_defs[err->code].exit_status;
}

static char *absolute(const char *path)
{
	char cwd[PATH_MAX], *out = NULL;

	if (path && path[0] == '/')
		return strdup(path);
	if (!path || !getcwd(cwd, sizeof(cwd)) || asprintf(&out, "%s/%s", cwd, path) < 0)
		return NULL;
	return out;
}

static int parse(int argc, char **argv, struct keep_args *a, bool *ret_must_conf)
{
	static const struct option options[] = {
		{ "instance", required_argument, NULL, 'i' },
		{ "state-dir", required_argument, NULL, 's' },
		{ "runtime-dir", required_argument, NULL, 'r' },
		{ "config", required_argument, NULL, 'c' },
		{ "net-pool", required_argument, NULL, 'p' },
		{ "uplink", required_argument, NULL, 'u' },
		{ "without", required_argument, NULL, 'w' },
		{ "kill-points", no_argument, NULL, 'k' },
		{ "list-points", no_argument, NULL, 'l' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ NULL, 0, NULL, 0 },
	};
	int o;

	while ((o = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (o) {
		case 'i':
			a->instance = optarg;
			break;
		case 's':
			a->state_dir = optarg;
			break;
		case 'r':
			a->runtime_dir = optarg;
			break;
		case 'c':
			a->config = optarg;
			*ret_must_conf = true;
			break;
		case 'p':
			a->net_pool = optarg;
			break;
		case 'u':
			a->uplink = optarg;
			break;
		case 'w':
			a->without = optarg;
			break;
		case 'k':
			a->kill_points = true;
			break;
		case 'l':
			points_print();
			exit(0);
		case 'h':
			fputs(usage, stdout);
			exit(0);
		case 'V':
			puts("cosd " PACKAGE_VERSION);
			exit(0);
		default:
			fputs(usage, stderr);
			return 2;
		}
	}
	if (optind != argc || !str_is_name(a->instance)) {
		fprintf(stderr,
			optind != argc ? "cosd: unexpected argument %s\n"
				       : "cosd: --instance %s is not a name\n",
			optind != argc ? argv[optind] : a->instance);
		fputs(usage, stderr);
		return 2;
	}
	return 0;
}

/* An instance of its own name has directories of its own unless they are named. */
static void fill_defaults(struct keep_args *a)
{
	bool first = strcmp(a->instance, "default") == 0;
	char *state, *runtime;

	if (asprintf(&state, COS_LOCALSTATEDIR "/lib/cos%s%s", first ? "" : "-",
		     first ? "" : a->instance) < 0 ||
	    asprintf(&runtime, "/run/cos%s%s", first ? "" : "-", first ? "" : a->instance) < 0)
		exit(1);
	a->state_dir = absolute(a->state_dir ?: state);
	a->runtime_dir = absolute(a->runtime_dir ?: runtime);
	a->config = absolute(a->config);
	if (!a->state_dir || !a->runtime_dir || !a->config) {
		fputs("cosd: the working directory is not known: name directories by absolute paths\n",
		      stderr);
		exit(1);
	}
	a->exe = getenv("COSD_EXE");
}

static int run_handed(const char *role, int fd)
{
	struct keep_item *items;
	struct keep_args a;
	struct cos_err err;
	unsigned n;
	int link = keep_restore(fd, &a, &items, &n, &err);

	if (link < -1)
		return say(&err);
	a.holding = strcmp(role, "--holder") == 0;
	return strcmp(role, "--worker") == 0 ? worker_run(&a, link) : keep_run(&a, items, n);
}

int main(int argc, char **argv)
{
	struct keep_args a = {
		.instance = "default",
		.config = COS_SYSCONFDIR "/cos/cosd.json",
		.net_pool = "",
		.uplink = "",
		.without = "",
		.listen = { -1, -1 },
		.lock = -1,
		.id_lock = -1,
		.instance_lock = -1,
	};
	struct cos_err err = { 0 };
	struct keep_item *items;
	unsigned n;
	bool must_conf = false;
	int r;

	io_fill_stdio();
	r = run_sealed(argv);

	if (r < 0) {
		fprintf(stderr, "cosd: cannot run from sealed memory: %s\n", strerrordesc_np(-r));
		return 1;
	}
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	proc_reset_signals();
	log_open("cosd", LOG_INFO);
	if (argc == 3 && (strcmp(argv[1], "--keeper") == 0 || strcmp(argv[1], "--worker") == 0 ||
			  strcmp(argv[1], "--holder") == 0))
		return run_handed(argv[1], (int)strtol(argv[2], NULL, 10));
	if (argc == 3 && strcmp(argv[1], "--accountant") == 0)
		return acct_run((int)strtol(argv[2], NULL, 10));
	if (argc == 3 && strcmp(argv[1], "--ledger-query") == 0)
		return acct_answer((int)strtol(argv[2], NULL, 10));
	close_range(3, ~0U, 0); /* what somebody left open is nothing to hold for months */
	r = parse(argc, argv, &a, &must_conf);
	if (r)
		return r;
	if (geteuid() != 0) {
		fputs("cosd: must be started by root\n", stderr);
		return 7;
	}
	fill_defaults(&a);
	umask(022);
	if (acquire(&a, must_conf, &err) < 0 || keep_take_over(&a, &items, &n, &err) < 0)
		return say(&err);
	return keep_run(&a, items, n);
}
