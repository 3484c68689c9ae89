/* bench/subject.c - what is measured: a guest with limits, or a bare control group like it */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/subject.h"
#include "lib/base/io.h"
#include "lib/base/own.h"
#include "lib/base/str.h"

#define STALL_TRIES 2000U /* of 1 ms */

static int tell(int r, const char *what, const char *name)
{
	fprintf(stderr, "bench: %s: %s: %s\n", what, name, strerror(-r));
	return r;
}

/* ---- the group's files ---- */

/* The hierarchy of v1's controller CTL, or v2's, which is also NULL's. */
static const struct bench_cg *hierarchy(const struct bench *b, const char *ctl)
{
	const struct bench_cg *cg = bench_cg_find(b, ctl);

	return cg ? cg : bench_cg_find(b, NULL);
}

static int open_group(const struct subject *s, const char *ctl)
{
	const struct bench_cg *cg = hierarchy(s->d->b, ctl);
	char path[160];
	int fd;

	if (!cg || !str_fmt(path, sizeof(path), "%s/%s", cg->path, s->group))
		return -ENOENT;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

ssize_t subject_read(const struct subject *s, const char *ctl, const char *file, char *buf,
		     size_t size)
{
	auto_close int dir = open_group(s, ctl);

	return dir < 0 ? dir : io_read_at(dir, file, buf, size);
}

int subject_write(const struct subject *s, const char *ctl, const char *file, const char *text)
{
	auto_close int dir = open_group(s, ctl);

	return dir < 0 ? dir : io_write_at(dir, file, text, strlen(text));
}

uint64_t subject_number(const struct subject *s, const char *ctl, const char *file, const char *key)
{
	size_t len = key ? strlen(key) : 0;
	char text[8192], *at = text;

	if (subject_read(s, ctl, file, text, sizeof(text)) <= 0)
		return 0;
	while (at && key && (strncmp(at, key, len) != 0 || at[len] != ' ')) {
		at = strchr(at, '\n');
		at = at ? at + 1 : NULL;
	}
	return at ? strtoull(at + len, NULL, 10) : 0;
}

uint64_t subject_cpu_nsec(const struct subject *s)
{
	/* v2 counts without a controller; a guest has no group for v1's cpuacct where v2 is there
	 */
	if (bench_cg_find(s->d->b, NULL))
		return subject_number(s, NULL, "cpu.stat", "usage_usec") * 1000;
	return subject_number(s, "cpuacct", "cpuacct.usage", NULL);
}

/* ---- a guest ---- */

static int find_group(struct subject *s)
{
	const char *args[] = { "status", "-o", "json", s->name, NULL };
	char text[8192];
	const char *at;
	int r = daemon_ask(s->d, args, text, sizeof(text));

	at = r == 0 ? strstr(text, "\"slot\":") : NULL;
	if (!at || !str_fmt(s->group, sizeof(s->group), "cos.%s/%d", s->d->instance,
			    atoi(strchr(at, ':') + 1)))
		return -ENOENT;
	return 0;
}

int subject_bench(struct bench *b)
{
	int r = bench_open(b);

	if (r == 0)
		r = bench_make_root(b, SUBJECT_ROOT);
	return r < 0 ? r : bench_add_program(b, SUBJECT_ROOT, "work");
}

int subject_guest(struct subject *s, const struct daemon *d, const char *name,
		  const char *const *limits, const char *const *command)
{
	static const char *const idle[] = { "/bin/work", "stay", NULL };
	const char *create[SUBJECT_WORDS + 1] = { "create", "--template", "bench", name };
	const char *start[] = { "start", name, NULL };
	unsigned n = 4;
	int r;

	*s = (struct subject){ .d = d };
	snprintf(s->name, sizeof(s->name), "%s", name);
	while (*limits && n < SUBJECT_WORDS)
		create[n++] = *limits++;
	if (n < SUBJECT_WORDS)
		create[n++] = "--";
	for (command = command ?: idle; *command && n < SUBJECT_WORDS; command++)
		create[n++] = *command;
	create[n] = NULL;
	r = daemon_call(d, create, -1);
	if (r == 0)
		r = daemon_call(d, start, -1);
	if (r == 0)
		r = find_group(s);
	if (r == 0)
		return 0;
	bench_show_log(d->b);
	return tell(r < 0 ? r : -EIO, "guest", name);
}

int subject_find(struct subject *s, const struct daemon *d, const char *name)
{
	int r;

	*s = (struct subject){ .d = d };
	snprintf(s->name, sizeof(s->name), "%s", name);
	r = find_group(s);
	return r < 0 ? tell(r, "guest", name) : 0;
}

/* ---- a bare group ---- */

/* In an order in which a new group takes them. */
static const struct number {
	const char *ctl, *file;
} numbers[] = {
	{ "cpu", "cpu.cfs_period_us" },
	{ "cpu", "cpu.cfs_quota_us" },
	{ "cpu", "cpu.cfs_burst_us" },
	{ "cpu", "cpu.max" },
	{ "cpu", "cpu.max.burst" },
	{ "cpu", "cpu.shares" },
	{ "cpu", "cpu.weight" },
	{ "memory", "memory.limit_in_bytes" },
	{ "memory", "memory.max" },
	{ "pids", "pids.max" },
	{ "blkio", "blkio.bfq.weight" },
	{ "blkio", "blkio.throttle.read_bps_device" },
	{ "blkio", "blkio.throttle.write_bps_device" },
	{ "blkio", "blkio.throttle.read_iops_device" },
	{ "blkio", "blkio.throttle.write_iops_device" },
	{ "blkio", "io.bfq.weight" },
	{ "blkio", "io.max" },
};

/* The kernel takes a file of several lines one by one. */
static int copy_number(const struct number *n, const struct subject *from, const struct subject *to)
{
	auto_close int dir = open_group(to, n->ctl);
	char text[8192], *save, *line;
	int r = 0;

	if (subject_read(from, n->ctl, n->file, text, sizeof(text)) <= 0)
		return 0; /* the other version's */
	for (line = strtok_r(text, "\n", &save); line && r == 0; line = strtok_r(NULL, "\n", &save))
		r = io_write_at(dir, n->file, line, strlen(line));
	return r;
}

static void enable_v2(const struct bench_cg *cg)
{
	static const char *const ctls[] = { "+cpu", "+io", "+memory", "+pids" };
	auto_close int root = open(cg->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	for (size_t i = 0; i < ARRAY_SIZE(ctls); i++) {
		io_write_at(root, "cgroup.subtree_control", ctls[i], strlen(ctls[i]));
		io_write_at(cg->dir, "cgroup.subtree_control", ctls[i], strlen(ctls[i]));
	}
}

static int make_group(const struct subject *s, const struct bench_cg *cg)
{
	static const char *const files[] = { "cpuset.cpus", "cpuset.mems" };
	auto_close int dir = -1;
	char text[4096];

	if (cg->v2)
		enable_v2(cg);
	dir = io_dir_at(cg->dir, s->name, 0755);
	for (size_t i = 0; dir >= 0 && i < ARRAY_SIZE(files) && strstr(cg->ctl, ",cpuset,"); i++) {
		ssize_t n = io_read_at(cg->dir, files[i], text, sizeof(text));

		if (n > 0)
			io_write_at(dir, files[i], text, (size_t)n);
	}
	return dir < 0 ? dir : 0;
}

int subject_bare(struct subject *s, const char *name, const struct subject *like)
{
	const struct bench *b = like->d->b;
	int r = 0;

	*s = (struct subject){ .d = like->d, .bare = true };
	snprintf(s->name, sizeof(s->name), "%s", name);
	snprintf(s->group, sizeof(s->group), "%s/%s", b->group, name);
	for (unsigned i = 0; i < b->n_cg && r == 0; i++)
		r = make_group(s, &b->cg[i]);
	for (size_t i = 0; i < ARRAY_SIZE(numbers) && r == 0; i++) {
		r = copy_number(&numbers[i], like, s);
		if (r < 0)
			return tell(r, "bare group", numbers[i].file);
	}
	return r < 0 ? tell(r, "bare group", name) : 0;
}

void subject_remove(struct subject *s)
{
	const char *args[] = { "delete", "--force", s->name, NULL };

	if (!s->name[0])
		return;
	if (s->bare)
		bench_cg_remove(s->d->b, s->d->b->group, s->name);
	else
		daemon_call(s->d, args, -1);
	s->name[0] = '\0';
}

/* ---- work in it ---- */

static pid_t start_bare(const struct subject *s, const char *const *args, int out)
{
	static const char *const ctls[] = { "cpu", "cpuacct", "memory", "pids", "blkio", NULL };
	char program[80], group[ARRAY_SIZE(ctls)][160];
	const char *argv[SUBJECT_WORDS + 8] = { program };
	unsigned n = 1;

	snprintf(program, sizeof(program), "%s/" SUBJECT_ROOT "/bin/work", s->d->b->dir);
	for (size_t i = 0; i < ARRAY_SIZE(ctls); i++) {
		const struct bench_cg *cg = hierarchy(s->d->b, ctls[i]);

		if (!cg || !str_fmt(group[i], sizeof(group[i]), "%s/%s", cg->path, s->group))
			continue;
		argv[n++] = "-g";
		argv[n++] = group[i];
	}
	while (*args && n < SUBJECT_WORDS + 7)
		argv[n++] = *args++;
	argv[n] = NULL;
	return bench_spawn(s->d->b, argv, out);
}

pid_t subject_start(const struct subject *s, const char *const *args, int out)
{
	const char *exec[SUBJECT_WORDS + 6] = { "exec", "--no-tty", s->name, "--", "/bin/work" };
	unsigned n = 5;

	if (s->bare)
		return start_bare(s, args, out);
	while (*args && n < SUBJECT_WORDS + 5)
		exec[n++] = *args++;
	exec[n] = NULL;
	return daemon_spawn(s->d, exec, out);
}

void subject_await_stall(const struct subject *s)
{
	uint64_t was = subject_cpu_nsec(s), is;

	for (unsigned i = 0, still = 0; i < STALL_TRIES && still < 3 && !bench_stopped(); i++) {
		bench_idle(1);
		is = subject_cpu_nsec(s);
		still = is == was ? still + 1 : 0;
		was = is;
	}
}
