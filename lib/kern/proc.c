/* lib/kern/proc.c - identity, end and user namespaces of processes */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/io.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "lib/kern/proc.h"

#ifndef P_PIDFD
#define P_PIDFD 3
#endif
#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif

int proc_start_ticks(pid_t pid, uint64_t *ret)
{
	char path[40], buf[1024], *p;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	if (io_read_at(AT_FDCWD, path, buf, sizeof(buf)) < 0)
		return -ESRCH;
	p = strrchr(buf, ')'); /* the name before it may hold anything */
	for (int field = 2; p && field < 22; field++)
		p = strchr(p + 1, ' ');
	if (!p)
		return -EPROTO;
	*ret = strtoull(p + 1, NULL, 10);
	return 0;
}

int proc_pidfd(pid_t pid)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);

	return fd < 0 ? -errno : fd;
}

int proc_open(pid_t pid, uint64_t start)
{
	auto_close int fd = proc_pidfd(pid);
	uint64_t now;

	if (fd < 0)
		return fd;
	if (proc_start_ticks(pid, &now) < 0 || now != start)
		return -ESRCH;
	return take_fd(fd);
}

int proc_boot_id(char ret[37])
{
	char buf[64];
	ssize_t n = io_read_at(AT_FDCWD, "/proc/sys/kernel/random/boot_id", buf, sizeof(buf));

	if (n < 36)
		return n < 0 ? (int)n : -EPROTO;
	memcpy(ret, buf, 36);
	ret[36] = '\0';
	return 0;
}

/* The kernel keeps the status with the pidfd since 6.15, also for those who are not the parent. The
 * first published layout of struct pidfd_info; the ioctl's size says which one is meant. */
struct pidfd_info_v2 {
	uint64_t mask, cgroupid;
	uint32_t pid, tgid, ppid, ruid, rgid, euid, egid, suid, sgid, fsuid, fsgid;
	int32_t exit_code;
};
#define PIDFD_INFO_EXIT_BIT (1ULL << 3)
#define PIDFD_GET_INFO_V2   _IOWR(0xFF, 11, struct pidfd_info_v2)

/* Of a process that has ended and waits for a parent who is not us: the last field of its stat. */
static int status_of_zombie(int pidfd, int *ret_status)
{
	char path[48], buf[2048], *p;
	int pid;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pidfd);
	if (io_read_at(AT_FDCWD, path, buf, sizeof(buf)) <= 0 || !(p = strstr(buf, "Pid:")) ||
	    sscanf(p, "Pid: %d", &pid) != 1 || pid <= 0)
		return -EAGAIN;
	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	if (io_read_at(AT_FDCWD, path, buf, sizeof(buf)) <= 0 || !(p = strrchr(buf, ')')) ||
	    p[2] != 'Z' || !(p = strrchr(buf, ' ')))
		return -EAGAIN;
	*ret_status = (int)strtol(p + 1, NULL, 10);
	return 0;
}

/* -EAGAIN: the kernel would tell, but the parent has not reaped it yet. */
static int status_from_info(int pidfd, int *ret_status)
{
	struct pidfd_info_v2 info = { .mask = PIDFD_INFO_EXIT_BIT };
	struct pollfd p = { .fd = pidfd };

	if (status_of_zombie(pidfd, ret_status) == 0)
		return 0;
	if (ioctl(pidfd, PIDFD_GET_INFO_V2, &info) < 0 && errno != ESRCH) {
		*ret_status = STATUS_UNKNOWN;
		return 0;
	}
	if (info.mask & PIDFD_INFO_EXIT_BIT) {
		*ret_status = info.exit_code;
		return 0;
	}
	if (poll(&p, 1, 0) == 0) /* no POLLHUP: not reaped */
		return -EAGAIN;
	*ret_status = STATUS_UNKNOWN;
	return 0;
}

static int status_of(const siginfo_t *si)
{
	switch (si->si_code) {
	case CLD_EXITED:
		return W_EXITCODE(si->si_status & 0xff, 0);
	case CLD_DUMPED:
		return W_EXITCODE(0, si->si_status) | WCOREFLAG;
	default:
		return W_EXITCODE(0, si->si_status);
	}
}

int proc_exit_status(int pidfd, int *ret_status)
{
	struct pollfd p = { .fd = pidfd, .events = POLLIN };
	siginfo_t si = { 0 };

	if (poll(&p, 1, 0) == 0)
		return -EAGAIN;
	if (waitid(P_PIDFD, (id_t)pidfd, &si, WEXITED | WNOHANG | WNOWAIT) < 0)
		return status_from_info(pidfd, ret_status);
	if (si.si_pid == 0)
		return -EAGAIN;
	*ret_status = status_of(&si);
	return 0;
}

void proc_reap(int pidfd)
{
	siginfo_t si;

	waitid(P_PIDFD, (id_t)pidfd, &si, WEXITED | WNOHANG);
}

int proc_signal(int pidfd, int sig)
{
	return syscall(SYS_pidfd_send_signal, pidfd, sig, NULL, 0) < 0 ? -errno : 0;
}

void proc_kill_wait(int pidfd)
{
	siginfo_t si;

	proc_signal(pidfd, SIGKILL);
	while (waitid(P_PIDFD, (id_t)pidfd, &si, WEXITED) < 0 && errno == EINTR)
		;
}

int proc_used(pid_t pid, uint64_t *ret)
{
	char path[40], text[2048], *p;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", pid);
	n = io_read_at(AT_FDCWD, path, text, sizeof(text));
	if (n < 0)
		return (int)n;
	p = strstr(text, "\nReferenced:");
	if (!p)
		return -EPROTO;
	*ret = strtoull(p + strlen("\nReferenced:"), NULL, 10) * 1024;
	return 0;
}

int proc_forget_use(pid_t pid)
{
	char path[40];
	int r;

	snprintf(path, sizeof(path), "/proc/%d/clear_refs", pid);
	r = io_write_at(AT_FDCWD, path, "1", 1);
	return r < 0 ? r : 0;
}

int proc_write_maps(pid_t pid, uint32_t base, uint32_t count)
{
	static const char *const files[] = { "uid_map", "gid_map" };
	char path[40], map[64];

	snprintf(map, sizeof(map), "0 %" PRIu32 " %" PRIu32, base, count);
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		int r;

		snprintf(path, sizeof(path), "/proc/%d/%s", pid, files[i]);
		r = io_write_at(AT_FDCWD, path, map, strlen(map));
		if (r < 0)
			return r;
	}
	return 0;
}

int proc_oom_adj(pid_t pid, int *ret)
{
	char path[40], buf[16];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", pid);
	n = io_read_at(AT_FDCWD, path, buf, sizeof(buf));
	if (n < 0)
		return (int)n;
	*ret = (int)strtol(buf, NULL, 10);
	return 0;
}

int proc_set_oom_adj(pid_t pid, int adj)
{
	char path[40];

	snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", pid);
	return io_writef_at(AT_FDCWD, path, "%d", adj);
}

int proc_open_ns(pid_t pid, const char *name)
{
	char path[40];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/ns/%s", pid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int proc_close_from(int first)
{
	return close_range((unsigned)first, ~0U, 0) < 0 ? -errno : 0;
}

void proc_close_but(const int *keep, unsigned n)
{
	unsigned from = 3;

	for (;;) {
		unsigned next = ~0U;

		for (unsigned i = 0; i < n; i++) {
			if (keep[i] >= 0 && (unsigned)keep[i] >= from && (unsigned)keep[i] < next)
				next = (unsigned)keep[i];
		}
		if (next > from)
			close_range(from, next == ~0U ? ~0U : next - 1, 0);
		if (next == ~0U)
			return;
		from = next + 1;
	}
}

void proc_reset_signals(void)
{
	sigset_t none;

	for (int sig = 1; sig < NSIG; sig++)
		signal(sig, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static int seal_new(const char *name)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);

	if (fd < 0 && errno == EINVAL) /* before Linux 6.3 every memfd can be executed */
		fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	return fd < 0 ? -errno : fd;
}

static int seal_finish(int fd)
{
	unsigned seals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;

	if (fchmod(fd, 0555) < 0 || fcntl(fd, F_ADD_SEALS, seals) < 0)
		return -errno;
	return 0;
}

int proc_seal(int fd, const char *name)
{
	auto_close int out = seal_new(name);
	struct stat st;
	off_t at = 0;
	int r;

	if (out < 0)
		return out;
	if (fstat(fd, &st) < 0)
		return -errno;
	while (at < st.st_size) {
		ssize_t n = sendfile(out, fd, &at, (size_t)(st.st_size - at));

		if (n <= 0)
			return n < 0 ? -errno : -EIO;
	}
	r = seal_finish(out);
	return r < 0 ? r : take_fd(out);
}

int proc_seal_bytes(const void *data, size_t size, const char *name)
{
	auto_close int out = seal_new(name);
	int r;

	if (out < 0)
		return out;
	r = io_write_all(out, data, size);
	if (r == 0)
		r = seal_finish(out);
	return r < 0 ? r : take_fd(out);
}
