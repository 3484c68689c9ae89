/* lib/model/usage.c - records of the ledger: sums, buckets, the text that is hashed */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "lib/model/usage.h"

const struct metric_def metric_defs[METRIC__N] = {
#define X(id, key, kind, family, label, scale, title, column, unit, per, help)                     \
	[METRIC_##id] = { key, METRIC_##kind, family, label, scale, unit, per, help },
	COS_METRICS(X)
#undef X
};

const char *const usage_level_name[USAGE__LEVELS] = {
#define X(id, name, seconds) [USAGE_##id] = name,
	USAGE_LEVELS(X)
#undef X
};

const uint64_t usage_level_usec[USAGE__LEVELS] = {
#define X(id, name, seconds) [USAGE_##id] = (seconds)*USEC_PER_SEC,
	USAGE_LEVELS(X)
#undef X
};

enum metric_id metric_find(const char *key)
{
	enum metric_id id = 0;

	while (id < METRIC__N && strcmp(metric_defs[id].key, key) != 0)
		id++;
	return id;
}

uint64_t usage_bucket(enum usage_level level, uint64_t end_usec)
{
	uint64_t at = end_usec ? end_usec - 1 : 0;

	return at - at % usage_level_usec[level];
}

static uint64_t plus(uint64_t a, uint64_t b)
{
	return a > INT64_MAX - b ? INT64_MAX : a + b; /* what a data base's column takes */
}

void usage_add(struct usage_record *sum, const struct usage_record *r)
{
	if (sum->number == 0)
		sum->begin_usec = r->begin_usec;
	sum->number++;
	memcpy(sum->uuid, r->uuid, sizeof(sum->uuid));
	memcpy(sum->name, r->name, sizeof(sum->name));
	sum->owner = r->owner;
	sum->end_usec = r->end_usec;
	sum->span_usec = plus(sum->span_usec, r->span_usec);
	sum->gap_usec = plus(sum->gap_usec, r->gap_usec);
	for (int i = 0; i < METRIC__N; i++)
		sum->value[i] = plus(sum->value[i], r->value[i]);
}

void usage_add_member(struct usage_record *sum, const struct usage_record *r)
{
	if (sum->number == 0) {
		sum->level = r->level + 1;
		sum->first = r->number;
		memcpy(sum->from, r->prev, sizeof(sum->from));
	}
	usage_add(sum, r);
	sum->last = r->number;
	memcpy(sum->to, r->hash, sizeof(sum->to));
}

char *usage_hex(const uint8_t hash[static USAGE_HASH], char *ret)
{
	static const char digits[] = "0123456789abcdef";
	char *p = ret;

	for (int i = 0; i < USAGE_HASH; i++) {
		*p++ = digits[hash[i] >> 4];
		*p++ = digits[hash[i] & 15];
	}
	*p = '\0';
	return ret;
}

static int digit(char c)
{
	static const char digits[] = "0123456789abcdef";
	const char *p = c ? strchr(digits, c) : NULL;

	return p ? (int)(p - digits) : -1;
}

bool usage_unhex(const char *s, uint8_t ret[static USAGE_HASH])
{
	uint8_t hash[USAGE_HASH];

	for (int i = 0; i < USAGE_HASH; i++) {
		int high = digit(*s), low = high < 0 ? -1 : digit(s[1]);

		if (low < 0)
			return false;
		hash[i] = (uint8_t)(high << 4 | low);
		s += 2;
	}
	if (*s)
		return false;
	memcpy(ret, hash, sizeof(hash));
	return true;
}

struct text {
	char *buf;
	size_t len;
};

/* Without printf: a verification is mostly this. */
static void put_text(struct text *t, const char *key, const char *value)
{
	size_t k = strlen(key), v = strlen(value);

	memcpy(t->buf + t->len, key, k);
	t->buf[t->len + k] = ' ';
	memcpy(t->buf + t->len + k + 1, value, v);
	t->buf[t->len + k + 1 + v] = '\n';
	t->len += k + v + 2;
}

static void put_number(struct text *t, const char *key, uint64_t v)
{
	char digits[24];
	char *p = digits + sizeof(digits) - 1;

	*p = '\0';
	do
		*--p = (char)('0' + v % 10);
	while (v /= 10);
	put_text(t, key, p);
}

static void put_hash(struct text *t, const char *key, const uint8_t *hash)
{
	char hex[USAGE_HEX];

	put_text(t, key, usage_hex(hash, hex));
}

size_t usage_text(const struct usage_record *r, char *buf)
{
	struct text t = { buf, 0 };

	put_text(&t, "cos-ledger", "1");
	put_hash(&t, "prev", r->prev);
	put_text(&t, "guest", r->uuid);
	put_text(&t, "name", r->name);
	put_number(&t, "owner", r->owner);
	put_text(&t, "level", usage_level_name[r->level]);
	put_number(&t, "number", r->number);
	put_number(&t, "begin_usec", r->begin_usec);
	put_number(&t, "end_usec", r->end_usec);
	put_number(&t, "span_usec", r->span_usec);
	put_number(&t, "gap_usec", r->gap_usec);
	if (r->level != USAGE_INTERVAL) {
		put_number(&t, "first", r->first);
		put_number(&t, "last", r->last);
		put_hash(&t, "from", r->from);
		put_hash(&t, "to", r->to);
	}
	for (int i = 0; i < METRIC__N; i++) {
		if (r->value[i])
			put_number(&t, metric_defs[i].key, r->value[i]);
	}
	buf[t.len] = '\0';
	return t.len;
}
