/* lib/launch/prepare.c - the slow namespaces of a guest, made before it is started
 *
 * A network namespace costs milliseconds when others are being torn down (both need the rtnl lock).
 * It is made here by a process that ends as soon as user and network namespace are held by
 * descriptors. */
#include <errno.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/own.h"
#include "lib/kern/cap.h"
#include "lib/kern/proc.h"
#include "lib/launch/child.h"
#include "lib/launch/guest.h"
#include "lib/launch/msg.h"

static int prepare_child(int sock)
{
	struct cos_err err = { 0 };
	struct msg m;
	unsigned n = 0;
	int r;

	proc_reset_signals();
	proc_close_but(&sock, 1);
	r = msg_recv(sock, MSG_GO, &m, NULL, &n, &err);
	if (r == 0)
		r = child_become_root(&err);
	if (r == 0 && unshare(CLONE_NEWNET) < 0)
		r = cos_fail(&err, COS_E_KERNEL, errno, "make a network namespace");
	if (r == 0)
		r = child_raise_loopback(&err);
	if (r < 0) {
		msg_fail(sock, &err);
		return 1;
	}
	if (msg_send(sock, MSG_READY, 0, NULL, 0) < 0)
		return 1;
	return msg_recv(sock, MSG_RELEASE, &m, NULL, &n, &err) < 0; /* until both are held */
}

int child_be(uint32_t owner)
{
	/* the effective id alone: who may signal or trace this process does not change */
	if (seteuid(owner) < 0)
		return -errno;
	return cap_raise_all();
}

void child_be_root(void)
{
	if (seteuid(0) < 0) /* which raises the capabilities as well */
		abort();    /* all that came after would be done by the wrong user */
}

pid_t child_clone_user(struct clone_args *ca, uint32_t owner)
{
	int r = child_be(owner);
	pid_t pid = r < 0 ? r : (pid_t)syscall(SYS_clone3, ca, sizeof(*ca));

	if (pid == 0)
		return 0;
	if (r == 0 && pid < 0)
		r = -errno;
	child_be_root();
	return pid < 0 ? r : pid;
}

int launch_prepare(uint32_t id_base, struct launch_prep *ret, struct cos_err *err)
{
	struct clone_args ca = { .flags = CLONE_NEWUSER, .exit_signal = SIGCHLD };
	int sv[2], r;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv) < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "socketpair");
	r = child_clone_user(&ca, id_base);
	if (r == 0)
		_exit(prepare_child(sv[1]));
	close(sv[1]);
	ret->sync = sv[0];
	if (r < 0) {
		close_p(&ret->sync);
		return cos_fail(err, COS_E_KERNEL, -r, "clone3");
	}
	ret->pid = r;
	r = proc_write_maps(ret->pid, id_base, LAUNCH_IDS);
	if (r == 0)
		r = msg_send(ret->sync, MSG_GO, 0, NULL, 0);
	if (r < 0) {
		launch_prepare_abort(ret);
		return cos_fail(err, COS_E_KERNEL, -r, "prepare ids %u..%u", id_base,
				id_base + LAUNCH_IDS - 1);
	}
	return 0;
}

int launch_prepare_finish(struct launch_prep *p, int *ret_userns, int *ret_netns,
			  struct cos_err *err)
{
	auto_close int userns = -1, netns = -1;
	struct msg m;
	unsigned n = 0;
	int r = msg_recv(p->sync, MSG_READY, &m, NULL, &n, err);

	if (r == 0) {
		userns = proc_open_ns(p->pid, "user");
		netns = proc_open_ns(p->pid, "net");
		if (userns < 0 || netns < 0)
			r = cos_fail(err, COS_E_KERNEL, userns < 0 ? -userns : -netns,
				     "open the namespaces");
	}
	launch_prepare_abort(p);
	if (r < 0)
		return r;
	*ret_userns = take_fd(userns);
	*ret_netns = take_fd(netns);
	return 0;
}

void launch_prepare_abort(struct launch_prep *p)
{
	close_p(&p->sync);
	if (p->pid > 0) {
		kill(p->pid, SIGKILL);
		waitpid(p->pid, NULL, 0);
		p->pid = 0;
	}
}
