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

/* --- words --- */

void put(const char *s)
{
	for (; *s; s++) {
		if (strchr("\\_*`~#|[]<>", *s))
			putchar('\\');
		putchar(*s);
	}
}

void put_bold(const char *s)
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
