/* vmm/control.h - the control socket: one JSON object a line, each answered by one line */
#pragma once

#include <stdbool.h>

#include "lib/base/loop.h"
#include "vmm/option.h"

#define CONTROL_CLIENTS 4
#define CONTROL_LINE    1024  /* bytes of a request; a longer one ends the connection */
#define CONTROL_REPLY   32768 /* bytes of a reply at most */

struct machine;

struct control_client {
	struct loop_source src; /* fd -1: free */
	struct machine *m;
	char line[CONTROL_LINE];
	size_t used;
};

struct control {
	struct loop_source listen; /* fd -1: none */
	struct control_client client[CONTROL_CLIENTS];
};

/* Opens SOURCE (NULL: no socket) and adds it to M's loop. */
int control_init(struct control *c, struct machine *m, const char *source, struct cos_err *err);
void control_done(struct control *c);
/* Answers the LEN bytes of one request; TO takes CONTROL_REPLY bytes. Returns the reply's length,
 * with its newline, without a NUL. For control.c and its fuzz target. */
size_t control_answer(struct machine *m, const char *line, size_t len, char *to);
