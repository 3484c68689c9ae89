/* lib/kern/cg-cpu.c - a guest's CPU time and quota, through descriptors that are kept */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/io.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "lib/kern/cg-inner.h"

#define WEIGHT_MAX_V2 10000
#define SHARES_MAX_V1 262144
#define RT_FILE       "cpu.rt_runtime_us" /* of each second, if nobody wrote another period */
#define RT_MOST       300000U
#define RT_LEAST      30000U

static int open_file(int dir, const char *name, int flags)
{
	return dir < 0 ? -1 : openat(dir, name, flags | O_CLOEXEC | O_NOFOLLOW);
}

int cg_cpu_open(const struct cg_topo *t, const struct cg_guest *g, struct cg_cpu *ret,
		struct cos_err *err)
{
	struct cg_cpu c = CG_CPU_NONE;
	int cpu = t->where[CTL_CPU], acct = t->where[CTL_CPUACCT], dir = g->dir[cpu];

	c.version = t->h[cpu].version;
	/* a host with a v2 hierarchy counts there, also where the controllers are of v1 */
	c.has_nsec = acct >= 0 && t->h[acct].version == CG_V1;
	c.usage = open_file(acct < 0 ? -1 : g->dir[acct], c.has_nsec ? "cpuacct.usage" : "cpu.stat",
			    O_RDONLY);
	if (c.version == CG_V2) {
		c.quota = open_file(dir, "cpu.max", O_WRONLY);
		c.weight = open_file(dir, "cpu.weight", O_WRONLY);
	} else {
		c.quota = open_file(dir, "cpu.cfs_quota_us", O_WRONLY);
		c.period = open_file(dir, "cpu.cfs_period_us", O_WRONLY);
		c.weight = open_file(dir, "cpu.shares", O_WRONLY);
	}
	if (c.usage < 0 || c.quota < 0 || (c.version == CG_V1 && c.period < 0)) {
		int r = cos_fail(err, COS_E_KERNEL, errno, "open the CPU group");

		cg_cpu_close(&c);
		return r;
	}
	c.idle = open_file(dir, "cpu.idle", O_WRONLY); /* a kernel before 5.15 has none */
	*ret = c;
	return 0;
}

void cg_cpu_close(struct cg_cpu *c)
{
	close_p(&c->usage);
	close_p(&c->quota);
	close_p(&c->period);
	close_p(&c->idle);
	close_p(&c->weight);
}

int cg_cpu_usage(const struct cg_cpu *c, uint64_t *ret_nsec)
{
	char text[512];
	ssize_t n = pread(c->usage, text, sizeof(text) - 1, 0);

	if (n <= 0)
		return n < 0 ? -errno : -EIO;
	text[n] = '\0';
	*ret_nsec =
		c->has_nsec ? strtoull(text, NULL, 10) : cg_flat_value(text, "usage_usec") * 1000;
	return 0;
}

static int write_text(int fd, const char *text)
{
	return pwrite(fd, text, strlen(text), 0) < 0 ? -errno : 0;
}

static int write_number(int fd, uint64_t v)
{
	char text[24];

	str_fmt(text, sizeof(text), "%" PRIu64, v);
	return write_text(fd, v == LIMIT_MAX ? "-1" : text);
}

static int write_v2(const struct cg_cpu *c, uint64_t quota_usec, uint64_t period_usec)
{
	char text[64];

	if (quota_usec == LIMIT_MAX)
		str_fmt(text, sizeof(text), "max %" PRIu64, period_usec);
	else
		str_fmt(text, sizeof(text), "%" PRIu64 " %" PRIu64, quota_usec, period_usec);
	return write_text(c->quota, text);
}

int cg_cpu_quota(struct cg_cpu *c, uint64_t quota_usec, uint64_t period_usec)
{
	int r = 0;

	if (quota_usec == c->quota_usec && period_usec == c->period_usec)
		return 0;
	if (c->version == CG_V2)
		r = write_v2(c, quota_usec, period_usec);
	if (c->version == CG_V1 && period_usec != c->period_usec)
		r = write_number(c->period, period_usec);
	if (c->version == CG_V1 && r == 0)
		r = write_number(c->quota, quota_usec);
	c->quota_usec = r < 0 ? 0 : quota_usec;
	c->period_usec = r < 0 ? 0 : period_usec;
	return r;
}

/* An idle group has no weight, and forgets the one it had. */
int cg_cpu_idle(struct cg_cpu *c, bool on, uint64_t weight)
{
	int r;

	if (on == c->is_idle)
		return 0;
	if (c->idle < 0)
		return -EOPNOTSUPP;
	r = write_number(c->idle, on);
	if (r == 0)
		c->is_idle = on;
	if (r == 0 && !on)
		r = write_number(c->weight, weight);
	return r;
}

int cg_weight(const struct cg_topo *t, const char *slot, uint64_t weight)
{
	int h = t->where[CTL_CPU];
	bool v2 = t->h[h].version == CG_V2;
	uint64_t most = v2 ? WEIGHT_MAX_V2 : SHARES_MAX_V1,
		 v = limits_cpu_weight(weight, t->h[h].version);
	char path[64], text[24];

	str_fmt(path, sizeof(path), "%s/%s", slot, v2 ? "cpu.weight" : "cpu.shares");
	str_fmt(text, sizeof(text), "%" PRIu64, v < most ? v : most);
	return io_write_at(t->h[h].root, path, text, strlen(text));
}

static uint64_t realtime_of(int dir)
{
	char text[24];

	return io_read_at(dir, RT_FILE, text, sizeof(text)) > 0 ? strtoull(text, NULL, 10) : 0;
}

/* A group can have what the one above has, and all of a host share one second. */
void cg_let_hurry(const struct cg_topo *t, const struct cg_guest *g)
{
	int h = t->where[CTL_CPU], top = t->h[h].root;

	if (t->h[h].version != CG_V1 || faccessat(top, RT_FILE, F_OK, 0) < 0)
		return;
	for (unsigned usec = RT_MOST; usec >= RT_LEAST; usec /= 2) {
		if ((realtime_of(top) >= usec || io_writef_at(top, RT_FILE, "%u", usec) == 0) &&
		    io_writef_at(g->dir[h], RT_FILE, "%u", usec) == 0)
			return;
	}
}
