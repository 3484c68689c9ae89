/* vmm/confine.c - what a process that a guest may have taken over can still do */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/if_tun.h>
#include <linux/kvm.h>
#include <linux/mount.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/base/jsonx.h"
#include "lib/base/own.h"
#include "lib/kern/cap.h"
#include "lib/kern/mnt.h"
#include "lib/kern/shadow.h"
#include "vmm/confine.h"

#define NAMESPACES (CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP)

#define V (1U << CONFINE_VCPU)
#define D (1U << CONFINE_DEVICE)
#define C (1U << CONFINE_CONTROL)

/* A call, and the kinds of thread that may make it. Memory calls of libc are for those that
 * allocate; vCPUs do not. */
static const struct {
	const char *name;
	unsigned kinds;
} calls[] = {
	{ "read", D | C },
	{ "write", V | D | C },
	{ "readv", D },
	{ "writev", D },
	{ "pread64", D | C },
	{ "pwrite64", D },
	{ "preadv", D },
	{ "pwritev", D },
	{ "fdatasync", D },
	{ "fallocate", D },
	{ "getrandom", D },
	{ "madvise", V | D | C },
	{ "epoll_wait", D | C },
	{ "epoll_pwait", D | C },
	{ "epoll_ctl", D | C },
	{ "poll", D | C },
	{ "ppoll", D | C },
	{ "accept4", C },
	{ "recvfrom", C },
	{ "sendto", C },
	{ "close", C },
	{ "munmap", V | D | C },
	{ "mremap", D | C },
	{ "brk", D | C },
	{ "futex", V | D | C },
	{ "clock_gettime", V | D | C },
	{ "clock_nanosleep", V | D | C },
	{ "gettid", V | D | C },
	{ "getpid", V | D | C },
	{ "rt_sigreturn", V | D | C },
	{ "rt_sigprocmask", V | D | C },
	{ "restart_syscall", V | D | C },
	{ "sched_yield", V | D | C },
	{ "exit", V | D | C },
	{ "exit_group", V | D | C },
#ifdef WITH_SHADOW
	/* of the sanitizer, in every thread; it looks for leaks by tracing itself, which it may not
	 */
	{ "mmap", V | D | C },
	{ "mprotect", V | D | C },
	{ "sigaltstack", V | D | C },
	{ "sched_getaffinity", V | D | C },
	{ "prlimit64", V | D | C },
	{ "readlink", V | D | C },
	{ "sysinfo", V | D | C },
#endif
};

/* A call that is allowed if an argument, masked, has this value. */
static const struct {
	const char *name;
	unsigned arg;
	uint32_t mask, value;
	unsigned kinds;
} matches[] = {
	{ "ioctl", 1, UINT32_MAX, KVM_RUN, V },
	{ "ioctl", 1, UINT32_MAX, KVM_GET_REGS, V },
	{ "ioctl", 1, UINT32_MAX, KVM_SET_REGS, V },
	{ "ioctl", 1, UINT32_MAX, KVM_GET_SREGS, V },
	{ "ioctl", 1, UINT32_MAX, KVM_SET_SREGS, V },
	{ "ioctl", 1, UINT32_MAX, KVM_GET_FPU, V },
	{ "ioctl", 1, UINT32_MAX, KVM_GET_MP_STATE, V },
	{ "ioctl", 1, UINT32_MAX, KVM_GET_VCPU_EVENTS, V },
	{ "ioctl", 1, UINT32_MAX, KVM_SET_VCPU_EVENTS, V },
	{ "ioctl", 1, UINT32_MAX, TUNSETOFFLOAD, D },
#ifndef WITH_SHADOW
	{ "mmap", 2, 4, 0, D | C }, /* not PROT_EXEC */
	{ "mprotect", 2, 4, 0, D | C },
#endif
};

/* Threads of our own may be signalled, by the number that the process has now: the main thread
 * calls vCPUs out of the guest, abort() ends all. */
static json_t *own_threads(void)
{
	return json_pack("{s:s, s:i, s:I, s:I}", "call", "tgkill", "arg", 0, "mask",
			 (json_int_t)UINT32_MAX, "value", (json_int_t)getpid());
}

static json_t *spec_of(enum confine_kind kind)
{
	json_t *allow = json_array(), *match = json_array();

	json_array_append_new(match, own_threads());
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
		if (calls[i].kinds >> kind & 1)
			json_array_append_new(allow, json_string(calls[i].name));
	}
	for (size_t i = 0; i < ARRAY_SIZE(matches); i++) {
		if (matches[i].kinds >> kind & 1)
			json_array_append_new(match,
					      json_pack("{s:s, s:i, s:I, s:I}", "call",
							matches[i].name, "arg", (int)matches[i].arg,
							"mask", (json_int_t)matches[i].mask,
							"value", (json_int_t)matches[i].value));
	}
	return json_pack("{s:s, s:o, s:o}", "default", "EPERM", "allow", allow, "match", match);
}

int confine_init(struct confine *c, struct cos_err *err)
{
	*c = (struct confine){ 0 };
	for (int kind = 0; kind < CONFINE__N; kind++) {
		auto_json json_t *spec = spec_of(kind);
		int r;

		if (!spec)
			return cos_fail(err, COS_E_KERNEL, ENOMEM, "filter");
		r = filter_compile(spec, "", &c->filter[kind], err);
		if (r < 0)
			return cos_context(err, r, "confine");
	}
	return 0;
}

void confine_done(struct confine *c)
{
	for (int kind = 0; kind < CONFINE__N; kind++)
		filter_done(&c->filter[kind]);
}

/* An empty file system that nobody can write to becomes the root, and the old one goes. */
static int empty_root(struct cos_err *err)
{
	static const struct mnt_opt opts[] = { { "size", "4k" },
					       { "mode", "0555" },
					       { NULL, NULL } };
	auto_close int at = -1, mnt = -1;
	int r;

	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "isolate: make mounts private");
	mnt = mnt_new_tell(
		"tmpfs", opts,
		MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC, err);
	if (mnt < 0)
		return cos_context(err, mnt, "isolate");
	at = open("/dev", O_PATH | O_DIRECTORY | O_CLOEXEC);
	r = at < 0 ? -errno : mnt_attach(mnt, at);
	if (r < 0)
		return cos_fail(err, COS_E_KERNEL, -r, "isolate: empty root");
	if (fchdir(mnt) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 ||
	    umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "isolate: pivot_root");
	return 0;
}

static int isolate(struct cos_err *err)
{
	if (unshare(NAMESPACES) < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "isolate: unshare");
	return empty_root(err);
}

static int become(uid_t uid, gid_t gid, struct cos_err *err)
{
	if (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
		return cos_fail(err, COS_E_DENIED, errno, "become user %u, group %u", uid, gid);
	return 0;
}

int confine_process(const struct confine_who *who, struct cos_err *err)
{
	struct rlimit none = { 0 };
	int r = who->isolate ? isolate(err) : 0;

	if (r < 0)
		return r;
	setrlimit(RLIMIT_CORE, &none);
	/* who may not set it has none of them either, once the permitted ones are gone */
	r = cap_drop_bounding(0);
	if (r < 0 && r != -EPERM)
		return cos_fail(err, COS_E_KERNEL, -r, "drop the bounding set");
	r = who->has_user ? become(who->uid, who->gid, err) : 0;
	if (r < 0)
		return r;
	r = cap_set(0);
	if (r < 0)
		return cos_fail(err, COS_E_KERNEL, -r, "drop capabilities");
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "prctl");
	return 0;
}
