/* bench/network-setup.c - what the network of a guest costs while there are few and while many */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/floor.h"
#include "bench/network.h"
#include "lib/base/own.h"

#define GUESTS  1000U
#define AROUND  20U /* guests that are started again and again */
#define PINGED  20U
#define NAME    "many"
#define LEVELS  3U
#define AT_ONCE 100U
#define ANSWERS (4U << 20)

static const unsigned level[LEVELS] = { 20, 300, GUESTS };
static const char *const level_name[LEVELS] = { "1", "300", "1000" };

enum what { NETWORK, WHOLE, BARE, WHAT__N };

static const char *const what_name[WHAT__N] = { "network", "whole", "floor" };

struct crowd {
	const struct bed *bed;
	struct floor floor; /* bare starts in between: how the kernel itself grows */
	struct samples got[WHAT__N][LEVELS];
	unsigned at; /* LEVELS: nobody measures */
};

static int call(const struct bed *bed, const char *command, const char *option, const char *value,
		const char *names)
{
	const char *args[5] = { command };
	unsigned n = 1;
	int r;

	if (option) {
		args[n++] = option;
		args[n++] = value;
	}
	args[n] = names;
	r = daemon_call(bed->d, args, -1);
	if (r == 0)
		return 0;
	fprintf(stderr, "bench: network: %s %s: status %d\n", command, names, r);
	return -EIO;
}

static void range(char *buf, size_t size, unsigned from, unsigned to)
{
	snprintf(buf, size, NAME "{%04u..%04u}", from, to);
}

/* ---- starts ---- */

static void take_reply(void *arg, uint64_t start_usec, json_t *steps)
{
	struct crowd *c = arg;
	uint64_t usec = (uint64_t)json_integer_value(json_object_get(steps, "network"));

	if (c->at == LEVELS)
		return;
	samples_add(&c->got[NETWORK][c->at], usec * 1000);
	samples_add(&c->got[WHOLE][c->at], start_usec * 1000);
}

static int bare_start(struct crowd *c)
{
	struct floor_guest g;
	int p[2], r = pipe2(p, O_CLOEXEC) < 0 ? -errno : 0;
	uint64_t first;

	if (r < 0)
		return r;
	r = floor_start(&c->floor, &g, p[1], false);
	close(p[1]);
	first = r < 0 ? 0 : bench_read_first(p[0]);
	close(p[0]);
	if (r == 0)
		r = floor_end(&c->floor, &g, false);
	if (r != 0 || first == 0)
		return r < 0 ? r : -EIO;
	samples_add(&c->got[BARE][c->at], first - g.start_nsec);
	return 0;
}

/* The last AROUND guests of a level, one by one, while all others are there. */
static int at_level(struct crowd *c, unsigned i)
{
	unsigned first = level[i] - AROUND + 1;
	int r = 0;

	for (unsigned k = 0; k < c->bed->rounds * AROUND && r == 0 && !bench_stopped(); k++) {
		char name[16];

		snprintf(name, sizeof(name), NAME "%04u", first + k % AROUND);
		r = call(c->bed, "stop", "--timeout", "0", name);
		c->at = i;
		if (r == 0)
			r = daemon_start(c->bed->d, name, take_reply, c);
		if (r == 0)
			r = bare_start(c);
		c->at = LEVELS;
	}
	return r;
}

/* A client's time is bounded, and a busy host slow. */
static int start_up_to(struct crowd *c, unsigned *n, unsigned to)
{
	int r = 0;

	while (*n < to && r == 0 && !bench_stopped()) {
		unsigned next = *n + AT_ONCE < to ? *n + AT_ONCE : to;
		char names[40];

		range(names, sizeof(names), *n + 1, next);
		r = daemon_start(c->bed->d, names, take_reply, c);
		*n = next;
	}
	return r;
}

static int fill(struct crowd *c)
{
	static const char *const tail[] = { "--", "/bin/first", "stay", NULL };
	const char *create[8] = { "create", "--template", "bench" };
	char names[40];
	unsigned n = 0;
	int r = 0;

	range(names, sizeof(names), 1, GUESTS);
	create[3] = names;
	memcpy(&create[4], tail, sizeof(tail));
	if (daemon_call(c->bed->d, create, -1) != 0)
		return -EIO;
	for (unsigned i = 0; i < LEVELS && r == 0 && !bench_stopped(); i++) {
		r = start_up_to(c, &n, level[i]);
		if (r == 0)
			r = at_level(c, i);
	}
	return r;
}

/* ---- are they there ---- */

struct census {
	const struct bed *bed;
	unsigned running, addresses, asked, answered;
};

static void count_guest(struct census *c, const json_t *j)
{
	const char *ip = json_string_value(json_object_get(j, "ipv4"));

	c->running += json_integer_value(json_object_get(j, "pid")) > 0;
	if (!ip)
		return;
	if (c->addresses++ % (GUESTS / PINGED) != 0)
		return;
	c->asked++;
	c->answered += net_run(c->bed, c->bed->host, NULL, 0, "busybox ping -c 1 -W 2 %s", ip) == 0;
}

static void find_guests(struct census *c, json_t *j)
{
	const char *key;
	json_t *v;
	size_t i;

	if (json_is_string(json_object_get(j, "name"))) {
		count_guest(c, j);
		return;
	}
	json_array_foreach(j, i, v) {
		find_guests(c, v);
	}
	json_object_foreach(j, key, v) {
		find_guests(c, v);
	}
}

static int look(const struct bed *bed)
{
	auto_free char *text = malloc(ANSWERS);
	static const char *const args[] = { "list", "-o", "json", NULL };
	struct census c = { .bed = bed };
	const char *at = text;
	int r = text ? daemon_ask(bed->d, args, text, ANSWERS) : -ENOMEM;

	while (r == 0 && *at) { /* one document, or one in each line */
		json_error_t where;
		auto_json json_t *j = json_loads(at, JSON_DISABLE_EOF_CHECK, &where);

		if (!j)
			break;
		find_guests(&c, j);
		at += where.position;
	}
	printf("# setup: %u guests run, %u have an address, %u of %u answer a ping\n", c.running,
	       c.addresses, c.answered, c.asked);
	return r == 0 ? 0 : -EIO;
}

/* ---- */

static void print(struct crowd *c)
{
	for (enum what w = 0; w < WHAT__N; w++) {
		struct column column[LEVELS];

		for (unsigned i = 0; i < LEVELS; i++)
			column[i] = (struct column){ level_name[i], &c->got[w][i] };
		columns_print("setup", what_name[w], "us", column, LEVELS);
		for (unsigned i = 0; i < LEVELS; i++)
			samples_free(&c->got[w][i]);
	}
}

int network_setups(const struct bed *bed)
{
	auto_free struct crowd *c = calloc(1, sizeof(*c));
	int r = c ? floor_open(&c->floor, bed->b, SUBJECT_ROOT) : -ENOMEM;

	if (r < 0)
		return r;
	c->bed = bed;
	c->at = LEVELS;
	r = fill(c);
	print(c);
	if (r == 0)
		r = look(bed);
	call(bed, "stop", "--timeout", "0", "--all");
	call(bed, "delete", NULL, NULL, "--all");
	floor_close(&c->floor);
	return r;
}
