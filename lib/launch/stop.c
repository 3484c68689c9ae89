/* lib/launch/stop.c - asking a guest's first process to end, in the words that it understands */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/base/io.h"
#include "lib/base/own.h"
#include "lib/kern/proc.h"
#include "lib/launch/guest.h"

#define STATUS_MAX 8192
#define DOWN_USEC  1000000ULL /* of its grace a machine is switched off before the end */

/* What the inits of distributions take as "halt, in order", by the name of their program. sysvinit
 * has no such signal but Ctrl-Alt-Del: it runs the same scripts, and that a reboot comes at their
 * end does not matter to who waits for the end. */
static int init_signal(const char *program)
{
	const struct {
		const char *program;
		int sig;
	} inits[] = {
		{ "systemd", SIGRTMIN + 3 },
		{ "busybox", SIGUSR2 },
		{ "init", SIGINT },
	};

	for (size_t i = 0; i < ARRAY_SIZE(inits); i++) {
		if (strcmp(inits[i].program, program) == 0)
			return inits[i].sig;
	}
	return 0;
}

/* The name of the program that PID executes, which may have been replaced on the disk since. The
 * guest decides what it is, but only about a signal to itself. */
static int program_signal(pid_t pid)
{
	char link[32], path[PATH_MAX], *name;
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/%d/exe", (int)pid);
	n = readlink(link, path, sizeof(path) - 1);
	path[n > 0 ? n : 0] = '\0';
	name = strrchr(path, '/');
	if (!name)
		return 0;
	name[strcspn(name, " ")] = '\0'; /* " (deleted)" */
	return init_signal(name + 1);
}

static bool has_bit(const char *status, const char *field, int sig)
{
	const char *at = strstr(status, field);

	return at && strtoull(at + strlen(field), NULL, 16) >> (sig - 1) & 1;
}

static ssize_t read_proc(pid_t pid, const char *file, char *buf, size_t size)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
	return io_read_at(AT_FDCWD, path, buf, size);
}

/* Whether PID has made up its mind about SIG: as first process of its namespace it would not even
 * notice one that it neither handles nor holds back, as is so at the start of every init. One that
 * waits for signals is shown as if it did not hold them back. */
static bool takes(pid_t pid, int sig)
{
	char status[STATUS_MAX], call[256];

	if (sig == SIGKILL || read_proc(pid, "status", status, sizeof(status)) < 0)
		return true;
	if (has_bit(status, "\nSigBlk:", sig) || has_bit(status, "\nSigCgt:", sig))
		return true;
	return read_proc(pid, "syscall", call, sizeof(call)) < 0 ||
	       strtol(call, NULL, 10) == SYS_rt_sigtimedwait;
}

/* Through its control socket; a signal asks for the same, with a grace of cos-vmm's own. */
static int stop_machine(int pidfd, uint64_t grace_usec)
{
	auto_close int fd = launch_vm_control(pidfd);
	uint64_t rest = grace_usec > 2 * DOWN_USEC ? DOWN_USEC : grace_usec / 2;
	char buf[256];
	ssize_t n = -1;

	if (fd == -ESRCH)
		return fd;
	/* answers that nobody read; no more than a socket holds, or cos-vmm could write for ever */
	for (int i = 0; fd >= 0 && i < 4096 && recv(fd, buf, sizeof(buf), MSG_DONTWAIT) > 0; i++)
		;
	if (fd >= 0) {
		snprintf(buf, sizeof(buf), "{\"cmd\":\"stop\",\"grace_usec\":%" PRIu64 "}\n",
			 grace_usec - rest);
		n = send(fd, buf, strlen(buf), MSG_DONTWAIT | MSG_NOSIGNAL);
	}
	return n == (ssize_t)strlen(buf) ? 0 : proc_signal(pidfd, SIGTERM);
}

int launch_stop(const struct spec *s, pid_t pid, int pidfd, uint64_t grace_usec)
{
	int sig = s->own_init && !json_object_get(s->doc, "stop_signal") ? program_signal(pid) : 0;

	if (s->type == GUEST_VM)
		return stop_machine(pidfd, grace_usec);
	if (sig == 0)
		sig = s->stop_signal;
	if (s->own_init && !takes(pid, sig))
		return -EAGAIN;
	return proc_signal(pidfd, sig);
}
