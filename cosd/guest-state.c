/* cosd/guest-state.c - the whole lifecycle of a guest; no other file assigns g->state */
#include "cosd/bucket.h"
#include "cosd/guest.h"
#include "cosd/io-bucket.h"
#include "cosd/hits.h"
#include "cosd/requires.h"
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
		[GE_FAIL]    = { act_failed,  GS_STOPPING },
		[GE_TIMEOUT] = { act_failed,  GS_STOPPING },
		[GE_STOP]    = { act_abort,   GS_STOPPING },
		[GE_KILL]    = { act_abort,   GS_STOPPING },
	},
	[GS_RUNNING] = {
		[GE_FREEZE]  = { act_freeze,  GS_FROZEN },
		[GE_STOP]    = { act_stop,    GS_STOPPING },
		[GE_KILL]    = { act_kill,    GS_STOPPING },
		[GE_EXIT]    = { act_reap,    GS_STOPPING },
	},
	[GS_FROZEN] = {
		[GE_THAW]    = { act_thaw,    GS_RUNNING },
		[GE_STOP]    = { act_stop,    GS_STOPPING },
		[GE_KILL]    = { act_kill,    GS_STOPPING },
		[GE_EXIT]    = { act_reap,    GS_STOPPING },
	},
	[GS_STOPPING] = {
		[GE_KILL]    = { act_kill,    GS_STOPPING },
		[GE_TIMEOUT] = { act_kill,    GS_STOPPING },
		[GE_EXIT]    = { act_reap,    GS_STOPPING },
		[GE_DOWN]    = { act_down,    GS_DEFINED },
		[GE_FAIL]    = { act_down,    GS_FAILED },
	},
};
/* clang-format on */

bool guest_is_down(const struct guest *g)
{
	return g->state == GS_DEFINED || g->state == GS_FAILED;
}

/* Which error a refused event is: most callers want to know that the guest does not run. */
static enum cos_err_code refusal(const struct guest *g)
{
	return guest_is_down(g) ? COS_E_NOT_RUNNING : COS_E_STATE;
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
	g->state = tr->next == GS_DEFINED && guest_is_refused(g) ? GS_FAILED : tr->next;
	requires_tell(g);
	return 0;
}

bool guest_is_refused(const struct guest *g)
{
	return !g->spec.doc;
}

void guest_accepted(struct guest *g)
{
	g->reason[0] = '\0';
	if (g->state == GS_FAILED)
		g->state = GS_DEFINED;
}

/* --- after a restart of the worker there are states that nobody moved to --- */

void guest_adopted(struct guest *g)
{
	hits_forget(g);
	bucket_begin(g);
	io_bucket_begin(g, false);
	memory_adopted(g);
	g->state = GS_RUNNING;
	if (g->stop_asked)
		g->state = GS_STOPPING;
	else if (guest_is_freezing(g))
		g->state = GS_FROZEN;
}

void guest_restore_end(struct guest *g, const char *reason, bool hook)
{
	if (!guest_is_refused(g))
		str_fmt(g->reason, sizeof(g->reason), "%s", reason);
	g->state = g->reason[0] ? GS_FAILED : GS_DEFINED;
	if (!hook)
		return;
	g->state = GS_STOPPING;
	g->hook_due = true;
	g->end.failed = g->reason[0];
	g->stop_asked = true; /* whether it is to be started again was decided, or is forgotten */
}
