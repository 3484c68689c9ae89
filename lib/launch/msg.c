/* lib/launch/msg.c - the sync socket's packets */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/io.h"
#include "lib/base/jsonx.h"
#include "lib/base/own.h"
#include "lib/launch/guest.h"
#include "lib/launch/msg.h"

#define HELPER_END_MSEC 200

int msg_send(int sock, enum msg_type type, pid_t pid, const int *fds, unsigned n)
{
	struct msg m = { .type = type, .pid = pid };
	ssize_t r = io_send_fds(sock, &m, sizeof(m), fds, n, 0);

	return r < 0 ? (int)r : 0;
}

void msg_fail(int sock, const struct cos_err *err)
{
	struct msg m = { .type = MSG_FAIL, .err = *err };

	io_send_fds(sock, &m, sizeof(m), NULL, 0, 0);
}

static int take_fail(const struct msg *m, struct cos_err *err)
{
	*err = m->err;
	if (err->code <= COS_E_NONE || err->code >= COS_E__N)
		err->code = COS_E_INTERNAL;
	return -(err->sys > 0 ? err->sys : cos_err_defs[err->code].no);
}

int msg_recv(int sock, enum msg_type type, struct msg *ret, int *fds, unsigned *n,
	     struct cos_err *err)
{
	ssize_t got = io_recv_fds(sock, ret, sizeof(*ret), fds, n, 0);

	if (got == sizeof(*ret) && ret->type == type)
		return 0;
	while (*n > 0)
		close(fds[--*n]);
	if (got == sizeof(*ret) && ret->type == MSG_FAIL)
		return take_fail(ret, err);
	if (got < 0)
		return cos_fail(err, COS_E_KERNEL, (int)-got, "receive from the child");
	return cos_fail(err, COS_E_INTERNAL, ECONNRESET,
			"the child ended before its work was done");
}

void msg_born(int sock, pid_t pid, int pidfd)
{
	struct msg m = { .type = MSG_FAIL, .pid = pid };
	int r = msg_send(sock, MSG_BORN, pid, &pidfd, 1);

	if (r == 0)
		return;
	cos_fail(&m.err, COS_E_KERNEL, -r, "pass the child's pidfd on");
	io_send_fds(sock, &m, sizeof(m), NULL, 0, 0);
}

void msg_end_child(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

int msg_take_born(int sock, pid_t *ret_pid, int *ret_pidfd, struct cos_err *err)
{
	struct msg m = { .pid = 0 };
	unsigned n = 1;
	int fd = -1, r = msg_recv(sock, MSG_BORN, &m, &fd, &n, err);

	if (r == 0 && n == 0) /* this process has no room for one more descriptor */
		r = cos_fail(err, COS_E_KERNEL, EMFILE, "take the child's pidfd");
	if (r < 0) {
		if (m.pid > 0)
			msg_end_child(m.pid);
		return r;
	}
	*ret_pid = m.pid;
	*ret_pidfd = fd;
	return 0;
}

/* The helper ends by itself when it hears that nobody will say more. Killed at once it could leave
 * a process behind that nobody knows. */
void msg_end_helper(int sock, pid_t helper)
{
	struct pollfd p = { .fd = sock, .events = POLLIN };
	pid_t made = 0;

	shutdown(sock, SHUT_WR);
	while (made == 0 && poll(&p, 1, HELPER_END_MSEC) > 0) {
		struct msg m = { .pid = 0 };
		auto_close int fd = -1;
		unsigned n = 1;

		if (io_recv_fds(sock, &m, sizeof(m), &fd, &n, MSG_DONTWAIT) != sizeof(m))
			break;
		made = m.pid;
	}
	msg_end_child(helper);
	if (made > 0)
		msg_end_child(made);
}

int msg_recv_machine(int sock, struct cos_err *err)
{
	union {
		struct msg m;
		char text[8192];
	} in;
	ssize_t got = recv(sock, &in, sizeof(in), MSG_DONTWAIT);
	auto_json json_t *j = NULL;
	struct cos_err ignored;

	if (got == 1 && in.text[0] == 'R')
		return 0;
	if (got == sizeof(in.m) && in.m.type == MSG_FAIL)
		return take_fail(&in.m, err);
	if (got > 0 && jsonx_parse(in.text, (size_t)got, "cos-vmm", &j, &ignored) == 0 &&
	    jsonx_to_err(j, err))
		return -cos_err_defs[err->code].no;
	return cos_fail(err, COS_E_INTERNAL, ECONNRESET,
			"cos-vmm ended before the machine was made");
}

int msg_recv_end(int sock, const char *cmd, struct cos_err *err)
{
	struct msg m;
	ssize_t got = recv(sock, &m, sizeof(m), MSG_DONTWAIT);
	int no;

	if (got == 0)
		return 0;
	if (got < 0 && errno == EAGAIN)
		return LAUNCH_WAIT;
	if (got < 0)
		return errno == ECONNRESET
			       ? 0
			       : cos_fail(err, COS_E_KERNEL, errno, "receive from the child");
	if (got == sizeof(m) && m.type == MSG_FAIL)
		return take_fail(&m, err);
	if (got != sizeof(no))
		return cos_fail(err, COS_E_INTERNAL, EPROTO, "packet of %zd bytes from the child",
				got);
	memcpy(&no, &m, sizeof(no));
	if (no == ENOENT)
		return cos_fail(err, COS_E_NOT_FOUND, no, "execve %s", cmd);
	return cos_fail(err, COS_E_NOT_EXEC, no, "execve %s", cmd);
}
