/* lib/launch/vm.c - the start steps of a machine, in order
 *
 * Its one process is cos-vmm, in a user namespace of the guest's ids and in its groups from its
 * first instruction: it reads the kernel, which the guest's owner chose, as nobody. All that it
 * needs of the host is opened here and passed on. It has no pid namespace, so that the kernel's
 * threads of the machine have the number of its process in their names. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/if_ether.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <termios.h>
#include <unistd.h>

#include "lib/base/io.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "lib/kern/mnt.h"
#include "lib/kern/proc.h"
#include "lib/launch/child.h"
#include "lib/launch/msg.h"
#include "lib/launch/shared.h"

#define KVM        "/dev/kvm"
#define NOBODY     "65534:65534" /* of the guest's ids */
#define FD_SYNC    3
#define FD_VMM     4
#define FD_FILES   (LAUNCH_CONTROL_FD + 1)
#define FD_FREE    64 /* above all of these */
#define ARGS_MAX   40
#define PF_KTHREAD 0x200000U
#ifdef __SANITIZE_ADDRESS__ /* its search for leaks wants to trace, which a machine may not */
#define SANITIZER "ASAN_OPTIONS=detect_leaks=0"
#else
#define SANITIZER NULL
#endif

static int open_kvm(struct cos_err *err)
{
	int fd = open(KVM, O_RDWR | O_CLOEXEC);

	if (fd >= 0)
		return fd;
	return cos_advise(err, cos_fail(err, COS_E_UNSUPPORTED, errno, "open " KVM),
			  "machines need a processor and a kernel with KVM (modules kvm-intel or "
			  "kvm-amd); in a machine, nested virtualization");
}

/* A file of the host that the specification names: whatever else the path leads to is not read. */
static int open_file(const char *key, const char *path, struct cos_err *err)
{
	auto_close int fd = io_open2(AT_FDCWD, path, O_RDONLY | O_NOCTTY | O_NONBLOCK, 0,
				     RESOLVE_NO_MAGICLINKS);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return cos_fail(err, COS_E_INVALID, fd < 0 ? -fd : errno, "%s: open %.200s", key,
				path);
	if (!S_ISREG(st.st_mode))
		return cos_fail(err, COS_E_INVALID, 0, "%s: %.200s is not a regular file", key,
				path);
	return take_fd(fd);
}

static int open_sources(const struct launch_host *h, const struct spec *s, int *file,
			struct cos_err *err)
{
	if (h->vmm < 0)
		return cos_advise(err, cos_fail(err, COS_E_UNSUPPORTED, 0, "there is no cos-vmm"),
				  "install cos-vmm beside cosd and restart it");
	file[VM_KVM] = open_kvm(err);
	if (file[VM_KVM] < 0)
		return file[VM_KVM];
	file[VM_KERNEL] = open_file("vm.kernel", s->vm.kernel, err);
	if (file[VM_KERNEL] < 0)
		return file[VM_KERNEL];
	file[VM_INITRD] = s->vm.initrd ? open_file("vm.initrd", s->vm.initrd, err) : -1;
	return s->vm.initrd && file[VM_INITRD] < 0 ? file[VM_INITRD] : 0;
}

int launch_vm_check(const struct launch_host *h, const struct spec *s, struct cos_err *err)
{
	int file[VM__FILES], r;

	memset(file, -1, sizeof(file));
	r = open_sources(h, s, file, err);
	for (size_t i = 0; i < ARRAY_SIZE(file); i++)
		close_p(&file[i]);
	return r;
}

/* --- files --- */

/* A terminal of a devpts that nobody else has: the host's would run out of numbers. It passes on
 * what is written as it is, because the guest's kernel has a terminal of its own. */
static int open_console(struct launch *l, struct cos_err *err)
{
	static const struct mnt_opt opts[] = { { "newinstance", NULL }, { NULL, NULL } };
	auto_close int pts = -1;
	struct termios t;
	int r;

	if (l->stdio[0] >= 0)
		return 0;
	pts = mnt_new_tell("devpts", opts, HARDENED & ~(uint64_t)MOUNT_ATTR_NODEV, err);
	if (pts < 0)
		return pts;
	r = child_open_pty_at(pts, "ptmx", &l->console, &l->vm.slave, err);
	if (r < 0)
		return r;
	if (tcgetattr(l->vm.slave, &t) < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "ask the console");
	cfmakeraw(&t);
	if (tcsetattr(l->vm.slave, TCSANOW, &t) < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "set the console");
	return 0;
}

static int files_open(struct launch *l, struct cos_err *err)
{
	int sv[2], r = open_sources(l->host, l->spec, l->vm.file, err);

	if (r == 0)
		r = open_console(l, err);
	if (r < 0)
		return r;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "socketpair");
	l->vm.file[VM_DISK] = take_fd(l->disk[0]);
	l->vm.file[VM_IMAGE] = take_fd(l->disk[1]);
	l->vm.file[VM_CONTROL] = sv[0];
	l->vm.control_end = sv[1];
	return 0;
}

/* But the console, which stays. */
static void close_files(struct launch *l)
{
	for (size_t i = 0; i < ARRAY_SIZE(l->vm.file); i++)
		close_p(&l->vm.file[i]);
	close_p(&l->vm.slave);
	close_p(&l->vm.control_end);
}

static void files_close(struct launch *l)
{
	close_files(l);
	close_p(&l->console);
}

/* The link, before the process: its descriptor is passed on. */
static int network_make(struct launch *l, struct cos_err *err)
{
	return l->net ? launch_net_attach_tap(l->net, &l->vm.file[VM_TAP], err) : 0;
}

/* --- birth --- */

struct command {
	char *argv[ARGS_MAX + 1], text[4096];
	unsigned n;
	size_t used;
};

static void add(struct command *c, const char *arg)
{
	if (c->n < ARGS_MAX)
		c->argv[c->n++] = (char *)arg;
}

__attribute__((format(printf, 3, 4))) static void addf(struct command *c, const char *option,
						       const char *fmt, ...)
{
	char *at = c->text + c->used;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(at, sizeof(c->text) - c->used, fmt, ap);
	va_end(ap);
	add(c, option);
	add(c, at);
	if (n >= 0 && (size_t)n < sizeof(c->text) - c->used)
		c->used += (size_t)n + 1;
}

static int number_of(enum launch_file f)
{
	return FD_FILES + (int)f;
}

/* What a guest of this daemon can know of itself, behind its own words: no kernel minds them. */
static void add_cmdline(const struct launch *l, struct command *c)
{
	static const char *const words[NET_FAMILIES][2] = { { "cos.ip", "cos.gw" },
							    { "cos.ip6", "cos.gw6" } };
	char more[256];
	size_t n;

	str_fmt(more, sizeof(more), " cos.name=%s", l->spec->name);
	for (int i = 0; l->net && i < NET_FAMILIES; i++) {
		char ip[IP_TEXT_SIZE], gateway[IP_TEXT_SIZE];

		n = strlen(more);
		if (!l->net->ip[i].family)
			continue;
		str_fmt(more + n, sizeof(more) - n, " %s=%s/%u", words[i][0],
			ip_text(&l->net->ip[i], ip), l->net->len[i]);
		n = strlen(more);
		if (l->net->gateway[i].family)
			str_fmt(more + n, sizeof(more) - n, " %s=%s", words[i][1],
				ip_text(&l->net->gateway[i], gateway));
	}
	addf(c, "--cmdline", "%s%s", l->spec->vm.cmdline, more);
}

static void add_net(const struct launch *l, struct command *c)
{
	const uint8_t *m = l->net->mac[1];

	char mtu[16] = "";

	/* ETH_DATA_LEN is what a card has of which nobody says anything */
	if (l->net->mtu != ETH_DATA_LEN && l->net->mtu <= ETH_MAX_MTU)
		str_fmt(mtu, sizeof(mtu), ",mtu=%u", l->net->mtu);
	addf(c, "--net", "fd:%d,mac=%02x:%02x:%02x:%02x:%02x:%02x%s", number_of(VM_TAP), m[0], m[1],
	     m[2], m[3], m[4], m[5], mtu);
}

static void make_command(const struct launch *l, struct command *c)
{
	const struct spec_vm *vm = &l->spec->vm;

	*c = (struct command){ .n = 0 };
	add(c, "cos-vmm");
	addf(c, "--sync", "fd:%d", FD_SYNC);
	addf(c, "--kvm", "fd:%d", number_of(VM_KVM));
	addf(c, "--control", "fd:%d", number_of(VM_CONTROL));
	addf(c, "--kernel", "fd:%d", number_of(VM_KERNEL));
	if (vm->initrd)
		addf(c, "--initrd", "fd:%d", number_of(VM_INITRD));
	add_cmdline(l, c);
	if (l->vm.file[VM_DISK] >= 0)
		addf(c, "--disk", "fd:%d,base=fd:%d", number_of(VM_DISK), number_of(VM_IMAGE));
	if (l->net)
		add_net(l, c);
	addf(c, "--memory", "%" PRIu64, vm->memory);
	addf(c, "--vcpus", "%" PRIu64, vm->cpus);
	if (vm->acpi)
		add(c, "--acpi");
	if (l->spec->ksm)
		add(c, "--mergeable");
	add(c, "--isolate");
	addf(c, "--user", NOBODY);
}

/* Puts FROM at number TO of the new program. */
struct place {
	int from, to;
	bool keep; /* over the exec */
};

static unsigned list_places(const struct launch *l, int sock, struct place *p)
{
	bool pty = l->vm.slave >= 0;
	unsigned n = 0;

	for (int i = 0; i < 3; i++)
		p[n++] = (struct place){ pty ? l->vm.slave : l->stdio[i], i, true };
	p[n++] = (struct place){ sock, FD_SYNC, true };
	p[n++] = (struct place){ l->host->vmm, FD_VMM, false };
	if (pty)
		p[n++] = (struct place){ l->console, LAUNCH_CONSOLE_FD, true };
	p[n++] = (struct place){ l->vm.control_end, LAUNCH_CONTROL_FD, true };
	for (int i = 0; i < VM__FILES; i++) {
		if (l->vm.file[i] >= 0)
			p[n++] = (struct place){ l->vm.file[i], number_of(i), true };
	}
	return n;
}

/* What is not named is closed. All are moved out of the way first. */
static int place_descriptors(struct place *p, unsigned n, struct cos_err *err)
{
	int used[FD_FREE];
	unsigned n_used = 0;

	for (unsigned i = 0; i < n; i++) {
		p[i].from = fcntl(p[i].from, F_DUPFD_CLOEXEC, FD_FREE);
		if (p[i].from < 0)
			return cos_fail(err, COS_E_KERNEL, errno, "duplicate descriptors");
	}
	for (unsigned i = 0; i < n; i++) {
		if (dup3(p[i].from, p[i].to, p[i].keep ? 0 : O_CLOEXEC) < 0)
			return cos_fail(err, COS_E_KERNEL, errno, "place descriptor %d", p[i].to);
		used[n_used++] = p[i].to;
	}
	proc_close_but(used, n_used);
	return 0;
}

/* Returns only when that fails; *SOCK is where to tell it. */
static int become_machine(const struct launch *l, int *sock, struct cos_err *err)
{
	char *const env[] = { "LANG=C.UTF-8", SANITIZER, NULL };
	struct place places[VM__FILES + 8];
	struct command c;
	unsigned n = 0;
	struct msg m;
	int r = msg_recv(*sock, MSG_GO, &m, NULL, &n, err);

	if (r == 0)
		r = child_become_root(err);
	if (r == 0 && (r = cg_enter_self(l->tasks)) < 0)
		cos_fail(err, COS_E_KERNEL, -r, "enter the control groups");
	if (r == 0)
		r = place_descriptors(places, list_places(l, *sock, places), err);
	if (r < 0)
		return r;
	*sock = FD_SYNC;
	if (setsid() < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "setsid");
	make_command(l, &c);
	syscall(SYS_execveat, FD_VMM, "", c.argv, env, AT_EMPTY_PATH);
	return cos_fail(err, COS_E_INTERNAL, errno, "execve cos-vmm");
}

static int machine_main(const struct launch *l, int sock)
{
	struct cos_err err = { 0 };

	proc_reset_signals();
	umask(022);
	become_machine(l, &sock, &err);
	msg_fail(sock, &err);
	return 125;
}

static int birth(struct launch *l, struct cos_err *err)
{
	bool into = l->cg.payload >= 0;
	struct clone_args ca = {
		.flags = CLONE_NEWUSER | CLONE_PIDFD | (into ? CLONE_INTO_CGROUP : 0),
		.pidfd = (uintptr_t)&l->pidfd,
		.exit_signal = SIGCHLD,
		.cgroup = into ? (uint64_t)l->cg.payload : 0,
	};
	int sv[2], r;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv) < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "socketpair");
	r = child_clone_user(&ca, l->id_base);
	if (r == 0)
		_exit(machine_main(l, sv[1]));
	close(sv[1]);
	l->sync = sv[0];
	step_close_inherited(l);
	close_files(l);
	if (r < 0)
		return cos_fail(err, COS_E_KERNEL, -r, "clone3");
	l->pid = r;
	r = proc_write_maps(l->pid, l->id_base, LAUNCH_IDS);
	if (r < 0)
		return cos_fail(err, COS_E_KERNEL, -r, "write the maps of ids %u..%u", l->id_base,
				l->id_base + LAUNCH_IDS - 1);
	r = child_oom_adj(l->pid, l->host, err);
	if (r < 0)
		return r;
	r = msg_send(l->sync, MSG_GO, 0, NULL, 0);
	return r < 0 ? cos_fail(err, COS_E_KERNEL, -r, "tell the machine's process") : 0;
}

static void birth_undo(struct launch *l)
{
	step_birth_undo(l);
	close_p(&l->sync);
}

static int ready_wait(struct launch *l, struct cos_err *err)
{
	return step_has_answer(l->sync) ? msg_recv_machine(l->sync, err) : LAUNCH_WAIT;
}

/* --- threads of the kernel --- */

struct search {
	int proc;
	const struct launch *l;
	pid_t from, to; /* numbers to look at */
	unsigned found;
	struct cos_err *err;
};

/* A file of a process, as a text. 0: the process is gone. */
static int read_text(int proc, const char *pid, const char *file, char *buf, size_t size)
{
	char path[40];
	ssize_t n;

	str_fmt(path, sizeof(path), "%.16s/%s", pid, file);
	n = io_read_at(proc, path, buf, size);
	return n == -ENOENT || n == -ESRCH ? 0 : (int)n;
}

/* A process may call itself what it likes, but not become a thread of the kernel. As all here: 1, 0
 * or -errno. */
static int is_kernel_thread(int proc, const char *pid)
{
	char text[512], *end;
	unsigned flags;
	int r = read_text(proc, pid, "stat", text, sizeof(text));

	if (r <= 0 || !(end = strrchr(text, ')')))
		return r < 0 ? r : 0;
	return sscanf(end, ") %*c %*d %*d %*d %*d %*d %u", &flags) == 1 && (flags & PF_KTHREAD);
}

static int is_of_machine(int proc, const char *pid, pid_t machine)
{
	static const char *const names[] = { "kvm-pit/%d\n", "kvm-nx-lpage-recovery-%d\n" };
	char text[64], want[64];
	int r = read_text(proc, pid, "comm", text, sizeof(text));

	for (size_t i = 0; i < ARRAY_SIZE(names) && r > 0; i++) {
		snprintf(want, sizeof(want), names[i], (int)machine);
		if (strcmp(text, want) == 0)
			return is_kernel_thread(proc, pid);
	}
	return r < 0 ? r : 0;
}

static int look_at(const char *name, void *arg)
{
	struct search *s = arg;
	uint64_t pid;
	int r;

	if (str_to_u64(name, &pid) < 0 || pid < (uint64_t)s->from || pid > (uint64_t)s->to)
		return 0;
	r = is_of_machine(s->proc, name, s->l->pid);
	if (r <= 0)
		return r < 0 ? cos_fail(s->err, COS_E_KERNEL, -r, "read /proc/%.16s", name) : 0;
	s->found++;
	r = cg_take_thread(&s->l->host->topo, &s->l->cg, (pid_t)pid);
	if (r < 0 && r != -ESRCH)
		return cos_fail(s->err, COS_E_KERNEL, -r, "move the kernel's thread %s", name);
	return 0;
}

/* Numbers are given in order, and begin anew some day. */
static int search(struct search *s, pid_t from, pid_t to)
{
	s->from = from;
	s->to = to;
	return io_each_entry(s->proc, look_at, s);
}

static int mover_main(const struct launch *l, int sock)
{
	int keep[CG_HIER_MAX + 1] = { sock };
	struct cos_err err = { 0 };
	struct search s = { .l = l, .err = &err };
	int r;

	proc_reset_signals();
	memcpy(keep + 1, l->cg.dir, sizeof(l->cg.dir));
	proc_close_but(keep, ARRAY_SIZE(keep));
	s.proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	r = search(&s, l->pid + 1, INT_MAX);
	if (r == 0 && s.found == 0)
		r = search(&s, 1, l->pid);
	if (r < 0 && !err.code)
		cos_fail(&err, COS_E_KERNEL, -r, "read /proc");
	if (r < 0)
		msg_fail(sock, &err);
	else
		msg_send(sock, MSG_READY, 0, NULL, 0);
	return 0;
}

/* What KVM's own threads do for the guest is to count as the guest's. Moving one waits for RCU, 8
 * to 20 ms, so a child does it, and the machine is released meanwhile: until then these threads,
 * which raise the interrupts of a timer, are outside. */
static int threads_begin(struct launch *l, struct cos_err *err)
{
	struct clone_args ca = { .exit_signal = SIGCHLD };
	int sv[2], r;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv) < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "socketpair");
	pid = (pid_t)syscall(SYS_clone3, &ca, sizeof(ca));
	if (pid == 0)
		_exit(mover_main(l, sv[1]));
	l->vm.sync = sv[0];
	l->vm.mover = pid > 0 ? pid : 0;
	r = pid < 0 ? cos_fail(err, COS_E_KERNEL, errno, "clone3") : 0;
	close(sv[1]);
	return r;
}

static void threads_undo(struct launch *l)
{
	if (l->vm.mover)
		msg_end_child(l->vm.mover);
	l->vm.mover = 0;
	close_p(&l->vm.sync);
}

/* --- and go --- */

static int release(struct launch *l, struct cos_err *err)
{
	ssize_t n = send(l->sync, "G", 1, MSG_NOSIGNAL);

	return n == 1 ? 0
		      : cos_fail(err, COS_E_INTERNAL, n < 0 ? errno : 0,
				 "cos-vmm died before it was released");
}

/* The machine has nothing more to say: the mover has. */
static int threads_wait(struct launch *l, struct cos_err *err)
{
	struct msg m;
	unsigned n = 0;
	int r;

	if (l->vm.sync >= 0) {
		if (l->ops->unwatch)
			l->ops->unwatch(l);
		close_p(&l->sync);
		l->sync = take_fd(l->vm.sync);
	}
	if (!step_has_answer(l->sync))
		return LAUNCH_WAIT;
	r = msg_recv(l->sync, MSG_READY, &m, NULL, &n, err);
	threads_undo(l);
	return r;
}

static const struct step steps[] = {
	{ "cgroup", step_cgroup, step_cgroup_undo },
	{ "files", files_open, files_close },
	{ "network", network_make, step_network_undo },
	{ "birth", birth, birth_undo },
	{ "machine", ready_wait, NULL },
	{ "record", step_record, NULL },
	{ "threads", threads_begin, threads_undo },
	{ "release", release, NULL },
	{ "moved", threads_wait, NULL },
};

const struct guest_type vm_type = { "boot", steps, ARRAY_SIZE(steps) };

/* --- a machine that runs --- */

int launch_vm_control(int pidfd)
{
	auto_close int fd = (int)syscall(SYS_pidfd_getfd, pidfd, LAUNCH_CONTROL_FD, 0);
	struct stat st;

	if (fd < 0)
		return -errno;
	/* it comes from inside, and has to be what it is said to be */
	if (fstat(fd, &st) < 0 || !S_ISSOCK(st.st_mode))
		return -ENOTSOCK;
	return take_fd(fd);
}
