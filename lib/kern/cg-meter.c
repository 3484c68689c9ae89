/* lib/kern/cg-meter.c - a guest's counters: which files, by version, and how they are read */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/own.h"
#include "lib/kern/cg-inner.h"
#include "lib/kern/cg-meter.h"

#define FILE_BYTES 8192

/* Where a file is: with its controller, in the v2 group whatever controllers that has, or there
 * when no v2 group is. */
enum place { WITH_CONTROLLER, IN_V2, WITHOUT_V2 };
/* What is looked at, counters from CPU on, those of disks from IO on. */
enum file { MEMORY, PIDS, CPU, CPU_USER, CPU_SYS, BANDWIDTH, WAIT, MEMORY_STAT, IO, IO_OPS };

struct file_def {
	enum place place;
	enum cg_ctl ctl;
	const char *name[CG_V2 + 1]; /* NULL: not in that version */
	void (*take)(const char *text, enum cg_version v, struct cg_counters *c);
};

static void take_cpu(const char *text, enum cg_version v, struct cg_counters *c)
{
	(void)v;
	c->cpu_user_usec = cg_flat_value(text, "user_usec");
	c->cpu_system_usec = cg_flat_value(text, "system_usec");
}

static void take_user(const char *text, enum cg_version v, struct cg_counters *c)
{
	(void)v;
	c->cpu_user_usec = strtoull(text, NULL, 10) / 1000;
}

static void take_sys(const char *text, enum cg_version v, struct cg_counters *c)
{
	(void)v;
	c->cpu_system_usec = strtoull(text, NULL, 10) / 1000;
}

static void take_bandwidth(const char *text, enum cg_version v, struct cg_counters *c)
{
	c->cpu_throttled_usec = v == CG_V2 ? cg_flat_value(text, "throttled_usec")
					   : cg_flat_value(text, "throttled_time") / 1000;
}

/* "some avg10=0.00 avg60=0.00 avg300=0.00 total=123" */
static void take_wait(const char *text, enum cg_version v, struct cg_counters *c)
{
	const char *total = strstr(text, "total=");

	(void)v;
	c->cpu_wait_usec = total ? strtoull(total + 6, NULL, 10) : 0;
}

static void take_cache(const char *text, enum cg_version v, struct cg_counters *c)
{
	uint64_t file = cg_flat_value(text, v == CG_V2 ? "file" : "total_cache");
	uint64_t shmem = cg_flat_value(text, v == CG_V2 ? "shmem" : "total_shmem");

	c->cache_bytes = file > shmem ? file - shmem : 0;
}

static uint64_t sum_of(const char *text, const char *word)
{
	size_t len = strlen(word);
	uint64_t sum = 0;

	for (const char *p = text; (p = strstr(p, word)); p += len)
		sum += strtoull(p + len, NULL, 10);
	return sum;
}

/* v1: "8:0 Read 4096", v2: "8:0 rbytes=4096 wbytes=0 rios=1 wios=0 dbytes=0 dios=0" */
static void take_io(const char *text, enum cg_version v, struct cg_counters *c)
{
	c->io_read_bytes = sum_of(text, v == CG_V2 ? " rbytes=" : " Read ");
	c->io_write_bytes = sum_of(text, v == CG_V2 ? " wbytes=" : " Write ");
	if (v == CG_V2) {
		c->io_read_ops = sum_of(text, " rios=");
		c->io_write_ops = sum_of(text, " wios=");
	}
}

static void take_io_ops(const char *text, enum cg_version v, struct cg_counters *c)
{
	(void)v;
	c->io_read_ops = sum_of(text, " Read ");
	c->io_write_ops = sum_of(text, " Write ");
}

static const struct file_def files[] = {
	/* clang-format off */
	[MEMORY] =      { WITH_CONTROLLER, CTL_MEMORY,  { NULL, "memory.usage_in_bytes", "memory.current" }, NULL },
	[PIDS] =        { WITH_CONTROLLER, CTL_PIDS,    { NULL, "pids.current", "pids.current" }, NULL },
	[CPU] =         { IN_V2,           CTL_CPUACCT, { NULL, NULL, "cpu.stat" }, take_cpu },
	[CPU_USER] =    { WITHOUT_V2,      CTL_CPUACCT, { NULL, "cpuacct.usage_user", NULL }, take_user },
	[CPU_SYS] =     { WITHOUT_V2,      CTL_CPUACCT, { NULL, "cpuacct.usage_sys", NULL }, take_sys },
	[BANDWIDTH] =   { WITH_CONTROLLER, CTL_CPU,     { NULL, "cpu.stat", "cpu.stat" }, take_bandwidth },
	[WAIT] =        { IN_V2,           CTL_CPU,     { NULL, NULL, "cpu.pressure" }, take_wait },
	[MEMORY_STAT] = { WITH_CONTROLLER, CTL_MEMORY,  { NULL, "memory.stat", "memory.stat" }, take_cache },
	[IO] =          { WITH_CONTROLLER, CTL_IO,      { NULL, "blkio.throttle.io_service_bytes_recursive", "io.stat" }, take_io },
	[IO_OPS] =      { WITH_CONTROLLER, CTL_IO,      { NULL, "blkio.throttle.io_serviced_recursive", NULL }, take_io_ops },
	/* clang-format on */
};
_Static_assert(ARRAY_SIZE(files) == CG_METER_FILES, "a row is a descriptor");

static int hierarchy_of(const struct cg_topo *t, const struct file_def *f)
{
	switch (f->place) {
	case WITH_CONTROLLER:
		return t->where[f->ctl];
	case IN_V2:
		return t->v2;
	case WITHOUT_V2:
		return t->v2 < 0 ? t->where[f->ctl] : -1;
	}
	return -1;
}

static int open_file(const struct cg_topo *t, const struct cg_guest *g, const struct file_def *f,
		     enum cg_version *ret_version)
{
	int h = hierarchy_of(t, f);
	const char *name = h < 0 ? NULL : f->name[t->h[h].version];

	if (!name || g->dir[h] < 0)
		return -1;
	*ret_version = t->h[h].version;
	return openat(g->dir[h], name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
}

int cg_meter_open(const struct cg_topo *t, const struct cg_guest *g, struct cg_meter *ret)
{
	struct cg_meter m = { 0 };
	struct stat st;

	if (g->dir[t->where[CTL_PIDS]] < 0 || fstat(g->dir[t->where[CTL_PIDS]], &st) < 0)
		return -ENOENT;
	for (int i = 0; i < CG_METER_FILES; i++)
		m.fd[i] = open_file(t, g, &files[i], &m.version[i]);
	m.run = st.st_ino;
	*ret = m;
	return 0;
}

void cg_meter_close(struct cg_meter *m)
{
	for (int i = 0; i < CG_METER_FILES; i++)
		close_p(&m->fd[i]);
}

/* Whether there is a text: what is longer than BUF is cut, and what is wanted stands in front. */
static bool read_text(int fd, char *buf, size_t size)
{
	ssize_t n = fd < 0 ? -1 : pread(fd, buf, size - 1, 0);

	if (n < 0)
		return false;
	buf[n] = '\0';
	return true;
}

void cg_meter_now(const struct cg_meter *m, uint64_t *ret_memory_bytes, uint64_t *ret_pids)
{
	char buf[32];

	*ret_memory_bytes =
		read_text(m->fd[MEMORY], buf, sizeof(buf)) ? strtoull(buf, NULL, 10) : 0;
	*ret_pids = read_text(m->fd[PIDS], buf, sizeof(buf)) ? strtoull(buf, NULL, 10) : 0;
}

bool cg_meter_cpu(const struct cg_meter *m, uint64_t *ret_nsec)
{
	char user[FILE_BYTES], sys[32];

	if (read_text(m->fd[CPU], user, sizeof(user))) {
		*ret_nsec = cg_flat_value(user, "usage_usec") * 1000;
		return true;
	}
	if (!read_text(m->fd[CPU_USER], user, sizeof(user)) ||
	    !read_text(m->fd[CPU_SYS], sys, sizeof(sys)))
		return false;
	*ret_nsec = strtoull(user, NULL, 10) + strtoull(sys, NULL, 10);
	return true;
}

static void read_files(const struct cg_meter *m, int first, struct cg_counters *ret)
{
	struct cg_counters c = { 0 };
	char buf[FILE_BYTES];

	for (int i = first; i < CG_METER_FILES; i++) {
		if (files[i].take && read_text(m->fd[i], buf, sizeof(buf)))
			files[i].take(buf, m->version[i], &c);
	}
	*ret = c;
}

void cg_meter_io(const struct cg_meter *m, struct cg_counters *ret)
{
	read_files(m, IO, ret);
}

void cg_meter_counters(const struct cg_meter *m, struct cg_counters *ret)
{
	read_files(m, CPU, ret);
}
