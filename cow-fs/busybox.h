/* cow-fs/busybox.h - the host's busybox as the source of a template */
#pragma once

#include "lib/base/err.h"

/* Opens PATH and checks that it is a static program for this machine, which runs in an empty tree.
 * Unsupported says what to install. */
int busybox_open(const char *path, struct cos_err *err);

/* Asks the program FD for its applets: "usr/bin/awk\n" and so on. *RET is the caller's. */
int busybox_list(int fd, char **ret, struct cos_err *err);
