/* cosd/admit.h - what the host has to give, what guests that run were promised, and whether one
 * more fits; and the weights that keep cpu.reserve */
#pragma once

#include "cosd/guest.h"

/* Of one resource, in the base unit of its limit. LIMIT_MAX: has no meaning, or some guest has no
 * limit. */
struct amount {
	uint64_t total;    /* what there is */
	uint64_t limit;    /* what may be reserved: total by the over-commit policy */
	uint64_t reserved; /* what guests have for sure */
	uint64_t promised; /* what their limits allow together */
	uint64_t used;     /* now */
};

enum admit_id { ADMIT_CPU, ADMIT_MEMORY, ADMIT_NETWORK, ADMIT_DISK, ADMIT__N };

extern const char *const admit_name[ADMIT__N];

/* Bytes of a line of /proc/meminfo; 0 if it is not there. */
uint64_t admit_meminfo(const char *key);
/* All guests that run; of ADMIT_DISK all that there are. */
void admit_sum(const struct daemon *d, enum admit_id id, struct amount *ret);
/* Whether G may have what WANT reserves beside the others that run; the refusal says what would
 * fit.
 */
int admit_check(const struct guest *g, const struct limits *want, struct cos_err *err);
/* The same for net.rate, for a guest that has a link. */
int admit_check_network(const struct guest *g, const struct limits *want, struct cos_err *err);
/* The same for disk.max, which guests have that do not run, too; BUT: one that is not counted, or
 * NULL. */
int admit_check_disk(const struct daemon *d, const struct guest *but, const struct limits *want,
		     struct cos_err *err);
/* Guests come, go or change: those with cpu.reserve get a weight by which they have it whatever all
 * others do. Costs nothing while nobody reserves. */
void admit_weigh(struct daemon *d);
