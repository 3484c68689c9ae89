/* cosd/job-group.c - the control group of work in the background */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cosd/job-group.h"
#include "lib/base/log.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "lib/kern/cg-meter.h"
#include "lib/kern/cg.h"
#include "lib/model/limits.h"

#define WEIGHT 20 /* a fifth of what a guest has that asks for nothing */

struct job_group {
	char name[GROUP_NAME_SIZE];
	struct cg_guest cg;
	struct cg_meter meter;
	unsigned jobs;
};

/* As a new group, but for its shares. With less, or with cpu.idle, it would not come to its end
 * beside a dozen busy guests. What the host does not have is not written. */
static void behind(struct limits *ret)
{
	limits_kernel(ret);
	ret->v[LIMIT_CPU_SHARE] = WEIGHT;
	ret->v[LIMIT_IO_WEIGHT] = WEIGHT;
}

static int make(struct daemon *d, struct job_group *g, struct cos_err *err)
{
	static unsigned n;
	struct limits l;
	int r;

	behind(&l);
	str_fmt(g->name, sizeof(g->name), "job.%d.%u", (int)getpid(), ++n);
	r = cg_make(&d->host.topo, g->name, 0, &g->cg, err);
	if (r < 0)
		return r;
	r = cg_apply(&d->host.topo, &g->cg, &l, NULL, false, err);
	if (r == 0 && cg_meter_open(&d->host.topo, &g->cg, &g->meter) < 0)
		r = cos_fail(err, COS_E_KERNEL, 0, "open the counters of %s", g->name);
	if (r == 0) {
		cg_let_hurry(&d->host.topo, &g->cg);
		return 0;
	}
	cg_close(&g->cg);
	cg_remove(&d->host.topo, g->name);
	return r;
}

const struct cg_guest *job_group_enter(struct daemon *d, struct cos_err *err)
{
	struct job_group *g = d->job_group;

	if (!g) {
		g = calloc(1, sizeof(*g));
		if (!g) {
			cos_fail(err, COS_E_KERNEL, ENOMEM, "control group");
			return NULL;
		}
		if (make(d, g, err) < 0) {
			free(g);
			return NULL;
		}
		d->job_group = g;
	}
	g->jobs++;
	return &g->cg;
}

void job_group_leave(struct daemon *d)
{
	struct job_group *g = d->job_group;
	struct cos_err ignored;
	struct limits l, was;

	if (--g->jobs > 0) { /* it may have been hurried */
		limits_kernel(&was);
		behind(&l);
		cg_apply(&d->host.topo, &g->cg, &l, &was, true, &ignored);
		return;
	}
	job_group_count(d, &d->background);
	d->job_group = NULL;
	cg_meter_close(&g->meter);
	cg_close(&g->cg);
	group_retire(d, g->name);
	free(g);
}

void job_group_hurry(struct daemon *d)
{
	struct limits was, l;
	struct cos_err ignored;

	behind(&was);
	limits_kernel(&l);
	cg_apply(&d->host.topo, &d->job_group->cg, &l, &was, true, &ignored);
}

void job_group_count(const struct daemon *d, struct background *ret)
{
	struct background sum = d->background;
	struct cg_counters c;

	if (d->job_group) {
		cg_meter_counters(&d->job_group->meter, &c);
		sum.cpu_usec += c.cpu_user_usec + c.cpu_system_usec;
		sum.read_bytes += c.io_read_bytes;
		sum.write_bytes += c.io_write_bytes;
	}
	*ret = sum;
}

void job_group_share_cpus(struct daemon *d)
{
	if (d->job_group && cg_share_cpus(&d->host.topo, d->job_group->name) < 0)
		log_say(LOG_WARN, "%s: cpuset.cpus not written", d->job_group->name);
}
