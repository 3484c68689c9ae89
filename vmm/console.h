/* vmm/console.h - where the guest's characters go and come from: one descriptor for both consoles
 *
 * Output waits in a ring that the worker empties; who writes to it never blocks. Input is read only
 * while its taker has room, so that nothing is lost and nothing piles up. The descriptor's flags
 * are left alone: others may hold it too. */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/worker.h"

#define CONSOLE_RING 8192

#define CONSOLE_TAKERS 2

/* A device in front of the console. Called by the worker. */
struct console_taker {
	size_t (*room)(void *arg);
	void (*put)(void *arg, const uint8_t *s, size_t n); /* at most what room() said */
	void (*drained)(void *arg); /* output has room again after it was full */
	void *arg;
};

struct console {
	pthread_mutex_t lock;
	uint8_t ring[CONSOLE_RING];
	size_t head, used; /* oldest byte; how many */
	bool waiting;      /* somebody wants to hear that there is room */
	uint64_t out_bytes, in_bytes, dropped;
	struct console_taker taker[CONSOLE_TAKERS];
	unsigned n_takers, input; /* INPUT: the one that gets what is typed */
	struct loop_source out, in, wake;
	struct loop *loop;
};

/* OUT and IN are taken over; IN -1: no input. W's loop serves both. */
int console_init(struct console *c, int in, int out, struct worker *w, struct cos_err *err);
/* At most CONSOLE_TAKERS, before the worker is started; with INPUT this one gets what is typed. */
void console_add_taker(struct console *c, const struct console_taker *taker, bool input);
void console_done(struct console *c);

/* Takes as many of the N bytes as there is room for; returns how many. From any thread. */
size_t console_put(struct console *c, const uint8_t *s, size_t n);
/* Bytes that console_put() would take; 0: the takers will hear when there are more. */
size_t console_room(struct console *c);
/* Whether N bytes fit, or the ring is empty and more never will; false: the takers will hear. */
bool console_fits(struct console *c, size_t n);
/* The taker has room, or has changed. From any thread. */
void console_wake(struct console *c);
/* As long as somebody reads, until DEADLINE_USEC: what is in the ring goes out. After the worker.
 */
void console_flush(struct console *c, uint64_t deadline_usec);
