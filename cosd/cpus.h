/* cosd/cpus.h - which guest may have which CPUs */
#pragma once

#include "cosd/guest.h"

/* Whether G may run with the limits WANT beside those that run: CPUs of its own are nobody else's,
 * and guests that name none keep at least one. */
int cpus_admit(const struct guest *g, const struct limits *want, struct cos_err *err);
/* Gives guests that name no CPUs those that are nobody's own; after one with CPUs of its own has
 * come, gone or changed, and at the start of the worker. */
void cpus_share(struct daemon *d);
/* As cpus_share(), if G has CPUs of its own. */
void cpus_changed(const struct guest *g);
/* The CPUs that guests may have, and those that are somebody's own. */
void cpus_survey(const struct daemon *d, struct cpus *ret_all, struct cpus *ret_owned);
