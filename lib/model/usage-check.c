/* lib/model/usage-check.c - whether a guest's records are those that were written */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/own.h"
#include "lib/model/usage.h"

const char *const usage_fault_text[] = {
	[USAGE_GOOD] = "good",
	[USAGE_BAD_HASH] = "was changed after it was written",
	[USAGE_BAD_LINK] = "does not follow the record before it",
	[USAGE_BAD_MEMBERS] = "is not the sum of the records that it stands for",
	[USAGE_MISSING] = "comes after records that are missing",
};

struct usage_checker {
	struct usage_record *below, *here; /* the level below, and the one that is being read */
	size_t n_below, n_here, size_here;
	size_t at;     /* in BELOW, the next that a record stands for */
	bool anchored; /* the first of BELOW is the very first, or some record has its PREV */
	enum usage_level level;
};

struct usage_checker *usage_checker_new(void)
{
	return calloc(1, sizeof(struct usage_checker));
}

void usage_checker_free(struct usage_checker *c)
{
	if (!c)
		return;
	free(c->below);
	free(c->here);
	free(c);
}

static int keep(struct usage_checker *c, const struct usage_record *r)
{
	if (c->n_here == c->size_here) {
		size_t size = c->size_here ? 2 * c->size_here : 64;
		struct usage_record *more = realloc(c->here, size * sizeof(*more));

		if (!more)
			return -ENOMEM;
		c->here = more;
		c->size_here = size;
	}
	c->here[c->n_here++] = *r;
	return 0;
}

/* Whether nothing is missing before the first record of the level below. */
static bool leave_level(struct usage_checker *c)
{
	bool whole = c->anchored || c->n_below == 0;

	free(c->below);
	c->below = c->here;
	c->n_below = c->n_here;
	c->here = NULL;
	c->n_here = c->size_here = c->at = 0;
	c->level++;
	c->anchored = c->n_below > 0 && c->below[0].number == 1;
	return whole;
}

static bool same_hash(const uint8_t *a, const uint8_t *b)
{
	return memcmp(a, b, USAGE_HASH) == 0;
}

/* Members were removed all together or not at all. */
static bool stands_for_members(struct usage_checker *c, const struct usage_record *r)
{
	struct usage_record sum = { 0 };

	while (c->at < c->n_below && c->below[c->at].number < r->first)
		c->at++;
	if (c->at == c->n_below || c->below[c->at].number > r->last)
		return true;
	for (; c->at < c->n_below && c->below[c->at].number <= r->last; c->at++)
		usage_add_member(&sum, &c->below[c->at]);
	return sum.first == r->first && sum.last == r->last &&
	       sum.number == r->last - r->first + 1 && same_hash(sum.from, r->from) &&
	       same_hash(sum.to, r->to) && sum.begin_usec == r->begin_usec &&
	       sum.end_usec == r->end_usec && sum.span_usec == r->span_usec &&
	       sum.gap_usec == r->gap_usec && memcmp(sum.value, r->value, sizeof(sum.value)) == 0;
}

/* The first record that is left of the level below follows those that R has seen. */
static void look_for_anchor(struct usage_checker *c, const struct usage_record *r)
{
	const struct usage_record *first = c->below;

	if (c->n_below > 0 && ((r->first == first->number && same_hash(r->from, first->prev)) ||
			       (r->last + 1 == first->number && same_hash(r->to, first->prev))))
		c->anchored = true;
}

static enum usage_fault check(struct usage_checker *c, const struct usage_record *r)
{
	const struct usage_record *last = c->n_here ? &c->here[c->n_here - 1] : NULL;
	uint8_t hash[USAGE_HASH];

	if (usage_hash(r, hash) < 0 || !same_hash(hash, r->hash))
		return USAGE_BAD_HASH;
	if (last && r->number != last->number + 1)
		return USAGE_MISSING;
	if (last && !same_hash(r->prev, last->hash))
		return USAGE_BAD_LINK;
	if (r->level == USAGE_INTERVAL)
		return USAGE_GOOD;
	if (last && (r->first != last->last + 1 || !same_hash(r->from, last->to)))
		return USAGE_BAD_LINK;
	look_for_anchor(c, r);
	return stands_for_members(c, r) ? USAGE_GOOD : USAGE_BAD_MEMBERS;
}

int usage_check(struct usage_checker *c, const struct usage_record *r)
{
	enum usage_fault fault = USAGE_GOOD, own;
	int e;

	while (c->level < r->level) {
		if (!leave_level(c))
			fault = USAGE_MISSING;
	}
	own = check(c, r);
	e = keep(c, r);
	return e < 0 ? e : fault != USAGE_GOOD ? (int)fault : (int)own;
}

int usage_check_end(struct usage_checker *c)
{
	bool whole = true;

	while (c->level + 1 < USAGE__LEVELS)
		whole = leave_level(c) && whole;
	/* days are the last to be removed, and nothing stands for them */
	return (c->anchored || c->n_below == 0) && whole ? USAGE_GOOD : USAGE_MISSING;
}
