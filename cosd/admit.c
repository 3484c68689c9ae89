/* cosd/admit.c - what the host has to give, what guests that run were promised, and whether one
 * more fits; and the weights that keep cpu.reserve */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "cosd/admit.h"
#include "cosd/cpus.h"
#include "lib/base/io.h"
#include "lib/base/log.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "lib/kern/cg.h"

/* --- what there is --- */

uint64_t admit_meminfo(const char *key)
{
	char text[8192];
	const char *p;

	if (io_read_at(AT_FDCWD, "/proc/meminfo", text, sizeof(text)) <= 0)
		return 0;
	p = strstr(text, key);
	return p ? strtoull(p + strlen(key), NULL, 10) * 1024 : 0;
}

static uint64_t all_cpus(const struct daemon *d)
{
	struct cpus all, owned;

	cpus_survey(d, &all, &owned);
	return cpus_count(&all) * 1000ULL;
}

static uint64_t all_memory(const struct daemon *d)
{
	(void)d;
	return admit_meminfo("MemTotal:");
}

static uint64_t all_network(const struct daemon *d)
{
	return d->net.cap;
}

static uint64_t all_disk(const struct daemon *d)
{
	struct statvfs fs;

	return fstatvfs(d->state, &fs) == 0 ? fs.f_blocks * fs.f_frsize : 0;
}

static uint64_t used_disk(const struct daemon *d)
{
	struct statvfs fs;

	return fstatvfs(d->state, &fs) == 0 ? (fs.f_blocks - fs.f_bavail) * fs.f_frsize : 0;
}

static uint64_t used_memory(const struct daemon *d)
{
	(void)d;
	return admit_meminfo("MemTotal:") - admit_meminfo("MemAvailable:");
}

static bool always(const struct guest *g)
{
	(void)g;
	return true;
}

static bool runs(const struct guest *g)
{
	return g->slot >= 0;
}

static bool has_classes(const struct guest *g)
{
	return runs(g) && g->net && !g->net->lower;
}

static uint64_t cpu_reserve(const struct limits *l)
{
	return l->v[LIMIT_CPU_DEDICATED] ? cpus_count(&l->cpus) * 1000ULL : l->v[LIMIT_CPU_RESERVE];
}

static uint64_t cpu_promise(const struct limits *l)
{
	return l->v[LIMIT_CPU_DEDICATED] ? cpus_count(&l->cpus) * 1000ULL : l->v[LIMIT_CPU_RATE];
}

static uint64_t memory_reserve(const struct limits *l)
{
	return l->v[LIMIT_MEMORY_RESERVE];
}

static uint64_t memory_promise(const struct limits *l)
{
	return l->v[LIMIT_MEMORY_MAX];
}

static uint64_t network_reserve(const struct limits *l)
{
	return l->v[LIMIT_NET_RATE];
}

static uint64_t network_promise(const struct limits *l)
{
	return l->v[LIMIT_NET_CEIL];
}

/* A guest has what it may write: nobody else does, and it is not taken back. */
static uint64_t disk_reserve(const struct limits *l)
{
	return l->v[LIMIT_DISK_MAX] == LIMIT_MAX ? 0 : l->v[LIMIT_DISK_MAX];
}

static uint64_t disk_promise(const struct limits *l)
{
	return l->v[LIMIT_DISK_MAX];
}

static const struct {
	enum limit_id limit; /* that reserves */
	uint64_t (*total)(const struct daemon *d);
	uint64_t (*used)(const struct daemon *d); /* NULL: not known */
	bool (*counts)(const struct guest *g);
	uint64_t (*reserve)(const struct limits *l);
	uint64_t (*promise)(const struct limits *l);
	const char *key; /* percent of the total that may be reserved */
} rows[ADMIT__N] = {
	[ADMIT_CPU] = { LIMIT_CPU_RESERVE, all_cpus, NULL, runs, cpu_reserve, cpu_promise,
			"overcommit.cpu" },
	[ADMIT_MEMORY] = { LIMIT_MEMORY_RESERVE, all_memory, used_memory, runs, memory_reserve,
			   memory_promise, "overcommit.memory" },
	[ADMIT_NETWORK] = { LIMIT_NET_RATE, all_network, NULL, has_classes, network_reserve,
			    network_promise, "overcommit.network" },
	[ADMIT_DISK] = { LIMIT_DISK_MAX, all_disk, used_disk, always, disk_reserve, disk_promise,
			 "overcommit.disk" },
};

const char *const admit_name[ADMIT__N] = {
	[ADMIT_CPU] = "cpu",
	[ADMIT_MEMORY] = "memory",
	[ADMIT_NETWORK] = "network",
	[ADMIT_DISK] = "disk",
};

/* --- sums --- */

static void add(uint64_t *sum, uint64_t v)
{
	*sum = *sum == LIMIT_MAX || v == LIMIT_MAX ? LIMIT_MAX : *sum + v;
}

/* Without BUT, if that is a guest. */
static void sum(const struct daemon *d, enum admit_id id, const struct guest *but,
		struct amount *ret)
{
	const uint64_t percents[ADMIT__N] = { d->conf.overcommit_cpu, d->conf.overcommit_memory,
					      d->conf.overcommit_network, d->conf.overcommit_disk };
	struct list *p;

	*ret = (struct amount){ .total = rows[id].total(d), .used = LIMIT_MAX };
	ret->limit = (uint64_t)((unsigned __int128)ret->total * percents[id] / 100);
	list_for_each(p, &d->guests) {
		const struct guest *g = list_entry(p, struct guest, link);

		if ((but && g == but) || !rows[id].counts(g))
			continue;
		ret->reserved += rows[id].reserve(&g->spec.limits);
		add(&ret->promised, rows[id].promise(&g->spec.limits));
	}
}

void admit_sum(const struct daemon *d, enum admit_id id, struct amount *ret)
{
	sum(d, id, NULL, ret);
	if (rows[id].used)
		ret->used = rows[id].used(d);
}

static int check(const struct daemon *d, const struct guest *but, const struct limits *want,
		 enum admit_id id, struct cos_err *err)
{
	enum limit_id limit = rows[id].limit;
	uint64_t more = rows[id].reserve(want), left;
	char texts[4][LIMIT_TEXT_SIZE];
	struct amount a;

	if (!more)
		return 0;
	sum(d, id, but, &a);
	left = a.reserved < a.limit ? a.limit - a.reserved : 0;
	if (more <= left)
		return 0;
	return cos_advise(err,
			  cos_fail(err, COS_E_ADMISSION, 0,
				   "%s=%s: guests%s have %s of the %s that may be reserved: "
				   "%s is left",
				   limit_defs[limit].name, limit_print(limit, more, texts[0]),
				   rows[id].counts == always ? "" : " that run",
				   limit_print(limit, a.reserved, texts[1]),
				   limit_print(limit, a.limit, texts[2]),
				   limit_print(limit, left, texts[3])),
			  "ask for what is left, or raise %s in cosd.json", rows[id].key);
}

int admit_check(const struct guest *g, const struct limits *want, struct cos_err *err)
{
	int r = check(g->d, g, want, ADMIT_CPU, err);

	return r < 0 ? r : check(g->d, g, want, ADMIT_MEMORY, err);
}

int admit_check_network(const struct guest *g, const struct limits *want, struct cos_err *err)
{
	return check(g->d, g, want, ADMIT_NETWORK, err);
}

int admit_check_disk(const struct daemon *d, const struct guest *but, const struct limits *want,
		     struct cos_err *err)
{
	return check(d, but, want, ADMIT_DISK, err);
}

/* --- weights --- */

/* With W the weights of all guests that compete and R of N CPUs reserved, a guest that reserves r
 * has at least r/N of all weights if r * W / (N - R) is added to its own. */
static uint64_t weight_of(const struct guest *g, uint64_t weights, const struct amount *cpu)
{
	uint64_t own = g->spec.limits.v[LIMIT_CPU_SHARE], r = g->spec.limits.v[LIMIT_CPU_RESERVE],
		 rest = cpu->total > cpu->reserved ? cpu->total - cpu->reserved : 0,
		 least = cpu->total / 20 ?: 1; /* a twentieth is always everybody's */

	return own + (r ? r * weights / (rest > least ? rest : least) : 0);
}

static bool competes(const struct guest *g)
{
	return g->slot >= 0 && !g->spec.limits.v[LIMIT_CPU_DEDICATED] &&
	       !(g->spec.limits.v[LIMIT_CPU_IDLE] && g->spec.limits.v[LIMIT_CPU_RATE] == LIMIT_MAX);
}

static void weigh(struct guest *g, uint64_t weights, const struct amount *cpu)
{
	uint64_t weight = weight_of(g, weights, cpu);
	char slot[SLOT_NAME_SIZE];
	int r;

	if (weight == (g->cpu_weight ?: g->spec.limits.v[LIMIT_CPU_SHARE]))
		return;
	slot_name(g->slot, slot);
	r = cg_weight(&g->d->host.topo, slot, weight);
	if (r < 0)
		log_say(LOG_ERROR, "%s: cpu.reserve: weight %llu: %s", g->name,
			(unsigned long long)weight, strerrorname_np(-r));
	else
		g->cpu_weight = weight == g->spec.limits.v[LIMIT_CPU_SHARE] ? 0 : weight;
}

void admit_weigh(struct daemon *d)
{
	bool reserved = false;
	uint64_t weights = 0;
	struct amount cpu;
	struct list *p;

	list_for_each(p, &d->guests) {
		const struct guest *g = list_entry(p, struct guest, link);

		if (!competes(g))
			continue;
		weights += g->spec.limits.v[LIMIT_CPU_SHARE];
		reserved = reserved || g->spec.limits.v[LIMIT_CPU_RESERVE] || g->cpu_weight;
	}
	if (!reserved)
		return;
	admit_sum(d, ADMIT_CPU, &cpu);
	list_for_each(p, &d->guests) {
		struct guest *g = list_entry(p, struct guest, link);

		if (competes(g) && g->pid > 0)
			weigh(g, weights, &cpu);
	}
}
