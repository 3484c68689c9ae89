/* vmm/machine.c - a machine's life: made, confined, run, asked to end, taken down */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/io.h"
#include "lib/base/jsonx.h"
#include "lib/base/log.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "vmm/machine.h"
#include "vmm/vcpu.h"

#define LOOK_USEC  (1 * USEC_PER_SEC)
#define ASK_AGAIN  10   /* looks */
#define SLEPT_USEC 2000 /* of CPU time between two looks: less is no work of the guest */
#define TELL_SIZE  8192
#define DOWN_USEC  (2 * USEC_PER_SEC) /* for threads to come out of the calls that they are in */

/* ---- the end ---- */

static void worker_broken(void *arg)
{
	struct machine *m = arg;

	log_say(LOG_ERROR, "a device's thread failed");
	vm_end(&m->vm, VM_END_HOST, 0);
}

static void on_ended(struct loop_source *s, uint32_t events)
{
	(void)events;
	event_clear(s->fd);
	s->loop->stop = true;
}

static void on_grace(struct loop_timer *t)
{
	struct machine *m = container_of(t, struct machine, grace);

	log_say(LOG_WARN, "the guest did not end in its grace");
	vm_end(&m->vm, VM_END_FORCED, 0);
}

void machine_stop(struct machine *m, uint64_t grace_usec)
{
	atomic_store(&m->vm.stopping, true);
	board_press(&m->board);
	loop_timer_set(&m->loop, &m->grace, grace_usec);
}

int machine_balloon(struct machine *m, uint64_t bytes, struct cos_err *err)
{
	if (!m->devices.has_balloon)
		return cos_fail(err, COS_E_UNSUPPORTED, 0, "the machine has no balloon");
	if (bytes >= m->vm.mem.size)
		return cos_fail(err, COS_E_INVALID, 0, "/target_bytes: the guest has less memory");
	vballoon_set(&m->devices.balloon, (uint32_t)(bytes / MEM_PAGE));
	return 0;
}

static void on_signal(struct loop_source *s, uint32_t events)
{
	struct machine *m = container_of(s, struct machine, signals);
	struct signalfd_siginfo si;

	(void)events;
	if (read(s->fd, &si, sizeof(si)) != sizeof(si))
		return;
	if (atomic_load(&m->vm.stopping))
		vm_end(&m->vm, VM_END_FORCED, 0);
	else
		machine_stop(m, m->o->grace_usec);
}

/* ---- a guest that halted for good ---- */

static uint64_t vcpus_cpu_usec(const struct machine *m)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < m->vm.n_vcpus; i++)
		sum += thread_cpu_usec(&m->vm.vcpus[i].thread);
	return sum;
}

/* Whether all vCPUs have answered, and all that nothing can wake them. */
static bool all_halted(const struct machine *m)
{
	for (unsigned i = 0; i < m->vm.n_vcpus; i++) {
		if (atomic_load(&m->vm.vcpus[i].halt) != VCPU_HALT_YES)
			return false;
	}
	return true;
}

static void ask_halt(struct machine *m)
{
	m->asked_halt = 1;
	for (unsigned i = 0; i < m->vm.n_vcpus; i++) {
		atomic_store(&m->vm.vcpus[i].halt, VCPU_HALT_ASKED);
		vcpu_kick(&m->vm.vcpus[i]);
	}
}

/* A kernel without ACPI that is told to power off halts its processors with interrupts off, and KVM
 * does not say so: vCPUs that used no time since the last look are called out of the guest once,
 * and asked. A guest that sleeps is asked for each time that it wakes, and now and then. */
static void on_look(struct loop_timer *t)
{
	struct machine *m = container_of(t, struct machine, look);
	uint64_t cpu = vcpus_cpu_usec(m);
	bool slept = cpu - m->asleep_usec < SLEPT_USEC;

	loop_timer_set(&m->loop, t, LOOK_USEC);
	m->asleep_usec = cpu;
	if (m->asked_halt > 0 && all_halted(m)) {
		/* being asked takes time too, so it does not count; twice, because one may have
		 * woken another after that had answered */
		if (m->halts_seen++ > 0)
			vm_end(&m->vm, VM_END_OFF, 0);
		else
			ask_halt(m);
		return;
	}
	m->halts_seen = 0;
	if (!slept)
		m->asked_halt = 0;
	else if (m->asked_halt == 0 || m->asked_halt++ >= ASK_AGAIN)
		ask_halt(m);
}

/* ---- making ---- */

static int open_console(struct machine *m, struct cos_err *err)
{
	int in, out;

	if (!m->o->console) {
		in = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
		out = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
	} else {
		in = source_open(m->o->console, O_RDWR, "console", err);
		if (in < 0)
			return in;
		out = fcntl(in, F_DUPFD_CLOEXEC, 3);
	}
	if (out < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "console");
	return console_init(&m->console, in, out, &m->worker, err);
}

/* By ACPI, or by words behind the command line. */
static int tell_devices(struct machine *m, char cmdline[BOOT_CMDLINE_MAX + 1], struct boot_args *a,
			struct cos_err *err)
{
	struct acpi_device list[DEVICES_MAX];
	bool fits;

	if (m->o->acpi) {
		acpi_write(&m->vm.mem, m->vm.n_vcpus, list, devices_list(&m->devices, list));
		a->rsdp = ACPI_RSDP;
		fits = str_fmt(cmdline, BOOT_CMDLINE_MAX + 1, "%s", m->o->cmdline);
	} else {
		fits = devices_cmdline(&m->devices, m->o->cmdline, cmdline, BOOT_CMDLINE_MAX + 1) ==
		       0;
	}
	return fits ? 0
		    : cos_fail(err, COS_E_INVALID, E2BIG,
			       "the command line has more than %d bytes with its devices",
			       BOOT_CMDLINE_MAX);
}

static int load(struct machine *m, struct cos_err *err)
{
	auto_close int kernel = source_open(m->o->kernel, O_RDONLY, "kernel", err);
	auto_close int initrd = -1;
	char cmdline[BOOT_CMDLINE_MAX + 1];
	struct boot_args a = {
		.kind = m->o->boot,
		.kernel = kernel,
		.cmdline = cmdline,
		.n_vcpus = m->vm.n_vcpus,
	};
	struct boot b;
	int r;

	if (kernel < 0)
		return kernel;
	initrd = m->o->initrd ? source_open(m->o->initrd, O_RDONLY, "initrd", err) : -1;
	if (m->o->initrd && initrd < 0)
		return initrd;
	a.initrd = initrd;
	r = tell_devices(m, cmdline, &a, err);
	if (r < 0)
		return r;
	r = boot_load(&m->vm.mem, &a, &b, err);
	return r < 0 ? r : boot_regs(m->vm.vcpus[0].fd, &m->vm.mem, &b, err);
}

static int add_main_sources(struct machine *m, struct cos_err *err)
{
	sigset_t set;
	int r;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	m->signals = (struct loop_source){ .fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK),
					   .ready = on_signal };
	m->ended = (struct loop_source){ .fd = m->vm.ended, .ready = on_ended };
	m->grace.fire = on_grace;
	m->look.fire = on_look;
	r = m->signals.fd < 0 ? -errno : loop_add(&m->loop, &m->signals, EPOLLIN);
	if (r == 0)
		r = loop_add(&m->loop, &m->ended, EPOLLIN);
	return r < 0 ? cos_fail(err, COS_E_KERNEL, -r, "signals") : 0;
}

int machine_init(struct machine *m, const struct options *o, struct cos_err *err)
{
	struct console_taker taker;
	int r, kvm;

	*m = (struct machine){ .o = o,
			       .sync = -1,
			       .loop.epfd = -1,
			       .signals.fd = -1,
			       .vm = { .kvm = -1, .fd = -1, .ended = -1 } };
	thread_init();
	tzset(); /* gmtime_r() would read a file at its first call, which threads may not */
	r = loop_init(&m->loop);
	if (r < 0)
		return cos_fail(err, COS_E_KERNEL, -r, "epoll");
	r = control_init(&m->control, m, o->control, err);
	if (r == 0 && o->sync)
		r = m->sync = source_open(o->sync, O_RDWR, "sync", err);
	if (r < 0)
		return r;
	kvm = source_open(o->kvm, O_RDWR, "KVM", err);
	if (kvm < 0)
		return cos_advise(err, kvm,
				  "this host has no KVM, or it is not yours to use: see "
				  "'cosctl doctor'");
	r = vm_init(&m->vm, kvm, o->memory, o->mergeable, err);
	if (r == 0)
		r = vcpus_make(&m->vm, (unsigned)o->vcpus, err);
	if (r == 0)
		r = worker_init(&m->worker, "devices", worker_broken, m, err);
	if (r == 0)
		r = open_console(m, err);
	if (r == 0)
		r = board_init(&m->board, &m->vm, &m->console, err);
	if (r < 0)
		return r;
	taker = serial_taker(&m->board.serial);
	console_add_taker(&m->console, &taker, !o->virtio_input);
	r = devices_init(&m->devices, &m->vm, o, &m->console, &m->worker, worker_broken, m, err);
	if (r == 0)
		r = load(m, err);
	if (r == 0)
		r = add_main_sources(m, err);
	return r < 0 ? r : confine_init(&m->confine, err);
}

void machine_tell(struct machine *m, const struct cos_err *err)
{
	auto_json json_t *j = m->sync < 0 ? NULL : jsonx_of_err(err);
	char text[TELL_SIZE];
	size_t n = json_dumpb(j, text, sizeof(text), JSON_COMPACT | JSON_ENSURE_ASCII);

	if (n > 0 && n <= sizeof(text)) /* at once: it may be a socket of packets */
		io_write_all(m->sync, text, n);
}

/* ---- running ---- */

/* -ECANCELED: the other side does not want the guest to run. */
static int wait_for_sync(struct machine *m, struct cos_err *err)
{
	char byte = 'R';
	ssize_t n;

	if (m->sync < 0)
		return 0;
	do
		n = write(m->sync, &byte, 1);
	while (n < 0 && errno == EINTR);
	if (n == 1) {
		do
			n = read(m->sync, &byte, 1);
		while (n < 0 && errno == EINTR);
	}
	close_p(&m->sync);
	return n == 1 ? 0
		      : cos_fail(err, COS_E_UNREACHABLE, ECANCELED, "sync: the other side ended");
}

static int start(struct machine *m, struct cos_err *err)
{
	const struct confine_who who = { m->o->isolate, m->o->has_user, m->o->uid, m->o->gid };
	int r = confine_process(&who, err);

	if (r == 0)
		r = worker_start(&m->worker, &m->confine.filter[CONFINE_DEVICE], err);
	if (r == 0)
		r = devices_start(&m->devices, &m->confine.filter[CONFINE_DEVICE], err);
	if (r == 0)
		r = vcpus_start(&m->vm, &m->confine.filter[CONFINE_VCPU], err);
	if (r < 0)
		return r;
	r = filter_load(&m->confine.filter[CONFINE_CONTROL]);
	if (r < 0)
		return cos_fail(err, COS_E_KERNEL, -r, "filter of the main thread");
	return wait_for_sync(m, err);
}

/* Stops all threads; what does not stop in time is in a call that waits for the host. */
static void take_down(struct machine *m)
{
	uint64_t deadline = clock_usec() + DOWN_USEC;
	int r = vcpus_stop(&m->vm, deadline);

	if (r == 0)
		r = devices_stop(&m->devices, deadline);
	if (r == 0)
		r = worker_stop(&m->worker, deadline);
	if (r == 0) {
		console_flush(&m->console, deadline);
		return;
	}
	log_say(LOG_ERROR, "threads do not stop: the process ends without them");
	_exit(vm_exit_status(&m->vm));
}

int machine_run(struct machine *m, struct cos_err *err)
{
	int r = start(m, err);

	if (r < 0) {
		vm_end(&m->vm, VM_END_HOST, 0);
		take_down(m);
		return r;
	}
	m->started_usec = clock_usec();
	loop_timer_set(&m->loop, &m->look, LOOK_USEC);
	vcpus_go(&m->vm);
	if (loop_run(&m->loop) < 0)
		vm_end(&m->vm, VM_END_HOST, 0);
	take_down(m);
	log_say(LOG_INFO, "ended: %s", vm_end_defs[atomic_load(&m->vm.end)].name);
	return vm_exit_status(&m->vm);
}

void machine_done(struct machine *m)
{
	control_done(&m->control);
	devices_done(&m->devices);
	board_done(&m->board);
	console_done(&m->console);
	worker_done(&m->worker);
	vcpus_free(&m->vm);
	vm_done(&m->vm);
	confine_done(&m->confine);
	loop_del(&m->signals);
	loop_del(&m->ended);
	loop_done(&m->loop);
	close_p(&m->signals.fd);
	close_p(&m->sync);
	thread_done();
}
