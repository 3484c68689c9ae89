/* cosd/event.c - the event log: one JSON object a line, numbered, rotated at a bound, followed live
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cosd/call.h"
#include "cosd/conf.def"
#include "lib/base/clock.h"
#include "lib/base/io.h"
#include "lib/base/log.h"
#include "lib/base/own.h"

#define LOG_NAME "events.log"
#define OLD_NAME "events.log.1"

/* A line begins with its number: those before SINCE need no parser. */
static bool is_before(const char *line, uint64_t since)
{
	static const char begin[] = "{\"seq\":";
	size_t n = sizeof(begin) - 1;

	return strncmp(line, begin, n) == 0 && strtoull(line + n, NULL, 10) < since;
}

bool events_each(const struct daemon *d, bool old, uint64_t since,
		 bool (*fn)(json_t *event, uint64_t seq, void *arg), void *arg)
{
	auto_free char *text = NULL;
	/* it may be of a time when more was allowed */
	ssize_t n =
		io_slurp_at(d->state, old ? OLD_NAME : LOG_NAME, EVENTS_BYTES_MAX + 65536, &text);

	/* After a crash of the host there may be NULs in it. */
	for (char *line = text, *end;
	     n > 0 && (end = memchr(line, '\n', (size_t)(text + n - line))); line = end + 1) {
		auto_json json_t *j = NULL;
		uint64_t seq;

		if (is_before(line, since))
			continue;
		j = json_loadb(line, (size_t)(end - line), 0, NULL);
		seq = (uint64_t)json_integer_value(json_object_get(j, "seq"));
		if (j && seq >= since && !fn(j, seq, arg))
			return false;
	}
	return true;
}

static bool note_seq(json_t *event, uint64_t seq, void *arg)
{
	(void)event;
	*(uint64_t *)arg = seq;
	return true;
}

/* A crash may have cut the last line: the next one does not go on with it. */
static void end_line(struct event_log *e)
{
	char last;

	if (e->size > 0 && pread(e->fd, &last, 1, (off_t)e->size - 1) == 1 && last != '\n' &&
	    io_write_all(e->fd, "\n", 1) == 0)
		e->size++;
}

static int open_log(struct daemon *d)
{
	struct stat st;

	d->events.fd = openat(d->state, LOG_NAME,
			      O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (d->events.fd < 0)
		return -errno;
	d->events.size = fstat(d->events.fd, &st) == 0 ? (uint64_t)st.st_size : 0;
	end_line(&d->events);
	return 0;
}

int events_open(struct daemon *d, struct cos_err *err)
{
	int r;

	list_init(&d->events.followers);
	events_each(d, false, 0, note_seq, &d->events.seq);
	if (d->events.seq == 0)
		events_each(d, true, 0, note_seq, &d->events.seq);
	r = open_log(d);
	return r < 0 ? cos_fail(err, COS_E_KERNEL, -r, "open %s/" LOG_NAME, d->args->state_dir) : 0;
}

/* A full disk costs lines, never the daemon: the loss is in its own log. */
static void write_line(struct daemon *d, const char *text)
{
	size_t len = strlen(text);
	auto_free char *line = malloc(len + 2);
	int r;

	if (!line)
		return;
	memcpy(line, text, len);
	line[len] = '\n';
	line[len + 1] = '\0';
	if (d->events.size + len + 1 > d->conf.events_log_bytes && d->events.size > 0) {
		close_p(&d->events.fd);
		renameat(d->state, LOG_NAME, d->state, OLD_NAME);
	}
	if (d->events.fd < 0 && open_log(d) < 0)
		return;
	r = io_write_all(d->events.fd, line, len + 1);
	if (r < 0)
		log_say(LOG_ERROR, "event not written: %s: %s", strerrorname_np(-r), text);
	else
		d->events.size += len + 1;
}

void event_say(struct daemon *d, const char *guest, const char *what, json_t *more)
{
	auto_json json_t *e = json_pack("{s:I, s:I, s:s}", "seq", (json_int_t)++d->events.seq,
					"time_usec", (json_int_t)clock_wall_usec(), "event", what);
	auto_free char *text = NULL;
	struct list *p, *next;

	if (guest)
		json_object_set_new(e, "guest", json_string(guest));
	if (more)
		json_object_update(e, more);
	json_decref(more);
	text = json_dumps(e, JSON_COMPACT);
	if (!text)
		return;
	write_line(d, text);
	list_for_each_safe(p, next, &d->events.followers) {
		struct call *c = list_entry(p, struct call, link);

		call_continue(c, json_pack("{s:O}", "event", e), NULL, 0);
	}
}
