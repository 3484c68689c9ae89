/* lib/model/state.c - names of a guest's states and events */
#include <stddef.h>

#include "lib/base/own.h"
#include "lib/model/state.h"
#include "lib/model/vmend.def"

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

const char *vm_end_text(int status)
{
	static const struct {
		const char *name;
		int status;
	} ends[] = {
#define X(code, name, status, help) { name, status },
		VM_ENDS(X)
#undef X
	};
	const size_t last = ARRAY_SIZE(ends) - 1; /* which stands for all from its status on */

	for (size_t i = 0; i <= last; i++) {
		if (ends[i].status == status || (i == last && status > ends[i].status))
			return ends[i].name;
	}
	return NULL;
}
