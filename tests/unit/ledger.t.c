/* tests/unit/ledger.t.c - the ledger: growth, gaps, chains, roll-up, retention, damage, a full disk
 */
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cosd/ledger-inner.h"
#include "lib/base/clock.h"
#include "lib/base/io.h"
#include "lib/base/str.h"
#include "tests/tap.h"

#define SEC  USEC_PER_SEC
#define BOOT "11111111-1111-1111-1111-111111111111"
#define NEXT "22222222-2222-2222-2222-222222222222"
#define NOON 1795262400000000ULL /* of a day; also the begin of an hour and a minute */

#define SHORT 600U /* guests: more than are woken at once */

static char dir[] = "/tmp/cos-ledger.XXXXXX";
static struct ledger *l;
static struct ledger_sample s;

static struct ledger_conf conf_of(const char *boot)
{
	struct ledger_conf c = {
		.keep_usec = { 600 * SEC, 7200 * SEC, 3 * 86400 * SEC, 30 * 86400 * SEC },
		.interval_usec = 10 * SEC,
		.booted_usec = NOON - 1000 * SEC,
	};

	str_fmt(c.boot, sizeof(c.boot), "%s", boot);
	return c;
}

static void open_ledger(const char *boot, uint64_t booted_usec)
{
	struct ledger_conf c = conf_of(boot);
	char *moved = NULL;
	struct cos_err err;

	c.booted_usec = booted_usec;
	l = NULL;
	if (ledger_open(dir, &c, &l, &moved, &err) < 0)
		printf("# %s\n", err.why);
	free(moved);
}

/* An empty ledger and a guest that starts at noon, 1000 s after the boot. */
static void fresh(void)
{
	ledger_close(l);
	io_remove_tree(AT_FDCWD, dir, 0);
	mkdir(dir, 0700);
	open_ledger(BOOT, NOON - 1000 * SEC);
	s = (struct ledger_sample){ .run = 7, .epoch = 1, .known = true };
	str_fmt(s.uuid, sizeof(s.uuid), "%s", "01234567-89ab-4def-8123-456789abcdef");
	str_fmt(s.name, sizeof(s.name), "%s", "web");
	str_fmt(s.boot, sizeof(s.boot), "%s", BOOT);
	s.wall_usec = NOON;
	s.boot_usec = s.run_began_usec = 1000 * SEC;
}

/* USEC pass, in which the guest uses CPU and is seen. */
static void pass(uint64_t usec, uint64_t cpu)
{
	s.wall_usec += usec;
	s.boot_usec += usec;
	s.value[METRIC_SEEN] += usec;
	s.value[METRIC_CPU_USER] += cpu;
}

static int take(void)
{
	struct cos_err err = { 0 };
	int r = ledger_take(l, &s, 1, &err);

	if (r < 0)
		printf("# %s\n", err.why);
	return r;
}

static int64_t ask(const char *sql)
{
	sqlite3_stmt *st = NULL;
	int64_t v = -1;

	if (sqlite3_prepare_v2(l->db, sql, -1, &st, NULL) == SQLITE_OK &&
	    sqlite3_step(st) == SQLITE_ROW)
		v = sqlite3_column_int64(st, 0);
	else
		printf("# %s: %s\n", sql, sqlite3_errmsg(l->db));
	sqlite3_finalize(st);
	return v;
}

static int64_t total(const char *column)
{
	char sql[100];

	str_fmt(sql, sizeof(sql), "SELECT coalesce(sum(%s), 0) FROM record WHERE level = 0",
		column);
	return ask(sql);
}

/* The first fault that a reader of all records finds. */
static int verify(void)
{
	struct usage_checker *c = usage_checker_new();
	sqlite3_stmt *st = NULL;
	char *cols = ledger_db_columns("r."), *sql = NULL;
	struct usage_record r = { 0 };
	int fault = USAGE_GOOD;

	if (!c || !cols ||
	    asprintf(&sql,
		     "SELECT g.uuid, r.level, %s FROM guest g JOIN record r ON r.guest = g.id "
		     "ORDER BY r.guest, r.level, r.number",
		     cols) < 0)
		return -ENOMEM;
	sqlite3_prepare_v2(l->db, sql, -1, &st, NULL);
	while (fault == USAGE_GOOD && sqlite3_step(st) == SQLITE_ROW) {
		if (r.uuid[0] && strcmp(r.uuid, (const char *)sqlite3_column_text(st, 0)) != 0) {
			fault = usage_check_end(c);
			usage_checker_free(c);
			c = usage_checker_new();
		}
		r = (struct usage_record){ .level = (enum usage_level)sqlite3_column_int(st, 1) };
		str_fmt(r.uuid, sizeof(r.uuid), "%s", (const char *)sqlite3_column_text(st, 0));
		ledger_db_record(st, 2, &r);
		fault = fault == USAGE_GOOD ? usage_check(c, &r) : fault;
	}
	if (fault == USAGE_GOOD)
		fault = usage_check_end(c);
	sqlite3_finalize(st);
	usage_checker_free(c);
	free(cols);
	free(sql);
	return fault;
}

static void growth_is_recorded_once(void)
{
	fresh();
	pass(10 * SEC, 3 * SEC);
	ok(take() == 0 && total("cpu_user_usec") == 3 * (int64_t)SEC,
	   "a run's first sample counts");
	ok(take() == 0 && total("cpu_user_usec") == 3 * (int64_t)SEC,
	   "one that comes twice does not");
	pass(10 * SEC, 2 * SEC);
	take();
	ok(total("cpu_user_usec") == 5 * (int64_t)SEC && total("span_usec") == 20 * (int64_t)SEC,
	   "the next adds its growth");
	ok(total("gap_usec") == 0, "all was seen");
	s.value[METRIC_CPU_USER] = SEC;
	pass(10 * SEC, 0);
	take();
	ok(total("cpu_user_usec") == 6 * (int64_t)SEC, "a counter that was reset began at 0");
	ok(ask("SELECT min(cpu_user_usec) >= 0 FROM record") == 1, "nothing is negative");
}

static void a_lost_worker_leaves_a_gap(void)
{
	fresh();
	pass(10 * SEC, SEC);
	take();
	pass(100 * SEC, 5 * SEC);
	s.epoch = 2;
	s.value[METRIC_SEEN] = 4 * SEC; /* the new one has looked for so long */
	s.value[METRIC_MEMORY] = 100;
	take();
	ok(total("cpu_user_usec") == 6 * (int64_t)SEC, "what the kernel counted is not lost");
	ok(total("memory_kib_sec") == 100, "sums of the new worker begin at 0");
	ok(total("gap_usec") == 96 * (int64_t)SEC, "what was not seen is a gap");
	ok(total("span_usec") == 110 * (int64_t)SEC, "of the time that the guest ran");
}

static void what_machines_tell(void)
{
	fresh();
	s.value[METRIC_VCPU] = 5 * SEC;
	pass(10 * SEC, 9 * SEC);
	take();
	s.epoch = 2;
	s.value[METRIC_VCPU] = 0; /* a new worker has not asked yet */
	pass(10 * SEC, 0);
	take();
	ok(total("vcpu_usec") == 5 * (int64_t)SEC, "what was not told yet adds nothing");
	s.value[METRIC_VCPU] = 6 * SEC;
	pass(10 * SEC, 0);
	take();
	ok(total("vcpu_usec") == 6 * (int64_t)SEC, "what is told then adds its growth");
	s.value[METRIC_VCPU] = 2 * SEC;
	pass(10 * SEC, 0);
	take();
	s.value[METRIC_VCPU] = 7 * SEC;
	pass(10 * SEC, 0);
	take();
	ok(total("vcpu_usec") == 7 * (int64_t)SEC, "who goes back and forth is not counted twice");
	s.run = 8;
	s.run_began_usec = s.boot_usec;
	s.value[METRIC_VCPU] = SEC;
	pass(10 * SEC, 0);
	take();
	ok(total("vcpu_usec") == 8 * (int64_t)SEC, "a new run counts anew");
	ok(verify() == USAGE_GOOD, "the chain is good");
}

static void a_ledger_without_a_column(void)
{
	struct cos_err err = { 0 };

	fresh();
	pass(10 * SEC, SEC);
	take();
	ok(ledger_db_run(l,
			 "ALTER TABLE record DROP COLUMN vcpu_usec;"
			 "ALTER TABLE guest DROP COLUMN vcpu_usec",
			 &err) == 0,
	   "a ledger of before there was a metric");
	ledger_close(l);
	open_ledger(BOOT, NOON - 1000 * SEC);
	ok(total("cpu_user_usec") == (int64_t)SEC && total("vcpu_usec") == 0, "is opened");
	s.value[METRIC_VCPU] = SEC;
	pass(10 * SEC, SEC);
	take();
	ok(total("vcpu_usec") == (int64_t)SEC, "and goes on with it");
	ok(verify() == USAGE_GOOD, "the chain is good");
}

static void ends_and_starts(void)
{
	fresh();
	pass(10 * SEC, SEC);
	s.last = true;
	take();
	ok(take() == 0 && total("cpu_user_usec") == (int64_t)SEC, "a last sample may come again");
	pass(1000 * SEC, 0);
	s.last = false;
	s.run = 8;
	s.run_began_usec = s.boot_usec;
	s.value[METRIC_CPU_USER] = 0;
	pass(10 * SEC, 4 * SEC);
	s.value[METRIC_SEEN] -= 1000 * SEC;
	take();
	ok(total("cpu_user_usec") == 5 * (int64_t)SEC, "a new run counts anew");
	ok(total("gap_usec") == 0 && total("span_usec") == 20 * (int64_t)SEC,
	   "while it did not run is no gap");
	/* a run whose end nobody saw */
	s.run = 9;
	s.run_began_usec = s.boot_usec + 50 * SEC;
	s.value[METRIC_CPU_USER] = 0;
	pass(60 * SEC, SEC);
	s.value[METRIC_SEEN] -= 50 * SEC;
	take();
	ok(total("gap_usec") == 50 * (int64_t)SEC,
	   "an end that nobody saw is a gap until the next start");
	ok(total("cpu_user_usec") == 6 * (int64_t)SEC, "and the new run counts");
	ok(verify() == USAGE_GOOD, "the chain is good");
}

static void a_reboot(void)
{
	fresh();
	s.value[METRIC_NET_OUT] = 500;
	pass(10 * SEC, SEC);
	take();
	ledger_close(l);
	open_ledger(NEXT, NOON + 40 * SEC);
	ok(total("gap_usec") == 30 * (int64_t)SEC, "until the host was started is a gap");
	str_fmt(s.boot, sizeof(s.boot), "%s", NEXT);
	s.wall_usec = NOON + 90 * SEC;
	s.run_began_usec = 40 * SEC;
	s.boot_usec = 50 * SEC;
	s.epoch = 2;
	memset(s.value, 0, sizeof(s.value));
	s.value[METRIC_SEEN] = 10 * SEC;
	s.value[METRIC_CPU_USER] = 2 * SEC;
	s.base[METRIC_NET_OUT] = 100; /* what was on disk; 400 were counted and are lost */
	s.value[METRIC_NET_OUT] = 160;
	take();
	ok(total("cpu_user_usec") == 3 * (int64_t)SEC, "CPU of both boots");
	ok(total("net_out_bytes") == 560, "what was lost of a counter on disk was recorded");
	ok(total("span_usec") == 50 * (int64_t)SEC, "and nothing is counted twice");
	ok(verify() == USAGE_GOOD, "the chain is good");
}

static void clock_steps(void)
{
	const uint64_t year = 365ULL * 86400 * SEC;

	fresh();
	for (int i = 0; i < 30; i++) {
		if (i == 10)
			s.wall_usec += year;
		if (i == 20)
			s.wall_usec -= 2 * year;
		pass(10 * SEC, SEC);
		take();
	}
	ok(total("cpu_user_usec") == 30 * (int64_t)SEC, "nothing is lost or twice");
	ok(total("span_usec") == 300 * (int64_t)SEC, "no step makes time");
	ok(total("gap_usec") == 0, "nor a gap");
	ok(verify() == USAGE_GOOD, "the chain is good");
	ok(ask("SELECT sum(cpu_user_usec) FROM record WHERE level = 1") +
			   ask("SELECT sum(r.cpu_user_usec) FROM record r JOIN guest g"
			       " WHERE r.level = 0 AND r.number > g.r0") ==
		   30 * (int64_t)SEC,
	   "minutes have what their members have");
}

static int64_t asked(uint64_t since, uint64_t until)
{
	static struct ledger_query q;
	char out[] = "/tmp/cos-ledger-out.XXXXXX", text[8192] = "";
	int fd = mkstemp(out);
	const char *at;

	q = (struct ledger_query){ .since_usec = since, .until_usec = until, .owner = -1 };
	unlink(out);
	if (ledger_answer(dir, &q, fd) < 0 || pread(fd, text, sizeof(text) - 1, 0) < 0)
		return -1;
	close(fd);
	at = strstr(text, "\"cpu_user_usec\": ");
	return at ? strtoll(at + 17, NULL, 10) : 0;
}

/* Three days of a guest that uses 1 s of CPU in each 10 s. */
static void roll_up_and_retention(void)
{
	enum { SAMPLES = 3 * 8640 };
	bool more = true, same = true;
	struct cos_err err;
	int64_t before, all = SAMPLES * (int64_t)SEC;
	const uint64_t end = NOON + SAMPLES * 10 * SEC;

	fresh();
	sqlite3_exec(l->db, "PRAGMA synchronous = OFF", NULL, NULL, NULL);
	for (int i = 0; i < SAMPLES; i++) {
		pass(10 * SEC, SEC);
		take();
	}
	before = ask("SELECT count(*) FROM record WHERE level = 0");
	ok(before == SAMPLES, "each sample is a record");
	ok(asked(0, INT64_MAX / 2) == all, "the sum of all");
	ok(asked(NOON + 3600 * SEC, NOON + 7200 * SEC) == 360 * (int64_t)SEC, "of an hour");
	ok(asked(NOON + 3615 * SEC, NOON + 90025 * SEC) == 8641 * (int64_t)SEC, "of any time");
	for (int i = 0; i < 200 && same; i++) {
		uint64_t cut = NOON + (uint64_t)(random() % (SAMPLES * 10)) * SEC;

		same = asked(0, cut) + asked(cut, end) == all;
	}
	ok(same, "two parts make the whole, wherever it is cut");
	ok(verify() == USAGE_GOOD, "the chain is good");
	while (more && ledger_tend(l, s.wall_usec, &more, &err) == 0) {
	}
	ok(ask("SELECT count(*) FROM record WHERE level = 0") < before / 100,
	   "old records are removed");
	ok(asked(0, INT64_MAX / 2) == all, "and the sum is the same");
	for (int i = 0; i < 200 && same; i++) {
		uint64_t cut = NOON + (uint64_t)(random() % (SAMPLES * 10)) * SEC;

		same = asked(0, cut) + asked(cut, end) == all;
	}
	ok(same, "also of two parts");
	ok(verify() == USAGE_GOOD, "what is left is proven");
	ledger_close(l);
	open_ledger(BOOT, NOON - 1000 * SEC);
	pass(10 * SEC, SEC);
	ok(take() == 0 && asked(0, INT64_MAX / 2) == all + (int64_t)SEC && verify() == USAGE_GOOD,
	   "it goes on after a restart");
}

static unsigned in_memory(void)
{
	unsigned n = 0;
	struct list *p;

	for (int i = 0; i < LEDGER_HEADS; i++) {
		list_for_each(p, &l->guests[i])
			n++;
	}
	return n;
}

/* Many short ones: none is kept in memory until its day is over. */
static void guests_of_a_day(void)
{
	uint64_t late = NOON + 24 * 3600 * SEC;
	struct cos_err err;
	bool more = true;
	int rounds = 0;

	fresh();
	sqlite3_exec(l->db, "PRAGMA synchronous = OFF", NULL, NULL, NULL);
	for (unsigned i = 0; i < SHORT; i++) {
		s.run = 1000 + i;
		s.last = true;
		snprintf(s.uuid, sizeof(s.uuid), "%08x-0000-4000-8000-000000000000", i);
		pass(SEC, SEC / 2);
		take();
	}
	ok(in_memory() == SHORT, "%u guests ran for a second each", SHORT);
	ok(ledger_tend(l, s.wall_usec + 2 * 3600 * SEC, &more, &err) == 0 && in_memory() == 0,
	   "when the hour is over they need no memory");
	ok(ask("SELECT count(*) FROM record WHERE level = 2") == SHORT, "each has its hour");
	ledger_close(l);
	open_ledger(BOOT, NOON - 1000 * SEC);
	ok(in_memory() == 0, "nor after a restart");
	for (more = true; more && rounds < 100; rounds++) {
		if (ledger_tend(l, late, &more, &err) < 0)
			break;
	}
	ok(!more && rounds > 1, "the next day they are dealt with in %d parts", rounds);
	ok(ask("SELECT count(*) FROM record WHERE level = 3") == SHORT, "each has its day");
	ok(in_memory() == 0, "and none is kept");
	ok(verify() == USAGE_GOOD, "all chains are good");
}

static void tampering_is_found(void)
{
	static const struct {
		const char *sql, *name;
	} acts[] = {
		{ "UPDATE record SET cpu_user_usec = 1 WHERE level = 0 AND number = 20",
		  "a value" },
		{ "UPDATE record SET name = 'x' WHERE level = 1 AND number = 1", "a name" },
		{ "DELETE FROM record WHERE level = 0 AND number = 20", "one that is missing" },
		{ "DELETE FROM record WHERE level = 0 AND number = 1", "the first one missing" },
		{ "DELETE FROM record WHERE level = 1 AND number = 2", "a missing minute" },
	};
	struct cos_err err;

	for (size_t i = 0; i < sizeof(acts) / sizeof(*acts); i++) {
		fresh();
		for (int k = 0; k < 40; k++) {
			pass(10 * SEC, SEC);
			take();
		}
		ok(verify() == USAGE_GOOD, "before: good");
		ledger_db_run(l, acts[i].sql, &err);
		ok(verify() > USAGE_GOOD, "found: %s", acts[i].name);
	}
}

static void a_full_disk(void)
{
	struct cos_err err;
	char sql[80];
	int r = 0, n = 0;

	fresh();
	str_fmt(sql, sizeof(sql), "PRAGMA max_page_count = %lld",
		(long long)ask("PRAGMA page_count") + 2);
	sqlite3_exec(l->db, sql, NULL, NULL, NULL);
	for (; n < 1000 && r == 0; n++) {
		pass(10 * SEC, SEC);
		r = ledger_take(l, &s, 1, &err);
	}
	ok(r == -ENOSPC, "a full disk is told");
	for (int i = 0; i < 5; i++, n++) {
		pass(10 * SEC, SEC);
		ledger_take(l, &s, 1, &err);
	}
	sqlite3_exec(l->db, "PRAGMA max_page_count = 1000000", NULL, NULL, NULL);
	pass(10 * SEC, SEC);
	ok(take() == 0, "when there is room it goes on");
	ok(total("cpu_user_usec") == (n + 1) * (int64_t)SEC, "nothing was lost");
	ok(total("span_usec") == (n + 1) * 10 * (int64_t)SEC && total("gap_usec") == 0,
	   "nor is it a gap");
	ok(verify() == USAGE_GOOD, "the chain is good");
}

static void damage(void)
{
	char path[80], *moved = NULL;
	struct cos_err err;
	struct ledger_conf c = conf_of(BOOT);
	int fd;

	fresh();
	pass(10 * SEC, SEC);
	take();
	ok(ledger_check(l, &err) == 0, "a whole data base is whole");
	pass(10 * SEC, SEC);
	ok(ledger_replace(l, &moved, &err) == 0 && moved && access(moved, F_OK) == 0,
	   "a damaged one is moved aside");
	free(moved);
	ok(take() == 0 && total("cpu_user_usec") == (int64_t)SEC,
	   "counting goes on where it stood");
	ledger_close(l);
	str_fmt(path, sizeof(path), "%s/" LEDGER_FILE, dir);
	fd = open(path, O_WRONLY | O_TRUNC);
	ok(write(fd, "this is no data base, whatever its name says ......", 50) == 50, "damage it");
	close(fd);
	l = NULL;
	moved = NULL;
	ok(ledger_open(dir, &c, &l, &moved, &err) == 0 && moved,
	   "damage is found when it is opened");
	free(moved);
	pass(10 * SEC, SEC);
	ok(take() == 0 && total("cpu_user_usec") == 0,
	   "what the lost one may have recorded is not recorded again");
	ok(total("gap_usec") > 0, "but a gap");
	pass(10 * SEC, SEC);
	ok(take() == 0 && total("cpu_user_usec") == (int64_t)SEC, "then it goes on");
}

int main(void)
{
	if (!mkdtemp(dir))
		return 1;
	growth_is_recorded_once();
	a_lost_worker_leaves_a_gap();
	what_machines_tell();
	a_ledger_without_a_column();
	ends_and_starts();
	a_reboot();
	clock_steps();
	roll_up_and_retention();
	guests_of_a_day();
	tampering_is_found();
	a_full_disk();
	damage();
	ledger_close(l);
	io_remove_tree(AT_FDCWD, dir, 0);
	return tap_done();
}
