/* cow-fs/selftest.h - whether this kernel and file system keep the rules that unification needs */
#pragma once

#include "lib/base/err.h"

/* What each row of the test found. R is 0 or a negative errno; WHY is "" or what was not as it has
 * to be. */
typedef void cowfs_say(const char *rule, int r, const char *why, void *arg);

/* Tries every rule on directories below DIR (made and removed) with mapped owners, by the FEATURES
 * that cowfs_probe() found. SAY, which may be NULL, gets each row. 0 when all hold; else the first
 * failure's errno (Unsupported), and the rows after it are not tried. About 5 ms. */
int cowfs_selftest(int dir, unsigned features, cowfs_say *say, void *arg, struct cos_err *err);
