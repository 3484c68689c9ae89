/* lib/wire/frame.c - messages on a stream socket */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/io.h"
#include "lib/base/own.h"
#include "lib/wire/frame.h"

#define READ_SIZE 16384U
#define KEEP_SIZE 65536U /* a buffer that grew beyond is given back when it is empty */

void frame_in_init(struct frame_in *f, size_t max)
{
	*f = (struct frame_in){ .max = max };
}

void frame_in_done(struct frame_in *f)
{
	while (f->n_fds > 0)
		close(f->fds[--f->n_fds]);
	free(f->buf);
	frame_in_init(f, f->max);
}

static int grow(char **buf, size_t *size, size_t want)
{
	size_t next = *size ? *size : READ_SIZE;
	char *more;

	while (next < want)
		next *= 2;
	if (next == *size)
		return 0;
	more = realloc(*buf, next);
	if (!more)
		return -ENOMEM;
	*buf = more;
	*size = next;
	return 0;
}

ssize_t frame_read(struct frame_in *f, int sock, int flags)
{
	int fds[WIRE_FDS_MAX];
	unsigned n = WIRE_FDS_MAX;
	size_t room;
	ssize_t got;

	if (f->have >= f->max)
		return -EMSGSIZE;
	if (grow(&f->buf, &f->size, f->have + READ_SIZE) < 0)
		return -ENOMEM;
	room = f->size - f->have;
	if (room > f->max - f->have)
		room = f->max - f->have;
	got = io_recv_fds(sock, f->buf + f->have, room, fds, &n, flags);
	for (unsigned i = 0; got >= 0 && i < n; i++) {
		if (f->n_fds < WIRE_FDS_MAX)
			f->fds[f->n_fds++] = fds[i];
		else
			close(fds[i]);
	}
	if (got > 0)
		f->have += (size_t)got;
	return got;
}

const char *frame_peek(struct frame_in *f, size_t *ret_len)
{
	char *end = f->have > f->scanned ? memchr(f->buf + f->scanned, '\0', f->have - f->scanned)
					 : NULL;

	if (!end) {
		f->scanned = f->have;
		return NULL;
	}
	f->scanned = (size_t)(end - f->buf);
	*ret_len = f->scanned;
	return f->buf;
}

void frame_take(struct frame_in *f)
{
	size_t used = f->scanned + 1;

	memmove(f->buf, f->buf + used, f->have - used);
	f->have -= used;
	f->scanned = 0;
	if (f->have == 0 && f->size > KEEP_SIZE) {
		free(f->buf);
		f->buf = NULL;
		f->size = 0;
	}
}

int frame_take_fd(struct frame_in *f)
{
	int fd;

	if (f->n_fds == 0)
		return -1;
	fd = f->fds[0];
	memmove(f->fds, f->fds + 1, --f->n_fds * sizeof(int));
	return fd;
}

void frame_out_init(struct frame_out *f)
{
	*f = (struct frame_out){ .buf = NULL };
}

static void drop_pass(struct frame_out *f)
{
	for (unsigned i = 0; i < f->pass[0].n; i++)
		close(f->pass[0].fd[i]);
	memmove(f->pass, f->pass + 1, --f->n_pass * sizeof(f->pass[0]));
}

void frame_out_done(struct frame_out *f)
{
	while (f->n_pass > 0)
		drop_pass(f);
	free(f->buf);
	frame_out_init(f);
}

int frame_put(struct frame_out *f, const char *text, const int *fds, unsigned n)
{
	size_t len = strlen(text) + 1;
	int r = n > 0 && f->n_pass == ARRAY_SIZE(f->pass) ? -ENOBUFS : 0;

	if (r == 0 && f->sent > 0) {
		memmove(f->buf, f->buf + f->sent, f->have - f->sent);
		for (unsigned i = 0; i < f->n_pass; i++)
			f->pass[i].at -= f->sent;
		f->have -= f->sent;
		f->sent = 0;
	}
	if (r == 0)
		r = grow(&f->buf, &f->size, f->have + len);
	if (r < 0) {
		for (unsigned i = 0; i < n; i++)
			close(fds[i]);
		return r;
	}
	if (n > 0) {
		f->pass[f->n_pass].at = f->have;
		f->pass[f->n_pass].n = n;
		memcpy(f->pass[f->n_pass++].fd, fds, n * sizeof(int));
	}
	memcpy(f->buf + f->have, text, len);
	f->have += len;
	return 0;
}

int frame_flush(struct frame_out *f, int sock)
{
	while (f->sent < f->have) {
		bool pass = f->n_pass > 0 && f->pass[0].at == f->sent;
		size_t until = f->n_pass > pass ? f->pass[pass].at : f->have;
		ssize_t n = io_send_fds(sock, f->buf + f->sent, until - f->sent, f->pass[0].fd,
					pass ? f->pass[0].n : 0, MSG_DONTWAIT);

		if (n < 0)
			return (int)n;
		if (pass)
			drop_pass(f);
		f->sent += (size_t)n;
	}
	f->have = f->sent = 0;
	if (f->size > KEEP_SIZE) {
		free(f->buf);
		f->buf = NULL;
		f->size = 0;
	}
	return 0;
}
