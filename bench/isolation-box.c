/* bench/isolation-box.c - a victim or an attacker in a bare group, a container of crun, a guest */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "bench/contender.h"
#include "bench/isolation.h"
#include "lib/base/io.h"
#include "lib/base/own.h"
#include "lib/base/str.h"

#define MIB         (1LL << 20)
#define PERIOD_USEC 100000
#define WORD_SIZE   256U
#define WORDS       16U
#define TEXT_SIZE   16384U
#define FIRST_PAGE  "/count/0" /* below COUNTS_INSIDE */

static const char *const role_name[ROLE__N] = { "victim", "attacker" };

static int tell(int r, const char *what, const char *name)
{
	fprintf(stderr, "bench: isolation: %s: %s: %s\n", what, name,
		r < 0 ? strerror(-r) : "failed");
	return r < 0 ? r : -EIO;
}

const char *box_path(const struct scene *sc, enum who who, const char *inside)
{
	if (who != WHO_BARE)
		return inside;
	return strcmp(inside, DISK_INSIDE) == 0 ? sc->disk.place : sc->counts;
}

/* ---- a guest ---- */

struct words {
	char text[WORDS][WORD_SIZE];
	const char *at[WORDS + 1];
	unsigned n;
};

__attribute__((format(printf, 2, 3))) static void add(struct words *w, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(w->text[w->n], WORD_SIZE, fmt, ap);
	va_end(ap);
	w->at[w->n] = w->text[w->n];
	w->at[++w->n] = NULL;
}

static void limit_words(const struct scene *sc, enum role role, struct words *w)
{
	const struct box_limits *l = &sc->limits[role];

	w->n = 0;
	add(w, "memory.max=%uM", l->memory_mib);
	add(w, "pids.max=%u", l->pids);
	if (l->cpu_percent)
		add(w, "cpu.rate=%u%%", l->cpu_percent);
	if (l->write_mib)
		add(w, "io.wbps=%uM", l->write_mib);
	if (l->bits)
		add(w, "net.ceil=%llubit", (unsigned long long)l->bits);
	if (l->packets)
		add(w, "net.pps=%u", l->packets);
	add(w,
	    "binds=[{\"source\":\"%s\",\"target\":\"" DISK_INSIDE "\"},"
	    "{\"source\":\"%s\",\"target\":\"" COUNTS_INSIDE "\"}]",
	    sc->disk.place, sc->counts);
}

int box_model(struct scene *sc, enum role role)
{
	static const char *const name[ROLE__N] = { "model-victim", "model-attacker" };
	static const char *const idle[] = { "/bin/work", "count-none", FIRST_PAGE,
					    "18446744073709551615", NULL };
	static struct words w;

	limit_words(sc, role, &w);
	return subject_guest(&sc->model[role], &sc->d, name[role], w.at, idle);
}

static int find_address(struct box *x)
{
	const char *args[] = { "status", "-o", "json", x->s.name, NULL };
	static const char key[] = "\"ipv4\":";
	char text[TEXT_SIZE];
	const char *at;
	int r = daemon_ask(&x->sc->d, args, text, sizeof(text));

	at = r == 0 ? strstr(text, key) : NULL;
	if (!at || sscanf(at + strlen(key), " \"%15[0-9.]\"", x->address) != 1)
		return tell(r < 0 ? r : -ENOENT, "address", x->s.name);
	return 0;
}

static int start_cos(struct box *x, const char *const *args)
{
	const char *command[WORDS] = { "/bin/work" };
	static struct words w;
	unsigned n = 1;
	int r;

	while (*args && n < WORDS - 1)
		command[n++] = *args++;
	command[n] = NULL;
	limit_words(x->sc, x->role, &w);
	r = subject_guest(&x->s, &x->sc->d, role_name[x->role], w.at, command);
	return r < 0 ? r : find_address(x);
}

/* ---- a bare group ---- */

static int net_of(const struct scene *sc, enum role role)
{
	return role == ROLE_VICTIM ? sc->bed.bare : sc->bed.other;
}

static const char *plain_address(enum role role)
{
	return role == ROLE_VICTIM ? "198.51.100.2" : "198.51.101.2";
}

static int start_bare(struct box *x, const char *const *args)
{
	int r = subject_bare(&x->s, role_name[x->role], &x->sc->model[x->role]);

	if (r == 0)
		r = net_visit(net_of(x->sc, x->role));
	if (r < 0)
		return r;
	x->pid = subject_start(&x->s, args, -1);
	net_leave(&x->sc->bed);
	return x->pid < 0 ? tell(x->pid, "work", x->s.name) : 0;
}

/* ---- crun ---- */

static void oci_limits(const struct scene *sc, enum role role, json_t *res)
{
	const struct box_limits *l = &sc->limits[role];
	json_t *cpu = json_pack("{s:i}", "shares", 1024);
	struct stat st;

	if (l->cpu_percent)
		json_object_update_new(cpu, json_pack("{s:i, s:i}", "quota",
						      (int)l->cpu_percent * PERIOD_USEC / 100,
						      "period", PERIOD_USEC));
	json_object_set_new(res, "cpu", cpu);
	json_object_set_new(res, "memory",
			    json_pack("{s:I}", "limit", (json_int_t)(l->memory_mib * MIB)));
	json_object_set_new(res, "pids", json_pack("{s:i}", "limit", (int)l->pids));
	if (l->write_mib && stat(sc->disk.dev, &st) == 0)
		json_object_set_new(res, "blockIO",
				    json_pack("{s:[{s:i, s:i, s:I}]}", "throttleWriteBpsDevice",
					      "major", (int)major(st.st_rdev), "minor",
					      (int)minor(st.st_rdev), "rate",
					      (json_int_t)(l->write_mib * MIB)));
}

/* A network that others made, as their plugins do for crun. */
static void oci_network(const struct scene *sc, enum role role, json_t *namespaces)
{
	char path[48];
	json_t *v;
	size_t i;

	snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)getpid(), net_of(sc, role));
	json_array_foreach(namespaces, i, v) {
		if (strcmp(json_string_value(json_object_get(v, "type")), "network") == 0)
			json_object_set_new(v, "path", json_string(path));
	}
}

static void oci_bind(json_t *doc, const char *from, const char *to)
{
	json_array_append_new(json_object_get(doc, "mounts"),
			      json_pack("{s:s, s:s, s:s, s:[s, s]}", "destination", to, "type",
					"bind", "source", from, "options", "bind", "rw"));
}

static void oci_change(const struct box *x, json_t *doc, const char *const *args)
{
	json_t *part = json_object_get(doc, "linux"), *words = json_pack("[s]", "/bin/work");
	char group[80];

	while (*args)
		json_array_append_new(words, json_string(*args++));
	snprintf(group, sizeof(group), "/%s/crun-%s", x->sc->b->group, role_name[x->role]);
	json_object_set_new(json_object_get(doc, "process"), "args", words);
	json_object_set_new(part, "cgroupsPath", json_string(group));
	oci_limits(x->sc, x->role, json_object_get(part, "resources"));
	oci_network(x->sc, x->role, json_object_get(part, "namespaces"));
	oci_bind(doc, x->sc->disk.place, DISK_INSIDE);
	oci_bind(doc, x->sc->counts, COUNTS_INSIDE);
}

/* The bundle of bench/start is the base. */
static int oci_bundle(const struct box *x, const char *name, const char *const *args)
{
	char path[PATH_MAX];
	json_error_t why;
	auto_json json_t *doc = NULL;
	auto_close int dir = -1;
	auto_free char *text = NULL;

	snprintf(path, sizeof(path), "%s/%s/config.json", x->sc->b->dir, peer_crun.name);
	doc = json_load_file(path, 0, &why);
	if (!doc)
		return tell(-EBADMSG, path, why.text);
	oci_change(x, doc, args);
	dir = io_dir_at(x->sc->b->dirfd, name, 0755);
	text = json_dumps(doc, JSON_INDENT(1));
	if (dir < 0 || !text)
		return tell(dir < 0 ? dir : -ENOMEM, "bundle", name);
	return io_replace_at(dir, "config.json", text, strlen(text), 0644, false);
}

struct crun {
	char state[80], bundle[80], id[80], name[32];
};

static void crun_names(const struct box *x, struct crun *c)
{
	const struct bench *b = x->sc->b;

	snprintf(c->name, sizeof(c->name), "crun-%s", role_name[x->role]);
	snprintf(c->state, sizeof(c->state), "%s/crun-state", b->dir);
	snprintf(c->bundle, sizeof(c->bundle), "%s/%s", b->dir, c->name);
	snprintf(c->id, sizeof(c->id), "%s-%s", b->group, c->name);
}

static int start_crun(struct box *x, const char *const *args)
{
	struct crun c;
	const char *argv[] = { "crun", "--root", c.state, "run", "--bundle", c.bundle, c.id, NULL };
	int r;

	crun_names(x, &c);
	r = oci_bundle(x, c.name, args);
	if (r < 0)
		return r;
	x->pid = bench_spawn(x->sc->b, argv, -1);
	return x->pid < 0 ? tell(x->pid, "crun", c.id) : 0;
}

static void delete_crun(const struct box *x)
{
	struct crun c;
	const char *argv[] = { "crun", "--root", c.state, "delete", "--force", c.id, NULL };

	crun_names(x, &c);
	bench_run(x->sc->b, argv, -1);
}

bool box_can(const struct scene *sc, enum who who)
{
	struct contender c = peer_crun;

	return who != WHO_CRUN || c.open(&c, sc->b) == 0; /* it says why */
}

/* ---- */

int box_start(struct box *x, const struct scene *sc, enum who who, enum role role,
	      const char *const *args)
{
	*x = (struct box){ .sc = sc, .who = who, .role = role };
	str_fmt(x->address, sizeof(x->address), "%s", plain_address(role));
	switch (who) {
	case WHO_BARE:
		return start_bare(x, args);
	case WHO_CRUN:
		return start_crun(x, args);
	case WHO_COS:
	case WHO__N:
		break;
	}
	return start_cos(x, args);
}

void box_end(struct box *x)
{
	if (!x->sc)
		return;
	if (x->who == WHO_CRUN)
		delete_crun(x);
	else if (x->pid > 0)
		kill(x->pid, SIGKILL);
	subject_remove(&x->s);
	if (x->pid > 0)
		bench_wait(x->pid);
	x->pid = 0;
	x->sc = NULL;
}
