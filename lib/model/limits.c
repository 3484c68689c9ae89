/* lib/model/limits.c - the limits of a guest: one row each */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/resource.h>

#include "lib/base/jsonx.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "lib/model/limits.h"

#define PERIOD_USEC 100000U

const char *const cg_ctl_name[CTL__N] = {
#define X(id, name) [CTL_##id] = name,
	COS_CONTROLLERS(X)
#undef X
};

static int fmt_count(char *buf, size_t size, uint64_t v, enum cg_version ver)
{
	(void)ver;
	return v == LIMIT_MAX ? snprintf(buf, size, "max") : snprintf(buf, size, "%" PRIu64, v);
}

static int fmt_bytes(char *buf, size_t size, uint64_t v, enum cg_version ver)
{
	if (v == LIMIT_MAX)
		return snprintf(buf, size, ver == CG_V1 ? "-1" : "max");
	return snprintf(buf, size, "%" PRIu64, v);
}

/* Thousandths of a CPU to quota: 1000 fills exactly one period in each period. */
static int fmt_quota(char *buf, size_t size, uint64_t v, enum cg_version ver)
{
	uint64_t quota = v * PERIOD_USEC / 1000;

	if (ver == CG_V1)
		return v == LIMIT_MAX ? snprintf(buf, size, "-1")
				      : snprintf(buf, size, "%" PRIu64, quota);
	return v == LIMIT_MAX ? snprintf(buf, size, "max %u", PERIOD_USEC)
			      : snprintf(buf, size, "%" PRIu64 " %u", quota, PERIOD_USEC);
}

/* v1 shares are 1024 where v2's weight is 100, and at least 2. */
static int fmt_weight(char *buf, size_t size, uint64_t v, enum cg_version ver)
{
	uint64_t shares = v * 1024 / 100;

	if (ver == CG_V1)
		return snprintf(buf, size, "%" PRIu64, shares < 2 ? 2 : shares);
	return snprintf(buf, size, "%" PRIu64, v);
}

const struct limit_def limit_defs[LIMIT__N] = {
#define X(id, n, u, lo, hi, def, own, c, f1, f2, fn, h)                                            \
	[LIMIT_##id] = { n,  UNIT_##u, lo, hi, def, own, CTL_##c, { [CG_V1] = f1, [CG_V2] = f2 },  \
			 fn, -1,       h },
	COS_CG_LIMITS(X)
#undef X
#define X(id, n, u, res, h)                                                                        \
	[LIMIT_##id] = { .name = n,                                                                \
			 .unit = UNIT_##u,                                                         \
			 .min = 0,                                                                 \
			 .max = 1ULL << 62,                                                        \
			 .dflt = LIMIT_MAX,                                                        \
			 .kernel = LIMIT_MAX,                                                      \
			 .resource = res,                                                          \
			 .help = h },
		COS_RLIMITS(X)
#undef X
};

static const struct {
	int (*parse)(const char *s, uint64_t *ret);
	char *(*print)(char *buf, uint64_t v);
	uint64_t factor; /* of a plain JSON integer */
	const char *form;
} units[UNIT__N] = {
	[UNIT_MCPU] = { str_to_mcpu, str_from_mcpu, 1000, "CPUs such as 500m, 0.5, 50% or 2" },
	[UNIT_BYTES] = { str_to_bytes, str_from_bytes, 1, "bytes such as 65536, 64K, 512M or 2G" },
	[UNIT_COUNT] = { str_to_u64, NULL, 1, "a whole number" },
};

void limits_init(struct limits *l)
{
	memset(l, 0, sizeof(*l));
	for (int id = 0; id < LIMIT__N; id++)
		l->v[id] = limit_defs[id].dflt;
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
	if (v == LIMIT_MAX)
		return strcpy(buf, "max");
	if (units[limit_defs[id].unit].print)
		return units[limit_defs[id].unit].print(buf, v);
	snprintf(buf, 32, "%" PRIu64, v);
	return buf;
}

char *limit_range(enum limit_id id, char *buf)
{
	char lo[32], hi[32];

	snprintf(buf, 80, "%s..%s%s", limit_print(id, limit_defs[id].min, lo),
		 limit_print(id, limit_defs[id].max, hi), id == LIMIT_CPU_SHARE ? "" : ", max");
	return buf;
}

static int check_range(enum limit_id id, uint64_t v, const char *at, uint64_t *ret,
		       struct cos_err *err)
{
	const struct limit_def *d = &limit_defs[id];
	char value[32], range[80];

	if (id == LIMIT_CPU_RATE && v == 0)
		v = LIMIT_MAX;
	if (v != LIMIT_MAX && (v < d->min || v > d->max))
		return jsonx_bad(err, at, "%s is not in %s", limit_print(id, v, value),
				 limit_range(id, range));
	*ret = v;
	return 0;
}

int limit_parse(enum limit_id id, const char *text, const char *at, uint64_t *ret,
		struct cos_err *err)
{
	uint64_t v;

	if (strcmp(text, "max") == 0 && id != LIMIT_CPU_SHARE)
		v = LIMIT_MAX;
	else if (units[limit_defs[id].unit].parse(text, &v) < 0 || v == LIMIT_MAX)
		return jsonx_bad(err, at, "\"%.40s\" is not %s",
				 str_is_text(text, 4096) ? text : "(unprintable)",
				 units[limit_defs[id].unit].form);
	return check_range(id, v, at, ret, err);
}

static int parse_one(struct limits *l, enum limit_id id, json_t *v, const char *at,
		     struct cos_err *err)
{
	uint64_t factor = units[limit_defs[id].unit].factor, n;
	int r;

	if (json_is_string(v)) {
		r = limit_parse(id, json_string_value(v), at, &l->v[id], err);
	} else if (json_is_integer(v) && json_integer_value(v) >= 0) {
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
