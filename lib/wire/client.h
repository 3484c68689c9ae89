/* lib/wire/client.h - the client's side: connect, call, follow; blocking */
#pragma once

#include <jansson.h>

#include "lib/base/err.h"
#include "lib/wire/frame.h"

struct client {
	int sock;
	struct frame_in in;
};

/* -ECONNREFUSED (Unreachable) names PATH. */
int client_open(const char *path, struct client *ret, struct cos_err *err);
void client_close(struct client *c);

/* Sends a call; FDS stay the caller's. With MORE the service may answer several times. */
int client_send(struct client *c, const char *method, json_t *params, bool more, const int *fds,
		unsigned n, struct cos_err *err);
/* Waits for one reply. *RET_PARAMS is the caller's (may be asked for with NULL). Returns 1 if more
 * will come, 0 if this was the last one, or the service's error in *ERR. */
int client_recv(struct client *c, json_t **ret_params, struct cos_err *err);
/* Both, for methods that answer once. */
int client_call(struct client *c, const char *method, json_t *params, json_t **ret_params,
		struct cos_err *err);
