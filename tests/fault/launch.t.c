/* tests/fault/launch.t.c - every call of a start, an exec and a new root fails once: all or nothing
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cow-fs/mount.h"
#include "cow-fs/root.h"
#include "lib/base/own.h"
#include "lib/kern/proc.h"
#include "tests/fault/fault.h"
#include "tests/fault/host.h"
#include "tests/tap.h"

#define ANSWER_MSEC 3000
#define CALLS_MAX   400 /* who looks for threads of the kernel looks at every process of the host */
#define ID_BASE     (7000U << 16)

static struct host host;
static struct launch running; /* the guest that commands are executed in */

/* One try of something that can fail. */
struct trial {
	int r;
	bool hung, untold, left;
	struct cos_err err;
};

/* Calls that may fail without the start: what they make is optional, or there is a second way. */
static const char *const passed_over[] = {
	/* every descriptor is close-on-exec, and the child closes what is left before it runs the
	   guest's */
	"helper close_range",
	/* who made namespaces beforehand waits only to be ended */
	"helper recvmsg",
	/* file systems that the kernel may be built without */
	"child fsopen mqueue",
	"child fsconfig mqueue",
	"child fsmount mqueue",
	"child fsopen cgroup2",
	"child fsconfig cgroup2",
	"child fsmount cgroup2",
	/* what cannot be compared is written anew */
	"child openat hostname",
	"child fstat hostname",
	"child read hostname",
	"child openat hosts",
	"child fstat hosts",
	"child read hosts",
	"child openat resolv.conf",
	"child fstat resolv.conf",
	"child read resolv.conf",
	/* the guest's own files: what cannot be read is as if it were not there */
	"child open /etc/passwd",
	"child fstat /etc/passwd",
	"child read /etc/passwd",
	"child realloc /etc/passwd",
	"child open /etc/group",
	"child fstat /etc/group",
	"child read /etc/group",
	"child realloc /etc/group",
	/* the last acts: the lock goes with its descriptor, the change of user has raised the
	   capabilities already */
	"starter flock unlock",
	"starter capget .",
	"starter capset .",
	"forked capget .",
	"forked capset .",
	/* a terminal without a size is one */
	"child ioctl TIOCSWINSZ",
	NULL,
};

static void step_done(struct launch *l, const char *step, uint64_t usec)
{
	(void)l;
	(void)step;
	(void)usec;
}

static int record(struct launch *l, struct cos_err *err)
{
	(void)l;
	(void)err;
	return 0;
}

static const struct launch_ops ops = { .step_done = step_done, .record = record };

static bool answers(int sync)
{
	struct pollfd p = { .fd = sync, .events = POLLIN };

	return poll(&p, 1, ANSWER_MSEC) > 0;
}

static bool names_step(const struct guest_type *type, const struct cos_err *err)
{
	for (unsigned i = 0; i < type->n_steps; i++) {
		size_t n = strlen(type->steps[i].name);

		if (strncmp(err->what, type->steps[i].name, n) == 0)
			return true;
	}
	return false;
}

static int run_steps(struct launch *l, struct trial *t)
{
	int r;

	while ((r = launch_run(l, &t->err)) == LAUNCH_WAIT) {
		if (!answers(l->sync)) {
			t->hung = true;
			return -ETIMEDOUT;
		}
	}
	return r;
}

static void fill(struct launch *l, struct cowfs_root *root)
{
	launch_init(l);
	l->host = &host.launch;
	l->ops = &ops;
	l->type = &container_type;
	l->spec = &host.spec;
	l->rules = &host.rules;
	l->root = root;
	l->id_base = ID_BASE;
	strcpy(l->slot, GUEST);
}

static void fill_machine(struct launch *l)
{
	fill(l, NULL);
	l->type = &vm_type;
	l->spec = &host.machine;
}

/* Starts the guest; a failed start is undone. */
static void start(struct launch *l, struct trial *t)
{
	t->r = run_steps(l, t);
	fault_disarm();
	t->untold = t->r < 0 && !t->hung && (!names_step(l->type, &t->err) || !t->err.why[0]);
	if (t->r < 0)
		launch_undo(l);
	else
		launch_finish(l);
}

static void end_guest(struct launch *l)
{
	cg_kill(&host.launch.topo, &l->cg);
	proc_kill_wait(l->pidfd);
	close_p(&l->pidfd);
	close_p(&l->console);
	cg_close(&l->cg);
}

static void try_start(struct trial *t)
{
	struct cowfs_root root;
	struct launch l;

	t->r = cowfs_root_open(&host.cow, GUEST, &root, &t->err);
	if (t->r < 0) {
		fault_disarm();
		t->untold = !t->err.why[0];
		return;
	}
	fill(&l, &root);
	start(&l, t);
	if (t->r == 0)
		end_guest(&l);
	cowfs_root_close(&root);
}

static void try_machine(struct trial *t)
{
	struct launch l;

	fill_machine(&l);
	start(&l, t);
	if (t->r == 0)
		end_guest(&l);
}

static void end_exec(struct launch_exec *x)
{
	launch_exec_abort(x);
	close_p(&x->sync);
	close_p(&x->master);
	if (x->helper >= 0)
		proc_kill_wait(x->helper);
	close_p(&x->helper);
	if (x->pidfd >= 0)
		proc_kill_wait(x->pidfd);
	close_p(&x->pidfd);
	if (launch_exec_orphan(x))
		proc_kill_wait(x->pidfd);
	close_p(&x->pidfd);
	launch_exec_done(x);
}

static struct launch_exec exec_of(json_t *command)
{
	return (struct launch_exec){
		.host = &host.launch,
		.spec = &host.spec,
		.rules = &host.rules,
		.cg = &running.cg,
		.guest = running.pidfd,
		.command = command,
		.stdio = { -1, -1, -1 },
		.tty = true,
		.rows = 24,
		.cols = 80,
	};
}

static void try_exec(struct trial *t)
{
	auto_json json_t *command = json_pack("[s, s]", "/bin/stay", "end");
	struct launch_exec x = exec_of(command);

	t->r = launch_exec_start(&x, &t->err);
	if (t->r == 0)
		t->r = LAUNCH_WAIT;
	while (t->r == LAUNCH_WAIT) {
		if (answers(x.sync)) {
			t->r = launch_exec_continue(&x, &t->err);
		} else {
			t->hung = true;
			t->r = -ETIMEDOUT;
		}
	}
	fault_disarm();
	t->untold = t->r < 0 && !t->hung && !t->err.why[0];
	end_exec(&x);
}

static void try_root(struct trial *t)
{
	const struct cowfs_source from = { .rootfs = host.spec.rootfs };

	t->r = cowfs_root_make(&host.cow, "n2", &from, true, &t->err);
	fault_disarm();
	t->untold = t->r < 0 && !t->err.why[0];
	if (t->r == 0)
		cowfs_root_remove(&host.cow, "n2", &t->err);
}

static bool may_pass(void)
{
	char call[64];

	snprintf(call, sizeof(call), "%s %s", fault_role_name[fault->role], fault->call);
	for (const char *const *p = passed_over; *p; p++) {
		if (strcmp(*p, call) == 0)
			return true;
	}
	return false;
}

/* Runs TRY with call N of ROLE failing; false when something is wrong with that. */
static bool run_one(void (*try)(struct trial *), bool groups, enum fault_role role, unsigned n)
{
	auto_free char *before = host_holds(&host), *after = NULL;
	struct trial t = { .r = 0 };
	unsigned strays;
	bool good, passed;

	fault_arm(role, n);
	try(&t);
	strays = host_strays(running.pid);
	t.left = groups && !host_groups_go(&host);
	after = host_holds(&host);
	passed = t.r == 0 && fault->call[0] && !may_pass();
	good = !t.hung && !t.untold && !t.left && !passed && strays == 0 &&
	       host_diff(before, after) == 0;
	if (good)
		return true;
	printf("# %s call %u (%s: %s):%s%s%s%s%s\n", fault_role_name[role], n, fault->call,
	       strerrorname_np(fault->no), t.hung ? " no answer" : "",
	       t.untold ? " no step or reason is told" : "", t.left ? " control groups stay" : "",
	       passed ? " it succeeds all the same" : "", strays ? " processes are left" : "");
	printf("# told: %s: %s\n", t.err.what, t.err.why);
	return false;
}

static void fresh_root(void)
{
	const struct cowfs_source from = { .rootfs = host.spec.rootfs };
	struct cos_err err = { 0 };

	if (cowfs_root_remove(&host.cow, GUEST, &err) < 0 ||
	    cowfs_root_make(&host.cow, GUEST, &from, false, &err) < 0) {
		printf("Bail out! %s\n", err.why);
		exit(99);
	}
	while (cowfs_sweep(&host.cow, 0) == -EAGAIN)
		;
}

/* Gives a start up when it waits for the COUNT-th time; returns whether it came to that. */
static bool give_up_at(unsigned count, bool machine)
{
	struct trial t = { .r = 0 };
	struct cowfs_root root;
	struct launch l;

	if (cowfs_root_open(&host.cow, GUEST, &root, &t.err) < 0)
		return false;
	if (machine)
		fill_machine(&l);
	else
		fill(&l, &root);
	while ((t.r = launch_run(&l, &t.err)) == LAUNCH_WAIT && --count > 0)
		answers(l.sync);
	launch_undo(&l);
	cowfs_root_close(&root);
	return t.r == LAUNCH_WAIT;
}

static void test_giving_up(const char *what, bool machine)
{
	unsigned bad = 0, n = 1;
	bool waited = true;

	for (; waited && n < 100; n++) {
		auto_free char *before = NULL, *after = NULL;
		unsigned strays;

		fresh_root();
		before = host_holds(&host);
		waited = give_up_at(n, machine);
		strays = host_strays(0);
		bad += strays > 0 || !host_groups_go(&host);
		after = host_holds(&host);
		bad += host_diff(before, after);
	}
	ok(bad == 0 && n > 2, "%s: given up while it waits, it leaves nothing: %u times", what,
	   n - 1);
}

/* Every call of each role once; LEAST: how many a role has at the very least, 0 where it has no
 * part. */
static void run_all(const char *what, void (*try)(struct trial *), bool groups,
		    const unsigned least[ROLE__N])
{
	unsigned calls[ROLE__N];
	struct trial t = { .r = 0 };

	fresh_root();
	fault_arm(ROLE_STARTER, 0);
	try(&t);
	memcpy(calls, fault->calls, sizeof(calls));
	ok(t.r == 0 && host_strays(running.pid) == 0 && (!groups || host_groups_go(&host)),
	   "%s: works", what);
	if (t.r < 0)
		printf("# %s: %s\n", t.err.what, t.err.why);
	for (enum fault_role role = 0; role < ROLE__N; role++) {
		unsigned bad = 0;

		if (least[role] == 0)
			continue;
		for (unsigned n = 1; n <= calls[role] && n <= CALLS_MAX; n++) {
			if (groups)
				fresh_root();
			bad += !run_one(try, groups, role, n);
		}
		ok(bad == 0 && calls[role] >= least[role],
		   "%s: each of the %s's %u calls fails cleanly", what, fault_role_name[role],
		   calls[role]);
	}
}

static void test_start(void)
{
	static const unsigned all[ROLE__N] = { 80, 10, 100, 0 };
	static const unsigned by_name[ROLE__N] = { 80, 0, 0, 20 };
	const unsigned overlay = host.launch.overlay;

	run_all("start", try_start, true, all);
	test_giving_up("start", false);
	host.launch.overlay = 0;
	run_all("start with layers by name", try_start, true, by_name);
	host.launch.overlay = overlay;
}

/* As if the helper had been killed with its guest just after it made the command's process: what it
 * may have told of it is not listened to. */
static void test_orphan(void)
{
	auto_json json_t *command = json_pack("[s, s]", "/bin/stay", "end");
	auto_free char *before = host_holds(&host), *after = NULL;
	struct launch_exec x = exec_of(command);
	struct cos_err err;
	bool made = launch_exec_start(&x, &err) == 0;

	for (unsigned i = 0; made && *(volatile pid_t *)x.born == 0 && i < ANSWER_MSEC; i++)
		usleep(1000);
	made = made && *x.born > 0;
	end_exec(&x);
	ok(made && x.pid > 0 && host_strays(running.pid) == 0,
	   "exec: a process that nobody was told of is found");
	after = host_holds(&host);
	ok(host_diff(before, after) == 0, "exec: and nothing is left of it");
}

static void test_exec(void)
{
	static const unsigned all[ROLE__N] = { 5, 5, 20, 0 };
	struct cowfs_root root;
	struct trial t = { .r = -1 };

	fresh_root();
	if (cowfs_root_open(&host.cow, GUEST, &root, &t.err) == 0) {
		fill(&running, &root);
		start(&running, &t);
	}
	ok(t.r == 0, "a guest to execute in");
	if (t.r < 0)
		return;
	run_all("exec", try_exec, false, all);
	test_orphan();
	end_guest(&running);
	cowfs_root_close(&root);
	ok(host_groups_go(&host), "its groups go");
}

/* The helper is the machine's process until it executes cos-vmm, then the one that moves threads.
 */
static void test_machine(void)
{
	static const unsigned all[ROLE__N] = { 40, 20, 0, 0 };

	if (host.launch.vmm < 0) {
		tap_skip("machine", "no /dev/kvm");
		return;
	}
	run_all("machine", try_machine, true, all);
	test_giving_up("machine", true);
}

int main(void)
{
	static const unsigned maker[ROLE__N] = { 15, 0, 0, 0 };
	struct trial t = { .r = 0 };

	if (!fault_init())
		return 99;
	host_init(&host);
	run_all("new root", try_root, false, maker);
	test_start();
	test_machine();
	test_exec();
	cowfs_root_remove(&host.cow, GUEST, &t.err);
	host_done(&host);
	return tap_done();
}
