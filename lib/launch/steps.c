/* lib/launch/steps.c - start is a list of steps, undone backwards */
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/own.h"
#include "lib/launch/guest.h"

void launch_init(struct launch *l)
{
	*l = (struct launch){
		.stdio = { -1, -1, -1 },
		.disk = { -1, -1 },
		.sync = -1,
		.userns = -1,
		.netns = -1,
		.prep = { .sync = -1 },
		.root_mnt = -1,
		.dev_mnt = -1,
		.sys_mnt = -1,
		.tasks = { -1 },
		.cg = CG_GUEST_NONE,
		.pidfd = -1,
		.console = -1,
	};
	memset(l->binds, -1, sizeof(l->binds));
	memset(l->vm.file, -1, sizeof(l->vm.file));
	l->vm.slave = l->vm.control_end = l->vm.sync = -1;
}

const struct guest_type *launch_type(enum guest_kind kind)
{
	return kind == GUEST_VM ? &vm_type : &container_type;
}

static void point(struct launch *l, const char *step, bool after)
{
	if (l->ops->point)
		l->ops->point(l, step, after);
}

int launch_run(struct launch *l, struct cos_err *err)
{
	while (l->done < l->type->n_steps) {
		const struct step *s = &l->type->steps[l->done];
		int r;

		if (!l->step_began_usec) {
			point(l, s->name, false);
			l->step_began_usec = clock_usec();
		}
		r = s->run(l, err);
		if (r == LAUNCH_WAIT)
			return r;
		if (r < 0)
			return cos_context(err, r, "%s", s->name);
		l->ops->step_done(l, s->name, clock_usec() - l->step_began_usec);
		l->step_began_usec = 0;
		l->done++;
		point(l, s->name, true);
	}
	return 0;
}

void launch_undo(struct launch *l)
{
	if (l->step_began_usec) /* what it made before it failed, or while it waited, goes too */
		l->done++;
	l->step_began_usec = 0;
	while (l->done > 0) {
		const struct step *s = &l->type->steps[--l->done];

		if (s->undo)
			s->undo(l);
	}
	launch_finish(l);
}

void launch_finish(struct launch *l)
{
	close_p(&l->sync);
	close_p(&l->userns);
	close_p(&l->netns);
	close_p(&l->root_mnt);
	close_p(&l->dev_mnt);
	close_p(&l->sys_mnt);
	for (size_t i = 0; i < ARRAY_SIZE(l->stdio); i++)
		close_p(&l->stdio[i]);
	for (size_t i = 0; i < ARRAY_SIZE(l->disk); i++)
		close_p(&l->disk[i]);
	free(l->resolv);
	l->resolv = NULL;
}
