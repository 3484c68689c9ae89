/* cosd/recover.c - after a start of the worker: what runs is adopted, what nobody claims is cleared
 *
 * The keeper says which processes it holds, the records say who they are. A guest is adopted when
 * both agree, or when the record alone proves a live process (boot id, pid, start time). Control
 * groups that no adopted guest has are emptied and removed. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cosd/call.h"
#include "cosd/guest.h"
#include "cosd/health.h"
#include "cosd/hook.h"
#include "cosd/meter.h"
#include "lib/base/io.h"
#include "lib/base/log.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "lib/base/uuid.h"
#include "lib/kern/proc.h"

struct recovery {
	struct daemon *d;
	struct keep_item *items;
	unsigned n;
	unsigned adopted, ended, cleared;
};

static int parse_stored(struct daemon *d, const struct stored *s, struct spec *ret,
			struct cos_err *err)
{
	auto_json json_t *doc = NULL;
	int r;

	if (!s->own) {
		*err = *s->why;
		return -EINVAL;
	}
	r = profile_expand(d, s->own, &doc, err);
	if (r >= 0)
		r = spec_parse(doc, ret, err);
	if (r >= 0 && strcmp(ret->name, s->name) != 0) {
		r = cos_fail(err, COS_E_INVALID, 0, "/name: \"%s\", in the file of another guest",
			     ret->name);
		spec_done(ret);
	}
	return r;
}

/* What it takes to end and to delete a guest of which no more than the name is known. */
static struct spec spec_of_name(const char *name, json_t *own)
{
	struct spec s = { .stop_signal = SIGTERM, .stop_timeout = 10, .userns = true };
	const char *uuid = json_string_value(json_object_get(own, "uuid"));

	if (uuid && uuid_is(uuid))
		s.uuid = uuid;
	limits_init(&s.limits);
	str_fmt(s.name, sizeof(s.name), "%s", name);
	return s;
}

/* One that was written by a later version, or that is damaged, still has to be seen by its owner,
 * and its guest may run. */
static int load_guest(struct daemon *d, const struct stored *s, struct cos_err *err)
{
	auto_json json_t *own = s->own ? json_incref(s->own) : json_pack("{s:s}", "name", s->name);
	struct cos_err why;
	struct spec spec;
	struct guest *g;
	bool good;
	int made;

	if (guest_find(d, s->name))
		return 0;
	made = own ? spec_name_uuid(own) : 0;
	good = parse_stored(d, s, &spec, &why) >= 0;
	if (!good)
		spec = spec_of_name(s->name, own);
	spec.ephemeral = s->ephemeral;
	g = own ? guest_new(d, own, &spec, err) : NULL;
	if (!g) {
		spec_done(&spec);
		return cos_fail(err, COS_E_KERNEL, ENOMEM, "guest %s", s->name);
	}
	(void)take_ptr(own);
	if (good) /* one of an earlier version is written with its uuid */
		return made > 0 ? store_put_spec(g, err) : 0;
	str_fmt(g->reason, sizeof(g->reason), "specification refused: %s", why.why);
	guest_restore_end(g, g->reason, false);
	log_say(LOG_ERROR, "%s: %s", g->name, g->reason);
	event_say(d, g->name, "spec-refused", json_pack("{s:s}", "reason", why.why));
	return 0;
}

static struct keep_item *find_item(struct recovery *r, const char *name, const struct record *rec)
{
	for (unsigned i = 0; i < r->n; i++) {
		if (r->items[i].m.slot == rec->slot && r->items[i].m.pid == rec->pid &&
		    strcmp(r->items[i].m.name, name) == 0)
			return &r->items[i];
	}
	return NULL;
}

/* The console of a guest whose keeper is lost: its cos-init holds the master. What comes from
 * inside has to be what it is said to be. */
static int console_again(const struct guest *g)
{
	auto_close int fd = g->pidfd < 0 || g->spec.own_init
				    ? -1
				    : (int)syscall(SYS_pidfd_getfd, g->pidfd, LAUNCH_CONSOLE_FD, 0);

	return fd >= 0 && launch_is_terminal(fd) ? take_fd(fd) : -1;
}

static int adopt(struct recovery *r, struct guest *g, const struct record *rec,
		 struct keep_item *item, struct cos_err *err)
{
	bool unknown_end = item && item->m.ended;

	g->slot = (int)rec->slot;
	g->pid = rec->pid;
	g->started_usec = rec->started_usec;
	g->adopted = true;
	g->stop_asked = rec->stopping;
	g->sick = rec->sick;
	if (g->sick)
		str_fmt(g->reason, sizeof(g->reason), "%s", rec->reason);
	g->pidfd = item ? take_fd(item->pidfd) : proc_open(rec->pid, rec->start_ticks);
	g->console = item ? take_fd(item->console) : console_again(g);
	if (g->pidfd < 0)
		return cos_fail(err, COS_E_INTERNAL, -g->pidfd, "process %d of %s", rec->pid,
				g->name);
	slot_take(r->d, rec->slot);
	net_adopt(g);
	meter_begin(g, true, rec->start_ticks);
	guest_adopted(g);
	if (!item) /* both were lost: the keeper learns of it from us */
		keeplink_add(r->d, rec->slot, g->name, rec->pid, g->pidfd, g->console);
	r->adopted++;
	event_say(r->d, g->name, "adopt",
		  json_pack("{s:i, s:b}", "pid", (int)rec->pid, "console", g->console >= 0));
	if (unknown_end) {
		guest_ended(g, item->m.status);
		return 0;
	}
	if (g->stop_asked)
		guest_resume_stop(g);
	else
		health_begin(g, rec->health);
	return guest_watch(g, err);
}

static void recover_guest(struct recovery *r, struct guest *g)
{
	struct keep_item *item;
	struct cos_err err;
	struct record rec;
	int e = record_get(r->d, g->name, &rec);
	bool again;

	if (e == -ENOENT)
		return;
	if (e < 0) {
		record_drop(r->d, g->name);
		if (e != -ESTALE)
			log_say(LOG_ERROR, "record of %s is not usable: %s", g->name,
				strerrorname_np(-e));
		return;
	}
	g->status = rec.status;
	if (rec.pid == 0) {
		guest_restore_end(g, rec.reason, rec.post_stop);
		if (rec.due)
			guest_restore_due(g, rec.restarts);
		if (rec.post_stop)
			guest_wind_up(g);
		return;
	}
	item = find_item(r, g->name, &rec);
	if (adopt(r, g, &rec, item, &err) == 0)
		return;
	/* It ended while nobody looked. */
	g->slot = (int)rec.slot;
	g->started_usec = rec.started_usec;
	net_adopt(g);
	meter_begin(g, true, rec.start_ticks);
	meter_last(g);
	net_release(g);
	g->status = STATUS_UNKNOWN;
	again = (g->sick || !rec.stopping) && guest_policy_restarts(g);
	g->slot = -1;
	g->pid = 0;
	g->pidfd = -1;
	guest_restore_end(g, "ended while cosd did not run: status unknown",
			  hook_is_set(g, HOOK_POST_STOP));
	if (again)
		guest_restore_due(g, 0);
	record_put_ended(g);
	event_say(r->d, g->name, "exit", json_pack("{s:s}", "status", "unknown"));
	r->ended++;
	if (g->hook_due)
		guest_wind_up(g);
}

static bool is_claimed(const struct recovery *r, const char *slot)
{
	uint64_t n;
	struct list *p;

	if (str_to_u64(slot, &n) < 0)
		return false;
	list_for_each(p, &r->d->guests) {
		if (list_entry(p, struct guest, link)->slot == (int)n)
			return true;
	}
	return false;
}

static void clear_slot(struct recovery *r, const char *slot)
{
	struct cg_guest cg;
	uint64_t n;

	if (cg_open(&r->d->host.topo, slot, &cg) == 0) {
		cg_kill(&r->d->host.topo, &cg);
		cg_close(&cg);
	}
	r->cleared++;
	if (str_to_u64(slot, &n) == 0 && n < r->d->args->id_count) {
		slot_take(r->d, (unsigned)n);
		slot_retire(r->d, (unsigned)n);
	} else {
		group_retire(r->d, slot);
	}
}

struct clearing {
	struct recovery *r;
	int root; /* of the hierarchy */
};

static int clear_unclaimed(const char *name, void *arg)
{
	const struct clearing *c = arg;
	struct stat st;

	if (fstatat(c->root, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode) &&
	    !is_claimed(c->r, name))
		clear_slot(c->r, name);
	return 0;
}

static void clear_hierarchy(struct recovery *r, int root)
{
	struct clearing c = { r, root };

	io_each_entry(root, clear_unclaimed, &c);
}

/* Kept processes that no record claims were never released: their start did not come to its end. */
static void drop_unclaimed(struct recovery *r)
{
	for (unsigned i = 0; i < r->n; i++) {
		struct keep_item *item = &r->items[i];

		if (item->pidfd >= 0) {
			proc_signal(item->pidfd, SIGKILL);
			keeplink_del(r->d, item->m.slot);
			r->cleared++;
		}
		close_p(&item->pidfd);
		close_p(&item->console);
	}
}

static void drop_dead_ephemerals(struct daemon *d)
{
	struct list *p, *next;
	struct cos_err err;

	list_for_each_safe(p, next, &d->guests) {
		struct guest *g = list_entry(p, struct guest, link);

		if (g->spec.ephemeral && guest_is_down(g) && guest_delete(g, &err) < 0)
			log_say(LOG_ERROR, "%s: %s", g->name, err.why);
	}
}

struct orphans {
	struct daemon *d;
	const char *suffix;
	void (*drop)(struct daemon *d, const char *name);
};

static int drop_orphan(const char *entry, void *arg)
{
	const struct orphans *o = arg;
	const char *end = o->suffix[0] ? strstr(entry, o->suffix) : strchr(entry, '\0');
	char name[NAME_SIZE];

	if (end && str_fmt(name, sizeof(name), "%.*s", (int)(end - entry), entry) &&
	    str_is_name(name) && !guest_find(o->d, name))
		o->drop(o->d, name);
	return 0;
}

/* Calls DROP for each name that DIR/PATH has something of (files: NAME + SUFFIX...) and no
 * specification names: its create or delete was cut short. */
static void drop_orphans(struct daemon *d, int dir, const char *path, const char *suffix,
			 void (*drop)(struct daemon *d, const char *name))
{
	auto_close int fd = openat(dir, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct orphans o = { d, suffix, drop };

	io_each_entry(fd, drop_orphan, &o);
}

int recover(struct daemon *d, struct cos_err *err)
{
	struct recovery r = { .d = d };
	struct list *p, *next;
	int e;

	jobs_await_old(d);
	e = keeplink_list(d, &r.items, &r.n, err);

	if (e == 0)
		e = store_each_spec(d, load_guest, err);
	if (e < 0)
		return e;
	list_for_each_safe(p, next, &d->guests)
		recover_guest(&r, list_entry(p, struct guest, link));
	drop_unclaimed(&r);
	for (unsigned i = 0; i < d->host.topo.n; i++)
		clear_hierarchy(&r, d->host.topo.h[i].root);
	drop_dead_ephemerals(d);
	drop_orphans(d, d->cow.dir, "guests", "", guest_drop_root);
	drop_orphans(d, d->records, ".", ".json", record_drop);
	drop_orphans(d, d->leases, ".", ".json", net_drop_lease);
	drop_orphans(d, d->state, "log", ".log", keeplink_unlog);
	free(r.items);
	if (r.adopted || r.ended || r.cleared)
		log_say(LOG_INFO,
			"recovery: %u guests adopted, %u ended meanwhile, %u leftovers cleared",
			r.adopted, r.ended, r.cleared);
	return 0;
}
