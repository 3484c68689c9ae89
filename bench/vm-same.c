/* bench/vm-same.c - the same work by a process, in a container, and in a machine
 *
 * All three count cycles of the same time stamp counter. */
#include <errno.h>
#include <stdio.h>

#include "bench/subject.h"
#include "bench/vm.h"
#include "lib/base/own.h"

#define PER_RUN "5" /* samples */

enum where { NATIVE, CONTAINER, MACHINE, WHERE__N };

static const char *const where_name[WHERE__N] = { "process", "container", "machine" };

static const struct work {
	const char *what, *kind, *n, *cmdline;
	double scale;
} works[] = {
	{ "user_steps_cycles", "steps", "2000000", "test=steps n=2000000 rounds=" PER_RUN, 2e6 },
	{ "user_copies_mcycles", "copies", "4", "test=copies n=4 rounds=" PER_RUN, 1e6 },
};

static int once(const struct bench *b, const struct vm_place *p, const struct daemon *d,
		enum where where, const struct work *w, char text[static VM_TEXT])
{
	char program[PATH_MAX];
	const char *argv[] = { program, "same", w->kind, w->n, PER_RUN, NULL };
	const char *run[] = { "run",       "--rm", "--template", "bench", "same",  "--",
			      "/bin/work", "same", w->kind,      w->n,    PER_RUN, NULL };

	switch (where) {
	case NATIVE:
		snprintf(program, sizeof(program), "%s/" SUBJECT_ROOT "/bin/work", b->dir);
		return bench_capture(b, argv, text, VM_TEXT);
	case CONTAINER:
		return daemon_ask(d, run, text, VM_TEXT);
	case MACHINE:
	case WHERE__N:
		break;
	}
	return vm_ours(p, w->cmdline, text);
}

static int measure(const struct bench *b, const struct vm_place *p, const struct daemon *d,
		   unsigned rounds, const struct work *w)
{
	struct samples s[WHERE__N] = { 0 };
	static char text[VM_TEXT];
	int r = 0;

	for (unsigned i = 0; i < rounds * WHERE__N && r == 0 && !bench_stopped(); i++) {
		enum where where = i % WHERE__N;

		r = once(b, p, d, where, w, text);
		vm_take_cycles(text, &s[where]);
		if (r == 0 && s[where].n == 0)
			r = -EPROTO;
	}
	for (enum where i = 0; i < WHERE__N; i++)
		vm_row(w->what, where_name[i], &s[i], &s[NATIVE], w->scale);
	for (enum where i = 0; i < WHERE__N; i++)
		samples_free(&s[i]);
	return r > 0 ? -EIO : r;
}

int vm_same(const struct bench *b, const struct vm_place *p, const struct daemon *d,
	    unsigned rounds)
{
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(works) && r == 0; i++)
		r = measure(b, p, d, rounds, &works[i]);
	return r;
}
