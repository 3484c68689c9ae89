/* bench/overhead-places.c - workers on the host, in a guest of cos, in a container of crun */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/overhead.h"
#include "lib/base/io.h"
#include "lib/base/own.h"

#define REPLY_MSEC 60000
#define END_MSEC   10000
#define WORDS      48U
#define LINE       64

extern char **environ;

static int tell(const struct place *p, int r, const char *what)
{
	fprintf(stderr, "bench: %s: %s: %s\n", p->name, what, strerror(-r));
	return r;
}

/* ---- roots ---- */

int place_make_root(const struct bench *b, const char *name)
{
	char from[PATH_MAX + 16], to[PATH_MAX];
	const char *const copy[] = { "cp", from, to, NULL };
	int r = bench_make_root(b, name);

	if (r < 0)
		return r;
	snprintf(from, sizeof(from), "%s/overhead-work", b->home);
	snprintf(to, sizeof(to), "%s/%s/bin/overhead-work", b->dir, name);
	r = bench_run(b, copy, -1);
	if (r != 0)
		fprintf(stderr, "bench: cannot copy %s\n", from);
	return r == 0 ? 0 : -ENOENT;
}

/* With the options of a guest of cos, but without mapped ids. */
static int mount_overlay(const struct place *p, const struct bench *b)
{
	char lower[PATH_MAX], upper[PATH_MAX], work[PATH_MAX], root[PATH_MAX], opts[4 * PATH_MAX];

	snprintf(root, sizeof(root), "%s/%s", b->dir, p->name);
	snprintf(lower, sizeof(lower), "%s/%s-lower", b->dir, p->name);
	snprintf(upper, sizeof(upper), "%s/%s-up", b->dir, p->name);
	snprintf(work, sizeof(work), "%s/%s-wk", b->dir, p->name);
	snprintf(opts, sizeof(opts),
		 "lowerdir=%s,upperdir=%s,workdir=%s,redirect_dir=on,metacopy=off,index=off,"
		 "xino=off",
		 lower, upper, work);
	if (mkdir(root, 0755) < 0 || mkdir(upper, 0755) < 0 || mkdir(work, 0755) < 0 ||
	    mount("overlay", root, "overlay", 0, opts) < 0)
		return -errno;
	return 0;
}

int place_open(struct place *p, const struct place_host *h)
{
	char name[64], work[128];
	int r;

	p->pid = p->to = p->from = -1;
	if (p->kind == PLACE_COS)
		return h->d ? 0 : -ENOENT;
	snprintf(name, sizeof(name), "%s%s", p->name, p->overlay ? "-lower" : "");
	r = place_make_root(h->b, name);
	if (r == 0 && p->overlay)
		r = mount_overlay(p, h->b);
	if (r < 0)
		return tell(p, r, "root");
	/* A root of another user namespace may not make it. */
	snprintf(work, sizeof(work), "%s/bench-work", p->name);
	if (mkdirat(h->b->dirfd, work, 0755) < 0 || fchmodat(h->b->dirfd, work, 0777, 0) < 0)
		return tell(p, -errno, work);
	return p->kind == PLACE_CRUN ? bundle_make(p, h) : 0;
}

void place_close(struct place *p, const struct place_host *h)
{
	char root[PATH_MAX];

	snprintf(root, sizeof(root), "%s/%s", h->b->dir, p->name);
	if (p->overlay)
		umount2(root, MNT_DETACH);
}

/* ---- the worker's process ---- */

struct words {
	const char *argv[WORDS];
	unsigned n;
	char dir[PATH_MAX], state[PATH_MAX], bundle[PATH_MAX], id[80], cpu[16];
};

static void add(struct words *w, const char *word)
{
	if (w->n < WORDS - 1)
		w->argv[w->n++] = word;
}

static void add_all(struct words *w, const char *const *list)
{
	while (*list)
		add(w, *list++);
}

static void native_words(struct words *w)
{
	add_all(w, (const char *const[]){ "bin/overhead-work", "serve", w->cpu, NULL });
}

static void cos_words(struct words *w, const struct place *p, const struct place_host *h)
{
	add_all(w, (const char *const[]){ h->d->cosctl, "--socket", h->d->socket, "run", "--rm",
					  "--no-tty", "--template", "bench", p->name, NULL });
	if (!p->userns)
		add(w, "userns=false");
	add_all(w, h->cos_arg);
	add_all(w, (const char *const[]){ "--", "/bin/overhead-work", "serve", w->cpu, NULL });
}

static void crun_words(struct words *w)
{
	add_all(w, (const char *const[]){ "crun", "--root", w->state, "run", "--bundle", w->bundle,
					  w->id, NULL });
}

static void make_words(struct words *w, const struct place *p, const struct place_host *h)
{
	w->n = 0;
	snprintf(w->cpu, sizeof(w->cpu), "%u", h->cpu);
	snprintf(w->dir, sizeof(w->dir), "%s/%s", h->b->dir,
		 p->kind == PLACE_NATIVE ? p->name : ".");
	snprintf(w->state, sizeof(w->state), "%s/crun-state", h->b->dir);
	snprintf(w->bundle, sizeof(w->bundle), "%s/%s-bundle", h->b->dir, p->name);
	snprintf(w->id, sizeof(w->id), "%s-%s", h->b->group, p->name);
	switch (p->kind) {
	case PLACE_NATIVE:
		native_words(w);
		break;
	case PLACE_COS:
		cos_words(w, p, h);
		break;
	case PLACE_CRUN:
		crun_words(w);
		break;
	}
	w->argv[w->n] = NULL;
}

/* IN, OUT and LOG become its descriptors 0, 1 and 2. */
static int spawn(const struct words *w, int in, int out, int log, pid_t *ret_pid)
{
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	sigset_t pipe_only;
	int r;

	sigemptyset(&pipe_only);
	sigaddset(&pipe_only, SIGPIPE);
	posix_spawn_file_actions_init(&files);
	posix_spawnattr_init(&attr);
	posix_spawn_file_actions_addchdir_np(&files, w->dir);
	posix_spawn_file_actions_adddup2(&files, in, 0);
	posix_spawn_file_actions_adddup2(&files, out, 1);
	posix_spawn_file_actions_adddup2(&files, log, 2);
	posix_spawnattr_setsigdefault(&attr, &pipe_only);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGDEF);
	r = posix_spawnp(ret_pid, w->argv[0], &files, &attr, (char *const *)w->argv, environ);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&files);
	return -r;
}

int place_start(struct place *p, const struct place_host *h)
{
	static struct words w; /* too big for a stack */
	int to[2], from[2], r;
	unsigned ops = 1;

	if (pipe2(to, O_CLOEXEC) < 0)
		return -errno;
	if (pipe2(from, O_CLOEXEC) < 0) {
		r = -errno;
		close(to[0]);
		close(to[1]);
		return r;
	}
	make_words(&w, p, h);
	r = spawn(&w, to[0], from[1], h->b->log, &p->pid);
	close(to[0]);
	close(from[1]);
	p->to = to[1];
	p->from = from[0];
	if (r < 0)
		p->pid = -1;
	else
		r = (int)(place_measure(p, ROW_CALL, &ops) < 0 ? -EIO : 0);
	if (r == 0)
		return 0;
	tell(p, r, "the worker does not answer");
	bench_show_log(h->b);
	place_stop(p);
	return r;
}

/* It ends by itself when its input does. */
void place_stop(struct place *p)
{
	auto_close int pidfd = p->pid > 0 ? (int)syscall(SYS_pidfd_open, p->pid, 0U) : -1;
	struct pollfd end = { .fd = pidfd, .events = POLLIN };

	close_p(&p->to);
	close_p(&p->from);
	if (p->pid <= 0)
		return;
	while (poll(&end, 1, END_MSEC) < 0 && errno == EINTR)
		;
	kill(p->pid, SIGKILL);
	while (waitpid(p->pid, NULL, 0) < 0 && errno == EINTR)
		;
	p->pid = -1;
}

/* ---- orders ---- */

static int read_line(int fd, char *line)
{
	size_t n = 0;

	while (n == 0 || line[n - 1] != '\n') {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		int ready = poll(&p, 1, REPLY_MSEC);
		ssize_t got = ready == 1 ? read(fd, line + n, LINE - 1 - n) : 0;

		if (got <= 0)
			return ready < 0 ? -errno : ready == 0 ? -ETIMEDOUT : -EPIPE;
		n += (size_t)got;
	}
	line[n] = '\0';
	return 0;
}

int64_t place_measure(struct place *p, enum row_id row, unsigned *ops)
{
	char line[LINE];
	long long took;
	int n = snprintf(line, sizeof(line), "%u %u\n", (unsigned)row, *ops);
	int r = io_write_all(p->to, line, (size_t)n);

	if (r == 0)
		r = read_line(p->from, line);
	if (r < 0)
		return r;
	return sscanf(line, "%lld %u", &took, ops) == 2 ? took : -EBADMSG;
}
