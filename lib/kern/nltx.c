/* lib/kern/nltx.c - a netlink transaction: built with libnl, sent at once, each answer read */
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/own.h"
#include "lib/kern/nltx.h"

#define ANSWER_SIZE (64U << 10)
#define SOCKET_SIZE (1U << 20)

int nltx_open(struct nltx *t, struct cos_err *err)
{
	int one = 1, fd;

	*t = (struct nltx){ .sk = nl_socket_alloc() };
	if (!t->sk || nl_connect(t->sk, NETLINK_ROUTE) < 0) {
		int sys = errno;

		nltx_close(t);
		return cos_fail(err, COS_E_KERNEL, sys, "netlink socket");
	}
	fd = nl_socket_get_fd(t->sk);
	nl_socket_set_buffer_size(t->sk, SOCKET_SIZE, SOCKET_SIZE);
	/* the kernel's own words; errors without the request */
	setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &one, sizeof(one));
	setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &one, sizeof(one));
	/* dumps give only what the request's header asks for */
	setsockopt(fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &one, sizeof(one));
	return 0;
}

/* The socket stays in the namespace that it was opened in; this process is there for no longer than
 * that. */
int nltx_open_in(struct nltx *t, int netns, struct cos_err *err)
{
	auto_close int own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	int r;

	t->sk = NULL;
	if (own < 0 || setns(netns, CLONE_NEWNET) < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "enter the guest's network namespace");
	r = nltx_open(t, err);
	if (setns(own, CLONE_NEWNET) < 0)
		abort(); /* all that came after would be done to the guest's network */
	return r;
}

static void clear(struct nltx *t)
{
	while (t->n > 0)
		nlmsg_free(t->msg[--t->n]);
	t->broken = false;
}

void nltx_close(struct nltx *t)
{
	clear(t);
	nl_socket_free(t->sk);
	t->sk = NULL;
}

struct nl_msg *nltx_add(struct nltx *t, const char *what, int type, int flags, const void *hdr,
			size_t len, int bears)
{
	struct nl_msg *m = nlmsg_alloc_simple(type, NLM_F_REQUEST | NLM_F_ACK | flags);

	if (!m)
		abort(); /* memory is out */
	if (t->n == NLTX_MAX) {
		t->broken = true;
		nlmsg_free(t->msg[--t->n]);
	}
	t->msg[t->n] = m;
	t->row[t->n].what = what;
	t->row[t->n++].bears = bears;
	nltx_put(t, nlmsg_append(m, (void *)hdr, len, NLMSG_ALIGNTO));
	return m;
}

void nltx_put(struct nltx *t, int r)
{
	if (r < 0)
		t->broken = true;
}

/* The kernel's own words if it gave any: "Specified qdisc kind is unknown". */
static const char *text_of(struct nlmsghdr *h, const struct nlmsgerr *e)
{
	int skip = NLMSG_ALIGN((int)sizeof(*e));
	struct nlattr *a = NULL;

	if (h->nlmsg_flags & NLM_F_ACK_TLVS)
		a = nla_find((struct nlattr *)(void *)((char *)e + skip), nlmsg_datalen(h) - skip,
			     NLMSGERR_ATTR_MSG);
	return a ? nla_get_string(a) : NULL;
}

static int tell(const struct nltx *t, unsigned i, struct nlmsghdr *h, struct cos_err *err)
{
	const struct nlmsgerr *e = nlmsg_data(h);
	const char *text = text_of(h, e);

	return cos_fail(err, COS_E_KERNEL, -e->error, "%s%s%s", t->row[i].what, text ? ": " : "",
			text ?: "");
}

static ssize_t receive(struct nltx *t, char *buf, struct cos_err *err)
{
	ssize_t n;

	do
		n = recv(nl_socket_get_fd(t->sk), buf, ANSWER_SIZE, 0);
	while (n < 0 && errno == EINTR);
	return n < 0 ? cos_fail(err, COS_E_KERNEL, errno, "netlink: receive") : n;
}

static int read_answers(struct nltx *t, uint32_t first, struct cos_err *err)
{
	auto_free char *buf = malloc(ANSWER_SIZE);
	unsigned left = t->n;
	int r = 0;

	if (!buf)
		return cos_fail(err, COS_E_KERNEL, ENOMEM, "netlink");
	while (left > 0) {
		ssize_t len = receive(t, buf, err);
		int rest = (int)len;

		if (len < 0)
			return (int)len;
		for (struct nlmsghdr *h = (void *)buf; nlmsg_ok(h, rest);
		     h = nlmsg_next(h, &rest)) {
			const struct nlmsgerr *e = nlmsg_data(h);
			unsigned i = h->nlmsg_seq - first;

			if (h->nlmsg_type != NLMSG_ERROR || i >= t->n)
				continue;
			left--;
			if (e->error && -e->error != t->row[i].bears && r == 0)
				r = tell(t, i, h, err);
		}
	}
	return r;
}

int nltx_commit(struct nltx *t, struct cos_err *err)
{
	struct iovec iov[NLTX_MAX];
	struct msghdr mh = { .msg_iov = iov, .msg_iovlen = t->n };
	uint32_t first = 0;
	int r = 0;

	for (unsigned i = 0; i < t->n; i++) {
		nl_complete_msg(t->sk, t->msg[i]);
		if (i == 0)
			first = nlmsg_hdr(t->msg[0])->nlmsg_seq;
		iov[i] = (struct iovec){ nlmsg_hdr(t->msg[i]),
					 NLMSG_ALIGN(nlmsg_hdr(t->msg[i])->nlmsg_len) };
	}
	if (t->broken)
		r = cos_fail(err, COS_E_INTERNAL, 0, "netlink: a request was not built");
	else if (t->n && sendmsg(nl_socket_get_fd(t->sk), &mh, 0) < 0)
		r = cos_fail(err, COS_E_KERNEL, errno, "netlink: send");
	else if (t->n)
		r = read_answers(t, first, err);
	clear(t);
	return r;
}

/* One buffer of answers to request SEQ: 0 or FN's answer. Others may be left from a request whose
 * answers could not be read. */
static int read_part(struct nltx *t, char *buf, ssize_t len, uint32_t seq, bool *end,
		     int (*fn)(struct nlmsghdr *h, void *arg), void *arg, struct cos_err *err)
{
	int rest = (int)len, r = 0;

	for (struct nlmsghdr *h = (void *)buf; nlmsg_ok(h, rest); h = nlmsg_next(h, &rest)) {
		const struct nlmsgerr *e = nlmsg_data(h);

		if (h->nlmsg_seq != seq)
			continue;
		if (h->nlmsg_type == NLMSG_ERROR) {
			*end = true;
			return e->error ? tell(t, 0, h, err) : 0;
		}
		if (h->nlmsg_type == NLMSG_DONE)
			*end = true;
		else if (r == 0)
			r = fn(h, arg);
	}
	return r;
}

static int ask(struct nltx *t, const char *what, int type, int flags, const void *hdr, size_t len,
	       int (*fn)(struct nlmsghdr *h, void *arg), void *arg, struct cos_err *err)
{
	auto_free char *buf = malloc(ANSWER_SIZE);
	struct nlmsghdr *h;
	bool end = false;
	uint32_t seq;
	int r = 0;

	if (!buf)
		return cos_fail(err, COS_E_KERNEL, ENOMEM, "netlink");
	h = nlmsg_hdr(nltx_add(t, what, type, flags, hdr, len, 0));
	nl_complete_msg(t->sk, t->msg[t->n - 1]);
	seq = h->nlmsg_seq;
	if (send(nl_socket_get_fd(t->sk), h, h->nlmsg_len, 0) < 0) {
		r = cos_fail(err, COS_E_KERNEL, errno, "netlink: send");
		end = true;
	}
	while (!end) {
		ssize_t n = receive(t, buf, err);
		int part = n < 0 ? (int)n : read_part(t, buf, n, seq, &end, fn, arg, err);

		if (r == 0)
			r = part;
		end = end || n < 0;
	}
	clear(t);
	return r;
}

int nltx_get(struct nltx *t, const char *what, int type, const void *hdr, size_t len,
	     int (*fn)(struct nlmsghdr *h, void *arg), void *arg, struct cos_err *err)
{
	/* some kinds of objects are told to a group, and to who asked only as an echo */
	return ask(t, what, type, NLM_F_ECHO, hdr, len, fn, arg, err);
}

int nltx_dump(struct nltx *t, int type, const void *hdr, size_t len,
	      int (*fn)(struct nlmsghdr *h, void *arg), void *arg, struct cos_err *err)
{
	return ask(t, "dump", type, NLM_F_DUMP, hdr, len, fn, arg, err);
}
