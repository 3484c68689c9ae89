/* cosctl/cosctl.h - what the commands share */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/wire/client.h"

#define NAMES_MAX  100000
#define REPEAT_MAX 256
#define EXIT_USAGE 2
#define EXIT_OURS  125

enum out_format { OUT_TABLE, OUT_JSON, OUT_CSV, OUT_NAME };

/* Options by letter of commands.def; what a command does not know is refused before it runs. */
struct args {
	const char *socket;
	const char *value[128]; /* of an option; NULL: not given, "" for one without argument */
	const char *many[REPEAT_MAX]; /* --env, --bind, --profile, --filter in order */
	char many_of[REPEAT_MAX];
	unsigned n_many;
	enum out_format format;
	int argc; /* what is left */
	char **argv;
	char **rest; /* after "--"; NULL: there was none */
	int n_rest;
	const char *command;
};

typedef int cmd_fn(struct args *a);

struct command {
	const char *name, *alias;
	cmd_fn *fn;
	const char *usage, *options, *help;
};

extern const struct command commands[];
extern const unsigned n_commands;
struct option_def {
	char letter;
	const char *name, *arg, *help;
};
extern const struct option_def option_defs[];
extern const unsigned n_option_defs;

/* --- say.c --- */
/* Three lines: what, why, what to do. Returns the exit status. */
int say_error(const struct args *a, const char *object, const struct cos_err *err);
/* For run and exec: 126, 127 or 125. */
int say_error_125(const struct args *a, const char *object, const struct cos_err *err);
int say_usage(const struct args *a, const char *why);

/* --- names.c --- */
/* Expands w{001..100} and lists of names; the caller frees with names_free(). */
int names_expand(char *const *argv, int argc, char ***ret, unsigned *ret_n, struct cos_err *err);
void names_free(char **names, unsigned n);

/* --- out.c --- */
/* COL_RARE: text, COL_RARE_BYTES; a table in which no row has it leaves the column out. */
enum column_kind { COL_TEXT, COL_RARE, COL_RARE_BYTES, COL_BYTES, COL_USEC, COL_AGE, COL_COUNT };
struct column {
	const char *title, *key;
	enum column_kind kind;
};
/* Prints the objects of ROWS as the arguments ask for: a table, {"schema": 1, KEY: [...]}, CSV or
 * names. Rows that a --filter does not match are left out. */
void out_rows(const struct args *a, json_t *rows, const char *key, const struct column *cols,
	      unsigned n);
/* Keeps of *ROWS, the daemon's "guests", those of the names on the command line, if there are any.
 * A name that is not there is said and makes the exit status that is returned; with METHOD the
 * daemon is asked about it, and knows better why. */
int out_only_names(const struct args *a, const char *method, json_t **rows);
/* "512.0M", "3d02h"; BUF takes 32 bytes. */
char *out_bytes(uint64_t v, char *buf);
char *out_age(uint64_t usec, char *buf);
/* One JSON document with the schema's number. */
void out_json(json_t *doc);

/* --- when.c --- */
/* A time ago ("2h"), a date and time of UTC ("2026-11-21", "2026-11-21T09:30:00Z"), or "@SECONDS"
 * since 1970, in microseconds since 1970. -EINVAL. */
int when_parse(const char *s, uint64_t now_usec, uint64_t *ret);

/* --- talk.c --- */
/* One call on a connection of its own. Says the error; returns an exit status. */
int talk(const struct args *a, const char *method, json_t *params, json_t **ret,
	 const char *object);
/* One that may take long: progress is shown on a terminal. FD goes along; -1: none. *RET is the
 * caller's. */
int talk_long(const struct args *a, const char *method, json_t *params, int fd, json_t **ret,
	      const char *object);
/* A call of whose answer KEY is wanted: rows. PARAMS may be NULL. *RET is the caller's. */
int talk_rows(const struct args *a, const char *method, json_t *params, const char *key,
	      json_t **ret);
/* One call for each name, PARALLEL at once; steals nothing. PARAMS gets "name" added. The answers
 * are added to ANSWERS. */
int talk_each(const struct args *a, const char *method, json_t *params, char **names, unsigned n,
	      json_t *answers);
/* Whether the state of GUEST, an object of List, is one of STATES (NULL: any). */
bool talk_state_is(json_t *guest, const char *const *states);
/* Names of the command line, or with --all those of guests in one of the STATES (NULL: any). */
int talk_names(const struct args *a, const char *const *states, char ***ret, unsigned *ret_n);

/* --- order.c --- */
/* A guest that is to be started or stopped; it has to wait for all before it of another TURN. */
struct turn {
	const char *name; /* borrowed from the list */
	unsigned turn;
};
/* The guests of GUESTS (rows of io.cos.Guest.List) for which WANTED says so, in the order of
 * starting them, or with DOWN of stopping: by priority, and there none before those that require
 * it. The caller frees *RET. */
int order_turns(json_t *guests, bool (*wanted)(json_t *guest), bool down, struct turn **ret,
		unsigned *ret_n);

/* --- pump.c --- */
struct pump {
	const struct args *args;
	struct client *client; /* its last answer ends the pump; NULL: the streams do */
	int to_guest, from_guest, from_guest_err; /* from_guest_err -1: terminal */
	bool tty;                                 /* raw mode and window size */
	bool escape;                              /* ^] detaches */
	const char *guest;                        /* whom signals are for; NULL: nobody */
	int resize; /* a terminal's master, -1: ask the daemon to size GUEST's console */
};
/* Until the end. Returns the exit status: the guest's own, or 125 when it was not told. */
int pump_run(struct pump *p);
void pump_size(unsigned short *rows, unsigned short *cols);

#define X(name, alias, fn, usage, options, help) cmd_fn fn;
#include "cosctl/commands.def"
COS_COMMANDS(X)
#undef X
