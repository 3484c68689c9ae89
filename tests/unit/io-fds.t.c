/* tests/unit/io-fds.t.c - descriptors through a socket: none is lost, none too many is kept */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/io.h"
#include "tests/tap.h"

static unsigned count_fds(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void test_fds(void)
{
	int p[2], sv[2], in[16], got[16];
	unsigned before, n;
	char buf[8];
	ssize_t r;

	if (pipe2(p, O_CLOEXEC) < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0)
		return;
	for (unsigned i = 0; i < 16; i++)
		in[i] = p[1];
	ok(io_send_fds(sv[0], "a", 1, in, 17, 0) == -E2BIG, "fds: 17 are too many");
	ok(io_send_fds(sv[0], "a", 1, NULL, 0, 0) == 1, "fds: none sent");
	n = 3;
	r = io_recv_fds(sv[1], buf, sizeof(buf), got, &n, 0);
	ok(r == 1 && n == 0 && buf[0] == 'a', "fds: none received");

	before = count_fds();
	for (unsigned sent = 1; sent <= 16; sent++) {
		for (unsigned room = 0; room <= 16; room += 4) {
			unsigned want = sent < room ? sent : room;
			bool good = io_send_fds(sv[0], "bc", 2, in, sent, 0) == 2;

			n = room;
			r = io_recv_fds(sv[1], buf, sizeof(buf), got, &n, 0);
			good = good && r == 2 && n == want && count_fds() == before + want;
			for (unsigned i = 0; i < n; i++) {
				good = good && (fcntl(got[i], F_GETFD) & FD_CLOEXEC);
				close(got[i]);
			}
			ok(good && count_fds() == before, "fds: %u sent, room for %u", sent, room);
		}
	}
	for (unsigned i = 0; i < 2; i++) {
		close(p[i]);
		close(sv[i]);
	}
}

/* A peer that is not ours: more descriptors than the receiver has room for at all. */
static void test_fds_hostile(void)
{
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(200 * sizeof(int))];
	} ctl = { 0 };
	struct iovec iov = { .iov_base = "x", .iov_len = 1 };
	struct msghdr mh = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &ctl, .msg_controllen = sizeof(ctl)
	};
	int sv[2], got[4], fds[200];
	unsigned n = 4, before;
	char buf[1];
	ssize_t r;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0)
		return;
	for (unsigned i = 0; i < 200; i++)
		fds[i] = sv[0];
	ctl.align = (struct cmsghdr){ .cmsg_level = SOL_SOCKET,
				      .cmsg_type = SCM_RIGHTS,
				      .cmsg_len = CMSG_LEN(sizeof(fds)) };
	memcpy(CMSG_DATA(&ctl.align), fds, sizeof(fds));
	before = count_fds();
	ok(sendmsg(sv[0], &mh, 0) == 1, "fds: 200 at once are sent");
	r = io_recv_fds(sv[1], buf, 1, got, &n, 0);
	ok(r == 1 && n == 4 && count_fds() == before + 4,
	   "fds: 4 of 200 come, the others are closed");
	for (unsigned i = 0; i < n; i++)
		close(got[i]);
	n = 4;
	ok(io_recv_fds(sv[1], buf, 1, got, &n, MSG_DONTWAIT) == -EAGAIN && n == 0,
	   "fds: nothing yet");
	close(sv[0]);
	n = 4;
	ok(io_recv_fds(sv[1], buf, 1, got, &n, 0) == 0 && n == 0, "fds: the end");
	ok(io_send_fds(sv[1], "x", 1, NULL, 0, 0) == -EPIPE, "fds: no SIGPIPE");
	close(sv[1]);
}

int main(void)
{
	alarm(100);
	test_fds();
	test_fds_hostile();
	return tap_done();
}
