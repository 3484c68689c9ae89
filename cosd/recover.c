/* cosd/recover.c - after a start of the worker: what runs is adopted, what nobody claims is cleared
 *
 * The keeper says which processes it holds, the records say who they are. A guest is adopted when
 * both agree, or when the record alone proves a live process (boot id, pid, start time). Control
 * groups that no adopted guest has are emptied and removed. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cosd/guest.h"
#include "cow-fs/root.h"
#include "lib/base/io.h"
#include "lib/base/log.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "lib/kern/proc.h"

struct recovery {
	struct daemon *d;
	struct keep_item *items;
	unsigned n;
	unsigned adopted, ended, cleared;
};

/* A specification that was written under another version's rules still has to be accepted. */
static void load_guest(struct daemon *d, json_t *own, bool ephemeral)
{
	auto_json json_t *doc = NULL;
	struct cos_err err;
	struct spec spec;

	if (profile_expand(d, own, &doc, &err) < 0 || spec_parse(doc, &spec, &err) < 0) {
		const char *name = json_string_value(json_object_get(own, "name"));

		log_say(LOG_ERROR, "guest %s is left out: %s", name ?: "?", err.why);
		event_say(d, name, "spec-refused", json_pack("{s:s}", "reason", err.why));
		return;
	}
	spec.ephemeral = ephemeral;
	if (guest_find(d, spec.name) || !guest_new(d, own, &spec, &err))
		spec_done(&spec);
	else
		json_incref(own);
}

static struct keep_item *find_item(struct recovery *r, const char *name, unsigned slot)
{
	for (unsigned i = 0; i < r->n; i++) {
		if (r->items[i].m.slot == slot && strcmp(r->items[i].m.name, name) == 0)
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
	g->pidfd = item ? take_fd(item->pidfd) : proc_open(rec->pid, rec->start_ticks);
	g->console = item ? take_fd(item->console) : console_again(g);
	if (g->pidfd < 0)
		return cos_fail(err, COS_E_INTERNAL, -g->pidfd, "process %d of %s", rec->pid,
				g->name);
	slot_take(r->d, rec->slot);
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
	return guest_watch(g, err);
}

static void recover_guest(struct recovery *r, struct guest *g)
{
	struct keep_item *item;
	struct cos_err err;
	struct record rec;
	int e = record_get(r->d, g->name, &rec);

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
		guest_restore_end(g, rec.reason);
		return;
	}
	item = find_item(r, g->name, rec.slot);
	if (adopt(r, g, &rec, item, &err) == 0)
		return;
	/* It ended while nobody looked. */
	g->status = STATUS_UNKNOWN;
	g->slot = -1;
	g->pid = 0;
	g->pidfd = -1;
	guest_restore_end(g, "ended while cosd did not run: status unknown");
	record_put_ended(g);
	event_say(r->d, g->name, "exit", json_pack("{s:s}", "status", "unknown"));
	r->ended++;
}

static bool has_spec(struct daemon *d, const char *name)
{
	char file[80];

	str_fmt(file, sizeof(file), "%s.json", name);
	return guest_find(d, name) || faccessat(d->specs, file, F_OK, 0) == 0;
}

/* It runs, but its specification is refused now, perhaps for a broken profile. It runs on; a worker
 * that starts after that was mended adopts it. */
static bool is_left_out(struct daemon *d, const struct keep_item *item)
{
	return !item->m.ended && !guest_find(d, item->m.name) && has_spec(d, item->m.name);
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
	for (unsigned i = 0; i < r->n; i++) {
		if (r->items[i].m.slot == n && is_left_out(r->d, &r->items[i]))
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
		cg_remove(&r->d->host.topo, slot);
	}
}

static void clear_hierarchy(struct recovery *r, int root)
{
	int fd = openat(root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *it = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	if (!it) {
		close_p(&fd);
		return;
	}
	while ((e = readdir(it))) {
		if (e->d_type == DT_DIR && e->d_name[0] != '.' && !is_claimed(r, e->d_name))
			clear_slot(r, e->d_name);
	}
	closedir(it);
}

/* Kept processes that no record claims were never released: their start did not come to its end. */
static void drop_unclaimed(struct recovery *r)
{
	for (unsigned i = 0; i < r->n; i++) {
		struct keep_item *item = &r->items[i];

		if (is_left_out(r->d, item)) {
			slot_take(r->d, item->m.slot);
		} else if (item->pidfd >= 0) {
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

		if (g->spec.ephemeral && g->slot < 0 && guest_delete(g, &err) < 0)
			log_say(LOG_ERROR, "%s: %s", g->name, err.why);
	}
}

static void drop_root(struct daemon *d, const char *name)
{
	struct cos_err err;

	if (cowfs_root_remove(&d->cow, name, &err) < 0)
		log_say(LOG_ERROR, "root of %s: %s", name, err.why);
}

/* Calls DROP for each name that DIR/PATH has something of (files: NAME + SUFFIX...) and no
 * specification names: its create or delete was cut short. One whose specification was refused
 * keeps its data. */
static void drop_orphans(struct daemon *d, int dir, const char *path, const char *suffix,
			 void (*drop)(struct daemon *d, const char *name))
{
	int fd = openat(dir, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *it = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	if (!it) {
		close_p(&fd);
		return;
	}
	while ((e = readdir(it))) {
		char name[NAME_SIZE];
		char *end = suffix[0] ? strstr(e->d_name, suffix) : strchr(e->d_name, '\0');

		if (!end || !str_fmt(name, sizeof(name), "%.*s", (int)(end - e->d_name), e->d_name))
			continue;
		if (str_is_name(name) && !has_spec(d, name))
			drop(d, name);
	}
	closedir(it);
}

int recover(struct daemon *d, struct cos_err *err)
{
	struct recovery r = { .d = d };
	struct list *p, *next;
	int e = keeplink_list(d, &r.items, &r.n, err);

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
	drop_orphans(d, d->cow.dir, "guests", "", drop_root);
	drop_orphans(d, d->records, ".", ".json", record_drop);
	drop_orphans(d, d->state, "log", ".log", keeplink_unlog);
	free(r.items);
	if (r.adopted || r.ended || r.cleared)
		log_say(LOG_INFO,
			"recovery: %u guests adopted, %u ended meanwhile, %u leftovers cleared",
			r.adopted, r.ended, r.cleared);
	return 0;
}
