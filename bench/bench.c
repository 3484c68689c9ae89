/* bench/bench.c - what the benches share: a place to work, children, samples, TSV */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench/bench.h"
#include "lib/base/io.h"
#include "lib/base/own.h"
#include "lib/base/str.h"

#define CHILD_WAIT_MSEC 60000
#define TERM_WAIT_MSEC  2000
#define LOG_TAIL_BYTES  2000
#define DISK_BYTES      (8LL << 30) /* sparse */
#define RMDIR_TRIES     200

static volatile sig_atomic_t stopped;

static void on_signal(int sig)
{
	stopped = sig;
}

bool bench_stopped(void)
{
	return stopped != 0;
}

static int fail(int r, const char *what)
{
	fprintf(stderr, "bench: %s: %s\n", what, strerror(-r));
	return r;
}

/* ---- where the control groups are ---- */

static void add_hierarchy(struct bench *b, const char *path, const char *type, const char *opts)
{
	struct bench_cg *cg = &b->cg[b->n_cg];
	bool v2 = strcmp(type, "cgroup2") == 0;

	if (b->n_cg == BENCH_HIERARCHIES || (!v2 && strcmp(type, "cgroup") != 0))
		return;
	if (!str_fmt(cg->path, sizeof(cg->path), "%s", path) ||
	    !str_fmt(cg->ctl, sizeof(cg->ctl), "%s%s%s", v2 ? "" : ",", v2 ? "" : opts,
		     v2 ? "" : ","))
		return;
	cg->dir = -1;
	cg->v2 = v2;
	b->n_cg++;
}

/* A mountinfo line: "... root mountpoint options [optional] - type source super-options". */
static void parse_mount(struct bench *b, char *line)
{
	char root[256], point[256], type[32], opts[256];
	char *tail = strstr(line, " - ");

	if (!tail || sscanf(line, "%*d %*d %*s %255s %255s", root, point) != 2 ||
	    sscanf(tail, " - %31s %*s %255s", type, opts) != 2 || strcmp(root, "/") != 0)
		return;
	add_hierarchy(b, point, type, strncmp(opts, "rw,", 3) == 0 ? opts + 3 : opts);
}

static int find_hierarchies(struct bench *b)
{
	auto_free char *text = NULL;
	ssize_t n = io_slurp_at(AT_FDCWD, "/proc/self/mountinfo", 4 << 20, &text);
	char *save, *line;

	if (n < 0)
		return fail((int)n, "/proc/self/mountinfo");
	for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		parse_mount(b, line);
	return b->n_cg ? 0 : fail(-ENOENT, "no control groups are mounted");
}

const struct bench_cg *bench_cg_find(const struct bench *b, const char *ctl)
{
	char want[32] = "";

	if (ctl && !str_fmt(want, sizeof(want), ",%s,", ctl))
		return NULL;
	for (unsigned i = 0; i < b->n_cg; i++) {
		if (ctl ? strstr(b->cg[i].ctl, want) != NULL : b->cg[i].v2)
			return &b->cg[i];
	}
	return NULL;
}

/* A v1 cpuset admits nobody before its lists are filled. */
static void inherit_cpuset(const struct bench_cg *cg, int root)
{
	static const char *const files[] = { "cpuset.cpus", "cpuset.mems" };
	char buf[4096];

	if (!strstr(cg->ctl, ",cpuset,"))
		return;
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		ssize_t n = io_read_at(root, files[i], buf, sizeof(buf));

		if (n > 0)
			io_write_at(cg->dir, files[i], buf, (size_t)n);
	}
}

int bench_cg_make(struct bench *b)
{
	for (unsigned i = 0; i < b->n_cg; i++) {
		struct bench_cg *cg = &b->cg[i];
		auto_close int root = open(cg->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		int r = root < 0 ? -errno : io_dir_at(root, b->group, 0755);

		if (r < 0)
			return fail(r, cg->path);
		cg->dir = r;
		inherit_cpuset(cg, root);
	}
	return 0;
}

/* Everything in the group was started by the bench. */
static void kill_group(int dir)
{
	auto_free char *text = NULL;
	char *save, *line;

	if (io_slurp_at(dir, "cgroup.procs", 1 << 20, &text) <= 0)
		return;
	for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		pid_t pid = atoi(line);

		if (pid > 1)
			kill(pid, SIGKILL);
	}
}

static void remove_groups(int parent, const char *name)
{
	auto_close int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(dup(fd));
	struct dirent *e;

	while (d && (e = readdir(d))) {
		if (e->d_type == DT_DIR && e->d_name[0] != '.')
			remove_groups(fd, e->d_name);
	}
	if (d)
		closedir(d);
	for (int i = 0; fd >= 0 && i < RMDIR_TRIES; i++) {
		if (unlinkat(parent, name, AT_REMOVEDIR) == 0 || errno == ENOENT)
			break;
		kill_group(fd);
		bench_idle(5);
	}
}

void bench_cg_remove(const struct bench *b, const char *parent, const char *name)
{
	for (unsigned i = 0; i < b->n_cg; i++) {
		auto_close int root = open(b->cg[i].path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		auto_close int dir =
			root < 0 ? -1 : openat(root, parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		if (dir >= 0)
			remove_groups(dir, name);
	}
}

/* ---- children ---- */

__attribute__((noreturn, noinline)) static void child_main(const char *const *argv, int in, int out,
							   int log)
{
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	signal(SIGPIPE, SIG_DFL);
	dup2(in, 0);
	dup2(out, 1);
	dup2(log, 2);
	execvp(argv[0], (char *const *)argv);
	_exit(127);
}

/* vfork() shares memory until the exec: the cost of the bench's own size stays out of the figures.
 */
pid_t bench_spawn(const struct bench *b, const char *const *argv, int out)
{
	auto_close int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	pid_t pid;

	if (null < 0)
		return -errno;
	pid = vfork();
	if (pid == 0)
		child_main(argv, null, out < 0 ? b->log : out, b->log);
	return pid < 0 ? -errno : pid;
}

static bool wait_exit(int pidfd, int msec)
{
	struct pollfd p = { .fd = pidfd, .events = POLLIN };

	return poll(&p, 1, msec) == 1;
}

static int reap(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int bench_wait(pid_t pid)
{
	auto_close int pidfd = (int)syscall(SYS_pidfd_open, pid, 0U);

	if (!wait_exit(pidfd, CHILD_WAIT_MSEC)) {
		kill(pid, SIGTERM);
		if (!wait_exit(pidfd, TERM_WAIT_MSEC))
			kill(pid, SIGKILL);
		reap(pid);
		return stopped ? -EINTR : -ETIMEDOUT;
	}
	return reap(pid);
}

int bench_run(const struct bench *b, const char *const *argv, int out)
{
	pid_t pid = bench_spawn(b, argv, out);

	return pid < 0 ? pid : bench_wait(pid);
}

int bench_capture(const struct bench *b, const char *const *argv, char *buf, size_t size)
{
	auto_close int fd = openat(b->dirfd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	ssize_t n;
	int r;

	if (fd < 0)
		return -errno;
	r = bench_run(b, argv, fd);
	n = pread(fd, buf, size - 1, 0);
	buf[n > 0 ? n : 0] = '\0';
	return r;
}

void bench_show_log(const struct bench *b)
{
	char buf[LOG_TAIL_BYTES + 1];
	off_t end = lseek(b->log, 0, SEEK_END);
	ssize_t n =
		pread(b->log, buf, LOG_TAIL_BYTES, end > LOG_TAIL_BYTES ? end - LOG_TAIL_BYTES : 0);

	if (n > 0)
		fwrite(buf, 1, (size_t)n, stderr);
}

/* ---- a root file system ---- */

static int copy_program(const char *from, int dir, const char *to)
{
	auto_close int in = open(from, O_RDONLY | O_CLOEXEC);
	auto_close int out = openat(dir, to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
	ssize_t n = 1;

	if (in < 0 || out < 0)
		return fail(-errno, from);
	while (n > 0)
		n = sendfile(out, in, NULL, 1 << 30);
	return n < 0 ? fail(-errno, from) : 0;
}

int bench_add_program(const struct bench *b, const char *root, const char *program)
{
	char path[PATH_MAX + 32], bin[64];
	auto_close int dir = -1;

	snprintf(bin, sizeof(bin), "%s/bin", root);
	snprintf(path, sizeof(path), "%s/%s", b->home, program);
	dir = openat(b->dirfd, bin, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return dir < 0 ? fail(-errno, bin) : copy_program(path, dir, program);
}

int bench_make_root(const struct bench *b, const char *name)
{
	static const char *const dirs[] = { "bin", "dev",  "etc", "proc", "root",
					    "run", "sbin", "sys", "tmp",  "var" };
	static const char *const links[] = { "sh", "sleep", "true", "cat" };
	auto_close int root = io_dir_at(b->dirfd, name, 0755);
	auto_close int bin = -1;
	int r;

	for (size_t i = 0; root >= 0 && i < ARRAY_SIZE(dirs); i++)
		mkdirat(root, dirs[i], 0755);
	bin = root < 0 ? -1 : io_dir_at(root, "bin", 0755);
	if (bin < 0)
		return fail(-ENOENT, name);
	for (size_t i = 0; i < ARRAY_SIZE(links); i++) {
		if (symlinkat("busybox", bin, links[i]) < 0)
			return fail(-errno, links[i]);
	}
	r = copy_program("/usr/bin/busybox", bin, "busybox");
	return r < 0 ? r : bench_add_program(b, name, "first");
}

/* ---- opening and closing ---- */

/* crun 1.8 refuses a hybrid host whose v2 root offers controllers that nobody uses. An empty file
 * over that list, seen in our mount namespace only, lets it work like on any other hybrid host. */
static void cover_v2_controllers(const struct bench *b)
{
	const struct bench_cg *v2 = bench_cg_find(b, NULL);
	char path[128];

	if (!v2 || b->n_cg == 1)
		return;
	snprintf(path, sizeof(path), "%s/cgroup.controllers", v2->path);
	if (mount("/dev/null", path, NULL, MS_BIND, NULL) < 0)
		fail(-errno, path);
}

static int open_place(struct bench *b)
{
	ssize_t n = readlink("/proc/self/exe", b->home, sizeof(b->home) - 1);
	auto_close int place = -1;

	if (n < 0)
		return fail(-errno, "/proc/self/exe");
	b->home[n] = '\0';
	*strrchr(b->home, '/') = '\0';
	snprintf(b->place, sizeof(b->place), "/tmp/cos-bench-XXXXXX");
	if (!mkdtemp(b->place))
		return fail(-errno, b->place);
	chmod(b->place, 0755); /* ids of a guest pass through */
	place = open(b->place, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	b->log = openat(place, "log", O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	return b->log < 0 ? fail(-errno, b->place) : 0;
}

/* A fresh ext4 with a journal. What making a file costs on the host's own depends on how that was
 * made and on what others did in the last minutes: ext4 without a journal avoids the inodes that
 * were freed lately, and searches past them one by one. */
static int open_disk(struct bench *b)
{
	char image[64];
	const char *const mkfs[] = { "mkfs.ext4",
				     "-q",
				     "-F",
				     "-N",
				     "262144",
				     "-E",
				     "lazy_itable_init=0,lazy_journal_init=0,nodiscard",
				     image,
				     NULL };
	const char *const mount_it[] = { "mount", "-o", "loop,nosuid,nodev", image, b->dir, NULL };
	auto_close int fd = -1;

	snprintf(image, sizeof(image), "%s/disk", b->place);
	snprintf(b->dir, sizeof(b->dir), "%s/fs", b->place);
	fd = open(image, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, DISK_BYTES) < 0 || mkdir(b->dir, 0755) < 0)
		return fail(-errno, image);
	if (bench_run(b, mkfs, -1) != 0 || bench_run(b, mount_it, -1) != 0)
		printf("# no ext4 on a loop device: works on the file system of /tmp\n");
	b->dirfd = open(b->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return b->dirfd < 0 ? fail(-errno, b->dir) : 0;
}

int bench_open(struct bench *b)
{
	static const int sigs[] = { SIGINT, SIGTERM, SIGHUP };
	struct sigaction sa = { .sa_handler = on_signal };
	int r;

	*b = (struct bench){ .dirfd = -1, .log = -1 };
	if (geteuid() != 0)
		return fail(-EPERM, "root is needed");
	for (size_t i = 0; i < ARRAY_SIZE(sigs); i++)
		sigaction(sigs[i], &sa, NULL);
	signal(SIGPIPE, SIG_IGN);
	setenv("PATH", "/usr/bin:/usr/sbin:/bin:/sbin",
	       1); /* a long one is searched at each start */
	snprintf(b->group, sizeof(b->group), "cos-bench-%d", getpid());
	r = find_hierarchies(b);
	if (r < 0)
		return r;
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return fail(-errno, "private mount namespace");
	cover_v2_controllers(b);
	r = open_place(b);
	return r < 0 ? r : open_disk(b);
}

void bench_close(struct bench *b)
{
	bench_cg_remove(b, ".", b->group);
	for (unsigned i = 0; i < b->n_cg; i++)
		close_p(&b->cg[i].dir);
	close_p(&b->log);
	close_p(&b->dirfd);
	if (b->dir[0])
		umount2(b->dir, MNT_DETACH);
	if (b->place[0]) {
		int r = io_remove_tree(AT_FDCWD, b->place, 0);

		if (r < 0)
			fail(r, b->place);
	}
}

/* ---- time ---- */

uint64_t bench_nsec(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000U + (uint64_t)ts.tv_nsec;
}

void bench_sleep_until(uint64_t nsec)
{
	const struct timespec ts = { (time_t)(nsec / 1000000000U), (long)(nsec % 1000000000U) };

	while (!stopped && clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) != 0)
		;
}

uint64_t bench_busy_nsec(void)
{
	unsigned long long v[8] = { 0 }, sum;
	char text[65536];

	if (io_read_at(AT_FDCWD, "/proc/stat", text, sizeof(text)) <= 0 ||
	    sscanf(text, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &v[0], &v[1], &v[2], &v[3],
		   &v[4], &v[5], &v[6], &v[7]) != 8)
		return 0;
	sum = v[0] + v[1] + v[2] + v[5] + v[6] + v[7]; /* without idle and waiting for disks */
	return sum * 1000000000U / (unsigned long)sysconf(_SC_CLK_TCK);
}

void bench_idle(unsigned msec)
{
	poll(NULL, 0, (int)msec);
}

uint64_t bench_read_first(int fd)
{
	uint64_t nsec;

	return read(fd, &nsec, sizeof(nsec)) == sizeof(nsec) ? nsec : 0;
}

void samples_add(struct samples *s, uint64_t nsec)
{
	if (s->n == s->room) {
		s->room = s->room ? s->room * 2 : 64;
		s->nsec = realloc(s->nsec, s->room * sizeof(*s->nsec));
		if (!s->nsec)
			abort();
	}
	s->nsec[s->n++] = nsec;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

uint64_t samples_at(struct samples *s, unsigned percent)
{
	if (s->n == 0)
		return 0;
	qsort(s->nsec, s->n, sizeof(*s->nsec), compare);
	return s->nsec[((s->n - 1) * percent + 50) / 100];
}

void samples_free(struct samples *s)
{
	free(s->nsec);
	*s = (struct samples){ 0 };
}

/* ---- words of the command line ---- */

bool bench_wants(const char *only, const char *what)
{
	size_t len = strlen(what);
	const char *at = only;

	while (at && (strncmp(at, what, len) != 0 || (at[len] && at[len] != ','))) {
		at = strchr(at, ',');
		at = at ? at + 1 : NULL;
	}
	return !only || at;
}

void bench_all_files(void)
{
	struct rlimit files;

	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
}

int bench_parse_number(const char *s, unsigned max, unsigned *ret)
{
	uint64_t v;
	int r = str_to_u64(s, &v);

	if (r < 0 || v < 1 || v > max)
		return -ERANGE;
	*ret = (unsigned)v;
	return 0;
}

static int take_option(const struct bench_option *o)
{
	if (!o->word)
		return bench_parse_number(optarg, o->max, o->number);
	*o->word = optarg;
	return 0;
}

int bench_parse(int argc, char **argv, const struct bench_option *options, unsigned n,
		const char *usage)
{
	struct option longs[BENCH_OPTIONS + 1] = { 0 };
	int at, c, r = 0;

	for (unsigned i = 0; i < n && i < BENCH_OPTIONS; i++)
		longs[i] = (struct option){ options[i].name, required_argument, NULL, 'o' };
	while (r == 0 && (c = getopt_long(argc, argv, "", longs, &at)) != -1)
		r = c == 'o' ? take_option(&options[at]) : -EINVAL;
	if (r == 0 && optind == argc)
		return 0;
	fputs(usage, stderr);
	return -EINVAL;
}
