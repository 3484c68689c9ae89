/* tests/unit/limits.t.c - sets of CPUs, limits against each other, and the kernel's texts for them
 */
#include <errno.h>
#include <string.h>

#include "lib/base/own.h"
#include "lib/model/limits.h"
#include "tests/tap.h"

static void is_str(const char *got, const char *wanted, const char *what)
{
	ok(strcmp(got, wanted) == 0, "%s: \"%s\" is \"%s\"", what, got, wanted);
}

static void test_cpus(void)
{
	static const char *const same[] = { "0", "0-3", "1,3", "0-1,4-7,1023", "63-64" };
	static const struct {
		const char *text;
		int r;
	} bad[] = { { "", -EINVAL },     { "a", -EINVAL },   { "1-", -EINVAL },
		    { "3-1", -EINVAL },  { "0,", -EINVAL },  { "1024", -ERANGE },
		    { "-1", -EINVAL },   { "0 1", -EINVAL }, { "99999999999999999999", -ERANGE },
		    { "0\n\n", -EINVAL } };
	char buf[CPUS_TEXT_SIZE];
	struct cpus a, b, c;

	for (size_t i = 0; i < ARRAY_SIZE(same); i++) {
		ok(cpus_parse(same[i], &a) == 0, "%s is read", same[i]);
		cpus_print(&a, buf);
		is_str(buf, same[i], "and printed as it was");
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		ok(cpus_parse(bad[i].text, &a) == bad[i].r, "list: bad row %zu", i);
	ok(cpus_parse("3,1,2,2\n", &a) == 0 && cpus_print(&a, buf), "any order");
	is_str(buf, "1-3", "is put in order");
	cpus_parse("2-5", &b);
	c = cpus_without(&a, &b);
	cpus_print(&c, buf);
	is_str(buf, "1", "without");
	c = cpus_both(&a, &b);
	ok(cpus_count(&c) == 2 && cpus_has(&c, 2) && !cpus_has(&c, 4), "both");
	c = cpus_either(&a, &b);
	ok(cpus_count(&c) == 5, "either");
	memset(&c, 0, sizeof(c));
	for (unsigned i = 0; i < CPUS_MAX; i += 2)
		cpus_add(&c, i);
	ok(!cpus_print(&c, buf) && strlen(buf) < sizeof(buf) && buf[strlen(buf) - 1] != ',',
	   "a list that is too long for its text is cut between numbers");
}

/* The text of the last row of FILE. */
static const char *text_of(const struct limits *l, enum cg_version ver, const char *file)
{
	static char text[KNOB_TEXT_SIZE];
	const struct knob_host h = { ver, "0-1", "8:0" };

	strcpy(text, "none");
	for (unsigned i = 0; i < n_knobs; i++) {
		if (knobs[i].version == ver && strcmp(knobs[i].file, file) == 0)
			knobs[i].text(text, knobs[i].limit, l, &h);
	}
	return text;
}

static void test_period(void)
{
	static const struct {
		const char *rate, *burst, *v2;
	} rows[] = {
		{ "max", "0", "max 100000" },         { "1", "0", "100000 100000" },
		{ "50m", "0", "5000 100000" },        { "20m", "0", "5000 250000" },
		{ "10m", "0", "5000 500000" },        { "250m", "250ms", "250000 1000000" },
		{ "250m", "100ms", "100000 400000" }, { "1024", "0", "102400000 100000" },
		{ "2", "100ms", "200000 100000" },    { "30m", "0", "5010 167000" },
	};
	struct cos_err err;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct limits l;

		limits_init(&l);
		ok(limit_parse(&l, LIMIT_CPU_RATE, rows[i].rate, "", &err) == 0 &&
			   limit_parse(&l, LIMIT_CPU_BURST, rows[i].burst, "", &err) == 0 &&
			   limits_check(&l, "", &err) == 0,
		   "rate %s burst %s", rows[i].rate, rows[i].burst);
		is_str(text_of(&l, CG_V2, "cpu.max"), rows[i].v2, "quota and period");
	}
}

static void test_texts(void)
{
	struct limits l;

	limits_kernel(&l);
	is_str(text_of(&l, CG_V1, "cpu.cfs_quota_us"), "-1", "a new group has no quota");
	is_str(text_of(&l, CG_V1, "memory.limit_in_bytes"), "-1", "v1 has -1 for no limit");
	is_str(text_of(&l, CG_V2, "memory.max"), "max", "v2 max");
	is_str(text_of(&l, CG_V1, "cpuset.cpus"), "0-1", "all CPUs are those that are shared");
	is_str(text_of(&l, CG_V1, "blkio.throttle.read_bps_device"), "8:0 0", "no cap on v1");
	is_str(text_of(&l, CG_V2, "io.max"), "8:0 wiops=max", "no cap on v2");
	l.v[LIMIT_MEMORY_MAX] = 1000;
	l.v[LIMIT_MEMORY_SWAP] = 234;
	is_str(text_of(&l, CG_V1, "memory.memsw.limit_in_bytes"), "1234", "v1 counts swap on top");
	is_str(text_of(&l, CG_V2, "memory.swap.max"), "234", "v2 alone");
	l.v[LIMIT_CPU_SHARE] = 1;
	is_str(text_of(&l, CG_V1, "cpu.shares"), "10", "a small share");
	l.v[LIMIT_CPU_IDLE] = 1;
	is_str(text_of(&l, CG_V1, "cpu.shares"), "", "an idle group takes none");
	l.v[LIMIT_IO_WEIGHT] = 4000;
	is_str(text_of(&l, CG_V2, "io.bfq.weight"), "1000", "bfq's largest weight");
}

static void test_conflicts(void)
{
	static const struct {
		const char *doc, *why;
	} rows[] = {
		{ "{\"cpu.burst\": \"1s\"}", "needs cpu.rate" },
		{ "{\"cpu.burst\": 1, \"cpu.rate\": 1, \"cpu.hold\": \"1001ms\"}",
		  "is above cpu.burst" },
		{ "{\"cpu.dedicated\": true}", "needs cpu.set" },
		{ "{\"memory.max\": \"1G\", \"memory.high\": \"2G\"}", "above memory.max" },
		{ "{\"memory.max\": \"1G\", \"memory.reserve\": \"2G\"}", "above memory.max" },
		{ "{\"memory.max\": \"max\", \"memory.swap\": \"2G\"}", "needs memory.max" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		auto_json json_t *doc = json_loads(rows[i].doc, 0, NULL);
		struct cos_err err = { 0 };
		struct limits l;

		limits_init(&l);
		ok(limits_parse(&l, doc, "/limits", &err) == 0, "%s: each alone", rows[i].doc);
		ok(limits_check(&l, "/limits", &err) == -EINVAL, "not together");
		ok(strstr(err.why, rows[i].why), "says so: %s", err.why);
	}
}

int main(void)
{
	test_cpus();
	test_period();
	test_texts();
	test_conflicts();
	return tap_done();
}
