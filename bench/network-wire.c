/* bench/network-wire.c - network namespaces of a bench, the wires between them, what runs in them
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "bench/network.h"
#include "lib/base/io.h"
#include "lib/base/own.h"
#include "lib/base/str.h"

#define WORDS        32U
#define LINE_SIZE    256U
#define PORT_DISCARD 9U
#define AT_ONCE      64U
#define LISTEN_TRIES 400U /* of 5 ms */
#define CONFIG       "cosd.json"
#define SOCKET_BYTES (4 << 20)

static int tell(int r, const char *what)
{
	fprintf(stderr, "bench: network: %s: %s\n", what, r < 0 ? strerror(-r) : "failed");
	return r < 0 ? r : -EIO;
}

/* ---- in a namespace ---- */

/* What the bench does next happens there, until it comes back. */
int net_visit(int net)
{
	return setns(net, CLONE_NEWNET) < 0 ? -errno : 0;
}

void net_leave(const struct bed *bed)
{
	int saved = errno;

	if (setns(bed->host, CLONE_NEWNET) < 0)
		abort(); /* all else would be done in a wrong place */
	errno = saved;
}

pid_t net_spawn(const struct bed *bed, int net, const char *const *argv, int out)
{
	pid_t pid = net_visit(net);

	if (pid == 0) {
		pid = bench_spawn(bed->b, argv, out);
		net_leave(bed);
	}
	return pid;
}

static int run_words(const struct bed *bed, int net, const char *const *argv, char *buf,
		     size_t size)
{
	int r = net_visit(net);

	if (r < 0)
		return r;
	r = buf ? bench_capture(bed->b, argv, buf, size) : bench_run(bed->b, argv, -1);
	net_leave(bed);
	return r;
}

int net_run(const struct bed *bed, int net, char *buf, size_t size, const char *fmt, ...)
{
	char line[LINE_SIZE], words[LINE_SIZE], *save, *word;
	const char *argv[WORDS + 1];
	unsigned n = 0;
	va_list ap;
	int r;

	va_start(ap, fmt);
	r = vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	if (r < 0 || (size_t)r >= sizeof(line))
		return tell(-E2BIG, fmt);
	memcpy(words, line, sizeof(words));
	for (word = strtok_r(words, " ", &save); word && n < WORDS;
	     word = strtok_r(NULL, " ", &save))
		argv[n++] = word;
	argv[n] = NULL;
	r = run_words(bed, net, argv, buf, size);
	return r == 0 ? 0 : tell(r, line);
}

struct sockaddr_in net_address(const char *ip)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(PORT_DISCARD) };

	inet_pton(AF_INET, ip, &a.sin_addr);
	return a;
}

int net_open(const struct bed *bed, int net, int type)
{
	int r = net_visit(net), fd;

	if (r < 0)
		return tell(r, "visit a namespace");
	fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
	net_leave(bed);
	return fd < 0 ? tell(-errno, "socket") : fd;
}

int net_socket(const struct bed *bed, int net)
{
	static const int bytes = SOCKET_BYTES;
	const struct sockaddr_in any = net_address("0.0.0.0");
	auto_close int fd = net_open(bed, net, SOCK_DGRAM);

	if (fd < 0)
		return fd;
	if (bind(fd, (const struct sockaddr *)&any, sizeof(any)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes)) < 0)
		return tell(-errno, "socket");
	return take_fd(fd);
}

void net_send_all(int sock, const char *to, size_t size, uint64_t *sent)
{
	static char content[NETWORK_CONTENT];
	struct sockaddr_in a = net_address(to);
	struct iovec iov = { content, size };
	struct mmsghdr m[AT_ONCE];

	memset(m, 0, sizeof(m));
	for (unsigned i = 0; i < AT_ONCE; i++)
		m[i].msg_hdr = (struct msghdr){ .msg_iov = &iov, .msg_iovlen = 1 };
	if (connect(sock, (const struct sockaddr *)&a, sizeof(a)) < 0)
		_exit(1);
	for (;;) {
		int n = sendmmsg(sock, m, AT_ONCE, 0);

		__atomic_fetch_add(sent, n > 0 ? (unsigned)n : 0, __ATOMIC_RELAXED);
	}
}

/* ---- links ---- */

/* The line of a link in /proc/net/dev, behind its name, which long ones begin a line with. */
static const char *find_link(const char *text, const char *link)
{
	char want[IF_NAMESIZE + 4];
	const char *at = NULL;

	if (str_fmt(want, sizeof(want), " %s:", link))
		at = strstr(text, want);
	if (!at && str_fmt(want, sizeof(want), "\n%s:", link))
		at = strstr(text, want);
	return at ? at + strlen(want) : NULL;
}

/* "  eth0: bytes packets ...", received first. */
int net_received(const struct bed *bed, int net, const char *link, struct frames *ret)
{
	auto_free char *text = NULL;
	unsigned long long bytes, packets;
	const char *at = NULL;
	ssize_t n = net_visit(net);

	if (n == 0) {
		n = io_slurp_at(AT_FDCWD, "/proc/thread-self/net/dev", 1 << 20, &text);
		net_leave(bed);
	}
	if (text)
		at = find_link(text, link);
	if (!at || sscanf(at, "%llu %llu", &bytes, &packets) != 2)
		return tell(n < 0 ? (int)n : -ENODEV, link);
	*ret = (struct frames){ bytes, packets };
	return 0;
}

int net_segment(const struct bed *bed, int net, const char *link, bool large)
{
	struct ethtool_value v = { .cmd = ETHTOOL_STSO, .data = large };
	struct ifreq ifr = { .ifr_data = (char *)&v };
	auto_close int fd = -1;
	int r = net_visit(net);

	if (r < 0 || !str_fmt(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", link))
		return tell(r, link);
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || ioctl(fd, SIOCETHTOOL, &ifr) < 0)
		r = -errno;
	net_leave(bed);
	return r < 0 ? tell(r, link) : 0;
}

/* ---- opening and closing ---- */

static int make_space(int *ret)
{
	int fd;

	if (unshare(CLONE_NEWNET) < 0)
		return tell(-errno, "network namespace");
	fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return tell(-errno, "network namespace");
	*ret = fd;
	return 0;
}

struct plug {
	int net;
	const char *link, *address;
};

/* Addresses that the kernel makes by itself, and what it asks the others about them, stay away. */
static int make_wire(const struct bed *bed, const struct plug *near, const struct plug *far)
{
	const struct plug *plug[] = { near, far };
	int r = net_run(bed, near->net, NULL, 0,
			"ip link add %s type veth peer name %s netns /proc/%d/fd/%d", near->link,
			far->link, getpid(), far->net);

	for (size_t i = 0; i < ARRAY_SIZE(plug) && r == 0; i++) {
		const struct plug *p = plug[i];

		r = net_run(bed, p->net, NULL, 0, "ip link set %s addrgenmode none", p->link);
		if (r == 0)
			r = net_run(bed, p->net, NULL, 0, "ip addr add %s/24 dev %s", p->address,
				    p->link);
		if (r == 0)
			r = net_run(bed, p->net, NULL, 0, "ip link set %s up", p->link);
	}
	return r;
}

static int forward(const struct bed *bed, int net)
{
	int r = net_visit(net);

	if (r == 0) {
		r = io_write_at(AT_FDCWD, "/proc/sys/net/ipv4/ip_forward", "1", 1);
		net_leave(bed);
	}
	return r < 0 ? tell(r, "forwarding") : 0;
}

static int make_routes(const struct bed *bed)
{
	int r = net_run(bed, bed->host, NULL, 0, "ip link set lo up");

	if (r == 0)
		r = net_run(bed, bed->host, NULL, 0, "ip route add default via 192.0.2.2");
	if (r == 0)
		r = net_run(bed, bed->outside, NULL, 0, "ip route add %s via 192.0.2.1",
			    NETWORK_POOL);
	if (r == 0)
		r = net_run(bed, bed->bare, NULL, 0, "ip route add default via 198.51.100.1");
	if (r == 0)
		r = net_run(bed, bed->other, NULL, 0, "ip route add default via 198.51.101.1");
	if (r == 0)
		r = net_run(bed, bed->outside, NULL, 0,
			    "ip route add 198.51.100.0/23 via 203.0.113.1");
	return r < 0 ? r : forward(bed, bed->router);
}

static int make_wires(const struct bed *bed)
{
	const struct plug wires[][2] = {
		{ { bed->host, "up0", "192.0.2.1" }, { bed->outside, "eth0", "192.0.2.2" } },
		{ { bed->router, "up0", "203.0.113.1" }, { bed->outside, "bare0", "203.0.113.2" } },
		{ { bed->router, "down0", "198.51.100.1" }, { bed->bare, "eth0", "198.51.100.2" } },
		{ { bed->router, "down1", "198.51.101.1" },
		  { bed->other, "eth0", "198.51.101.2" } },
	};
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(wires) && r == 0; i++)
		r = make_wire(bed, &wires[i][0], &wires[i][1]);
	return r < 0 ? r : make_routes(bed);
}

/* "sl local:port remote:port state": listening is 0A. */
static bool listens(const struct bed *bed, unsigned port)
{
	auto_free char *text = NULL;
	char want[32];

	if (net_visit(bed->outside) < 0)
		return false;
	io_slurp_at(AT_FDCWD, "/proc/thread-self/net/tcp", 1 << 20, &text);
	net_leave(bed);
	str_fmt(want, sizeof(want), ":%04X 00000000:0000 0A", port);
	return text && strstr(text, want);
}

static int start_server(struct bed *bed, unsigned i)
{
	char port[16];
	const char *argv[] = { "iperf3", "-4", "-s", "-p", port, NULL };

	snprintf(port, sizeof(port), "%u", NETWORK_PORT + i);
	bed->server[i] = net_spawn(bed, bed->outside, argv, -1);
	if (bed->server[i] < 0)
		return tell(bed->server[i], argv[0]);
	for (unsigned k = 0; k < LISTEN_TRIES && !bench_stopped(); k++) {
		if (listens(bed, NETWORK_PORT + i))
			return 0;
		bench_idle(5);
	}
	return tell(-ETIMEDOUT, "iperf3 (Debian package iperf3) does not listen");
}

/* sysfs shows the links of the namespace that mounted it: lxc looks for its bridge there. Guests
 * may mount one only where all of another is to be seen, so it takes the old one's place. */
static int show_links(void)
{
	auto_close int groups = open("/sys/fs/cgroup", O_PATH | O_DIRECTORY | O_CLOEXEC);
	char path[40];

	if (groups < 0 ||
	    mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
		return tell(-errno, "sysfs");
	snprintf(path, sizeof(path), "/proc/self/fd/%d", groups);
	if (mount(path, "/sys/fs/cgroup", NULL, MS_BIND | MS_REC, NULL) < 0)
		return tell(-errno, "/sys/fs/cgroup");
	return 0;
}

int wire_open(struct bed *bed)
{
	int r;

	bed->host = bed->outside = bed->router = bed->bare = bed->other = -1;
	r = make_space(&bed->outside);
	if (r == 0)
		r = make_space(&bed->router);
	if (r == 0)
		r = make_space(&bed->bare);
	if (r == 0)
		r = make_space(&bed->other);
	if (r == 0)
		r = make_space(&bed->host);
	if (r == 0)
		r = show_links();
	if (r == 0)
		r = make_wires(bed);
	if (r < 0)
		bench_show_log(bed->b);
	return r;
}

int wire_serve(struct bed *bed)
{
	int r = 0;

	for (unsigned i = 0; i < NETWORK_SERVERS && r == 0; i++)
		r = start_server(bed, i);
	if (r < 0)
		bench_show_log(bed->b);
	return r;
}

static int put_config(const struct bench *b, uint64_t cap)
{
	char text[160], rate[40] = "";

	if (cap > 0)
		str_fmt(rate, sizeof(rate), ", \"net.cap\": \"%llubit\"", (unsigned long long)cap);
	str_fmt(text, sizeof(text), "{\"net.pool\": \"%s\", \"net.uplink\": \"up0\"%s}\n",
		NETWORK_POOL, rate);
	return io_replace_at(b->dirfd, CONFIG, text, strlen(text), 0600, false);
}

int wire_daemon(struct daemon *d, const struct bench *b, uint64_t cap)
{
	char path[80];
	int r = put_config(b, cap);

	str_fmt(path, sizeof(path), "%s/" CONFIG, b->dir);
	return r < 0 ? r : daemon_open_with(d, b, SUBJECT_ROOT, path);
}

void wire_close(struct bed *bed)
{
	for (unsigned i = 0; i < NETWORK_SERVERS; i++) {
		if (bed->server[i] <= 0)
			continue;
		kill(bed->server[i], SIGKILL);
		bench_wait(bed->server[i]);
		bed->server[i] = 0;
	}
	close_p(&bed->outside);
	close_p(&bed->router);
	close_p(&bed->bare);
	close_p(&bed->other);
	close_p(&bed->host);
}
