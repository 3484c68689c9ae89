/* cow-fs/program.h - programs of the host that are asked something */
#pragma once

#include <stddef.h>

#define PROGRAM_PATH_SIZE 64

/* Where the program NAME lies, in BUF; NULL: nowhere. */
const char *program_find(const char *name, char *buf);

/* Runs PATH with an empty environment but PATH and LC_ALL=C: *RET is what it said on its standard
 * output, at most MAX bytes, and the caller's. Returns its wait status, or a negative errno. Leaf.
 */
int program_ask(const char *path, char *const *argv, size_t max, char **ret);

/* The same in the directory DIR, with what it said on its standard error as well, at most 4 KiB. */
int program_run(int dir, const char *path, char *const *argv, char **ret);
