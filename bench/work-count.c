/* bench/work-count.c - work that counts itself in a page of a file, until END at most
 *
 * Who reads the page knows at each moment how much was done, without a word to who works, and says
 * in it how long to go on. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include "bench/work.h"

#define SPIN_STEPS 20000U /* some 30 us */
#define SET_BYTES  (64U << 20)
#define TAKE_BYTES (1U << 20)
#define READ_BYTES 4096U
#define CONTENT    22U /* in a frame of 64 bytes */
#define AT_ONCE    64U
#define WAIT_USEC  50000

struct count {
	struct work_page *page;
	uint64_t end;
};

/* ARG: COUNT END. */
static int begin(char **arg, struct count *c)
{
	int fd = open(arg[0], O_RDWR | O_CLOEXEC);
	void *page =
		fd < 0 ? MAP_FAILED
		       : mmap(NULL, sizeof(*c->page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (fd >= 0)
		close(fd);
	c->page = page;
	c->end = work_number(arg[1]);
	return page == MAP_FAILED ? work_tell(arg[0]) : 0;
}

static int goes_on(const struct count *c)
{
	uint64_t now = work_now(CLOCK_MONOTONIC);

	return now < c->end && now < __atomic_load_n(&c->page->until, __ATOMIC_RELAXED);
}

static void add(const struct count *c, uint64_t n)
{
	__atomic_fetch_add(&c->page->done, n, __ATOMIC_RELAXED);
}

/* Nothing, as long as somebody says so. */
int count_none(char **arg)
{
	struct count c;

	if (begin(arg, &c) != 0)
		return 1;
	while (goes_on(&c))
		sleep(1);
	return 0;
}

int count_cpu(char **arg)
{
	uint64_t random = 1;
	struct count c;

	if (begin(arg, &c) != 0)
		return 1;
	while (goes_on(&c)) {
		for (unsigned i = 0; i < SPIN_STEPS; i++)
			work_random(&random);
		add(&c, random != 0);
	}
	return 0;
}

/* A MiB from the kernel, filled from a larger working set, and given back. */
int count_memory(char **arg)
{
	char *set = malloc(SET_BYTES);
	size_t at = 0;
	struct count c;

	if (!set)
		return work_tell("memory");
	memset(set, 1, SET_BYTES);
	if (begin(arg, &c) != 0)
		return 1;
	while (goes_on(&c)) {
		void *p = mmap(NULL, TAKE_BYTES, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (p == MAP_FAILED)
			return work_tell("memory");
		memcpy(p, set + at, TAKE_BYTES);
		munmap(p, TAKE_BYTES);
		at = (at + TAKE_BYTES) % SET_BYTES;
		add(&c, 1);
	}
	free(set);
	return 0;
}

/* Direct, at random, one after the other. */
int count_reads(char **arg)
{
	int fd = open(arg[2], O_RDONLY | O_DIRECT | O_CLOEXEC);
	uint64_t random = work_now(CLOCK_MONOTONIC) | 1, blocks;
	struct count c;
	struct stat st;
	void *buf;

	if (fd < 0 || fstat(fd, &st) < 0 || posix_memalign(&buf, READ_BYTES, READ_BYTES) != 0)
		return work_tell(arg[2]);
	blocks = (uint64_t)st.st_size / READ_BYTES;
	if (blocks == 0 || begin(arg, &c) != 0)
		return 1;
	while (goes_on(&c)) {
		off_t at = (off_t)(work_random(&random) % blocks * READ_BYTES);

		if (pread(fd, buf, READ_BYTES, at) != READ_BYTES)
			return work_tell(arg[2]);
		add(&c, 1);
	}
	return 0;
}

static int address(const char *ip, uint64_t port, struct sockaddr_in *a)
{
	*a = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	return inet_pton(AF_INET, ip, &a->sin_addr) == 1 ? 0 : -1;
}

static int bind_to(uint64_t cpu)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	return sched_setaffinity(0, sizeof(one), &one);
}

/* A byte there and back, always from the same CPU. */
int count_trips(char **arg)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in a;
	const int yes = 1;
	char byte = 'x';
	struct count c;

	if (fd < 0 || address(arg[2], work_number(arg[3]), &a) < 0 ||
	    bind_to(work_number(arg[4])) < 0 ||
	    connect(fd, (const struct sockaddr *)&a, sizeof(a)) < 0 ||
	    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes)) < 0)
		return work_tell(arg[2]);
	if (begin(arg, &c) != 0)
		return 1;
	while (goes_on(&c)) {
		if (send(fd, &byte, 1, 0) != 1 || recv(fd, &byte, 1, 0) != 1)
			return work_tell(arg[2]);
		add(&c, 1);
	}
	return 0;
}

/* ---- many datagrams ---- */

static struct mmsghdr *batch(void)
{
	static char content[AT_ONCE][CONTENT];
	static struct iovec iov[AT_ONCE];
	static struct mmsghdr m[AT_ONCE];

	for (unsigned i = 0; i < AT_ONCE; i++) {
		iov[i] = (struct iovec){ content[i], CONTENT };
		m[i].msg_hdr = (struct msghdr){ .msg_iov = &iov[i], .msg_iovlen = 1 };
	}
	return m;
}

int count_sent(char **arg)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct mmsghdr *m = batch();
	struct sockaddr_in a;
	struct count c;

	if (fd < 0 || address(arg[2], WORK_PORT, &a) < 0 ||
	    connect(fd, (const struct sockaddr *)&a, sizeof(a)) < 0)
		return work_tell(arg[2]);
	if (begin(arg, &c) != 0)
		return 1;
	while (goes_on(&c)) {
		int n = sendmmsg(fd, m, AT_ONCE, 0);

		add(&c, n > 0 ? (unsigned)n : 0);
	}
	return 0;
}

int count_received(char **arg)
{
	static const struct timeval wait = { .tv_usec = WAIT_USEC };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct mmsghdr *m = batch();
	struct sockaddr_in a;
	struct count c;

	if (fd < 0 || address("0.0.0.0", WORK_PORT, &a) < 0 ||
	    bind(fd, (const struct sockaddr *)&a, sizeof(a)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)) < 0)
		return work_tell("datagrams");
	if (begin(arg, &c) != 0)
		return 1;
	while (goes_on(&c)) {
		int n = recvmmsg(fd, m, AT_ONCE, MSG_WAITFORONE, NULL);

		add(&c, n > 0 ? (unsigned)n : 0);
	}
	return 0;
}
