/* bench/pairs.h - what is left of one figure beside another, and how far that can be trusted */
#pragma once

#include "bench/plot.h"

/* The geometric mean of LEFT[i] / OF[i], and the interval that holds the true one in 95 % of cases:
 * Student's t over the logarithms, which drift of both alike leaves alone. One pair has none: from
 * 0 to infinity. Nothing left counts as a thousandth. */
struct ratio pairs_ratio(const double *left, const double *of, unsigned n);
