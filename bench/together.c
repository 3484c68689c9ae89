/* bench/together.c - containers and machines of one daemon on one host
 *
 *	bench/together [--containers N] [--machines N]
 *
 * Starts the containers, then the machines beside them, which run the mini guest of tests/vmm and
 * wait; asks for all of them at once, as `cosctl top` does; and ends them. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/bench.h"
#include "bench/daemon.h"
#include "lib/base/io.h"
#include "lib/base/own.h"
#include "lib/base/str.h"

#define GUESTS_MAX  2000U
#define TEXT_MAX    (4U << 20)
#define SETTLE_MSEC 1500U /* what RCU and the kernel's workers still hold is given back */
#define WAIT_TRIES  600U  /* of 50 ms, for all machines */
#define LISTS       11U

enum kind { CONTAINER, MACHINE, KIND__N };

static const struct {
	const char *name, *prefix;
} kinds[KIND__N] = { { "container", "c" }, { "machine", "m" } };

struct fleet {
	enum kind kind;
	unsigned n;
	char names[40];
	struct samples start;
};

static void row(const char *what, const char *by, unsigned n, double value)
{
	printf("%s\t%s\t%u\t%.1f\n", what, by, n, value);
	fflush(stdout);
}

static uint64_t available_kb(void)
{
	char buf[8192];
	const char *at;

	bench_idle(SETTLE_MSEC);
	if (io_read_at(AT_FDCWD, "/proc/meminfo", buf, sizeof(buf)) < 0)
		return 0;
	at = strstr(buf, "MemAvailable:");
	return at ? strtoull(strchr(at, ':') + 1, NULL, 10) : 0;
}

static void take_reply(void *arg, uint64_t start_usec, json_t *steps)
{
	(void)steps;
	samples_add(arg, start_usec);
}

/* ---- a kind of guests ---- */

static int create(const struct daemon *d, const struct fleet *f)
{
	char kernel[PATH_MAX];
	const char *container[] = { "create", "--template", "bench", f->names,
				    "--",     "/bin/first", "stay",  NULL };
	const char *machine[] = { "create",        "--type",        "vm",          "--kernel",
				  kernel,          "--cmdline",     "test=button", f->names,
				  "vm.memory=64M", "vm.acpi=false", NULL };

	if (!str_fmt(kernel, sizeof(kernel), "%s/../tests/vmm/guest", d->b->home))
		return -ENAMETOOLONG;
	return daemon_call(d, f->kind == MACHINE ? machine : container, -1);
}

/* Until the last words of all machines are that they wait; else they would still be booting. */
static int await_machines(const struct daemon *d, const struct fleet *f)
{
	unsigned tries = WAIT_TRIES;

	for (unsigned i = 1; i <= f->n; i++) {
		char name[24], text[4096];
		const char *logs[] = { "logs", name, NULL };

		str_fmt(name, sizeof(name), "%s%05u", kinds[f->kind].prefix, i);
		while (daemon_ask(d, logs, text, sizeof(text)) != 0 || !strstr(text, "waiting")) {
			if (tries-- == 0 || bench_stopped())
				return -ETIMEDOUT;
			bench_idle(50);
		}
	}
	return 0;
}

static int begin(const struct daemon *d, struct fleet *f)
{
	const char *by = kinds[f->kind].name;
	uint64_t before = available_kb(), after, t = bench_nsec();
	int r = create(d, f);

	if (r != 0)
		return r < 0 ? r : -EIO;
	row("create_all_ms", by, f->n, (double)(bench_nsec() - t) / 1e6);
	t = bench_nsec();
	r = daemon_start(d, f->names, take_reply, &f->start);
	if (r == 0 && f->start.n != f->n)
		r = -EBADMSG;
	if (r < 0)
		return r;
	row("start_all_ms", by, f->n, (double)(bench_nsec() - t) / 1e6);
	if (f->kind == MACHINE) {
		r = await_machines(d, f);
		row("booted_all_ms", by, f->n, (double)(bench_nsec() - t) / 1e6);
	}
	row("start_p50_us", by, f->n, (double)samples_at(&f->start, 50));
	after = available_kb();
	row("MemAvailable_kb_per_guest", by, f->n, ((double)before - (double)after) / f->n);
	return r;
}

static int end(const struct daemon *d, const struct fleet *f)
{
	const char *stop[] = { "stop", "--timeout", "0", f->names, NULL };
	const char *delete[] = { "delete", f->names, NULL };
	uint64_t t = bench_nsec();
	int r = daemon_call(d, stop, -1);

	row("end_all_ms", kinds[f->kind].name, f->n, (double)(bench_nsec() - t) / 1e6);
	if (r == 0)
		r = daemon_call(d, delete, -1);
	return r == 0 ? 0 : -EIO;
}

/* ---- all of them ---- */

/* Lines of TEXT that begin with PREFIX and a number. */
static unsigned lines_of(const char *text, const char *prefix)
{
	size_t len = strlen(prefix);
	unsigned n = 0;

	for (const char *at = text; at; at = strchr(at, '\n')) {
		at += *at == '\n';
		n += strncmp(at, prefix, len) == 0 && at[len] >= '0' && at[len] <= '9';
	}
	return n;
}

static int ask(const struct daemon *d, const char *what, const char *const *args,
	       const struct fleet *fleets)
{
	auto_free char *text = calloc(1, TEXT_MAX);
	struct samples s = { 0 };
	unsigned all = 0;
	int r = text ? 0 : -ENOMEM;

	for (unsigned i = 0; i < LISTS && r == 0 && !bench_stopped(); i++) {
		uint64_t t = bench_nsec();

		r = daemon_ask(d, args, text, TEXT_MAX);
		samples_add(&s, bench_nsec() - t);
	}
	for (enum kind k = 0; k < KIND__N && r == 0; k++) {
		unsigned n = lines_of(text, kinds[k].prefix);

		if (n != fleets[k].n) {
			fprintf(stderr, "bench: %s: %u of %u %ss\n", what, n, fleets[k].n,
				kinds[k].name);
			r = -EBADMSG;
		}
		all += n;
	}
	if (r == 0) {
		char name[40];

		str_fmt(name, sizeof(name), "%s_p50_ms", what);
		row(name, "both", all, (double)samples_at(&s, 50) / 1e6);
	}
	samples_free(&s);
	return r > 0 ? -EIO : r;
}

static int measure(const struct daemon *d, struct fleet *fleets)
{
	static const char *const list[] = { "list", NULL }, *const stats[] = { "stats", NULL },
				 *const top[] = { "top", "-n", "1", NULL };
	int r = 0;

	for (enum kind k = 0; k < KIND__N && r == 0; k++)
		r = fleets[k].n ? begin(d, &fleets[k]) : 0;
	if (r == 0)
		r = ask(d, "list", list, fleets);
	if (r == 0)
		r = ask(d, "stats", stats, fleets);
	if (r == 0)
		r = ask(d, "top", top, fleets);
	for (enum kind k = 0; k < KIND__N && r == 0; k++)
		r = fleets[k].n ? end(d, &fleets[k]) : 0;
	if (r < 0)
		bench_show_log(d->b);
	return r;
}

static int run(const struct bench *b, struct fleet *fleets)
{
	struct daemon d;
	int r = daemon_open(&d, b, "root");

	if (r < 0)
		return r;
	for (enum kind k = 0; k < KIND__N; k++) {
		fleets[k].kind = k;
		str_fmt(fleets[k].names, sizeof(fleets[k].names), "%s{00001..%05u}",
			kinds[k].prefix, fleets[k].n);
	}
	printf("what\tby\tguests\tvalue\n");
	r = measure(&d, fleets);
	for (enum kind k = 0; k < KIND__N; k++)
		samples_free(&fleets[k].start);
	daemon_close(&d);
	return r;
}

int main(int argc, char **argv)
{
	struct fleet fleets[KIND__N] = { [CONTAINER] = { .n = 200 }, [MACHINE] = { .n = 100 } };
	const struct bench_option options[] = {
		{ .name = "containers", .max = GUESTS_MAX, .number = &fleets[CONTAINER].n },
		{ .name = "machines", .max = GUESTS_MAX, .number = &fleets[MACHINE].n },
	};
	struct bench b;
	int r = bench_parse(argc, argv, options, ARRAY_SIZE(options),
			    "usage: together [--containers N] [--machines N]\n");

	if (r < 0)
		return 2;
	if (access("/dev/kvm", R_OK | W_OK) < 0) {
		fprintf(stderr, "together: /dev/kvm: %s\n", strerror(errno));
		return 1;
	}
	bench_all_files();
	r = bench_open(&b);
	if (r == 0)
		r = bench_make_root(&b, "root");
	if (r == 0)
		r = bench_cg_make(&b);
	if (r == 0)
		r = run(&b, fleets);
	if (r < 0)
		fprintf(stderr, "together: %s\n", strerror(-r));
	bench_close(&b);
	return r < 0 || bench_stopped() ? 1 : 0;
}
