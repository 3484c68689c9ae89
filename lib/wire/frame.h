/* lib/wire/frame.h - messages on a stream socket: JSON texts, each ended by a NUL (varlink's
 * format)
 *
 * Descriptors travel with the first byte of the message they belong to and are taken in order of
 * arrival. A message is bounded before it is parsed. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define WIRE_MESSAGE_MAX (1U << 20)  /* of a request */
#define WIRE_REPLY_MAX   (64U << 20) /* of an answer, which comes from the daemon */
#define WIRE_FDS_MAX     8

struct frame_in {
	char *buf;
	size_t have, size, scanned, max;
	int fds[WIRE_FDS_MAX];
	unsigned n_fds;
};

void frame_in_init(struct frame_in *f, size_t max);
/* Frees and closes what was not taken. */
void frame_in_done(struct frame_in *f);
/* Reads once from SOCK (FLAGS as recvmsg(2)). Returns the number of bytes, 0 at the end, -EAGAIN,
 * -EMSGSIZE when a message is longer than the bound, or another negative errno. */
ssize_t frame_read(struct frame_in *f, int sock, int flags);
/* The next whole message, NUL-ended, valid until the next frame_read() or frame_take(); NULL: none
 * yet. */
const char *frame_peek(struct frame_in *f, size_t *ret_len);
/* Drops the message that frame_peek() returned. */
void frame_take(struct frame_in *f);
/* The oldest descriptor that came, now the caller's; -1 if there is none. */
int frame_take_fd(struct frame_in *f);

/* Bytes waiting to be written, with descriptors at the head of their message. */
struct frame_out {
	char *buf;
	size_t have, sent, size;
	struct {
		size_t at; /* byte before which they go */
		int fd[WIRE_FDS_MAX];
		unsigned n;
	} pass[4];
	unsigned n_pass;
};

void frame_out_init(struct frame_out *f);
void frame_out_done(struct frame_out *f);
/* Appends TEXT with its NUL. The N descriptors are the queue's from here on, also on failure.
 * -ENOMEM; -ENOBUFS when descriptors of four messages wait already. */
int frame_put(struct frame_out *f, const char *text, const int *fds, unsigned n);
/* Writes what the socket takes now. 0: all is out; -EAGAIN: more is left; else the connection is
 * dead. */
int frame_flush(struct frame_out *f, int sock);
static inline size_t frame_waiting(const struct frame_out *f)
{
	return f->have - f->sent;
}
