/* lib/launch/shared.h - steps that containers and machines have in common */
#pragma once

#include <stdbool.h>

#include "lib/launch/guest.h"

/* Whether SYNC has something to be read. */
bool step_has_answer(int sync);

/* The slot with its limits, before any process of the guest exists. */
int step_cgroup(struct launch *l, struct cos_err *err);
void step_cgroup_undo(struct launch *l);
/* What is only opened for a child to inherit. */
void step_close_inherited(struct launch *l);
/* The guest's first process goes, and its console. */
void step_birth_undo(struct launch *l);
void step_network_undo(struct launch *l);
int step_record(struct launch *l, struct cos_err *err);
