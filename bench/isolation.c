/* bench/isolation.c - what a victim loses beside an attacker: bare groups, crun, cos
 *
 *	bench/isolation [--rounds N] [--msec N] [--only NAME,NAME] [--svg FILE]
 *
 * A victim works all the time and counts what it does; an attacker of the same kind of box is there
 * in every second window. The two windows are a pair; pairs without an attacker tell what two equal
 * windows differ by. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench/isolation.h"
#include "bench/pairs.h"
#include "lib/base/own.h"
#include "lib/base/str.h"

#define MSEC        1000000ULL /* nanoseconds */
#define ROUNDS_MAX  1000U
#define MSEC_MAX    10000U
#define BEGIN_MSEC  5000U /* until a victim counts */
#define SETTLE_MSEC 300U  /* an attacker reaches its limits; what it was is gone */
#define SPARE_MSEC  20000U
#define GO_ON_MSEC  15000U /* beyond a pair */
#define AIM         2.0    /* % of loss */
#define LOSS_LEAST  (-1000.0)
#define ARGS        8U
#define NUMBER_SIZE 24

static const char *const victim_name[VICTIM__N] = {
	[VICTIM_CPU] = "cpu",
	[VICTIM_MEMORY] = "memory",
	[VICTIM_DISK] = "disk",
	[VICTIM_NET] = "trips",
};

static const char *const attack_name[ATTACK__N] = {
	[ATTACK_NONE] = "none",       [ATTACK_CPU] = "spin",   [ATTACK_MEMORY] = "eat",
	[ATTACK_FORK] = "bomb",       [ATTACK_DISK] = "write", [ATTACK_SEND] = "send",
	[ATTACK_RECEIVE] = "receive",
};

static const char *const who_name[WHO__N] = { "bare", "crun", "cos" };

static struct {
	unsigned rounds, msec;
	const char *only, *svg;
} opt = { .rounds = 10, .msec = 1000 };

/* Operations a second in the two windows of a pair, and what the attacker did in its own. */
struct cell {
	double *alone, *beside, *did;
	unsigned n;
};

static struct cell cells[VICTIM__N][ATTACK__N][WHO__N];
static bool takes_part[WHO__N];

/* ---- what was asked for ---- */

/* Whether NAME takes part: all of a list do when none of it was named. */
static bool wanted(const char *const *names, unsigned n, const char *name)
{
	bool any = false;

	for (unsigned i = 0; i < n && opt.only; i++)
		any = any || bench_wants(opt.only, names[i]);
	return !any || bench_wants(opt.only, name);
}

static bool victim_in(unsigned v)
{
	return wanted(victim_name, VICTIM__N, victim_name[v]);
}

static bool attack_in(unsigned a)
{
	return a == ATTACK_NONE || wanted(attack_name + 1, ATTACK__N - 1, attack_name[a]);
}

/* ---- the words of bench/work ---- */

struct words {
	char count[96], end[NUMBER_SIZE], file[96], number[NUMBER_SIZE];
	const char *args[ARGS];
};

static void common(const struct scene *sc, enum who who, enum role role, uint64_t end,
		   struct words *w)
{
	snprintf(w->count, sizeof(w->count), "%s/%u", box_path(sc, who, COUNTS_INSIDE), role);
	snprintf(w->file, sizeof(w->file), "%s/%u", box_path(sc, who, DISK_INSIDE), role);
	snprintf(w->end, sizeof(w->end), "%llu", (unsigned long long)end);
	snprintf(w->number, sizeof(w->number), "%ld", 2 * sysconf(_SC_NPROCESSORS_ONLN));
}

static void set(struct words *w, const char *const *args)
{
	unsigned n = 0;

	for (; args[n]; n++)
		w->args[n] = args[n];
	w->args[n] = NULL;
}

static void victim_words(enum victim v, enum who who, struct words *w)
{
	switch (v) {
	case VICTIM_CPU:
		set(w, (const char *const[]){ "count-cpu", w->count, w->end, NULL });
		break;
	case VICTIM_MEMORY:
		set(w, (const char *const[]){ "count-memory", w->count, w->end, NULL });
		break;
	case VICTIM_DISK:
		set(w, (const char *const[]){ "count-reads", w->count, w->end, w->file, NULL });
		break;
	case VICTIM_NET:
	case VICTIM__N:
		set(w, (const char *const[]){ "count-trips", w->count, w->end, net_outside(who),
					      NET_ECHO_PORT, "0", NULL });
		break;
	}
}

static void attack_words(enum attack a, enum who who, struct words *w)
{
	switch (a) {
	case ATTACK_CPU:
		set(w, (const char *const[]){ "spin", w->number, "0", w->end, NULL });
		break;
	case ATTACK_MEMORY:
		set(w, (const char *const[]){ "eat", w->end, NULL });
		break;
	case ATTACK_FORK:
		set(w, (const char *const[]){ "bomb", w->end, NULL });
		break;
	case ATTACK_DISK:
		set(w, (const char *const[]){ "write", w->file, "65536", "16", "0", w->end, NULL });
		break;
	case ATTACK_SEND:
		set(w, (const char *const[]){ "send", w->count, w->end, net_outside(who), NULL });
		break;
	case ATTACK_RECEIVE:
	case ATTACK_NONE:
	case ATTACK__N:
		set(w, (const char *const[]){ "receive", w->count, w->end, NULL });
		break;
	}
}

/* ---- windows ---- */

static uint64_t done(const struct scene *sc, enum role role)
{
	return __atomic_load_n(&sc->page[role]->done, __ATOMIC_RELAXED);
}

/* Who works goes on for so long. */
static void go_on(const struct scene *sc)
{
	for (enum role role = 0; role < ROLE__N; role++)
		__atomic_store_n(&sc->page[role]->until,
				 bench_nsec() + (2 * opt.msec + GO_ON_MSEC) * MSEC,
				 __ATOMIC_RELAXED);
}

/* Operations a second. */
static void window(const struct scene *sc, double *ret_victim, double *ret_attacker)
{
	uint64_t did[ROLE__N] = { done(sc, ROLE_VICTIM), done(sc, ROLE_ATTACKER) };
	uint64_t t = bench_nsec();

	bench_sleep_until(t + opt.msec * MSEC);
	did[ROLE_VICTIM] = done(sc, ROLE_VICTIM) - did[ROLE_VICTIM];
	t = bench_nsec() - t;
	did[ROLE_ATTACKER] = done(sc, ROLE_ATTACKER) - did[ROLE_ATTACKER];
	*ret_victim = (double)did[ROLE_VICTIM] * 1e9 / (double)t;
	*ret_attacker = (double)did[ROLE_ATTACKER] * 1e9 / (double)t;
}

/* It ends by itself soon after the window, whatever becomes of the bench. */
static int attacked(const struct scene *sc, enum who who, enum attack a, double *ret_victim,
		    double *ret_attacker)
{
	uint64_t end = bench_nsec() + (opt.msec + 10 * SETTLE_MSEC) * MSEC;
	struct box box = { 0 };
	pid_t flood = 0;
	struct words w;
	int r = 0;

	common(sc, who, ROLE_ATTACKER, end, &w);
	attack_words(a, who, &w);
	if (a != ATTACK_NONE)
		r = box_start(&box, sc, who, ROLE_ATTACKER, w.args);
	if (r == 0 && a == ATTACK_RECEIVE)
		flood = net_flood(sc, box.address);
	if (flood < 0)
		r = flood;
	bench_idle(SETTLE_MSEC);
	if (r == 0)
		window(sc, ret_victim, ret_attacker);
	net_end(&flood);
	box_end(&box);
	return r;
}

static int alone(const struct scene *sc, double *ret)
{
	double none;

	bench_idle(SETTLE_MSEC);
	window(sc, ret, &none);
	return 0;
}

/* Drift within a pair turns its sign from round to round. */
static int pair(const struct scene *sc, enum victim v, enum attack a, enum who who, bool turned)
{
	struct cell *c = &cells[v][a][who];
	double with = 0, without = 0, did = 0;
	int r;

	go_on(sc);
	r = turned ? attacked(sc, who, a, &with, &did) : alone(sc, &without);
	if (r == 0)
		r = turned ? alone(sc, &without) : attacked(sc, who, a, &with, &did);
	if (r < 0 || bench_stopped())
		return r;
	c->alone[c->n] = without;
	c->beside[c->n] = with;
	c->did[c->n++] = did;
	return 0;
}

/* ---- rounds ---- */

static int await_victim(const struct scene *sc, enum victim v, enum who who)
{
	for (unsigned i = 0; i < BEGIN_MSEC && !bench_stopped(); i += 5) {
		if (done(sc, ROLE_VICTIM) > 0)
			return 0;
		bench_idle(5);
	}
	fprintf(stderr, "bench: isolation: %s, %s: does nothing\n", who_name[who], victim_name[v]);
	return bench_stopped() ? -EINTR : -ETIMEDOUT;
}

/* One victim, and all attackers in turn. */
static int attack_all(const struct scene *sc, enum victim v, enum who who, unsigned round)
{
	uint64_t each = 2 * (opt.msec + SETTLE_MSEC) + BEGIN_MSEC;
	uint64_t end = bench_nsec() + (ATTACK__N * each + SPARE_MSEC) * MSEC;
	struct box box;
	struct words w;
	int r;

	sc->page[ROLE_VICTIM]->done = 0;
	go_on(sc);
	common(sc, who, ROLE_VICTIM, end, &w);
	victim_words(v, who, &w);
	r = box_start(&box, sc, who, ROLE_VICTIM, w.args);
	if (r == 0)
		r = await_victim(sc, v, who);
	for (unsigned i = 0; i < ATTACK__N && r == 0 && !bench_stopped(); i++) {
		unsigned a = (i + round) % ATTACK__N;

		if (attack_in(a))
			r = pair(sc, v, (enum attack)a, who, (i + round) % 2);
	}
	box_end(&box);
	return r;
}

static int one_round(const struct scene *sc, unsigned round)
{
	int r = 0;

	for (unsigned i = 0; i < VICTIM__N && r == 0; i++) {
		for (unsigned k = 0; k < WHO__N && r == 0 && !bench_stopped(); k++) {
			unsigned v = (i + round) % VICTIM__N, who = (k + i + round) % WHO__N;

			if (victim_in(v) && takes_part[who])
				r = attack_all(sc, (enum victim)v, (enum who)who, round);
		}
	}
	return r;
}

/* ---- the table ---- */

static double mean(const double *v, unsigned n)
{
	double sum = 0;

	for (unsigned i = 0; i < n; i++)
		sum += v[i];
	return n ? sum / n : 0;
}

/* In %; beyond a gain of LOSS_LEAST an interval says nothing. */
static double loss(double left)
{
	double v = (1 - left) * 100;

	return v > LOSS_LEAST ? v : LOSS_LEAST;
}

static struct ratio left_of(const struct cell *c)
{
	return pairs_ratio(c->beside, c->alone, c->n);
}

static void print_cell(unsigned v, unsigned a, unsigned who)
{
	const struct cell *c = &cells[v][a][who];
	struct ratio r = left_of(c);

	printf("%s\t%s\t%s\t%u\t%.0f\t%.0f\t%.2f\t%.2f\t%.2f\t%.0f\n", victim_name[v],
	       attack_name[a], who_name[who], c->n, mean(c->alone, c->n), mean(c->beside, c->n),
	       loss(r.mid), loss(r.high), loss(r.low), mean(c->did, c->n));
}

static void print_verdict(void)
{
	for (unsigned v = 0; v < VICTIM__N; v++) {
		for (unsigned a = ATTACK_NONE + 1; a < ATTACK__N; a++) {
			const struct cell *c = &cells[v][a][WHO_COS];
			struct ratio r = left_of(c);

			if (c->n > 0 && loss(r.low) > AIM)
				printf("# over %.0f %%%s: cos, %s beside %s: %.2f %% (%.2f to "
				       "%.2f)\n",
				       AIM, loss(r.high) > AIM ? "" : ", perhaps", victim_name[v],
				       attack_name[a], loss(r.mid), loss(r.high), loss(r.low));
		}
	}
}

static int print_all(void)
{
	static char row[VICTIM__N * ATTACK__N][32];
	static struct bar bars[VICTIM__N * ATTACK__N * WHO__N];
	unsigned n = 0, rows = 0;
	int r = 0;

	printf("victim\tattacker\tby\tn\talone\tbeside\tloss_%%\tlow\thigh\tattacker_did\n");
	for (unsigned v = 0; v < VICTIM__N; v++) {
		for (unsigned a = 0; a < ATTACK__N; a++, rows++) {
			snprintf(row[rows], sizeof(row[rows]), "%s, %s", victim_name[v],
				 attack_name[a]);
			for (unsigned who = 0; who < WHO__N; who++) {
				if (cells[v][a][who].n == 0)
					continue;
				print_cell(v, a, who);
				bars[n++] = (struct bar){ row[rows], who_name[who],
							  left_of(&cells[v][a][who]) };
			}
		}
	}
	print_verdict();
	if (opt.svg)
		r = plot_write(opt.svg,
			       "What a victim does beside an attacker, alone = 1 (line: 95 %)",
			       bars, n);
	if (r < 0)
		fprintf(stderr, "bench: %s: %s\n", opt.svg, strerror(-r));
	return r;
}

/* ---- the scene ---- */

/* An attacker has a quarter of the host's CPU time; a victim works with one process. */
static void set_limits(struct scene *sc)
{
	sc->limits[ROLE_VICTIM] = (struct box_limits){ .memory_mib = 256, .pids = 64 };
	sc->limits[ROLE_ATTACKER] = (struct box_limits){
		.cpu_percent = 25 * (unsigned)sysconf(_SC_NPROCESSORS_ONLN),
		.memory_mib = 64,
		.pids = 200,
		.write_mib = 8,
		.bits = 100000000,
		.packets = 20000,
	};
}

static int map_page(struct scene *sc, enum role role)
{
	char path[80];
	auto_close int fd = -1;
	void *page;

	snprintf(path, sizeof(path), "%s/%u", sc->counts, role);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
	if (fd < 0 || fchmod(fd, 0666) < 0 || ftruncate(fd, 4096) < 0)
		return -errno;
	page = mmap(NULL, sizeof(struct work_page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (page == MAP_FAILED)
		return -errno;
	sc->page[role] = page;
	return 0;
}

static int open_counts(struct scene *sc)
{
	int r = 0;

	snprintf(sc->counts, sizeof(sc->counts), "%s/count", sc->b->place);
	if (mkdir(sc->counts, 0755) < 0 ||
	    mount("tmpfs", sc->counts, "tmpfs", MS_NOSUID | MS_NODEV, "size=64k,mode=0755") < 0)
		r = -errno;
	sc->mounted = r == 0;
	for (enum role role = 0; role < ROLE__N && r == 0; role++)
		r = map_page(sc, role);
	if (r < 0)
		fprintf(stderr, "bench: isolation: %s: %s\n", sc->counts, strerror(-r));
	return r;
}

static int open_models(struct scene *sc)
{
	int r = 0;

	go_on(sc);
	for (enum role role = 0; role < ROLE__N && r == 0; role++)
		r = box_model(sc, role);
	return r;
}

static int open_scene(struct scene *sc, const struct bench *b)
{
	int r;

	*sc = (struct scene){ .b = b, .bed = { .b = b }, .sink = -1, .source = -1 };
	sc->disk.loop = sc->d.pid = -1;
	set_limits(sc);
	r = wire_open(&sc->bed);
	if (r == 0)
		r = net_scene_open(sc);
	if (r == 0)
		r = open_counts(sc);
	if (r == 0)
		r = disk_open(&sc->disk, b, DISK_IN_MEMORY, FILE_NAMES);
	if (r == 0)
		r = wire_daemon(&sc->d, b, 0);
	return r < 0 ? r : open_models(sc);
}

static void close_scene(struct scene *sc)
{
	daemon_close(&sc->d);
	disk_close(&sc->disk);
	net_scene_close(sc);
	wire_close(&sc->bed);
	for (enum role role = 0; role < ROLE__N; role++) {
		if (sc->page[role])
			munmap(sc->page[role], sizeof(struct work_page));
	}
	if (sc->mounted)
		umount2(sc->counts, MNT_DETACH);
}

/* ---- */

static void make_room(void)
{
	for (unsigned v = 0; v < VICTIM__N; v++) {
		for (unsigned a = 0; a < ATTACK__N; a++) {
			for (unsigned who = 0; who < WHO__N; who++) {
				size_t n = opt.rounds;
				double *room = calloc(n, 3 * sizeof(double));

				if (!room)
					abort();
				cells[v][a][who] = (struct cell){ room, room + n, room + 2 * n, 0 };
			}
		}
	}
}

static int parse(int argc, char **argv)
{
	const struct bench_option options[] = {
		{ .name = "rounds", .max = ROUNDS_MAX, .number = &opt.rounds },
		{ .name = "msec", .max = MSEC_MAX, .number = &opt.msec },
		{ .name = "only", .word = &opt.only },
		{ .name = "svg", .word = &opt.svg },
	};
	static const char usage[] =
		"usage: isolation [--rounds N] [--msec N] [--only NAME,NAME] [--svg FILE]\n"
		"NAME of a victim: cpu memory disk trips, or an attacker: spin eat bomb write send "
		"receive\n";

	return bench_parse(argc, argv, options, ARRAY_SIZE(options), usage);
}

static int measure(const struct bench *b)
{
	static struct scene sc;
	int r = open_scene(&sc, b);

	for (unsigned who = 0; who < WHO__N && r == 0; who++)
		takes_part[who] = box_can(&sc, (enum who)who);
	for (unsigned i = 0; i < opt.rounds && r == 0 && !bench_stopped(); i++)
		r = one_round(&sc, i);
	if (r == 0)
		r = print_all();
	else
		bench_show_log(b);
	close_scene(&sc);
	return r;
}

int main(int argc, char **argv)
{
	struct bench b;
	int r = parse(argc, argv);

	if (r < 0)
		return 2;
	make_room();
	r = subject_bench(&b);
	if (r == 0)
		r = bench_cg_make(&b);
	if (r == 0)
		r = measure(&b);
	bench_close(&b);
	return r < 0 || bench_stopped() ? 1 : 0;
}
