/* cosd/console.h - the keeper's side of a guest's console: drain it, log it, show it
 *
 * An undrained terminal blocks its guest after 15 kB, a closed one sends SIGHUP; so the keeper
 * always reads, into a log of bounded size, but not faster than RATE bytes a second, because the
 * work of a guest that floods its console is the host's. Viewers get the same bytes; one that does
 * not read for a second is dropped. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/list.h"
#include "lib/base/loop.h"

struct console {
	struct loop *loop;
	struct loop_source src;  /* the master */
	struct loop_timer pause; /* until more may be read */
	struct list viewers;
	int master, log_dir, log;
	uint64_t log_size, log_max;
	uint64_t budget, filled_usec; /* bytes that may be read now */
	char name[64];
	bool open;
};

/* MASTER becomes the console's. LOG_DIR is borrowed; the log is NAME.log and NAME.log.1 in it. */
int console_open(struct console *c, struct loop *loop, int master, int log_dir, const char *name,
		 uint64_t log_max);
/* Reads what is left, closes all. Idempotent. */
void console_close(struct console *c);
/* SOCK, a stream socket, becomes the console's: it gets the output and gives input. */
void console_view(struct console *c, int sock);
