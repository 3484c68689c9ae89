/* tests/fault/fault.c - the wrapped calls: counted, and the n-th of them fails */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/base/own.h"
#include "tests/fault/fault.h"

const char *const fault_role_name[ROLE__N] = { "starter", "helper", "child", "forked" };
struct fault *fault;
static enum fault_role role; /* of this process */

bool fault_init(void)
{
	void *p = mmap(NULL, sizeof(*fault), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		       0);

	fault = p == MAP_FAILED ? NULL : p;
	return fault != NULL;
}

void fault_arm(enum fault_role r, unsigned n)
{
	*fault = (struct fault){ .on = true, .role = r, .n = n };
}

void fault_disarm(void)
{
	fault->on = false;
}

/* What this process opened last: calls on descriptors are reported with it. */
static char last[24];

static const char *opens(const char *path)
{
	size_t n = strlen(path);

	snprintf(last, sizeof(last), "%s", n < sizeof(last) ? path : path + n + 1 - sizeof(last));
	return last;
}

/* Whether this call is the one; then errno says how it failed. */
static bool fails(const char *name, const char *detail, int no)
{
	if (!fault || !fault->on || ++fault->calls[role] != fault->n || role != fault->role)
		return false;
	snprintf(fault->call, sizeof(fault->call), "%s%s%s", name, detail[0] ? " " : "", detail);
	fault->no = errno = no;
	return true;
}

/* The calls that have no function in the C library, or none that is used, by number. */
static const struct number {
	long nr;
	const char *name;
	int no;
} numbers[] = {
	{ SYS_bpf, "bpf", EPERM },
	{ SYS_capget, "capget", EPERM },
	{ SYS_capset, "capset", EPERM },
	{ SYS_clone3, "clone3", EAGAIN },
	{ SYS_execveat, "execveat", ENOMEM },
	{ SYS_fsconfig, "fsconfig", EIO },
	{ SYS_fsmount, "fsmount", EIO },
	{ SYS_fsopen, "fsopen", EPERM },
	{ SYS_mount, "mount", EPERM },
	{ SYS_mount_setattr, "mount_setattr", EPERM },
	{ SYS_move_mount, "move_mount", EPERM },
	{ SYS_open_tree, "open_tree", EPERM },
	{ SYS_openat2, "openat2", EIO },
	{ SYS_pidfd_open, "pidfd_open", EMFILE },
	{ SYS_pivot_root, "pivot_root", EPERM },
	{ SYS_seccomp, "seccomp", ENOMEM },
	{ SYS_umount2, "umount2", EBUSY },
};

/* The names are the linker's; the addresses come as the numbers that system calls take.
 * NOLINTBEGIN(bugprone-reserved-identifier,performance-no-int-to-ptr) */
long __real_syscall(long nr, ...);
long __wrap_syscall(long nr, ...);

long __wrap_syscall(long nr, ...)
{
	const struct number *n = NULL;
	const char *detail;
	long a[6], r;
	va_list ap;

	va_start(ap, nr);
	for (size_t i = 0; i < ARRAY_SIZE(a); i++)
		a[i] = va_arg(ap, long);
	va_end(ap);
	for (size_t i = 0; i < ARRAY_SIZE(numbers) && !n; i++)
		n = numbers[i].nr == nr ? &numbers[i] : NULL;
	detail = nr == SYS_fsopen    ? opens((const char *)a[0])
		 : nr == SYS_openat2 ? opens((const char *)a[1])
				     : last;
	if (n && fails(n->name, detail, n->no))
		return -1;
	r = __real_syscall(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
	if (nr == SYS_clone3 && r == 0)
		role = role == ROLE_STARTER ? ROLE_HELPER : ROLE_CHILD;
	return r;
}

pid_t __real_fork(void);
pid_t __wrap_fork(void);

pid_t __wrap_fork(void)
{
	pid_t pid;

	if (fails("fork", "", EAGAIN))
		return -1;
	pid = __real_fork();
	if (pid == 0)
		role = ROLE_FORKED;
	return pid;
}

/* clang-format off */
/* W(type, name, parameters, arguments, what failing returns, errno, detail of the report) */
#define W(type, name, params, args, bad, no, detail)                                               \
	type __real_##name params;                                                                 \
	type __wrap_##name params;                                                                 \
	type __wrap_##name params                                                                  \
	{                                                                                          \
		return fails(#name, detail, no) ? (bad) : __real_##name args;                      \
	}

W(void *, calloc, (size_t n, size_t size), (n, size), NULL, ENOMEM, "")
W(void *, malloc, (size_t size), (size), NULL, ENOMEM, "")
W(void *, realloc, (void *p, size_t size), (p, size), NULL, ENOMEM, last)
W(int, chdir, (const char *path), (path), -1, EIO, path)
W(int, close_range, (unsigned from, unsigned to, int flags), (from, to, flags), -1, ENOSYS, "")
W(int, dup2, (int from, int to), (from, to), -1, EMFILE, "")
W(int, dup3, (int from, int to, int flags), (from, to, flags), -1, EMFILE, "")
W(int, execve, (const char *path, char *const *argv, char *const *env), (path, argv, env), -1, EIO, path)
W(int, faccessat, (int dir, const char *path, int mode, int flags), (dir, path, mode, flags), -1, EIO, path)
W(int, fchdir, (int fd), (fd), -1, EIO, "")
W(int, fchmod, (int fd, mode_t mode), (fd, mode), -1, EIO, "")
W(int, fchmodat, (int dir, const char *path, mode_t mode, int flags), (dir, path, mode, flags), -1, EIO, path)
W(int, fchownat, (int dir, const char *path, uid_t u, gid_t g, int flags), (dir, path, u, g, flags), -1, EPERM, path)
W(int, flock, (int fd, int op), (fd, op), -1, ENOLCK, op == LOCK_UN ? "unlock" : "lock")
W(int, fstat, (int fd, struct stat *st), (fd, st), -1, EIO, last)
W(int, fsync, (int fd), (fd), -1, EIO, "")
W(ssize_t, getrandom, (void *buf, size_t len, unsigned flags), (buf, len, flags), -1, EIO, "")
W(int, memfd_create, (const char *name, unsigned flags), (name, flags), -1, ENFILE, "")
W(int, mkdirat, (int dir, const char *path, mode_t mode), (dir, path, mode), -1, ENOSPC, path)
W(int, mknodat, (int dir, const char *path, mode_t mode, dev_t dev), (dir, path, mode, dev), -1, EPERM, path)
W(int, prlimit, (pid_t pid, enum __rlimit_resource what, const struct rlimit *to, struct rlimit *was), (pid, what, to, was), -1, EPERM, "")
W(ssize_t, read, (int fd, void *buf, size_t len), (fd, buf, len), -1, EIO, last)
W(ssize_t, recv, (int fd, void *buf, size_t len, int flags), (fd, buf, len, flags), -1, ENOMEM, "")
W(ssize_t, recvmsg, (int fd, struct msghdr *m, int flags), (fd, m, flags), -1, ENOMEM, "")
W(int, renameat, (int d1, const char *p1, int d2, const char *p2), (d1, p1, d2, p2), -1, EIO, p2)
W(int, renameat2, (int d1, const char *p1, int d2, const char *p2, unsigned flags), (d1, p1, d2, p2, flags), -1, EIO, p2)
W(ssize_t, sendmsg, (int fd, const struct msghdr *m, int flags), (fd, m, flags), -1, ENOBUFS, "")
W(int, setgroups, (size_t n, const gid_t *list), (n, list), -1, EPERM, "")
W(int, sethostname, (const char *name, size_t len), (name, len), -1, EPERM, "")
W(int, setns, (int fd, int type), (fd, type), -1, EPERM, "")
W(int, setresgid, (gid_t r, gid_t e, gid_t s), (r, e, s), -1, EPERM, "")
W(int, setresuid, (uid_t r, uid_t e, uid_t s), (r, e, s), -1, EAGAIN, "")
W(int, setrlimit, (enum __rlimit_resource what, const struct rlimit *to), (what, to), -1, EPERM, "")
W(pid_t, setsid, (void), (), -1, EPERM, "")
W(int, socket, (int domain, int type, int protocol), (domain, type, protocol), -1, EMFILE, "")
W(int, socketpair, (int domain, int type, int protocol, int *sv), (domain, type, protocol, sv), -1, EMFILE, "")
W(int, stat, (const char *path, struct stat *st), (path, st), -1, EIO, path)
W(int, symlinkat, (const char *to, int dir, const char *path), (to, dir, path), -1, ENOSPC, path)
W(int, unshare, (int flags), (flags), -1, EPERM, "")
W(ssize_t, write, (int fd, const void *buf, size_t len), (fd, buf, len), -1, EIO, "")

/* V(name, last named parameter, ...): one further argument may follow, which is passed on unseen. */
#define V(name, params, last, args, no, detail)                                                    \
	int __real_##name params;                                                                  \
	int __wrap_##name params;                                                                  \
	int __wrap_##name params                                                                   \
	{                                                                                          \
		va_list ap;                                                                        \
		long more;                                                                         \
                                                                                                   \
		va_start(ap, last);                                                                \
		more = va_arg(ap, long);                                                           \
		va_end(ap);                                                                        \
		return fails(#name, detail, no) ? -1 : __real_##name args;                         \
	}

V(open, (const char *path, int flags, ...), flags, (path, flags, more), EIO, opens(path))
V(openat, (int dir, const char *path, int flags, ...), flags, (dir, path, flags, more), EIO, opens(path))
V(fcntl, (int fd, int op, ...), op, (fd, op, more), EMFILE, "")
V(ioctl, (int fd, unsigned long op, ...), op, (fd, op, more), EIO, op == TIOCSWINSZ ? "TIOCSWINSZ" : "")
/* clang-format on */

int __real_prctl(int op, ...);
int __wrap_prctl(int op, ...);

int __wrap_prctl(int op, ...)
{
	char what[8];
	long a[4];
	va_list ap;

	va_start(ap, op);
	for (size_t i = 0; i < ARRAY_SIZE(a); i++)
		a[i] = va_arg(ap, long);
	va_end(ap);
	snprintf(what, sizeof(what), "%d", op);
	return fails("prctl", what, EPERM) ? -1 : __real_prctl(op, a[0], a[1], a[2], a[3]);
}
/* NOLINTEND(bugprone-reserved-identifier,performance-no-int-to-ptr) */
