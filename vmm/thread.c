/* vmm/thread.c - threads that know their name, their filter and their time */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/io.h"
#include "lib/base/log.h"
#include "lib/base/own.h"
#include "lib/kern/filter.h"
#include "vmm/thread.h"

/* Address space, not memory: pages come when they are touched. */
#define STACK_BYTES (256U << 10)

static int tasks = -1; /* /proc/self/task; -1: the host has none, or none that is ours to see */

void thread_init(void)
{
	tasks = open("/proc/self/task", O_PATH | O_DIRECTORY | O_CLOEXEC);
}

void thread_done(void)
{
	close_p(&tasks);
}

static void *thread_main(void *arg)
{
	struct thread *t = arg;
	int r = 0;

	prctl(PR_SET_NAME, t->name);
	if (t->filter)
		r = filter_load(t->filter);
	sem_post(&t->ready);
	if (r < 0) {
		log_say(LOG_ERROR, "%s: filter: errno %d", t->name, -r);
		t->failed(t->arg);
		return NULL;
	}
	t->fn(t->arg);
	return NULL;
}

static int open_sched(const struct thread *t)
{
	char path[64];

	/* A thread's clock has the complement of its id above three bits of kind, and glibc no
	 * other way to ask for the id from outside. */
	snprintf(path, sizeof(path), "%d/schedstat", (int)~(t->clock >> 3));
	return tasks < 0 ? -1 : openat(tasks, path, O_RDONLY | O_CLOEXEC);
}

int thread_start(struct thread *t)
{
	pthread_attr_t attr;
	int r = pthread_attr_init(&attr);

	t->sched = -1;
	sem_init(&t->ready, 0, 0);
	if (r == 0) {
		pthread_attr_setstacksize(&attr, STACK_BYTES);
		r = pthread_create(&t->id, &attr, thread_main, t);
		pthread_attr_destroy(&attr);
	}
	if (r != 0)
		return -r;
	t->runs = true;
	while (sem_wait(&t->ready) < 0 && errno == EINTR)
		; /* who is told that all is confined can rely on it */
	if (pthread_getcpuclockid(t->id, &t->clock) == 0)
		t->sched = open_sched(t);
	return 0;
}

int thread_join(struct thread *t, uint64_t deadline_usec)
{
	struct timespec until = {
		.tv_sec = (time_t)(deadline_usec / USEC_PER_SEC),
		.tv_nsec = (long)(deadline_usec % USEC_PER_SEC) * 1000,
	};
	int r;

	if (!t->runs)
		return 0;
	r = pthread_clockjoin_np(t->id, NULL, CLOCK_MONOTONIC, &until);
	if (r != 0)
		return -r;
	t->runs = false;
	close_p(&t->sched);
	return 0;
}

uint64_t thread_cpu_usec(const struct thread *t)
{
	struct timespec ts;

	if (!t->runs || clock_gettime(t->clock, &ts) < 0)
		return 0;
	return (uint64_t)ts.tv_sec * USEC_PER_SEC + (uint64_t)ts.tv_nsec / 1000;
}

uint64_t thread_wait_usec(const struct thread *t)
{
	char buf[96], *end;
	ssize_t n = t->sched < 0 ? -1 : pread(t->sched, buf, sizeof(buf) - 1, 0);

	if (n <= 0)
		return 0;
	buf[n] = '\0';
	/* "running waiting times", nanoseconds */
	strtoull(buf, &end, 10);
	return strtoull(end, NULL, 10) / 1000;
}
