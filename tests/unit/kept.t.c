/* tests/unit/kept.t.c - what a keeper holds is handed over without waiting for who reads it */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cosd/keeper.h"
#include "cosd/notify.h"
#include "cosd/points.h"
#include "lib/base/io.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "lib/kern/proc.h"
#include "tests/tap.h"

#define ITEMS 600 /* more than a socket takes at once */

static char runtime[] = "/tmp/cos-kept-XXXXXX";
static struct keep_args args = { .runtime_dir = runtime };
static struct keeper k;

/* The parts of the keeper that are not under test. */
void point(const char *operation, const char *step, bool after, pid_t peer)
{
	(void)operation;
	(void)step;
	(void)after;
	(void)peer;
}

void notify_ready(void)
{
}

void keeper_stop(struct keeper *keeper)
{
	keeper->loop.stop = true;
}

static pid_t sleeper(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		pause();
		_exit(0);
	}
	return pid;
}

/* A keeper that holds ITEMS slots: LAST is the process of the last one, FIRST that of all others.
 */
static void fill(pid_t first, pid_t last)
{
	k = (struct keeper){ .args = &args, .logs = -1, .link = { .fd = -1 } };
	list_init(&k.kept);
	if (loop_init(&k.loop) < 0)
		exit(99);
	for (unsigned i = 0; i < ITEMS; i++) {
		struct keep_msg m = { .slot = i, .pid = i + 1 < ITEMS ? first : last };

		str_fmt(m.name, sizeof(m.name), "g%u", i);
		kept_add(&k, &m, proc_pidfd(m.pid), -1);
	}
}

static void empty(void)
{
	kept_drop(&k);
	loop_del(&k.link);
	k.loop.stop = true;
	loop_run(&k.loop);
	loop_done(&k.loop);
}

static void stop_loop(struct loop_timer *t)
{
	(void)t;
	k.loop.stop = true;
}

static void ended(struct loop_source *s, uint32_t events)
{
	(void)events;
	loop_del(s);
	k.loop.stop = true;
}

/* The loop, for a moment: that it comes back at all is what is tested. */
static void run_shortly(void)
{
	struct loop_timer t = { .fire = stop_loop };

	k.loop.stop = false;
	loop_timer_set(&k.loop, &t, 20000);
	loop_run(&k.loop);
}

/* The loop until the child PID ends; returns its exit status. */
static int run_beside(pid_t pid)
{
	auto_close int fd = proc_pidfd(pid);
	struct loop_source s = { .fd = fd, .ready = ended };
	int status = -1;

	k.loop.stop = false;
	if (loop_add(&k.loop, &s, EPOLLIN) < 0)
		return -1;
	loop_run(&k.loop);
	loop_del(&s);
	run_shortly();
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* The worker's side: 0 when the list has all but the one that was let go, and the end that came
 * meanwhile is told after it. */
static int read_list(int sock, pid_t last)
{
	struct keep_item *items;
	struct keep_msg m;
	unsigned n;

	if (keep_recv_items(sock, &items, &n) < 0)
		return 1;
	if (n != ITEMS - 1 || items[n - 1].m.slot != ITEMS - 1 || items[n - 2].m.slot != ITEMS - 3)
		return 2;
	if (recv(sock, &m, sizeof(m), 0) != sizeof(m))
		return 3;
	return m.op == KEEP_EXIT && m.slot == ITEMS - 1 && m.pid == last && m.status == SIGKILL ? 0
												: 4;
}

static void test_worker(pid_t first)
{
	const struct keep_msg list = { .op = KEEP_LIST },
			      del = { .op = KEEP_DEL, .slot = ITEMS - 2 };
	pid_t last = sleeper(), reader;
	struct pollfd p = { .events = POLLIN };
	int sv[2], small = 1;

	fill(first, last);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv) < 0)
		exit(99);
	setsockopt(sv[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	kept_serve(&k, sv[0]);
	io_send_fds(sv[1], &list, sizeof(list), NULL, 0, 0);
	run_shortly();
	ok(k.unsent && k.unsent != k.kept.next, "a worker that does not read holds nothing up");
	io_send_fds(sv[1], &del, sizeof(del), NULL, 0, 0);
	run_shortly();
	kill(last, SIGKILL);
	run_shortly();
	ok(k.unsent != NULL, "nor do a slot that is let go and a process that ends meanwhile");
	reader = fork();
	if (reader == 0)
		_exit(read_list(sv[1], last));
	ok(run_beside(reader) == 0, "it gets the list, then the end that came meanwhile");
	ok(!k.unsent, "and the list is over");
	p.fd = sv[1];
	ok(poll(&p, 1, 0) == 0, "nothing is said twice");
	io_send_fds(sv[1], &list, sizeof(list), NULL, 0, 0);
	run_shortly();
	close(sv[1]);
	run_shortly();
	ok(!k.unsent && k.link.fd < 0, "a worker that ends before it has read all ends the list");
	empty();
}

static int dial(void)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	struct sockaddr_un sa = { .sun_family = AF_UNIX };

	str_fmt(sa.sun_path, sizeof(sa.sun_path), "%s/hold.sock", runtime);
	return fd >= 0 && connect(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0 ? fd : -1;
}

static int take_over(void)
{
	struct keep_item *items;
	struct cos_err err;
	unsigned n;

	return keep_take_over(&args, &items, &n, &err) < 0 || n != ITEMS;
}

static void test_holder(pid_t first)
{
	struct cos_err err;
	int fd, status;
	pid_t next;

	args.holding = true;
	fill(first, first);
	ok(kept_listen(&k, &err) == 0, "a holder listens");
	fd = dial();
	run_shortly();
	ok(fd >= 0, "a daemon comes");
	close(fd);
	run_shortly();
	ok(k.link.fd < 0 && !k.unsent, "and goes before it has taken anything over");
	next = fork();
	if (next == 0)
		_exit(take_over());
	k.loop.stop = false;
	loop_run(&k.loop);
	ok(!k.unsent, "the next one takes all, and the holder ends");
	ok(waitpid(next, &status, 0) == next && status == 0, "with %d items", ITEMS);
	loop_del(&k.hold);
	close_p(&k.hold.fd);
	empty();
}

int main(void)
{
	struct rlimit lim;
	pid_t first;

	alarm(60);
	getrlimit(RLIMIT_NOFILE, &lim);
	lim.rlim_cur = lim.rlim_max;
	setrlimit(RLIMIT_NOFILE, &lim);
	signal(SIGPIPE, SIG_IGN);
	if (!mkdtemp(runtime))
		return 99;
	first = sleeper();
	test_worker(first);
	test_holder(first);
	kill(first, SIGKILL);
	waitpid(first, NULL, 0);
	io_remove_tree(AT_FDCWD, runtime, 0);
	return tap_done();
}
