/* cosd/api-host.c - the daemon and its host: what runs, what the kernel provides */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "cosd/api.h"
#include "cosd/guest.h"
#include "cow-fs/mount.h"
#include "cow-fs/space.h"
#include "lib/base/io.h"
#include "lib/base/jsonx.h"
#include "lib/base/own.h"
#include "lib/base/str.h"

int api_host_info(struct call *c, json_t *params, struct cos_err *err)
{
	int running = 0, r = jsonx_fill(params, "", NULL, 0, NULL, err);
	struct list *p;

	if (r < 0)
		return r;
	list_for_each(p, &c->d->guests)
		running += list_entry(p, struct guest, link)->pidfd >= 0;
	call_reply(c,
		   json_pack("{s:s, s:s, s:i, s:i, s:i, s:i}", "version", PACKAGE_VERSION,
			     "instance", c->d->args->instance, "pid", (int)getpid(), "keeper",
			     (int)getppid(), "guests", (int)c->d->n_guests, "running", running),
		   NULL, 0);
	return 0;
}

enum grade { GOOD, NOTE, BAD };

struct finding {
	enum grade grade;
	char text[1000], todo[200];
};

__attribute__((format(printf, 3, 4))) static void say(struct finding *f, enum grade grade,
						      const char *fmt, ...)
{
	va_list ap;

	f->grade = grade;
	va_start(ap, fmt);
	vsnprintf(f->text, sizeof(f->text), fmt, ap);
	va_end(ap);
}

static void check_kernel(const struct daemon *d, struct finding *f)
{
	struct utsname u;
	unsigned major = 0, minor = 0;

	(void)d;
	uname(&u);
	sscanf(u.release, "%u.%u", &major, &minor);
	say(f, major > 6 || (major == 6 && minor >= 1) ? GOOD : BAD,
	    "Linux %s (6.1 or later is needed)", u.release);
}

static void check_groups(const struct daemon *d, struct finding *f)
{
	size_t n = 0;

	for (int c = 0; c < CTL__N; c++) {
		int h = d->host.topo.where[c];

		n += (size_t)snprintf(f->text + n, sizeof(f->text) - n, "%s%s: %s", c ? ", " : "",
				      cg_ctl_name[c][CG_V1],
				      h < 0                                ? "none"
				      : d->host.topo.h[h].version == CG_V2 ? "v2"
									   : "v1");
		if (n >= sizeof(f->text))
			break;
	}
	f->grade = GOOD;
}

static void check_v2(const struct daemon *d, struct finding *f)
{
	if (d->host.topo.v2 >= 0) {
		say(f, GOOD, "cgroup v2 is mounted: kill, freeze, pressure");
		return;
	}
	say(f, NOTE, "cgroup v2 is not mounted: guests are killed by signals and frozen by v1");
	str_fmt(f->todo, sizeof(f->todo), "mount -t cgroup2 none /sys/fs/cgroup/unified");
}

static void check_limits(const struct daemon *d, struct finding *f)
{
	size_t n = 0;

	for (enum limit_id id = 0; id < LIMIT__CG; id++) {
		char why[CG_WHY_SIZE];

		if (!cg_can(&d->host.topo, id, limit_defs[id].dflt, why) && n < sizeof(f->text))
			n += (size_t)snprintf(f->text + n, sizeof(f->text) - n, "%s%s: %s",
					      n ? "; " : "", limit_defs[id].name, why);
	}
	if (n == 0) {
		say(f, GOOD, "every limit can be enforced");
		return;
	}
	f->grade = NOTE;
	str_fmt(f->todo, sizeof(f->todo),
		"these limits are refused here; cos-limits(5) tells "
		"what each needs");
}

/* Buffered writes belong to nobody on v1, so a cap does not hold for them. */
static void check_writeback(const struct daemon *d, struct finding *f)
{
	int io = d->host.topo.where[CTL_IO], mem = d->host.topo.where[CTL_MEMORY];

	if (io >= 0 && io == mem && d->host.topo.h[io].version == CG_V2) {
		say(f, GOOD, "io limits count buffered writes too");
		return;
	}
	say(f, NOTE, "io limits count reads and direct or synchronous writes only");
	str_fmt(f->todo, sizeof(f->todo),
		"boot with cgroup v2 for io and memory to have all counted");
}

static void check_disk(const struct daemon *d, struct finding *f)
{
	struct cowfs_limit_found found[COWFS_LIMIT__N];
	size_t n = 0;
	bool any = false;

	cowfs_limit_probe(d->cow.dir, found);
	for (enum cowfs_limit_kind i = 0; i < COWFS_LIMIT__N; i++) {
		any = any || found[i].works;
		n += (size_t)snprintf(f->text + n, sizeof(f->text) - n, "%s%s: %s", n ? "; " : "",
				      cowfs_limit_word[i], found[i].works ? "yes" : found[i].why);
	}
	f->grade = any ? GOOD : NOTE;
	if (!any)
		str_fmt(f->todo, sizeof(f->todo),
			"disk.max and disk.inodes are refused here; cos-limits(5) tells what they "
			"need");
}

static void check_overlay(const struct daemon *d, struct finding *f)
{
#define X(id, name, since, help) { name, since, 1U << COWFS_##id },
	static const struct {
		const char *name, *since;
		unsigned bit;
	} features[] = { COWFS_FEATURES(X) };
#undef X
	size_t n = (size_t)snprintf(f->text, sizeof(f->text), "overlay with mapped owners works");

	for (size_t i = 0; i < ARRAY_SIZE(features); i++)
		n += (size_t)snprintf(f->text + n, sizeof(f->text) - n, "; %s (Linux %s): %s",
				      features[i].name, features[i].since,
				      d->host.overlay & features[i].bit ? "yes"
									: "no, older way used");
	f->grade = GOOD;
}

static void check_state_dir(const struct daemon *d, struct finding *f)
{
	struct statvfs s;

	if (fstatvfs(d->state, &s) == 0 && (s.f_flag & ST_NOSUID) && (s.f_flag & ST_NODEV)) {
		say(f, GOOD, "%s is a mount with nosuid and nodev", d->args->state_dir);
		return;
	}
	say(f, BAD, "%s is not mounted nosuid,nodev: files of guests are files of the host there",
	    d->args->state_dir);
}

#define GUEST_FDS  24U  /* that the worker holds of a guest at most: files of its groups, console */
#define DAEMON_FDS 256U /* and for itself */

static void check_rlimit(const struct daemon *d, struct finding *f)
{
	struct rlimit lim;
	uint64_t needed = d->args->id_count * GUEST_FDS + DAEMON_FDS, guests = 0;

	getrlimit(RLIMIT_NOFILE, &lim);
	if (lim.rlim_cur >= needed) {
		say(f, GOOD, "descriptors: %llu", (unsigned long long)lim.rlim_cur);
		return;
	}
	if (lim.rlim_cur > DAEMON_FDS)
		guests = (lim.rlim_cur - DAEMON_FDS) / GUEST_FDS;
	say(f, NOTE, "descriptors: %llu, enough for about %llu running guests",
	    (unsigned long long)lim.rlim_cur, (unsigned long long)guests);
	str_fmt(f->todo, sizeof(f->todo), "start cosd with a higher hard limit (LimitNOFILE=)");
}

static void check_resource_cap(const struct daemon *d, struct finding *f)
{
	char status[4096], *p;
	unsigned long long eff = 0;

	(void)d;
	if (io_read_at(AT_FDCWD, "/proc/self/status", status, sizeof(status)) > 0 &&
	    (p = strstr(status, "CapEff:")))
		eff = strtoull(p + 7, NULL, 16);
	if (eff & 1ULL << 24) {
		say(f, GOOD, "rlimits can be raised for guests");
		return;
	}
	say(f, NOTE, "cosd lacks CAP_SYS_RESOURCE: rlimit.* above its own hard limits are refused");
	str_fmt(f->todo, sizeof(f->todo), "start cosd with all capabilities");
}

static void check_ksm(const struct daemon *d, struct finding *f)
{
	char text[16];

	(void)d;
	if (io_read_at(AT_FDCWD, "/sys/kernel/mm/ksm/run", text, sizeof(text)) <= 0) {
		say(f, NOTE, "the kernel has no KSM: guests with memory.ksm do not start");
		return;
	}
	if (text[0] == '1') {
		say(f, GOOD, "KSM runs for guests with memory.ksm");
		return;
	}
	say(f, NOTE, "KSM is switched off: memory.ksm has no effect");
	str_fmt(f->todo, sizeof(f->todo),
		"write 1 to /sys/kernel/mm/ksm/run if guests are to have it");
}

static void check_ids(const struct daemon *d, struct finding *f)
{
	say(f, GOOD, "user ids %u..%llu, one range of 65536 for each of %u guests",
	    d->args->id_base,
	    (unsigned long long)d->args->id_base + d->args->id_count * 65536ULL - 1,
	    d->args->id_count);
}

static void check_network(const struct daemon *d, struct finding *f)
{
	const struct net *n = &d->net;
	char cap[LIMIT_TEXT_SIZE], pool[NET_FAMILIES][IP_TEXT_SIZE] = { "", "" };

	for (int i = 0; i < NET_FAMILIES && n->on; i++) {
		if (n->pool[i].ip.family)
			ip_block_text(&n->pool[i], pool[i]);
	}
	if (n->on && n->uplink) {
		say(f, GOOD, "guests have addresses of %s %s, %s by %s together", pool[0], pool[1],
		    str_from_bits(cap, n->cap), n->uplink_name);
		return;
	}
	if (n->on) {
		say(f, NOTE, "guests have addresses of %s %s, and no way to elsewhere", pool[0],
		    pool[1]);
		str_fmt(f->todo, sizeof(f->todo), "name the host's link in net.uplink");
		return;
	}
	say(f, NOTE, "guests have no network: net.pool is not set");
	str_fmt(f->todo, sizeof(f->todo), "set net.pool in %s and restart cosd", d->args->config);
}

static void check_machines(const struct daemon *d, struct finding *f)
{
	auto_close int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (kvm >= 0 && d->host.vmm >= 0) {
		say(f, GOOD, "machines (guests of type vm): /dev/kvm and cos-vmm are there");
		return;
	}
	say(f, NOTE, "no machines (guests of type vm): %s",
	    kvm < 0 ? "there is no /dev/kvm" : "there is no cos-vmm beside cosd");
	str_fmt(f->todo, sizeof(f->todo), "%s",
		kvm < 0 ? "load kvm-intel or kvm-amd; in a machine, switch nested virtualization on"
			: "install cos-vmm and restart cosd");
}

static const struct {
	const char *name;
	void (*check)(const struct daemon *d, struct finding *f);
} checks[] = {
	{ "kernel", check_kernel },
	{ "cgroups", check_groups },
	{ "cgroup-v2", check_v2 },
	{ "limits", check_limits },
	{ "io-writes", check_writeback },
	{ "overlay", check_overlay },
	{ "state-dir", check_state_dir },
	{ "descriptors", check_rlimit },
	{ "rlimits", check_resource_cap },
	{ "ids", check_ids },
	{ "ksm", check_ksm },
	{ "network", check_network },
	{ "disk-limits", check_disk },
	{ "kvm", check_machines },
};

int api_host_doctor(struct call *c, json_t *params, struct cos_err *err)
{
	static const char *const grades[] = { "good", "note", "bad" };
	json_t *list;
	int r = jsonx_fill(params, "", NULL, 0, NULL, err);

	if (r < 0)
		return r;
	list = json_array();
	for (size_t i = 0; i < ARRAY_SIZE(checks); i++) {
		struct finding f = { 0 };

		checks[i].check(c->d, &f);
		json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s}", "check",
						      checks[i].name, "result", grades[f.grade],
						      "text", f.text, "todo", f.todo));
	}
	call_reply(c, json_pack("{s:o}", "checks", list), NULL, 0);
	return 0;
}
