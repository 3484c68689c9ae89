/* lib/model/knobs.c - limits in the words of the kernel's files */
#include <inttypes.h>
#include <string.h>

#include "lib/base/own.h"
#include "lib/model/bucket.h"
#include "lib/model/limits.h"

#define PERIOD_USEC     100000U
#define PERIOD_MAX_USEC 1000000U
#define QUOTA_MIN_USEC  UINT64_C(5000)

/* 100 ms, which most expect; longer where the quota of a period would come near the kernel's least,
 * 1 ms, which is 13 % wrong, or where the bucket must be no larger than the quota. Whole
 * milliseconds, so that a rate is exact. */
uint64_t limits_cpu_period(const struct limits *l)
{
	uint64_t rate = l->v[LIMIT_CPU_RATE], usec = PERIOD_USEC, for_burst;

	if (rate == LIMIT_MAX)
		return usec;
	if (usec * rate / 1000 < QUOTA_MIN_USEC)
		usec = QUOTA_MIN_USEC * 1000 / rate;
	for_burst = bucket_is_needed(l) ? 0 : (l->v[LIMIT_CPU_BURST] * 1000 + rate - 1) / rate;
	if (usec < for_burst)
		usec = for_burst;
	usec = (usec + 999) / 1000 * 1000;
	return usec < PERIOD_MAX_USEC ? usec : PERIOD_MAX_USEC;
}

static uint64_t quota_of(const struct limits *l)
{
	return l->v[LIMIT_CPU_RATE] * limits_cpu_period(l) / 1000;
}

uint64_t limits_cpu_weight(uint64_t share, enum cg_version version)
{
	uint64_t v = version == CG_V1 ? share * 1024 / 100 : share;

	return version == CG_V1 && v < 2 ? 2 : v;
}

static void knob_period(char *buf, enum limit_id id, const struct limits *l,
			const struct knob_host *h)
{
	(void)id;
	(void)h;
	snprintf(buf, KNOB_TEXT_SIZE, "%" PRIu64, limits_cpu_period(l));
}

static void knob_quota(char *buf, enum limit_id id, const struct limits *l,
		       const struct knob_host *h)
{
	(void)h;
	if (l->v[id] == LIMIT_MAX)
		strcpy(buf, "-1");
	else
		snprintf(buf, KNOB_TEXT_SIZE, "%" PRIu64, quota_of(l));
}

static void knob_cpu_max(char *buf, enum limit_id id, const struct limits *l,
			 const struct knob_host *h)
{
	(void)h;
	if (l->v[id] == LIMIT_MAX)
		snprintf(buf, KNOB_TEXT_SIZE, "max %" PRIu64, limits_cpu_period(l));
	else
		snprintf(buf, KNOB_TEXT_SIZE, "%" PRIu64 " %" PRIu64, quota_of(l),
			 limits_cpu_period(l));
}

static void knob_burst(char *buf, enum limit_id id, const struct limits *l,
		       const struct knob_host *h)
{
	(void)h;
	snprintf(buf, KNOB_TEXT_SIZE, "%" PRIu64, bucket_is_needed(l) ? 0 : l->v[id]);
}

static bool is_always_idle(const struct limits *l)
{
	return l->v[LIMIT_CPU_IDLE] && l->v[LIMIT_CPU_RATE] == LIMIT_MAX;
}

static void knob_idle(char *buf, enum limit_id id, const struct limits *l,
		      const struct knob_host *h)
{
	(void)id;
	(void)h;
	strcpy(buf, is_always_idle(l) ? "1" : "0");
}

/* v1 shares are 1024 where v2's weight is 100, and at least 2. An idle group takes neither. */
static void knob_shares(char *buf, enum limit_id id, const struct limits *l,
			const struct knob_host *h)
{
	buf[0] = '\0';
	if (!is_always_idle(l))
		snprintf(buf, KNOB_TEXT_SIZE, "%" PRIu64, limits_cpu_weight(l->v[id], h->version));
}

static void knob_cpus(char *buf, enum limit_id id, const struct limits *l,
		      const struct knob_host *h)
{
	if (l->v[id] == LIMIT_MAX)
		snprintf(buf, KNOB_TEXT_SIZE, "%s", h->cpus);
	else
		cpus_print(&l->cpus, buf);
}

static void knob_count(char *buf, enum limit_id id, const struct limits *l,
		       const struct knob_host *h)
{
	(void)h;
	if (l->v[id] == LIMIT_MAX)
		strcpy(buf, "max");
	else
		snprintf(buf, KNOB_TEXT_SIZE, "%" PRIu64, l->v[id]);
}

static void knob_bytes(char *buf, enum limit_id id, const struct limits *l,
		       const struct knob_host *h)
{
	if (l->v[id] == LIMIT_MAX && h->version == CG_V1)
		strcpy(buf, "-1");
	else
		knob_count(buf, id, l, h);
}

/* v1 limits memory and swap together. */
static void knob_memsw(char *buf, enum limit_id id, const struct limits *l,
		       const struct knob_host *h)
{
	(void)h;
	if (l->v[id] == LIMIT_MAX)
		strcpy(buf, "-1");
	else
		snprintf(buf, KNOB_TEXT_SIZE, "%" PRIu64, l->v[LIMIT_MEMORY_MAX] + l->v[id]);
}

/* More than bfq takes is left to io.cost alone; a host without that refuses it, see cg_can(). */
static void knob_bfq(char *buf, enum limit_id id, const struct limits *l, const struct knob_host *h)
{
	(void)h;
	snprintf(buf, KNOB_TEXT_SIZE, "%" PRIu64,
		 l->v[id] < BFQ_WEIGHT_MAX ? l->v[id] : BFQ_WEIGHT_MAX);
}

static void knob_io_weight(char *buf, enum limit_id id, const struct limits *l,
			   const struct knob_host *h)
{
	(void)h;
	snprintf(buf, KNOB_TEXT_SIZE, "default %" PRIu64, l->v[id]);
}

static void knob_disk_v1(char *buf, enum limit_id id, const struct limits *l,
			 const struct knob_host *h)
{
	snprintf(buf, KNOB_TEXT_SIZE, "%s %" PRIu64, h->disk, l->v[id] == LIMIT_MAX ? 0 : l->v[id]);
}

static void knob_disk_v2(char *buf, enum limit_id id, const struct limits *l,
			 const struct knob_host *h)
{
	const char *key = strchr(limit_defs[id].name, '.') + 1;

	if (l->v[id] == LIMIT_MAX)
		snprintf(buf, KNOB_TEXT_SIZE, "%s %s=max", h->disk, key);
	else
		snprintf(buf, KNOB_TEXT_SIZE, "%s %s=%" PRIu64, h->disk, key, l->v[id]);
}

const struct knob knobs[] = {
#define X(id, ver, file, text, rest, disk) { LIMIT_##id, CG_##ver, file, text, rest, disk },
	COS_CG_KNOBS(X)
#undef X
};
const unsigned n_knobs = ARRAY_SIZE(knobs);

const struct counter counters[] = {
#define X(id, ver, held, most, hits, hits_key, told, told_key)                                     \
	{ LIMIT_##id, CG_##ver, held, most, hits, hits_key, told, told_key },
	COS_CG_COUNTERS(X)
#undef X
};
const unsigned n_counters = ARRAY_SIZE(counters);
