/* tests/unit/tax.t.c - who gives memory: shares, floors, the tax on idle memory */
#include "lib/base/own.h"
#include "lib/model/tax.h"
#include "tests/tap.h"

#define MIB    (1ULL << 20)
#define ROUNDS 20000

static uint64_t next(uint64_t *state, uint64_t below)
{
	*state = *state * 6364136223846793005ULL + 1442695040888963407ULL;
	return (*state >> 24) % below;
}

static bool is_about(uint64_t got, uint64_t want)
{
	return got <= want + 2 && want <= got + 2;
}

static void test_shares(void)
{
	struct tax_party p[] = {
		{ .held = 400 * MIB, .share = 100 },
		{ .held = 400 * MIB, .share = 300 },
	};

	ok(tax_split(p, 2, 400 * MIB, 75) == 400 * MIB, "two that use all they hold give enough");
	ok(is_about(p[0].held - p[0].take, 100 * MIB) && is_about(p[1].held - p[1].take, 300 * MIB),
	   "and keep what their shares 1:3 pay for");
	ok(tax_split(p, 2, 100 * MIB, 75) == 100 * MIB && p[0].take == 100 * MIB && !p[1].take,
	   "of little, who holds most for its share gives all");
}

static void test_idle(void)
{
	struct tax_party p[] = {
		{ .held = 200 * MIB, .idle = 200 * MIB, .share = 100 },
		{ .held = 200 * MIB, .share = 100 },
	};

	tax_split(p, 2, 100 * MIB, 75);
	ok(p[0].take == 100 * MIB && !p[1].take, "idle memory goes before used memory");
	tax_split(p, 2, 200 * MIB, 75);
	ok(is_about(p[0].held - p[0].take, 40 * MIB) && is_about(p[1].held - p[1].take, 160 * MIB),
	   "a tax of 75 %% makes an idle byte count as four: 40 and 160 MiB");
	tax_split(p, 2, 200 * MIB, 0);
	ok(is_about(p[0].take, p[1].take), "without a tax both give the same");
	p[0].idle = 100 * MIB;
	tax_split(p, 2, 100 * MIB, 75);
	ok(is_about(p[0].take, 80 * MIB) && is_about(p[1].take, 20 * MIB),
	   "half idle: of the idle bytes only what makes both equally dear");
}

static void test_floors(void)
{
	struct tax_party p[] = {
		{ .held = 300 * MIB, .idle = 300 * MIB, .floor = 250 * MIB, .share = 1 },
		{ .held = 100 * MIB, .share = 10000 },
		{ .held = 10 * MIB, .floor = 20 * MIB, .share = 1 },
		{ .held = 0, .share = 100 },
	};

	ok(tax_split(p, 4, 100 * MIB, 75) == 100 * MIB && p[0].take == 50 * MIB &&
		   p[1].take == 50 * MIB && !p[2].take,
	   "a floor is kept, and others give the rest");
	ok(tax_split(p, 4, 1ULL << 50, 75) == 150 * MIB && p[0].take == 50 * MIB &&
		   p[1].take == 100 * MIB,
	   "more than there is: all down to their floors");
	ok(tax_split(p, 4, 0, 75) == 0 && !p[0].take && !p[1].take,
	   "nothing is needed: nobody gives");
	ok(tax_split(p, 0, 100, 75) == 0, "nobody is there");
}

static void test_large(void)
{
	struct tax_party p[] = {
		{ .held = 1ULL << 50, .idle = 1ULL << 50, .share = 1 },
		{ .held = 1ULL << 50, .share = 10000 },
	};

	ok(tax_split(p, 2, 1ULL << 50, 99) == 1ULL << 50 && p[0].take > p[1].take,
	   "petabytes, and the highest tax");
}

/* Whatever there is: exactly enough, never below a floor, and nobody holds less for its share than
 * one that gives nothing, idle bytes weighed. */
static void test_any(void)
{
	uint64_t rnd = 4711, wrong = 0;

	for (int round = 0; round < ROUNDS; round++) {
		struct tax_party p[8];
		uint64_t can = 0, need, got, sum = 0;
		size_t n = 1 + next(&rnd, ARRAY_SIZE(p));

		for (size_t i = 0; i < n; i++) {
			p[i].held = next(&rnd, 1000 * MIB);
			p[i].idle = next(&rnd, 1000 * MIB);
			p[i].floor = next(&rnd, 2) ? next(&rnd, 1000 * MIB) : 0;
			p[i].share = 1 + next(&rnd, 1000);
			can += p[i].held > p[i].floor ? p[i].held - p[i].floor : 0;
		}
		need = next(&rnd, 3000 * MIB);
		got = tax_split(p, n, need, (unsigned)next(&rnd, 100));
		for (size_t i = 0; i < n; i++) {
			sum += p[i].take;
			wrong += p[i].take > p[i].held ||
				 (p[i].take && p[i].held - p[i].take < p[i].floor);
		}
		wrong += got != sum || got != (need < can ? need : can);
	}
	ok(wrong == 0, "%d random splits: exactly enough, and nobody below its floor", ROUNDS);
}

int main(void)
{
	test_shares();
	test_idle();
	test_floors();
	test_large();
	test_any();
	return tap_done();
}
