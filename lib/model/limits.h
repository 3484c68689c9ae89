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

#include "lib/base/err.h"
#include "lib/model/limits.def"

#define LIMIT_MAX UINT64_MAX

enum cg_version { CG_V1 = 1, CG_V2 = 2 };

/* Controllers, and the v1 hierarchies that v2 has without one. X(id, name) */
#define COS_CONTROLLERS(X)                                                                         \
	X(CPU, "cpu")                                                                              \
	X(MEMORY, "memory")                                                                        \
	X(PIDS, "pids")                                                                            \
	X(DEVICES, "devices")                                                                      \
	X(CPUACCT, "cpuacct")                                                                      \
	X(FREEZER, "freezer")

enum cg_ctl {
#define X(id, ...) CTL_##id,
	COS_CONTROLLERS(X)
#undef X
		CTL__N
};

extern const char *const cg_ctl_name[CTL__N];

enum limit_unit { UNIT_MCPU, UNIT_BYTES, UNIT_COUNT, UNIT__N };

enum limit_id {
#define X(id, ...) LIMIT_##id,
	COS_CG_LIMITS(X) LIMIT__CG, /* rows below this one live in control groups */
	LIMIT__FIRST_R = LIMIT__CG - 1,
	COS_RLIMITS(X)
#undef X
		LIMIT__N
};

struct limits {
	uint64_t v[LIMIT__N]; /* in the unit of the row */
	bool set[LIMIT__N];   /* by the user or a profile */
};

struct limit_def {
	const char *name;
	enum limit_unit unit;
	uint64_t min, max, dflt;
	uint64_t kernel;             /* what a new control group has */
	enum cg_ctl ctl;             /* control group rows */
	const char *file[CG_V2 + 1]; /* by enum cg_version */
	int (*fmt)(char *buf, size_t size, uint64_t v, enum cg_version ver);
	int resource; /* rlimit rows, else -1 */
	const char *help;
};

extern const struct limit_def limit_defs[LIMIT__N];

/* All defaults, nothing set. */
void limits_init(struct limits *l);
/* The row named NAME, or LIMIT__N. */
enum limit_id limit_find(const char *name);
/* Reads a value with its unit; the same check for JSON, command line and API. AT names it in
 * errors. */
int limit_parse(enum limit_id id, const char *text, const char *at, uint64_t *ret,
		struct cos_err *err);
/* Fills L from an object {"cpu.rate": "500m", "pids.max": 64}; strings have units, integers are in
 * CPUs, bytes or counts. Keys not named keep what L has. */
int limits_parse(struct limits *l, json_t *obj, const char *at, struct cos_err *err);
/* The value as the user would write it; BUF takes 32 bytes. Returns BUF. */
char *limit_print(enum limit_id id, uint64_t v, char *buf);
/* "1..10000" and the like for manuals and errors; BUF takes 80 bytes. Returns BUF. */
char *limit_range(enum limit_id id, char *buf);
