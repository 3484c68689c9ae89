/* cosd/api.h - the handlers of lib/wire/methods.def */
#pragma once

#include "cosd/call.h"
#include "lib/wire/methods.def"

#define X(interface, name, fn, flags, in, out, help) api_fn fn;
COS_METHODS(X)
#undef X

/* What the guest sent and received, as of the last look, into J. */
struct guest;
void api_put_net(json_t *j, const struct guest *g);
/* The same of its own files, if they are counted. */
void api_put_disk(json_t *j, struct guest *g);
