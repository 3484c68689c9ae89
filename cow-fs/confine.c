/* cow-fs/confine.c - a child process that can reach one directory and one source */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cow-fs/confine.h"
#include "lib/base/jsonx.h"
#include "lib/base/own.h"
#include "lib/kern/cap.h"
#include "lib/kern/mnt.h"
#include "lib/kern/proc.h"
#include "lib/kern/shadow.h"

#define NAMESPACES (CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS)
#define CAP(name)  ((cap_mask)1 << CAP_##name)
#define COPY       (CAP(CHOWN) | CAP(DAC_OVERRIDE) | CAP(FOWNER) | CAP(FSETID))
#define KEEP       (COPY | CAP(SETFCAP))
#define HIGH_FD    10
#define FD_LAST    CONFINE_DIR

/* Address space: xz and zstd need up to 128 MiB each for their windows, a tree's directories and
 * hard links 100 bytes each. File size: of one file, holes included. */
#define SPACE_MAX (2ULL << 30)
#define FILE_MAX  (1ULL << 40)

/* What reading an archive and writing a tree takes, and what libc does on its own account. Memory
 * is never executable; ioctl is FICLONE; mknodat makes fifos, because a whiteout device needs no
 * capability. */
static const char filter_words[] =
	"{\"default\": \"EPERM\","
	" \"allow\": ["
	"  \"read\", \"pread64\", \"readv\", \"write\", \"pwrite64\", \"writev\", \"lseek\","
	"  \"close\", \"fstat\", \"newfstatat\", \"fstatfs\", \"statx\", \"fcntl\", \"dup\","
	"  \"openat\", \"openat2\", \"getdents64\", \"readlinkat\", \"faccessat\", \"faccessat2\","
	"  \"mkdirat\", \"unlinkat\", \"linkat\", \"symlinkat\", \"renameat\", \"renameat2\", \"ftruncate\", \"copy_file_range\","
	"  \"fchown\", \"fchownat\", \"fchmod\", \"fchmodat\", \"utimensat\", \"fadvise64\","
	"  \"fgetxattr\", \"flistxattr\", \"fsetxattr\","
	"  \"brk\", \"munmap\", \"mremap\", \"madvise\", \"futex\", \"clock_gettime\","
	"  \"gettimeofday\", \"time\", \"getpid\", \"gettid\", \"tgkill\", \"getrandom\","
	"  \"sysinfo\", \"rt_sigaction\", \"rt_sigprocmask\", \"rt_sigreturn\", \"restart_syscall\","
	"  \"exit\", \"exit_group\"],"
	" \"match\": ["
	"  {\"call\": \"mmap\", \"arg\": 2, \"mask\": 4, \"value\": 0},"
	"  {\"call\": \"mprotect\", \"arg\": 2, \"mask\": 4, \"value\": 0},"
	"  {\"call\": \"ioctl\", \"arg\": 1, \"mask\": 4294967295, \"value\": 1074041865},"
	"  {\"call\": \"mknodat\", \"arg\": 2, \"mask\": 61440, \"value\": 4096}]}";

int confine_filter(struct filter *ret, struct cos_err *err)
{
	auto_json json_t *j = NULL;
	int r = jsonx_parse(filter_words, strlen(filter_words), "the import's filter", &j, err);

	return r < 0 ? r : filter_compile(j, "", ret, err);
}

pid_t confine_fork(struct cos_err *err)
{
	struct clone_args a = { .flags = NAMESPACES, .exit_signal = SIGCHLD };
	pid_t pid = (pid_t)syscall(SYS_clone3, &a, sizeof(a));

	return pid < 0 ? cos_fail(err, COS_E_KERNEL, errno, "clone3 with namespaces") : pid;
}

/* Puts the four descriptors in place and closes the rest. They are moved up first: their places may
 * be taken by one another. */
static int place_fds(const struct confine *c, int *ret_report)
{
	int fd[FD_LAST + 1] = {
		[CONFINE_SOURCE] = c->source,
		[CONFINE_REPORT] = c->report,
		[CONFINE_NULL] = open("/dev/null", O_RDWR | O_CLOEXEC),
		[CONFINE_DIR] = c->mount,
	};

	for (int i = 0; i <= FD_LAST; i++) {
		fd[i] = fcntl(fd[i], F_DUPFD_CLOEXEC, HIGH_FD);
		if (fd[i] < 0)
			return -errno;
	}
	*ret_report = fd[CONFINE_REPORT];
	for (int i = 0; i <= FD_LAST; i++) {
		if (dup2(fd[i], i) < 0)
			return -errno;
	}
	*ret_report = CONFINE_REPORT;
	return proc_close_from(FD_LAST + 1);
}

/* The mount goes onto the old root, becomes the root, and the old one is let go. What the source's
 * descriptor leads to stays readable. */
static int change_root(void)
{
	auto_close int root = -1;
	int r;

	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return -errno;
	root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return -errno;
	r = mnt_attach(CONFINE_DIR, root);
	if (r < 0)
		return r;
	if (fchdir(CONFINE_DIR) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 ||
	    umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		return -errno;
	return 0;
}

static int set_limits(void)
{
	static const struct {
		int what;
		rlim_t max;
	} limits[] = {
#ifndef WITH_SHADOW /* of AddressSanitizer, terabytes of address space */
		{ RLIMIT_AS, SPACE_MAX },
#endif
		{ RLIMIT_FSIZE, FILE_MAX }, { RLIMIT_CORE, 0 },
		{ RLIMIT_MEMLOCK, 0 },      { RLIMIT_NPROC, 0 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(limits); i++) {
		struct rlimit l;

		if (getrlimit(limits[i].what, &l) < 0)
			return -errno;
		if (l.rlim_max > limits[i].max)
			l.rlim_max = limits[i].max;
		l.rlim_cur = l.rlim_max;
		if (setrlimit(limits[i].what, &l) < 0)
			return -errno;
	}
	/* A file above the limit is an error of the image, not a death. */
	return signal(SIGXFSZ, SIG_IGN) == SIG_ERR ? -errno : 0;
}

static int drop_privileges(cap_mask keep)
{
	struct pollfd report = { .fd = CONFINE_REPORT };
	int r = cap_drop_bounding(keep);

	if (r == 0)
		r = cap_set(keep);
	if (r < 0)
		return r;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return -errno;
	/* Last, because changes of credentials clear it. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
		return -errno;
	/* A parent that died before left a pipe without reader. */
	return poll(&report, 1, 0) > 0 && (report.revents & POLLERR) ? -EPIPE : 0;
}

static int finish(const struct filter *filter, cap_mask keep, const char *whom, struct cos_err *err)
{
	int r = set_limits();

	if (r < 0)
		return cos_fail(err, COS_E_KERNEL, -r, "confine the %s: limits", whom);
	r = drop_privileges(keep);
	if (r < 0)
		return cos_fail(err, COS_E_KERNEL, -r, "confine the %s: privileges", whom);
	r = filter_load(filter);
	if (r < 0)
		return cos_fail(err, COS_E_KERNEL, -r, "confine the %s: filter", whom);
	return 0;
}

int confine_joined(const struct filter *filter, struct cos_err *err)
{
	proc_reset_signals();
	return finish(filter, COPY, "copy", err);
}

int confine_enter(const struct confine *c, int *ret_report, struct cos_err *err)
{
	int r;

	*ret_report = c->report;
	proc_reset_signals();
	umask(0);
	r = place_fds(c, ret_report);
	if (r < 0)
		return cos_fail(err, COS_E_KERNEL, -r, "confine the import: descriptors");
	r = change_root();
	if (r < 0)
		return cos_fail(err, COS_E_KERNEL, -r, "confine the import: root directory");
	return finish(&c->filter, KEEP | (c->sees_trusted ? CAP(SYS_ADMIN) : 0), "import", err);
}
