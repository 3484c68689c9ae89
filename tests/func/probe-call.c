/* tests/func/probe-call.c - system calls that a guest must not reach
 *
 * The arguments are such that a call which is let through fails on them (EBADF, EFAULT, EINVAL,
 * ENOENT) or does nothing: what is told apart is "refused" and "looked at". */
#include <errno.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <linux/perf_event.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/klog.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/quota.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timex.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/own.h"
#include "tests/func/probe.h"

#define NOWHERE "/cos-probe-none"

static enum outcome call(const struct check *c, struct finding *f)
{
	long r = syscall(c->nr, c->arg[0], c->arg[1], c->arg[2], c->arg[3], c->arg[4], c->arg[5]);

	note(f, "%s", r < 0 ? err_name(errno) : "it worked");
	return r < 0 && refused(errno) ? NO : YES;
}

static enum outcome sock(const struct check *c, struct finding *f)
{
	auto_close int fd = socket(c->arg[0], c->arg[1] | SOCK_CLOEXEC, c->arg[2]);

	note(f, "%s", fd < 0 ? err_name(errno) : "it worked");
	return fd < 0 ? NO : YES;
}

static enum outcome unshares(const struct check *c, struct finding *f)
{
	int r = unshare(c->arg[0]);

	note(f, "%s", r < 0 ? err_name(errno) : "it worked");
	return r < 0 ? NO : YES;
}

/* clone3() hides its flags from a filter, so a guest that may not unshare may not have it either.
 */
static enum outcome clone3_user(const struct check *c, struct finding *f)
{
	struct {
		uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls;
	} a = { .flags = c->arg[0], .exit_signal = SIGCHLD };
	pid_t pid = syscall(SYS_clone3, &a, sizeof(a));

	if (pid == 0)
		_exit(0);
	note(f, "%s", pid < 0 ? err_name(errno) : "it worked");
	return pid < 0 ? NO : YES;
}

static enum outcome bpf_map(const struct check *c, struct finding *f)
{
	struct {
		uint32_t type, key_size, value_size, max_entries, pad[28];
	} a = { .type = 2 /* array */, .key_size = 4, .value_size = 4, .max_entries = 1 };
	int fd = syscall(SYS_bpf, 0 /* BPF_MAP_CREATE */, &a, sizeof(a));

	(void)c;
	note(f, "%s", fd < 0 ? err_name(errno) : "made a map");
	return fd < 0 ? NO : YES;
}

static enum outcome perf(const struct check *c, struct finding *f)
{
	struct perf_event_attr a = {
		.type = PERF_TYPE_SOFTWARE,
		.size = sizeof(a),
		.config = PERF_COUNT_SW_TASK_CLOCK,
	};
	int fd = syscall(SYS_perf_event_open, &a, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);

	(void)c;
	note(f, "%s", fd < 0 ? err_name(errno) : "opened a counter");
	return fd < 0 ? NO : YES;
}

/* settimeofday() without a time only asks whether one could be set; the other two change nothing
 * because the tick is out of range, which is looked at after the permission. */
static enum outcome set_clock(const struct check *c, struct finding *f)
{
	struct timex t = { .modes = ADJ_TICK, .tick = 0 };
	bool got = false;

	(void)c;
	if (syscall(SYS_settimeofday, NULL, NULL) == 0) {
		note(f, "settimeofday");
		got = true;
	}
	if (syscall(SYS_adjtimex, &t) >= 0 || !refused(errno)) {
		note(f, "adjtimex");
		got = true;
	}
	if (syscall(SYS_clock_adjtime, 0, &t) >= 0 || !refused(errno)) {
		note(f, "clock_adjtime");
		got = true;
	}
	return got ? YES : NO;
}

/* SYSLOG_ACTION_READ_ALL does not take anything out of the log. */
static enum outcome kernel_log(const struct check *c, struct finding *f)
{
	char buf[4096];
	int n = klogctl(3, buf, sizeof(buf));
	int size = klogctl(10, NULL, 0);

	(void)c;
	note(f, "read: %s, size: %s",
	     n < 0 ? err_name(errno)
	     : n   ? "text"
		   : "empty",
	     size < 0 ? "refused" : "told");
	return n > 0 || size > 0 ? YES : NO;
}

static enum outcome realtime(const struct check *c, struct finding *f)
{
	static const int policy[] = { SCHED_FIFO, SCHED_RR };
	struct {
		uint32_t size, policy;
		uint64_t flags;
		int32_t nice;
		uint32_t prio;
		uint64_t runtime, deadline, period;
	} dl = { .size = sizeof(dl),
		 .policy = SCHED_DEADLINE,
		 .runtime = 1000000,
		 .deadline = 100000000,
		 .period = 100000000 };
	bool got = false;

	(void)c;
	for (size_t i = 0; i < ARRAY_SIZE(policy); i++) {
		struct sched_param p = { .sched_priority = 1 };

		if (sched_setscheduler(0, policy[i], &p) == 0) {
			note(f, "policy %d", policy[i]);
			got = true;
		}
	}
	if (syscall(SYS_sched_setattr, 0, &dl, 0) == 0) {
		note(f, "deadline");
		got = true;
	}
	return got ? YES : NO;
}

/* Better than what the guest was started with: nice, I/O class, OOM score, hard limits. */
static enum outcome favour(const struct check *c, struct finding *f)
{
	struct rlimit l;
	char buf[16];
	bool got = false;
	int fd;

	(void)c;
	if (setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) - 1) == 0) {
		note(f, "nice");
		got = true;
	}
	if (syscall(SYS_ioprio_set, 1, 0, 1 << 13) == 0) {
		note(f, "real-time I/O class");
		got = true;
	}
	if (getrlimit(RLIMIT_NOFILE, &l) == 0 && l.rlim_max != RLIM_INFINITY) {
		l.rlim_max++;
		if (setrlimit(RLIMIT_NOFILE, &l) == 0) {
			note(f, "RLIMIT_NOFILE");
			got = true;
		}
	}
	if (slurp("/proc/self/oom_score_adj", buf, sizeof(buf)) > 0 && strncmp(buf, "-1000", 5)) {
		fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
		if (fd >= 0 && write(fd, "-1000", 5) == 5) {
			note(f, "oom_score_adj");
			got = true;
		}
	}
	return got ? YES : NO;
}

#ifdef __x86_64__
/* The 32-bit entry: the kernel looks up another table, so a filter must know that too. */
static const struct old_call {
	const char *name;
	bool shared_only; /* a guest with its own user namespace may have it */
	unsigned nr, a, b, c;
} old_calls[] = {
#define TEXT 0xdead0001U /* stands for the address of NOWHERE, which must be below 4 GiB */
#define ARGS 0xdead0002U /* of socketcall's arguments */
	{ "keyctl", false, 288, 0, -3, 0 },
	{ "add_key", false, 286, 0, 0, 0 },
	{ "request_key", false, 287, 0, 0, 0 },
	{ "bpf", false, 357, 0xffff, 0, 0 },
	{ "perf_event_open", false, 336, 0, 0, -1 },
	{ "userfaultfd", false, 374, 1, 0, 0 },
	{ "init_module", false, 128, TEXT, 1, TEXT },
	{ "finit_module", false, 350, -1, TEXT, 0 },
	{ "delete_module", false, 129, TEXT, 2048, 0 },
	{ "kexec_load", false, 283, 0, 1 << 20, 0 },
	{ "open_by_handle_at", false, 342, -100, 0, 0 },
	{ "swapon", false, 87, TEXT, 0, 0 },
	{ "swapoff", false, 115, TEXT, 0, 0 },
	{ "acct", false, 51, TEXT, 0, 0 },
	{ "iopl", false, 110, 3, 0, 0 },
	{ "ioperm", false, 101, 0x80, 1, 1 },
	{ "settimeofday", false, 79, 0, 0, 0 },
	{ "quotactl", false, 131, QCMD(Q_QUOTAON, USRQUOTA), TEXT, 0 },
	{ "io_uring_setup", false, 425, 1, 0, 0 },
	{ "personality", false, 136, READ_IMPLIES_EXEC, 0, 0 },
	{ "vm86", false, 166, 0, 0, 0 },
	{ "vm86old", false, 113, 0, 0, 0 },
	{ "uselib", false, 86, TEXT, 0, 0 },
	{ "ustat", false, 62, 0, 0, 0 },
	{ "sysfs", false, 135, 3, 0, 0 },
	{ "syslog", false, 103, 10, 0, 0 },
	{ "socket(AF_VSOCK)", false, 359, AF_VSOCK, SOCK_STREAM, 0 },
	{ "socketcall(AF_VSOCK)", false, 102, 1, ARGS, 0 },
	{ "fanotify_init", false, 338, 4, 0, 0 },
	{ "mount", true, 21, TEXT, TEXT, TEXT },
	{ "unshare", true, 310, CLONE_NEWUSER, 0, 0 },
};

static long int80(unsigned nr, unsigned a, unsigned b, unsigned c)
{
	long r;

	__asm__ volatile("int $0x80"
			 : "=a"(r)
			 : "a"((long)nr), "b"((long)a), "c"((long)b), "d"((long)c), "S"(0L), "D"(0L)
			 : "memory", "r8", "r9", "r10", "r11", "cc");
	return (int)r;
}

/* Tried in a child: a kernel without this entry, or a filter that kills, ends it by a signal. */
static enum outcome old_entry(const struct check *c, struct finding *f)
{
	char *low = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	unsigned args[3] = { AF_VSOCK, SOCK_STREAM, 0 };
	unsigned at = (unsigned)(uintptr_t)low;
	enum outcome got = NO;

	(void)c;
	if (low == MAP_FAILED || at != (uintptr_t)low)
		return ABSENT;
	strcpy(low, NOWHERE);
	memcpy(low + 64, args, sizeof(args));
	for (size_t i = 0; i < ARRAY_SIZE(old_calls); i++) {
		const struct old_call *o = &old_calls[i];
		unsigned v[3] = { o->a, o->b, o->c };
		pid_t pid;
		int status;

		if (o->shared_only && probe_opts.userns)
			continue;
		for (int k = 0; k < 3; k++)
			v[k] = v[k] == TEXT ? at : v[k] == ARGS ? at + 64 : v[k];
		pid = fork();
		if (pid == 0) {
			long r = int80(o->nr, v[0], v[1], v[2]);

			_exit(r < 0 && (refused(-r) || r == -EAFNOSUPPORT) ? 0 : 1);
		}
		if (pid < 0 || waitpid(pid, &status, 0) != pid)
			return ABSENT;
		if (WIFEXITED(status) && WEXITSTATUS(status)) {
			note(f, "%s", o->name);
			got = YES;
		}
	}
	return got;
}

/* x32 calls have bit 30 set and else nearly the numbers of x86-64. */
static enum outcome x32(const struct check *c, struct finding *f)
{
	long r = syscall(SYS_getpid | 0x40000000L);

	(void)c;
	note(f, "%s", r < 0 ? err_name(errno) : "getpid worked");
	return r < 0 ? NO : YES;
}
#endif

#define STR(s) ((long)(intptr_t)(s))

/* clang-format off */
const struct check checks_call[] = {
	/* name, with a user namespace, without, function, path, call, arguments */
	{ "keyctl", WANT_NO, WANT_NO, call, NULL, SYS_keyctl,
	  { KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0 } },
	{ "add_key", WANT_NO, WANT_NO, call, NULL, SYS_add_key,
	  { STR("user"), STR("cos-probe"), STR("x"), 1, KEY_SPEC_PROCESS_KEYRING } },
	{ "request_key", WANT_NO, WANT_NO, call, NULL, SYS_request_key,
	  { STR("user"), STR("cos-probe-none"), 0, 0 } },
	{ "bpf", WANT_NO, WANT_NO, call, NULL, SYS_bpf, { 0xffff, 0, 0 } },
	{ "bpf-map", WANT_NO, WANT_NO, .run = bpf_map },
	{ "perf_event_open", WANT_NO, WANT_NO, call, NULL, SYS_perf_event_open,
	  { 0, 0, -1, -1, 0 } },
	{ "perf-counter", WANT_NO, WANT_NO, .run = perf },
	{ "userfaultfd", WANT_NO, WANT_NO, call, NULL, SYS_userfaultfd,
	  { 1 /* user mode only */ } },
	{ "init_module", WANT_NO, WANT_NO, call, NULL, SYS_init_module, { STR("x"), 1, STR("") } },
	{ "finit_module", WANT_NO, WANT_NO, call, NULL, SYS_finit_module, { -1, STR(""), 0 } },
	{ "delete_module", WANT_NO, WANT_NO, call, NULL, SYS_delete_module,
	  { STR("cos_probe_none"), O_NONBLOCK } },
	/* No segments would unload what is loaded; too many are refused after the permission. */
	{ "kexec_load", WANT_NO, WANT_NO, call, NULL, SYS_kexec_load, { 0, 1 << 20, 0, 0 } },
	{ "kexec_file_load", WANT_NO, WANT_NO, call, NULL, SYS_kexec_file_load,
	  { -1, -1, 0, 0, -1 } },
	{ "open_by_handle_at", WANT_NO, WANT_NO, call, NULL, SYS_open_by_handle_at,
	  { AT_FDCWD, 0, O_PATH } },
	{ "swapon", WANT_NO, WANT_NO, call, NULL, SYS_swapon, { STR(NOWHERE), 0 } },
	{ "swapoff", WANT_NO, WANT_NO, call, NULL, SYS_swapoff, { STR(NOWHERE) } },
	/* NULL would switch accounting off. */
	{ "acct", WANT_NO, WANT_NO, call, NULL, SYS_acct, { STR(NOWHERE) } },
	{ "quotactl", WANT_NO, WANT_NO, call, NULL, SYS_quotactl,
	  { QCMD(Q_QUOTAON, USRQUOTA), STR(NOWHERE), 0, STR(NOWHERE) } },
	{ "quotactl_fd", WANT_NO, WANT_NO, call, NULL, SYS_quotactl_fd,
	  { -1, QCMD(Q_GETINFO, USRQUOTA), 0, 0 } },
	{ "io_uring_setup", WANT_NO, WANT_NO, call, NULL, SYS_io_uring_setup, { 1, 0 } },
	{ "io_uring_enter", WANT_NO, WANT_NO, call, NULL, SYS_io_uring_enter,
	  { -1, 0, 0, 0, 0, 0 } },
	{ "io_uring_register", WANT_NO, WANT_NO, call, NULL, SYS_io_uring_register,
	  { -1, 0, 0, 0 } },
	{ "personality", WANT_NO, WANT_NO, call, NULL, SYS_personality, { READ_IMPLIES_EXEC } },
	{ "move_pages", WANT_NO, WANT_NO, call, NULL, SYS_move_pages, { 0, 0, 0, 0, 0, 0 } },
	{ "kcmp", WANT_ANY, WANT_NO, call, NULL, SYS_kcmp, { -1, -1, 0, 0, 0 } },
	{ "pidfd_getfd", WANT_ANY, WANT_NO, call, NULL, SYS_pidfd_getfd, { -1, 0, 0 } },
	{ "process_madvise", WANT_ANY, WANT_NO, call, NULL, SYS_process_madvise,
	  { -1, 0, 0, 0, 0 } },
	{ "set_mempolicy", WANT_ANY, WANT_NO, call, NULL, SYS_set_mempolicy, { 0, 0, 0 } },
	{ "fsopen", WANT_ANY, WANT_NO, call, NULL, SYS_fsopen, { STR("tmpfs"), 1 } },
	{ "open_tree", WANT_ANY, WANT_NO, call, NULL, SYS_open_tree, { AT_FDCWD, STR("/"), 1 } },
	{ "mount_setattr", WANT_ANY, WANT_NO, call, NULL, SYS_mount_setattr, { -1, 0, 0, 0, 0 } },
	{ "pivot_root", WANT_ANY, WANT_NO, call, NULL, SYS_pivot_root,
	  { STR(NOWHERE), STR(NOWHERE) } },
	{ "setns", WANT_YES, WANT_NO, call, NULL, SYS_setns, { -1, 0 } },
	/* Without its magic numbers it does nothing. */
	{ "reboot", WANT_YES, WANT_ANY, call, NULL, SYS_reboot, { 0, 0, 0, 0 } },
	{ "name_to_handle_at", WANT_ANY, WANT_ANY, call, NULL, SYS_name_to_handle_at,
	  { AT_FDCWD, STR("/"), 0, 0, 0 } },
#ifdef __x86_64__
	{ "iopl", WANT_NO, WANT_NO, call, NULL, SYS_iopl, { 3 } },
	{ "ioperm", WANT_NO, WANT_NO, call, NULL, SYS_ioperm, { 0x80, 1, 1 } },
	{ "uselib", WANT_NO, WANT_NO, call, NULL, SYS_uselib, { STR(NOWHERE) } },
	{ "ustat", WANT_NO, WANT_NO, call, NULL, SYS_ustat, { 0, 0 } },
	{ "sysfs", WANT_NO, WANT_NO, call, NULL, SYS_sysfs, { 3 } },
	{ "lookup_dcookie", WANT_NO, WANT_NO, call, NULL, SYS_lookup_dcookie, { 0, 0, 0 } },
	{ "int80", WANT_NO, WANT_NO, .run = old_entry },
	{ "x32", WANT_NO, WANT_NO, .run = x32 },
#endif
	{ "clock", WANT_NO, WANT_NO, .run = set_clock },
	{ "syslog", WANT_NO, WANT_NO, .run = kernel_log },
	{ "real-time", WANT_NO, WANT_NO, .run = realtime },
	{ "favour", WANT_NO, WANT_NO, .run = favour },
	{ "socket-vsock", WANT_NO, WANT_NO, sock, NULL, 0, { AF_VSOCK, SOCK_STREAM, 0 } },
	{ "socket-vsock-dgram", WANT_NO, WANT_NO, sock, NULL, 0, { AF_VSOCK, SOCK_DGRAM, 0 } },
	{ "socket-alg", WANT_NO, WANT_NO, sock, NULL, 0, { AF_ALG, SOCK_SEQPACKET, 0 } },
	{ "socket-raw", WANT_YES, WANT_NO, sock, NULL, 0, { AF_INET, SOCK_RAW, 1 /* ICMP */ } },
	{ "socket-packet", WANT_YES, WANT_NO, sock, NULL, 0, { AF_PACKET, SOCK_RAW, 0 } },
	{ "unshare-user", WANT_YES, WANT_NO, unshares, NULL, 0, { CLONE_NEWUSER } },
	{ "unshare-mount", WANT_YES, WANT_NO, unshares, NULL, 0, { CLONE_NEWNS } },
	{ "unshare-pid", WANT_YES, WANT_NO, unshares, NULL, 0, { CLONE_NEWPID } },
	{ "unshare-net", WANT_YES, WANT_NO, unshares, NULL, 0, { CLONE_NEWNET } },
	{ "unshare-cgroup", WANT_YES, WANT_NO, unshares, NULL, 0, { CLONE_NEWCGROUP } },
	{ "unshare-uts-ipc", WANT_YES, WANT_NO, unshares, NULL, 0,
	  { CLONE_NEWUTS | CLONE_NEWIPC } },
	{ "clone3-user", WANT_ANY, WANT_NO, clone3_user, NULL, 0, { CLONE_NEWUSER } },
	{ NULL, WANT_ANY, WANT_ANY, NULL, NULL, 0, { 0 } },
};
