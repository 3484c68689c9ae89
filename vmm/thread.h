/* vmm/thread.h - threads that know their name, their filter and their time */
#pragma once

#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

struct filter;

struct thread {
	char name[16];
	void (*fn)(void *arg);
	void *arg;
	const struct filter *filter; /* loaded before FN is called; NULL: none */
	void (*failed)(void *arg);   /* called instead of FN when the filter cannot be loaded */
	sem_t ready;                 /* the filter is loaded, or cannot be */
	pthread_t id;
	clockid_t clock;
	int sched; /* its schedstat, -1: the host has none */
	bool runs; /* started and not joined */
};

/* Opens /proc/self/task, while it can be: schedstat of threads is found there. */
void thread_init(void);
void thread_done(void);
/* Starts T, whose first five members are set; the struct stays where it is. The filter is loaded
 * when it returns. Leaf. */
int thread_start(struct thread *t);
/* Waits until DEADLINE_USEC (CLOCK_MONOTONIC): -ETIMEDOUT. 0 also for one that does not run. */
int thread_join(struct thread *t, uint64_t deadline_usec);
/* CPU time so far in microseconds, also of one that has ended but is not joined. */
uint64_t thread_cpu_usec(const struct thread *t);
/* Time that it was ready to run and did not get a CPU: what a guest calls steal. */
uint64_t thread_wait_usec(const struct thread *t);
