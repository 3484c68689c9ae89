/* lib/launch/msg.c - the sync socket's packets */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/io.h"
#include "lib/launch/msg.h"

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

int msg_recv(int sock, enum msg_type type, struct msg *ret, int *fds, unsigned *n, struct cos_err *err)
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
	return cos_fail(err, COS_E_INTERNAL, ECONNRESET, "the child ended before its work was done");
}

int msg_recv_end(int sock, const char *cmd, struct cos_err *err)
{
	struct msg m;
	ssize_t got = recv(sock, &m, sizeof(m), MSG_DONTWAIT);
	int no;

	if (got == 0)
		return 0;
	if (got < 0)
		return errno == EAGAIN ? -EAGAIN : errno == ECONNRESET ? 0 : -errno;
	if (got == sizeof(m) && m.type == MSG_FAIL)
		return take_fail(&m, err);
	if (got != sizeof(no))
		return cos_fail(err, COS_E_INTERNAL, EPROTO, "packet of %zd bytes from the child", got);
	memcpy(&no, &m, sizeof(no));
	if (no == ENOENT)
		return cos_fail(err, COS_E_NOT_FOUND, no, "execve %s", cmd);
	return cos_fail(err, COS_E_NOT_EXEC, no, "execve %s", cmd);
}
