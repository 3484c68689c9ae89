/* bench/meter.c - what a bench's daemon itself uses: CPU time, system calls, what it tells of
 * itself */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/meter.h"
#include "lib/base/io.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "lib/wire/client.h"

pid_t meter_worker(const struct daemon *d)
{
	char path[100], buf[32];

	str_fmt(path, sizeof(path), "%s/cosd.pid", d->runtime);
	return io_read_at(AT_FDCWD, path, buf, sizeof(buf)) > 0 ? (pid_t)strtol(buf, NULL, 10) : 0;
}

pid_t meter_accountant(pid_t worker)
{
	char path[80], buf[8192];

	str_fmt(path, sizeof(path), "/proc/%d/task/%d/children", (int)worker, (int)worker);
	if (io_read_at(AT_FDCWD, path, buf, sizeof(buf)) <= 0)
		return 0;
	for (char *save, *p = strtok_r(buf, " ", &save); p; p = strtok_r(NULL, " ", &save)) {
		char line[200];

		str_fmt(path, sizeof(path), "/proc/%s/cmdline", p);
		if (io_read_at(AT_FDCWD, path, line, sizeof(line)) > 0 &&
		    strcmp(line + strlen(line) + 1, "--accountant") == 0)
			return (pid_t)strtol(p, NULL, 10);
	}
	return 0;
}

double meter_cpu(pid_t pid)
{
	char path[40], buf[100];

	str_fmt(path, sizeof(path), "/proc/%d/schedstat", (int)pid);
	if (pid <= 0 || io_read_at(AT_FDCWD, path, buf, sizeof(buf)) <= 0)
		return 0;
	return (double)strtoull(buf, NULL, 10) / 1e9;
}

json_t *meter_ask(const struct daemon *d)
{
	auto_json json_t *params = json_object();
	json_t *answer = NULL;
	struct cos_err err;
	struct client c;

	if (client_open(d->socket, &c, &err) < 0)
		return NULL;
	client_call(&c, "io.cos.Host.Metrics", params, &answer, &err);
	client_close(&c);
	return answer;
}

double meter_of(json_t *m, const char *key)
{
	return (double)json_integer_value(json_object_get(json_object_get(m, "daemon"), key));
}

static double value_of(const char *text, const char *key)
{
	const char *at = strstr(text, key);

	return at ? strtod(at + strlen(key), NULL) : 0;
}

struct meter_calls meter_calls(pid_t pid)
{
	char path[40], buf[400];

	str_fmt(path, sizeof(path), "/proc/%d/io", (int)pid);
	if (pid <= 0 || io_read_at(AT_FDCWD, path, buf, sizeof(buf)) <= 0)
		return (struct meter_calls){ 0 };
	return (struct meter_calls){ value_of(buf, "syscr: "), value_of(buf, "syscw: ") };
}
