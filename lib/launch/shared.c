/* lib/launch/shared.c - steps that containers and machines have in common */
#include <poll.h>

#include "lib/base/own.h"
#include "lib/kern/proc.h"
#include "lib/launch/shared.h"

bool step_has_answer(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, 0) > 0;
}

int step_cgroup(struct launch *l, struct cos_err *err)
{
	const struct cg_topo *t = &l->host->topo;
	/* a machine has nothing inside that could use groups of its own */
	uid_t owner = l->spec->type == GUEST_CONTAINER && l->spec->userns ? l->id_base : 0;
	int dev = t->where[CTL_DEVICES], r;

	r = cg_make(t, l->slot, owner, &l->cg, err);
	if (r == 0)
		r = cg_apply(t, &l->cg, &l->spec->limits, NULL, false, err);
	if (r < 0)
		return r;
	if (dev < 0)
		return cos_fail(err, COS_E_UNSUPPORTED, 0,
				"neither cgroup v2 nor v1 devices is mounted");
	if (t->h[dev].version == CG_V1)
		r = dev_v1_apply(&l->rules->devices, l->cg.dir[dev], err);
	else if ((r = dev_bpf_attach(l->rules->dev_prog, l->cg.dir[dev])) < 0)
		r = cos_fail(err, COS_E_KERNEL, -r, "attach the device program");
	return r < 0 ? r : cg_open_tasks(t, &l->cg, l->tasks, err);
}

void step_close_inherited(struct launch *l)
{
	for (int *t = l->tasks; *t >= 0; t++)
		close_p(t);
	for (size_t i = 0; i < ARRAY_SIZE(l->binds); i++)
		close_p(&l->binds[i]);
}

void step_cgroup_undo(struct launch *l)
{
	step_close_inherited(l);
	cg_close(&l->cg);
	cg_remove(&l->host->topo, l->slot);
}

void step_birth_undo(struct launch *l)
{
	if (l->pidfd < 0)
		return;
	proc_kill_wait(l->pidfd);
	close_p(&l->pidfd);
	close_p(&l->console);
}

void step_network_undo(struct launch *l)
{
	if (l->net)
		launch_net_detach(l->net);
}

int step_record(struct launch *l, struct cos_err *err)
{
	return l->ops->record(l, err);
}
