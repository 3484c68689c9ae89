/* tests/vmm/devices.t.c - the virtio devices, driven by the mini guest */
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "tests/tap.h"
#include "tests/vmm/run.h"

#define ARGS(...)                                                                                  \
	(const char *const[])                                                                      \
	{                                                                                          \
		__VA_ARGS__, NULL                                                                  \
	}
#define DISK       (1 << 20)
#define EXPERIMENT 0x88b5 /* a type of frames */

static struct run r;

/* ARGS are "--cmdline TEXT" and what else the machine has. */
static void says(const char *const *args, const char *text, const char *what)
{
	int status = run_whole(&r, args);

	ok(status == 0 && strstr(r.text, text), "%s: status %d", what, status);
	if (status != 0 || !strstr(r.text, text))
		printf("# it said: %.300s\n", r.text);
	run_done(&r);
}

static void small_devices(void)
{
	says(ARGS("--cmdline", "test=list"), "device 3\ndevice 5\ndevice 4\n", "all are there");
	says(ARGS("--cmdline", "test=list", "--no-balloon", "--no-rng"), "device 3\n",
	     "those that are not wanted are not");
	says(ARGS("--cmdline", "test=rng"), "random 256\nrandom 256\n",
	     "random numbers, a bounded lot");
	says(ARGS("--cmdline", "test=irq"), "cause 1\nafter 0\nlength 16\n", "an interrupt");
	says(ARGS("--cmdline", "test=hostile"), "healed\n", "rings that break the rules");
}

static void the_console_loses_nothing(void)
{
	size_t n = 0;

	run_start(&r, ARGS("--cmdline", "test=flood pages=12", "--input", "virtio"));
	ok(run_says(&r, "\nflooded\n"), "48 KiB at once, six times the ring");
	run_end(&r);
	for (size_t i = 0; i < r.len; i++)
		n += r.text[i] == 'f';
	ok(n == 12UL * 4096 + 1, "all of them came: %zu", n);
	run_done(&r);
	run_start(&r, ARGS("--cmdline", "test=vconsole", "--input", "virtio"));
	ok(run_says(&r, "from the virtio console\n"), "output");
	run_type(&r, "typed\n");
	ok(run_end(&r) == 0 && strstr(r.text, "typed\n"), "input");
	run_done(&r);
}

/* A disk in memory with "image" at its start and at sector 100. */
static int disk_image(void)
{
	int fd = memfd_create("disk", 0);

	if (fd < 0 || ftruncate(fd, DISK) < 0 || pwrite(fd, "image000", 8, 0) != 8 ||
	    pwrite(fd, "image100", 8, 51200) != 8)
		abort();
	return fd;
}

/* For another process to lock and to change the flags of: not the same open file. */
static int open_again(int fd, int flags)
{
	char path[40];

	str_fmt(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, flags);
}

static const char *spec(const char *fmt, const char *a, const char *b)
{
	static char buf[4][80];
	static unsigned n;
	char *s = buf[n++ % 4];

	snprintf(s, sizeof(buf[0]), fmt, a, b);
	return s;
}

static void raw_disks(void)
{
	auto_close int fd = disk_image(), ro = open_again(fd, O_RDONLY),
		       rw = open_again(fd, O_RDWR);
	char first[8] = "";

	says(ARGS("--cmdline", "test=blk sector=100 write=1 flush=1", "--disk", run_fd(rw)),
	     "sectors 2048\nwas image100\ngood\n", "a raw image");
	ok(pread(fd, first, 8, 51200) == 8 && memcmp(first, "wwwwwwww", 8) == 0, "was written to");
	says(ARGS("--cmdline", "test=blk sector=0", "--disk", spec("%s,ro", run_fd(ro), NULL)),
	     "was image000\ngood\n", "one that is only read");
	says(ARGS("--cmdline", "test=blkbad", "--disk", spec("%s,ro", run_fd(ro), NULL)),
	     "write 1\nzero 1\nread 0\nfirst 105\n", "and not written to");
	says(ARGS("--cmdline", "test=blkbad", "--disk", run_fd(rw)),
	     "beyond 1\nacross 1\nwraps 1\nodd 1\nempty 1\nunknown 2\nwrite 0\nzero 0\nread 0\nfirst "
	     "0\nmuch 1\nid 0\ncos-blk0\n",
	     "requests that cannot be");
}

static void an_image_that_shrinks(void)
{
	auto_close int fd = disk_image(), rw = open_again(fd, O_RDWR);
	char buf[256];
	int go[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, go) < 0)
		abort();
	run_start(&r, ARGS("--cmdline", "test=blk sector=100", "--disk", run_fd(rw), "--sync",
			   run_fd(dup(go[1]))));
	ok(read(go[0], buf, 1) == 1 && ftruncate(fd, 4096) == 0 && write(go[0], "G", 1) == 1,
	   "an image is cut while it is in use");
	ok(run_end(&r) == 65 && strstr(r.text, "failed: read\n"),
	   "the guest is told of a read error, and nobody of anything else");
	run_done(&r);
	close(go[0]);
	close(go[1]);
}

static void copy_on_write_disks(void)
{
	auto_close int base = disk_image(), cow = memfd_create("cow", 0);
	auto_close int other = memfd_create("other", 0), wrong = disk_image();
	const char *args = spec("%s,base=%s", run_fd(cow), run_fd(base));
	char first[8] = "";

	says(ARGS("--cmdline", "test=blk sector=100 write=1 flush=1", "--disk", args),
	     "was image100\ngood\n", "a copy-on-write file over an image");
	ok(pread(base, first, 8, 51200) == 8 && memcmp(first, "image100", 8) == 0,
	   "the image is as it was");
	says(ARGS("--cmdline", "test=blk sector=100", "--disk", args), "was wwwwwwww\ngood\n",
	     "the next machine sees what the last one wrote");
	says(ARGS("--cmdline", "test=blk sector=0", "--disk", args), "was image000\ngood\n",
	     "and the image where it wrote nothing");
	says(ARGS("--cmdline", "test=blk sector=100", "--disk",
		  spec("%s,base=%s", run_fd(other), run_fd(base))),
	     "was image100\ngood\n", "another machine on the same image sees none of it");
	says(ARGS("--cmdline", "test=blk sector=100 disk=1 write=1", "--disk", args, "--disk",
		  spec("%s,base=%s", run_fd(other), run_fd(base))),
	     "was image100\ngood\n", "two disks on one image");
	if (pwrite(wrong, "other", 5, 0) != 5)
		abort();
	ok(run_whole(&r, ARGS("--disk", spec("%s,base=%s", run_fd(cow), run_fd(wrong)))) == 1 &&
		   run_logged(&r, "made for another image"),
	   "not on another image");
	run_done(&r);
	ok(run_whole(&r, ARGS("--disk", spec("%s,base=%s,size=2M", run_fd(cow), run_fd(base)))) ==
		   1,
	   "not of another size");
	run_done(&r);
}

static void disks_that_cannot_be(void)
{
	auto_close int fd = disk_image(), held = open_again(fd, O_RDWR),
		       rw = open_again(fd, O_RDWR);
	auto_close int empty = memfd_create("empty", 0), ro = open_again(fd, O_RDONLY),
		       end = open_again(fd, O_RDWR | O_APPEND);
	const struct {
		const char *disk, *why;
		int status;
	} rows[] = {
		{ "/nonexistent", "disk: open", 2 },
		{ "/dev/null", "neither a regular file", 1 },
		{ run_fd(empty), "not 512", 1 },
		{ run_fd(ro), "not open for writing", 2 },
		{ run_fd(end), "open for appending", 2 },
		{ run_fd(rw), "another machine writes", 1 },
		{ "a,size=1M", "--disk", 2 },
		{ "a,ro,base=b", "--disk", 2 },
		{ "a,wings", "--disk", 2 },
	};

	flock(held, LOCK_EX);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		int status = run_whole(&r, ARGS("--disk", rows[i].disk));

		ok(status == rows[i].status && run_logged(&r, rows[i].why), "--disk %s: status %d",
		   rows[i].disk, status);
		run_done(&r);
	}
}

static uint64_t resident_kb(pid_t pid)
{
	char path[40], line[128];
	uint64_t kb = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f)) {
		if (strncmp(line, "RssAnon:", 8) == 0)
			kb = strtoull(line + 8, NULL, 10);
	}
	if (f)
		fclose(f);
	return kb;
}

/* Asks until the counter is within the values, or 20 s have passed. */
static bool comes_to(const char *path, int64_t least, int64_t most)
{
	uint64_t until = clock_usec() + 20 * USEC_PER_SEC;
	int64_t is;

	while (is = run_stat(&r, path), is < least || is > most) {
		if (clock_usec() > until)
			return false;
		usleep(5000);
	}
	return true;
}

static bool becomes(const char *path, int64_t value)
{
	return comes_to(path, value, value);
}

static void the_balloon(void)
{
	char buf[512];

	run_start(&r, ARGS("--cmdline", "test=balloon", "--memory", "64M"));
	ok(run_says(&r, "reported 0\n"), "memory that was reported as free reads as zeroes");
	ok(run_stat(&r, "devices/1/reported_bytes") == 8 << 20, "and went back to the host");
	ok(resident_kb(r.pid) < 8192, "which has it: %u kB resident", (unsigned)resident_kb(r.pid));
	ok(becomes("balloon/available_bytes", 6666), "statistics come when they are asked for");
	/* on a busy host there may have been more answers than questions here */
	ok(comes_to("balloon/free_bytes", 4446, INT64_MAX), "and new ones each time");
	ok(run_ask(&r, "{\"cmd\":\"balloon\",\"target_bytes\":8388608}", buf, sizeof(buf)) &&
		   strstr(buf, "\"ok\""),
	   "8 MiB are asked for");
	ok(becomes("balloon/actual_bytes", 8 << 20), "and lent");
	ok(run_stat(&r, "balloon/pending_usec") == -1, "nothing is pending then");
	ok(run_ask(&r, "{\"cmd\":\"balloon\",\"target_bytes\":99999999999}", buf, sizeof(buf)) &&
		   strstr(buf, "InvalidParameter"),
	   "not more than there is");
	ok(run_ask(&r, "{\"cmd\":\"balloon\",\"target_bytes\":0}", buf, sizeof(buf)) &&
		   run_end(&r) == 0 && strstr(r.text, "deflated\n"),
	   "given back");
	run_done(&r);
	run_start(&r, ARGS("--cmdline", "test=balloon deaf=1", "--memory", "64M"));
	ok(run_says(&r, "deaf\n"), "a driver that never answers");
	run_ask(&r, "{\"cmd\":\"balloon\",\"target_bytes\":8388608}", buf, sizeof(buf));
	ok(run_stat(&r, "balloon/actual_bytes") == 0 && run_stat(&r, "balloon/pending_usec") >= 0,
	   "is seen, and waited for by nobody");
	run_done(&r);
}

/* A tap "t0" of this network namespace, up; -1: not here. */
static int make_tap(int *ret_index)
{
	struct ifreq ifr = { .ifr_name = "t0", .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };
	auto_close int fd = open("/dev/net/tun", O_RDWR), s = socket(AF_INET, SOCK_DGRAM, 0);

	if (fd < 0 || ioctl(fd, TUNSETIFF, &ifr) < 0)
		return -1;
	ifr.ifr_flags = IFF_UP;
	if (ioctl(s, SIOCSIFFLAGS, &ifr) < 0 || ioctl(s, SIOCGIFINDEX, &ifr) < 0)
		return -1;
	*ret_index = ifr.ifr_ifindex;
	return take_fd(fd);
}

/* A tap in a network namespace of its own, and what hears and says all on it; false, told: not
 * here. */
static bool open_wire(int *ret_tap, int *ret_socket)
{
	struct sockaddr_ll at = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL) };
	auto_close int tap = -1, s = -1;

	if (unshare(CLONE_NEWNET) < 0 || (tap = make_tap(&at.sll_ifindex)) < 0 ||
	    (s = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_ALL))) < 0) {
		tap_skip("network", "no network namespace, tap or packet socket");
		return false;
	}
	if (bind(s, (struct sockaddr *)&at, sizeof(at)) < 0)
		abort();
	*ret_tap = take_fd(tap);
	*ret_socket = take_fd(s);
	return true;
}

/* The next frame of TYPE; its length, 0 after 20 s. */
static ssize_t next_frame(int s, unsigned type, uint8_t *buf, size_t size)
{
	struct pollfd p = { .fd = s, .events = POLLIN };

	for (;;) {
		ssize_t n;

		if (poll(&p, 1, 20000) <= 0)
			return 0;
		n = recv(s, buf, size, 0);
		if (n >= 14 && (buf[12] << 8 | buf[13]) == (int)type)
			return n;
	}
}

static void the_network(void)
{
	auto_close int tap = -1, s = -1;
	uint8_t frame[2048] = { 0 };
	ssize_t n;

	if (!open_wire(&tap, &s))
		return;
	run_start(&r, ARGS("--cmdline", "test=net", "--net",
			   spec("%s,mac=02:00:00:00:00:42%s", run_fd(tap), "")));
	ok(run_says(&r, "sent\n"), "a frame is sent");
	n = next_frame(s, EXPERIMENT, frame, sizeof(frame));
	ok(n == 60 && memcmp(frame + 14, "from the guest", 14) == 0 && frame[11] == 0x42,
	   "and comes out of the tap, from the card's address");
	memset(frame, 0xff, 6);
	memcpy(frame + 14, "to the guest..", 14);
	ok(send(s, frame, 100, 0) == 100, "one is sent to the guest");
	n = next_frame(s, EXPERIMENT, frame, sizeof(frame));
	ok(n == 100 && memcmp(frame + 14, "to the guest..", 14) == 0, "and comes back from there");
	ok(run_end(&r) == 0 && strstr(r.text, "got 112\nbuffers 1\n"), "with the header of virtio");
	ok(!strstr(r.text, "mtu"), "no MTU is told");
	run_done(&r);
	ok(run_whole(&r, ARGS("--net", "fd:0")) == 2 && run_logged(&r, "not a tap"), "not a tap");
	run_done(&r);
	ok(run_whole(&r, ARGS("--net", "t0,mac=01:00:00:00:00:01")) == 2, "an address of a group");
	run_done(&r);
	ok(run_whole(&r, ARGS("--net", "t0,mtu=67")) == 2, "a MTU too small for IPv4");
	run_done(&r);
	ok(run_whole(&r, ARGS("--net", "t0,mtu=65536")) == 2, "one too large for the card");
	run_done(&r);
}

/* 10.0.0.1 asks who 10.0.0.2 is. */
static const uint8_t who_has[] = { 255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0,  1, 8, 6,
				   0,   1,   8,   0,   6,   4,   0, 1, 2, 0, 0,  0, 0, 1,
				   10,  0,   0,   1,   0,   0,   0, 0, 0, 0, 10, 0, 0, 2 };
/* And wants 40 datagrams of 1000 bytes, at its port 1000. */
static const uint8_t order[] = {
	2,    0,   0,   0,   0,  0x42, 2, 0,  0,  0,   0, 1, 8, 0,        /* Ethernet */
	0x45, 0,   0,   38,  0,  0,    0, 0,  64, 17,  0, 0,              /* IPv4 */
	10,   0,   0,   1,   10, 0,    0, 2,  3,  232, 0, 9, 0, 18, 0, 0, /* UDP */
	'S',  'E', 'N', 'D', 0,  0,    0, 40, 3,  232
};

/* More datagrams than a ring holds, from a machine that answers for its address. */
static void the_stream(void)
{
	static const uint8_t back[] = { 10, 0, 0, 2, 10, 0, 0, 1, 0, 9, 3, 232, 3, 240 };
	auto_close int tap = -1, s = -1;
	uint8_t frame[2048];
	unsigned good = 0;

	if (!open_wire(&tap, &s))
		return;
	run_start(&r, ARGS("--cmdline", "test=serve cos.ip=10.0.0.2", "--net",
			   spec("%s,mac=02:00:00:00:00:42%s", run_fd(tap), ",mtu=9000")));
	ok(run_says(&r, "serving\n"), "a machine that serves");
	ok(strstr(r.text, "mtu 9000\n"), "is told the MTU of its link");
	ok(send(s, who_has, sizeof(who_has), 0) == sizeof(who_has) &&
		   next_frame(s, ETH_P_ARP, frame, sizeof(frame)) == 60 && frame[21] == 2 &&
		   frame[27] == 0x42 && memcmp(frame + 28, order + 30, 4) == 0,
	   "tells its address");
	ok(send(s, order, sizeof(order), 0) == sizeof(order), "is asked for datagrams");
	while (good < 40 && next_frame(s, ETH_P_IP, frame, sizeof(frame)) == 1042 &&
	       memcmp(frame + 26, back, sizeof(back)) == 0)
		good++;
	ok(good == 40, "and sends all of them");
	ok(run_says(&r, "sent 40\n"), "and no more");
	ok(run_stat(&r, "devices/3/tx_frames") == 41, "as its card says");
	run_done(&r);
}

int main(void)
{
	const char *skip = run_skip();

	if (skip) {
		tap_skip("devices", skip);
		return tap_done();
	}
	small_devices();
	the_console_loses_nothing();
	raw_disks();
	an_image_that_shrinks();
	copy_on_write_disks();
	disks_that_cannot_be();
	the_balloon();
	the_network();
	the_stream();
	return tap_done();
}
