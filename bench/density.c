/* bench/density.c - what the n-th guest costs, and what an idle one occupies
 *
 *	bench/density [--only NAME] [--cos-arg WORD]... [GUESTS]...
 *
 * For each number (300 and 1000 if none is given) every contender starts that many guests that
 *stay, and ends them: the bare system calls (floor), and a private cosd asked by cosctl with a
 *range of names. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench/bench.h"
#include "bench/daemon.h"
#include "bench/floor.h"
#include "lib/base/io.h"
#include "lib/base/own.h"
#include "lib/base/str.h"

#define GUESTS_MAX  10000U
#define SIZES_MAX   8U
#define COS_WORDS   16U
#define LISTS       11U
#define SETTLE_MSEC 1500U /* what RCU and the kernel's workers still hold is given back */
#define PIDS_MAX    (1 << 22)

enum mem {
	MEM_AVAILABLE,
	MEM_SLAB,
	MEM_SUNRECLAIM,
	MEM_STACK,
	MEM_TABLES,
	MEM_PERCPU,
	MEM_ANON,
	MEM_SHMEM,
	MEM__N
};

static const char *const mem_key[MEM__N] = { "MemAvailable", "Slab",   "SUnreclaim", "KernelStack",
					     "PageTables",   "Percpu", "AnonPages",  "Shmem" };

struct snapshot {
	uint64_t kb[MEM__N];
	unsigned inside, outside; /* processes started by the contender, in and out of guests */
	uint64_t daemon_kb;       /* resident set of those outside */
};

struct result {
	uint64_t *start_nsec; /* in the order of starting; room for all guests */
	unsigned n;
	uint64_t create_nsec, start_all_nsec, end_all_nsec, list_nsec;
	struct snapshot before, full, after;
};

struct options {
	const char *only;
	const char *cos_arg[COS_WORDS];
	unsigned n_cos_arg;
	uint64_t size[SIZES_MAX];
	unsigned n_size;
};

static struct options opt;

/* ---- looking at the host ---- */

static void read_memory(struct snapshot *s)
{
	char buf[8192];

	if (io_read_at(AT_FDCWD, "/proc/meminfo", buf, sizeof(buf)) < 0)
		return;
	for (int i = 0; i < MEM__N; i++) {
		const char *at = strstr(buf, mem_key[i]);

		if (at)
			s->kb[i] = strtoull(strchr(at, ':') + 1, NULL, 10);
	}
}

struct process {
	pid_t pid, parent;
	bool ours;
};

static bool read_parent(const char *pid, struct process *ret)
{
	char path[64], buf[1024], *at;

	if (!str_fmt(path, sizeof(path), "/proc/%.20s/stat", pid) ||
	    io_read_at(AT_FDCWD, path, buf, sizeof(buf)) <= 0)
		return false;
	at = strrchr(buf, ')'); /* a name may hold anything */
	ret->pid = atoi(pid);
	ret->ours = false;
	return at && sscanf(at, ") %*c %d", &ret->parent) == 1;
}

static unsigned read_processes(struct process **ret)
{
	DIR *d = opendir("/proc");
	struct process *p = NULL;
	unsigned n = 0, room = 0;
	struct dirent *e;

	while (d && (e = readdir(d))) {
		if (!isdigit((unsigned char)e->d_name[0]))
			continue;
		if (n == room) {
			room = room ? room * 2 : 1024;
			p = realloc(p, room * sizeof(*p));
			if (!p)
				abort();
		}
		n += read_parent(e->d_name, &p[n]);
	}
	if (d)
		closedir(d);
	*ret = p;
	return n;
}

/* Marks all descendants of ROOT; a child may be listed before its parent. */
static void mark_descendants(struct process *p, unsigned n, pid_t root)
{
	auto_free bool *ours = calloc(PIDS_MAX, sizeof(*ours));
	bool again = true;

	if (!ours)
		abort();
	ours[root] = true;
	while (again) {
		again = false;
		for (unsigned i = 0; i < n; i++) {
			if (p[i].ours || p[i].parent >= PIDS_MAX || !ours[p[i].parent])
				continue;
			p[i].ours = ours[p[i].pid] = again = true;
		}
	}
}

static bool is_inside(pid_t pid)
{
	char path[64];
	struct stat mine, its;

	snprintf(path, sizeof(path), "/proc/%d/ns/pid", pid);
	return stat("/proc/self/ns/pid", &mine) == 0 && stat(path, &its) == 0 &&
	       mine.st_ino != its.st_ino;
}

static uint64_t resident_kb(pid_t pid)
{
	char path[64], buf[256];
	unsigned long pages = 0;

	snprintf(path, sizeof(path), "/proc/%d/statm", pid);
	if (io_read_at(AT_FDCWD, path, buf, sizeof(buf)) <= 0 ||
	    sscanf(buf, "%*u %lu", &pages) != 1)
		return 0;
	return pages * (unsigned long)sysconf(_SC_PAGESIZE) / 1024;
}

static void look(struct snapshot *s)
{
	auto_free struct process *p = NULL;
	unsigned n;

	*s = (struct snapshot){ 0 };
	bench_idle(SETTLE_MSEC);
	read_memory(s);
	n = read_processes(&p);
	mark_descendants(p, n, getpid());
	for (unsigned i = 0; i < n; i++) {
		if (!p[i].ours)
			continue;
		if (is_inside(p[i].pid)) {
			s->inside++;
		} else {
			s->outside++;
			s->daemon_kb += resident_kb(p[i].pid);
		}
	}
}

/* ---- the bare system calls ---- */

static int start_floor(struct floor *f, struct floor_guest *g, unsigned n, struct result *res)
{
	for (unsigned i = 0; i < n; i++) {
		int p[2], r = pipe2(p, O_CLOEXEC) < 0 ? -errno : 0;
		uint64_t first;

		if (r < 0 || bench_stopped())
			return r < 0 ? r : -EINTR;
		r = floor_start(f, &g[i], p[1], true);
		close(p[1]);
		first = r < 0 ? 0 : bench_read_first(p[0]);
		close(p[0]);
		close_p(&g[i].pidfd);
		if (first == 0)
			return r < 0 ? r : -EPIPE;
		res->start_nsec[res->n++] = first - g[i].start_nsec;
	}
	return 0;
}

static int run_floor(const struct bench *b, unsigned n, struct result *res)
{
	auto_free struct floor_guest *g = calloc(n, sizeof(*g));
	struct floor f;
	uint64_t t;
	int r = g ? floor_open(&f, b, "root") : -ENOMEM;

	if (r < 0)
		return r;
	look(&res->before);
	t = bench_nsec();
	r = start_floor(&f, g, n, res);
	res->start_all_nsec = bench_nsec() - t;
	if (r == 0)
		look(&res->full);
	t = bench_nsec();
	for (unsigned i = 0; i < n && g[i].pid > 0; i++)
		floor_end(&f, &g[i], true);
	res->end_all_nsec = bench_nsec() - t;
	look(&res->after);
	floor_close(&f);
	return r;
}

/* ---- cos ---- */

struct replies {
	struct result *res;
	unsigned room;
};

static void take_reply(void *arg, uint64_t start_usec, json_t *steps)
{
	struct replies *to = arg;

	(void)steps;
	if (to->res->n < to->room)
		to->res->start_nsec[to->res->n++] = start_usec * 1000;
}

static int cos_end(const struct daemon *d, const char *names, struct result *res)
{
	const char *stop[] = { "stop", "--timeout", "0", names, NULL };
	const char *delete[] = { "delete", names, NULL };
	uint64_t t = bench_nsec();
	int r = daemon_call(d, stop, -1);

	res->end_all_nsec = bench_nsec() - t;
	if (r == 0)
		r = daemon_call(d, delete, -1);
	return r == 0 ? 0 : -EIO;
}

static int cos_create(const struct daemon *d, const char *names, struct result *res)
{
	const char *args[COS_WORDS + 10] = { "create", "--template", "bench", names };
	unsigned n = 4;
	uint64_t t = bench_nsec();
	int r;

	for (unsigned i = 0; i < opt.n_cos_arg; i++)
		args[n++] = opt.cos_arg[i];
	args[n++] = "--";
	args[n++] = "/bin/first";
	args[n++] = "stay";
	args[n] = NULL;
	r = daemon_call(d, args, -1);
	res->create_nsec = bench_nsec() - t;
	return r == 0 ? 0 : -EIO;
}

static int cos_start(const struct daemon *d, const char *names, unsigned n, struct result *res)
{
	struct replies to = { res, n };
	uint64_t t = bench_nsec();
	int r = daemon_start(d, names, take_reply, &to);

	res->start_all_nsec = bench_nsec() - t;
	if (r < 0)
		return r;
	return res->n == n ? 0 : -EBADMSG;
}

static int cos_list(const struct daemon *d, uint64_t *ret_p50)
{
	const char *args[] = { "list", NULL };
	struct samples s = { 0 };
	int r = 0;

	for (unsigned i = 0; i < LISTS && r == 0; i++) {
		uint64_t t = bench_nsec();

		r = daemon_call(d, args, -1);
		samples_add(&s, bench_nsec() - t);
	}
	if (r == 0)
		*ret_p50 = samples_at(&s, 50);
	samples_free(&s);
	return r == 0 ? 0 : -EIO;
}

static int cos_measure(const struct daemon *d, unsigned n, struct result *res)
{
	char names[40];
	int r;

	snprintf(names, sizeof(names), "w{%05u..%05u}", 1U, n);
	look(&res->before);
	r = cos_create(d, names, res);
	if (r == 0)
		r = cos_start(d, names, n, res);
	if (r == 0)
		look(&res->full);
	if (r == 0)
		r = cos_list(d, &res->list_nsec);
	if (r == 0)
		r = cos_end(d, names, res);
	look(&res->after);
	return r;
}

static int run_cos(const struct bench *b, unsigned n, struct result *res)
{
	struct daemon d;
	int r = daemon_open(&d, b, "root");

	if (r < 0)
		return r;
	r = cos_measure(&d, n, res);
	if (r < 0)
		bench_show_log(b);
	daemon_close(&d);
	return r;
}

/* ---- the table ---- */

struct contender {
	const char *name;
	bool daemon;
	int (*run)(const struct bench *b, unsigned n, struct result *res);
};

static const struct contender contenders[] = { { "floor", false, run_floor },
					       { "cos", true, run_cos } };

struct line {
	const char *name;
	unsigned n;
	const char *what;
	double value, floor; /* FLOOR: the floor's value, 0 when there is none */
};

static void print_line(const struct line *l)
{
	printf("%s\t%u\t%s\t%.1f\t", l->name, l->n, l->what, l->value);
	if (l->floor > 0 && l->value > 0)
		printf("%.2f\n", l->value / l->floor);
	else
		printf("-\n");
}

static double slice_p50(const struct result *r, unsigned from, unsigned to)
{
	struct samples s = { 0 };
	double v;

	for (unsigned i = from; i < to; i++)
		samples_add(&s, r->start_nsec[i]);
	v = (double)samples_at(&s, 50) / 1e3;
	samples_free(&s);
	return v;
}

static double tenths(const struct result *r)
{
	unsigned tenth = r->n / 10 ? r->n / 10 : 1;
	double first = slice_p50(r, 0, tenth);

	return first > 0 ? slice_p50(r, r->n - tenth, r->n) / first : 0;
}

/* What each guest added to (or, for the memory available, took from) a line of /proc/meminfo. */
static double each_kb(const struct result *r, int m)
{
	double d = (double)r->full.kb[m] - (double)r->before.kb[m];

	return (m == MEM_AVAILABLE ? -d : d) / r->n;
}

static double start_p50(const struct result *r)
{
	return slice_p50(r, 0, r->n);
}

static double start_all(const struct result *r)
{
	return (double)r->start_all_nsec / 1e6;
}

static double end_all(const struct result *r)
{
	return (double)r->end_all_nsec / 1e6;
}

static double create_all(const struct result *r)
{
	return (double)r->create_nsec / 1e6;
}

static double list_p50(const struct result *r)
{
	return (double)r->list_nsec / 1e6;
}

static double daemon_rss(const struct result *r)
{
	return (double)r->full.daemon_kb;
}

static double daemon_rss_each(const struct result *r)
{
	return ((double)r->full.daemon_kb - (double)r->before.daemon_kb) / r->n;
}

static double inside_each(const struct result *r)
{
	return ((double)r->full.inside - r->before.inside) / r->n;
}

static double outside_each(const struct result *r)
{
	return ((double)r->full.outside - r->before.outside) / r->n;
}

static double left(const struct result *r)
{
	return (double)r->after.inside;
}

static const struct row {
	const char *what;
	double (*value)(const struct result *r);
	bool against_floor;
	bool daemon; /* the floor has none */
} rows[] = {
	{ "start_p50_us", start_p50, true, false },
	{ "start_last_tenth_vs_first", tenths, false, false },
	{ "start_all_ms", start_all, true, false },
	{ "end_all_ms", end_all, true, false },
	{ "create_all_ms", create_all, false, true },
	{ "list_p50_ms", list_p50, false, true },
	{ "daemon_rss_kb", daemon_rss, false, true },
	{ "daemon_rss_kb_per_guest", daemon_rss_each, false, true },
	{ "processes_inside_per_guest", inside_each, true, false },
	{ "processes_outside_per_guest", outside_each, false, false },
	{ "processes_left", left, false, false },
};

/* FL: the floor's result for as many guests, or NULL. */
static void report(const struct contender *c, unsigned n, const struct result *r,
		   const struct result *fl)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct row *w = &rows[i];

		if (w->daemon && !c->daemon)
			continue;
		print_line(&(struct line){ c->name, n, w->what, w->value(r),
					   w->against_floor && fl ? w->value(fl) : 0 });
	}
	for (int m = 0; m < MEM__N; m++) {
		char what[48];

		snprintf(what, sizeof(what), "%s_kb_per_guest", mem_key[m]);
		print_line(
			&(struct line){ c->name, n, what, each_kb(r, m), fl ? each_kb(fl, m) : 0 });
	}
	fflush(stdout);
}

/* ---- options ---- */

static int parse(int argc, char **argv)
{
	static const struct option longs[] = { { "only", required_argument, NULL, 'o' },
					       { "cos-arg", required_argument, NULL, 'a' },
					       { NULL, 0, NULL, 0 } };
	int c, r = 0;

	while (r == 0 && (c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (c == 'o')
			opt.only = optarg;
		else if (c == 'a' && opt.n_cos_arg < COS_WORDS)
			opt.cos_arg[opt.n_cos_arg++] = optarg;
		else
			r = -EINVAL;
	}
	for (; r == 0 && optind < argc && opt.n_size < SIZES_MAX; optind++) {
		r = str_to_u64(argv[optind], &opt.size[opt.n_size]);
		if (r == 0 && (opt.size[opt.n_size] < 10 || opt.size[opt.n_size] > GUESTS_MAX))
			r = -ERANGE;
		opt.n_size++;
	}
	if (r < 0 || optind != argc) {
		fprintf(stderr,
			"usage: density [--only floor|cos] [--cos-arg WORD]... [GUESTS]... "
			"(10 to %u each)\n",
			GUESTS_MAX);
		return -EINVAL;
	}
	if (opt.n_size == 0) {
		opt.size[opt.n_size++] = 300;
		opt.size[opt.n_size++] = 1000;
	}
	return 0;
}

static int one_size(const struct bench *b, unsigned n)
{
	struct result res[ARRAY_SIZE(contenders)] = { 0 };
	bool have_floor = false;
	int failed = 0;

	for (size_t i = 0; i < ARRAY_SIZE(contenders) && !bench_stopped(); i++) {
		const char *name = contenders[i].name;
		int r;

		if (opt.only && strcmp(opt.only, name) != 0)
			continue;
		res[i].start_nsec = calloc(n, sizeof(*res[i].start_nsec));
		r = res[i].start_nsec ? contenders[i].run(b, n, &res[i]) : -ENOMEM;
		if (r < 0) {
			printf("# %s, %u guests: %s\n", name, n, strerror(-r));
			failed = -1;
			continue;
		}
		have_floor |= i == 0;
		report(&contenders[i], n, &res[i], have_floor ? &res[0] : NULL);
	}
	for (size_t i = 0; i < ARRAY_SIZE(contenders); i++)
		free(res[i].start_nsec);
	return failed;
}

int main(int argc, char **argv)
{
	struct bench b;
	int r = parse(argc, argv);

	if (r < 0)
		return 2;
	bench_all_files();
	r = bench_open(&b);
	if (r == 0)
		r = bench_make_root(&b, "root");
	if (r == 0)
		r = bench_cg_make(&b);
	printf("contender\tguests\twhat\tvalue\tvs_floor\n");
	for (unsigned i = 0; i < opt.n_size && r == 0 && !bench_stopped(); i++)
		r = one_size(&b, (unsigned)opt.size[i]);
	bench_close(&b);
	return r < 0 || bench_stopped() ? 1 : 0;
}
