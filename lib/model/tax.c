/* lib/model/tax.c - who gives memory when the host is short: shares with a tax on idle memory */
#include "lib/model/tax.h"

#define LEVEL_BITS 60 /* of what a party pays for a share: held x 100 fits for 2^53 bytes */

/* Hundredths of a byte's price for one share, which P has to give down to. */
static uint64_t left_at(const struct tax_party *p, uint64_t level, unsigned percent)
{
	unsigned __int128 pays = (unsigned __int128)level * p->share / 100;
	uint64_t idle = p->idle < p->held ? p->idle : p->held, used = p->held - idle, left;

	if (pays <= used)
		left = (uint64_t)pays;
	else if ((pays - used) * (100 - percent) / 100 >= idle)
		left = p->held;
	else
		left = used + (uint64_t)((pays - used) * (100 - percent) / 100);
	if (left < p->floor)
		left = p->floor;
	return left < p->held ? left : p->held;
}

static uint64_t given_at(struct tax_party *p, size_t n, uint64_t level, unsigned percent)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < n; i++) {
		p[i].take = p[i].held - left_at(&p[i], level, percent);
		sum += p[i].take;
	}
	return sum;
}

uint64_t tax_split(struct tax_party *p, size_t n, uint64_t need, unsigned percent)
{
	uint64_t level = 0, sum;

	if (percent > TAX_MAX)
		percent = TAX_MAX;
	/* the highest level at which enough is given */
	for (int bit = LEVEL_BITS; bit >= 0; bit--) {
		if (given_at(p, n, level | 1ULL << bit, percent) >= need)
			level |= 1ULL << bit;
	}
	sum = given_at(p, n, level, percent);
	/* one level's step may be more than what was asked for */
	for (size_t i = 0; i < n && sum > need; i++) {
		uint64_t less = sum - need < p[i].take ? sum - need : p[i].take;

		p[i].take -= less;
		sum -= less;
	}
	return sum;
}
