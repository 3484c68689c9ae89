/* cosd/ledger-query.c - questions to the ledger, answered from the coarsest records that fit
 *
 * Of the time that is asked for, whole days are taken from records of days, whole hours from those
 * of hours, and so on; what is finer is read at the edges, and where nothing was rolled up yet. So
 * the cost follows the number of guests, not that of samples. Where the fine records of an edge
 * were removed, the one that stands for them counts where it begins. */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cosd/ledger-inner.h"
#include "lib/base/clock.h"
#include "lib/base/own.h"
#include "lib/base/str.h"

#define FEW_GUESTS 8
#define PLACES     (1U << 18) /* more than twice LEDGER_ROWS_MAX */

struct row {
	uint64_t key; /* guest, owner or bucket */
	struct usage_record sum;
};

struct answer {
	struct ledger l;
	const struct ledger_query *q;
	FILE *out;
	enum usage_level coarsest; /* that the answer can be made of: BY_INTERVAL has short steps */
	struct row *rows;
	size_t n, size;
	uint32_t place[PLACES]; /* number of a row, plus 1, by what tells rows apart */
};

static void put_record(FILE *f, const struct usage_record *r)
{
	fprintf(f,
		"\"name\": \"%s\", \"owner\": %" PRIu64 ", \"begin_usec\": %" PRIu64
		", \"end_usec\": %" PRIu64 ", \"span_usec\": %" PRIu64 ", \"gap_usec\": %" PRIu64,
		r->name, r->owner, r->begin_usec, r->end_usec, r->span_usec, r->gap_usec);
	for (int i = 0; i < METRIC__N; i++)
		fprintf(f, ", \"%s\": %" PRIu64, metric_defs[i].key, r->value[i]);
}

static void put_proof(FILE *f, const struct usage_record *r)
{
	char hex[USAGE_HEX];

	fprintf(f, "{\"uuid\": \"%s\", \"level\": \"%s\", \"number\": %" PRIu64 ", ", r->uuid,
		usage_level_name[r->level], r->number);
	put_record(f, r);
	if (r->level != USAGE_INTERVAL) {
		fprintf(f, ", \"first\": %" PRIu64 ", \"last\": %" PRIu64, r->first, r->last);
		fprintf(f, ", \"from\": \"%s\"", usage_hex(r->from, hex));
		fprintf(f, ", \"to\": \"%s\"", usage_hex(r->to, hex));
	}
	fprintf(f, ", \"prev\": \"%s\"", usage_hex(r->prev, hex));
	fprintf(f, ", \"hash\": \"%s\"}\n", usage_hex(r->hash, hex));
}

/* --- whose records --- */

/* Ids of the guests that are asked about go to a table of this connection. */
static int choose(struct answer *a, struct cos_err *err)
{
	const struct ledger_query *q = a->q;
	sqlite3_stmt *st = NULL;
	int r = ledger_db_run(&a->l, "CREATE TEMP TABLE chosen (id INTEGER PRIMARY KEY)", err);

	if (r < 0)
		return r;
	if (sqlite3_prepare_v2(a->l.db,
			       "INSERT OR IGNORE INTO chosen SELECT id FROM guest WHERE"
			       " (?1 < 0 OR owner = ?1) AND (?2 IS NULL OR name = ?2 OR uuid = ?2)",
			       -1, &st, NULL) != SQLITE_OK)
		return ledger_db_fail(&a->l, "choose guests", err);
	for (unsigned i = 0; r == 0 && (i < q->n_names || i == 0); i++) {
		sqlite3_bind_int64(st, 1, q->owner);
		if (q->n_names)
			sqlite3_bind_text(st, 2, q->names[i], -1, SQLITE_STATIC);
		if (sqlite3_step(st) != SQLITE_DONE)
			r = ledger_db_fail(&a->l, "choose guests", err);
		sqlite3_reset(st);
	}
	sqlite3_finalize(st);
	return r;
}

/* --- sums --- */

static int add_row(struct answer *a, uint64_t key, struct row **ret)
{
	if (a->n == LEDGER_ROWS_MAX)
		return -E2BIG;
	if (a->n == a->size) {
		size_t size = a->size ? 2 * a->size : 64;
		struct row *more = realloc(a->rows, size * sizeof(*more));

		if (!more)
			return -ENOMEM;
		a->rows = more;
		a->size = size;
	}
	*ret = &a->rows[a->n++];
	**ret = (struct row){ .key = key };
	return 0;
}

static int row_of(struct answer *a, uint64_t key, struct row **ret)
{
	uint32_t at = (uint32_t)(key * 0x9e3779b97f4a7c15ULL >> 46);
	int r;

	for (; a->place[at % PLACES]; at++) {
		struct row *row = &a->rows[a->place[at % PLACES] - 1];

		if (row->key == key) {
			*ret = row;
			return 0;
		}
	}
	r = add_row(a, key, ret);
	if (r == 0)
		a->place[at % PLACES] = (uint32_t)a->n;
	return r;
}

static uint64_t key_of(const struct answer *a, int64_t guest, const struct usage_record *r)
{
	uint64_t at = r->end_usec ? r->end_usec - 1 : 0;

	switch (a->q->by) {
	case LEDGER_BY_OWNER:
		return r->owner;
	case LEDGER_BY_INTERVAL:
		return at - at % a->q->step_usec;
	case LEDGER_BY_GUEST:
	case LEDGER_RECORDS:
		break;
	}
	return (uint64_t)guest;
}

/* Records do not come in the order of time. */
static int count(struct answer *a, int64_t guest, const struct usage_record *r)
{
	struct row *row;
	int e = row_of(a, key_of(a, guest, r), &row);
	uint64_t begin, end;

	if (e < 0)
		return e;
	begin = row->sum.number && row->sum.begin_usec < r->begin_usec ? row->sum.begin_usec
								       : r->begin_usec;
	end = row->sum.end_usec > r->end_usec ? row->sum.end_usec : r->end_usec;
	usage_add(&row->sum, r);
	row->sum.begin_usec = begin;
	row->sum.end_usec = end;
	return 0;
}

/* --- which records --- */

/* ?1, ?2: since, until; ?3, ?4: the part of that of which the next level has whole buckets; ?5: the
 * length of this level's buckets; ?6: not 0 when the answer cannot be made of this level but where
 * nothing finer is left. A bucket that lasts beyond UNTIL may have ended later than that. */
#define FROM_RECORDS                                                                               \
	" FROM record r INDEXED BY %s WHERE r.level = %d AND r.guest IN (SELECT id FROM chosen)"   \
	" AND %s"
#define IS_WHOLE                                                                                   \
	"(r.end_usec - 1) / ?5 * ?5 >= ?1 AND (r.bare = 1 AND (r.end_usec - 1) / ?5 * ?5 < ?2"     \
	" OR ?6 = 0 AND ((r.end_usec - 1) / ?5 + 1) * ?5 <= ?2)"
#define IS_POINT "?5 = 0 AND ?6 = 0"

/* What sums are made of, as take_counts() reads it. */
static char *count_columns(void)
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	if (!f)
		return NULL;
	fputs("r.guest, r.begin_usec, r.end_usec, r.span_usec, r.gap_usec, r.owner", f);
	for (int i = 0; i < METRIC__N; i++)
		fprintf(f, ", r.%s", metric_defs[i].key);
	return fclose(f) == 0 ? text : NULL;
}

static int64_t take_counts(sqlite3_stmt *st, struct usage_record *r)
{
	r->begin_usec = (uint64_t)sqlite3_column_int64(st, 1);
	r->end_usec = (uint64_t)sqlite3_column_int64(st, 2);
	r->span_usec = (uint64_t)sqlite3_column_int64(st, 3);
	r->gap_usec = (uint64_t)sqlite3_column_int64(st, 4);
	r->owner = (uint64_t)sqlite3_column_int64(st, 5);
	for (int i = 0; i < METRIC__N; i++)
		r->value[i] = (uint64_t)sqlite3_column_int64(st, 6 + i);
	return sqlite3_column_int64(st, 0);
}

/* A few guests are read by their chains, all of them by time. The planner, who does not know how
 * many records there are, would be wrong half of the time. */
static const char *index_of(const struct ledger_query *q)
{
	return q->n_names > 0 && q->n_names <= FEW_GUESTS ? "record_chain" : "record_time";
}

static char *select_text(const struct answer *a, enum usage_level level)
{
	const char *in = level == USAGE_INTERVAL ? IS_POINT : IS_WHOLE, *by = index_of(a->q);
	auto_free char *cols = count_columns();
	char *text = NULL;
	size_t size;
	FILE *f = cols ? open_memstream(&text, &size) : NULL;

	if (!f)
		return NULL;
	fprintf(f,
		"SELECT %s" FROM_RECORDS " AND r.end_usec > ?1 AND r.end_usec <= ?3"
		" UNION ALL SELECT %s" FROM_RECORDS
		" AND r.end_usec > ?4 AND r.end_usec <= ?2 + ?5",
		cols, by, level, in, cols, by, level, in);
	if (level + 1 < USAGE__LEVELS) /* not rolled up yet */
		fprintf(f,
			" UNION ALL SELECT %s FROM chosen c CROSS JOIN guest g ON g.id = c.id"
			" CROSS JOIN record r INDEXED BY record_chain ON r.guest = g.id"
			" AND r.level = %d AND r.number > g.r%d"
			" WHERE r.end_usec > ?3 AND r.end_usec <= ?4 AND %s",
			cols, level, level, in);
	return fclose(f) == 0 ? text : NULL;
}

static void bind_times(const struct answer *a, sqlite3_stmt *st, enum usage_level level)
{
	const struct ledger_query *q = a->q;
	uint64_t from = q->until_usec, to = q->until_usec, unit;

	if (level < a->coarsest) {
		unit = usage_level_usec[level + 1];
		from = (q->since_usec + unit - 1) / unit * unit;
		to = q->until_usec / unit * unit;
		if (from > to)
			from = to = q->until_usec;
	}
	sqlite3_bind_int64(st, 1, (int64_t)q->since_usec);
	sqlite3_bind_int64(st, 2, (int64_t)q->until_usec);
	sqlite3_bind_int64(st, 3, (int64_t)from);
	sqlite3_bind_int64(st, 4, (int64_t)to);
	sqlite3_bind_int64(st, 5, (int64_t)usage_level_usec[level]);
	sqlite3_bind_int(st, 6, level > a->coarsest);
}

static int sum_level(struct answer *a, enum usage_level level, struct cos_err *err)
{
	auto_free char *text = select_text(a, level);
	struct usage_record r = { .level = level };
	sqlite3_stmt *st = NULL;
	int s = SQLITE_ERROR, e = 0;

	if (!text || sqlite3_prepare_v2(a->l.db, text, -1, &st, NULL) != SQLITE_OK)
		return ledger_db_fail(&a->l, "ask", err);
	bind_times(a, st, level);
	while (e == 0 && (s = sqlite3_step(st)) == SQLITE_ROW) {
		int64_t guest = take_counts(st, &r);

		e = count(a, guest, &r);
	}
	if (e == -E2BIG)
		e = cos_fail(err, COS_E_INVALID, 0, "the answer has more than %d rows",
			     LEDGER_ROWS_MAX);
	else if (e < 0)
		e = cos_fail(err, COS_E_KERNEL, -e, "add up");
	else if (s != SQLITE_DONE)
		e = ledger_db_fail(&a->l, "read records", err);
	sqlite3_finalize(st);
	return e;
}

/* --- answers --- */

static int name_row(struct answer *a, struct row *row, struct cos_err *err)
{
	sqlite3_stmt *st = NULL;
	int r = 0;

	if (sqlite3_prepare_v2(a->l.db, "SELECT uuid, name, owner FROM guest WHERE id = ?", -1, &st,
			       NULL) != SQLITE_OK)
		return ledger_db_fail(&a->l, "name a guest", err);
	sqlite3_bind_int64(st, 1, (int64_t)row->key);
	if (sqlite3_step(st) == SQLITE_ROW) {
		str_fmt(row->sum.uuid, sizeof(row->sum.uuid), "%s",
			(const char *)sqlite3_column_text(st, 0) ?: "");
		str_fmt(row->sum.name, sizeof(row->sum.name), "%s",
			(const char *)sqlite3_column_text(st, 1) ?: "");
		row->sum.owner = (uint64_t)sqlite3_column_int64(st, 2);
	} else {
		r = ledger_db_fail(&a->l, "name a guest", err);
	}
	sqlite3_finalize(st);
	return r;
}

static int by_name(const void *x, const void *y)
{
	const struct row *a = x, *b = y;
	int r = strcmp(a->sum.name, b->sum.name);

	return r ? r
		 : (a->sum.begin_usec > b->sum.begin_usec) -
			       (a->sum.begin_usec < b->sum.begin_usec);
}

static int by_key(const void *x, const void *y)
{
	const struct row *a = x, *b = y;

	return (a->key > b->key) - (a->key < b->key);
}

static int answer_sums(struct answer *a, struct cos_err *err)
{
	bool guests = a->q->by == LEDGER_BY_GUEST;
	int r = 0;

	for (enum usage_level level = 0; r == 0 && level < USAGE__LEVELS; level++)
		r = sum_level(a, level, err);
	for (size_t i = 0; guests && r == 0 && i < a->n; i++)
		r = name_row(a, &a->rows[i], err);
	if (r < 0)
		return r;
	if (a->n)
		qsort(a->rows, a->n, sizeof(*a->rows), guests ? by_name : by_key);
	for (size_t i = 0; i < a->n; i++) {
		struct row *row = &a->rows[i];

		fputc('{', a->out);
		if (guests)
			fprintf(a->out, "\"uuid\": \"%s\", ", row->sum.uuid);
		else
			row->sum.name[0] = '\0';
		if (a->q->by == LEDGER_BY_INTERVAL)
			fprintf(a->out, "\"bucket_usec\": %" PRIu64 ", ", row->key);
		put_record(a->out, &row->sum);
		fputs("}\n", a->out);
	}
	return 0;
}

/* Whole chains: what is asked for is a proof. */
static int answer_records(struct answer *a, struct cos_err *err)
{
	auto_free char *cols = ledger_db_columns("r."), *text = NULL;
	struct usage_record r = { 0 };
	sqlite3_stmt *st = NULL;
	int s;

	if (!cols ||
	    asprintf(&text,
		     "SELECT g.uuid, r.level, %s FROM chosen c JOIN guest g ON g.id = c.id"
		     " JOIN record r ON r.guest = g.id ORDER BY g.id, r.level, r.number",
		     cols) < 0 ||
	    sqlite3_prepare_v2(a->l.db, text, -1, &st, NULL) != SQLITE_OK)
		return ledger_db_fail(&a->l, "ask", err);
	while ((s = sqlite3_step(st)) == SQLITE_ROW && !ferror(a->out)) {
		str_fmt(r.uuid, sizeof(r.uuid), "%s",
			(const char *)sqlite3_column_text(st, 0) ?: "");
		r.level = (enum usage_level)sqlite3_column_int(st, 1) % USAGE__LEVELS;
		ledger_db_record(st, 2, &r);
		put_proof(a->out, &r);
	}
	s = s == SQLITE_DONE ? 0 : ledger_db_fail(&a->l, "read records", err);
	sqlite3_finalize(st);
	return s;
}

static int answer(struct answer *a, struct cos_err *err)
{
	char path[4200];
	int r;

	str_fmt(path, sizeof(path), "%s/" LEDGER_FILE, a->l.dir);
	/* it writes nothing; but a reader of a write-ahead log takes part in its index */
	if (sqlite3_open_v2(path, &a->l.db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOFOLLOW, NULL) !=
	    SQLITE_OK)
		return ledger_db_fail(&a->l, path, err);
	sqlite3_busy_timeout(a->l.db, 5000);
	r = ledger_db_run(&a->l, "PRAGMA temp_store = MEMORY; PRAGMA mmap_size = 0;", err);
	if (r == 0)
		r = choose(a, err);
	if (r == 0) /* all of it as of one moment */
		r = ledger_db_run(&a->l, "BEGIN", err);
	if (r < 0)
		return r;
	return a->q->by == LEDGER_RECORDS ? answer_records(a, err) : answer_sums(a, err);
}

static enum usage_level coarsest_of(const struct ledger_query *q)
{
	enum usage_level level = USAGE_DAY;

	while (q->by == LEDGER_BY_INTERVAL && level > USAGE_INTERVAL &&
	       q->step_usec % usage_level_usec[level])
		level--;
	return level;
}

static bool is_sane(const struct ledger_query *q)
{
	return q->n_names <= LEDGER_NAMES_MAX && q->by <= LEDGER_RECORDS &&
	       q->until_usec <= INT64_MAX / 2 && q->since_usec <= q->until_usec &&
	       (q->by != LEDGER_BY_INTERVAL || q->step_usec >= USEC_PER_SEC);
}

int ledger_answer(const char *dir, const struct ledger_query *q, int out)
{
	struct answer *a = calloc(1, sizeof(*a));
	struct cos_err err = { .why = "the query is not one" };
	int r = -EINVAL;

	if (!a || !(a->out = fdopen(dup(out), "w")))
		return -ENOMEM;
	signal(SIGPIPE, SIG_IGN);
	a->q = q;
	a->l.dir = (char *)dir;
	if (is_sane(q)) {
		a->coarsest = coarsest_of(q);
		r = answer(a, &err);
	}
	if (r < 0) {
		auto_json json_t *j = json_pack("{s:s}", "error", err.why);

		json_dumpf(j, a->out, JSON_COMPACT | JSON_ENSURE_ASCII);
		fputc('\n', a->out);
	} else {
		fputs("{\"end\": true}\n", a->out);
	}
	if (fclose(a->out) != 0 && r == 0)
		r = -EIO;
	sqlite3_close(a->l.db);
	free(a->rows);
	free(a);
	return r;
}
