/* cow-fs/program.c - programs of the host that are asked something */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cow-fs/program.h"
#include "lib/base/io.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "lib/kern/proc.h"

#define SAID_MAX 4096

const char *program_find(const char *name, char *buf)
{
	static const char *const places[] = { "/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin",
					      "/sbin" };

	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		if (str_fmt(buf, PROGRAM_PATH_SIZE, "%s/%s", places[i], name) &&
		    access(buf, X_OK) == 0)
			return buf;
	}
	return NULL;
}

struct asked {
	int dir; /* -1: where we are */
	bool errors;
	size_t max;
};

static void run_asked(const struct asked *a, const char *path, char *const *argv, int out)
{
	char *env[] = { (char[]){ "PATH=/usr/sbin:/usr/bin:/sbin:/bin" }, (char[]){ "LC_ALL=C" },
			NULL };
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	proc_reset_signals();
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0); /* nobody is there to be told */
	if ((a->dir < 0 || fchdir(a->dir) == 0) && dup2(null, STDIN_FILENO) == STDIN_FILENO &&
	    dup2(a->errors ? out : null, STDERR_FILENO) >= 0 &&
	    dup2(out, STDOUT_FILENO) == STDOUT_FILENO)
		execve(path, argv, env);
	_exit(127);
}

static int ask(const struct asked *a, const char *path, char *const *argv, char **ret)
{
	auto_free char *text = NULL;
	int p[2], status = 0;
	ssize_t n;
	pid_t pid;

	if (pipe2(p, O_CLOEXEC) < 0)
		return -errno;
	pid = fork();
	if (pid == 0)
		run_asked(a, path, argv, p[1]);
	close(p[1]);
	n = pid < 0 ? -errno : io_slurp_fd(p[0], a->max, &text);
	close(p[0]); /* ends one that has too much to say */
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (n < 0)
		return (int)n;
	*ret = take_ptr(text);
	return status;
}

int program_ask(const char *path, char *const *argv, size_t max, char **ret)
{
	const struct asked a = { .dir = -1, .max = max };

	return ask(&a, path, argv, ret);
}

int program_run(int dir, const char *path, char *const *argv, char **ret)
{
	const struct asked a = { .dir = dir, .errors = true, .max = SAID_MAX };

	return ask(&a, path, argv, ret);
}
