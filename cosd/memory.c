/* cosd/memory.c - who gives memory when the host is short of it, or guests hold too much together
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cosd/guest.h"
#include "cosd/memory.h"
#include "cosd/vmstat.h"
#include "lib/base/clock.h"
#include "lib/base/io.h"
#include "lib/base/log.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "lib/kern/cg.h"
#include "lib/kern/proc.h"
#include "lib/model/tax.h"

#define LOOK_USEC  USEC_PER_SEC
#define REST_USEC  (10 * USEC_PER_SEC) /* after a round that found nothing to take */
#define ASK_USEC   (10 * USEC_PER_SEC) /* in which a page is used, or idle */
#define PAUSE_USEC (60 * USEC_PER_SEC) /* between two events of a guest */
#define ROUND_USEC (10 * USEC_PER_SEC) /* after which a round takes no more */
#define ROUND_SEC  60                  /* after which it is killed */
#define CHUNK      (16ULL << 20)       /* bytes that are taken at a time */
#define RETURNS    8                   /* looks in which a machine gets all back that it lent */
#define PAGE       4096U
#define BOUND_ROOM (1ULL << 20) /* for what a guest takes while it is bound */
#define NICE       10

/* What a round tells of a slot; shared with the process that it is. */
struct memory_note {
	pid_t pid; /* of the guest then; 0: nothing is told */
	uint64_t taken, idle, bound, lend;
	bool asked;
};

/* --- the host --- */

struct host {
	uint64_t total, free, available, swap, active_file, idle_file;
};

static int read_host(const struct daemon *d, struct host *ret)
{
	static const struct {
		const char *key;
		size_t offset;
	} rows[] = {
		{ "MemTotal:", offsetof(struct host, total) },
		{ "MemFree:", offsetof(struct host, free) },
		{ "MemAvailable:", offsetof(struct host, available) },
		{ "SwapFree:", offsetof(struct host, swap) },
		{ "Active(file):", offsetof(struct host, active_file) },
		{ "Inactive(file):", offsetof(struct host, idle_file) },
	};
	char text[4096];
	ssize_t n = pread(d->memory.meminfo, text, sizeof(text) - 1, 0);

	if (n <= 0)
		return n < 0 ? -errno : -EIO;
	text[n] = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const char *p = strstr(text, rows[i].key);

		if (!p)
			return -EPROTO;
		*(uint64_t *)((char *)ret + rows[i].offset) =
			strtoull(p + strlen(rows[i].key), NULL, 10) * 1024;
	}
	return 0;
}

static uint64_t cap_of(const struct daemon *d)
{
	uint64_t cap;

	return d->conf.memory_cap[0] && str_to_bytes(d->conf.memory_cap, &cap) == 0 ? cap
										    : LIMIT_MAX;
}

static uint64_t spare_of(const struct daemon *d, const struct host *h)
{
	return h->total / 100 * d->conf.memory_spare;
}

/* What is to be freed once there is less than SPARE: half as much again, so that it lasts. */
static uint64_t lacks(uint64_t spare, uint64_t free)
{
	return free < spare ? spare + spare / 2 - free : 0;
}

/* --- a round, in a process of its own --- */

struct giver {
	struct guest *g;
	struct cg_memory m;
};

struct round {
	struct daemon *d;
	const struct host *h;
	size_t n;
	struct giver *of;
	struct tax_party *party; /* of each, and one more: the rest of the host */
	uint64_t sum;            /* that guests hold */
};

struct use {
	uint64_t used;
	bool forget;
};

static void ask_process(pid_t pid, void *arg)
{
	struct use *u = arg;
	uint64_t used;

	if (u->forget)
		proc_forget_use(pid);
	else if (proc_used(pid, &used) == 0)
		u->used += used;
}

/* What swap could take without harm: memory of processes that they did not use for a while. */
static void ask_idle(const struct round *w, size_t i, const char *slot)
{
	struct guest *g = w->of[i].g;
	struct memory_note *note = &w->d->memory.notes[g->slot];
	struct use u = { 0 };

	note->idle = g->memory.idle_bytes;
	if (clock_usec() - g->memory.asked_usec < ASK_USEC)
		return;
	if (g->memory.asked_usec) {
		cg_each_process(&w->d->host.topo, slot, ask_process, &u);
		note->idle = w->of[i].m.anon > u.used ? w->of[i].m.anon - u.used : 0;
	}
	u.forget = true;
	cg_each_process(&w->d->host.topo, slot, ask_process, &u);
	note->asked = true;
}

static uint64_t less(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

/* What a machine says it could do without, but for a quarter that it may want the next moment; of
 * that the host only gets back what was ever used. */
static uint64_t idle_of_machine(const struct guest *g, uint64_t held)
{
	json_t *balloon = json_object_get(g->vm_stats, "balloon");
	uint64_t all = g->spec.vm.memory - g->memory.lent,
		 free = (uint64_t)json_integer_value(json_object_get(balloon, "available_bytes")),
		 idle = less(free, less(all, held));

	return (idle < held ? idle : held) / 4 * 3;
}

static void look_at(struct round *w, size_t i)
{
	const struct guest *g = w->of[i].g;
	struct tax_party *p = &w->party[i];
	struct cg_memory *m = &w->of[i].m;
	char slot[SLOT_NAME_SIZE];
	uint64_t can;

	slot_name(g->slot, slot);
	w->d->memory.notes[g->slot].pid = g->pid;
	if (cg_memory(&w->d->host.topo, slot, m) < 0)
		return; /* it ends: it holds nothing, and gives nothing */
	can = m->idle_file + m->active_file;
	p->held = m->held;
	p->share = g->spec.limits.v[LIMIT_MEMORY_SHARE];
	p->idle = m->idle_file;
	if (g->spec.type == GUEST_VM) {
		p->idle = can = idle_of_machine(g, m->held);
	} else if (w->h->swap) {
		ask_idle(w, i, slot);
		p->idle += w->d->memory.notes[g->slot].idle;
		can += m->anon < w->h->swap ? m->anon : w->h->swap;
	}
	p->floor = m->held > can ? m->held - can : 0;
	if (p->floor < g->spec.limits.v[LIMIT_MEMORY_RESERVE])
		p->floor = g->spec.limits.v[LIMIT_MEMORY_RESERVE];
	w->sum += m->held;
}

/* All that no guest holds. What it is to give is left to the kernel. */
static void look_at_rest(struct round *w)
{
	struct tax_party *p = &w->party[w->n];
	uint64_t idle = w->h->idle_file, active = w->h->active_file;

	for (size_t i = 0; i < w->n; i++) {
		idle = less(idle, w->of[i].m.idle_file);
		active = less(active, w->of[i].m.active_file);
	}
	p->held = less(w->h->total - w->h->free, w->sum);
	p->share = w->d->conf.memory_host_share;
	p->idle = idle;
	p->floor = less(p->held, idle + active);
}

/* Page cache is taken to be equally quick to go; each chunk is little enough for a change of the
 * guest's limits not to wait long. */
static void take(const struct round *w, size_t i, uint64_t deadline)
{
	const struct guest *g = w->of[i].g;
	struct memory_note *note = &w->d->memory.notes[g->slot];
	uint64_t want = w->party[i].take;
	char slot[SLOT_NAME_SIZE];
	struct cg_memory m;

	if (g->spec.type == GUEST_VM) {
		if (want)
			note->lend = less(g->spec.vm.memory, w->of[i].m.held - want);
		return;
	}
	slot_name(g->slot, slot);
	while (note->taken < want && clock_usec() < deadline) {
		uint64_t left = want - note->taken, before = w->of[i].m.held - note->taken;

		if (cg_reclaim(&w->d->host.topo, slot, left < CHUNK ? left : CHUNK) < 0 ||
		    cg_memory(&w->d->host.topo, slot, &m) < 0 || m.held >= before)
			return; /* there is no more to be had */
		note->taken = w->of[i].m.held - m.held;
	}
}

/* Nothing can be taken any more: who holds more than is due may not grow. */
static void bind_all(struct round *w, uint64_t need)
{
	for (size_t i = 0; i < w->n; i++)
		w->party[i].floor = w->of[i].g->spec.type == GUEST_VM
					    ? w->party[i].held
					    : w->of[i].g->spec.limits.v[LIMIT_MEMORY_RESERVE];
	tax_split(w->party, w->n, need, (unsigned)w->d->conf.memory_idle_tax);
	for (size_t i = 0; i < w->n; i++) {
		if (w->party[i].take && w->of[i].g->memory.bound == 0)
			w->d->memory.notes[w->of[i].g->slot].bound = w->of[i].m.held;
	}
}

static void run_round(struct round *w)
{
	const struct daemon *d = w->d;
	uint64_t spare = spare_of(d, w->h), deadline = clock_usec() + ROUND_USEC, firm = 0, need,
		 capped, given;
	bool rest; /* the rest of the host gives, too */

	for (size_t i = 0; i < w->n; i++) {
		look_at(w, i);
		firm += w->party[i].floor < w->of[i].m.held ? w->party[i].floor : w->of[i].m.held;
	}
	look_at_rest(w);
	need = lacks(spare, w->h->free);
	capped = less(w->sum, cap_of(d));
	rest = need > capped;
	need = rest ? need : capped;
	given = tax_split(w->party, w->n + rest, need, (unsigned)d->conf.memory_idle_tax);
	for (size_t i = 0; given && i < w->n; i++)
		take(w, i, deadline);
	need = lacks(spare, w->h->available);
	capped = less(firm, cap_of(d));
	if (need || capped)
		bind_all(w, need > capped ? need : capped);
}

static int begin(struct round *w)
{
	struct list *p;

	w->of = calloc(w->d->n_guests + 1, sizeof(*w->of));
	w->party = calloc(w->d->n_guests + 1, sizeof(*w->party));
	if (!w->of || !w->party)
		return -ENOMEM;
	list_for_each(p, &w->d->guests) {
		struct guest *g = list_entry(p, struct guest, link);

		if (g->pid > 0 && g->slot >= 0)
			w->of[w->n++].g = g;
	}
	return 0;
}

__attribute__((noreturn)) static void be_round(struct daemon *d, const struct host *h)
{
	const struct cg_topo *t = &d->host.topo;
	struct round w = { .d = d, .h = h };

	/* no connection is to stay open for its sake */
	proc_close_but((int[]){ t->h[t->where[CTL_MEMORY]].root }, 1);
	proc_reset_signals();
	alarm(ROUND_SEC);
	setpriority(PRIO_PROCESS, 0, NICE);
	if (begin(&w) < 0)
		_exit(1);
	run_round(&w);
	_exit(0);
}

/* --- its end --- */

/* What stands in its way is told once a minute. */
static void tell(struct guest *g)
{
	struct memory_given *m = &g->memory;
	uint64_t now = clock_usec();

	if (m->bytes == m->told_bytes || (m->told_usec && now - m->told_usec < PAUSE_USEC))
		return;
	event_say(g->d, g->name, "memory-taken",
		  json_pack("{s:I}", "bytes", (json_int_t)(m->bytes - m->told_bytes)));
	m->told_bytes = m->bytes;
	m->told_usec = now;
}

/* BYTES 0: it is not bound any more. */
static void bound(struct guest *g, uint64_t bytes)
{
	uint64_t max = g->spec.limits.v[LIMIT_MEMORY_MAX];
	char slot[SLOT_NAME_SIZE];
	struct cg_memory m;
	int r;

	slot_name(g->slot, slot);
	if (bytes && cg_memory(&g->d->host.topo, slot, &m) == 0 && m.held > bytes)
		bytes = m.held; /* it has grown meanwhile */
	bytes += bytes ? BOUND_ROOM : 0;
	r = cg_memory_bound(&g->d->host.topo, slot, bytes && bytes < max ? bytes : max);
	if (r < 0 && r != -EBUSY && r != -ENODEV && r != -ENOENT)
		log_say(LOG_ERROR, "%s: memory.max: %s", g->name, strerrorname_np(-r));
	if (r < 0 || !bytes == !g->memory.bound)
		return;
	g->memory.bound = bytes;
	event_say(g->d, g->name, bytes ? "memory-bound" : "memory-free",
		  json_pack("{s:I}", "bytes", (json_int_t)(bytes ?: max)));
}

/* The answer is left to who asks for the machine's counters next. */
static void lend(struct guest *g, uint64_t bytes)
{
	auto_close int fd = launch_vm_control(g->pidfd);
	char text[80];

	str_fmt(text, sizeof(text), "{\"cmd\":\"balloon\",\"target_bytes\":%" PRIu64 "}\n",
		bytes / PAGE * PAGE);
	if (fd < 0 || send(fd, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return; /* it ends, or has not read for long */
	if (!bytes != !g->memory.lent)
		event_say(g->d, g->name, bytes ? "memory-lent" : "memory-returned",
			  json_pack("{s:I}", "bytes", (json_int_t)(bytes ?: g->memory.lent)));
	g->memory.lent = bytes;
}

static void take_note(struct guest *g, bool whole)
{
	struct memory_note *note = &g->d->memory.notes[g->slot];

	if (note->pid != g->pid)
		return; /* another run, which has begun meanwhile */
	if (note->taken) {
		g->memory.bytes += note->taken;
		g->memory.last_usec = clock_wall_usec();
		tell(g);
	}
	if (note->asked) {
		g->memory.idle_bytes = note->idle;
		g->memory.asked_usec = clock_usec();
	}
	if (note->lend > g->memory.lent)
		lend(g, note->lend);
	if (note->bound)
		bound(g, note->bound);
	else if (!whole)
		memory_adopted(g);
}

static void round_ended(struct loop_source *s, uint32_t events)
{
	struct daemon *d = container_of(s, struct daemon, memory.round);
	bool vain = true;
	struct list *p;
	int status;

	(void)events;
	if (proc_exit_status(s->fd, &status) < 0)
		return;
	for (unsigned i = 0; i < d->memory.n_notes; i++)
		vain = vain && !d->memory.notes[i].taken && !d->memory.notes[i].lend;
	d->memory.rest_until = vain ? clock_usec() + REST_USEC : 0;
	proc_reap(s->fd);
	loop_del(s);
	close_p(&s->fd);
	if (status != 0)
		log_say(LOG_ERROR, "memory: a round ended with wait status %#x", (unsigned)status);
	list_for_each(p, &d->guests) {
		struct guest *g = list_entry(p, struct guest, link);

		if (g->pid > 0 && g->slot >= 0)
			take_note(g, status == 0);
	}
	memset(d->memory.notes, 0, d->memory.n_notes * sizeof(*d->memory.notes));
}

/* --- looks --- */

static void start_round(struct daemon *d, const struct host *h)
{
	struct clone_args ca = { .flags = CLONE_PIDFD, .exit_signal = SIGCHLD };
	int pidfd = -1, r;
	pid_t pid;

	ca.pidfd = (uint64_t)(uintptr_t)&pidfd;
	pid = (pid_t)syscall(SYS_clone3, &ca, sizeof(ca));
	if (pid == 0)
		be_round(d, h);
	if (pid < 0) {
		log_say(LOG_ERROR, "memory: clone3: %s", strerrorname_np(errno));
		return;
	}
	d->memory.round = (struct loop_source){ .fd = pidfd, .ready = round_ended };
	r = loop_add(&d->loop, &d->memory.round, EPOLLIN);
	if (r == 0)
		return;
	log_say(LOG_ERROR, "memory: epoll: %s", strerrorname_np(-r));
	proc_kill_wait(pidfd);
	close_p(&d->memory.round.fd);
}

static uint64_t held_by_guests(struct daemon *d)
{
	uint64_t sum = 0;
	struct list *p;

	list_for_each(p, &d->guests) {
		struct guest *g = list_entry(p, struct guest, link);
		char path[SLOT_NAME_SIZE];
		struct cg_memory m;

		slot_name(g->slot, path);
		if (g->pid > 0 && g->slot >= 0 && cg_memory(&d->host.topo, path, &m) == 0)
			sum += m.held;
	}
	return sum;
}

static void release_all(struct daemon *d)
{
	struct list *p;

	list_for_each(p, &d->guests) {
		struct guest *g = list_entry(p, struct guest, link);

		if (g->memory.bound)
			bound(g, 0);
		if (g->memory.lent)
			lend(g, less(g->memory.lent, g->spec.vm.memory / RETURNS));
	}
}

/* What was bound is let go when there is twice as much as has to be. */
static bool is_ample(const struct daemon *d, const struct host *h, uint64_t held)
{
	uint64_t spare = spare_of(d, h), cap = cap_of(d);

	return h->available >= 2 * spare && held <= cap - cap / 10;
}

static void look(struct loop_timer *t)
{
	struct daemon *d = container_of(t, struct daemon, memory.look);
	uint64_t held = 0, cap = cap_of(d);
	struct host h = { 0 };
	bool is_short;
	int r = read_host(d, &h);

	loop_timer_set(&d->loop, t, LOOK_USEC);
	if (r < 0) {
		if (!d->memory.failed)
			log_say(LOG_ERROR, "/proc/meminfo: %s: guests' memory is not balanced",
				strerrorname_np(-r));
		d->memory.failed = true;
		return;
	}
	if (cap != LIMIT_MAX)
		held = held_by_guests(d);
	is_short = h.free < spare_of(d, &h) || held > cap;
	if (is_short)
		vmstat_refresh(d);
	if (h.available < spare_of(d, &h) || held > cap)
		d->memory.rest_until = 0; /* what has grown is to be bound */
	if (is_short && d->memory.round.fd < 0 && clock_usec() >= d->memory.rest_until)
		start_round(d, &h);
	else if (is_ample(d, &h, held))
		release_all(d);
}

void memory_init(struct daemon *d)
{
	unsigned n = slots_end(d); /* guests that begin later have slots below id.count */
	void *at = mmap(NULL, n * sizeof(struct memory_note), PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	d->memory.round.fd = -1;
	d->memory.look.fire = look;
	d->memory.meminfo = open("/proc/meminfo", O_RDONLY | O_CLOEXEC);
	if (at == MAP_FAILED || d->memory.meminfo < 0) {
		log_say(LOG_ERROR, "memory: %s: guests' memory is not balanced",
			strerrorname_np(errno));
		return;
	}
	d->memory.notes = at;
	d->memory.n_notes = n;
	loop_timer_set(&d->loop, &d->memory.look, LOOK_USEC);
}

void memory_begin(struct guest *g)
{
	g->memory = (struct memory_given){ 0 };
}

void memory_changed(struct guest *g, const struct limits *before)
{
	if (before->v[LIMIT_MEMORY_MAX] != g->spec.limits.v[LIMIT_MEMORY_MAX])
		g->memory.bound = 0;
}

void memory_adopted(struct guest *g)
{
	char slot[SLOT_NAME_SIZE];

	slot_name(g->slot, slot);
	if (g->spec.type == GUEST_VM)
		lend(g, 0);
	if (g->memory.bound)
		bound(g, 0);
	else if (!guest_is_refused(g))
		cg_memory_bound(&g->d->host.topo, slot, g->spec.limits.v[LIMIT_MEMORY_MAX]);
}
