/* lib/model/limits.h - the limits of a guest: one row each, see limits.def
 *
 * Pure functions and data. A struct limits always holds a value for each control group row (its
 * default when it was not set); an rlimit row that was not set is not applied. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "lib/base/cpus.h"
#include "lib/base/err.h"
#include "lib/model/limits.def"

#define LIMIT_MAX       UINT64_MAX
#define LIMIT_TEXT_SIZE CPUS_TEXT_SIZE
#define BFQ_WEIGHT_MAX  1000 /* of the kernel's bfq; io.cost takes 10000 */

enum cg_version { CG_V1 = 1, CG_V2 = 2 };

/* Controllers, and the v1 hierarchies that v2 has without one. X(id, name in v1, name in v2; NULL:
 * part of v2 itself) */
#define COS_CONTROLLERS(X)                                                                         \
	X(CPU, "cpu", "cpu")                                                                       \
	X(MEMORY, "memory", "memory")                                                              \
	X(PIDS, "pids", "pids")                                                                    \
	X(CPUSET, "cpuset", "cpuset")                                                              \
	X(IO, "blkio", "io")                                                                       \
	X(HUGETLB, "hugetlb", "hugetlb")                                                           \
	X(DEVICES, "devices", NULL)                                                                \
	X(CPUACCT, "cpuacct", NULL)                                                                \
	X(FREEZER, "freezer", NULL)

enum cg_ctl {
#define X(id, ...) CTL_##id,
	COS_CONTROLLERS(X)
#undef X
		CTL__N
};

extern const char *const cg_ctl_name[CTL__N][CG_V2 + 1]; /* by version */

enum limit_unit {
	UNIT_MCPU,
	UNIT_USEC,
	UNIT_WEIGHT,
	UNIT_BOOL,
	UNIT_CPUS,
	UNIT_BYTES,
	UNIT_BITS,
	UNIT_PERIOD, /* seconds */
	UNIT_COUNT,
	UNIT__N
};

enum limit_id {
#define X(id, ...) LIMIT_##id,
	COS_CG_LIMITS(X) LIMIT__CG, /* rows below this one live in control groups */
	LIMIT__FIRST_NET = LIMIT__CG - 1,
	COS_NET_LIMITS(X) LIMIT__NET, /* from LIMIT__CG to here: the network's */
	LIMIT__FIRST_DISK = LIMIT__NET - 1,
	COS_DISK_LIMITS(X) LIMIT__DISK, /* from LIMIT__NET to here: of its files */
	LIMIT__FIRST_R = LIMIT__DISK - 1,
	COS_RLIMITS(X)
#undef X
		LIMIT__N
};

struct limits {
	uint64_t v[LIMIT__N]; /* in the unit of the row */
	bool set[LIMIT__N];   /* by the user or a profile */
	struct cpus cpus;     /* of cpu.set, unless that is LIMIT_MAX */
};

struct limit_def {
	const char *name;
	enum limit_unit unit;
	uint64_t min, max;
	const char *word; /* for LIMIT_MAX; NULL: the row has no such value */
	uint64_t dflt;
	uint64_t kernel; /* what a new control group has */
	enum cg_ctl ctl; /* control group rows */
	int resource;    /* rlimit rows, else -1 */
	const char *help;
};

extern const struct limit_def limit_defs[LIMIT__N];

/* What a knob's text depends on beside the limits. */
struct knob_host {
	enum cg_version version;
	const char *cpus; /* of guests whose cpu.set is "all" */
	const char *disk; /* "8:0", for rows with a line for each */
};

#define KNOB_TEXT_SIZE (CPUS_TEXT_SIZE + 32)

struct knob {
	enum limit_id limit;
	enum cg_version version;
	const char *file;
	/* Fills BUF, KNOB_TEXT_SIZE bytes; "": nothing is to be written. */
	void (*text)(char *buf, enum limit_id id, const struct limits *l,
		     const struct knob_host *h);
	const char *rest; /* written instead, when the text is about to change; or NULL */
	bool each_disk;
};

extern const struct knob knobs[];
extern const unsigned n_knobs;

/* What the kernel's period in microseconds is for a rate, and its weight for a share. */
uint64_t limits_cpu_period(const struct limits *l);
uint64_t limits_cpu_weight(uint64_t share, enum cg_version version);

struct counter {
	enum limit_id limit;
	enum cg_version version;
	const char *held, *most, *hits, *hits_key, *told, *told_key;
};

extern const struct counter counters[];
extern const unsigned n_counters;

/* All defaults, nothing set. */
void limits_init(struct limits *l);
/* What a new control group has. */
void limits_kernel(struct limits *l);
/* The row named NAME, or LIMIT__N. */
enum limit_id limit_find(const char *name);
/* Reads a value with its unit into L; the same check for JSON, command line and API. AT names it in
 * errors. L->set is not changed. */
int limit_parse(struct limits *l, enum limit_id id, const char *text, const char *at,
		struct cos_err *err);
/* Fills L from an object {"cpu.rate": "500m", "pids.max": 64}; strings have units, integers are in
 * CPUs, seconds, bytes or counts. Keys not named keep what L has. */
int limits_parse(struct limits *l, json_t *obj, const char *at, struct cos_err *err);
/* Whether the rows agree with each other. */
int limits_check(const struct limits *l, const char *at, struct cos_err *err);
/* The value as the user would write it; BUF takes LIMIT_TEXT_SIZE bytes. Returns BUF. */
char *limit_text(const struct limits *l, enum limit_id id, char *buf);
/* The same for a number alone; a list of CPUs shows as how many they are. */
char *limit_print(enum limit_id id, uint64_t v, char *buf);
/* "1..10000" and the like for manuals and errors; BUF takes LIMIT_TEXT_SIZE bytes. Returns BUF. */
char *limit_range(enum limit_id id, char *buf);
