/* cosctl/main.c - the client's command line */
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cosctl/cosctl.h"
#include "lib/base/io.h"
#include "lib/base/own.h"
#include "lib/base/str.h"

#define DEFAULT_SOCKET "/run/cos/cosd.sock"
#define USER_SOCKET    "/run/cos/user.sock"
#define OPT_SOCKET     1
#define OPT_HELP       2
#define OPT_VERSION    3
#define OPT_LETTER     256 /* and a letter of commands.def */

const struct command commands[] = {
#define X(name, alias, fn, usage, options, help) { name, alias, fn, usage, options, help },
	COS_COMMANDS(X)
#undef X
};
const unsigned n_commands = ARRAY_SIZE(commands);

const struct option_def option_defs[] = {
#define X(letter, name, arg, help) { letter, name, arg, help },
	COS_OPTIONS(X)
#undef X
};
const unsigned n_option_defs = ARRAY_SIZE(option_defs);

/* Does nothing, but does not compile when two options have one letter: each would be taken for the
 * other. */
__attribute__((unused)) static void letters_differ(char letter)
{
	switch (letter) {
#define X(own, name, arg, help) case own:
		COS_OPTIONS(X)
#undef X
		break;
	}
}

/* Short forms that people expect. */
static const struct {
	const char *command;
	const char *shorts;
	const char *letters;
} short_forms[] = {
	{ "exec", "tTu:w:e:", "xXuwE" },
	{ "enter", "u:", "u" },
	{ "cp", "aL", "Ak" },
	{ "run", "dtTu:w:e:", "dxXuwE" },
	{ "create", "u:w:e:", "uwE" },
	{ "logs", "f", "l" },
	{ "events", "fo:", "lo" },
	{ "list", "qo:", "qo" },
	{ "template", "qo:", "qo" },
	{ "stats", "qo:d:n:", "qoDn" },
	{ "capacity", "o:", "o" },
	{ "why", "o:", "o" },
	{ "snapshot", "qo:", "qo" },
	{ "unify", "qo:", "qo" },
	{ "gc", "o:", "o" },
	{ "scrub", "o:", "o" },
	{ "usage", "qo:", "qo" },
	{ "kill", "s:", "s" },
	{ "delete", "f", "F" },
	{ "top", "d:n:", "Dn" },
	{ "status", "o:", "o" },
	{ "doctor", "o:", "o" },
	{ "start", "o:", "o" },
	{ "stop", "t:", "t" },
	{ "restart", "t:", "t" },
};

static void print_plain(const char *help)
{
	for (; *help; help++) {
		if (*help != '*' && *help != '\\')
			putchar(*help);
	}
	putchar('\n');
}

/* The end with STATUS, or 1 when what was printed is lost. */
static int finish(int status)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return status;
	perror("cosctl: write");
	return status ?: 1;
}

static void help_all(FILE *out)
{
	fputs("usage: cosctl [--socket PATH] COMMAND [OPTION...] [ARGUMENT...]\n\ncommands:\n",
	      out);
	for (unsigned i = 0; i < n_commands; i++)
		fprintf(out, "  %-11s%s\n", commands[i].name, commands[i].usage);
	fputs("\n'cosctl COMMAND --help' tells about one; cosctl(1) about all.\n", out);
}

static void help_one(const struct command *c)
{
	printf("usage: cosctl %s%s %s\n\n", c->name, c->options[0] ? " [OPTION...]" : "", c->usage);
	print_plain(c->help);
	for (const char *o = c->options; *o; o++) {
		for (unsigned i = 0; i < n_option_defs; i++) {
			const struct option_def *d = &option_defs[i];
			char left[64];

			if (d->letter != *o)
				continue;
			snprintf(left, sizeof(left), "--%s%s%s", d->name,
				 d->arg && d->arg[0] != '[' ? " " : "", d->arg ?: "");
			printf("  %-26s%s\n", left, d->help);
		}
	}
}

static const struct command *find_command(const char *name)
{
	for (unsigned i = 0; i < n_commands; i++) {
		if (strcmp(commands[i].name, name) == 0 ||
		    (commands[i].alias && strcmp(commands[i].alias, name) == 0))
			return &commands[i];
	}
	return NULL;
}

static bool is_many(char letter)
{
	return letter && strchr("pEBf", letter);
}

static int store(struct args *a, char letter, const char *value)
{
	auto_json json_t *text = json_string(value ?: "");

	/* JSON could not carry it, and the option would be as if it had not been given */
	if (!text)
		return say_usage(a, "the value of an option is not valid UTF-8");
	if (letter == 'f' && (!value || !strchr(value, '=')))
		return say_usage(a, "--filter takes KEY=VALUE");
	if (!is_many(letter)) {
		a->value[(unsigned char)letter] = value ?: "";
		return 0;
	}
	if (a->n_many == REPEAT_MAX)
		return say_usage(a, "an option is repeated too often");
	a->many[a->n_many] = value;
	a->many_of[a->n_many++] = letter;
	return 0;
}

static int take_format(struct args *a)
{
	static const char *const names[] = { "table", "json", "csv", "name" };
	const char *want = a->value['o'];

	a->format = a->value['q'] ? OUT_NAME : OUT_TABLE;
	if (!want)
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (strcmp(want, names[i]) == 0) {
			a->format = i;
			return 0;
		}
	}
	return say_usage(a, "-o takes table, json, csv or name");
}

static void short_options(const struct command *c, const char **ret_shorts,
			  const char **ret_letters)
{
	*ret_shorts = *ret_letters = "";
	for (size_t i = 0; i < ARRAY_SIZE(short_forms); i++) {
		if (strcmp(short_forms[i].command, c->name) == 0) {
			*ret_shorts = short_forms[i].shorts;
			*ret_letters = short_forms[i].letters;
		}
	}
}

/* The letter of commands.def for the short option SHORT. */
static char letter_of(const char *shorts, const char *letters, int short_option)
{
	size_t n = 0;

	for (const char *s = shorts; *s; s++) {
		if (*s == ':')
			continue;
		if (*s == short_option)
			return letters[n];
		n++;
	}
	return '\0';
}

/* "[=ARG]" may be left out. */
static int arg_of(const struct option_def *d)
{
	if (!d->arg)
		return no_argument;
	return d->arg[0] == '[' ? optional_argument : required_argument;
}

static unsigned long_options(const struct command *c, struct option *out)
{
	unsigned n = 0;

	for (unsigned i = 0; i < n_option_defs; i++) {
		const struct option_def *d = &option_defs[i];

		if (strchr(c->options, d->letter))
			out[n++] =
				(struct option){ d->name, arg_of(d), NULL, OPT_LETTER + d->letter };
	}
	out[n++] = (struct option){ "socket", required_argument, NULL, OPT_SOCKET };
	out[n++] = (struct option){ "help", no_argument, NULL, OPT_HELP };
	out[n] = (struct option){ 0 };
	return n;
}

/* Takes "-- ..." off the end, so that a guest's command is never looked at. That of exec begins
 * behind the name, with or without "--"; another one is its own. */
static int split_rest(struct args *a, int argc, char **argv, bool is_exec)
{
	for (int i = 0; i < argc && !is_exec; i++) {
		if (strcmp(argv[i], "--") == 0) {
			a->rest = argv + i + 1;
			a->n_rest = argc - i - 1;
			return i;
		}
	}
	return argc;
}

/* An option that getopt_long() answered O to, in three lines. WORD is where a long one stands. */
static int refuse_option(const struct args *a, int o, const char *word)
{
	char why[128], letter[3] = { '-', (char)optopt, '\0' };
	/* of a long one that is known optopt has what long_options() gave it */
	bool is_known = optopt >= OPT_LETTER || (optopt > 0 && optopt <= OPT_VERSION);

	if (optopt && !is_known)
		word = letter;
	if (o == ':')
		str_fmt(why, sizeof(why), "%.80s takes a value", word);
	else if (is_known)
		str_fmt(why, sizeof(why), "%.80s: that option takes no value", word);
	else
		str_fmt(why, sizeof(why), "there is no option %.80s", word);
	str_make_text(why);
	return say_usage(a, why);
}

static int parse(const struct command *c, struct args *a, int argc, char **argv)
{
	struct option longs[64];
	const char *shorts, *letters;
	char spec[64];
	bool is_exec = strcmp(c->name, "exec") == 0;
	int o, r = 0;

	/* exec takes its command without "--" too: options end at the first argument there */
	short_options(c, &shorts, &letters);
	snprintf(spec, sizeof(spec), "%s:%s", is_exec ? "+" : "", shorts);
	long_options(c, longs);
	argc = split_rest(a, argc, argv, is_exec);
	while (r == 0 && (o = getopt_long(argc, argv, spec, longs, NULL)) != -1) {
		if (o == OPT_SOCKET) {
			a->socket = optarg;
		} else if (o == OPT_HELP) {
			help_one(c);
			exit(finish(0));
		} else if (o == '?' || o == ':') {
			return refuse_option(a, o, argv[optind - 1]);
		} else {
			r = store(a,
				  (char)(o > OPT_LETTER ? o - OPT_LETTER
							: letter_of(shorts, letters, o)),
				  optarg);
		}
	}
	a->argc = argc - optind;
	a->argv = argv + optind;
	return r ?: take_format(a);
}

static const char *default_socket(void)
{
	const char *env = getenv("COS_SOCKET");

	if (env && env[0])
		return env;
	return access(DEFAULT_SOCKET, W_OK) < 0 && access(USER_SOCKET, W_OK) == 0 ? USER_SOCKET
										  : DEFAULT_SOCKET;
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "socket", required_argument, NULL, OPT_SOCKET },
		{ "help", no_argument, NULL, OPT_HELP },
		{ "version", no_argument, NULL, OPT_VERSION },
		{ NULL, 0, NULL, 0 },
	};
	static struct args a;
	const struct command *c;
	char why[128];
	int o, r;

	io_fill_stdio();
	a.socket = default_socket();
	a.command = "";
	opterr = 0;
	while ((o = getopt_long(argc, argv, "+:h", longs, NULL)) != -1) {
		switch (o) {
		case OPT_SOCKET:
			a.socket = optarg;
			break;
		case 'h':
		case OPT_HELP:
			help_all(stdout);
			return finish(0);
		case OPT_VERSION:
			puts("cosctl " PACKAGE_VERSION);
			return finish(0);
		default:
			return refuse_option(&a, o, argv[optind - 1]);
		}
	}
	if (optind == argc) {
		help_all(stderr);
		return EXIT_USAGE;
	}
	c = find_command(argv[optind]);
	if (!c) {
		str_fmt(why, sizeof(why), "there is no command %.80s", argv[optind]);
		str_make_text(why);
		return say_usage(&a, why);
	}
	a.command = c->name;
	argv += optind;
	argc -= optind;
	optind = 0; /* begin anew, with another order of options */
	r = parse(c, &a, argc, argv);
	if (r)
		return strcmp(c->name, "run") == 0 || strcmp(c->name, "exec") == 0 ? EXIT_OURS : r;
	return finish(c->fn(&a));
}
