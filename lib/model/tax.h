/* lib/model/tax.h - who gives memory when the host is short: shares with a tax on idle memory; pure
 *
 * A party pays for each byte that it uses, and 100 / (100 - tax) times as much for one that lies
 * idle. Who holds most for what its share pays for gives first, idle memory before used, until all
 * that still give hold equally much for it. Source: C. Waldspurger, "Memory Resource Management in
 * VMware ESX Server", OSDI 2002, sections 5.1 and 5.2. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define TAX_MAX 99 /* per cent */

struct tax_party {
	uint64_t held, idle; /* bytes; IDLE of those held are not in use */
	uint64_t floor;      /* it keeps this much */
	uint64_t share;      /* 1 to 10000 */
	uint64_t take;       /* the answer: bytes that it gives */
};

/* Splits NEED bytes among P and fills take of each; returns their sum, which is less than NEED only
 * when all are at their floors. Costs 64 walks over P. */
uint64_t tax_split(struct tax_party *p, size_t n, uint64_t need, unsigned percent);
