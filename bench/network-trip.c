/* bench/network-trip.c - a byte there and back, between an end and a process outside */
#include <errno.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "bench/network.h"
#include "lib/base/own.h"

#define LOST_SECONDS 10 /* TCP sends again; datagrams are not lost here */

static int tell(int r, const char *what)
{
	fprintf(stderr, "bench: network: %s: %s\n", what, strerror(-r));
	return r;
}

int net_pin(int cpu)
{
	cpu_set_t one;

	if (cpu < 0)
		return 0;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	return sched_setaffinity(0, sizeof(one), &one) < 0 ? -errno : 0;
}

void net_unpin(void)
{
	cpu_set_t all;

	memset(&all, 0xff, sizeof(all)); /* what is not there does not count */
	sched_setaffinity(0, sizeof(all), &all);
}

pid_t net_fork(int cpu)
{
	pid_t pid = fork();

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (net_pin(cpu) < 0)
			_exit(1);
	}
	return pid < 0 ? tell(-errno, "process") : pid;
}

void net_end(pid_t *pid)
{
	if (*pid <= 0)
		return;
	kill(*pid, SIGKILL);
	bench_wait(*pid);
	*pid = 0;
}

/* ---- the process outside ---- */

__attribute__((noreturn)) static void answer(int fd)
{
	struct sockaddr_in from;
	char byte;

	for (;;) {
		socklen_t len = sizeof(from);
		ssize_t n = recvfrom(fd, &byte, 1, 0, (struct sockaddr *)&from, &len);

		/* a connection names nobody */
		if (n != 1 ||
		    sendto(fd, &byte, 1, 0, len ? (struct sockaddr *)&from : NULL, len) != 1)
			_exit(1);
	}
}

/* ---- */

static int tune(int fd, bool tcp)
{
	const struct timeval lost = { .tv_sec = LOST_SECONDS };
	const int yes = 1;

	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &lost, sizeof(lost)) < 0 ||
	    (tcp && setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes)) < 0))
		return -errno;
	return 0;
}

/* At any free port of the outside; FAR is bound. */
static int call(int near, int far, const char *outside, bool tcp)
{
	struct sockaddr_in a = net_address(outside);
	socklen_t len = sizeof(a);

	a.sin_port = 0;
	if (bind(far, (const struct sockaddr *)&a, sizeof(a)) < 0 || (tcp && listen(far, 1) < 0) ||
	    getsockname(far, (struct sockaddr *)&a, &len) < 0 ||
	    connect(near, (const struct sockaddr *)&a, sizeof(a)) < 0)
		return -errno;
	return tune(near, tcp);
}

int trip_open(struct trip *t, const struct end *e, bool tcp, int cpu)
{
	int type = tcp ? SOCK_STREAM : SOCK_DGRAM, r;
	auto_close int near = net_open(e->bed, e->net, type);
	auto_close int bound = net_open(e->bed, e->bed->outside, type);
	auto_close int far = -1;

	*t = TRIP_NONE;
	r = near < 0 ? near : bound < 0 ? bound : call(near, bound, e->outside, tcp);
	if (r < 0)
		return tell(r, "connection to the outside");
	far = tcp ? accept4(bound, NULL, NULL, SOCK_CLOEXEC) : take_fd(bound);
	r = far < 0 ? -errno : tcp ? tune(far, tcp) : 0;
	if (r < 0)
		return tell(r, "connection from the inside");
	t->pid = net_fork(cpu);
	if (t->pid == 0) {
		close(near); /* it ends when the other end is gone */
		answer(far);
	}
	if (t->pid < 0)
		return t->pid;
	t->near = take_fd(near);
	return 0;
}

int trip_once(const struct trip *t, uint64_t *ret_nsec)
{
	uint64_t from = bench_nsec();
	char byte = 'x';

	if (send(t->near, &byte, 1, 0) != 1 || recv(t->near, &byte, 1, 0) != 1)
		return bench_stopped() ? -EINTR : tell(errno ? -errno : -EPIPE, "round trip");
	*ret_nsec = bench_nsec() - from;
	return 0;
}

void trip_close(struct trip *t)
{
	close_p(&t->near);
	net_end(&t->pid);
}
