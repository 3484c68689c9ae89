/* cosctl/exporter.c - cos-exporter: what guests use, for Prometheus
 *
 * It has no rights but to connect to user.sock and to listen: it is to be started as the user that
 * cosd.json's metrics.user names, or as root, which it then gives up before it opens anything. One
 * thread serves one request after the other; each makes one call to the daemon. */
#include <errno.h>
#include <getopt.h>
#include <grp.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <arpa/inet.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/base/io.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "lib/model/state.h"
#include "lib/model/usage.h"
#include "lib/wire/client.h"

#define DEFAULT_SOCKET "/run/cos/user.sock"
#define DEFAULT_USER   "cos-exporter"
#define DEFAULT_LISTEN "127.0.0.1:9436"
#define CALL_SEC       10
#define CONNECTIONS    16

static const char usage[] =
	"usage: cos-exporter [--listen ADDRESS:PORT] [--socket PATH] [--user NAME]\n"
	"       cos-exporter --print [--socket PATH]\n"
	"       cos-exporter --help | --version\n";

struct exporter {
	const char *socket;
	uint64_t scrapes, failures;
};

/* --- what the daemon says, as text --- */

static void put_plain(FILE *f, const char *help)
{
	for (; *help; help++) {
		if (*help != '*' && *help != '\\') /* of the manual's notation */
			fputc(*help, f);
	}
}

static void put_head(FILE *f, const char *family, const char *type, const char *help)
{
	fprintf(f, "# HELP %s ", family);
	put_plain(f, help);
	fprintf(f, "\n# TYPE %s %s\n", family, type);
}

static uint64_t number(json_t *g, const char *key)
{
	json_int_t v = json_integer_value(json_object_get(g, key));

	return v < 0 ? 0 : (uint64_t)v;
}

/* Names and uuids have no character that would have to be escaped. */
static void put_value(FILE *f, json_t *g, const char *family, const char *label, double v)
{
	fprintf(f, "%s{guest=\"%s\",uuid=\"%s\"%s%s} %.15g\n", family,
		json_string_value(json_object_get(g, "name")) ?: "",
		json_string_value(json_object_get(g, "uuid")) ?: "", label[0] ? "," : "", label, v);
}

/* The next row of D's family after AT; NULL: there is none. AT NULL: the first. */
static const struct metric_def *next_of(const struct metric_def *d, const struct metric_def *at)
{
	for (at = at ? at + 1 : metric_defs; at < metric_defs + METRIC__N; at++) {
		if (strcmp(at->family, d->family) == 0)
			return at;
	}
	return NULL;
}

/* A family whose rows differ by labels is told by all of them. */
static void put_family(FILE *f, const struct metric_def *d, json_t *guests)
{
	const struct metric_def *row;
	json_t *g;
	size_t k;

	fprintf(f, "# HELP %s", d->family);
	for (row = d; row; row = next_of(d, row)) {
		fprintf(f, row->label[0] ? " %s: " : " ", row->label);
		put_plain(f, row->help);
	}
	fprintf(f, "\n# TYPE %s counter\n", d->family);
	for (row = d; row; row = next_of(d, row)) {
		json_array_foreach(guests, k, g) {
			if (json_object_get(g,
					    row->key)) /* machines' counters: once they are told */
				put_value(f, g, row->family, row->label,
					  (double)number(g, row->key) * row->scale);
		}
	}
}

static void put_counters(FILE *f, json_t *guests)
{
	for (const struct metric_def *d = metric_defs; d < metric_defs + METRIC__N; d++) {
		if (next_of(d, NULL) == d)
			put_family(f, d, guests);
	}
}

static const struct gauge {
	const char *key, *family, *help;
} gauges[] = {
	{ "memory_bytes", "cos_guest_memory_bytes", "Memory in use, page cache included." },
	{ "cache_bytes", "cos_guest_page_cache_bytes", "Page cache of that." },
	{ "pids", "cos_guest_processes", "Processes and threads." },
	{ "disk_bytes", "cos_guest_disk_bytes", "Disk space of its own files." },
};

static void put_gauges(FILE *f, json_t *guests)
{
	for (size_t i = 0; i < ARRAY_SIZE(gauges); i++) {
		json_t *g;
		size_t k;

		put_head(f, gauges[i].family, "gauge", gauges[i].help);
		json_array_foreach(guests, k, g) {
			if (json_object_get(g, gauges[i].key))
				put_value(f, g, gauges[i].family, "",
					  (double)number(g, gauges[i].key));
		}
	}
}

static void put_daemon(FILE *f, json_t *d)
{
	put_head(f, "cos_guests", "gauge", "Guests, running or not.");
	fprintf(f, "cos_guests %" PRIu64 "\n", number(d, "guests"));
	put_head(f, "cos_daemon_cpu_seconds_total", "counter", "CPU time of the daemon's worker.");
	fprintf(f, "cos_daemon_cpu_seconds_total %.15g\n", (double)number(d, "cpu_usec") * 1e-6);
	put_head(f, "cos_daemon_sampling_cpu_seconds_total", "counter",
		 "CPU time of it that looking at guests took.");
	fprintf(f, "cos_daemon_sampling_cpu_seconds_total %.15g\n",
		(double)number(d, "sampling_usec") * 1e-6);
	put_head(f, "cos_background_jobs", "gauge", "Unifications and scrubs at work.");
	fprintf(f, "cos_background_jobs %" PRIu64 "\n", number(d, "background_jobs"));
	put_head(f, "cos_background_cpu_seconds_total", "counter", "CPU time of them.");
	fprintf(f, "cos_background_cpu_seconds_total %.15g\n",
		(double)number(d, "background_cpu_usec") * 1e-6);
	put_head(f, "cos_background_io_bytes_total", "counter", "What they read and wrote.");
	fprintf(f, "cos_background_io_bytes_total{direction=\"read\"} %" PRIu64 "\n",
		number(d, "background_read_bytes"));
	fprintf(f, "cos_background_io_bytes_total{direction=\"write\"} %" PRIu64 "\n",
		number(d, "background_write_bytes"));
	put_head(f, "cos_daemon_info", "gauge", "Always 1; the version is a label.");
	fprintf(f, "cos_daemon_info{version=\"%s\"} 1\n",
		json_string_value(json_object_get(d, "version")) ?: "");
}

static int call(const struct exporter *e, json_t **ret, struct cos_err *err)
{
	struct timeval limit = { .tv_sec = CALL_SEC };
	auto_json json_t *params = json_object();
	struct client c;
	int r = client_open(e->socket, &c, err);

	if (r < 0)
		return r;
	setsockopt(c.sock, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setsockopt(c.sock, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	r = client_call(&c, "io.cos.Host.Metrics", params, ret, err);
	client_close(&c);
	return r;
}

/* The text, the caller's; NULL: no memory. That the daemon does not answer is a metric too. */
static char *render(struct exporter *e)
{
	auto_json json_t *answer = NULL;
	struct cos_err err;
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);
	int r;

	if (!f)
		return NULL;
	r = call(e, &answer, &err);
	e->scrapes++;
	e->failures += r < 0;
	if (r < 0)
		fprintf(stderr, "cos-exporter: %s\n", err.why);
	put_head(f, "cos_up", "gauge", "Whether the daemon answered.");
	fprintf(f, "cos_up %d\n", r >= 0);
	put_head(f, "cos_exporter_scrapes_total", "counter", "Requests for metrics.");
	fprintf(f, "cos_exporter_scrapes_total %" PRIu64 "\n", e->scrapes);
	put_head(f, "cos_exporter_scrape_failures_total", "counter",
		 "Of them: those to which the daemon did not answer.");
	fprintf(f, "cos_exporter_scrape_failures_total %" PRIu64 "\n", e->failures);
	if (r >= 0) {
		put_daemon(f, json_object_get(answer, "daemon"));
		put_counters(f, json_object_get(answer, "guests"));
		put_gauges(f, json_object_get(answer, "guests"));
	}
	return fclose(f) == 0 ? text : NULL;
}

/* --- HTTP --- */

static enum MHD_Result reply(struct MHD_Connection *c, unsigned status, const char *type,
			     char *text, enum MHD_ResponseMemoryMode mode)
{
	struct MHD_Response *r = MHD_create_response_from_buffer(strlen(text), text, mode);
	enum MHD_Result done;

	if (!r)
		return MHD_NO;
	MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, type);
	done = MHD_queue_response(c, status, r);
	MHD_destroy_response(r);
	return done;
}

static enum MHD_Result answer(void *arg, struct MHD_Connection *c, const char *url,
			      const char *method, const char *version, const char *data,
			      size_t *size, void **request)
{
	static char plain[] = "text/plain; charset=utf-8";
	static int seen;
	char *text;

	(void)version;
	(void)data;
	if (!*request) { /* the head alone; the next call has all of it */
		*request = &seen;
		return MHD_YES;
	}
	if (*size) { /* a body that nobody wants */
		*size = 0;
		return MHD_YES;
	}
	if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
		return reply(c, MHD_HTTP_METHOD_NOT_ALLOWED, plain, (char[]){ "only GET\n" },
			     MHD_RESPMEM_MUST_COPY);
	if (strcmp(url, "/") == 0)
		return reply(c, MHD_HTTP_OK, "text/html; charset=utf-8",
			     (char[]){ "<!doctype html><title>cos</title><a href=\"/metrics\">"
				       "metrics</a>\n" },
			     MHD_RESPMEM_MUST_COPY);
	if (strcmp(url, "/metrics") != 0)
		return reply(c, MHD_HTTP_NOT_FOUND, plain, (char[]){ "only /metrics\n" },
			     MHD_RESPMEM_MUST_COPY);
	text = render(arg);
	return text ? reply(c, MHD_HTTP_OK, "text/plain; version=0.0.4; charset=utf-8", text,
			    MHD_RESPMEM_MUST_FREE)
		    : MHD_NO;
}

static int parse_listen(const char *s, struct sockaddr_storage *ret)
{
	struct sockaddr_in6 *six = (struct sockaddr_in6 *)ret;
	struct sockaddr_in *four = (struct sockaddr_in *)ret;
	const char *colon = strrchr(s, ':');
	char host[64];
	uint64_t port;

	*ret = (struct sockaddr_storage){ 0 };
	if (!colon || str_to_u64(colon + 1, &port) < 0 || port == 0 || port > 65535)
		return -EINVAL;
	if (s[0] == '[' && colon > s + 1 && colon[-1] == ']')
		str_fmt(host, sizeof(host), "%.*s", (int)(colon - s) - 2, s + 1);
	else
		str_fmt(host, sizeof(host), "%.*s", (int)(colon - s), s);
	if (inet_pton(AF_INET, host, &four->sin_addr) == 1) {
		four->sin_family = AF_INET;
		four->sin_port = htons((uint16_t)port);
		return 0;
	}
	if (inet_pton(AF_INET6, host, &six->sin6_addr) != 1)
		return -EINVAL;
	six->sin6_family = AF_INET6;
	six->sin6_port = htons((uint16_t)port);
	return 0;
}

/* --- the process --- */

/* Root becomes the user; whoever is somebody else already stays that. */
static int give_up_root(const char *user)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	const struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = { 0 };
	const struct passwd *u;

	if (geteuid() == 0) {
		u = getpwnam(user);
		if (!u || u->pw_uid == 0) {
			fprintf(stderr, "cos-exporter: --user %s: %s\n", user,
				u ? "is root" : "there is no such user");
			return -EINVAL;
		}
		if (setgroups(0, NULL) < 0 || setresgid(u->pw_gid, u->pw_gid, u->pw_gid) < 0 ||
		    setresuid(u->pw_uid, u->pw_uid, u->pw_uid) < 0) {
			perror("cos-exporter: become that user");
			return -EPERM;
		}
	}
	/* with root's ids they are gone; who was started as another user may still have some */
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	if (syscall(SYS_capset, &head, none) < 0 || geteuid() == 0 || setuid(0) == 0) {
		fputs("cos-exporter: root could not be given up\n", stderr);
		return -EPERM;
	}
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	return 0;
}

static int serve(struct exporter *e, const char *address)
{
	struct sockaddr_storage at;
	struct MHD_Daemon *d;
	sigset_t set;
	int sig;

	if (parse_listen(address, &at) < 0) {
		fprintf(stderr, "cos-exporter: --listen %s is not ADDRESS:PORT\n", address);
		return 2;
	}
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	d = MHD_start_daemon(
		MHD_USE_INTERNAL_POLLING_THREAD | (at.ss_family == AF_INET6 ? MHD_USE_IPv6 : 0), 0,
		NULL, NULL, answer, e, MHD_OPTION_SOCK_ADDR, &at, MHD_OPTION_CONNECTION_LIMIT,
		CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT, 30U, MHD_OPTION_LISTENING_ADDRESS_REUSE,
		1U, MHD_OPTION_END);
	if (!d) {
		fprintf(stderr, "cos-exporter: listen at %s: %s\n", address,
			strerrordesc_np(errno));
		return 1;
	}
	sigwait(&set, &sig);
	MHD_stop_daemon(d);
	return 0;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "listen", required_argument, NULL, 'l' },
		{ "socket", required_argument, NULL, 's' },
		{ "user", required_argument, NULL, 'u' },
		{ "print", no_argument, NULL, 'p' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ NULL, 0, NULL, 0 },
	};
	const char *user = DEFAULT_USER, *address = DEFAULT_LISTEN;
	struct exporter e = { .socket = getenv("COS_SOCKET") ?: DEFAULT_SOCKET };
	auto_free char *text = NULL;
	bool print = false;
	int o;

	io_fill_stdio();
	while ((o = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (o) {
		case 'l':
			address = optarg;
			break;
		case 's':
			e.socket = optarg;
			break;
		case 'u':
			user = optarg;
			break;
		case 'p':
			print = true;
			break;
		case 'h':
			fputs(usage, stdout);
			return 0;
		case 'V':
			puts("cos-exporter " PACKAGE_VERSION);
			return 0;
		default:
			fputs(usage, stderr);
			return 2;
		}
	}
	if (optind != argc) {
		fprintf(stderr, "cos-exporter: unexpected argument %s\n", argv[optind]);
		return 2;
	}
	if (print) {
		text = render(&e);
		fputs(text ?: "", stdout);
		return !text || e.failures;
	}
	return give_up_root(user) < 0 ? 1 : serve(&e, address);
}
