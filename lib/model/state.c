/* lib/model/state.c - names of a guest's states and events */
#include "lib/model/state.h"

const char *const guest_state_name[GS__N] = {
#define X(id, name, help) [GS_##id] = name,
	COS_STATES(X)
#undef X
};

const char *const guest_health_name[HEALTH__N] = {
#define X(id, name, help) [HEALTH_##id] = name,
	COS_HEALTH(X)
#undef X
};

const char *const guest_event_name[GE__N] = {
#define X(id, name) [GE_##id] = name,
	COS_EVENTS(X)
#undef X
};
