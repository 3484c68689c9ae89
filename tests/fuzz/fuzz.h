/* tests/fuzz/fuzz.h - what the targets share */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/err.h"
#include "lib/base/str.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What the contracts promise whatever the input is. */
static inline void check(bool good)
{
	if (!good)
		abort();
}

/* A failure has a code and a reason that can be shown. */
static inline void check_failure(int r, const struct cos_err *err)
{
	check(r < 0 && err->code > COS_E_NONE && err->code < COS_E__N);
	check(err->why[0] && str_is_text(err->why, SIZE_MAX) && str_is_text(err->what, SIZE_MAX) &&
	      str_is_text(err->todo, SIZE_MAX));
}
