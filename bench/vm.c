/* bench/vm.c - what cos-vmm costs beside a bare loop around KVM_RUN, in one run
 *
 * Both run the mini guest of tests/vmm. Cost of an exit is what the guest itself counts; the rounds
 * of the two, and of a daemon that starts cos-vmm, take turns. */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/subject.h"
#include "bench/vm.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "vmm/boot.h"
#include "vmm/vcpu.h"
#include "vmm/vm.h"

#define EXIT_PORT   0xf4
#define SERIAL      0x3f8
#define OUTPUT_MSEC 20000
/* a register of the third device, the random numbers' version: a table, a lock and a switch */
#define REGISTER "3489669124"

static unsigned rounds = 30;

/* ---- the bare loop: one vCPU, one memory slot, no thread, no device ---- */

static void put(char *text, size_t *used, const struct kvm_run *run)
{
	const char *data = (const char *)run + run->io.data_offset;

	for (uint32_t i = 0; i < run->io.count * run->io.size && *used < VM_TEXT - 1; i++)
		text[(*used)++] = data[i];
}

/* Runs until the guest ends, or with FIRST until it writes to the serial port. */
static int bare_loop(struct vm *vm, bool first, char *text)
{
	struct kvm_run *run = vm->vcpus[0].run;
	size_t used = 0;

	for (;;) {
		if (ioctl(vm->vcpus[0].fd, KVM_RUN, 0) < 0)
			return -errno;
		if (run->exit_reason == KVM_EXIT_MMIO)
			continue;
		if (run->exit_reason != KVM_EXIT_IO)
			return -EPROTO;
		if (run->io.port == EXIT_PORT)
			break;
		if (run->io.port == SERIAL && run->io.direction == KVM_EXIT_IO_OUT)
			put(text, &used, run);
		if (first && used > 0)
			break;
	}
	text[used] = '\0';
	return 0;
}

/* *RET_NSEC is when the guest had ended, or said something: before all is taken down. */
static int bare(const struct vm_place *p, const char *cmdline, bool first, char *text,
		uint64_t *ret_nsec)
{
	auto_close int kernel = open(p->guest, O_RDONLY | O_CLOEXEC);
	struct boot_args a = { .kernel = kernel, .initrd = -1, .cmdline = cmdline, .n_vcpus = 1 };
	struct cos_err err = { 0 };
	struct boot b;
	struct vm vm;
	int r = vm_init(&vm, open("/dev/kvm", O_RDWR | O_CLOEXEC), 128ULL << 20, false, &err);

	if (r == 0)
		r = vcpus_make(&vm, 1, &err);
	if (r == 0)
		r = boot_load(&vm.mem, &a, &b, &err);
	if (r == 0)
		r = boot_regs(vm.vcpus[0].fd, &vm.mem, &b, &err);
	if (r == 0)
		r = bare_loop(&vm, first, text);
	else
		fprintf(stderr, "vm: bare: %s\n", err.why);
	*ret_nsec = bench_nsec();
	vcpus_free(&vm);
	vm_done(&vm);
	return r;
}

/* ---- cos-vmm ---- */

static pid_t spawn(const struct vm_place *p, const char *cmdline, int *ret_console)
{
	char fd[16];
	int sv[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, sv) < 0)
		return -1;
	str_fmt(fd, sizeof(fd), "fd:%d", sv[1]);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(sv[0]);
		if (!freopen("/dev/null", "we", stderr))
			_exit(1);
		execl(p->vmm, p->vmm, "--kernel", p->guest, "--cmdline", cmdline, "--console", fd,
		      NULL);
		_exit(127);
	}
	close(sv[1]);
	*ret_console = sv[0];
	return pid;
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

int vm_ours(const struct vm_place *p, const char *cmdline, char text[static VM_TEXT])
{
	auto_close int console = -1;
	pid_t pid = spawn(p, cmdline, &console);
	size_t used = 0;
	ssize_t n;

	if (pid < 0)
		return -errno;
	while (used < VM_TEXT - 1 && (n = read(console, text + used, VM_TEXT - 1 - used)) > 0)
		used += (size_t)n;
	text[used] = '\0';
	end(pid);
	return 0;
}

/* ---- rows ---- */

void vm_row(const char *what, const char *who, struct samples *s, struct samples *floor,
	    double scale)
{
	double p50 = (double)samples_at(s, 50) / scale, low = (double)samples_at(floor, 50) / scale;

	printf("%s\t%s\t%u\t%.2f\t%.2f\t%.3f\n", what, who, s->n, p50,
	       (double)samples_at(s, 90) / scale, low > 0 ? p50 / low : 0.0);
}

/* The guest's own counts. */
void vm_take_cycles(const char *text, struct samples *s)
{
	for (const char *p = text; (p = strstr(p, "cycles ")); p++)
		samples_add(s, strtoull(p + 7, NULL, 10));
}

static int exits(const struct vm_place *p, const char *what, const char *cmdline)
{
	struct samples a = { 0 }, b = { 0 };
	static char text[VM_TEXT];
	uint64_t t1;
	int r = 0;

	for (unsigned i = 0; r == 0 && i < rounds && !bench_stopped(); i++) {
		r = bare(p, cmdline, false, text, &t1);
		vm_take_cycles(text, &a);
		if (r == 0)
			r = vm_ours(p, cmdline, text);
		vm_take_cycles(text, &b);
	}
	/* 100 reads a sample: most fall between two turns of the scheduler */
	vm_row(what, "bare", &a, &a, 100);
	vm_row(what, "cos-vmm", &b, &a, 100);
	samples_free(&a);
	samples_free(&b);
	return r;
}

static int first_bare(const struct vm_place *p, struct samples *s)
{
	uint64_t t0 = bench_nsec(), t1;
	static char text[VM_TEXT];
	int r = bare(p, "test=hello", true, text, &t1);

	samples_add(s, t1 - t0);
	return r;
}

static int first_ours(const struct vm_place *p, struct samples *s)
{
	auto_close int console = -1;
	uint64_t t0 = bench_nsec();
	pid_t pid = spawn(p, "test=hello", &console);
	char c;
	int r = pid < 0 || read(console, &c, 1) != 1 ? -EIO : 0;

	samples_add(s, bench_nsec() - t0);
	if (pid > 0)
		end(pid);
	return r;
}

/* ---- by the daemon ---- */

/* Until something is written to the one log that there is. */
static int await_output(int watch)
{
	struct pollfd p = { .fd = watch, .events = POLLIN };
	char event[4096];

	if (poll(&p, 1, OUTPUT_MSEC) <= 0)
		return -ETIMEDOUT;
	return read(watch, event, sizeof(event)) < 0 ? -errno : 0;
}

static int first_by_daemon(const struct vm_place *p, const struct daemon *d, struct samples *all,
			   struct samples *start)
{
	const char *create[] = { "create",        "--type",        "vm",         "--kernel",
				 p->guest,        "--cmdline",     "test=hello", "vm",
				 "net.mode=none", "vm.acpi=false", NULL };
	const char *go[] = { "start", "vm", NULL };
	const char *remove[] = { "delete", "--force", "vm", NULL };
	auto_close int watch = inotify_init1(IN_CLOEXEC);
	uint64_t t0 = bench_nsec(), t1;
	char log[PATH_MAX];
	int r = daemon_call(d, create, -1);
	pid_t client;

	str_fmt(log, sizeof(log), "%s/log", d->state);
	if (r != 0 || inotify_add_watch(watch, log, IN_MODIFY) < 0)
		return -EIO;
	t1 = bench_nsec();
	client = daemon_spawn(d, go, -1);
	r = client < 0 ? client : await_output(watch);
	samples_add(all, bench_nsec() - t0);
	samples_add(start, bench_nsec() - t1);
	if (client > 0)
		bench_wait(client);
	daemon_call(d, remove, -1);
	return r;
}

/* D may be NULL: its programs are not there. */
static int first(const struct vm_place *p, const struct daemon *d)
{
	struct samples bares = { 0 }, vmm = { 0 }, all = { 0 }, start = { 0 };
	int r = 0;

	for (unsigned i = 0; r == 0 && i < rounds && !bench_stopped(); i++) {
		r = first_bare(p, &bares);
		if (r == 0)
			r = first_ours(p, &vmm);
		if (r == 0 && d)
			r = first_by_daemon(p, d, &all, &start);
	}
	vm_row("create_to_first_output_ms", "bare", &bares, &bares, 1e6);
	vm_row("create_to_first_output_ms", "cos-vmm", &vmm, &bares, 1e6);
	if (d) {
		vm_row("create_to_first_output_ms", "cosd", &all, &bares, 1e6);
		vm_row("start_to_first_output_ms", "cosd", &start, &bares, 1e6);
	}
	samples_free(&bares);
	samples_free(&vmm);
	samples_free(&all);
	samples_free(&start);
	return r;
}

/* ---- memory ---- */

/* Kilobytes of KEY in a mapping's lines. */
static bool field(const char *line, const char *key, uint64_t *ret)
{
	size_t n = strlen(key);

	if (strncmp(line, key, n) != 0)
		return false;
	*ret = strtoull(line + n, NULL, 10);
	return true;
}

/* Resident memory of PID without the guest's, which is the mapping of GUEST_KB; and of that what no
 * other process has. */
static int overhead_of(pid_t pid, uint64_t guest_kb, uint64_t *ret_rss, uint64_t *ret_own)
{
	uint64_t size = 0, rss = 0, v, own = 0;
	char path[40], line[512];
	FILE *f;

	str_fmt(path, sizeof(path), "/proc/%d/smaps", pid);
	f = fopen(path, "re");
	if (!f)
		return -errno;
	while (fgets(line, sizeof(line), f)) {
		field(line, "Size:", &size);
		if (size == guest_kb)
			continue;
		if (field(line, "Rss:", &v))
			rss += v;
		if (field(line, "Private_Clean:", &v) || field(line, "Private_Dirty:", &v))
			own += v;
	}
	fclose(f);
	*ret_rss = rss;
	*ret_own = own;
	return 0;
}

static int memory(const struct vm_place *p)
{
	auto_close int console = -1;
	uint64_t rss = 0, own = 0;
	pid_t pid = spawn(p, "test=spin", &console);
	char c;
	int r;

	if (pid < 0 || read(console, &c, 1) != 1)
		return -EIO;
	r = overhead_of(pid, 128 << 10, &rss, &own);
	end(pid);
	printf("overhead_rss_mib\tcos-vmm\t1\t%.2f\t\t\n", (double)rss / 1024);
	printf("overhead_private_mib\tcos-vmm\t1\t%.2f\t\t\n", (double)own / 1024);
	return r;
}

static int find(struct vm_place *p, const struct bench *b)
{
	str_fmt(p->vmm, sizeof(p->vmm), "%s/../vmm/cos-vmm", b->home);
	str_fmt(p->guest, sizeof(p->guest), "%s/../tests/vmm/guest", b->home);
	return access(p->vmm, X_OK) < 0 || access(p->guest, R_OK) < 0 ? -errno : 0;
}

static int measure(const struct bench *b)
{
	struct daemon d;
	struct vm_place p;
	int r = find(&p, b);
	bool by_daemon;

	if (r < 0)
		return r;
	by_daemon = daemon_open(&d, b, SUBJECT_ROOT) == 0;
	printf("what\twho\tn\tp50\tp90\tratio\n");
	r = exits(&p, "pio_exit_cycles", "test=exits n=100 rounds=20");
	if (r == 0)
		r = exits(&p, "mmio_exit_cycles", "test=exits n=100 rounds=20 mmio=" REGISTER);
	if (r == 0)
		r = first(&p, by_daemon ? &d : NULL);
	if (r == 0)
		r = memory(&p);
	if (r == 0 && by_daemon)
		r = vm_same(b, &p, &d, rounds);
	if (by_daemon)
		daemon_close(&d);
	return r;
}

int main(int argc, char **argv)
{
	const struct bench_option options[] = {
		{ .name = "rounds", .max = 100000, .number = &rounds },
	};
	struct bench b;
	int r = bench_parse(argc, argv, options, ARRAY_SIZE(options),
			    "usage: vm [--rounds N] (1 to 100000)\n");

	if (r < 0)
		return 2;
	r = subject_bench(&b);
	if (r == 0)
		r = measure(&b);
	if (r < 0)
		fprintf(stderr, "vm: %s\n", strerror(-r));
	bench_close(&b);
	return r < 0 || bench_stopped() ? 1 : 0;
}
