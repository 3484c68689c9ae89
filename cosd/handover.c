/* cosd/handover.c - from keeper to keeper, from keeper to worker: state and descriptors across an
 * exec
 *
 * All that a process of the daemon is told goes through one sealed-size memory file, whose
 * descriptor is named on the command line (--keeper FD, --worker FD); descriptors in it are
 * inherited by number. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>
#include <linux/close_range.h>
#include <linux/sched.h>

#include "cosd/keep.h"
#include "lib/base/io.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "lib/kern/proc.h"

#define ITEMS_MAX 65536

/* Fixed part of the memory file; then the strings, then the items. */
struct head {
	char magic[8];
	int listen[2], lock, id_lock, instance_lock, link;
	uint32_t id_base, id_count, n, strings;
	uint64_t log_bytes;
	int32_t state_mounted, kill_points;
};

static const char magic[8] = "coskeep1";

static const char **string_of(struct keep_args *a, unsigned i)
{
	const char **all[] = { &a->instance, &a->state_dir, &a->runtime_dir, &a->config,
			       &a->exe,      &a->without,   &a->net_pool,    &a->uplink };

	return i < ARRAY_SIZE(all) ? all[i] : NULL;
}

static int write_state(const struct keep_args *a, const struct keep_item *items, unsigned n,
		       int link)
{
	auto_close int fd = memfd_create("cos-handover", 0);
	struct keep_args copy = *a;
	struct head h = {
		.listen = { a->listen[0], a->listen[1] },
		.lock = a->lock,
		.id_lock = a->id_lock,
		.instance_lock = a->instance_lock,
		.link = link,
		.id_base = a->id_base,
		.id_count = a->id_count,
		.n = n,
		.log_bytes = a->log_bytes,
		.state_mounted = a->state_mounted,
		.kill_points = a->kill_points,
	};
	int r;

	if (fd < 0)
		return -errno;
	memcpy(h.magic, magic, sizeof(magic));
	for (unsigned i = 0; string_of(&copy, i); i++)
		h.strings += (uint32_t)strlen(*string_of(&copy, i) ?: "") + 1;
	r = io_write_all(fd, &h, sizeof(h));
	for (unsigned i = 0; r == 0 && string_of(&copy, i); i++) {
		const char *s = *string_of(&copy, i) ?: "";

		r = io_write_all(fd, s, strlen(s) + 1);
	}
	if (r == 0)
		r = io_write_all(fd, items, n * sizeof(*items));
	if (r == 0 && lseek(fd, 0, SEEK_SET) < 0)
		r = -errno;
	return r < 0 ? r : take_fd(fd);
}

static void keep_over_exec(int fd)
{
	if (fd >= 0)
		fcntl(fd, F_SETFD, 0);
}

static void inherit(const struct keep_args *a)
{
	keep_over_exec(a->listen[0]);
	keep_over_exec(a->listen[1]);
	keep_over_exec(a->lock);
	keep_over_exec(a->id_lock);
	keep_over_exec(a->instance_lock);
}

static int exec_self(const struct keep_args *a, const char *role, int state)
{
	char number[16];
	char *const argv[] = { "cosd", (char *)role, number, NULL };

	snprintf(number, sizeof(number), "%d", state);
	execv(a->exe, argv);
	execv("/proc/self/exe", argv); /* the file is gone: go on with what runs */
	return -errno;
}

int keep_become(const struct keep_args *a, const struct keep_item *items, unsigned n, bool holder)
{
	int state = write_state(a, items, n, -1);

	if (state < 0)
		return state;
	/* not every library's descriptors end with an exec */
	close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
	keep_over_exec(state);
	if (!holder) /* a holder must not keep the next daemon from what the locks stand for */
		inherit(a);
	for (unsigned i = 0; i < n; i++) {
		keep_over_exec(items[i].pidfd);
		keep_over_exec(items[i].console);
	}
	return exec_self(a, holder ? "--holder" : "--keeper", state);
}

pid_t keep_start_worker(const struct keep_args *a, int *ret_link, struct cos_err *err)
{
	int sv[2], state;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv) < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "socketpair");
	state = write_state(a, NULL, 0, sv[1]);
	pid = state < 0 ? -1 : fork();
	if (pid == 0) {
		proc_reset_signals();
		inherit(a);
		keep_over_exec(sv[1]);
		_exit(exec_self(a, "--worker", state) < 0 ? 127 : 0);
	}
	close_p(&state);
	close(sv[1]);
	if (pid < 0) {
		close(sv[0]);
		return cos_fail(err, COS_E_KERNEL, errno, "start the worker");
	}
	*ret_link = sv[0];
	return pid;
}

static void close_over_exec(int fd)
{
	if (fd >= 0)
		fcntl(fd, F_SETFD, FD_CLOEXEC);
}

/* Whether the LEN bytes at S are as many texts as there are strings, each with its end. */
static bool are_strings(const char *s, size_t len)
{
	struct keep_args a;
	unsigned want = 0, have = 0;

	while (string_of(&a, want))
		want++;
	for (size_t i = 0; i < len; i++)
		have += s[i] == '\0';
	return have == want && s[len - 1] == '\0';
}

/* The bytes come from a process of this daemon, through a descriptor that nobody else has. */
int keep_restore(int fd, struct keep_args *a, struct keep_item **ret_items, unsigned *ret_n,
		 struct cos_err *err)
{
	auto_free char *text = NULL;
	ssize_t len = io_slurp_fd(
		fd, sizeof(struct head) + 8192 + ITEMS_MAX * sizeof(struct keep_item), &text);
	struct keep_item *items;
	struct head h;
	char *s;

	if (len < (ssize_t)sizeof(h) || memcmp(text, magic, sizeof(magic)) != 0)
		return cos_fail(err, COS_E_INTERNAL, 0, "no state of cosd on descriptor %d", fd);
	memcpy(&h, text, sizeof(h));
	if (h.n > ITEMS_MAX || (size_t)len != sizeof(h) + h.strings + h.n * sizeof(*items) ||
	    !are_strings(text + sizeof(h), h.strings))
		return cos_fail(err, COS_E_INTERNAL, 0, "the state on descriptor %d is cut", fd);
	s = malloc(h.strings + 1);
	items = calloc(h.n + 1, sizeof(*items));
	if (!s || !items) {
		free(s);
		free(items);
		return cos_fail(err, COS_E_KERNEL, ENOMEM, "take the state over");
	}
	memcpy(s, text + sizeof(h), h.strings);
	*a = (struct keep_args){
		.log_bytes = h.log_bytes,
		.listen = { h.listen[0], h.listen[1] },
		.lock = h.lock,
		.id_lock = h.id_lock,
		.instance_lock = h.instance_lock,
		.id_base = h.id_base,
		.id_count = h.id_count,
		.state_mounted = h.state_mounted,
		.kill_points = h.kill_points,
	};
	for (unsigned i = 0; string_of(a, i); i++, s += strlen(s) + 1)
		*string_of(a, i) = s;
	memcpy(items, text + sizeof(h) + h.strings, h.n * sizeof(*items));
	for (unsigned i = 0; i < h.n; i++) {
		items[i].m.name[sizeof(items[i].m.name) - 1] = '\0';
		close_over_exec(items[i].pidfd);
		close_over_exec(items[i].console);
	}
	close_over_exec(h.listen[0]);
	close_over_exec(h.listen[1]);
	close_over_exec(h.lock);
	close_over_exec(h.id_lock);
	close_over_exec(h.instance_lock);
	close_over_exec(h.link);
	close(fd);
	*ret_items = items;
	*ret_n = h.n;
	return h.link;
}

int keep_recv_items(int sock, struct keep_item **ret_items, unsigned *ret_n)
{
	struct keep_item *items = NULL;
	unsigned n = 0;

	for (;;) {
		int fds[2] = { -1, -1 };
		unsigned n_fds = 2;
		struct keep_msg m;
		ssize_t got = io_recv_fds(sock, &m, sizeof(m), fds, &n_fds, 0);
		struct keep_item *more;

		if (got == sizeof(m) && m.op == KEEP_END)
			break;
		if (got == sizeof(m) && m.op != KEEP_ITEM) /* an exit that is in the list as well */
			continue;
		more = got == sizeof(m) ? realloc(items, (n + 1) * sizeof(*items)) : NULL;
		if (!more) {
			while (n > 0) {
				close_p(&items[--n].pidfd);
				close_p(&items[n].console);
			}
			free(items);
			return got == sizeof(m) ? -ENOMEM : got < 0 ? (int)got : -ECONNRESET;
		}
		items = more;
		items[n++] = (struct keep_item){ m, fds[0], fds[1] };
	}
	*ret_items = items;
	*ret_n = n;
	return 0;
}

int keep_take_over(const struct keep_args *a, struct keep_item **ret_items, unsigned *ret_n,
		   struct cos_err *err)
{
	auto_close int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int r;

	*ret_items = NULL;
	*ret_n = 0;
	if (sock < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "socket");
	if (!str_fmt(sa.sun_path, sizeof(sa.sun_path), "%s/hold.sock", a->runtime_dir) ||
	    connect(sock, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		return 0;
	r = keep_recv_items(sock, ret_items, ret_n);
	return r < 0 ? cos_fail(err, COS_E_KERNEL, -r, "take over from the holder") : 0;
}
