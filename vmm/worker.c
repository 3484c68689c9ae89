/* vmm/worker.c - a device's thread: the loop of lib/base, and a way to end it from outside */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "lib/base/own.h"
#include "lib/base/str.h"
#include "vmm/worker.h"

int event_open(void)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	return fd < 0 ? -errno : fd;
}

/* It cannot fail but when the counter is full, and then it is readable all the same. */
void event_raise(int fd)
{
	uint64_t one = 1;

	while (write(fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

void event_clear(int fd)
{
	uint64_t n;

	while (read(fd, &n, sizeof(n)) < 0 && errno == EINTR)
		;
}

static void on_stop(struct loop_source *s, uint32_t events)
{
	(void)events;
	s->loop->stop = true;
}

static void worker_main(void *arg)
{
	struct worker *w = arg;

	if (loop_run(&w->loop) < 0)
		w->broken(w->arg);
	if (w->last)
		w->last(w->last_arg);
}

static void worker_failed(void *arg)
{
	const struct worker *w = arg;

	w->broken(w->arg);
}

int worker_init(struct worker *w, const char *name, void (*broken)(void *arg), void *arg,
		struct cos_err *err)
{
	int r;

	*w = (struct worker){
		.thread = { .fn = worker_main, .arg = w, .failed = worker_failed, .sched = -1 },
		.stop = { .fd = -1, .ready = on_stop },
		.broken = broken,
		.arg = arg,
	};
	str_fmt(w->thread.name, sizeof(w->thread.name), "%s", name);
	r = loop_init(&w->loop);
	if (r == 0)
		r = w->stop.fd = event_open();
	if (r >= 0)
		r = loop_add(&w->loop, &w->stop, EPOLLIN);
	return r < 0 ? cos_fail(err, COS_E_KERNEL, -r, "worker %s", name) : 0;
}

int worker_start(struct worker *w, const struct filter *filter, struct cos_err *err)
{
	int r;

	w->thread.filter = filter;
	r = thread_start(&w->thread);
	return r < 0 ? cos_fail(err, COS_E_KERNEL, -r, "start %s", w->thread.name) : 0;
}

int worker_stop(struct worker *w, uint64_t deadline_usec)
{
	if (!w->thread.runs)
		return 0;
	event_raise(w->stop.fd);
	return thread_join(&w->thread, deadline_usec);
}

void worker_done(struct worker *w)
{
	if (!w->thread.fn)
		return;
	loop_done(&w->loop);
	close_p(&w->stop.fd);
	w->thread.fn = NULL;
}
