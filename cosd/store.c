/* cosd/store.c - specifications on the disk, records of what runs in the runtime directory
 *
 *   S/guests/NAME.json      specification of a guest that lasts; durable
 *   R/ephemeral/NAME.json   of one that does not
 *   S/net/NAME.json         what a guest has of the network; net-guest.c
 *   R/guests/NAME.json      record: who runs as this guest, or how it ended */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cosd/guest.h"
#include "cosd/health.h"
#include "lib/base/clock.h"
#include "lib/base/io.h"
#include "lib/base/jsonx.h"
#include "lib/base/log.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "lib/kern/proc.h"

#define RECORD_VERSION 1
#define RECORD_BYTES   4096U

int store_open(struct daemon *d, struct cos_err *err)
{
	d->specs = io_dir_at(d->state, "guests", 0700);
	d->ephemeral = io_dir_at(d->runtime, "ephemeral", 0700);
	d->records = io_dir_at(d->runtime, "guests", 0700);
	d->leases = io_dir_at(d->state, "net", 0700);
	if (d->specs < 0 || d->ephemeral < 0 || d->records < 0 || d->leases < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "make directories in %s and %s",
				d->args->state_dir, d->args->runtime_dir);
	return 0;
}

static void file_name(char *buf, size_t size, const char *name)
{
	str_fmt(buf, size, "%s.json", name);
}

static int put_json(int dir, const char *name, json_t *j, bool durable)
{
	auto_free char *text = json_dumps(j, JSON_INDENT(1));
	char file[80];

	if (!text)
		return -ENOMEM;
	file_name(file, sizeof(file), name);
	return io_replace_at(dir, file, text, strlen(text), 0600, durable);
}

static int spec_dir(const struct guest *g)
{
	return g->spec.ephemeral ? g->d->ephemeral : g->d->specs;
}

int store_put_spec(struct guest *g, struct cos_err *err)
{
	int r = put_json(spec_dir(g), g->name, g->own, !g->spec.ephemeral);

	return r < 0 ? cos_fail(err, COS_E_KERNEL, -r, "write the specification of %s", g->name)
		     : 0;
}

void store_drop_spec(struct guest *g)
{
	char file[80];

	file_name(file, sizeof(file), g->name);
	if (unlinkat(spec_dir(g), file, 0) == 0 && !g->spec.ephemeral)
		fsync(spec_dir(g));
}

struct loading {
	struct daemon *d;
	int dir;
	bool ephemeral;
	int (*fn)(struct daemon *d, const struct stored *s, struct cos_err *err);
	struct cos_err *err;
};

static int load_one(const struct loading *l, const char *name, const char *file)
{
	auto_free char *text = NULL;
	auto_json json_t *own = NULL;
	struct cos_err why;
	struct stored s = { .name = name, .ephemeral = l->ephemeral, .why = &why };
	ssize_t n = io_slurp_at(l->dir, file, SPEC_BYTES_MAX, &text);

	if (n < 0)
		cos_fail(&why, COS_E_KERNEL, (int)-n, "read %s", file);
	else
		jsonx_parse(text, (size_t)n, file, &own, &why);
	s.own = own;
	return l->fn(l->d, &s, l->err);
}

static int load_entry(const char *file, void *arg)
{
	const struct loading *l = arg;
	size_t n = strlen(file);
	char name[NAME_SIZE];

	if (n > 5 && strcmp(file + n - 5, ".json") == 0) {
		if (str_fmt(name, sizeof(name), "%.*s", (int)n - 5, file) && str_is_name(name))
			return load_one(l, name, file);
		log_say(LOG_ERROR, "specification %s is not named after a guest", file);
	} else if (file[0] != '.') {
		unlinkat(l->dir, file, 0); /* a write that a crash cut short */
	}
	return 0;
}

int store_each_spec(struct daemon *d,
		    int (*fn)(struct daemon *d, const struct stored *s, struct cos_err *err),
		    struct cos_err *err)
{
	struct loading l = { d, d->specs, false, fn, err };
	int r;

	err->code = COS_E_NONE;
	r = io_each_entry(l.dir, load_entry, &l);
	l.dir = d->ephemeral;
	l.ephemeral = true;
	if (r == 0)
		r = io_each_entry(l.dir, load_entry, &l);
	if (r < 0 && err->code == COS_E_NONE)
		cos_fail(err, COS_E_KERNEL, -r, "read the specifications");
	return r;
}

int record_put_running(struct guest *g, pid_t pid, struct cos_err *err)
{
	auto_json json_t *j = NULL;
	uint64_t ticks = 0;
	int r = proc_start_ticks(pid, &ticks);

	if (r == 0) {
		if (g->pid <= 0)
			g->started_usec = clock_wall_usec();
		j = json_pack("{s:i, s:s, s:i, s:i, s:I, s:I, s:b, s:b, s:s, s:s*}", "version",
			      RECORD_VERSION, "boot_id", g->d->boot_id, "slot", g->slot, "pid",
			      (int)pid, "start_ticks", (json_int_t)ticks, "started_usec",
			      (json_int_t)g->started_usec, "stopping", g->stop_asked, "sick",
			      g->sick, "reason", g->reason, "health", health_name(g));
		r = j ? put_json(g->d->records, g->name, j, false) : -ENOMEM;
	}
	return r < 0 ? cos_fail(err, COS_E_KERNEL, -r, "write the record of %s", g->name) : 0;
}

void record_put_ended(struct guest *g)
{
	auto_json json_t *j = json_pack("{s:i, s:s, s:i, s:s, s:b}", "version", RECORD_VERSION,
					"boot_id", g->d->boot_id, "status", g->status, "reason",
					g->reason, "post_stop", g->hook_due);
	int r = j ? 0 : -ENOMEM;

	if (r == 0 && g->due)
		r = json_object_set_new(j, "again", json_integer(g->restarts)) ? -ENOMEM : 0;
	if (r == 0)
		r = put_json(g->d->records, g->name, j, false);
	if (r < 0)
		log_say(LOG_ERROR, "record of %s not written: %s", g->name, strerrorname_np(-r));
}

void record_drop(struct daemon *d, const char *name)
{
	char file[80];

	file_name(file, sizeof(file), name);
	unlinkat(d->records, file, 0);
}

int record_get(const struct daemon *d, const char *name, struct record *ret)
{
	auto_json json_t *j = NULL;
	char buf[RECORD_BYTES], file[80];
	const char *boot, *reason = "", *health = "";
	int slot = 0, pid = 0, status = STATUS_NONE, version;
	int stopping = 0, post_stop = 0, sick = 0, again = -1;
	json_int_t ticks = 0, started = 0;
	struct cos_err err;
	ssize_t n;

	file_name(file, sizeof(file), name);
	n = io_read_at(d->records, file, buf, sizeof(buf));
	if (n < 0)
		return (int)n;
	if (jsonx_parse(buf, (size_t)n, file, &j, &err) < 0 ||
	    json_unpack(j, "{s:i, s:s, s?i, s?i, s?I, s?I, s?i, s?s, s?b, s?b, s?b, s?s, s?i}",
			"version", &version, "boot_id", &boot, "slot", &slot, "pid", &pid,
			"start_ticks", &ticks, "started_usec", &started, "status", &status,
			"reason", &reason, "stopping", &stopping, "post_stop", &post_stop, "sick",
			&sick, "health", &health, "again", &again) < 0 ||
	    (pid > 0 && (slot < 0 || slot >= SLOTS_MAX)))
		return -EBADMSG;
	if (version != RECORD_VERSION || strcmp(boot, d->boot_id) != 0)
		return -ESTALE;
	*ret = (struct record){
		.slot = (unsigned)slot,
		.pid = pid,
		.start_ticks = (uint64_t)ticks,
		.started_usec = (uint64_t)started,
		.status = status,
		.stopping = stopping,
		.post_stop = post_stop,
		.sick = sick,
		.due = again >= 0,
		.restarts = again > 0 ? (unsigned)again : 0,
	};
	for (enum guest_health h = 0; h < HEALTH__N; h++) {
		if (strcmp(health, guest_health_name[h]) == 0)
			ret->health = h;
	}
	str_fmt(ret->reason, sizeof(ret->reason), "%s", reason);
	return 0;
}
