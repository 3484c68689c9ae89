/* tests/func/probe-cmd.c - sub-commands of the probe that play a part in a test's script */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/own.h"
#include "tests/func/probe.h"

extern char **environ;

int cmd_ids(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	printf("%d %d %d %d\n", getuid(), geteuid(), getgid(), getegid());
	return 0;
}

/* Only where it cannot reach the host: in a process namespace that is not the first one. */
int cmd_reboot(int argc, char **argv)
{
	static const struct {
		const char *name;
		int how;
	} ways[] = {
		{ "restart", RB_AUTOBOOT },
		{ "halt", RB_HALT_SYSTEM },
		{ "poweroff", RB_POWER_OFF },
	};

	if (access("/proc/self/ns/pid", F_OK) < 0 || on_host("pid", FIRST_PID_NS)) {
		fputs("probe: not here: this is no guest\n", stderr);
		return 2;
	}
	for (size_t i = 0; argc > 1 && i < ARRAY_SIZE(ways); i++) {
		if (strcmp(argv[1], ways[i].name))
			continue;
		if (reboot(ways[i].how) < 0)
			printf("reboot: %s\n", err_name(errno));
		return 1; /* if it worked, init and we are being killed */
	}
	return 2;
}

int cmd_listen(int argc, char **argv)
{
	auto_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	if (argc < 2 || strlen(argv[1]) > sizeof(a.sun_path) - 2)
		return 2;
	memcpy(a.sun_path + 1, argv[1], strlen(argv[1]));
	if (bind(fd, (struct sockaddr *)&a,
		 offsetof(struct sockaddr_un, sun_path) + 1 + strlen(argv[1])) < 0 ||
	    listen(fd, 4) < 0) {
		printf("listen: %s\n", err_name(errno));
		return 1;
	}
	puts("listening");
	fflush(stdout);
	alarm(600);
	for (;;)
		pause();
}

/* One line each: what a process that was put into a guest finds with itself. */
int cmd_self(int argc, char **argv)
{
	char buf[512];

	(void)argc;
	(void)argv;
	printf("ids %d %d %d %d\n", getuid(), geteuid(), getgid(), getegid());
	printf("cwd %s\n", getcwd(buf, sizeof(buf)) ? buf : err_name(errno));
	for (int fd = 0; fd < 4096; fd++) {
		char path[32];
		struct stat st;
		ssize_t n;
		int flags = fcntl(fd, F_GETFL);

		if (flags < 0 || fstat(fd, &st) < 0)
			continue;
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		n = readlink(path, buf, sizeof(buf) - 1);
		buf[n > 0 ? n : 0] = '\0';
		printf("fd %d mode 0%o flags 0x%x %s\n", fd, st.st_mode, flags, buf);
	}
	for (char **e = environ; *e; e++)
		printf("env %s\n", *e);
	for (int i = 1; i < 64; i++) {
		struct sigaction sa;

		if (sigaction(i, NULL, &sa) == 0 && sa.sa_handler == SIG_IGN)
			printf("ignored %s\n", sigabbrev_np(i) ? sigabbrev_np(i) : "?");
	}
	return 0;
}

static struct watch {
	unsigned long seen, foreign, leaks;
} watching;

__attribute__((format(printf, 2, 3))) static void leak(const char *pid, const char *fmt, ...)
{
	char text[400];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	printf("leak: process %s: %s\n", pid, text);
	fflush(stdout);
	watching.leaks++;
}

static bool same_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* Does the process run a file that is none of the guest's? Then it has come in and not yet become
 * what it is to run: whatever can be taken from it now was the runtime's. */
static bool is_foreign(const char *pid, char *to, size_t size)
{
	char path[300];
	struct stat st, own, init;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%s/exe", pid);
	n = readlink(path, to, size - 1);
	if (n < 0)
		return errno == EACCES || errno == EPERM;
	to[n] = '\0';
	if (stat(path, &st) < 0 || (stat(to, &own) == 0 && same_file(&st, &own)))
		return false;
	/* A guest may run what its init runs; that one is looked at by the table's init-binary. */
	return stat("/proc/1/exe", &init) < 0 || !same_file(&st, &init);
}

/* Is it still the runtime's? The guest itself may execute a sealed program of the host's: that has
 * the guest's environment, or none yet while the kernel is executing it. What cannot be read is
 * protected. */
static bool is_runtimes(const char *pid)
{
	char path[300], text[4096];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%s/environ", pid);
	n = slurp(path, text, sizeof(text));
	return n > 0 && !memmem(text, n, "container=cos", 13) &&
	       is_foreign(pid, path, sizeof(path));
}

static int steal_fd(const char *name, void *arg)
{
	const char *pid = arg;
	char path[600], to[256];
	ssize_t n;

	if (!is_number(name) || atoi(name) <= 2)
		return 0;
	snprintf(path, sizeof(path), "/proc/%s/fd/%s", pid, name);
	n = readlink(path, to, sizeof(to) - 1);
	if (n < 0)
		return 0;
	to[n] = '\0';
	if (is_runtimes(pid))
		leak(pid, "descriptor %s is %s", name, to);
	return 0;
}

/* Is the open file one of the guest's own, by the name that it has? */
static bool own_file(int fd)
{
	char path[32], to[300];
	struct stat st, own;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = readlink(path, to, sizeof(to) - 1);
	to[n > 0 ? n : 0] = '\0';
	return fstat(fd, &st) == 0 && stat(to, &own) == 0 && same_file(&st, &own);
}

/* Opens the program that PID runs. 0 if that cannot be done or does no harm; 1 if it is a file of
 * the host, which can be written as soon as nobody runs it; RET_WRITE says what came of opening it
 * so. */
static int take_binary(const char *pid, int *ret_write)
{
	char path[64];
	auto_close int fd = -1;
	int rw, seals;

	snprintf(path, sizeof(path), "/proc/%s/exe", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || own_file(fd))
		return 0;
	seals = fcntl(fd, F_GET_SEALS);
	if (seals >= 0 && (seals & F_SEAL_WRITE))
		return 0;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	rw = open(path, O_WRONLY | O_CLOEXEC);
	*ret_write = rw < 0 ? errno : 0;
	if (rw >= 0)
		close(rw);
	return 1;
}

/* What a guest's program does when the runtime was made to execute itself in the guest, with this
 * as its interpreter. */
int cmd_exe(int argc, char **argv)
{
	char to[300] = "";
	int no;

	(void)argc;
	(void)argv;
	if (readlink("/proc/self/exe", to, sizeof(to) - 1) < 0)
		strcpy(to, "?");
	if (take_binary("self", &no))
		printf("exe %s is the host's, to write: %s\n", to, no ? err_name(no) : "done");
	else
		printf("exe %s is sealed or the guest's own\n", to);
	return 0;
}

static void steal_memory(const char *pid, const char *exe)
{
	static const char *const files[] = { "environ", "mem", "maps", "auxv", "stack" };
	char path[300], text[4096];

	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		ssize_t n;
		int fd;

		snprintf(path, sizeof(path), "/proc/%s/%s", pid, files[i]);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			continue;
		n = strcmp(files[i], "mem") == 0 ? 1 : read(fd, text, sizeof(text));
		close(fd);
		if (n > 0 && is_runtimes(pid))
			leak(pid, "%s of %s can be read", files[i], exe);
	}
}

static void steal(const char *pid, const char *exe)
{
	char path[300];
	int no;

	if (take_binary(pid, &no))
		leak(pid, "its program %s is the host's, to write: %s", exe,
		     no ? err_name(no) : "done");
	snprintf(path, sizeof(path), "/proc/%s/fd", pid);
	each_entry(path, steal_fd, (void *)pid);
	steal_memory(pid, exe);
	if (ptrace(PTRACE_SEIZE, atoi(pid), NULL, NULL) == 0) {
		if (is_runtimes(pid))
			leak(pid, "%s can be traced", exe);
		ptrace(PTRACE_INTERRUPT, atoi(pid), NULL, NULL);
		if (waitpid(atoi(pid), NULL, __WALL) > 0)
			ptrace(PTRACE_DETACH, atoi(pid), NULL, NULL);
	}
}

static int watch_one(const char *name, void *arg)
{
	char exe[300] = "?";

	(void)arg;
	/* Init may be a program of the runtime's, and stays one: that is the table's init-binary.
	 */
	if (!is_number(name) || atoi(name) == 1 || atoi(name) == getpid())
		return 0;
	watching.seen++;
	if (is_foreign(name, exe, sizeof(exe))) {
		watching.foreign++;
		steal(name, exe);
	}
	return 0;
}

/* The guest that waits for what the host puts into it, and is fast. */
int cmd_watch(int argc, char **argv)
{
	long seconds = argc > 1 && is_number(argv[1]) ? atol(argv[1]) : 0;
	struct timespec now, end;

	if (seconds <= 0)
		return 2;
	puts("watching");
	fflush(stdout);
	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += seconds;
	do {
		each_entry("/proc", watch_one, NULL);
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while (now.tv_sec < end.tv_sec);
	printf("watch: %lu looks, %lu at foreign programs, %lu leaks\n", watching.seen,
	       watching.foreign, watching.leaks);
	return watching.leaks != 0;
}
