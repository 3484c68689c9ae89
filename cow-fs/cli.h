/* cow-fs/cli.h - what the files of the program cow-fs share */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "cow-fs/options.def"
#include "cow-fs/sandbox.h"
#include "cow-fs/store.h"
#include "lib/base/clock.h"

#ifndef COS_LOCALSTATEDIR
#define COS_LOCALSTATEDIR "/var"
#endif
#define CLI_STATE_DIR COS_LOCALSTATEDIR "/lib/cos"
#define EXCLUDES_MAX  64

struct options {
	const char *state_dir, *name, *output, *suite, *init, *include;
	const char *merged, *freeze;
	const char *exclude[EXCLUDES_MAX + 1]; /* NULL ends */
	unsigned n_exclude;
	const char *domain, *from, *rootfs, *disk_quota;
	uint64_t max_bytes, min_bytes, grace_usec;
	uint64_t disk_max, disk_inodes; /* COWFS_NO_LIMIT: not given */
	uint32_t ids;                   /* 0: not given */
	int fd;                         /* -1: not given */
	bool json_errors, progress, dry_run, background, unify, is_volatile, help;
	unsigned given; /* TAKES() of what was */
};

/* Bits of struct command and of GIVEN. */
enum {
#define X(id, ...) OPT_##id,
	COW_OPTIONS(X)
#undef X
};
#define TAKES(name) (1U << OPT_##name)

struct command {
	const char *words[2];
	int min, max;   /* further arguments */
	unsigned takes; /* options, besides those that all take */
	int (*run)(const struct cowfs *c, const struct options *o, char **arg, struct cos_err *err);
};

/* cli-option.c: fills O from the arguments; optind is behind them. */
int cli_options(int argc, char **argv, struct options *o, struct cos_err *err);
int cli_check_options(const struct command *cmd, const struct options *o, struct cos_err *err);
void cli_print_options(void);
/* A wrong command line: WHAT, and where help is. */
int cli_bad(struct cos_err *err, const char *what);

/* cli-pool.c, cli-guest.c; each ends with a row without RUN. */
extern const struct command cli_pool_commands[];
extern const struct command cli_guest_commands[];

#define CLI_TIME_SIZE 32

/* A time in us since 1970, as 2026-11-21T09:30:00Z; in BUF, which is returned. */
static inline const char *cli_time(int64_t usec, char buf[CLI_TIME_SIZE])
{
	time_t sec = (time_t)(usec / (int64_t)USEC_PER_SEC);
	struct tm tm;

	buf[0] = '\0';
	if (gmtime_r(&sec, &tm))
		strftime(buf, CLI_TIME_SIZE, "%Y-%m-%dT%H:%M:%SZ", &tm);
	return buf;
}

/* cli-guest.c: FN with LIVE from --freeze and, if it was given, --merged. Whatever ends this
 * process, the guest goes on. */
struct cowfs_live;
int cli_with_live(const struct options *o,
		  int (*fn)(const struct cowfs_live *live, void *arg, struct cos_err *err),
		  void *arg, struct cos_err *err);
