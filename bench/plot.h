/* bench/plot.h - ratios as bars */
#pragma once

struct ratio {
	double mid, low, high; /* 0 when there is none */
};

struct bar {
	const char *row, *place;
	struct ratio r;
};

/* Writes horizontal bars, grouped by row, as SVG; bars of one place have one colour. -errno. */
int plot_write(const char *path, const char *title, const struct bar *bars, unsigned n);
