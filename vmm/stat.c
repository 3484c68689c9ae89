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
		      number(thread_own_usec() + thread_cpu_usec(&m->worker.thread)), "steal_usec",
		      number(steal), "stray", number(stray), "emulated", number(emulated));
	json_object_set_new(o, "exits", exits_of(m));
	json_object_set_new(o, "vcpus", vcpus_of(m));
	json_object_set_new(o, "console", console_of(m));
	return o;
}
