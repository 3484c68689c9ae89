/* cosd/keeplink.c - the worker's side of its socket to the keeper */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cosd/daemon.h"
#include "cosd/guest.h"
#include "lib/base/io.h"
#include "lib/base/log.h"
#include "lib/base/own.h"
#include "lib/base/str.h"

static int say(struct daemon *d, const struct keep_msg *m, const int *fds, unsigned n)
{
	ssize_t r = io_send_fds(d->keeper.fd, m, sizeof(*m), fds, n, 0);

	return r < 0 ? (int)r : 0;
}

int keeplink_add(struct daemon *d, uint32_t slot, const char *name, pid_t pid, int pidfd,
		 int console)
{
	struct keep_msg m = { .op = KEEP_ADD, .slot = slot, .pid = pid };
	int fds[2] = { pidfd, console };

	str_fmt(m.name, sizeof(m.name), "%s", name);
	return say(d, &m, fds, console >= 0 ? 2 : 1);
}

void keeplink_del(struct daemon *d, uint32_t slot)
{
	say(d, &(struct keep_msg){ .op = KEEP_DEL, .slot = slot }, NULL, 0);
}

int keeplink_view(struct daemon *d, uint32_t slot, int sock)
{
	return say(d, &(struct keep_msg){ .op = KEEP_VIEW, .slot = slot }, &sock, 1);
}

void keeplink_unlog(struct daemon *d, const char *name)
{
	struct keep_msg m = { .op = KEEP_UNLOG };

	str_fmt(m.name, sizeof(m.name), "%s", name);
	say(d, &m, NULL, 0);
}

void keeplink_ready(struct daemon *d)
{
	say(d, &(struct keep_msg){ .op = KEEP_READY }, NULL, 0);
}

void keeplink_stop(struct daemon *d)
{
	say(d, &(struct keep_msg){ .op = KEEP_STOP }, NULL, 0);
}

int keeplink_list(struct daemon *d, struct keep_item **ret, unsigned *ret_n, struct cos_err *err)
{
	int r = say(d, &(struct keep_msg){ .op = KEEP_LIST }, NULL, 0);

	if (r == 0)
		r = keep_recv_items(d->keeper.fd, ret, ret_n);
	return r < 0 ? cos_fail(err, COS_E_KERNEL, -r, "ask the keeper what it holds") : 0;
}

/* The keeper is lost: this process takes its place, with the consoles and processes that it holds.
 * What was under way is cleared by the next worker, as after a crash of this one. */
static void replace_keeper(struct daemon *d)
{
	struct keep_item *items = calloc(d->n_guests + 1, sizeof(*items));
	unsigned n = 0;
	struct list *p;

	event_say(d, NULL, "keeper-lost", NULL);
	if (!items) /* the next daemon adopts by record */
		_exit(1);
	log_say(LOG_WARN, "the keeper ended; this process takes its place");
	list_for_each(p, &d->guests) {
		struct guest *g = list_entry(p, struct guest, link);

		if (g->slot < 0 || g->pidfd < 0)
			continue;
		items[n].m.slot = (uint32_t)g->slot;
		items[n].m.pid = g->pid;
		str_fmt(items[n].m.name, sizeof(items[n].m.name), "%s", g->name);
		items[n].pidfd = g->pidfd;
		items[n++].console = g->console;
	}
	keep_become(d->args, items, n, false);
	log_say(LOG_ERROR, "execute %s: %s", d->args->exe, strerrorname_np(errno));
	_exit(1);
}

static void told_exit(struct daemon *d, const struct keep_msg *m)
{
	struct list *p;

	list_for_each(p, &d->guests) {
		struct guest *g = list_entry(p, struct guest, link);

		/* A child of this process tells itself, by its own pidfd, and better. */
		if (g->slot == (int)m->slot && g->pid == m->pid && g->adopted && g->pidfd >= 0) {
			guest_ended(g, m->status);
			return;
		}
	}
}

static void keeper_ready(struct loop_source *s, uint32_t events)
{
	struct daemon *d = container_of(s, struct daemon, keeper);
	struct keep_msg m;
	unsigned n = 0;
	ssize_t got = io_recv_fds(s->fd, &m, sizeof(m), NULL, &n, MSG_DONTWAIT);

	(void)events;
	if (got == sizeof(m) && m.op == KEEP_EXIT)
		told_exit(d, &m);
	else if (got == 0 || (got < 0 && got != -EAGAIN))
		replace_keeper(d);
}

int keeplink_watch(struct daemon *d)
{
	d->keeper.ready = keeper_ready;
	return loop_add(&d->loop, &d->keeper, EPOLLIN);
}
