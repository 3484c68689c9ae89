/* bench/network-end.c - guests and the bare namespace: their classes, and transfers by iperf3 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/network.h"
#include "lib/base/io.h"
#include "lib/base/own.h"
#include "lib/base/str.h"

#define TEXT_SIZE   (1U << 20)
#define REPORT_MAX  (4U << 20)
#define QUEUE_MIN   (128U << 10)
#define QUEUE_MAX   (4U << 20)
#define OMIT_SECOND "1"

const char *const way_name[WAY__N] = { [WAY_OUT] = "out", [WAY_IN] = "in" };

static int tell(int r, const char *what, const char *name)
{
	fprintf(stderr, "bench: network: %s: %s: %s\n", what, name,
		r < 0 ? strerror(-r) : "failed");
	return r < 0 ? r : -EIO;
}

/* ---- a client's answers ---- */

static int ask(const struct daemon *d, const char *command, const char *name, json_t **ret)
{
	const char *args[] = { command, "-o", "json", name, NULL };
	auto_free char *text = malloc(TEXT_SIZE);
	json_error_t where;
	json_t *j = NULL;
	int r = text ? daemon_ask(d, args, text, TEXT_SIZE) : -ENOMEM;

	if (r == 0)
		j = json_loads(text, 0, &where);
	if (!j)
		return tell(r, command, name ? name : "all guests");
	*ret = j;
	return 0;
}

/* The first value of that name, however deep the answer holds it; borrowed. */
static json_t *find(json_t *j, const char *name)
{
	json_t *found = json_object_get(j, name), *v;
	const char *key;
	size_t i;

	json_array_foreach(j, i, v) {
		found = found ? found : find(v, name);
	}
	json_object_foreach(j, key, v) {
		found = found ? found : find(v, name);
	}
	return found;
}

static uint64_t sum_bytes(json_t *j, const char *name)
{
	json_t *own = json_object_get(j, name), *v;
	uint64_t sum = (uint64_t)json_integer_value(json_object_get(own, "bytes"));
	const char *key;
	size_t i;

	json_array_foreach(j, i, v) {
		sum += sum_bytes(v, name);
	}
	json_object_foreach(j, key, v) {
		sum += sum_bytes(v, name);
	}
	return sum;
}

/* ---- ends ---- */

static int find_network(struct end *e)
{
	auto_json json_t *j = NULL;
	const char *link, *address;
	char path[40];
	int r = ask(e->bed->d, "status", e->guest.name, &j);

	if (r < 0)
		return r;
	link = json_string_value(find(j, "link"));
	address = json_string_value(find(j, "ipv4"));
	if (!link || !address || !str_fmt(e->link, sizeof(e->link), "%s", link) ||
	    !str_fmt(e->address, sizeof(e->address), "%s", address))
		return tell(-ENOENT, "link and address", e->guest.name);
	snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)json_integer_value(find(j, "pid")));
	e->net = open(path, O_RDONLY | O_CLOEXEC);
	return e->net < 0 ? tell(-errno, path, e->guest.name) : 0;
}

static struct end guest_end(const struct bed *bed)
{
	return (struct end){ .bed = bed, .side = SIDE_COS, .net = -1, .outside = "192.0.2.2" };
}

int end_guest(struct end *e, const struct bed *bed, const char *name, const char *const *limits)
{
	int r;

	*e = guest_end(bed);
	r = subject_guest(&e->guest, bed->d, name, limits, NULL);
	return r < 0 ? r : find_network(e);
}

int end_find(struct end *e, const struct bed *bed, const char *name)
{
	int r;

	*e = guest_end(bed);
	r = subject_find(&e->guest, bed->d, name);
	return r < 0 ? r : find_network(e);
}

int end_bare(struct end *e, const struct bed *bed)
{
	*e = (struct end){
		.bed = bed, .side = SIDE_BARE, .address = "198.51.100.2", .outside = "203.0.113.2"
	};
	e->net = fcntl(bed->bare, F_DUPFD_CLOEXEC, 0);
	return e->net < 0 ? tell(-errno, "namespace", "bare") : 0;
}

void end_remove(struct end *e)
{
	if (!e->bed)
		return;
	close_p(&e->net);
	subject_remove(&e->guest);
	e->bed = NULL;
}

/* The router's, as the host's up0 and a guest's link are the host's: what a sender has queued in
 * its own namespace waits there without loss, and would not be the same work. */
static const char *const bare_link[WAY__N] = { [WAY_OUT] = "up0", [WAY_IN] = "down0" };

/* A class of the same rates as a guest's, with a queue of the same length. */
static int limit_bare(const struct end *e, enum way way, uint64_t bits)
{
	const char *link = bare_link[way];
	uint64_t queue = bits / 8 / 20;
	int net = e->bed->router, r;

	queue = queue < QUEUE_MIN ? QUEUE_MIN : queue > QUEUE_MAX ? QUEUE_MAX : queue;
	r = net_run(e->bed, net, NULL, 0, "tc qdisc replace dev %s root pfifo", link);
	if (r == 0)
		r = net_run(e->bed, net, NULL, 0,
			    "tc qdisc replace dev %s root handle 1: htb default 10", link);
	if (r == 0)
		r = net_run(e->bed, net, NULL, 0,
			    "tc class add dev %s parent 1: classid 1:10 htb rate %llubit ceil "
			    "%llubit burst %u cburst %u quantum 65536",
			    link, (unsigned long long)bits, (unsigned long long)bits, NETWORK_BURST,
			    NETWORK_BURST);
	if (r == 0)
		r = net_run(e->bed, net, NULL, 0, "tc qdisc add dev %s parent 1:10 bfifo limit %u",
			    link, (unsigned)queue);
	return r;
}

int end_limit(const struct end *e, uint64_t bits)
{
	char word[40];
	const char *args[] = { "set", e->guest.name, word, NULL };
	int r = 0;

	for (enum way way = 0; e->side == SIDE_BARE && way < WAY__N && r == 0; way++)
		r = limit_bare(e, way, bits);
	if (e->side == SIDE_BARE)
		return r;
	snprintf(word, sizeof(word), "net.ceil=%llubit", (unsigned long long)bits);
	r = daemon_call(e->bed->d, args, -1);
	return r == 0 ? 0 : tell(r, word, e->guest.name);
}

int end_unlimit(const struct end *e)
{
	int r = 0;

	for (enum way way = 0; way < WAY__N && r == 0; way++)
		r = net_run(e->bed, e->bed->router, NULL, 0, "tc qdisc replace dev %s root noqueue",
			    bare_link[way]);
	return r;
}

/* ---- counters ---- */

static int read_guests(const struct daemon *d, enum way way, const char *name, uint64_t *ret)
{
	static const char *const key[WAY__N] = { [WAY_OUT] = "net_out", [WAY_IN] = "net_in" };
	auto_json json_t *j = NULL;
	int r = ask(d, "stats", name, &j);

	if (r == 0)
		*ret = sum_bytes(j, key[way]);
	return r;
}

static int read_bare(const struct end *e, enum way way, uint64_t *ret)
{
	unsigned long long bytes;
	char text[4096];
	const char *at;
	int r = net_run(e->bed, e->bed->router, text, sizeof(text),
			"tc -s class show dev %s classid 1:10", bare_link[way]);

	if (r < 0)
		return r;
	at = strstr(text, "Sent ");
	if (!at || sscanf(at, "Sent %llu bytes", &bytes) != 1)
		return tell(-EBADMSG, "tc", bare_link[way]);
	*ret = bytes;
	return 0;
}

int end_read(const struct end *e, enum way way, struct reading *ret)
{
	struct reading now = { .before = bench_nsec() };
	int r = e->side == SIDE_BARE ? read_bare(e, way, &now.bytes)
				     : read_guests(e->bed->d, way, e->guest.name, &now.bytes);

	now.after = bench_nsec();
	if (r == 0)
		*ret = now;
	return r;
}

int end_read_all(const struct bed *bed, enum way way, struct reading *ret)
{
	struct reading now = { .before = bench_nsec() };
	int r = read_guests(bed->d, way, NULL, &now.bytes);

	now.after = bench_nsec();
	if (r == 0)
		*ret = now;
	return r;
}

double reading_rate(const struct reading *from, const struct reading *to)
{
	double nsec = (double)(to->before + to->after - from->before - from->after) / 2;

	return (double)(to->bytes - from->bytes) * 8e9 / nsec;
}

/* ---- transfers ---- */

int flow_begin(struct flow *f, const struct end *e, enum way way, unsigned server, const char *unit,
	       unsigned amount)
{
	char port[16], count[16];
	const char *argv[16] = { "iperf3", "-4", "-c", e->outside, "-p", port,
				 "-J",     "-i", "0",  unit,       count };
	unsigned n = 11;

	*f = FLOW_NONE;
	snprintf(port, sizeof(port), "%u", NETWORK_PORT + server);
	snprintf(count, sizeof(count), "%u", amount);
	if (strcmp(unit, "-t") == 0) {
		argv[n++] = "-O";
		argv[n++] = OMIT_SECOND;
	}
	if (way == WAY_IN)
		argv[n++] = "-R";
	f->out = openat(e->bed->b->dirfd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (f->out < 0)
		return tell(-errno, "report", argv[0]);
	f->pid = net_spawn(e->bed, e->net, argv, f->out);
	if (f->pid < 0) {
		close_p(&f->out);
		return tell(f->pid, argv[0], e->outside);
	}
	return 0;
}

int flow_end(struct flow *f, double *ret)
{
	auto_close int out = take_fd(f->out);
	auto_free char *text = NULL;
	auto_json json_t *j = NULL;
	json_error_t where;
	const char *why;
	json_t *rate;
	int r = bench_wait(f->pid);

	f->pid = -1;
	if (lseek(out, 0, SEEK_SET) == 0 && io_slurp_fd(out, REPORT_MAX, &text) > 0)
		j = json_loads(text, 0, &where);
	why = json_string_value(json_object_get(j, "error"));
	rate = json_object_get(find(json_object_get(j, "end"), "sum_received"), "bits_per_second");
	if (r != 0 || why || !rate)
		return tell(r, "iperf3", why ? why : "no report");
	if (ret)
		*ret = json_number_value(rate);
	return 0;
}

void flow_drop(struct flow *f)
{
	if (f->pid > 0) {
		kill(f->pid, SIGKILL);
		bench_wait(f->pid);
	}
	close_p(&f->out);
	f->pid = -1;
}
