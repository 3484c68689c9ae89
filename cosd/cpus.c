/* cosd/cpus.c - CPUs that are one guest's own (physical partitions) against those that the others
 * share */
#include <string.h>

#include "cosd/cpus.h"
#include "cosd/job-group.h"
#include "lib/base/log.h"
#include "lib/base/own.h"

static bool names_cpus(const struct limits *l)
{
	return l->v[LIMIT_CPU_SET] != LIMIT_MAX;
}

static bool owns_cpus(const struct limits *l)
{
	return l->v[LIMIT_CPU_DEDICATED] && names_cpus(l);
}

void cpus_survey(const struct daemon *d, struct cpus *ret_all, struct cpus *ret_owned)
{
	struct list *p;

	*ret_all = *ret_owned = (struct cpus){ 0 };
	cpus_parse(d->host.topo.cpus, ret_all);
	list_for_each(p, &d->guests) {
		const struct guest *e = list_entry(p, struct guest, link);

		if (e->slot >= 0 && owns_cpus(&e->spec.limits))
			*ret_owned = cpus_either(ret_owned, &e->spec.limits.cpus);
	}
}

/* Another guest that runs and has some of the same CPUs, where one of both wants them for itself.
 */
static const struct guest *rival(const struct guest *g, const struct limits *want,
				 struct cpus *ret_common)
{
	struct list *p;

	list_for_each(p, &g->d->guests) {
		const struct guest *e = list_entry(p, struct guest, link);
		const struct limits *l = &e->spec.limits;

		if (e == g || e->slot < 0 || !names_cpus(l) || !(owns_cpus(l) || owns_cpus(want)))
			continue;
		*ret_common = cpus_both(&l->cpus, &want->cpus);
		if (cpus_count(ret_common))
			return e;
	}
	return NULL;
}

/* A guest that shares, G with WANT included; NULL if all name their CPUs. */
static const struct guest *sharer(const struct guest *g, const struct limits *want)
{
	struct list *p;

	if (!names_cpus(want))
		return g;
	list_for_each(p, &g->d->guests) {
		const struct guest *e = list_entry(p, struct guest, link);

		if (e != g && e->slot >= 0 && !names_cpus(&e->spec.limits))
			return e;
	}
	return NULL;
}

static struct cpus left_over(const struct guest *g, const struct limits *want)
{
	struct cpus all, owned = { 0 };
	struct list *p;

	cpus_parse(g->d->host.topo.cpus, &all);
	list_for_each(p, &g->d->guests) {
		const struct guest *e = list_entry(p, struct guest, link);

		if (e != g && e->slot >= 0 && owns_cpus(&e->spec.limits))
			owned = cpus_either(&owned, &e->spec.limits.cpus);
	}
	if (owns_cpus(want))
		owned = cpus_either(&owned, &want->cpus);
	return cpus_without(&all, &owned);
}

int cpus_admit(const struct guest *g, const struct limits *want, struct cos_err *err)
{
	char text[CPUS_TEXT_SIZE];
	const struct guest *other = NULL;
	struct cpus common, left;

	if (!owns_cpus(want) && cpus_count(&g->d->owned_cpus) == 0)
		return 0;
	if (names_cpus(want))
		other = rival(g, want, &common);
	if (other) {
		cpus_print(&common, text);
		return cos_advise(err,
				  cos_fail(err, COS_E_ADMISSION, 0, "cpu.set: CPU %.80s is %s %s",
					   text,
					   owns_cpus(&other->spec.limits) ? "dedicated to"
									  : "in the cpu.set of",
					   other->name),
				  "'cosctl capacity' shows which CPUs are whose");
	}
	left = left_over(g, want);
	other = cpus_count(&left) ? NULL : sharer(g, want);
	if (!other)
		return 0;
	return cos_advise(err,
			  cos_fail(err, COS_E_ADMISSION, 0,
				   "cpu.dedicated: no CPU is left for %s, which names none",
				   other->name),
			  "'cosctl capacity' shows which CPUs are whose");
}

void cpus_share(struct daemon *d)
{
	struct cpus all, left;
	struct list *p;

	cpus_survey(d, &all, &d->owned_cpus);
	left = cpus_without(&all, &d->owned_cpus);
	if (cpus_count(&left) == 0) /* nobody shares: see cpus_admit() */
		left = all;
	cpus_print(&left, d->host.topo.shared_cpus);
	list_for_each(p, &d->guests) {
		const struct guest *e = list_entry(p, struct guest, link);
		char slot[SLOT_NAME_SIZE];

		if (e->slot < 0 || names_cpus(&e->spec.limits))
			continue;
		slot_name(e->slot, slot);
		if (cg_share_cpus(&d->host.topo, slot) < 0)
			log_say(LOG_WARN, "%s: cpuset.cpus not written", e->name);
	}
	job_group_share_cpus(d);
}

void cpus_changed(const struct guest *g)
{
	if (owns_cpus(&g->spec.limits))
		cpus_share(g->d);
}
