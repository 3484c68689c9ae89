/* cosd/guest-state.c - the whole lifecycle of a guest; no other file assigns g->state */
#include "cosd/guest.h"
#include "lib/base/own.h"
#include "lib/base/str.h"

struct transition {
	guest_action *act; /* NULL: refused */
	enum guest_state next;
};

/* clang-format off */
static const struct transition table[GS__N][GE__N] = {
	[GS_DEFINED] = {
		[GE_START]   = { act_start,   GS_STARTING },
	},
	[GS_FAILED] = {
		[GE_START]   = { act_start,   GS_STARTING },
	},
	[GS_STARTING] = {
		[GE_READY]   = { act_running, GS_RUNNING },
		[GE_FAIL]    = { act_failed,  GS_FAILED },
		[GE_TIMEOUT] = { act_failed,  GS_FAILED },
		[GE_STOP]    = { act_abort,   GS_DEFINED },
		[GE_KILL]    = { act_abort,   GS_DEFINED },
	},
	[GS_RUNNING] = {
		[GE_FREEZE]  = { act_freeze,  GS_FROZEN },
		[GE_STOP]    = { act_stop,    GS_STOPPING },
		[GE_KILL]    = { act_kill,    GS_STOPPING },
		[GE_EXIT]    = { act_reap,    GS_DEFINED },
		[GE_FAIL]    = { act_reap,    GS_FAILED },
	},
	[GS_FROZEN] = {
		[GE_THAW]    = { act_thaw,    GS_RUNNING },
		[GE_STOP]    = { act_stop,    GS_STOPPING },
		[GE_KILL]    = { act_kill,    GS_STOPPING },
		[GE_EXIT]    = { act_reap,    GS_DEFINED },
		[GE_FAIL]    = { act_reap,    GS_FAILED },
	},
	[GS_STOPPING] = {
		[GE_KILL]    = { act_kill,    GS_STOPPING },
		[GE_TIMEOUT] = { act_kill,    GS_STOPPING },
		[GE_EXIT]    = { act_reap,    GS_DEFINED },
	},
};
/* clang-format on */

/* Which error a refused event is: most callers want to know that the guest does not run. */
static enum cos_err_code refusal(const struct guest *g)
{
	return g->state == GS_DEFINED || g->state == GS_FAILED ? COS_E_NOT_RUNNING : COS_E_STATE;
}

/* The action runs in the old state; the state changes only if it succeeds. */
int guest_event(struct guest *g, enum guest_event ev, struct cos_err *err)
{
	const struct transition *tr = &table[g->state][ev];
	int r;

	if (!tr->act)
		return cos_fail(err, refusal(g), 0, "%s of %s, which is %s", guest_event_name[ev],
				g->name, guest_state_name[g->state]);
	r = tr->act(g, err);
	if (r < 0)
		return r;
	g->state = tr->next;
	return 0;
}

/* --- after a restart of the worker there are states that nobody moved to --- */

void guest_adopted(struct guest *g)
{
	g->state = GS_RUNNING;
	if (g->stop_asked)
		g->state = GS_STOPPING;
	else if (guest_is_frozen(g))
		g->state = GS_FROZEN;
}

void guest_restore_end(struct guest *g, const char *reason)
{
	str_fmt(g->reason, sizeof(g->reason), "%s", reason);
	g->state = reason[0] ? GS_FAILED : GS_DEFINED;
}
