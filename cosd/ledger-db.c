/* cosd/ledger-db.c - the ledger's data base: schema, statements, rows to structs and back */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cosd/ledger-inner.h"
#include "lib/base/own.h"
#include "lib/base/str.h"

#define BUSY_MSEC 5000

/* Columns of a record that are no metric, as ledger_db_record() takes them. */
static const char *const record_cols[] = {
	"number", "begin_usec", "end_usec",     "span_usec",  "gap_usec", "owner", "name",
	"first",  "last",       "members_from", "members_to", "prev",     "hash",
};
/* Of a guest, as load() takes them; then for each level n, r, h; then the metrics. */
static const char *const guest_cols[] = { "id",  "name",  "owner",     "closed",   "boot",
					  "run", "epoch", "wall_usec", "boot_usec" };

static void put_columns(FILE *f, const char *prefix, const char *const *cols, size_t n)
{
	for (size_t i = 0; i < n; i++)
		fprintf(f, "%s%s%s", i ? ", " : "", prefix, cols[i]);
}

static void put_metrics(FILE *f, const char *prefix, const char *suffix)
{
	for (int i = 0; i < METRIC__N; i++)
		fprintf(f, ", %s%s%s", prefix, metric_defs[i].key, suffix);
}

char *ledger_db_columns(const char *prefix)
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	if (!f)
		return NULL;
	put_columns(f, prefix, record_cols, ARRAY_SIZE(record_cols));
	put_metrics(f, prefix, "");
	return fclose(f) == 0 ? text : NULL;
}

int ledger_db_fail(struct ledger *l, const char *what, struct cos_err *err)
{
	int no;

	switch (sqlite3_errcode(l->db) & 0xff) {
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		no = EUCLEAN;
		break;
	case SQLITE_FULL:
		no = ENOSPC;
		break;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		no = EBUSY;
		break;
	case SQLITE_NOMEM:
		no = ENOMEM;
		break;
	case SQLITE_IOERR:
	case SQLITE_CANTOPEN:
	case SQLITE_READONLY:
		no = EIO;
		break;
	default:
		no = EPROTO;
	}
	return cos_fail(err, COS_E_KERNEL, no, "ledger: %s: %s", what, sqlite3_errmsg(l->db));
}

int ledger_db_run(struct ledger *l, const char *sql, struct cos_err *err)
{
	return sqlite3_exec(l->db, sql, NULL, NULL, NULL) == SQLITE_OK
		       ? 0
		       : ledger_db_fail(l, "change", err);
}

static char *schema_text(void)
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	if (!f)
		return NULL;
	fputs("CREATE TABLE IF NOT EXISTS guest (id INTEGER PRIMARY KEY, uuid TEXT NOT NULL UNIQUE,"
	      " name TEXT NOT NULL, owner INTEGER NOT NULL, closed INTEGER NOT NULL,"
	      " boot TEXT, run INTEGER, epoch INTEGER, wall_usec INTEGER, boot_usec INTEGER",
	      f);
	for (int i = 0; i < USAGE__LEVELS; i++)
		fprintf(f, ", n%d INTEGER NOT NULL, r%d INTEGER NOT NULL, h%d BLOB NOT NULL", i, i,
			i);
	put_metrics(f, "", " INTEGER NOT NULL DEFAULT 0");
	fputs(");\nCREATE TABLE IF NOT EXISTS record (seq INTEGER PRIMARY KEY,"
	      " guest INTEGER NOT NULL, level INTEGER NOT NULL, number INTEGER NOT NULL,"
	      " begin_usec INTEGER NOT NULL, end_usec INTEGER NOT NULL, span_usec INTEGER NOT NULL,"
	      " gap_usec INTEGER NOT NULL, owner INTEGER NOT NULL, name TEXT NOT NULL,"
	      " first INTEGER NOT NULL, last INTEGER NOT NULL, members_from BLOB, members_to BLOB,"
	      " prev BLOB NOT NULL, hash BLOB NOT NULL, bare INTEGER NOT NULL DEFAULT 0",
	      f);
	put_metrics(f, "", " INTEGER NOT NULL DEFAULT 0");
	fputs(");\nCREATE UNIQUE INDEX IF NOT EXISTS record_chain ON record (guest, level, number);\n"
	      "CREATE INDEX IF NOT EXISTS record_time ON record (level, end_usec);\n"
	      "CREATE INDEX IF NOT EXISTS record_full ON record (level, end_usec)"
	      " WHERE bare = 0 AND level > 0;\n",
	      f);
	return fclose(f) == 0 ? text : NULL;
}

/* Columns of metrics that an earlier version did not have. They do not make the format another one,
 * user_version: an earlier version reads on, because it names its columns and theirs default to 0.
 */
static int add_columns(struct ledger *l, struct cos_err *err)
{
	static const char *const tables[] = { "guest", "record" };

	for (unsigned i = 0; i < 2 * METRIC__N; i++) {
		const char *table = tables[i % 2], *key = metric_defs[i / 2].key;
		int have = sqlite3_table_column_metadata(l->db, NULL, table, key, NULL, NULL, NULL,
							 NULL, NULL);
		char sql[200];
		int r;

		if (have == SQLITE_OK)
			continue;
		str_fmt(sql, sizeof(sql), "ALTER TABLE %s ADD COLUMN %s INTEGER NOT NULL DEFAULT 0",
			table, key);
		r = ledger_db_run(l, sql, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int get_number(struct ledger *l, const char *sql, int64_t *ret, struct cos_err *err)
{
	sqlite3_stmt *st = NULL;
	int r = 0;

	if (sqlite3_prepare_v2(l->db, sql, -1, &st, NULL) != SQLITE_OK ||
	    sqlite3_step(st) != SQLITE_ROW)
		r = ledger_db_fail(l, sql, err);
	else
		*ret = sqlite3_column_int64(st, 0);
	sqlite3_finalize(st);
	return r;
}

static int make_schema(struct ledger *l, struct cos_err *err)
{
	auto_free char *text = schema_text();
	int64_t version = 0;
	char sql[64];
	int r = text ? get_number(l, "PRAGMA user_version", &version, err)
		     : cos_fail(err, COS_E_KERNEL, ENOMEM, "ledger");

	if (r == 0 && version > LEDGER_SCHEMA)
		return cos_advise(err,
				  cos_fail(err, COS_E_UNSUPPORTED, 0,
					   "%s/" LEDGER_FILE " is of a later version of cosd",
					   l->dir),
				  "install that version again, or move the file away");
	if (r == 0)
		r = ledger_db_run(l, "BEGIN IMMEDIATE", err);
	if (r == 0)
		r = ledger_db_run(l, text, err);
	if (r == 0)
		r = add_columns(l, err);
	str_fmt(sql, sizeof(sql), "PRAGMA user_version = %d", LEDGER_SCHEMA);
	if (r == 0 && version != LEDGER_SCHEMA)
		r = ledger_db_run(l, sql, err);
	if (r == 0)
		r = ledger_db_run(l, "COMMIT", err);
	return r;
}

/* --- statements --- */

static void put_marks(FILE *f, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		fputs(i ? ", ?" : "?", f);
}

static void put_find(FILE *f)
{
	fputs("SELECT ", f);
	put_columns(f, "", guest_cols, ARRAY_SIZE(guest_cols));
	for (int i = 0; i < USAGE__LEVELS; i++)
		fprintf(f, ", n%d, r%d, h%d", i, i, i);
	put_metrics(f, "", "");
	fputs(" FROM guest WHERE uuid = ?", f);
}

static void put_save(FILE *f)
{
	fputs("UPDATE guest SET name = ?, owner = ?, closed = ?, boot = ?, run = ?, epoch = ?, "
	      "wall_usec = ?, boot_usec = ?",
	      f);
	for (int i = 0; i < USAGE__LEVELS; i++)
		fprintf(f, ", n%d = ?, r%d = ?, h%d = ?", i, i, i);
	put_metrics(f, "", " = ?");
	fputs(" WHERE id = ?", f);
}

static void put_add(FILE *f)
{
	fputs("INSERT INTO record (guest, level, ", f);
	put_columns(f, "", record_cols, ARRAY_SIZE(record_cols));
	put_metrics(f, "", "");
	fputs(") VALUES (", f);
	put_marks(f, 2 + ARRAY_SIZE(record_cols) + METRIC__N);
	fputs(")", f);
}

static void put_open(FILE *f)
{
	fputs("SELECT ", f);
	put_columns(f, "", record_cols, ARRAY_SIZE(record_cols));
	put_metrics(f, "", "");
	fputs(" FROM record WHERE guest = ? AND level = ? AND number > ? ORDER BY number", f);
}

static void put_statement(FILE *f, enum ledger_statement st)
{
	switch (st) {
	case ST_FIND:
		put_find(f);
		break;
	case ST_NEW:
		fputs("INSERT INTO guest (uuid, name, owner, closed", f);
		for (int i = 0; i < USAGE__LEVELS; i++)
			fprintf(f, ", n%d, r%d, h%d", i, i, i);
		fputs(") VALUES (?, ?, ?, 1", f);
		for (int i = 0; i < USAGE__LEVELS; i++)
			fputs(", 0, 0, zeroblob(32)", f);
		fputs(")", f);
		break;
	case ST_SAVE:
		put_save(f);
		break;
	case ST_ADD:
		put_add(f);
		break;
	case ST_OPEN:
		put_open(f);
		break;
	case ST_OLD: /* never those of a guest's newest: what follows needs them to be proven */
		fputs("SELECT p.seq, p.guest, p.first, p.last FROM record p JOIN guest g ON g.id = p.guest"
		      " WHERE p.level = ?1 AND p.level > 0 AND p.end_usec <= ?2 AND p.bare = 0"
		      " AND p.number < CASE ?1 WHEN 1 THEN g.n1 WHEN 2 THEN g.n2 ELSE g.n3 END"
		      " AND NOT EXISTS (SELECT 1 FROM record m WHERE m.guest = p.guest"
		      " AND m.level = ?1 - 1 AND m.number BETWEEN p.first AND p.last"
		      " AND m.level > 0 AND m.bare = 0) LIMIT ?3",
		      f);
		break;
	case ST_DROP:
		fputs("DELETE FROM record WHERE guest = ? AND level = ? AND number BETWEEN ? AND ?",
		      f);
		break;
	case ST_BARE:
		fputs("UPDATE record SET bare = 1 WHERE seq = ?", f);
		break;
	case ST_OLD_DAYS:
		fputs("DELETE FROM record WHERE seq IN (SELECT p.seq FROM record p JOIN guest g"
		      " ON g.id = p.guest WHERE p.level = 3 AND p.end_usec <= ? AND p.bare = 1"
		      " AND p.number < g.n3 LIMIT ?)",
		      f);
		break;
	case ST_WAKE:
		fputs("SELECT id, uuid FROM guest WHERE id > ? AND closed = 1 AND n2 > r2"
		      " AND wall_usec < ? ORDER BY id LIMIT ?",
		      f);
		break;
	case ST__N:
		break;
	}
}

static int prepare(struct ledger *l, struct cos_err *err)
{
	for (enum ledger_statement i = 0; i < ST__N; i++) {
		auto_free char *text = NULL;
		size_t size;
		FILE *f = open_memstream(&text, &size);

		if (!f)
			return cos_fail(err, COS_E_KERNEL, ENOMEM, "ledger");
		put_statement(f, i);
		fclose(f);
		if (sqlite3_prepare_v3(l->db, text, -1, SQLITE_PREPARE_PERSISTENT, &l->st[i],
				       NULL) != SQLITE_OK)
			return ledger_db_fail(l, "prepare", err);
	}
	return 0;
}

int ledger_db_open(struct ledger *l, struct cos_err *err)
{
	char path[4200];
	int64_t ignored;
	int r;

	str_fmt(path, sizeof(path), "%s/" LEDGER_FILE, l->dir);
	if (sqlite3_open_v2(path, &l->db,
			    SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOFOLLOW,
			    NULL) != SQLITE_OK)
		return ledger_db_fail(l, path, err);
	sqlite3_extended_result_codes(l->db, 1);
	sqlite3_busy_timeout(l->db, BUSY_MSEC);
	r = get_number(l, "SELECT count(*) FROM sqlite_master", &ignored, err);
	if (r == 0)
		r = ledger_db_run(
			l,
			"PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
			"PRAGMA journal_size_limit = 16777216; PRAGMA cell_size_check = 1;",
			err);
	if (r == 0)
		r = make_schema(l, err);
	return r == 0 ? prepare(l, err) : r;
}

void ledger_db_close(struct ledger *l)
{
	for (int i = 0; i < ST__N; i++) {
		sqlite3_finalize(l->st[i]);
		l->st[i] = NULL;
	}
	sqlite3_close(l->db);
	l->db = NULL;
}

/* --- rows --- */

static uint64_t number_at(sqlite3_stmt *st, int col)
{
	int64_t v = sqlite3_column_int64(st, col);

	return v < 0 ? 0 : (uint64_t)v;
}

static void text_at(sqlite3_stmt *st, int col, char *to, size_t size)
{
	str_fmt(to, size, "%s", (const char *)sqlite3_column_text(st, col) ?: "");
}

static void hash_at(sqlite3_stmt *st, int col, uint8_t *to)
{
	memset(to, 0, USAGE_HASH);
	if (sqlite3_column_bytes(st, col) == USAGE_HASH)
		memcpy(to, sqlite3_column_blob(st, col), USAGE_HASH);
}

void ledger_db_record(sqlite3_stmt *st, int at, struct usage_record *r)
{
	r->number = number_at(st, at++);
	r->begin_usec = number_at(st, at++);
	r->end_usec = number_at(st, at++);
	r->span_usec = number_at(st, at++);
	r->gap_usec = number_at(st, at++);
	r->owner = number_at(st, at++);
	text_at(st, at++, r->name, sizeof(r->name));
	r->first = number_at(st, at++);
	r->last = number_at(st, at++);
	hash_at(st, at++, r->from);
	hash_at(st, at++, r->to);
	hash_at(st, at++, r->prev);
	hash_at(st, at++, r->hash);
	for (int i = 0; i < METRIC__N; i++)
		r->value[i] = number_at(st, at++);
}

/* What was recorded since the last roll-up. */
static int load_open(struct ledger *l, struct ledger_guest *g, enum usage_level level,
		     struct cos_err *err)
{
	sqlite3_stmt *st = l->st[ST_OPEN];
	struct usage_record r = { .level = level };
	int s;

	sqlite3_bind_int64(st, 1, g->id);
	sqlite3_bind_int(st, 2, level);
	sqlite3_bind_int64(st, 3, (int64_t)g->chain[level].rolled);
	memcpy(r.uuid, g->uuid, sizeof(r.uuid));
	while ((s = sqlite3_step(st)) == SQLITE_ROW) {
		ledger_db_record(st, 0, &r);
		usage_add_member(&g->chain[level].open, &r);
	}
	sqlite3_reset(st);
	return s == SQLITE_DONE ? 0 : ledger_db_fail(l, "read records", err);
}

static void take_guest(sqlite3_stmt *st, struct ledger_guest *g)
{
	struct ledger_mark *m = &g->mark;
	int at = 0;

	g->id = sqlite3_column_int64(st, at++);
	text_at(st, at++, g->name, sizeof(g->name));
	g->owner = number_at(st, at++);
	m->closed = sqlite3_column_int(st, at++);
	m->there = sqlite3_column_type(st, at) != SQLITE_NULL;
	text_at(st, at++, m->boot, sizeof(m->boot));
	m->run = (uint64_t)sqlite3_column_int64(st, at++);
	m->epoch = (uint64_t)sqlite3_column_int64(st, at++);
	m->wall_usec = number_at(st, at++);
	m->boot_usec = number_at(st, at++);
	for (int i = 0; i < USAGE__LEVELS; i++) {
		g->chain[i].number = number_at(st, at++);
		g->chain[i].rolled = number_at(st, at++);
		hash_at(st, at++, g->chain[i].head);
	}
	for (int i = 0; i < METRIC__N; i++)
		m->value[i] = number_at(st, at++);
	g->saved = *m;
}

int ledger_db_load(struct ledger *l, const char *uuid, struct ledger_guest *g, struct cos_err *err)
{
	sqlite3_stmt *st = l->st[ST_FIND];
	int r = 0, s;

	sqlite3_bind_text(st, 1, uuid, -1, SQLITE_STATIC);
	s = sqlite3_step(st);
	if (s == SQLITE_ROW)
		take_guest(st, g);
	else if (s != SQLITE_DONE)
		r = ledger_db_fail(l, "read a guest", err);
	sqlite3_reset(st);
	if (s != SQLITE_ROW)
		return r;
	str_fmt(g->uuid, sizeof(g->uuid), "%s", uuid);
	for (enum usage_level level = 0; r == 0 && level + 1 < USAGE__LEVELS; level++)
		r = load_open(l, g, level, err);
	return r < 0 ? r : 1;
}

static int finish(struct ledger *l, sqlite3_stmt *st, const char *what, struct cos_err *err)
{
	int s = sqlite3_step(st);
	int r = s == SQLITE_DONE ? 0 : ledger_db_fail(l, what, err);

	sqlite3_reset(st);
	return r;
}

int ledger_db_new(struct ledger *l, struct ledger_guest *g, struct cos_err *err)
{
	sqlite3_stmt *st = l->st[ST_NEW];
	int r;

	sqlite3_bind_text(st, 1, g->uuid, -1, SQLITE_STATIC);
	sqlite3_bind_text(st, 2, g->name, -1, SQLITE_STATIC);
	sqlite3_bind_int64(st, 3, (int64_t)g->owner);
	r = finish(l, st, "add a guest", err);
	if (r == 0)
		g->id = sqlite3_last_insert_rowid(l->db);
	return r;
}

int ledger_db_save(struct ledger *l, struct ledger_guest *g, struct cos_err *err)
{
	const struct ledger_mark *m = &g->mark;
	sqlite3_stmt *st = l->st[ST_SAVE];
	int at = 1;

	sqlite3_bind_text(st, at++, g->name, -1, SQLITE_STATIC);
	sqlite3_bind_int64(st, at++, (int64_t)g->owner);
	sqlite3_bind_int(st, at++, m->closed);
	if (m->there)
		sqlite3_bind_text(st, at++, m->boot, -1, SQLITE_STATIC);
	else
		sqlite3_bind_null(st, at++);
	sqlite3_bind_int64(st, at++, (int64_t)m->run);
	sqlite3_bind_int64(st, at++, (int64_t)m->epoch);
	sqlite3_bind_int64(st, at++, (int64_t)m->wall_usec);
	sqlite3_bind_int64(st, at++, (int64_t)m->boot_usec);
	for (int i = 0; i < USAGE__LEVELS; i++) {
		sqlite3_bind_int64(st, at++, (int64_t)g->chain[i].number);
		sqlite3_bind_int64(st, at++, (int64_t)g->chain[i].rolled);
		sqlite3_bind_blob(st, at++, g->chain[i].head, USAGE_HASH, SQLITE_STATIC);
	}
	for (int i = 0; i < METRIC__N; i++)
		sqlite3_bind_int64(st, at++, (int64_t)m->value[i]);
	sqlite3_bind_int64(st, at, g->id);
	return finish(l, st, "write where a guest stands", err);
}

static void bind_hash(sqlite3_stmt *st, int at, const uint8_t *hash, bool there)
{
	if (there)
		sqlite3_bind_blob(st, at, hash, USAGE_HASH, SQLITE_STATIC);
	else
		sqlite3_bind_null(st, at);
}

int ledger_db_add(struct ledger *l, const struct ledger_guest *g, const struct usage_record *r,
		  struct cos_err *err)
{
	bool members = r->level != USAGE_INTERVAL;
	sqlite3_stmt *st = l->st[ST_ADD];
	int at = 1;

	sqlite3_bind_int64(st, at++, g->id);
	sqlite3_bind_int(st, at++, r->level);
	sqlite3_bind_int64(st, at++, (int64_t)r->number);
	sqlite3_bind_int64(st, at++, (int64_t)r->begin_usec);
	sqlite3_bind_int64(st, at++, (int64_t)r->end_usec);
	sqlite3_bind_int64(st, at++, (int64_t)r->span_usec);
	sqlite3_bind_int64(st, at++, (int64_t)r->gap_usec);
	sqlite3_bind_int64(st, at++, (int64_t)r->owner);
	sqlite3_bind_text(st, at++, r->name, -1, SQLITE_STATIC);
	sqlite3_bind_int64(st, at++, (int64_t)r->first);
	sqlite3_bind_int64(st, at++, (int64_t)r->last);
	bind_hash(st, at++, r->from, members);
	bind_hash(st, at++, r->to, members);
	bind_hash(st, at++, r->prev, true);
	bind_hash(st, at++, r->hash, true);
	for (int i = 0; i < METRIC__N; i++)
		sqlite3_bind_int64(st, at++, (int64_t)r->value[i]);
	return finish(l, st, "add a record", err);
}
