/* tests/func/wire-abuse.c - a client that breaks the rules of the daemon's socket, one rule for
 * each command
 *
 * usage: wire-abuse CASE SOCKET [ARGUMENT...]; exits with 0 when the daemon did what it has to do,
 * else says on standard output what it did instead. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/io.h"
#include "lib/base/own.h"

#define ANSWER_MSEC 20000
#define NOBODY      65534
#define INFO        "{\"method\":\"org.varlink.service.GetInfo\"}"
#define LIST        "{\"method\":\"io.cos.Guest.List\"}"
#define INVALID     "io.cos.InvalidParameter"
#define DENIED      "io.cos.PermissionDenied"

struct peer {
	int sock;
	char *buf;
	size_t have, size;
};

__attribute__((noreturn, format(printf, 1, 2))) static void die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	exit(1);
}

static struct peer meet(const char *path)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	struct peer p = { .sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0) };

	if (strlen(path) >= sizeof(sa.sun_path))
		die("%s is too long", path);
	strcpy(sa.sun_path, path);
	if (p.sock < 0 || connect(p.sock, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		die("connect %s: %s", path, strerror(errno));
	return p;
}

static void part(struct peer *p)
{
	close(p->sock);
	free(p->buf);
	*p = (struct peer){ .sock = -1 };
}

static void send_all(struct peer *p, const char *s, size_t len)
{
	while (len > 0) {
		ssize_t n = send(p->sock, s, len, MSG_NOSIGNAL);

		if (n < 0)
			die("send: %s", strerror(errno));
		s += n;
		len -= (size_t)n;
	}
}

/* One request with the NUL that ends it. */
static void ask(struct peer *p, const char *text)
{
	send_all(p, text, strlen(text) + 1);
}

/* The next answer; NULL when the daemon has closed the connection. */
static json_t *hear(struct peer *p)
{
	for (;;) {
		char *end = p->have ? memchr(p->buf, '\0', p->have) : NULL;
		struct pollfd fd = { .fd = p->sock, .events = POLLIN };
		ssize_t n;

		if (end) {
			json_t *j = json_loads(p->buf, 0, NULL);
			size_t used = (size_t)(end - p->buf) + 1;

			if (!j)
				die("the answer is not JSON: %.200s", p->buf);
			memmove(p->buf, p->buf + used, p->have - used);
			p->have -= used;
			return j;
		}
		if (p->have == p->size)
			p->buf = realloc(p->buf, p->size = p->size ? p->size * 2 : 65536);
		if (poll(&fd, 1, ANSWER_MSEC) <= 0)
			die("no answer for %d ms", ANSWER_MSEC);
		n = recv(p->sock, p->buf + p->have, p->size - p->have, 0);
		if (n <= 0)
			return NULL;
		p->have += (size_t)n;
	}
}

static const char *error_of(json_t *answer)
{
	return json_string_value(json_object_get(answer, "error")) ?: "";
}

static const char *why_of(json_t *answer)
{
	return json_string_value(json_object_get(json_object_get(answer, "parameters"), "why"))
		       ?: "";
}

/* Asks and wants the error ERROR, or "" for none. */
static void want(struct peer *p, const char *request, const char *error)
{
	auto_json json_t *answer = NULL;

	ask(p, request);
	answer = hear(p);
	if (!answer)
		die("%.200s: the connection was closed", request);
	if (strcmp(error_of(answer), error) != 0)
		die("%.200s: \"%s\" (%s), wanted \"%s\"", request, error_of(answer), why_of(answer),
		    error);
}

static void want_closed(struct peer *p)
{
	auto_json json_t *answer = hear(p);

	if (answer)
		die("the connection is open still");
}

/* A client of its own is answered now. */
static void others_are_served(const char *path)
{
	struct peer p = meet(path);

	want(&p, INFO, "");
	part(&p);
}

/* --- cases --- */

static void case_malformed(const char *path, char **argv)
{
	static const char *const bad[] = {
		"",
		" ",
		"{",
		"}",
		"null",
		"[]",
		"\"text\"",
		"12",
		"{\"method\"}",
		"{\"method\":}",
		"{\"method\":\"org.varlink.service.GetInfo\"} x",
		"{\"method\":\"org.varlink.service.GetInfo\"}{}",
		"{\"method\":\"\\ud800\"}",
		"{\"method\":\"\xff\xfe\"}",
		"{\"method\":\"a\\u0000b\"}",
		"{}",
		"{\"method\":12}",
		"{\"method\":\"\"}",
		"{\"method\":\"nodot\"}",
		"{\"method\":\"io.cos.Guest.Nothing\"}",
		"{\"method\":\"io.cos.Nothing.List\"}",
		"{\"method\":\"io.cos.Guest.List\",\"method\":\"io.cos.Guest.List\"}",
		"{\"method\":\"io.cos.Guest.List\",\"parameter\":{}}",
		"{\"method\":\"io.cos.Guest.List\",\"parameters\":[]}",
		"{\"method\":\"io.cos.Guest.List\",\"parameters\":\"\"}",
		"{\"method\":\"io.cos.Guest.List\",\"parameters\":{\"x\":1}}",
		"{\"method\":\"io.cos.Guest.List\",\"more\":1}",
		"{\"method\":\"io.cos.Guest.List\",\"more\":true}",
		"{\"method\":\"io.cos.Guest.List\",\"upgrade\":true}",
		"{\"method\":\"io.cos.Guest.Start\"}",
		"{\"method\":\"io.cos.Guest.Start\",\"parameters\":{}}",
		"{\"method\":\"io.cos.Guest.Start\",\"parameters\":{\"name\":null}}",
		"{\"method\":\"io.cos.Guest.Start\",\"parameters\":{\"name\":7}}",
		"{\"method\":\"io.cos.Guest.Start\",\"parameters\":{\"name\":\"\"}}",
		"{\"method\":\"io.cos.Guest.Start\",\"parameters\":{\"name\":\"a\\nb\"}}",
		"{\"method\":\"io.cos.Guest.Start\",\"parameters\":{\"name\":{\"a\":[]}}}",
		"{\"method\":\"io.cos.Guest.Stop\",\"parameters\":{\"name\":\"a\",\"timeout\":-1}}",
		"{\"method\":\"io.cos.Guest.Stop\",\"parameters\":{\"name\":\"a\",\"timeout\":1e3}}",
		"{\"method\":\"io.cos.Guest.Stop\",\"parameters\":{\"name\":\"a\",\"timeout\":99999999999999999999}}",
		"{\"method\":\"io.cos.Guest.Create\",\"parameters\":{}}",
		"{\"method\":\"io.cos.Guest.Create\",\"parameters\":{\"spec\":null}}",
		"{\"method\":\"io.cos.Guest.Create\",\"parameters\":{\"spec\":{}}}",
		"{\"method\":\"io.cos.Guest.Create\",\"parameters\":{\"spec\":{\"name\":\"a\"}}}",
		"{\"method\":\"io.cos.Guest.Create\",\"parameters\":{\"spec\":{\"name\":\"a\",\"x\":1}}}",
		"{\"method\":\"io.cos.Guest.Create\",\"parameters\":{\"spec\":{\"name\":\"../a\",\"template\":\"b\"}}}",
		"{\"method\":\"io.cos.Guest.Create\",\"parameters\":{\"spec\":{\"name\":\"a\",\"rootfs\":\"b\"}}}",
		"{\"method\":\"io.cos.Guest.Exec\",\"parameters\":{\"name\":\"a\",\"command\":\"id\"}}",
		"{\"method\":\"io.cos.Guest.Exec\",\"parameters\":{\"name\":\"a\",\"command\":[]}}",
		"{\"method\":\"io.cos.Guest.Exec\",\"parameters\":{\"name\":\"a\",\"command\":[1]}}",
		"{\"method\":\"io.cos.Guest.Exec\",\"parameters\":{\"name\":\"a\",\"command\":[\"a\\u0000b\"]}}",
		"{\"method\":\"io.cos.Guest.Run\",\"parameters\":{\"spec\":{},\"attach\":\"x\"}}",
		"{\"method\":\"org.varlink.service.GetInterfaceDescription\"}",
		"{\"method\":\"org.varlink.service.GetInterfaceDescription\",\"parameters\":{\"interface\":\"x\"}}",
		"{\"method\":\"org.varlink.service.GetInterfaceDescription\",\"parameters\":{\"interface\":7}}",
	};
	struct peer p = meet(path);

	(void)argv;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		want(&p, bad[i], INVALID);
	want(&p, INFO, ""); /* none of them broke the connection */
	part(&p);
}

static void case_deep(const char *path, char **argv)
{
	static const char head[] = "{\"method\":\"io.cos.Guest.List\",\"parameters\":";
	struct peer p = meet(path);
	size_t depth = 200000, at = strlen(head);
	char *text = malloc(at + depth + 1);

	(void)argv;
	memcpy(text, head, at);
	memset(text + at, '[', depth);
	text[at + depth] = '\0';
	want(&p, text, INVALID);
	memset(text, '{', at + depth);
	want(&p, text, INVALID);
	want(&p, INFO, "");
	free(text);
	part(&p);
}

static void case_too_long(const char *path, char **argv)
{
	struct peer p = meet(path);
	auto_json json_t *answer = NULL;
	char *chunk = malloc(65536);
	size_t sent = 0;

	(void)argv;
	memset(chunk, ' ', 65536);
	while (sent < (4U << 20)) {
		ssize_t n = send(p.sock, chunk, 65536, MSG_NOSIGNAL);

		if (n < 0)
			break; /* it does not take more of that */
		sent += (size_t)n;
	}
	if (sent == 4U << 20)
		die("all of 4 MiB was taken");
	answer = hear(&p);
	if (!answer || strcmp(error_of(answer), INVALID) != 0)
		die("no error, but %s", answer ? error_of(answer) : "a closed connection");
	want_closed(&p);
	others_are_served(path);
	free(chunk);
	part(&p);
}

/* Up to the bound a message is taken whole. */
static void case_long(const char *path, char **argv)
{
	static const char tail[] = INFO;
	struct peer p = meet(path);
	size_t len = (1U << 20) - sizeof(tail) - 1;
	char *text = malloc(len + sizeof(tail));

	(void)argv;
	memset(text, ' ', len);
	memcpy(text + len, tail, sizeof(tail));
	for (int i = 0; i < 3; i++)
		want(&p, text, "");
	free(text);
	part(&p);
}

static void case_half(const char *path, char **argv)
{
	struct peer p[32];

	(void)argv;
	for (int i = 0; i < 32; i++) {
		p[i] = meet(path);
		send_all(&p[i], INFO, (size_t)i);
	}
	others_are_served(path);
	for (int i = 0; i < 16; i++) /* the rest is taken however late it comes */
		send_all(&p[i], &INFO[i], sizeof(INFO) - (size_t)i);
	for (int i = 0; i < 16; i++) {
		auto_json json_t *answer = hear(&p[i]);

		if (!answer || error_of(answer)[0])
			die("a request in two parts was not answered");
	}
	for (int i = 0; i < 32; i++)
		part(&p[i]);
	others_are_served(path);
}

/* N requests, each different, in one buffer. */
static char *make_burst(unsigned n, size_t *ret_len)
{
	char *all = malloc((size_t)n * 64);
	size_t len = 0;

	for (unsigned i = 0; i < n; i++)
		len += (size_t)sprintf(all + len, "{\"method\":\"io.cos.None.N%u\"}", i) + 1;
	*ret_len = len;
	return all;
}

static void hear_burst(struct peer *p, unsigned n)
{
	char wanted[64];

	for (unsigned i = 0; i < n; i++) {
		auto_json json_t *answer = hear(p);

		snprintf(wanted, sizeof(wanted), "there is no method io.cos.None.N%u", i);
		if (!answer)
			die("closed after %u of %u answers", i, n);
		if (strcmp(why_of(answer), wanted) != 0)
			die("answer %u: %s: %s", i, error_of(answer), why_of(answer));
	}
}

/* burst N [half]: N requests at once. Nothing is read until another client has been answered: only
 * then can the daemon get on with them. */
static void case_burst(const char *path, char **argv)
{
	unsigned n = (unsigned)atoi(argv[0]);
	struct peer p = meet(path);
	size_t len;
	char *all = make_burst(n, &len);
	int status;
	pid_t writer = fork();

	if (writer == 0) {
		send_all(&p, all, len);
		if (argv[1])
			shutdown(p.sock, SHUT_WR);
		_exit(0);
	}
	for (int i = 0; i < 5; i++)
		others_are_served(path);
	hear_burst(&p, n);
	if (waitpid(writer, &status, 0) < 0 || status != 0)
		die("the writer failed");
	if (argv[1])
		want_closed(&p);
	else
		want(&p, INFO, "");
	free(all);
	part(&p);
}

static long rss_kib(pid_t pid)
{
	char path[64], line[256];
	long kib = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "VmRSS: %ld", &kib) == 1)
			break;
	}
	if (f)
		fclose(f);
	if (kib < 0)
		die("no VmRSS of %d", (int)pid);
	return kib;
}

/* mute PID: clients that ask for 10,000 lists each and read none. */
static void case_mute(const char *path, char **argv)
{
	pid_t daemon = (pid_t)atoi(argv[0]);
	long before = rss_kib(daemon), after;
	struct peer p[16];

	for (int i = 0; i < 16; i++) {
		p[i] = meet(path);
		fcntl(p[i].sock, F_SETFL, O_NONBLOCK);
		for (int k = 0; k < 10000; k++) {
			if (send(p[i].sock, LIST, sizeof(LIST), MSG_NOSIGNAL) != sizeof(LIST))
				break; /* it is not read from any more */
		}
		others_are_served(path);
	}
	after = rss_kib(daemon);
	if (after - before > 16384)
		die("the daemon grew from %ld to %ld KiB", before, after);
	for (int i = 0; i < 16; i++)
		part(&p[i]);
	others_are_served(path);
}

static void case_half_close(const char *path, char **argv)
{
	struct peer p = meet(path);
	auto_json json_t *answer = NULL;

	(void)argv;
	ask(&p, INFO);
	shutdown(p.sock, SHUT_WR);
	answer = hear(&p);
	if (!answer || error_of(answer)[0])
		die("no answer after shutdown(SHUT_WR)");
	want_closed(&p);
	part(&p);
}

static unsigned count_fds(pid_t pid)
{
	char path[64];
	unsigned n = 0;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	d = opendir(path);
	if (!d)
		die("%s: %s", path, strerror(errno));
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static void await_fds(const char *path, pid_t pid, unsigned most)
{
	unsigned n = 0;

	for (int i = 0; i < 200; i++) {
		n = count_fds(pid);
		if (n <= most)
			return;
		others_are_served(path);
		usleep(20000);
	}
	die("the daemon has %u descriptors, %u before", n, most);
}

/* fds PID: descriptors that nobody asked for, as many as the kernel passes. */
static void case_fds(const char *path, char **argv)
{
	pid_t daemon = (pid_t)atoi(argv[0]);
	unsigned before;
	int fds[8];

	others_are_served(path);
	before = count_fds(daemon);
	for (int i = 0; i < 8; i++)
		fds[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
	for (int i = 0; i < 8; i++) {
		struct peer p = meet(path);

		for (int k = 0; k < 16; k++) {
			auto_json json_t *answer = NULL;

			if (io_send_fds(p.sock, INFO, sizeof(INFO), fds, 8, 0) != sizeof(INFO))
				die("descriptors were not sent");
			answer = hear(&p);
			if (!answer || error_of(answer)[0])
				die("no answer to a request with descriptors");
		}
		if (count_fds(daemon) > before + 64)
			die("%u descriptors are held, %u before", count_fds(daemon), before);
		/* with the last part of nothing: no request ever ends here */
		if (io_send_fds(p.sock, "{", 1, fds, 8, 0) != 1)
			die("descriptors were not sent");
		part(&p);
	}
	await_fds(path, daemon, before);
	/* as many as a template's import may not have either */
	for (int i = 0; i < 4; i++) {
		static const char import[] =
			"{\"method\":\"io.cos.Template.Import\",\"parameters\":{\"name\":\"../x\"}}";
		struct peer p = meet(path);
		auto_json json_t *answer = NULL;

		io_send_fds(p.sock, import, sizeof(import), fds, 8, 0);
		answer = hear(&p);
		if (!answer || !error_of(answer)[0])
			die("an import of ../x was taken");
		part(&p);
	}
	await_fds(path, daemon, before);
}

static void case_oneway(const char *path, char **argv)
{
	struct peer p = meet(path);

	(void)argv;
	ask(&p, "{\"method\":\"io.cos.Guest.List\",\"oneway\":true}");
	ask(&p,
	    "{\"method\":\"io.cos.Guest.Start\",\"oneway\":true,\"parameters\":{\"name\":\"nobody\"}}");
	ask(&p, "{\"method\":\"io.cos.None.X\",\"oneway\":true}");
	want(&p,
	     "{\"method\":\"org.varlink.service.GetInterfaceDescription\","
	     "\"parameters\":{\"interface\":\"io.cos.Guest\"}}",
	     "");
	shutdown(p.sock, SHUT_WR);
	want_closed(&p);
	part(&p);
}

static void case_describe(const char *path, char **argv)
{
	struct peer p = meet(path);
	auto_json json_t *info = NULL;
	json_t *interfaces, *name;
	size_t i;

	(void)argv;
	ask(&p, INFO);
	info = hear(&p);
	interfaces = json_object_get(json_object_get(info, "parameters"), "interfaces");
	if (json_array_size(interfaces) < 2)
		die("GetInfo names %zu interfaces", json_array_size(interfaces));
	json_array_foreach(interfaces, i, name) {
		auto_json json_t *ask_for = json_pack("{s:s, s:{s:O}}", "method",
						      "org.varlink.service.GetInterfaceDescription",
						      "parameters", "interface", name);
		auto_free char *text = json_dumps(ask_for, JSON_COMPACT);
		auto_json json_t *answer = NULL;
		const char *is;
		char line[128];

		ask(&p, text);
		answer = hear(&p);
		is = json_string_value(
			json_object_get(json_object_get(answer, "parameters"), "description"));
		snprintf(line, sizeof(line), "interface %s\n", json_string_value(name));
		if (!is || !strstr(is, line))
			die("%s is described as: %s", json_string_value(name),
			    is ?: error_of(answer));
		if (strcmp(json_string_value(name), "org.varlink.service") != 0 &&
		    !strstr(is, "\nmethod ") && !strstr(is, "\nerror "))
			die("%s has neither method nor error", json_string_value(name));
	}
	part(&p);
}

static void become_nobody(void)
{
	if (setgroups(0, NULL) < 0 || setresgid(NOBODY, NOBODY, NOBODY) < 0 ||
	    setresuid(NOBODY, NOBODY, NOBODY) < 0)
		die("become nobody: %s", strerror(errno));
}

/* user REQUEST ERROR: what one request of an unprivileged user gets. */
static void case_user(const char *path, char **argv)
{
	struct peer p;

	become_nobody();
	p = meet(path);
	want(&p, argv[0], argv[1]);
	part(&p);
}

/* user-list: of others' guests the names and no more. */
static void case_user_list(const char *path, char **argv)
{
	struct peer p;
	auto_json json_t *answer = NULL;
	json_t *guests, *g;
	bool other = false, own = false;
	size_t i;

	(void)argv;
	become_nobody();
	p = meet(path);
	ask(&p, LIST);
	answer = hear(&p);
	guests = json_object_get(json_object_get(answer, "parameters"), "guests");
	json_array_foreach(guests, i, g) {
		const char *name = json_string_value(json_object_get(g, "name")) ?: "";

		if (strcmp(name, "mine") == 0) {
			own = json_object_get(g, "state") != NULL;
		} else if (strcmp(name, "other") == 0) {
			auto_free char *text = json_dumps(g, 0);

			other = true;
			if (json_object_size(g) != 1)
				die("more than the name of another's guest: %s", text);
		}
	}
	if (!own || !other)
		die("own guest %s, other's name %s", own ? "told" : "missing",
		    other ? "told" : "missing");
	part(&p);
}

/* not-mine: the root's socket lets nobody in. */
static void case_not_mine(const char *path, char **argv)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)argv;
	strcpy(sa.sun_path, path);
	become_nobody();
	if (connect(sock, (struct sockaddr *)&sa, sizeof(sa)) == 0)
		die("a stranger may use %s", path);
	close(sock);
}

/* limit N: the N+1st connection of a user is refused; when one ends there is room again. */
static void case_limit(const char *path, char **argv)
{
	int n = atoi(argv[0]);
	struct peer *p = calloc((size_t)n + 1, sizeof(*p));
	auto_json json_t *refusal = NULL;
	bool again = false;

	become_nobody();
	for (int i = 0; i < n; i++) {
		p[i] = meet(path);
		want(&p[i], INFO, "");
	}
	p[n] = meet(path);
	refusal = hear(&p[n]);
	if (!refusal || strcmp(error_of(refusal), "io.cos.Refused") != 0)
		die("connection %d was not refused", n + 1);
	want_closed(&p[n]);
	want(&p[n - 1], INFO, "");
	part(&p[0]);
	for (int i = 0; i < 200 && !again; i++) {
		struct peer one = meet(path);
		auto_json json_t *answer = NULL;

		if (send(one.sock, INFO, sizeof(INFO), MSG_NOSIGNAL) == sizeof(INFO))
			answer = hear(&one);
		again = answer && !error_of(answer)[0];
		part(&one);
	}
	if (!again)
		die("no room after a connection was closed");
	free(p);
}

/* crowd N COSCTL COMMAND: with N connections open, the client is told why it has to wait. */
static void case_crowd(const char *path, char **argv)
{
	int n = atoi(argv[0]);
	struct peer *p = calloc((size_t)n, sizeof(*p));
	char command[4096], text[4096] = "";
	size_t len = 0;
	FILE *out;

	for (int i = 0; i < n; i++) {
		p[i] = meet(path);
		want(&p[i], INFO, "");
	}
	snprintf(command, sizeof(command), "'%s' %s 2>&1", argv[1], argv[2]);
	out = popen(command, "re");
	if (out)
		len = fread(text, 1, sizeof(text) - 1, out);
	text[len] = '\0';
	if (!out || WEXITSTATUS(pclose(out)) != 6 || !strstr(text, "as many connections"))
		die("%s says: %s", command, text);
	for (int i = 0; i < n; i++)
		part(&p[i]);
	others_are_served(path);
	free(p);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(const char *path, char **argv);
		int args;
	} cases[] = {
		{ "malformed", case_malformed, 0 },
		{ "deep", case_deep, 0 },
		{ "too-long", case_too_long, 0 },
		{ "long", case_long, 0 },
		{ "half", case_half, 0 },
		{ "burst", case_burst, 1 },
		{ "mute", case_mute, 1 },
		{ "half-close", case_half_close, 0 },
		{ "fds", case_fds, 1 },
		{ "oneway", case_oneway, 0 },
		{ "describe", case_describe, 0 },
		{ "user", case_user, 2 },
		{ "user-list", case_user_list, 0 },
		{ "not-mine", case_not_mine, 0 },
		{ "limit", case_limit, 1 },
		{ "crowd", case_crowd, 3 },
	};

	for (size_t i = 0; argc > 2 && i < ARRAY_SIZE(cases); i++) {
		if (strcmp(cases[i].name, argv[1]) == 0 && argc >= 3 + cases[i].args) {
			cases[i].run(argv[2], argv + 3);
			return 0;
		}
	}
	fprintf(stderr, "usage: wire-abuse CASE SOCKET [ARGUMENT...]\n");
	return 2;
}
