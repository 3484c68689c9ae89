/* cosd/requires.h - guests that need others: those run, and are healthy, before them */
#pragma once

#include "cosd/guest.h"

/* Refuses what S requires when that leads back to the guest of S itself, or through too many. */
int requires_check(struct daemon *d, const struct spec *s, struct cos_err *err);
/* The same for a start, for which they have to exist, too. */
int requires_admit(const struct guest *g, struct cos_err *err);
/* Whether the start of G has to wait. If so they are started, and guest_required() is called from
 * within the loop once they are up, or when one of them fails. */
bool requires_wait(struct guest *g);
/* G waits no more: its start was given up. */
void requires_forget(struct guest *g);
/* G's state or health changed, or it is gone: guests that wait for it look again. */
void requires_tell(const struct guest *g);
void requires_init(struct daemon *d);
