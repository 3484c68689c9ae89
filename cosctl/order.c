/* cosctl/order.c - which guests come before which, where several are started or stopped together */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cosctl/cosctl.h"
#include "lib/base/own.h"

struct node {
	const char *name;
	json_t *requires;
	json_int_t priority;
	unsigned dependents; /* that were not looked at yet */
	unsigned rank;       /* of the longest chain of dependents */
	bool wanted;
};

struct graph {
	struct node *nodes; /* by name */
	size_t n;
};

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct node *)a)->name, ((const struct node *)b)->name);
}

static struct node *find(const struct graph *g, json_t *name)
{
	struct node key = { .name = json_string_value(name) ?: "" };

	return bsearch(&key, g->nodes, g->n, sizeof(key), by_name);
}

/* Whatever a guest requires is stopped after it: it gets at least the guest's priority, and a
 * higher rank. Each guest is looked at when all its dependents were. */
static int rank(const struct graph *g)
{
	auto_free size_t *ready = calloc(g->n + 1, sizeof(*ready)); /* of nodes */
	struct node *need;
	size_t n = 0, k;
	json_t *v;

	if (!ready)
		return -ENOMEM;
	for (size_t i = 0; i < g->n; i++) {
		json_array_foreach(g->nodes[i].requires, k, v) {
			if ((need = find(g, v)))
				need->dependents++;
		}
	}
	for (size_t i = 0; i < g->n; i++) {
		if (g->nodes[i].dependents == 0)
			ready[n++] = i;
	}
	for (size_t i = 0; i < n; i++) {
		const struct node *node = &g->nodes[ready[i]];

		json_array_foreach(node->requires, k, v) {
			if (!(need = find(g, v)))
				continue;
			if (need->priority < node->priority)
				need->priority = node->priority;
			if (need->rank <= node->rank)
				need->rank = node->rank + 1;
			if (--need->dependents == 0)
				ready[n++] = (size_t)(need - g->nodes);
		}
	}
	return 0;
}

static int by_start(const void *va, const void *vb)
{
	const struct node *a = va, *b = vb;

	if (a->priority != b->priority)
		return a->priority > b->priority ? -1 : 1;
	return strcmp(a->name, b->name);
}

static int by_stop(const void *va, const void *vb)
{
	const struct node *a = va, *b = vb;

	if (a->priority != b->priority)
		return a->priority < b->priority ? -1 : 1;
	if (a->rank != b->rank)
		return a->rank < b->rank ? -1 : 1;
	return strcmp(a->name, b->name);
}

static bool is_same_turn(const struct node *a, const struct node *b)
{
	return a->priority == b->priority && a->rank == b->rank;
}

int order_turns(json_t *guests, bool (*wanted)(json_t *guest), bool down, struct turn **ret,
		unsigned *ret_n)
{
	auto_free struct node *nodes = calloc(json_array_size(guests) + 1, sizeof(*nodes));
	struct graph g = { nodes, json_array_size(guests) };
	struct turn *turns = calloc(g.n + 1, sizeof(*turns));
	unsigned n = 0, turn = 0;
	const struct node *last = NULL;
	json_t *v;
	size_t i;

	if (!nodes || !turns) {
		free(turns);
		return -ENOMEM;
	}
	json_array_foreach(guests, i, v) {
		nodes[i] = (struct node){
			.name = json_string_value(json_object_get(v, "name")) ?: "",
			.requires = json_object_get(v, "requires"),
			.priority = json_integer_value(json_object_get(v, "priority")),
			.wanted = wanted(v),
		};
	}
	qsort(nodes, g.n, sizeof(*nodes), by_name);
	if (down && rank(&g) < 0) { /* at a start the daemon sees to what is required */
		free(turns);
		return -ENOMEM;
	}
	qsort(nodes, g.n, sizeof(*nodes), down ? by_stop : by_start);
	for (i = 0; i < g.n; i++) {
		if (!nodes[i].wanted)
			continue;
		turn += last && !is_same_turn(last, &nodes[i]);
		last = &nodes[i];
		turns[n++] = (struct turn){ last->name, turn };
	}
	*ret = turns;
	*ret_n = n;
	return 0;
}
