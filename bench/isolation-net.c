/* bench/isolation-net.c - networks of bench/isolation: classes, echo, and the flood from outside */
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "bench/isolation.h"
#include "lib/base/own.h"

#define ECHO_PORT    7007
#define LOST_SECONDS 10  /* a connection whose other end went without a word */
#define CONTENT      22U /* in a frame of 64 bytes */
#define AT_ONCE      32U
#define PACKETS      30000ULL /* a second */
#define SECOND       1000000000ULL

static int tell(int r, const char *what)
{
	fprintf(stderr, "bench: isolation: %s: %s\n", what, strerror(-r));
	return r;
}

const char *net_outside(enum who who)
{
	return who == WHO_COS ? "192.0.2.2" : "203.0.113.2";
}

/* ---- classes ---- */

/* Both ways of the attacker have a ceiling, behind its own queues, where a guest's are; victims
 * have a class without one. */
static int make_class(const struct bed *bed, const char *link, const char *match, uint64_t bits)
{
	const char *dev = link;
	int net = bed->router;
	int r = net_run(bed, net, NULL, 0, "tc qdisc replace dev %s root handle 1: htb default 20",
			dev);

	if (r == 0)
		r = net_run(bed, net, NULL, 0,
			    "tc class add dev %s parent 1: classid 1:20 htb rate 10gbit quantum "
			    "65536",
			    dev);
	if (r == 0)
		r = net_run(bed, net, NULL, 0,
			    "tc class add dev %s parent 1: classid 1:10 htb rate %llubit burst %u "
			    "cburst %u quantum 65536",
			    dev, (unsigned long long)bits, NETWORK_BURST, NETWORK_BURST);
	if (r == 0)
		r = net_run(bed, net, NULL, 0,
			    "tc filter add dev %s parent 1: protocol ip u32 match ip %s "
			    "198.51.101.2/32 flowid 1:10",
			    dev, match);
	return r;
}

/* ---- the echo ---- */

__attribute__((noreturn)) static void answer(int fd)
{
	const struct timeval lost = { .tv_sec = LOST_SECONDS };
	const int yes = 1;
	char byte;

	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &lost, sizeof(lost)) < 0 ||
	    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes)) < 0)
		_exit(1);
	while (recv(fd, &byte, 1, 0) == 1 && send(fd, &byte, 1, 0) == 1)
		;
	_exit(0);
}

/* Victims have the first CPU: whether the two share one would be what is measured. */
__attribute__((noreturn)) static void serve(int bound)
{
	int cpu = (int)sysconf(_SC_NPROCESSORS_ONLN) - 1;

	signal(SIGCHLD, SIG_IGN);
	for (;;) {
		int fd = accept(bound, NULL, NULL);

		if (fd >= 0 && net_fork(cpu) == 0)
			answer(fd);
		close(fd);
	}
}

static int start_echo(struct scene *sc)
{
	auto_close int fd = net_open(&sc->bed, sc->bed.outside, SOCK_STREAM);
	struct sockaddr_in a = net_address("0.0.0.0");

	if (fd < 0)
		return fd;
	a.sin_port = htons(ECHO_PORT);
	if (bind(fd, (const struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 8) < 0)
		return tell(-errno, "echo");
	sc->echo = net_fork(-1);
	if (sc->echo == 0)
		serve(fd);
	return sc->echo < 0 ? sc->echo : 0;
}

/* ---- the flood ---- */

__attribute__((noreturn)) static void flood(int sock, const struct sockaddr_in *to)
{
	static char content[CONTENT];
	struct iovec iov = { content, sizeof(content) };
	struct mmsghdr m[AT_ONCE];
	uint64_t next = bench_nsec();

	memset(m, 0, sizeof(m));
	for (unsigned i = 0; i < AT_ONCE; i++)
		m[i].msg_hdr = (struct msghdr){ .msg_iov = &iov, .msg_iovlen = 1 };
	if (connect(sock, (const struct sockaddr *)to, sizeof(*to)) < 0)
		_exit(1);
	for (;;) {
		sendmmsg(sock, m, AT_ONCE, 0); /* what nobody takes is lost, as elsewhere */
		next += AT_ONCE * SECOND / PACKETS;
		bench_sleep_until(next);
	}
}

pid_t net_flood(const struct scene *sc, const char *address)
{
	struct sockaddr_in to = net_address(address);
	pid_t pid = net_fork(-1);

	to.sin_port = htons(WORK_PORT);
	if (pid == 0) {
		signal(SIGTERM, SIG_DFL);
		flood(sc->source, &to);
	}
	return pid;
}

/* ---- */

/* Nothing answers what is sent to the sink, and nobody reads it. */
static int open_sockets(struct scene *sc)
{
	struct sockaddr_in any = net_address("0.0.0.0");

	any.sin_port = htons(WORK_PORT);
	sc->source = net_open(&sc->bed, sc->bed.outside, SOCK_DGRAM);
	sc->sink = net_open(&sc->bed, sc->bed.outside, SOCK_DGRAM);
	if (sc->source < 0 || sc->sink < 0)
		return -EIO;
	if (bind(sc->sink, (const struct sockaddr *)&any, sizeof(any)) < 0)
		return tell(-errno, "sink");
	return 0;
}

int net_scene_open(struct scene *sc)
{
	const struct bed *bed = &sc->bed;
	uint64_t bits = sc->limits[ROLE_ATTACKER].bits;
	int r = make_class(bed, "up0", "src", bits);

	if (r == 0)
		r = make_class(bed, "down1", "dst", bits);
	if (r == 0)
		r = open_sockets(sc);
	return r < 0 ? r : start_echo(sc);
}

void net_scene_close(struct scene *sc)
{
	net_end(&sc->echo);
	close_p(&sc->sink);
	close_p(&sc->source);
}
