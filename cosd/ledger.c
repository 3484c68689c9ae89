/* cosd/ledger.c - samples become records: what was added since the last one, and what was not seen
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cosd/ledger-inner.h"
#include "lib/base/clock.h"
#include "lib/base/own.h"
#include "lib/base/str.h"

#define WAKE_MOST 500 /* guests at once */
#define WOKEN_ALL INT64_MAX

/* --- guests in memory --- */

static struct list *head_of(struct ledger *l, const char *uuid)
{
	uint32_t h = 2166136261U;

	for (; *uuid; uuid++)
		h = (h ^ (uint8_t)*uuid) * 16777619U;
	return &l->guests[h % LEDGER_HEADS];
}

static struct ledger_guest *find(struct ledger *l, const char *uuid)
{
	struct list *head = head_of(l, uuid), *p;

	list_for_each(p, head) {
		struct ledger_guest *g = list_entry(p, struct ledger_guest, link);

		if (strcmp(g->uuid, uuid) == 0)
			return g;
	}
	return NULL;
}

static void forget(struct ledger_guest *g)
{
	list_del(&g->link);
	free(g);
}

static void forget_all(struct ledger *l)
{
	for (int i = 0; i < LEDGER_HEADS; i++) {
		while (!list_is_empty(&l->guests[i]))
			forget(list_entry(l->guests[i].next, struct ledger_guest, link));
	}
}

static int load(struct ledger *l, const char *uuid, struct ledger_guest **ret, struct cos_err *err)
{
	struct ledger_guest *g = calloc(1, sizeof(*g));
	int r = g ? ledger_db_load(l, uuid, g, err) : cos_fail(err, COS_E_KERNEL, ENOMEM, "ledger");

	if (r <= 0) {
		free(g);
		return r;
	}
	list_add_tail(head_of(l, uuid), &g->link);
	*ret = g;
	return 1;
}

static int add_guest(struct ledger *l, const struct ledger_guest *like, struct ledger_guest **ret,
		     struct cos_err *err)
{
	struct ledger_guest *g = calloc(1, sizeof(*g));
	int r;

	if (!g)
		return cos_fail(err, COS_E_KERNEL, ENOMEM, "ledger");
	memcpy(g->uuid, like->uuid, sizeof(g->uuid));
	memcpy(g->name, like->name, sizeof(g->name));
	g->owner = like->owner;
	r = ledger_db_new(l, g, err);
	if (r < 0) {
		free(g);
		return r;
	}
	list_add_tail(head_of(l, g->uuid), &g->link);
	*ret = g;
	return 0;
}

static int guest_of(struct ledger *l, const struct ledger_sample *s, struct ledger_guest **ret,
		    struct cos_err *err)
{
	struct ledger_guest like = { .owner = s->owner }, *g = find(l, s->uuid);
	int r = g ? 1 : load(l, s->uuid, &g, err);

	if (r == 0) {
		memcpy(like.uuid, s->uuid, sizeof(like.uuid));
		memcpy(like.name, s->name, sizeof(like.name));
		r = add_guest(l, &like, &g, err);
	}
	if (r < 0)
		return r;
	memcpy(g->name, s->name, sizeof(g->name));
	g->owner = s->owner;
	*ret = g;
	return 0;
}

/* --- from a sample to a record --- */

static bool is_same_run(const struct ledger_mark *m, const struct ledger_sample *s)
{
	return m->there && m->run == s->run && strcmp(m->boot, s->boot) == 0;
}

/* It came before, or is older than one that came: those of a guest come in their order. */
static bool is_known(const struct ledger_mark *m, const struct ledger_sample *s)
{
	return m->there && strcmp(m->boot, s->boot) == 0 &&
	       (s->boot_usec <= m->boot_usec || (m->run == s->run && m->closed));
}

static uint64_t less(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

/* What a counter grew by since the last sample in the ledger. One that went back was reset, and
 * began at 0; that of the network, which is kept on disk when a run ends, has lost what came after
 * that, which was recorded. */
static uint64_t grown(const struct ledger_mark *m, const struct ledger_sample *s, int i)
{
	uint64_t now = s->value[i], was = 0;

	switch (metric_defs[i].kind) {
	case METRIC_RUN:
		was = is_same_run(m, s) ? m->value[i] : 0;
		return now >= was ? now - was : now;
	case METRIC_SUM:
		was = m->there && m->epoch == s->epoch ? m->value[i] : 0;
		return now >= was ? now - was : now;
	case METRIC_TOLD: /* not told again yet: the mark stays, see set_mark() */
		was = is_same_run(m, s) ? m->value[i] : 0;
		return less(now, was);
	case METRIC_LIFE:
		was = m->there ? m->value[i] : s->known ? s->base[i] : 0;
		if (!is_same_run(m, s) && s->known && s->base[i] < was)
			was = s->base[i];
		return now >= was ? now - was : 0;
	}
	return 0;
}

/* A run whose end nobody saw: until when is not known, but until the next one began, or the host
 * did. */
static int close_unseen(struct ledger *l, struct ledger_guest *g, uint64_t unseen_usec,
			struct cos_err *err)
{
	struct ledger_mark *m = &g->mark;
	struct usage_record r = {
		.owner = g->owner,
		.begin_usec = m->wall_usec,
		.end_usec = m->wall_usec + unseen_usec,
		.span_usec = unseen_usec,
		.gap_usec = unseen_usec,
	};

	m->closed = true;
	g->changed = true;
	memcpy(r.name, g->name, sizeof(r.name));
	return unseen_usec < LEDGER_SPARE_US ? 0 : ledger_append(l, g, &r, err);
}

static void set_mark(struct ledger_guest *g, const struct ledger_sample *s)
{
	struct ledger_mark *m = &g->mark;
	bool same = is_same_run(m, s);

	m->there = true;
	m->closed = s->last;
	memcpy(m->boot, s->boot, sizeof(m->boot));
	m->run = s->run;
	m->epoch = s->epoch;
	m->wall_usec = s->wall_usec;
	m->boot_usec = s->boot_usec;
	for (int i = 0; i < METRIC__N; i++) {
		if (!same || metric_defs[i].kind != METRIC_TOLD || s->value[i] > m->value[i])
			m->value[i] = s->value[i];
	}
	g->changed = true;
}

static struct usage_record record_of(const struct ledger *l, const struct ledger_guest *g,
				     const struct ledger_sample *s)
{
	const struct ledger_mark *m = &g->mark;
	bool lost = !m->there && l->replaced_usec && s->run_began_usec < l->replaced_usec;
	struct usage_record r = { .owner = s->owner };

	memcpy(r.name, s->name, sizeof(r.name));
	r.span_usec = less(s->boot_usec, is_same_run(m, s) ? m->boot_usec : s->run_began_usec);
	r.begin_usec = less(s->wall_usec, r.span_usec);
	r.end_usec = s->wall_usec;
	/* what was recorded of this run is in the data base that was moved aside */
	for (int i = 0; i < METRIC__N && !lost; i++)
		r.value[i] = grown(m, s, i);
	r.gap_usec = less(r.span_usec, r.value[METRIC_SEEN]);
	if (r.gap_usec < LEDGER_SPARE_US)
		r.gap_usec = 0;
	return r;
}

static bool is_empty(const struct usage_record *r)
{
	uint64_t sum = r->span_usec;

	for (int i = 0; i < METRIC__N; i++)
		sum |= r->value[i];
	return sum == 0;
}

static int take(struct ledger *l, const struct ledger_sample *s, struct cos_err *err)
{
	struct ledger_guest *g;
	struct usage_record r;
	int e = guest_of(l, s, &g, err);

	if (e < 0)
		return e;
	if (is_known(&g->mark, s))
		return 0;
	if (g->mark.there && !g->mark.closed && !is_same_run(&g->mark, s)) {
		uint64_t unseen = strcmp(g->mark.boot, s->boot) == 0
					  ? less(s->run_began_usec, g->mark.boot_usec)
					  : less(l->conf.booted_usec, g->mark.wall_usec);

		e = close_unseen(l, g, unseen, err);
	}
	r = record_of(l, g, s);
	if (e == 0 && !is_empty(&r))
		e = ledger_append(l, g, &r, err);
	if (e == 0)
		set_mark(g, s);
	return e;
}

/* --- transactions --- */

static int begin(struct ledger *l, struct cos_err *err)
{
	return l->db ? ledger_db_run(l, "BEGIN IMMEDIATE", err)
		     : cos_fail(err, COS_E_KERNEL, EIO, "ledger: the data base is not open");
}

static int save_all(struct ledger *l, struct cos_err *err)
{
	struct list *p;
	int r = 0;

	for (int i = 0; i < LEDGER_HEADS; i++) {
		list_for_each(p, &l->guests[i]) {
			struct ledger_guest *g = list_entry(p, struct ledger_guest, link);

			if (g->changed)
				r = ledger_db_save(l, g, err);
			if (r < 0)
				return r;
		}
	}
	return 0;
}

static void note_saved(struct ledger *l)
{
	struct list *p;

	for (int i = 0; i < LEDGER_HEADS; i++) {
		list_for_each(p, &l->guests[i]) {
			struct ledger_guest *g = list_entry(p, struct ledger_guest, link);

			g->changed = false;
			g->saved = g->mark;
		}
	}
}

/* R: how what came after begin() went. What is in memory goes with a transaction that fails; only a
 * damaged data base cannot be asked again. */
static int commit(struct ledger *l, int r, struct cos_err *err)
{
	if (r >= 0)
		r = save_all(l, err);
	if (r >= 0)
		r = ledger_db_run(l, "COMMIT", err);
	if (r >= 0) {
		note_saved(l);
		return r;
	}
	if (l->db)
		sqlite3_exec(l->db, "ROLLBACK", NULL, NULL, NULL);
	if (r != -EUCLEAN)
		forget_all(l);
	return r;
}

int ledger_take(struct ledger *l, const struct ledger_sample *s, unsigned n, struct cos_err *err)
{
	int r = begin(l, err);

	if (r < 0)
		return r;
	for (unsigned i = 0; i < n && r == 0; i++)
		r = take(l, &s[i], err);
	return commit(l, r, err);
}

/* Until the day is over nothing is due of it. */
static bool is_asleep(const struct ledger_guest *g)
{
	bool open = false;

	for (int i = 0; i < USAGE_HOUR; i++)
		open = open || g->chain[i].open.number > 0;
	return g->mark.closed && !open;
}

/* Loads the guests of a statement's rows, "id, uuid", that are not in memory; how many rows there
 * were, the last of them with id *RET_LAST. */
static int load_rows(struct ledger *l, sqlite3_stmt *st, int64_t *ret_last, struct cos_err *err)
{
	struct ledger_guest *g;
	int n = 0, r = 0, s = SQLITE_DONE;

	while (r >= 0 && (s = sqlite3_step(st)) == SQLITE_ROW) {
		const char *uuid = (const char *)sqlite3_column_text(st, 1);

		*ret_last = sqlite3_column_int64(st, 0);
		if (uuid && !find(l, uuid))
			r = load(l, uuid, &g, err);
		n++;
	}
	if (r >= 0 && s != SQLITE_DONE)
		r = ledger_db_fail(l, "read guests", err);
	sqlite3_reset(st);
	return r < 0 ? r : n;
}

/* Loads some of those that slept and whose day is over. 1: there are more. */
static int wake(struct ledger *l, uint64_t today_usec, int64_t *cursor, struct cos_err *err)
{
	sqlite3_stmt *st = l->st[ST_WAKE];
	int n;

	sqlite3_bind_int64(st, 1, *cursor);
	sqlite3_bind_int64(st, 2, (int64_t)today_usec);
	sqlite3_bind_int(st, 3, WAKE_MOST);
	n = load_rows(l, st, cursor, err);
	return n < 0 ? n : n == WAKE_MOST;
}

int ledger_tend(struct ledger *l, uint64_t now_usec, bool *ret_more, struct cos_err *err)
{
	uint64_t today = usage_bucket(USAGE_DAY, less(now_usec, ledger_late(l)));
	int64_t cursor = today == l->woken_day ? l->woken : 0;
	struct list *p, *next;
	int r = begin(l, err), more = 0, asleep = 0;

	if (r < 0)
		return r;
	if (cursor != WOKEN_ALL)
		r = asleep = wake(l, today, &cursor, err);
	if (r == 0)
		cursor = WOKEN_ALL;
	r = r < 0 ? r : 0;
	for (int i = 0; i < LEDGER_HEADS && r == 0; i++) {
		list_for_each(p, &l->guests[i]) {
			r = ledger_roll_due(l, list_entry(p, struct ledger_guest, link), now_usec,
					    err);
			if (r < 0)
				break;
		}
	}
	if (r == 0)
		r = more = ledger_expire(l, now_usec, err);
	r = commit(l, r, err);
	for (int i = 0; i < LEDGER_HEADS && r >= 0; i++) {
		list_for_each_safe(p, next, &l->guests[i]) {
			if (is_asleep(list_entry(p, struct ledger_guest, link)))
				forget(list_entry(p, struct ledger_guest, link));
		}
	}
	if (r < 0)
		return r;
	l->woken_day = today;
	l->woken = cursor;
	*ret_more = more > 0 || asleep > 0;
	return 0;
}

/* --- opening --- */

/* Those with runs or sums that are open: of the others nothing is due, but the end of their day. */
static int load_open(struct ledger *l, struct cos_err *err)
{
	sqlite3_stmt *st = NULL;
	int64_t last;
	int r;

	if (sqlite3_prepare_v2(l->db,
			       "SELECT id, uuid FROM guest WHERE closed = 0 OR n0 > r0 OR n1 > r1",
			       -1, &st, NULL) != SQLITE_OK)
		return ledger_db_fail(l, "read guests", err);
	r = load_rows(l, st, &last, err);
	sqlite3_finalize(st);
	return r < 0 ? r : 0;
}

/* Nothing that ran before the host was started runs any more. */
static int close_earlier_boots(struct ledger *l, struct cos_err *err)
{
	struct list *p;
	int r = begin(l, err);

	if (r < 0)
		return r;
	for (int i = 0; i < LEDGER_HEADS && r == 0; i++) {
		list_for_each(p, &l->guests[i]) {
			struct ledger_guest *g = list_entry(p, struct ledger_guest, link);
			const struct ledger_mark *m = &g->mark;

			if (r == 0 && m->there && !m->closed && strcmp(m->boot, l->conf.boot) != 0)
				r = close_unseen(l, g, less(l->conf.booted_usec, m->wall_usec),
						 err);
		}
	}
	return commit(l, r, err);
}

static int open_now(struct ledger *l, struct cos_err *err)
{
	int r = ledger_db_open(l, err);

	if (r == 0)
		r = load_open(l, err);
	if (r == 0)
		r = close_earlier_boots(l, err);
	return r;
}

/* ledger.db and what belongs to it become ledger.db.damaged-TIME. */
static int move_aside(struct ledger *l, char **ret_moved, struct cos_err *err)
{
	static const char *const suffix[] = { "", "-wal", "-shm" };
	auto_close int dir = open(l->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char name[80], from[40], to[120];
	struct timespec now;
	char *moved;

	clock_gettime(CLOCK_REALTIME, &now);
	str_fmt(name, sizeof(name), LEDGER_FILE ".damaged-%lld.%03ld", (long long)now.tv_sec,
		now.tv_nsec / 1000000);
	for (size_t i = 0; i < ARRAY_SIZE(suffix); i++) {
		str_fmt(from, sizeof(from), LEDGER_FILE "%s", suffix[i]);
		str_fmt(to, sizeof(to), "%s%s", name, suffix[i]);
		if (renameat(dir, from, dir, to) < 0 && errno != ENOENT)
			return cos_fail(err, COS_E_KERNEL, errno, "rename %s/%s", l->dir, from);
	}
	if (asprintf(&moved, "%s/%s", l->dir, name) < 0)
		return cos_fail(err, COS_E_KERNEL, ENOMEM, "ledger");
	free(*ret_moved);
	*ret_moved = moved;
	return 0;
}

/* The new data base gets the guests that this process knows, as they stood in the old one; chains
 * begin anew. */
static int carry_over(struct ledger *l, struct ledger *old, struct cos_err *err)
{
	struct ledger_guest *g;
	struct list *p;
	int r = begin(l, err);

	if (r < 0)
		return r;
	for (int i = 0; i < LEDGER_HEADS && r == 0; i++) {
		list_for_each(p, &old->guests[i]) {
			const struct ledger_guest *was = list_entry(p, struct ledger_guest, link);

			r = add_guest(l, was, &g, err);
			if (r < 0)
				break;
			g->mark = was->saved;
			g->changed = true;
		}
	}
	return commit(l, r, err);
}

int ledger_replace(struct ledger *l, char **ret_moved, struct cos_err *err)
{
	struct ledger old = *l;
	int r;

	ledger_db_close(l);
	for (int i = 0; i < LEDGER_HEADS; i++) {
		list_init(&old.guests[i]);
		while (!list_is_empty(&l->guests[i])) {
			struct list *p = l->guests[i].next;

			list_del(p);
			list_add_tail(&old.guests[i], p);
		}
	}
	l->replaced_usec = clock_read_usec(CLOCK_BOOTTIME);
	r = move_aside(l, ret_moved, err);
	if (r == 0)
		r = open_now(l, err);
	if (r == 0)
		r = carry_over(l, &old, err);
	forget_all(&old);
	return r;
}

int ledger_open(const char *dir, const struct ledger_conf *conf, struct ledger **ret,
		char **ret_moved, struct cos_err *err)
{
	struct ledger *l = calloc(1, sizeof(*l));
	char *moved = NULL;
	int r;

	if (!l)
		return cos_fail(err, COS_E_KERNEL, ENOMEM, "ledger");
	for (int i = 0; i < LEDGER_HEADS; i++)
		list_init(&l->guests[i]);
	l->dir = strdup(dir);
	l->conf = *conf;
	r = l->dir ? open_now(l, err) : cos_fail(err, COS_E_KERNEL, ENOMEM, "ledger");
	if (r == -EUCLEAN) {
		forget_all(l);
		r = ledger_replace(l, &moved, err);
	}
	if (r < 0) {
		ledger_close(l);
		free(moved);
		return r;
	}
	*ret = l;
	*ret_moved = moved;
	return 0;
}

void ledger_close(struct ledger *l)
{
	if (!l)
		return;
	forget_all(l);
	ledger_db_close(l);
	free(l->dir);
	free(l);
}

void ledger_configure(struct ledger *l, const struct ledger_conf *conf)
{
	l->conf = *conf;
}

int ledger_check(struct ledger *l, struct cos_err *err)
{
	sqlite3_stmt *st = NULL;
	const char *text;
	int r = 0;

	if (sqlite3_prepare_v2(l->db, "PRAGMA quick_check(1)", -1, &st, NULL) != SQLITE_OK ||
	    sqlite3_step(st) != SQLITE_ROW)
		r = ledger_db_fail(l, "check", err);
	text = r == 0 ? (const char *)sqlite3_column_text(st, 0) : NULL;
	if (r == 0 && (!text || strcmp(text, "ok") != 0))
		r = cos_fail(err, COS_E_KERNEL, EUCLEAN, "ledger: %s", text ?: "not readable");
	sqlite3_finalize(st);
	return r;
}
