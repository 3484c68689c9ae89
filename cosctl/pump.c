/* cosctl/pump.c - bytes between this terminal or these pipes and a guest, until it ends
 *
 * The guest never gets a descriptor of ours: everything is read and written here. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

#include "cosctl/cosctl.h"
#include "lib/base/io.h"
#include "lib/base/own.h"

#define CHUNK            65536
#define DETACH           0x1d /* ^] */
#define EOT              0x04 /* ^D */
#define DRAINS           256
#define CONSOLE_END_MSEC 1000

struct flow {
	struct pump *p;
	char in[CHUNK]; /* read from us, not yet taken by the guest */
	size_t n_in;
	bool in_closed, raw;
	struct termios saved;
	int signals;
	bool done, detached, told;
	bool lost; /* output that could not be written, though somebody wants it */
	int status;
};

void pump_size(unsigned short *rows, unsigned short *cols)
{
	struct winsize ws = { .ws_row = 24, .ws_col = 80 };

	ioctl(STDOUT_FILENO, TIOCGWINSZ, &ws);
	*rows = ws.ws_row;
	*cols = ws.ws_col;
}

static struct termios saved_for_signals;

/* Its handler is the default one by now. */
static void restore_and_end(int sig)
{
	tcsetattr(STDIN_FILENO, TCSANOW, &saved_for_signals);
	raise(sig);
}

static void enter_raw(struct flow *f)
{
	static const int ends[] = { SIGHUP, SIGINT, SIGQUIT, SIGTERM };
	struct sigaction act = { .sa_handler = restore_and_end, .sa_flags = (int)SA_RESETHAND };
	struct sigaction was;
	struct termios t;

	if (!f->p->tty || tcgetattr(STDIN_FILENO, &f->saved) < 0)
		return;
	t = saved_for_signals = f->saved;
	for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
		sigaction(ends[i], NULL, &was);
		if (was.sa_handler != SIG_IGN)
			sigaction(ends[i], &act, NULL);
	}
	cfmakeraw(&t);
	f->raw = tcsetattr(STDIN_FILENO, TCSANOW, &t) == 0;
}

static void leave_raw(struct flow *f)
{
	if (f->raw)
		tcsetattr(STDIN_FILENO, TCSADRAIN, &f->saved);
	f->raw = false;
}

static int watch_signals(bool forward)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGWINCH);
	if (forward) {
		sigaddset(&set, SIGINT);
		sigaddset(&set, SIGTERM);
		sigaddset(&set, SIGHUP);
		sigaddset(&set, SIGQUIT);
		sigaddset(&set, SIGUSR1);
		sigaddset(&set, SIGUSR2);
	}
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void resize(struct pump *p)
{
	struct winsize ws = { 0 };

	pump_size(&ws.ws_row, &ws.ws_col);
	if (p->resize >= 0) {
		ioctl(p->resize, TIOCSWINSZ, &ws);
	} else if (p->guest) {
		auto_json json_t *params = json_pack("{s:s, s:i, s:i}", "name", p->guest, "rows",
						     (int)ws.ws_row, "cols", (int)ws.ws_col);
		struct client c;
		struct cos_err err;

		if (client_open(p->args->socket, &c, &err) == 0) {
			client_call(&c, "io.cos.Guest.Resize", params, NULL, &err);
			client_close(&c);
		}
	}
}

/* A second connection: the first one waits for the guest's end. */
static void forward_signal(struct pump *p, int sig)
{
	char name[16];
	auto_json json_t *params = NULL;
	struct client c;
	struct cos_err err;

	snprintf(name, sizeof(name), "%s", sigabbrev_np(sig) ?: "TERM");
	params = json_pack("{s:s, s:s}", "name", p->guest, "signal", name);
	if (client_open(p->args->socket, &c, &err) < 0)
		return;
	client_call(&c, "io.cos.Guest.Kill", params, NULL, &err);
	client_close(&c);
}

static void take_signals(struct flow *f)
{
	struct signalfd_siginfo si;

	while (read(f->signals, &si, sizeof(si)) == sizeof(si)) {
		if (si.ssi_signo == SIGWINCH)
			resize(f->p);
		else if (f->p->guest)
			forward_signal(f->p, (int)si.ssi_signo);
	}
}

static void close_input(struct flow *f)
{
	/* A terminal cannot be closed on one side only: its reader is told as by a user at the
	 * keyboard. */
	if (!f->in_closed && !f->p->tty && !f->p->escape && f->p->to_guest >= 0 &&
	    f->p->to_guest == f->p->from_guest)
		f->in[f->n_in++] = EOT;
	f->in_closed = true;
	if (!f->p->tty && f->n_in == 0 && f->p->to_guest != f->p->from_guest)
		close_p(&f->p->to_guest);
}

static void push(struct flow *f)
{
	ssize_t n = write(f->p->to_guest, f->in, f->n_in);

	if (n < 0 && errno != EAGAIN && errno != EINTR) { /* nobody reads it any more */
		f->n_in = 0;
		close_input(f);
	}
	if (n > 0) {
		memmove(f->in, f->in + n, f->n_in - (size_t)n);
		f->n_in -= (size_t)n;
	}
	if (f->in_closed && f->n_in == 0)
		close_input(f);
}

static void take_input(struct flow *f)
{
	ssize_t n = read(STDIN_FILENO, f->in, sizeof(f->in));

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < 0)
		fprintf(stderr, "cosctl: standard input cannot be read: %s\n",
			strerrordesc_np(errno));
	if (n <= 0) {
		close_input(f);
		return;
	}
	if (f->p->escape && memchr(f->in, DETACH, (size_t)n)) {
		f->detached = f->done = true;
		return;
	}
	f->n_in = (size_t)n;
	push(f);
}

/* False when the stream has ended, at either end. */
static bool copy_out(struct flow *f, int from, int to)
{
	char buf[CHUNK];
	ssize_t n = read(from, buf, sizeof(buf));
	int r;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return true;
	r = n > 0 ? io_write_all(to, buf, (size_t)n) : 0;
	if (r < 0 && r != -EPIPE) {
		fprintf(stderr, "cosctl: standard %s cannot be written: %s\n",
			to == STDOUT_FILENO ? "output" : "error", strerrordesc_np(-r));
		f->lost = true;
	}
	return n > 0 && r == 0;
}

static void take_output(struct flow *f, int *from, int to)
{
	if (copy_out(f, *from, to))
		return;
	if (from == &f->p->from_guest && f->p->to_guest == *from)
		f->p->to_guest = -1;
	close_p(from);
	if (!f->p->client && f->p->from_guest < 0)
		f->done = true;
}

static void take_answer(struct flow *f)
{
	auto_json json_t *answer = NULL;
	struct cos_err err;
	json_t *status;
	int r = client_recv(f->p->client, &answer, &err);

	if (r == 1)
		return;
	f->p->client = NULL;
	if (r < 0) {
		fprintf(stderr, "cosctl: the daemon did not tell how it ended: %s\n", err.why);
	} else {
		status = json_object_get(answer, "status");
		if (json_is_integer(status) && json_integer_value(status) >= 0) {
			f->status = (int)json_integer_value(status);
			f->told = true;
		}
		f->done = true;
	}
	if (f->p->from_guest < 0 && f->p->from_guest_err < 0)
		f->done = true;
}

static bool has_message(struct pump *p)
{
	size_t len;

	return p->client && frame_peek(&p->client->in, &len);
}

static void wait_once(struct flow *f)
{
	struct pump *p = f->p;
	bool read_in = !f->in_closed && f->n_in == 0 && p->to_guest >= 0;
	struct pollfd fds[] = {
		{ read_in ? STDIN_FILENO : -1, POLLIN, 0 },
		{ f->n_in ? p->to_guest : -1, POLLOUT, 0 },
		{ p->from_guest, POLLIN, 0 },
		{ p->from_guest_err, POLLIN, 0 },
		{ p->client ? p->client->sock : -1, POLLIN, 0 },
		{ f->signals, POLLIN, 0 },
	};

	if (!has_message(p) && poll(fds, ARRAY_SIZE(fds), -1) < 0)
		return;
	if (fds[5].revents)
		take_signals(f);
	if (fds[2].revents)
		take_output(f, &p->from_guest, STDOUT_FILENO);
	if (fds[3].revents)
		take_output(f, &p->from_guest_err, STDERR_FILENO);
	if (fds[0].revents)
		take_input(f);
	if (fds[1].revents && f->n_in)
		push(f);
	if (fds[4].revents || has_message(p))
		take_answer(f);
}

/* What the guest wrote before it ended is still in the pipes, which hold no more than this; more
 * may come from processes that it left behind, without end, and is not waited for. */
static void drain(struct flow *f)
{
	struct pump *p = f->p;
	int *const from[] = { &p->from_guest, &p->from_guest_err };
	/* A console's last bytes come through the keeper, which then closes the stream. */
	int msec = p->guest && p->from_guest == p->to_guest ? CONSOLE_END_MSEC : 0;

	for (int i = 0; i < 2; i++) {
		struct pollfd fd = { *from[i], POLLIN, 0 };

		for (int n = 0; n < DRAINS && *from[i] >= 0 && poll(&fd, 1, msec) > 0; n++) {
			if (!copy_out(f, *from[i], i + 1))
				break;
		}
	}
}

int pump_run(struct pump *p)
{
	static struct flow f;

	signal(SIGPIPE, SIG_IGN); /* a guest that does not read is no reason to die */
	f = (struct flow){ .p = p, .status = EXIT_OURS, .saved = { 0 } };
	f.signals = watch_signals(p->guest && !p->tty && !p->escape);
	if (p->to_guest >= 0)
		fcntl(p->to_guest, F_SETFL, fcntl(p->to_guest, F_GETFL) | O_NONBLOCK);
	enter_raw(&f);
	while (!f.done && (p->client || p->from_guest >= 0 || p->from_guest_err >= 0))
		wait_once(&f);
	if (!f.detached)
		drain(&f);
	leave_raw(&f);
	close_p(&f.signals);
	if (f.detached)
		return 0;
	if (f.told && f.status == 0 && f.lost)
		return EXIT_OURS;
	return f.told || p->client ? f.status : p->escape ? 0 : EXIT_OURS;
}
