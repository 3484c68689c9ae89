/* vmm/stat.c - all counters of a machine as JSON */
#include <jansson.h>

#include "lib/base/clock.h"
#include "lib/base/own.h"
#include "vmm/machine.h"
#include "vmm/vcpu.h"

static json_t *number(uint64_t v)
{
	return json_integer((json_int_t)(v > INT64_MAX ? INT64_MAX : v));
}

static uint64_t thread_own_usec(void)
{
	return clock_read_usec(CLOCK_THREAD_CPUTIME_ID);
}

static json_t *exits_of(const struct machine *m)
{
	json_t *o = json_object();

	for (int e = 0; e < VCPU_EXIT__N; e++) {
		uint64_t sum = 0;

		for (unsigned i = 0; i < m->vm.n_vcpus; i++)
			sum += atomic_load(&m->vm.vcpus[i].exits[e]);
		json_object_set_new(o, vcpu_exit_names[e], number(sum));
	}
	return o;
}

/* KVM's own counters; those that this kernel has. */
static json_t *kvm_of(const struct machine *m)
{
	uint64_t sum[KVMSTAT_N] = { 0 };
	json_t *o = json_object();

	for (unsigned i = 0; i < m->vm.n_vcpus; i++)
		kvmstat_add(&m->vm.kvmstat, m->vm.vcpus[i].stats, sum);
	for (unsigned k = 0; k < KVMSTAT_N; k++) {
		if (m->vm.kvmstat.at[k])
			json_object_set_new(o, kvmstat_names[k], number(sum[k]));
	}
	return o;
}

static json_t *vcpus_of(const struct machine *m)
{
	json_t *a = json_array();

	for (unsigned i = 0; i < m->vm.n_vcpus; i++) {
		const struct thread *t = &m->vm.vcpus[i].thread;

		json_array_append_new(a, json_pack("{s:o, s:o}", "cpu_usec",
						   number(thread_cpu_usec(t)), "steal_usec",
						   number(thread_wait_usec(t))));
	}
	return a;
}

static json_t *console_of(struct machine *m)
{
	struct console *c = &m->console;
	json_t *o;

	pthread_mutex_lock(&c->lock);
	o = json_pack("{s:o, s:o, s:o}", "out_bytes", number(c->out_bytes), "in_bytes",
		      number(c->in_bytes), "dropped", number(c->dropped));
	pthread_mutex_unlock(&c->lock);
	return o;
}

static json_t *device_of(struct vdev *d)
{
	json_t *o = json_pack("{s:s, s:o, s:o, s:o, s:o}", "name", d->name, "kicks",
			      number(atomic_load(&d->kicks)), "interrupts",
			      number(atomic_load(&d->interrupts)), "requests",
			      number(atomic_load(&d->requests)), "breaks",
			      number(atomic_load(&d->breaks)));

	for (unsigned i = 0; i < VIRTIO_COUNTERS && d->kind->counters[i]; i++)
		json_object_set_new(o, d->kind->counters[i], number(atomic_load(&d->count[i])));
	return o;
}

static json_t *devices_of(struct machine *m)
{
	json_t *a = json_array();

	for (unsigned i = 0; i < m->devices.n; i++)
		json_array_append_new(a, device_of(m->devices.at[i]));
	return a;
}

/* Asks for new statistics too: the next reader gets them. */
static json_t *balloon_of(struct machine *m)
{
	struct vballoon *v = &m->devices.balloon;
	uint64_t now = clock_usec(), came = atomic_load(&v->stats_usec);
	uint64_t target = atomic_load(&v->target), actual = atomic_load(&v->actual);
	json_t *o = json_pack("{s:o, s:o}", "target_bytes", number(target * MEM_PAGE),
			      "actual_bytes", number(actual * MEM_PAGE));

	if (target != actual)
		json_object_set_new(o, "pending_usec", number(now - atomic_load(&v->target_usec)));
	if (came) {
		json_object_set_new(o, "stats_age_usec", number(now - came));
		for (unsigned i = 0; i < VBALLOON_STATS; i++)
			json_object_set_new(o, vballoon_stat_names[i],
					    number(atomic_load(&v->stat[i])));
	}
	vballoon_ask(v);
	return o;
}

json_t *machine_stats(struct machine *m)
{
	uint64_t cpu = 0, steal = 0, stray = 0, emulated = 0;
	json_t *o;

	for (unsigned i = 0; i < m->vm.n_vcpus; i++) {
		const struct vcpu *c = &m->vm.vcpus[i];

		cpu += thread_cpu_usec(&c->thread);
		steal += thread_wait_usec(&c->thread);
		stray += atomic_load(&c->stray);
		emulated += atomic_load(&c->emulated);
	}
	o = json_pack("{s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "state",
		      atomic_load(&m->vm.stopping) ? "stopping" : "running", "uptime_usec",
		      number(clock_usec() - m->started_usec), "memory_bytes",
		      number(m->vm.mem.size), "vcpu_usec", number(cpu), "vmm_usec",
		      number(thread_own_usec() + thread_cpu_usec(&m->worker.thread) +
			     devices_cpu_usec(&m->devices)),
		      "steal_usec", number(steal), "stray", number(stray), "emulated",
		      number(emulated));
	json_object_set_new(o, "exits", exits_of(m));
	json_object_set_new(o, "kvm", kvm_of(m));
	json_object_set_new(o, "vcpus", vcpus_of(m));
	json_object_set_new(o, "console", console_of(m));
	json_object_set_new(o, "devices", devices_of(m));
	if (m->devices.has_balloon)
		json_object_set_new(o, "balloon", balloon_of(m));
	return o;
}
