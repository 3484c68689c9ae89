/* cosd/slots.c - a slot is a guest's number while it runs: its ids and the name of its control
 * groups */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cosd/guest.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "lib/kern/cg.h"

#define RETRY_USEC 2000

struct slot_grave {
	struct list link;
	int slot; /* -1: of groups that no slot has */
	char name[GROUP_NAME_SIZE];
};

static bool is_used(const struct daemon *d, unsigned slot)
{
	return d->slots[slot / 8] & 1U << slot % 8;
}

static void mark(struct daemon *d, unsigned slot, bool used)
{
	if (slot >= d->args->id_count) /* of a guest that was started when id.count was larger */
		return;
	if (used)
		d->slots[slot / 8] |= (uint8_t)(1U << slot % 8);
	else
		d->slots[slot / 8] &= (uint8_t) ~(1U << slot % 8);
}

static int lowest_free(struct daemon *d)
{
	for (unsigned s = 0; s < d->args->id_count; s++) {
		if (d->slots[s / 8] == 0xff) {
			s |= 7;
			continue;
		}
		if (!is_used(d, s)) {
			mark(d, s, true);
			return (int)s;
		}
	}
	return -1;
}

unsigned slots_end(const struct daemon *d)
{
	unsigned end = d->args->id_count;
	const struct list *p;

	list_for_each(p, &d->guests) {
		const struct guest *g = list_entry(p, struct guest, link);

		if (g->slot >= 0 && (unsigned)g->slot >= end)
			end = (unsigned)g->slot + 1;
	}
	return end;
}

int slot_lease_spare(struct daemon *d)
{
	unsigned used = 0;

	for (unsigned i = 0; i <= d->args->id_count / 8; i++)
		used += (unsigned)__builtin_popcount(d->slots[i]);
	return used > d->args->id_count / 4 * 3 ? -1 : lowest_free(d);
}

void slot_free(struct daemon *d, unsigned slot)
{
	mark(d, slot, false);
}

int slot_lease(struct daemon *d, struct cos_err *err)
{
	int slot = lowest_free(d);

	if (slot < 0 && pool_give_up_one(d))
		slot = lowest_free(d);
	if (slot >= 0)
		return slot;
	return cos_advise(err,
			  cos_fail(err, COS_E_ADMISSION, 0,
				   "all %u ranges of user ids (id.count) are in use",
				   d->args->id_count),
			  "stop guests, or raise id.count in cosd.json and restart cosd");
}

void slot_take(struct daemon *d, unsigned slot)
{
	mark(d, slot, true);
}

uint32_t slot_id_base(const struct daemon *d, unsigned slot)
{
	return d->args->id_base + slot * 65536U;
}

void slot_name(int slot, char buf[static SLOT_NAME_SIZE])
{
	str_fmt(buf, SLOT_NAME_SIZE, "%d", slot);
}

static bool bury(struct daemon *d, const struct slot_grave *g)
{
	if (cg_remove(&d->host.topo, g->name) == -EBUSY)
		return false;
	if (g->slot < 0)
		return true;
	if (net_lingers(d, (unsigned)g->slot))
		return false;
	mark(d, (unsigned)g->slot, false);
	return true;
}

static void retire(struct daemon *d, const struct slot_grave *want)
{
	struct slot_grave *g;
	struct list *p;

	list_for_each(p, &d->dying) { /* buried twice it would be taken from its next guest */
		if (strcmp(list_entry(p, struct slot_grave, link)->name, want->name) == 0)
			return;
	}
	if (bury(d, want))
		return;
	g = malloc(sizeof(*g));
	if (!g)
		return; /* the slot stays used; the next start of the worker clears it */
	*g = *want;
	list_add_tail(&d->dying, &g->link);
	loop_timer_set(&d->loop, &d->reaper, RETRY_USEC);
}

void slot_retire(struct daemon *d, unsigned slot)
{
	struct slot_grave g = { .slot = (int)slot };

	slot_name((int)slot, g.name);
	retire(d, &g);
}

void group_retire(struct daemon *d, const char *name)
{
	struct slot_grave g = { .slot = -1 };

	str_fmt(g.name, sizeof(g.name), "%s", name);
	retire(d, &g);
}

void slot_reaper_fire(struct loop_timer *t)
{
	struct daemon *d = container_of(t, struct daemon, reaper);
	struct list *p, *next;

	list_for_each_safe(p, next, &d->dying) {
		struct slot_grave *g = list_entry(p, struct slot_grave, link);

		if (bury(d, g)) {
			list_del(&g->link);
			free(g);
		}
	}
	if (!list_is_empty(&d->dying))
		loop_timer_set(&d->loop, &d->reaper, RETRY_USEC * 10ULL);
}
