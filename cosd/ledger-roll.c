/* cosd/ledger-roll.c - chains: records are added, rolled up into the next level, and expire
 *
 * A record of a minute stands for consecutive records that end in it, one of an hour for minutes,
 * one of a day for hours. Order is that of the chain, not of the clock: when the clock is set back
 * a minute may get a second record, and nothing is ever added to one that is written. */
#include <errno.h>
#include <string.h>

#include "cosd/ledger-inner.h"
#include "lib/base/clock.h"

#define EXPIRE_MOST 500 /* records whose members are removed at once */

static int roll(struct ledger *l, struct ledger_guest *g, enum usage_level level,
		struct cos_err *err);

int ledger_append(struct ledger *l, struct ledger_guest *g, struct usage_record *r,
		  struct cos_err *err)
{
	struct ledger_chain *c = &g->chain[r->level];
	bool top = r->level + 1 == USAGE__LEVELS;
	int e = 0;

	if (!top && c->open.number > 0 &&
	    usage_bucket(r->level + 1, c->open.end_usec) != usage_bucket(r->level + 1, r->end_usec))
		e = roll(l, g, r->level, err);
	if (e < 0)
		return e;
	memcpy(r->uuid, g->uuid, sizeof(r->uuid));
	r->number = c->number + 1;
	memcpy(r->prev, c->head, sizeof(r->prev));
	e = usage_hash(r, r->hash);
	if (e < 0)
		return cos_fail(err, COS_E_KERNEL, -e, "ledger: hash");
	e = ledger_db_add(l, g, r, err);
	if (e < 0)
		return e;
	c->number = r->number;
	memcpy(c->head, r->hash, sizeof(c->head));
	g->changed = true;
	if (!top)
		usage_add_member(&c->open, r);
	return 0;
}

/* What was summed of LEVEL becomes a record of the next one. */
static int roll(struct ledger *l, struct ledger_guest *g, enum usage_level level,
		struct cos_err *err)
{
	struct ledger_chain *c = &g->chain[level];
	struct usage_record r = c->open;
	int e = ledger_append(l, g, &r, err);

	if (e < 0)
		return e;
	c->rolled = r.last;
	c->open = (struct usage_record){ 0 };
	return 0;
}

/* Two intervals. */
uint64_t ledger_late(const struct ledger *l)
{
	return 2 * l->conf.interval_usec + USEC_PER_SEC;
}

int ledger_roll_due(struct ledger *l, struct ledger_guest *g, uint64_t now_usec,
		    struct cos_err *err)
{
	uint64_t late = ledger_late(l);
	int r = 0;

	for (enum usage_level i = 0; r == 0 && i + 1 < USAGE__LEVELS; i++) {
		const struct usage_record *open = &g->chain[i].open;

		/* the one below may still add to this bucket */
		if (i > 0 && g->chain[i - 1].open.number > 0)
			break;
		if (open->number > 0 &&
		    usage_bucket(i + 1, open->end_usec) + usage_level_usec[i + 1] + late <=
			    now_usec)
			r = roll(l, g, i, err);
	}
	return r;
}

static int drop_members(struct ledger *l, enum usage_level level, const int64_t *row,
			struct cos_err *err)
{
	sqlite3_stmt *drop = l->st[ST_DROP], *bare = l->st[ST_BARE];
	int s;

	sqlite3_bind_int64(drop, 1, row[1]);
	sqlite3_bind_int(drop, 2, (int)level - 1);
	sqlite3_bind_int64(drop, 3, row[2]);
	sqlite3_bind_int64(drop, 4, row[3]);
	s = sqlite3_step(drop);
	sqlite3_reset(drop);
	if (s != SQLITE_DONE)
		return ledger_db_fail(l, "remove records", err);
	sqlite3_bind_int64(bare, 1, row[0]);
	s = sqlite3_step(bare);
	sqlite3_reset(bare);
	return s == SQLITE_DONE ? 0 : ledger_db_fail(l, "mark a record", err);
}

static uint64_t before(uint64_t now, uint64_t usec)
{
	return now > usec ? now - usec : 0;
}

/* Members of records of LEVEL; returns how many of those lost theirs. */
static int expire_below(struct ledger *l, enum usage_level level, uint64_t now_usec,
			struct cos_err *err)
{
	static int64_t rows[EXPIRE_MOST][4];
	sqlite3_stmt *st = l->st[ST_OLD];
	int n = 0, s, r = 0;

	sqlite3_bind_int(st, 1, level);
	sqlite3_bind_int64(st, 2, (int64_t)before(now_usec, l->conf.keep_usec[level - 1]));
	sqlite3_bind_int(st, 3, EXPIRE_MOST);
	while ((s = sqlite3_step(st)) == SQLITE_ROW && n < EXPIRE_MOST) {
		for (int i = 0; i < 4; i++)
			rows[n][i] = sqlite3_column_int64(st, i);
		n++;
	}
	sqlite3_reset(st);
	if (s != SQLITE_DONE && s != SQLITE_ROW)
		return ledger_db_fail(l, "look for old records", err);
	for (int i = 0; i < n && r == 0; i++)
		r = drop_members(l, level, rows[i], err);
	return r < 0 ? r : n;
}

int ledger_expire(struct ledger *l, uint64_t now_usec, struct cos_err *err)
{
	sqlite3_stmt *days = l->st[ST_OLD_DAYS];
	int n = 0, s;

	for (enum usage_level level = USAGE_MINUTE; level < USAGE__LEVELS && n >= 0; level++) {
		int one = expire_below(l, level, now_usec, err);

		n = one < 0 || one > n ? one : n;
	}
	if (n < 0)
		return n;
	sqlite3_bind_int64(days, 1, (int64_t)before(now_usec, l->conf.keep_usec[USAGE_DAY]));
	sqlite3_bind_int(days, 2, EXPIRE_MOST);
	s = sqlite3_step(days);
	sqlite3_reset(days);
	return s == SQLITE_DONE ? n == EXPIRE_MOST : ledger_db_fail(l, "remove old days", err);
}
