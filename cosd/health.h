/* cosd/health.h - checks of guests' health: commands that are run in them again and again */
#pragma once

#include "cosd/guest.h"

/* G runs, and its checks begin if it has any: with STATE, HEALTH_STARTING but after a restart of
 * the worker. */
void health_begin(struct guest *g, enum guest_health state);
/* It is stopping, or gone: its checks are over. */
void health_end(struct guest *g);
/* Before it is frozen, and after it is thawed or could not be frozen. */
void health_pause(struct guest *g);
void health_resume(struct guest *g);
/* Its specification was another one before. */
void health_changed(struct guest *g, const struct spec *before);
bool health_is_good(const struct guest *g);
bool health_is_bad(const struct guest *g);
/* NULL: it has no checks, or does not run. */
const char *health_name(const struct guest *g);
