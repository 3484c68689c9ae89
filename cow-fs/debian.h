/* cow-fs/debian.h - a Debian system as the source of a template, made by mmdebstrap
 *
 * The packages come from where the host's own apt gets that release, or from mmdebstrap's default
 * mirror when the host does not know it. Their scripts run in a sandbox, see sandbox.h. */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "lib/base/err.h"

/* X(id, name, packages, meaning) */
#define DEBIAN_INITS(X)                                                                            \
	X(SYSTEMD, "systemd", "systemd,systemd-sysv", "systemd without D-Bus and udev")            \
	X(SYSVINIT, "sysvinit", "sysvinit-core", "sysvinit with a login on the console")           \
	X(NONE, "none", "", "no init: for guests with a command")

enum debian_init {
#define X(id, ...) DEBIAN_##id,
	DEBIAN_INITS(X)
#undef X
};

struct debian {
	char suite[33];     /* release's code name; "": the host's, or stable */
	char include[1024]; /* more packages, separated by commas, or "" */
	enum debian_init init;
	uint32_t id_base; /* host's ids that the packages' scripts run with */
};

/* Reads the three texts of a user, each of which may be NULL. InvalidParameter. */
int debian_parse(const char *suite, const char *init, const char *include, struct debian *ret,
		 struct cos_err *err);

struct debian_run {
	pid_t pid;    /* 0: none */
	int tar;      /* what it makes, to be read to its end; -1 */
	int dir, log; /* borrowed */
};
#define DEBIAN_RUN_NONE                                                                            \
	{                                                                                          \
		.tar = -1                                                                          \
	}

/* Starts to build in DIR/build, which must lie where nobody else looks; what is said on the way
 * goes to the file LOG. Unsupported when mmdebstrap is missing. */
int debian_start(const struct debian *d, int dir, int log, struct debian_run *ret,
		 struct cos_err *err);
/* The reader of the archive has ended with R and *ERR. Ends the build; what is returned and told is
 * the build's failure if that is what the reader met, else R. */
int debian_end(struct debian_run *run, int r, struct cos_err *err);
