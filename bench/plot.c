/* bench/plot.c - horizontal bars as SVG */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "bench/plot.h"
#include "lib/base/own.h"

#define BAR_HIGH  9 /* pixels */
#define GROUP_GAP 8
#define TOP       64
#define LEFT      120
#define WIDE      560 /* of the bars */
#define RIGHT     60
#define RATIO_MAX 2.0 /* longer bars are cut and say their figure */
#define COLOURS   10U

static const char *const colours[COLOURS] = {
	"#1b6ca8", "#e07b39", "#f2b880", "#8a8f98", "#4b9560",
	"#8d5a97", "#b5485d", "#5f6f52", "#c9a227", "#2f4858"
};

struct plot {
	FILE *f;
	const struct bar *bars;
	unsigned n;
	const char *place[COLOURS]; /* in the order of first appearance */
	unsigned n_place;
	double y;
};

static double x_of(double ratio)
{
	return LEFT + WIDE * (ratio > RATIO_MAX ? RATIO_MAX : ratio) / RATIO_MAX;
}

static unsigned colour_of(struct plot *p, const char *place)
{
	unsigned i = 0;

	while (i < p->n_place && strcmp(p->place[i], place) != 0)
		i++;
	if (i == p->n_place && i < COLOURS)
		p->place[p->n_place++] = place;
	return i % COLOURS;
}

static bool starts_group(const struct plot *p, unsigned i)
{
	return i == 0 || strcmp(p->bars[i].row, p->bars[i - 1].row) != 0;
}

static double height(const struct plot *p)
{
	double y = TOP;

	for (unsigned i = 0; i < p->n; i++)
		y += BAR_HIGH + (starts_group(p, i) ? GROUP_GAP : 0);
	return y + 30;
}

static void head(struct plot *p, const char *title)
{
	int wide = LEFT + WIDE + RIGHT;

	fprintf(p->f,
		"<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%.0f\" "
		"font-family=\"sans-serif\" font-size=\"10\">\n"
		"<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n"
		"<text x=\"10\" y=\"18\" font-size=\"13\">%s</text>\n",
		wide, height(p), title);
	for (int i = 0; i <= RATIO_MAX * 4; i++) {
		double x = x_of(i / 4.0);

		fprintf(p->f,
			"<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%.0f\" stroke=\"%s\"/>\n"
			"<text x=\"%.1f\" y=\"%.0f\" text-anchor=\"middle\">%.2f</text>\n",
			x, x, TOP, height(p) - 22, i == 4 ? "#444" : "#ddd", x, height(p) - 10,
			i / 4.0);
	}
}

static void bar(struct plot *p, const struct bar *b, bool first)
{
	double end = x_of(b->r.mid), mid;

	p->y += first ? GROUP_GAP : 0;
	mid = p->y + BAR_HIGH / 2.0;
	if (first)
		fprintf(p->f, "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%s</text>\n", LEFT - 6,
			p->y + BAR_HIGH, b->row);
	fprintf(p->f,
		"<rect x=\"%d\" y=\"%.1f\" width=\"%.1f\" height=\"%d\" fill=\"%s\"/>\n"
		"<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"black\"/>\n",
		LEFT, p->y, end - LEFT, BAR_HIGH - 1, colours[colour_of(p, b->place)],
		x_of(b->r.low), x_of(b->r.high), mid, mid);
	if (b->r.mid > RATIO_MAX)
		fprintf(p->f, "<text x=\"%.1f\" y=\"%.1f\">%.2f</text>\n", end + 4,
			p->y + BAR_HIGH - 1, b->r.mid);
	p->y += BAR_HIGH;
}

static void legend(struct plot *p)
{
	for (unsigned i = 0; i < p->n_place; i++) {
		unsigned x = 10 + i % 5 * 140, y = 30 + i / 5 * 14;

		fprintf(p->f,
			"<rect x=\"%u\" y=\"%u\" width=\"10\" height=\"10\" fill=\"%s\"/>\n"
			"<text x=\"%u\" y=\"%u\">%s</text>\n",
			x, y, colours[i], x + 14, y + 9, p->place[i]);
	}
}

int plot_write(const char *path, const char *title, const struct bar *bars, unsigned n)
{
	struct plot p = { .f = fopen(path, "we"), .bars = bars, .n = n, .y = TOP };
	int r;

	if (!p.f)
		return -errno;
	head(&p, title);
	for (unsigned i = 0; i < n; i++)
		bar(&p, &bars[i], starts_group(&p, i));
	legend(&p);
	fprintf(p.f, "</svg>\n");
	r = ferror(p.f) ? -EIO : 0;
	return fclose(p.f) != 0 && r == 0 ? -errno : r;
}
