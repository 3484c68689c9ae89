/* cosd/kept.c - what the keeper holds, and how it hands that to the worker or the next daemon */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "cosd/console.h"
#include "cosd/keeper.h"
#include "cosd/notify.h"
#include "cosd/points.h"
#include "lib/base/io.h"
#include "lib/base/log.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "lib/kern/proc.h"

#define RETRY_USEC 10000

struct kept {
	struct list link;
	struct keeper *k;
	struct keep_msg m;
	int pidfd;
	struct console console;
	struct loop_source src; /* the pidfd */
	struct loop_timer retry;
};

static struct kept *find(struct keeper *k, uint32_t slot)
{
	struct list *p;

	list_for_each(p, &k->kept) {
		if (list_entry(p, struct kept, link)->m.slot == slot)
			return list_entry(p, struct kept, link);
	}
	return NULL;
}

bool kept_any_lives(const struct keeper *k)
{
	struct list *p;

	list_for_each(p, &k->kept) {
		if (!list_entry(p, struct kept, link)->m.ended)
			return true;
	}
	return false;
}

/* --- their ends --- */

static int tell(struct keeper *k, const struct keep_msg *m, const int *fds, unsigned n)
{
	if (k->link.fd < 0 || k->args->holding)
		return -ENOTCONN;
	if (k->unsent) /* it is told after the list, to which it may be news */
		return -EAGAIN;
	return (int)io_send_fds(k->link.fd, m, sizeof(*m), fds, n, MSG_DONTWAIT);
}

/* A holder has nothing more to do. */
static void end_if_idle(struct keeper *k)
{
	if (!k->unsent && !kept_any_lives(k))
		k->loop.stop = true;
}

static void tell_exit(struct kept *e)
{
	struct keep_msg m = e->m;

	m.op = KEEP_EXIT;
	if (e->k->args->holding)
		end_if_idle(e->k);
	else if (tell(e->k, &m, NULL, 0) < 0 && e->k->link.fd >= 0) /* its queue is full */
		loop_timer_set(&e->k->loop, &e->retry, RETRY_USEC);
}

/* While the worker lives it is the parent and reaps; an orphan's parent is the keeper. */
static void kept_ended(struct kept *e)
{
	int status;

	point("keep", "exit", false, e->k->worker);
	if (!e->m.ended) {
		if (proc_exit_status(e->pidfd, &status) == -EAGAIN) {
			loop_timer_set(&e->k->loop, &e->retry, RETRY_USEC);
			point("keep", "exit", true, e->k->worker);
			return;
		}
		e->m.ended = 1;
		e->m.status = status;
		proc_reap(e->pidfd);
	}
	tell_exit(e);
	point("keep", "exit", true, e->k->worker);
}

bool kept_reap(struct keeper *k, pid_t pid)
{
	struct list *p;

	list_for_each(p, &k->kept) {
		struct kept *e = list_entry(p, struct kept, link);

		if (e->m.pid == pid && !e->m.ended) {
			kept_ended(e);
			return true;
		}
	}
	return false;
}

static void kept_ready(struct loop_source *s, uint32_t events)
{
	struct kept *e = container_of(s, struct kept, src);

	(void)events;
	loop_del(s);
	kept_ended(e);
}

static void kept_retry(struct loop_timer *t)
{
	kept_ended(container_of(t, struct kept, retry));
}

/* --- taken and let go --- */

static void kept_free(struct loop_timer *t)
{
	free(container_of(t, struct kept, retry));
}

void kept_add(struct keeper *k, const struct keep_msg *m, int pidfd, int console)
{
	struct kept *e = calloc(1, sizeof(*e));

	if (!e || find(k, m->slot)) {
		log_say(LOG_ERROR, "slot %u cannot be kept", m->slot);
		free(e);
		close_p(&pidfd);
		close_p(&console);
		return;
	}
	e->k = k;
	e->m = *m;
	e->m.name[sizeof(e->m.name) - 1] = '\0';
	e->pidfd = pidfd;
	e->src = (struct loop_source){ .fd = pidfd, .ready = kept_ready };
	e->retry.fire = kept_retry;
	list_add_tail(&k->kept, &e->link);
	if (console >= 0 && console_open(&e->console, &k->loop, console, k->logs, e->m.name,
					 k->args->log_bytes) < 0)
		log_say(LOG_ERROR, "console of %s: %s", e->m.name, strerrorname_np(errno));
	if (!e->m.ended && loop_add(&k->loop, &e->src, EPOLLIN) < 0)
		log_say(LOG_ERROR, "watch %s: %s", e->m.name, strerrorname_np(errno));
}

static void del(struct kept *e)
{
	console_close(&e->console);
	loop_del(&e->src);
	close_p(&e->pidfd);
	if (e->k->unsent == &e->link)
		e->k->unsent = e->link.next;
	list_del(&e->link);
	e->retry.fire = kept_free; /* when the loop knows nothing of it any more */
	loop_timer_set(&e->k->loop, &e->retry, 0);
}

void kept_drop(struct keeper *k)
{
	while (!list_is_empty(&k->kept))
		del(list_entry(k->kept.next, struct kept, link));
}

struct keep_item *kept_items(struct keeper *k, unsigned *ret_n)
{
	struct keep_item *items;
	unsigned n = 0;
	struct list *p;

	list_for_each(p, &k->kept)
		n++;
	items = calloc(n + 1, sizeof(*items));
	n = 0;
	list_for_each(p, &k->kept) {
		struct kept *e = list_entry(p, struct kept, link);

		if (!items)
			break;
		items[n].m = e->m;
		items[n].pidfd = e->pidfd;
		items[n++].console = e->console.open ? e->console.master : -1;
	}
	*ret_n = n;
	return items;
}

/* --- the list of all that is held: sent as the other side reads, beside everything else --- */

static ssize_t send_item(struct keeper *k, const struct kept *e)
{
	int fds[2] = { e->pidfd, e->console.master };
	struct keep_msg m = e->m;

	m.op = KEEP_ITEM;
	return io_send_fds(k->link.fd, &m, sizeof(m), fds, e->console.open ? 2 : 1, MSG_DONTWAIT);
}

/* What the socket takes. 0: that was all; -EAGAIN: it takes no more now. */
static int send_some(struct keeper *k)
{
	struct keep_msg end = { .op = KEEP_END };
	ssize_t r;

	while (k->unsent != &k->kept) {
		r = send_item(k, list_entry(k->unsent, struct kept, link));
		if (r < 0)
			return (int)r;
		k->unsent = k->unsent->next;
	}
	r = io_send_fds(k->link.fd, &end, sizeof(end), NULL, 0, MSG_DONTWAIT);
	return r < 0 ? (int)r : 0;
}

static void go_on_with_list(struct keeper *k)
{
	int r = send_some(k);

	if (r == -EAGAIN) {
		loop_mod(&k->link, EPOLLIN | EPOLLOUT);
		return;
	}
	k->unsent = NULL;
	if (r == 0 && !k->args->holding) {
		loop_mod(&k->link, EPOLLIN);
		return;
	}
	loop_del(&k->link); /* half a list is none: the other side sees the end */
	if (r == 0)
		k->loop.stop = true; /* what was sent lives on in the other process */
}

static void start_list(struct keeper *k)
{
	k->unsent = k->kept.next;
	go_on_with_list(k);
}

/* --- the worker --- */

static void remove_log(struct keeper *k, const char *name)
{
	char file[80];

	str_fmt(file, sizeof(file), "%.63s.log", name);
	unlinkat(k->logs, file, 0);
	str_fmt(file, sizeof(file), "%.63s.log.1", name);
	unlinkat(k->logs, file, 0);
}

static void serve(struct keeper *k, const struct keep_msg *m, int *fds, unsigned n)
{
	struct kept *e = find(k, m->slot);

	switch ((enum keep_op)m->op) {
	case KEEP_ADD:
		point("keep", "add", false, k->worker);
		if (n >= 1)
			kept_add(k, m, take_fd(fds[0]), n == 2 ? take_fd(fds[1]) : -1);
		point("keep", "add", true, k->worker);
		break;
	case KEEP_DEL:
		point("keep", "del", false, k->worker);
		if (e)
			del(e);
		point("keep", "del", true, k->worker);
		break;
	case KEEP_VIEW:
		if (e && n == 1)
			console_view(&e->console, take_fd(fds[0]));
		break;
	case KEEP_LIST:
		start_list(k);
		break;
	case KEEP_READY:
		k->served = true;
		notify_ready();
		break;
	case KEEP_UNLOG:
		remove_log(k, m->name);
		break;
	case KEEP_STOP:
		keeper_stop(k);
		break;
	case KEEP_ITEM:
	case KEEP_END:
	case KEEP_EXIT:
		break;
	}
	for (unsigned i = 0; i < n; i++)
		close_p(&fds[i]);
}

static void link_ready(struct loop_source *s, uint32_t events)
{
	struct keeper *k = container_of(s, struct keeper, link);
	int fds[2] = { -1, -1 };
	unsigned n = 2;
	struct keep_msg m;
	ssize_t got = io_recv_fds(s->fd, &m, sizeof(m), fds, &n, MSG_DONTWAIT);

	if (got == sizeof(m))
		serve(k, &m, fds, n);
	else if (got != -EAGAIN) /* its end is reported by SIGCHLD as well */
		loop_del(s);
	if ((events & EPOLLOUT) && k->unsent && !s->dead)
		go_on_with_list(k);
}

static void link_gone(struct loop_source *s)
{
	container_of(s, struct keeper, link)->unsent = NULL;
	close_p(&s->fd);
}

int kept_serve(struct keeper *k, int sock)
{
	k->link = (struct loop_source){ .fd = sock, .ready = link_ready, .gone = link_gone };
	return loop_add(&k->loop, &k->link, EPOLLIN);
}

/* --- the next daemon, for a holder --- */

/* It says nothing: there is room for more of the list, or it is gone. */
static void next_ready(struct loop_source *s, uint32_t events)
{
	(void)events;
	go_on_with_list(container_of(s, struct keeper, link));
}

/* It did not take the list to its end; another one may come. */
static void next_gone(struct loop_source *s)
{
	struct keeper *k = container_of(s, struct keeper, link);

	link_gone(s);
	loop_mod(&k->hold, EPOLLIN);
	end_if_idle(k);
}

static void hold_ready(struct loop_source *s, uint32_t events)
{
	struct keeper *k = container_of(s, struct keeper, hold);
	auto_close int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC);

	(void)events;
	if (fd < 0)
		return;
	k->link = (struct loop_source){ .fd = fd, .ready = next_ready, .gone = next_gone };
	if (loop_add(&k->loop, &k->link, EPOLLIN) < 0)
		return;
	(void)take_fd(fd);
	loop_mod(s, 0); /* one at a time */
	start_list(k);
}

int kept_listen(struct keeper *k, struct cos_err *err)
{
	auto_close int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int r = 0;

	str_fmt(sa.sun_path, sizeof(sa.sun_path), "%s/hold.sock", k->args->runtime_dir);
	unlink(sa.sun_path);
	umask(0177);
	if (fd < 0 || bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 || listen(fd, 1) < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "listen at %s", sa.sun_path);
	k->hold = (struct loop_source){ .fd = take_fd(fd), .ready = hold_ready };
	r = loop_add(&k->loop, &k->hold, EPOLLIN);
	return r < 0 ? cos_fail(err, COS_E_KERNEL, -r, "watch %s", sa.sun_path) : 0;
}
