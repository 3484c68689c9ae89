/* man/mangen.c - manual pages' tables, made from the tables that the programs use
 *
 *	mangen < PAGE.scd.in > PAGE.scd
 *	mangen --tsv
 *
 * A line "@@WORD [ARGUMENT]" of a page is replaced by scdoc text for that table; @VERSION@,
 *@SYSCONFDIR@ and
 * @LOCALSTATEDIR@ within a line by what was configured. With --tsv all tables are printed as
 *tab-separated values: the tests compare pages and programs with them. */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cosctl/commands.def"
#include "cosd/conf.def"
#include "cow-fs/mount.h"
#include "lib/base/err.h"
#include "lib/base/own.h"
#include "lib/model/limits.h"
#include "lib/model/spec.def"
#include "lib/model/spec.h"
#include "lib/model/state.h"
#include "lib/model/usage.h"
#include "lib/wire/methods.def"
#include "man/mangen.h"

#define FORMATTED_MAX 64

/* --- the tables that no library keeps as data --- */

static const struct command {
	const char *name, *alias, *usage, *options, *help;
} commands[] = {
#define X(name, alias, fn, usage, options, help) { name, alias, usage, options, help },
	COS_COMMANDS(X)
#undef X
};

static const struct option {
	char letter;
	const char *name, *arg, *help;
} options[] = {
#define X(letter, name, arg, help) { letter, name, arg, help },
	COS_OPTIONS(X)
#undef X
};

enum method_flags { API_ANY = 1, API_OWNER = 2, API_MORE = 4 }; /* as in cosd/call.h */

static const struct method {
	const char *interface, *name, *in, *out, *help;
	unsigned flags;
} methods[] = {
#define X(interface, name, fn, flags, in, out, help) { interface, #name, in, out, help, flags },
	COS_METHODS(X)
#undef X
};

/* A default is a number or a text, by the key's type. */
#define DFLT_UINT(v) (v), NULL
#define DFLT_STR(v)  0, (v)
enum conf_when { C_START, C_LIVE };

static const struct conf_key {
	const char *name;
	uint64_t lo, hi, number;
	const char *text; /* NULL: a number */
	enum conf_when when;
	const char *help;
} conf_keys[] = {
#define X(key, type, member, lo, hi, dflt, when, help)                                             \
	{ key, lo, hi, DFLT_##type(dflt), when, help },
	COS_CONF(X)
#undef X
};

static const struct {
	uint64_t lo, hi;
} key_ranges[] = {
#define X(key, type, member, lo, hi, when, cli, dflt, help) { lo, hi },
	COS_SPEC_KEYS(X)
#undef X
};

/* Of keys that are objects. */
static const struct {
	const char *key, *name, *dflt, *help;
} members[] = {
#define X(id, name, oci, help) { "hooks", name, "", help },
	COS_HOOKS(X)
#undef X
#define X(key, type, member, lo, hi, dflt, help) { "health", key, dflt, help },
		COS_HEALTH_KEYS(X)
#undef X
};

static const struct {
	const char *name, *help;
} states[] = {
#define X(id, name, help) { name, help },
	COS_STATES(X)
#undef X
};

static const struct {
	const char *name, *since, *help;
} features[] = {
#define X(id, name, since, help) { name, since, help },
	COWFS_FEATURES(X)
#undef X
};

static const char *const when_words[] = {
	[S_FIXED] = "fixed at create",
	[S_NEXT] = "from the next start",
	[S_LIVE] = "at once",
};

static const char *const cli_words[] = {
	[CLI_TEXT] = "text",     [CLI_BOOL] = "true or false",
	[CLI_NUMBER] = "number", [CLI_TIME] = "time in whole seconds",
	[CLI_JSON] = "JSON",
};

static const char *const unit_words[] = {
	[UNIT_MCPU] = "CPUs",
	[UNIT_USEC] = "seconds",
	[UNIT_WEIGHT] = "weight",
	[UNIT_BOOL] = "true or false",
	[UNIT_CPUS] = "list of CPUs",
	[UNIT_BYTES] = "bytes",
	[UNIT_BITS] = "bits per second",
	[UNIT_PERIOD] = "period",
	[UNIT_COUNT] = "count",
};

/* A value of each unit to show what is written for it. */
static const uint64_t samples[] = {
	[UNIT_MCPU] = 500,      [UNIT_USEC] = 250000, [UNIT_WEIGHT] = 200,
	[UNIT_BOOL] = 1,        [UNIT_CPUS] = 1,      [UNIT_BYTES] = 512ULL << 20,
	[UNIT_BITS] = 20000000, [UNIT_COUNT] = 200,   [UNIT_PERIOD] = 86400,
};

/* --- words --- */

/* S as it is, whatever scdoc would make of it. */
static void put(const char *s)
{
	for (; *s; s++) {
		if (strchr("\\_*`~#|[]<>", *s))
			putchar('\\');
		putchar(*s);
	}
}

static void put_bold(const char *s)
{
	putchar('*');
	put(s);
	putchar('*');
}

static const char *conf_default(const struct conf_key *k)
{
	static char text[32];

	if (k->text)
		return k->text;
	snprintf(text, sizeof(text), "%" PRIu64, k->number);
	return text;
}

/* A value for the examples. */
static void sample_of(enum limit_id id, struct limits *l)
{
	limits_init(l);
	l->v[id] = samples[limit_defs[id].unit];
	if (id == LIMIT_CPU_BURST)
		l->v[LIMIT_CPU_RATE] = 1000;
	if (id == LIMIT_HUGEPAGES_1G)
		l->v[id] = 2ULL << 30;
	cpus_add(&l->cpus, 1);
}

/* What a limit needs beside it. */
static const char *beside(enum limit_id id)
{
	switch (id) {
	case LIMIT_CPU_BURST:
		return "cpu.rate=1";
	case LIMIT_CPU_HOLD:
		return "cpu.rate=1 cpu.burst=1";
	case LIMIT_CPU_DEDICATED:
		return "cpu.set=1";
	case LIMIT_IO_BURST:
		return "io.wbps=1M";
	default:
		return "";
	}
}

/* The file of the last of a limit's knobs, and what it holds for the sample; NULL: there is none.
 */
static const char *knob_of(enum limit_id id, enum cg_version ver, char text[KNOB_TEXT_SIZE])
{
	const struct knob_host host = { ver, "0-3", "8:0" };
	const char *file = NULL;
	struct limits l;

	sample_of(id, &l);
	for (unsigned i = 0; i < n_knobs; i++) {
		if (knobs[i].limit == id && knobs[i].version == ver) {
			knobs[i].text(text, id, &l, &host);
			file = knobs[i].file;
		}
	}
	return file;
}

static const char *method_users(const struct method *m)
{
	if (m->flags & API_ANY)
		return "every local user";
	return m->flags & API_OWNER ? "the guest's owner" : "*cosd.sock* only";
}

/* --- tables as text: each returns an exit status --- */

static void put_option(const struct option *o)
{
	printf("\t*--%s*", o->name);
	if (o->arg) {
		if (o->arg[0] != '[')
			printf(" ");
		put(o->arg);
	}
	printf("\n\t\t%s\n\n", o->help);
}

static int print_command(const char *name)
{
	const struct command *c = commands;

	while (c < commands + ARRAY_SIZE(commands) && strcmp(c->name, name) != 0)
		c++;
	if (c == commands + ARRAY_SIZE(commands)) {
		fprintf(stderr, "mangen: there is no command %s\n", name);
		return 1;
	}
	put_bold(c->name);
	if (c->alias) {
		printf(", ");
		put_bold(c->alias);
	}
	printf(c->options[0] ? " \\[OPTION...\\] " : " ");
	put(c->usage);
	printf("\n\t%s\n\n", c->help);
	for (const char *p = c->options; *p; p++) {
		for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
			if (options[i].letter == *p)
				put_option(&options[i]);
		}
	}
	return 0;
}

static int print_limits(const char *arg)
{
	(void)arg;
	for (enum limit_id id = 0; id < LIMIT__CG; id++) {
		const struct limit_def *d = &limit_defs[id];
		char range[LIMIT_TEXT_SIZE], value[LIMIT_TEXT_SIZE];
		struct limits l;

		sample_of(id, &l);
		put_bold(d->name);
		printf(" (%s)\n\t%s\n\n", unit_words[d->unit], d->help);
		printf("\tRange %s; default *%s*.", limit_range(id, range),
		       limit_print(id, d->dflt, value));
		for (enum cg_version ver = CG_V1; ver <= CG_V2; ver++) {
			char text[KNOB_TEXT_SIZE];
			const char *file = knob_of(id, ver, text);

			if (!file)
				continue;
			printf(" v%d file ", ver);
			put_bold(file);
			printf(": *%s* for *%s*.", text, limit_text(&l, id, value));
		}
		printf("\n\n");
	}
	return 0;
}

static void print_range(enum limit_id from, enum limit_id to)
{
	for (enum limit_id id = from; id < to; id++) {
		const struct limit_def *d = &limit_defs[id];
		char range[LIMIT_TEXT_SIZE], value[LIMIT_TEXT_SIZE];

		put_bold(d->name);
		printf(" (%s)\n\t%s\n\n", unit_words[d->unit], d->help);
		printf("\tRange %s; default *%s*.\n\n", limit_range(id, range),
		       limit_print(id, d->dflt, value));
	}
}

static int print_net_limits(const char *arg)
{
	(void)arg;
	print_range(LIMIT__CG, LIMIT__NET);
	return 0;
}

static int print_disk_limits(const char *arg)
{
	(void)arg;
	print_range(LIMIT__NET, LIMIT__DISK);
	return 0;
}

static int print_rlimits(const char *arg)
{
	(void)arg;
	for (enum limit_id id = LIMIT__DISK; id < LIMIT__N; id++) {
		put_bold(limit_defs[id].name);
		printf(" (%s)\n\t%s\n\n", unit_words[limit_defs[id].unit], limit_defs[id].help);
	}
	return 0;
}

static int print_keys(const char *arg)
{
	(void)arg;
	for (unsigned i = 0; i < n_spec_keys; i++) {
		const struct spec_key *k = &spec_keys[i];

		put_bold(k->name);
		printf(" (%s", cli_words[k->cli]);
		if (k->cli == CLI_NUMBER || k->cli == CLI_TIME)
			printf(" %" PRIu64 "..%" PRIu64, key_ranges[i].lo, key_ranges[i].hi);
		printf("; %s)\n\t%s\n", when_words[k->when], k->help);
		if (k->dflt[0]) {
			printf("\tDefault: ");
			put(k->dflt);
			printf(".\n");
		}
		printf("\n");
	}
	return 0;
}

static int print_members(const char *key)
{
	int r = 1;

	for (size_t i = 0; i < ARRAY_SIZE(members); i++) {
		if (strcmp(members[i].key, key) != 0)
			continue;
		r = 0;
		put_bold(members[i].name);
		printf("\n\t");
		put(members[i].help);
		if (members[i].dflt[0])
			printf(" Default: %s.", members[i].dflt);
		printf("\n\n");
	}
	if (r)
		fprintf(stderr, "mangen: no key %s has members\n", key);
	return r;
}

static int print_errors(const char *arg)
{
	(void)arg;
	printf("[[ *Exit status*\n:[ *Error*\n:[ *Meaning*\n");
	for (int c = COS_E_NONE + 1; c < COS_E__N; c++) {
		const struct cos_err_def *d = &cos_err_defs[c];

		printf("|[ %d\n:[ %s\n:[ ", d->exit_status, d->name);
		put(d->title);
		printf("\n");
	}
	printf("\n");
	return 0;
}

static int print_states(const char *arg)
{
	(void)arg;
	for (size_t i = 0; i < ARRAY_SIZE(states); i++) {
		put_bold(states[i].name);
		printf("\n\t%s\n\n", states[i].help);
	}
	return 0;
}

static int print_conf(const char *arg)
{
	(void)arg;
	for (size_t i = 0; i < ARRAY_SIZE(conf_keys); i++) {
		const struct conf_key *k = &conf_keys[i];

		put_bold(k->name);
		printf(" (%s %" PRIu64 "..%" PRIu64 "%s; %s)\n\t%s\n\tDefault: ",
		       k->text ? "text of" : "number", k->lo, k->hi, k->text ? " bytes" : "",
		       k->when == C_LIVE ? "taken by a reload" : "needs a restart", k->help);
		put(conf_default(k));
		printf("\n\n");
	}
	return 0;
}

static int print_methods(const char *arg)
{
	const char *last = "";

	(void)arg;
	for (size_t i = 0; i < ARRAY_SIZE(methods); i++) {
		const struct method *m = &methods[i];

		if (strcmp(m->interface, last) != 0)
			printf("## %s\n\n", m->interface);
		last = m->interface;
		put_bold(m->name);
		printf("(");
		put(m->in);
		printf(") -> (");
		put(m->out);
		printf(")\n\t%s\n\tFor %s%s.\n\n", m->help, method_users(m),
		       m->flags & API_MORE ? "; may be asked with *more*" : "");
	}
	return 0;
}

static int print_features(const char *arg)
{
	(void)arg;
	for (size_t i = 0; i < ARRAY_SIZE(features); i++) {
		put_bold(features[i].name);
		printf(" (Linux %s)\n\t", features[i].since);
		put(features[i].help);
		printf("\n\n");
	}
	return 0;
}

/* --- what is counted --- */

static int print_metrics(const char *arg)
{
	(void)arg;
	for (const struct metric_def *d = metric_defs; d < metric_defs + METRIC__N; d++) {
		put_bold(d->key);
		printf(" (%s)\n\t%s\n\n", d->unit, d->help);
	}
	return 0;
}

/* Rows of one family need not stand together. */
static bool is_first_of_family(const struct metric_def *d)
{
	for (const struct metric_def *e = metric_defs; e < d; e++) {
		if (strcmp(e->family, d->family) == 0)
			return false;
	}
	return true;
}

static int print_families(const char *arg)
{
	(void)arg;
	for (const struct metric_def *d = metric_defs; d < metric_defs + METRIC__N; d++) {
		if (!is_first_of_family(d))
			continue;
		put_bold(d->family);
		printf("\n\t");
		for (const struct metric_def *e = d; e < metric_defs + METRIC__N; e++) {
			if (strcmp(e->family, d->family) != 0)
				continue;
			put(e->label);
			printf("%s%s ", e->label[0] ? ": " : "", e->help);
		}
		printf("\n\n");
	}
	return 0;
}

/* --- pages --- */

static const struct {
	const char *word;
	int (*print)(const char *arg);
	bool takes_arg;
} words[] = {
	{ "command", print_command, true },
	{ "limits", print_limits, false },
	{ "net-limits", print_net_limits, false },
	{ "disk-limits", print_disk_limits, false },
	{ "rlimits", print_rlimits, false },
	{ "keys", print_keys, false },
	{ "errors", print_errors, false },
	{ "states", print_states, false },
	{ "conf", print_conf, false },
	{ "methods", print_methods, false },
	{ "features", print_features, false },
	{ "members", print_members, true },
	{ "vmm", print_vmm, true },
	{ "metrics", print_metrics, false },
	{ "families", print_families, false },
};

/* LINE is "@@WORD" or "@@WORD ARGUMENT" without its newline. */
static int print_table(char *line)
{
	char *arg = strchr(line, ' ');

	if (arg)
		*arg++ = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		if (strcmp(words[i].word, line + 2) == 0 && words[i].takes_arg == (arg != NULL))
			return words[i].print(arg);
	}
	fprintf(stderr, "mangen: %s%s: no such table, or its argument is missing or too much\n",
		line, arg ? " with an argument" : "");
	return 1;
}

/* Underscores mean something to scdoc. */
static void print_path(const char *path)
{
	for (; *path; path++) {
		if (*path == '_')
			putchar('\\');
		putchar(*path);
	}
}

/* Prints LINE with its @NAME@s replaced. An '@' that begins none of them stays. */
static void print_line(const char *line)
{
	static const struct {
		const char *name, *value;
	} names[] = {
		{ "@VERSION@", PACKAGE_VERSION },
		{ "@SYSCONFDIR@", COS_SYSCONFDIR },
		{ "@LOCALSTATEDIR@", COS_LOCALSTATEDIR },
	};

	while (*line) {
		size_t n = 1;

		for (size_t i = 0; i < ARRAY_SIZE(names) && n == 1; i++) {
			size_t len = strlen(names[i].name);

			if (strncmp(line, names[i].name, len) == 0) {
				print_path(names[i].value);
				n = len;
			}
		}
		if (n == 1)
			putchar(*line);
		line += n;
	}
	putchar('\n');
}

static int print_page(void)
{
	auto_free char *line = NULL;
	size_t size = 0;
	ssize_t len;
	int r = 0;

	while (r == 0 && (len = getline(&line, &size, stdin)) > 0) {
		if (line[len - 1] == '\n')
			line[len - 1] = '\0';
		if (strncmp(line, "@@", 2) == 0)
			r = print_table(line);
		else
			print_line(line);
	}
	return r;
}

/* --- tables for tests --- */

static void tsv_commands(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		printf("command\t%s\t%s\n", commands[i].name, commands[i].alias ?: "");
		for (const char *p = commands[i].options; *p; p++) {
			for (size_t o = 0; o < ARRAY_SIZE(options); o++) {
				if (options[o].letter == *p)
					printf("option\t%s\t%s\t%s\n", commands[i].name,
					       options[o].name, options[o].arg ?: "");
			}
		}
	}
}

static void tsv_limits(void)
{
	for (enum limit_id id = 0; id < LIMIT__N; id++) {
		const struct limit_def *d = &limit_defs[id];
		char value[LIMIT_TEXT_SIZE], v1[KNOB_TEXT_SIZE] = "-", v2[KNOB_TEXT_SIZE] = "-";
		struct limits l;

		sample_of(id, &l);
		if (id < LIMIT__CG) {
			const char *f1 = knob_of(id, CG_V1, v1), *f2 = knob_of(id, CG_V2, v2);

			printf("limit\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", d->name,
			       limit_text(&l, id, value), cg_ctl_name[d->ctl][CG_V1], f1 ?: "-", v1,
			       f2 ?: "-", v2, beside(id));
		} else if (id < LIMIT__NET)
			printf("net-limit\t%s\t%s\n", d->name, limit_text(&l, id, value));
		else if (id < LIMIT__DISK)
			printf("disk-limit\t%s\t%s\n", d->name, limit_text(&l, id, value));
		else
			printf("rlimit\t%s\t%s\n", d->name, unit_words[d->unit]);
	}
}

static void tsv_model(void)
{
	static const char *const whens[] = {
		[S_FIXED] = "fixed", [S_NEXT] = "next", [S_LIVE] = "live"
	};
	static const char *const clis[] = { [CLI_TEXT] = "text",
					    [CLI_BOOL] = "bool",
					    [CLI_NUMBER] = "number",
					    [CLI_TIME] = "time",
					    [CLI_JSON] = "json" };

	for (unsigned i = 0; i < n_spec_keys; i++)
		printf("key\t%s\t%s\t%s\n", spec_keys[i].name, whens[spec_keys[i].when],
		       clis[spec_keys[i].cli]);
	for (size_t i = 0; i < ARRAY_SIZE(members); i++)
		printf("member\t%s\t%s\n", members[i].key, members[i].name);
	for (size_t i = 0; i < ARRAY_SIZE(states); i++)
		printf("state\t%s\n", states[i].name);
	for (int c = COS_E_NONE + 1; c < COS_E__N; c++)
		printf("error\t%s\t%d\n", cos_err_defs[c].name, cos_err_defs[c].exit_status);
}

static void tsv_daemon(void)
{
	for (int i = 0; i < METRIC__N; i++)
		printf("metric\t%s\t%s\n", metric_defs[i].key, metric_defs[i].family);
	for (size_t i = 0; i < ARRAY_SIZE(conf_keys); i++)
		printf("conf\t%s\t%s\t%s\t%s\n", conf_keys[i].name,
		       conf_keys[i].when == C_LIVE ? "live" : "start",
		       conf_keys[i].text ? "text" : "number", conf_default(&conf_keys[i]));
	for (size_t i = 0; i < ARRAY_SIZE(methods); i++)
		printf("method\t%s\t%s\n", methods[i].interface, methods[i].name);
	for (size_t i = 0; i < ARRAY_SIZE(features); i++)
		printf("feature\t%s\t%s\n", features[i].name, features[i].since);
}

int main(int argc, char **argv)
{
	int r = 0;

	if (argc == 2 && strcmp(argv[1], "--tsv") == 0) {
		tsv_commands();
		tsv_limits();
		tsv_model();
		tsv_daemon();
	} else if (argc == 1) {
		r = print_page();
	} else {
		fputs("usage: mangen < PAGE.scd.in > PAGE.scd\n       mangen --tsv\n", stderr);
		return 2;
	}
	if (fflush(stdout) != 0 || ferror(stdout)) {
		perror("mangen: write");
		return 1;
	}
	return r;
}
