/* tests/vmm/run.c - a cos-vmm under test */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <linux/kvm.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/io.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "tests/vmm/run.h"

#define WAIT_USEC (30 * USEC_PER_SEC)

static const char *built(const char *name, char *buf, size_t size)
{
	str_fmt(buf, size, "%s/%s", getenv("TOP_BUILDDIR") ?: ".", name);
	return buf;
}

const char *run_skip(void)
{
	auto_close int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), vm = -1;

	if (kvm < 0)
		return "no /dev/kvm that can be opened";
	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	return vm < 0 ? "/dev/kvm makes no machine" : NULL;
}

static void become(struct run *r, const char *const *args, int console, int control)
{
	const char *argv[RUN_ARGS + 8] = { 0 };
	char vmm[512], guest[512], console_fd[16], control_fd[16];
	size_t n = 0;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* looking for leaks takes tracing oneself, which is not allowed there */
	setenv("ASAN_OPTIONS", "detect_leaks=0", 1);
	dup2(r->log, STDERR_FILENO);
	str_fmt(console_fd, sizeof(console_fd), "fd:%d", console);
	str_fmt(control_fd, sizeof(control_fd), "fd:%d", control);
	argv[n++] = built("vmm/cos-vmm", vmm, sizeof(vmm));
	argv[n++] = "--kernel"; /* the last one counts */
	argv[n++] = built("tests/vmm/guest", guest, sizeof(guest));
	argv[n++] = "--console";
	argv[n++] = console_fd;
	argv[n++] = "--control";
	argv[n++] = control_fd;
	for (size_t i = 0; args[i] && i < RUN_ARGS; i++)
		argv[n++] = args[i];
	execv(argv[0], (char **)argv);
	_exit(99);
}

void run_start(struct run *r, const char *const *args)
{
	int console[2], control[2];

	memset(r, 0, sizeof(*r));
	r->status = -1;
	r->log = memfd_create("log", MFD_CLOEXEC);
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, console) < 0 ||
	    socketpair(AF_UNIX, SOCK_STREAM, 0, control) < 0)
		abort();
	fcntl(console[0], F_SETFD, FD_CLOEXEC);
	fcntl(control[0], F_SETFD, FD_CLOEXEC);
	r->pid = fork();
	if (r->pid == 0)
		become(r, args, console[1], control[1]);
	close(console[1]);
	close(control[1]);
	r->console = console[0];
	r->control = control[0];
}

/* False: the stream is at its end, or nothing came until DEADLINE. */
static bool read_more(struct run *r, uint64_t deadline)
{
	uint64_t now = clock_usec();
	struct pollfd p = { .fd = r->console, .events = POLLIN };
	ssize_t n;

	if (now >= deadline || poll(&p, 1, (int)((deadline - now) / 1000)) <= 0)
		return false;
	if (r->len == sizeof(r->text) - 1)
		r->len = 0; /* a test that reads this much looks at its end only */
	n = read(r->console, r->text + r->len, sizeof(r->text) - 1 - r->len);
	if (n <= 0)
		return false;
	r->len += (size_t)n;
	r->text[r->len] = '\0';
	return true;
}

bool run_says(struct run *r, const char *word)
{
	uint64_t deadline = clock_usec() + WAIT_USEC;

	while (!strstr(r->text, word)) {
		if (!read_more(r, deadline))
			return false;
	}
	return true;
}

int run_end(struct run *r)
{
	uint64_t deadline = clock_usec() + WAIT_USEC;
	int status;

	if (!r->pid)
		return r->status;
	while (read_more(r, deadline))
		;
	if (clock_usec() >= deadline)
		kill(r->pid, SIGKILL);
	while (waitpid(r->pid, &status, 0) < 0 && errno == EINTR)
		;
	r->pid = 0;
	r->status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
	return r->status;
}

int run_whole(struct run *r, const char *const *args)
{
	run_start(r, args);
	return run_end(r);
}

bool run_logged(struct run *r, const char *word)
{
	char buf[8192];
	ssize_t n = pread(r->log, buf, sizeof(buf) - 1, 0);

	if (n < 0)
		return false;
	buf[n] = '\0';
	return strstr(buf, word);
}

void run_type(struct run *r, const char *s)
{
	io_write_all(r->console, s, strlen(s));
}

bool run_ask(struct run *r, const char *line, char *buf, size_t size)
{
	size_t n = 0;

	if (send(r->control, line, strlen(line), MSG_NOSIGNAL) < 0 ||
	    send(r->control, "\n", 1, MSG_NOSIGNAL) < 0)
		return false;
	while (n < size) {
		struct pollfd p = { .fd = r->control, .events = POLLIN };

		if (poll(&p, 1, (int)(WAIT_USEC / 1000)) <= 0 || read(r->control, buf + n, 1) != 1)
			return false;
		if (buf[n++] == '\n') {
			buf[n - 1] = '\0';
			return true;
		}
	}
	return false;
}

int64_t run_stat(struct run *r, const char *path)
{
	static char buf[RUN_TEXT];
	auto_json json_t *doc = NULL;
	char copy[128], *rest = copy, *key;
	const json_t *at;

	if (!run_ask(r, "{\"cmd\":\"stats\"}", buf, sizeof(buf)))
		return -1;
	doc = json_loads(buf, 0, NULL);
	at = doc;
	str_fmt(copy, sizeof(copy), "%s", path);
	while (at && (key = strsep(&rest, "/"))) {
		if (json_is_array(at))
			at = json_array_get(at, (size_t)strtoul(key, NULL, 10));
		else
			at = json_object_get(at, key);
	}
	return json_is_integer(at) ? json_integer_value(at) : -1;
}

void run_done(struct run *r)
{
	if (r->pid) {
		kill(r->pid, SIGKILL);
		waitpid(r->pid, NULL, 0);
	}
	close(r->console);
	close(r->control);
	close(r->log);
	r->pid = 0;
}

int run_file(const void *s, size_t len)
{
	int fd = memfd_create("file", 0);

	if (fd < 0 || io_write_all(fd, s, len) < 0)
		abort();
	return fd;
}

const char *run_fd(int fd)
{
	static char buf[8][16];
	static unsigned n;
	char *s = buf[n++ % 8];

	str_fmt(s, sizeof(buf[0]), "fd:%d", fd);
	return s;
}
