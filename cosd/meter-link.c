/* cosd/meter-link.c - the accountant, from the worker's side: started, started again, told, asked
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cosd/acct.h"
#include "cosd/guest.h"
#include "cosd/meter.h"
#include "lib/base/clock.h"
#include "lib/base/io.h"
#include "lib/base/log.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "lib/kern/proc.h"

#define FINALS_MAX       65536
#define SOCKET_BYTES     (4 << 20)
#define AGAIN_FIRST_USEC (USEC_PER_SEC / 10)
#define AGAIN_MOST_USEC  (10 * USEC_PER_SEC)
#define END_WAIT_MSEC    3000

/* The last sample of a run, until it is in the ledger. */
struct final {
	struct list link;
	uint64_t tick; /* with which it was sent last; 0: was not */
	struct ledger_sample s;
};

struct meter_link {
	struct daemon *d;
	struct loop_source sock, process;
	struct loop_timer again;
	uint64_t delay_usec, began_usec, tick;
	struct list finals;
	unsigned n_finals;
	bool fault;
	struct acct_samples out;
};

static void start(struct meter_link *l);

/* --- what it says --- */

static void drop_finals(struct meter_link *l, uint64_t tick)
{
	struct list *p, *next;

	list_for_each_safe(p, next, &l->finals) {
		struct final *f = list_entry(p, struct final, link);

		if (f->tick != tick)
			continue;
		list_del(p);
		free(f);
		l->n_finals--;
	}
}

static void take_note(struct meter_link *l, struct acct_note *n)
{
	n->text[sizeof(n->text) - 1] = '\0';
	switch ((enum acct_op)n->head.op) {
	case ACCT_TAKEN:
		drop_finals(l, n->head.tick);
		l->delay_usec = AGAIN_FIRST_USEC;
		if (l->fault)
			event_say(l->d, NULL, "ledger-good", NULL);
		l->fault = false;
		break;
	case ACCT_FAULT:
		l->fault = true;
		event_say(l->d, NULL, "ledger-fault",
			  json_pack("{s:s, s:s}", "error", strerrorname_np(n->fault) ?: "",
				    "reason", n->text));
		break;
	case ACCT_MOVED:
		event_say(l->d, NULL, "ledger-damaged", json_pack("{s:s}", "file", n->text));
		break;
	case ACCT_CONF:
	case ACCT_SAMPLES:
	case ACCT_QUERY:
		break;
	}
}

static void hang_up(struct meter_link *l)
{
	loop_del(&l->sock);
	close_p(&l->sock.fd);
}

static void sock_ready(struct loop_source *s, uint32_t events)
{
	struct meter_link *l = container_of(s, struct meter_link, sock);
	struct acct_note n;
	ssize_t got;

	(void)events;
	while ((got = recv(s->fd, &n, sizeof(n), MSG_DONTWAIT)) == sizeof(n))
		take_note(l, &n);
	if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
		hang_up(l);
}

static void process_ready(struct loop_source *s, uint32_t events)
{
	struct meter_link *l = container_of(s, struct meter_link, process);
	uint64_t lived = clock_usec() - l->began_usec;

	(void)events;
	proc_reap(s->fd);
	loop_del(s);
	close_p(&s->fd);
	hang_up(l);
	if (lived > AGAIN_MOST_USEC)
		l->delay_usec = AGAIN_FIRST_USEC;
	log_say(LOG_WARN, "the accountant ended and is started again");
	event_say(l->d, NULL, "accountant-restart", NULL);
	loop_timer_set(&l->d->loop, &l->again, l->delay_usec);
	l->delay_usec = 2 * l->delay_usec < AGAIN_MOST_USEC ? 2 * l->delay_usec : AGAIN_MOST_USEC;
}

static void again_fire(struct loop_timer *t)
{
	start(container_of(t, struct meter_link, again));
}

/* --- starting it --- */

static void run_child(int sock)
{
	char *const argv[] = { "cosd", "--accountant", "3", NULL };

	proc_reset_signals();
	if (sock != 3 && dup2(sock, 3) < 0)
		_exit(1);
	fcntl(3, F_SETFD, 0);
	proc_close_but((int[]){ 3 }, 1);
	execve("/proc/self/exe", argv, environ);
	_exit(127);
}

static void configure(struct meter_link *l)
{
	const struct conf *c = &l->d->conf;
	auto_free struct acct_conf *m = calloc(1, sizeof(*m));

	if (!m || l->sock.fd < 0)
		return;
	m->head.op = ACCT_CONF;
	m->conf = (struct ledger_conf){
		.keep_usec = { c->ledger_keep_interval * USEC_PER_SEC,
			       c->ledger_keep_minute * USEC_PER_SEC,
			       c->ledger_keep_hour * USEC_PER_SEC,
			       c->ledger_keep_day * USEC_PER_SEC },
		.interval_usec = c->ledger_interval * USEC_PER_SEC,
		.booted_usec = clock_wall_usec() - clock_read_usec(CLOCK_BOOTTIME),
	};
	str_fmt(m->conf.boot, sizeof(m->conf.boot), "%s", l->d->boot_id);
	str_fmt(m->dir, sizeof(m->dir), "%s/" LEDGER_DIR, l->d->args->state_dir);
	send(l->sock.fd, m, sizeof(*m), MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void watch_child(struct meter_link *l, int sock, pid_t pid)
{
	int bytes = SOCKET_BYTES;

	setsockopt(sock, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes));
	l->sock = (struct loop_source){ .fd = sock, .ready = sock_ready };
	l->process = (struct loop_source){ .fd = proc_pidfd(pid), .ready = process_ready };
	if (l->process.fd < 0 || loop_add(&l->d->loop, &l->process, EPOLLIN) < 0 ||
	    loop_add(&l->d->loop, &l->sock, EPOLLIN) < 0)
		log_say(LOG_ERROR, "the accountant cannot be watched");
}

static void start(struct meter_link *l)
{
	struct list *p;
	int sv[2] = { -1, -1 };
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv) < 0)
		pid = -1;
	else if ((pid = fork()) == 0)
		run_child(sv[1]);
	if (pid < 0) {
		log_say(LOG_ERROR, "start the accountant: %s", strerrorname_np(errno));
		close_p(&sv[0]);
		close_p(&sv[1]);
		loop_timer_set(&l->d->loop, &l->again, AGAIN_MOST_USEC);
		return;
	}
	close(sv[1]);
	l->began_usec = clock_usec();
	watch_child(l, sv[0], pid);
	configure(l);
	list_for_each(p, &l->finals)
		list_entry(p, struct final, link)->tick = 0;
}

struct meter_link *meter_link_open(struct daemon *d)
{
	struct meter_link *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	l->d = d;
	l->sock.fd = l->process.fd = -1;
	l->again.fire = again_fire;
	l->delay_usec = AGAIN_FIRST_USEC;
	list_init(&l->finals);
	return l;
}

void meter_link_start(struct meter_link *l)
{
	auto_close int dir = io_dir_at(l->d->state, LEDGER_DIR, 0700);

	if (dir < 0)
		log_say(LOG_ERROR, "make %s/" LEDGER_DIR ": %s", l->d->args->state_dir,
			strerrorname_np(-dir));
	start(l);
}

void meter_link_configure(struct meter_link *l)
{
	configure(l);
}

void meter_link_close(struct meter_link *l)
{
	struct pollfd p = { .fd = l->process.fd, .events = POLLIN };

	loop_del(&l->process);
	loop_timer_clear(&l->again);
	hang_up(l);
	if (p.fd >= 0 && poll(&p, 1, END_WAIT_MSEC) == 1)
		proc_reap(p.fd);
	close_p(&l->process.fd);
}

/* --- telling it --- */

static bool send_out(struct meter_link *l, bool end)
{
	struct acct_samples *o = &l->out;
	size_t len = offsetof(struct acct_samples, sample[o->head.n]);
	bool sent;

	if (o->head.n == 0 && !end)
		return true;
	o->head.op = ACCT_SAMPLES;
	o->head.tick = l->tick;
	o->head.end = end;
	sent = l->sock.fd >= 0 &&
	       send(l->sock.fd, o, len, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)len;
	o->head.n = 0;
	return sent;
}

static bool put(struct meter_link *l, const struct ledger_sample *s)
{
	l->out.sample[l->out.head.n++] = *s;
	return l->out.head.n < ACCT_BATCH || send_out(l, false);
}

/* A run's last sample has to come before the first of its guest's next run. */
static bool send_finals(struct meter_link *l)
{
	struct list *p;

	list_for_each(p, &l->finals) {
		struct final *f = list_entry(p, struct final, link);

		f->tick = l->tick;
		if (!put(l, &f->s))
			return false;
	}
	return send_out(l, false);
}

bool meter_link_begin(struct meter_link *l)
{
	l->tick++;
	return send_finals(l);
}

void meter_link_end(struct meter_link *l)
{
	send_out(l, true);
}

static void keep(struct meter_link *l, const struct ledger_sample *s)
{
	struct final *f = malloc(sizeof(*f));

	if (!f || l->n_finals == FINALS_MAX) {
		log_say(LOG_ERROR, "%s: what it used last is lost: the ledger takes nothing",
			s->name);
		free(f);
		return;
	}
	*f = (struct final){ .s = *s };
	list_add_tail(&l->finals, &f->link);
	l->n_finals++;
}

void meter_link_add(struct meter_link *l, const struct ledger_sample *s)
{
	if (!s->last) {
		put(l, s);
		return;
	}
	keep(l, s);
	if (meter_link_begin(l))
		meter_link_end(l);
}

int meter_link_ask(struct daemon *d, const struct ledger_query *q, int out, struct cos_err *err)
{
	struct meter_link *l = d->meters.link;
	auto_free struct acct_query *m = calloc(1, sizeof(*m));
	ssize_t n;

	if (!m)
		return cos_fail(err, COS_E_KERNEL, ENOMEM, "query");
	m->head.op = ACCT_QUERY;
	m->query = *q;
	n = l->sock.fd < 0 ? -ENOTCONN
			   : io_send_fds(l->sock.fd, m, sizeof(*m), &out, 1, MSG_DONTWAIT);
	if (n < 0)
		return cos_advise(
			err, cos_fail(err, COS_E_STATE, (int)-n, "the accountant does not read"),
			"try again in a moment");
	return 0;
}
