/* lib/model/limits.c - the limits of a guest: one row each */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/resource.h>

#include "lib/base/jsonx.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "lib/model/limits.h"

const char *const cg_ctl_name[CTL__N][CG_V2 + 1] = {
#define X(id, v1, v2) [CTL_##id] = { [CG_V1] = v1, [CG_V2] = v2 },
	COS_CONTROLLERS(X)
#undef X
};

const struct limit_def limit_defs[LIMIT__N] = {
#define X(id, n, u, lo, hi, w, def, own, c, h)                                                     \
	[LIMIT_##id] = { n, UNIT_##u, lo, hi, w, def, own, CTL_##c, -1, h },
	COS_CG_LIMITS(X)
#undef X
#define X(id, n, u, lo, hi, w, def, h)                                                             \
	[LIMIT_##id] = { n, UNIT_##u, lo, hi, w, def, def, CTL__N, -1, h },
		COS_NET_LIMITS(X) COS_DISK_LIMITS(X)
#undef X
#define X(id, n, u, res, h)                                                                        \
	[LIMIT_##id] = { .name = n,                                                                \
			 .unit = UNIT_##u,                                                         \
			 .min = 0,                                                                 \
			 .max = 1ULL << 62,                                                        \
			 .word = "max",                                                            \
			 .dflt = LIMIT_MAX,                                                        \
			 .kernel = LIMIT_MAX,                                                      \
			 .resource = res,                                                          \
			 .help = h },
			COS_RLIMITS(X)
#undef X
};

static int bool_from_text(const char *s, uint64_t *ret)
{
	if (strcmp(s, "true") != 0 && strcmp(s, "false") != 0)
		return -EINVAL;
	*ret = s[0] == 't';
	return 0;
}

static char *bool_to_text(char *buf, uint64_t v)
{
	return strcpy(buf, v ? "true" : "false");
}

#define DAY 86400

static int period_from_text(const char *s, uint64_t *ret)
{
	uint64_t usec = DAY * 1000000ULL;

	if ((strcmp(s, "day") != 0 && str_to_usec(s, &usec) < 0) || usec % 1000000)
		return -EINVAL;
	*ret = usec / 1000000;
	return 0;
}

static char *period_to_text(char *buf, uint64_t v)
{
	snprintf(buf, LIMIT_TEXT_SIZE, v == DAY ? "day" : "%" PRIu64 "s", v);
	return buf;
}

/* A list of CPUs has a parser of its own. */
static const struct {
	int (*parse)(const char *s, uint64_t *ret);
	char *(*print)(char *buf, uint64_t v);
	uint64_t factor; /* of a plain JSON integer; 0: there is no such form */
	const char *form;
} units[UNIT__N] = {
	[UNIT_MCPU] = { str_to_mcpu, str_from_mcpu, 1000, "CPUs such as 500m, 0.5, 50% or 2" },
	[UNIT_USEC] = { str_to_usec, str_from_usec, 1000000, "a time such as 0.5, 250ms or 1s" },
	[UNIT_WEIGHT] = { str_to_u64, NULL, 1, "a whole number" },
	[UNIT_BOOL] = { bool_from_text, bool_to_text, 0, "true or false" },
	[UNIT_CPUS] = { NULL, NULL, 0, "a list of CPUs such as 0-3,7" },
	[UNIT_BYTES] = { str_to_bytes, str_from_bytes, 1, "bytes such as 65536, 64K, 512M or 2G" },
	[UNIT_BITS] = { str_to_bits, str_from_bits, 1,
			"bits per second such as 500kbit, 20Mbit or 1Gbit" },
	[UNIT_PERIOD] = { period_from_text, period_to_text, 1,
			  "day, month or seconds such as 3600s" },
	[UNIT_COUNT] = { str_to_u64, NULL, 1, "a whole number" },
};

void limits_init(struct limits *l)
{
	memset(l, 0, sizeof(*l));
	for (int id = 0; id < LIMIT__N; id++)
		l->v[id] = limit_defs[id].dflt;
}

void limits_kernel(struct limits *l)
{
	memset(l, 0, sizeof(*l));
	for (int id = 0; id < LIMIT__N; id++)
		l->v[id] = limit_defs[id].kernel;
}

enum limit_id limit_find(const char *name)
{
	enum limit_id id = 0;

	while (id < LIMIT__N && strcmp(limit_defs[id].name, name) != 0)
		id++;
	return id;
}

char *limit_print(enum limit_id id, uint64_t v, char *buf)
{
	if (v == LIMIT_MAX && limit_defs[id].word)
		return strcpy(buf, limit_defs[id].word);
	if (units[limit_defs[id].unit].print)
		return units[limit_defs[id].unit].print(buf, v);
	snprintf(buf, LIMIT_TEXT_SIZE, "%" PRIu64, v);
	return buf;
}

char *limit_text(const struct limits *l, enum limit_id id, char *buf)
{
	if (limit_defs[id].unit != UNIT_CPUS || l->v[id] == LIMIT_MAX)
		return limit_print(id, l->v[id], buf);
	cpus_print(&l->cpus, buf);
	return buf;
}

char *limit_range(enum limit_id id, char *buf)
{
	const struct limit_def *d = &limit_defs[id];
	char lo[LIMIT_TEXT_SIZE], hi[LIMIT_TEXT_SIZE];

	if (d->unit == UNIT_BOOL)
		return strcpy(buf, "true, false");
	if (d->unit == UNIT_CPUS)
		snprintf(buf, LIMIT_TEXT_SIZE, "CPUs 0..%d", CPUS_MAX - 1);
	else
		snprintf(buf, LIMIT_TEXT_SIZE, "%.40s..%.40s", limit_print(id, d->min, lo),
			 limit_print(id, d->max, hi));
	if (d->word)
		str_fmt(buf + strlen(buf), LIMIT_TEXT_SIZE - strlen(buf), ", %s", d->word);
	return buf;
}

static int check_range(enum limit_id id, uint64_t v, const char *at, uint64_t *ret,
		       struct cos_err *err)
{
	const struct limit_def *d = &limit_defs[id];
	char value[LIMIT_TEXT_SIZE], range[LIMIT_TEXT_SIZE];

	if (id == LIMIT_CPU_RATE && v == 0)
		v = LIMIT_MAX;
	if (v != LIMIT_MAX && (v < d->min || v > d->max))
		return jsonx_bad(err, at, "%.40s is not in %.80s", limit_print(id, v, value),
				 limit_range(id, range));
	*ret = v;
	return 0;
}

int limit_parse(struct limits *l, enum limit_id id, const char *text, const char *at,
		struct cos_err *err)
{
	const struct limit_def *d = &limit_defs[id];
	struct cpus cpus = { 0 };
	uint64_t v = LIMIT_MAX;
	int r = 0;

	if (!d->word || strcmp(text, d->word) != 0) {
		r = d->unit == UNIT_CPUS ? cpus_parse(text, &cpus) : units[d->unit].parse(text, &v);
		if (r == 0 && d->unit == UNIT_CPUS)
			v = cpus_count(&cpus);
		if (r < 0 || v == LIMIT_MAX)
			return jsonx_bad(err, at, "\"%.40s\" is not %s",
					 str_is_text(text, 4096) ? text : "(unprintable)",
					 units[d->unit].form);
	}
	r = check_range(id, v, at, &l->v[id], err);
	if (r == 0 && d->unit == UNIT_CPUS)
		l->cpus = cpus;
	return r;
}

static int parse_one(struct limits *l, enum limit_id id, json_t *v, const char *at,
		     struct cos_err *err)
{
	uint64_t factor = units[limit_defs[id].unit].factor, n;
	int r;

	if (json_is_string(v)) {
		r = limit_parse(l, id, json_string_value(v), at, err);
	} else if (json_is_boolean(v) && limit_defs[id].unit == UNIT_BOOL) {
		l->v[id] = json_is_true(v);
		r = 0;
	} else if (json_is_integer(v) && json_integer_value(v) >= 0 && factor) {
		if (__builtin_mul_overflow((uint64_t)json_integer_value(v), factor, &n))
			return jsonx_bad(err, at, "out of range");
		r = check_range(id, n, at, &l->v[id], err);
	} else {
		return jsonx_bad(err, at, "not %s", units[limit_defs[id].unit].form);
	}
	if (r == 0)
		l->set[id] = true;
	return r;
}

int limits_parse(struct limits *l, json_t *obj, const char *at, struct cos_err *err)
{
	const char *key;
	json_t *v;

	if (!json_is_object(obj))
		return jsonx_bad(err, at, "not an object");
	json_object_foreach(obj, key, v) {
		enum limit_id id = limit_find(key);
		char path[200];
		int r;

		str_fmt(path, sizeof(path), "%s/%s", at,
			str_is_text(key, 64) ? key : "(unprintable)");
		if (id == LIMIT__N)
			return jsonx_bad(err, path, "unknown limit");
		r = parse_one(l, id, v, path, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static bool part_of_page(uint64_t v, uint64_t page)
{
	return v != LIMIT_MAX && v % page;
}

/* Rows that make no sense beside each other. X(id, whether it is so, what is wrong) */
#define CONFLICTS(X)                                                                               \
	X(CPU_BURST, v[LIMIT_CPU_BURST] && v[LIMIT_CPU_RATE] == LIMIT_MAX,                         \
	  "needs cpu.rate: without one nothing is saved")                                          \
	X(CPU_HOLD, v[LIMIT_CPU_HOLD] && v[LIMIT_CPU_RATE] == LIMIT_MAX,                           \
	  "needs cpu.rate: without one no bucket is empty")                                        \
	X(CPU_HOLD, v[LIMIT_CPU_HOLD] > v[LIMIT_CPU_BURST],                                        \
	  "is above cpu.burst: so much is never saved")                                            \
	X(CPU_RESERVE, v[LIMIT_CPU_RESERVE] > v[LIMIT_CPU_RATE], "is above cpu.rate")              \
	X(CPU_RESERVE,                                                                             \
	  v[LIMIT_CPU_RESERVE] && v[LIMIT_CPU_IDLE] && v[LIMIT_CPU_RATE] == LIMIT_MAX,             \
	  "cannot stand beside cpu.idle without cpu.rate")                                         \
	X(CPU_DEDICATED, v[LIMIT_CPU_DEDICATED] && v[LIMIT_CPU_SET] == LIMIT_MAX,                  \
	  "needs cpu.set: which CPUs?")                                                            \
	X(MEMORY_HIGH,                                                                             \
	  v[LIMIT_MEMORY_HIGH] != LIMIT_MAX && v[LIMIT_MEMORY_HIGH] > v[LIMIT_MEMORY_MAX],         \
	  "is above memory.max")                                                                   \
	X(MEMORY_RESERVE, v[LIMIT_MEMORY_RESERVE] > v[LIMIT_MEMORY_MAX], "is above memory.max")    \
	X(MEMORY_SWAP, v[LIMIT_MEMORY_SWAP] != LIMIT_MAX && v[LIMIT_MEMORY_MAX] == LIMIT_MAX,      \
	  "needs memory.max")                                                                      \
	X(IO_BURST,                                                                                \
	  v[LIMIT_IO_BURST] && v[LIMIT_IO_RBPS] == LIMIT_MAX && v[LIMIT_IO_WBPS] == LIMIT_MAX &&   \
		  v[LIMIT_IO_RIOPS] == LIMIT_MAX && v[LIMIT_IO_WIOPS] == LIMIT_MAX,                \
	  "needs a cap of io: without one nothing is saved")                                       \
	X(NET_RATE, v[LIMIT_NET_RATE] > v[LIMIT_NET_CEIL], "is above net.ceil")                    \
	X(NET_EXEMPT_RATE, v[LIMIT_NET_EXEMPT_RATE] > v[LIMIT_NET_EXEMPT_CEIL],                    \
	  "is above net.exempt.ceil")                                                              \
	X(HUGEPAGES_2M, part_of_page(v[LIMIT_HUGEPAGES_2M], 2ULL << 20), "is not whole pages")     \
	X(HUGEPAGES_1G, part_of_page(v[LIMIT_HUGEPAGES_1G], 1ULL << 30), "is not whole pages")

int limits_check(const struct limits *l, const char *at, struct cos_err *err)
{
	const uint64_t *v = l->v;
	char text[LIMIT_TEXT_SIZE];

#define X(id, wrong, why)                                                                          \
	if (wrong)                                                                                 \
		return jsonx_bad(err, at, "%s=%.80s %s", limit_defs[LIMIT_##id].name,              \
				 limit_text(l, LIMIT_##id, text), why);
	CONFLICTS(X)
#undef X
	return 0;
}
