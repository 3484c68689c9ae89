/* cow-fs/cli-option.c - the options of the program cow-fs, by the table in options.def */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "cow-fs/cli.h"
#include "cow-fs/space.h"
#include "lib/base/own.h"
#include "lib/base/str.h"

#define GRACE_USEC (3600 * USEC_PER_SEC)
#define FOR_ALL    (TAKES(STATE_DIR) | TAKES(JSON_ERRORS) | TAKES(PROGRESS))
#define VALUES     256 /* of getopt: an option's row is behind all letters */
#define COLUMN     27  /* of what --help says of an option */
#define WIDTH      94

enum kind { FLAG, TEXT, LIST, FORMAT, INT, U32, COUNT, BYTES, TIME };

static const struct option_def {
	const char *name, *takes;
	char letter;
	enum kind kind;
	size_t at;
	uint64_t least, most;
	const char *wrong, *help;
} defs[] = {
#define X(id, name, letter, takes, kind, member, least, most, wrong, help)                         \
	{ name, takes, letter, kind, offsetof(struct options, member), least, most, wrong, help },
	COW_OPTIONS(X)
#undef X
};
_Static_assert(ARRAY_SIZE(defs) <= 32, "struct command has a bit for each");

int cli_bad(struct cos_err *err, const char *what)
{
	return cos_advise(err, cos_fail(err, COS_E_INVALID, 0, "%s", what),
			  "'cow-fs --help' shows the commands and options");
}

static int bad_value(const struct option_def *d, struct cos_err *err)
{
	char what[96];

	str_fmt(what, sizeof(what), "--%s: %s", d->name, d->wrong);
	return cli_bad(err, what);
}

static int to_number(enum kind kind, const char *text, uint64_t *ret)
{
	switch (kind) {
	case BYTES:
		return str_to_bytes(text, ret);
	case TIME:
		return str_to_usec(text, ret);
	default:
		return str_to_u64(text, ret);
	}
}

static int take_number(const struct option_def *d, void *to, struct cos_err *err)
{
	uint64_t v;

	if (to_number(d->kind, optarg, &v) < 0 || v < d->least || v > d->most)
		return bad_value(d, err);
	if (d->kind == INT)
		*(int *)to = (int)v;
	else if (d->kind == U32)
		*(uint32_t *)to = (uint32_t)v;
	else
		*(uint64_t *)to = v;
	return 0;
}

static int take(struct options *o, const struct option_def *d, struct cos_err *err)
{
	void *to = (char *)o + d->at;

	switch (d->kind) {
	case FLAG:
		*(bool *)to = true;
		return 0;
	case LIST:
		if (o->n_exclude == d->most)
			return bad_value(d, err);
		((const char **)to)[o->n_exclude++] = optarg;
		return 0;
	case FORMAT:
		if (strcmp(optarg, "table") != 0 && strcmp(optarg, "json") != 0)
			return bad_value(d, err);
		*(const char **)to = optarg;
		return 0;
	case TEXT:
		*(const char **)to = optarg;
		return 0;
	case INT:
	case U32:
	case COUNT:
	case BYTES:
	case TIME:
		break;
	}
	return take_number(d, to, err);
}

static size_t row_of(int opt)
{
	size_t i = 0;

	if (opt >= VALUES)
		return (size_t)opt - VALUES;
	while (i < ARRAY_SIZE(defs) && defs[i].letter != opt)
		i++;
	return i;
}

int cli_options(int argc, char **argv, struct options *o, struct cos_err *err)
{
	struct option longs[ARRAY_SIZE(defs) + 2] = { { "help", no_argument, NULL, 'h' } };
	int opt;

	*o = (struct options){
		.state_dir = CLI_STATE_DIR,
		.fd = -1,
		.grace_usec = GRACE_USEC,
		.disk_max = COWFS_NO_LIMIT,
		.disk_inodes = COWFS_NO_LIMIT,
	};
	for (size_t i = 0; i < ARRAY_SIZE(defs); i++)
		longs[i + 1] = (struct option){ defs[i].name,
						defs[i].takes ? required_argument : no_argument,
						NULL, VALUES + (int)i };
	opterr = 0;
	while ((opt = getopt_long(argc, argv, "o:h", longs, NULL)) != -1) {
		size_t i = row_of(opt);
		int r;

		o->help |= opt == 'h';
		if (opt == 'h')
			continue;
		if (i >= ARRAY_SIZE(defs))
			return cli_bad(err, "unknown option, or an option without its value");
		r = take(o, &defs[i], err);
		if (r < 0)
			return r;
		o->given |= 1U << i;
	}
	return 0;
}

/* What a command would not look at was meant for another one. */
int cli_check_options(const struct command *cmd, const struct options *o, struct cos_err *err)
{
	unsigned wrong = o->given & ~(cmd->takes | FOR_ALL);
	char what[64];

	for (size_t i = 0; i < ARRAY_SIZE(defs); i++) {
		if (!(wrong & 1U << i))
			continue;
		str_fmt(what, sizeof(what), "this command does not take --%s", defs[i].name);
		return cli_bad(err, what);
	}
	return 0;
}

/* In lines of WIDTH, behind what is in the first of them. */
static void print_help(int used, const char *help)
{
	int column = COLUMN;

	printf("%*s", used < COLUMN ? COLUMN - used : 1, "");
	while (*help) {
		int n = (int)strcspn(help, " ");

		if (column + 1 + n > WIDTH)
			column = printf("\n%*s", COLUMN, "") - 1;
		column += printf("%s%.*s", column > COLUMN ? " " : "", n, help);
		help += n;
		help += strspn(help, " ");
	}
	putchar('\n');
}

void cli_print_options(void)
{
	puts("Options:");
	for (const struct option_def *d = defs; d < defs + ARRAY_SIZE(defs); d++) {
		int n = d->letter ? printf("  -%c, ", d->letter) : printf("  ");

		n += printf("--%s%s%s", d->name, d->takes ? " " : "", d->takes ? d->takes : "");
		print_help(n, d->help);
	}
	print_help(printf("  -h, --help"), "this text");
}
