/* cosd/vmstat.c - what machines tell of themselves, through their control sockets
 *
 * Asked for when somebody wants it, answered within a tenth of a second or not at all: a machine
 * may be short of CPU time. What comes is from a process that a guest may have taken over: numbers
 * with names, of those that are known, are all that is taken from it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cosd/call.h"
#include "cosd/guest.h"
#include "cosd/vmstat.h"
#include "lib/base/clock.h"
#include "lib/base/jsonx.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "lib/model/usage.h"

#define WAIT_USEC      (USEC_PER_SEC / 10)
#define REPLY_MAX      32768
#define MEMBERS_MAX    64
#define EXITS_PER_USEC 10 /* more than any processor can */

/* One round: all machines that a call wants to hear of. */
struct round {
	struct daemon *d;
	struct call *call; /* NULL: its client is gone */
	struct list asked; /* struct machine.link */
	struct loop_timer timer;
};

struct machine {
	struct list link;
	struct round *round;
	struct loop_source src;
	char name[NAME_SIZE];
	int pid; /* which may not be the guest's any more when it answers */
	size_t n;
	char text[REPLY_MAX];
};

static void round_free(struct loop_timer *t)
{
	free(container_of(t, struct round, timer));
}

static void machine_gone(struct loop_source *s)
{
	close_p(&s->fd);
	free(container_of(s, struct machine, src));
}

/* Everybody has answered, or the time is over: the call is made again. */
static void finish(struct round *r)
{
	struct call *c = r->call;
	struct list *p, *next;
	struct cos_err err;

	list_for_each_safe(p, next, &r->asked) {
		list_del(p);
		loop_del(&list_entry(p, struct machine, link)->src);
	}
	r->timer.fire = round_free;
	loop_timer_set(&r->d->loop, &r->timer, 0);
	if (!c)
		return;
	c->client_gone = NULL;
	if (c->method->fn(c, c->params, &err) < 0)
		call_fail(c, &err);
}

static void time_is_over(struct loop_timer *t)
{
	finish(container_of(t, struct round, timer));
}

static void client_gone(struct call *c)
{
	((struct round *)c->data)->call = NULL;
}

static void take_number(json_t *to, const char *key, json_t *v)
{
	if (json_is_integer(v) && json_integer_value(v) >= 0 && str_is_text(key, 40))
		json_object_set(to, key, v);
}

/* An object of numbers. */
static void take_numbers(json_t *to, const char *name, json_t *from)
{
	json_t *o = json_object(), *v;
	const char *key;

	json_object_foreach(from, key, v) {
		if (json_object_size(o) < MEMBERS_MAX)
			take_number(o, key, v);
	}
	json_object_set_new(to, name, o);
}

static json_t *take_stats(json_t *reply)
{
	static const char *const numbers[] = { "uptime_usec", "vcpu_usec", "vmm_usec", "steal_usec",
					       "emulated" };
	static const char *const groups[] = { "exits", "balloon" };
	json_t *o = json_object();

	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
		take_number(o, numbers[i], json_object_get(reply, numbers[i]));
	for (size_t i = 0; i < ARRAY_SIZE(groups); i++)
		take_numbers(o, groups[i], json_object_get(reply, groups[i]));
	return o;
}

/* Answers to others' requests may come before it. */
static bool take_line(struct machine *m, const char *line, size_t len)
{
	struct guest *g = guest_find(m->round->d, m->name);
	auto_json json_t *reply = NULL;
	struct cos_err ignored;

	if (jsonx_parse(line, len, "stats", &reply, &ignored) < 0 ||
	    !json_object_get(reply, "vcpu_usec"))
		return false;
	if (g && g->pid > 0 && g->pid == m->pid) {
		json_decref(g->vm_stats);
		g->vm_stats = take_stats(reply);
	}
	return true;
}

static bool take_lines(struct machine *m)
{
	bool done = false;
	char *end;

	while (!done && (end = memchr(m->text, '\n', m->n))) {
		size_t len = (size_t)(end - m->text);

		done = take_line(m, m->text, len);
		m->n -= len + 1;
		memmove(m->text, end + 1, m->n);
	}
	return done;
}

static void reply_ready(struct loop_source *s, uint32_t events)
{
	struct machine *m = container_of(s, struct machine, src);
	struct round *r = m->round;
	ssize_t n = recv(s->fd, m->text + m->n, sizeof(m->text) - m->n, MSG_DONTWAIT);

	(void)events;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	m->n += n > 0 ? (size_t)n : 0;
	if (n > 0 && !take_lines(m) && m->n < sizeof(m->text))
		return;
	list_del(&m->link);
	loop_del(s);
	if (list_is_empty(&r->asked))
		finish(r);
}

static void ask(struct round *r, struct guest *g)
{
	static const char request[] = "{\"cmd\":\"stats\"}\n";
	int fd = launch_vm_control(g->pidfd);
	struct machine *m = fd < 0 ? NULL : malloc(sizeof(*m));
	bool good = m && send(fd, request, strlen(request), MSG_DONTWAIT | MSG_NOSIGNAL) > 0;

	if (r->call) { /* who asks wants no old ones */
		json_decref(g->vm_stats);
		g->vm_stats = NULL;
	}
	if (good) {
		m->round = r;
		m->n = 0;
		m->pid = g->pid;
		str_fmt(m->name, sizeof(m->name), "%s", g->name);
		m->src = (struct loop_source){ .fd = fd,
					       .ready = reply_ready,
					       .gone = machine_gone };
		good = loop_add(&r->d->loop, &m->src, EPOLLIN) == 0;
	}
	if (good) {
		list_add_tail(&r->asked, &m->link);
		return;
	}
	close_p(&fd);
	free(m);
}

/* NULL: there is none to ask, or no memory for it. */
static struct round *begin(struct daemon *d, struct call *c, const struct guest *only)
{
	struct round *r = calloc(1, sizeof(*r));
	struct list *p;

	if (!r)
		return NULL;
	r->d = d;
	r->call = c;
	list_init(&r->asked);
	list_for_each(p, &d->guests) {
		struct guest *g = list_entry(p, struct guest, link);

		if (g->spec.type == GUEST_VM && g->state == GS_RUNNING && (!only || g == only))
			ask(r, g);
	}
	if (list_is_empty(&r->asked)) {
		free(r);
		return NULL;
	}
	r->timer.fire = time_is_over;
	loop_timer_set(&d->loop, &r->timer, WAIT_USEC);
	return r;
}

bool vmstat_gather(struct call *c, const struct guest *only)
{
	if (c->gathered)
		return false;
	c->gathered = true;
	c->data = begin(c->d, c, only);
	if (!c->data)
		return false;
	c->client_gone = client_gone;
	return true;
}

void vmstat_refresh(struct daemon *d)
{
	begin(d, NULL, NULL);
}

/* --- for the ledger --- */

static uint64_t number(json_t *from, const char *key)
{
	return (uint64_t)json_integer_value(json_object_get(from, key)); /* see take_number() */
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static enum metric_id metric_of_exit(const char *reason)
{
	static const struct {
		const char *reason;
		enum metric_id metric;
	} known[] = {
		{ "io", METRIC_VM_IO },
		{ "mmio", METRIC_VM_MMIO },
		{ "rdmsr", METRIC_VM_MSR },
		{ "wrmsr", METRIC_VM_MSR },
	};

	for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
		if (strcmp(known[i].reason, reason) == 0)
			return known[i].metric;
	}
	return METRIC_VM_OTHER;
}

void vmstat_count(const struct guest *g, uint64_t ran_usec, uint64_t *value)
{
	uint64_t used = value[METRIC_CPU_USER] + value[METRIC_CPU_SYSTEM];
	uint64_t time = ran_usec * g->spec.vm.cpus, told[METRIC__N] = { 0 };
	json_t *exits = json_object_get(g->vm_stats, "exits"), *v;
	const char *reason;

	told[METRIC_VCPU] = least(number(g->vm_stats, "vcpu_usec"), used);
	told[METRIC_VMM] = least(number(g->vm_stats, "vmm_usec"), used);
	told[METRIC_STEAL] = least(number(g->vm_stats, "steal_usec"), time);
	json_object_foreach(exits, reason, v) {
		uint64_t *to = &told[metric_of_exit(reason)];

		*to = least(*to + (uint64_t)json_integer_value(v), time * EXITS_PER_USEC);
	}
	for (int i = 0; i < METRIC__N; i++) {
		if (metric_defs[i].kind == METRIC_TOLD && told[i] > value[i])
			value[i] = told[i];
	}
}

bool vmstat_balloon(const struct guest *g, uint64_t *ret_bytes)
{
	json_t *balloon = json_object_get(g->vm_stats, "balloon");

	if (!json_object_get(balloon, "actual_bytes"))
		return false;
	*ret_bytes = least(number(balloon, "actual_bytes"), g->spec.vm.memory);
	return true;
}
