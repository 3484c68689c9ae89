/* tests/vmm/confine.t.c - what cos-vmm can still do when a guest has taken it over */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/kvm.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/io.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "tests/tap.h"
#include "tests/vmm/run.h"
#include "vmm/confine.h"

#define ARGS(...)                                                                                  \
	(const char *const[])                                                                      \
	{                                                                                          \
		__VA_ARGS__, NULL                                                                  \
	}

static struct run r;

/* ---- the filters, each in a child that loads it and tries ---- */

#define V (1U << CONFINE_VCPU)
#define D (1U << CONFINE_DEVICE)
#define C (1U << CONFINE_CONTROL)

static const char *const kinds[] = { "vcpu", "device", "control" };

static long try_open(void)
{
	return syscall(SYS_openat, AT_FDCWD, "/", O_RDONLY, 0);
}
static long try_socket(void)
{
	return syscall(SYS_socket, AF_UNIX, SOCK_STREAM, 0);
}
static long try_connect(void)
{
	return syscall(SYS_connect, -1, NULL, 0);
}
static long try_exec(void)
{
	return syscall(SYS_execve, "/bin/true", NULL, NULL);
}
static long try_fork(void)
{
	return syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
}
static long try_clone3(void)
{
	return syscall(SYS_clone3, NULL, 0);
}
static long try_ptrace(void)
{
	return syscall(SYS_ptrace, PTRACE_TRACEME, 0, 0, 0);
}
static long try_kill(void)
{
	return syscall(SYS_kill, getppid(), 0);
}
static long try_tgkill_parent(void)
{
	return syscall(SYS_tgkill, getppid(), getppid(), 0);
}
static long try_tgkill(void)
{
	return syscall(SYS_tgkill, getpid(), getpid(), 0);
}
static long try_unshare(void)
{
	return syscall(SYS_unshare, CLONE_NEWUSER);
}
static long try_mount(void)
{
	return syscall(SYS_mount, "a", "/", "tmpfs", 0, NULL);
}
static long try_bpf(void)
{
	return syscall(SYS_bpf, 0, NULL, 0);
}
static long try_uring(void)
{
	return syscall(SYS_io_uring_setup, 1, NULL);
}
static long try_prctl(void)
{
	return syscall(SYS_prctl, PR_GET_DUMPABLE, 0, 0, 0, 0);
}
__attribute__((unused)) static long try_writable_code(void)
{
	return syscall(SYS_mmap, NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}
__attribute__((unused)) static long try_make_code(void)
{
	return syscall(SYS_mprotect, 4096, 4096, PROT_READ | PROT_EXEC);
}
__attribute__((unused)) static long try_map(void)
{
	return syscall(SYS_mmap, NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}
static long try_create_vm(void)
{
	return syscall(SYS_ioctl, -1, KVM_CREATE_VM, 0);
}
static long try_memory(void)
{
	return syscall(SYS_ioctl, -1, KVM_SET_USER_MEMORY_REGION, 0);
}
static long try_tunset(void)
{
	return syscall(SYS_ioctl, -1, TUNSETIFF, 0);
}
static long try_tiocsti(void)
{
	return syscall(SYS_ioctl, -1, 0x5412, 0);
}
static long try_run(void)
{
	return syscall(SYS_ioctl, -1, KVM_RUN, 0);
}
static long try_offload(void)
{
	return syscall(SYS_ioctl, -1, TUNSETOFFLOAD, 0);
}
static long try_read(void)
{
	return syscall(SYS_read, -1, NULL, 0);
}
static long try_write(void)
{
	return syscall(SYS_write, -1, NULL, 0);
}
static long try_pwritev(void)
{
	return syscall(SYS_pwritev, -1, NULL, 0, 0, 0);
}
static long try_accept(void)
{
	return syscall(SYS_accept4, -1, NULL, NULL, 0);
}
static long try_madvise(void)
{
	return syscall(SYS_madvise, 0, 0, MADV_DONTNEED);
}

static const struct {
	const char *name;
	long (*fn)(void);
	unsigned allowed; /* the kinds of thread that may */
} tries[] = {
	{ "open a file", try_open, 0 },
	{ "make a socket", try_socket, 0 },
	{ "connect", try_connect, 0 },
	{ "execute", try_exec, 0 },
	{ "fork", try_fork, 0 },
	{ "clone3", try_clone3, 0 },
	{ "trace", try_ptrace, 0 },
	{ "signal another process", try_kill, 0 },
	{ "signal another process' thread", try_tgkill_parent, 0 },
	{ "signal a thread of its own", try_tgkill, V | D | C },
	{ "unshare", try_unshare, 0 },
	{ "mount", try_mount, 0 },
	{ "bpf", try_bpf, 0 },
	{ "io_uring", try_uring, 0 },
	{ "prctl", try_prctl, 0 },
#ifndef __SANITIZE_ADDRESS__ /* which needs them itself */
	{ "map code", try_writable_code, 0 },
	{ "make code", try_make_code, 0 },
	{ "map memory", try_map, D | C },
#endif
	{ "make another machine", try_create_vm, 0 },
	{ "give the guest other memory", try_memory, 0 },
	{ "take another tap", try_tunset, 0 },
	{ "type on a terminal", try_tiocsti, 0 },
	{ "run the guest", try_run, V },
	{ "set a tap's offload", try_offload, D },
	{ "read", try_read, D | C },
	{ "write", try_write, V | D | C },
	{ "write to a disk", try_pwritev, D },
	{ "accept", try_accept, C },
	{ "give memory back", try_madvise, V | D | C },
};

/* 1: the filter refused, 0: the kernel was asked. A child's answer is its exit status. */
static int is_refused(enum confine_kind kind, long (*fn)(void))
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		/* made here: the filter knows the process by its number */
		static struct confine c;
		struct cos_err err;
		long v;

		if (confine_init(&c, &err) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
		    filter_load(&c.filter[kind]) < 0)
			_exit(2);
		errno = 0;
		v = fn();
		_exit(v < 0 && errno == EPERM);
	}
	if (pid < 0 || waitpid(pid, &status, 0) < 0 || !WIFEXITED(status))
		return 3;
	return WEXITSTATUS(status);
}

static void each_kind_may_do_its_own(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(tries); i++) {
		for (unsigned kind = 0; kind < CONFINE__N; kind++) {
			bool may = tries[i].allowed >> kind & 1;

			ok(is_refused(kind, tries[i].fn) == !may, "%s: %s %s", kinds[kind],
			   tries[i].name, may ? "allowed" : "refused");
		}
	}
}

/* ---- a machine that runs ---- */

/* The value of KEY in a thread's status. */
static bool status_has(pid_t pid, const char *tid, const char *key, const char *value)
{
	char path[80], buf[4096], want[80];
	ssize_t n;

	str_fmt(path, sizeof(path), "/proc/%d/task/%s/status", pid, tid);
	str_fmt(want, sizeof(want), "\n%s:\t%s\n", key, value);
	n = io_read_at(AT_FDCWD, path, buf, sizeof(buf));
	return n > 0 && strstr(buf, want);
}

static void threads_have_nothing(const char *how)
{
	static const struct {
		const char *key, *value;
	} want[] = {
		{ "CapEff", "0000000000000000" },
		{ "CapPrm", "0000000000000000" },
		{ "CapInh", "0000000000000000" },
		{ "CapBnd", "0000000000000000" },
		{ "CapAmb", "0000000000000000" },
		{ "NoNewPrivs", "1" },
		{ "Seccomp", "2" },
	};
	char path[40];
	unsigned n = 0, bad = 0;
	struct dirent *e;
	DIR *d;

	str_fmt(path, sizeof(path), "/proc/%d/task", r.pid);
	d = opendir(path);
	while (d && (e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		n++;
		for (size_t i = 0; i < ARRAY_SIZE(want); i++) {
			if (status_has(r.pid, e->d_name, want[i].key, want[i].value))
				continue;
			printf("# thread %s: %s is not %s\n", e->d_name, want[i].key,
			       want[i].value);
			bad++;
		}
	}
	if (d)
		closedir(d);
	/* KVM may have one there too */
	ok(n >= 5 && bad == 0, "%s: %u threads with no capability, each with a filter", how, n);
}

static ino_t ns_of(pid_t pid, const char *name)
{
	char path[40];
	struct stat st;

	str_fmt(path, sizeof(path), "/proc/%d/ns/%s", pid, name);
	return stat(path, &st) == 0 ? st.st_ino : 0;
}

static unsigned entries_of_root(pid_t pid)
{
	char path[40];
	unsigned n = 0;
	DIR *d;

	str_fmt(path, sizeof(path), "/proc/%d/root", pid);
	d = opendir(path);
	while (d && readdir(d))
		n++;
	if (d)
		closedir(d);
	return n;
}

static void machines_are_confined(void)
{
	static const char *const names[] = { "mnt", "net", "ipc", "uts", "cgroup" };
	auto_close int disk = memfd_create("disk", 0);
	struct stat st;
	char path[40];

	if (ftruncate(disk, 1 << 20) < 0)
		abort();
	/* main, two vCPUs, devices, a disk */
	run_start(&r, ARGS("--cmdline", "test=spin", "--vcpus", "2", "--disk", run_fd(disk)));
	run_says(&r, "spinning\n");
	threads_have_nothing("as it is");
	run_done(&r);
	run_start(&r, ARGS("--cmdline", "test=spin", "--vcpus", "2", "--disk", run_fd(disk),
			   "--isolate", "--user", "65534:65534"));
	ok(run_says(&r, "spinning\n"), "isolated, as nobody");
	threads_have_nothing("isolated");
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		ok(ns_of(r.pid, names[i]) && ns_of(r.pid, names[i]) != ns_of(getpid(), names[i]),
		   "a %s namespace of its own", names[i]);
	ok(entries_of_root(r.pid) == 2, "its root is empty");
	str_fmt(path, sizeof(path), "/proc/%d/mem", r.pid);
	/* what belongs to nobody would be nobody's if it could be dumped */
	ok(stat(path, &st) == 0 && st.st_uid == 0, "not dumpable: nobody cannot look into it");
	ok(run_stat(&r, "exits/io") > 0, "its socket answers");
	ok(access("/proc/self/schedstat", R_OK) < 0 || run_stat(&r, "steal_usec") > 0,
	   "steal is known there too");
	run_done(&r);
}

int main(void)
{
	const char *skip = geteuid() ? "needs root" : run_skip();

	each_kind_may_do_its_own();
	if (skip)
		tap_skip("machines", skip);
	else
		machines_are_confined();
	return tap_done();
}
