/* tests/fuzz/frame.c - messages on a stream, cut anywhere; input: SEED (1 byte) MESSAGES */
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/io.h"
#include "lib/base/jsonx.h"
#include "lib/base/own.h"
#include "lib/wire/frame.h"
#include "tests/fuzz/fuzz.h"

#define BOUND 2048

/* Where the next piece ends: any length, the same for the same input. */
static size_t next_piece(uint32_t *seed, size_t left)
{
	size_t n;

	*seed = *seed * 1664525 + 1013904223;
	n = 1 + (*seed >> 16) % (*seed & 1 << 10 ? 7 : 1500);
	return n < left ? n : left;
}

static void check_message(const char *got, size_t len, const uint8_t **at, const uint8_t *end)
{
	const uint8_t *nul = memchr(*at, '\0', (size_t)(end - *at));
	auto_json json_t *doc = NULL;
	struct cos_err err = { 0 };
	int r;

	check(nul && len == (size_t)(nul - *at) && memcmp(got, *at, len) == 0 && got[len] == '\0');
	*at = nul + 1;
	r = jsonx_parse(got, len, "request", &doc, &err);
	if (r < 0)
		check_failure(r, &err);
}

/* All whole messages come out as they went in. */
static void drain(struct frame_in *in, const uint8_t **at, const uint8_t *end)
{
	const char *text;
	size_t len;

	while ((text = frame_peek(in, &len))) {
		check_message(text, len, at, end);
		frame_take(in);
	}
}

/* The other direction: what is put in is what is written. */
static void send_back(int to, int from, const uint8_t *data, const uint8_t *end)
{
	struct frame_out out;
	char buf[BOUND];

	frame_out_init(&out);
	for (const uint8_t *p = data, *nul; p < end && (nul = memchr(p, '\0', (size_t)(end - p)));
	     p = nul + 1) {
		size_t len = (size_t)(nul - p) + 1;
		int fd = len % 5 == 0 ? open("/dev/null", O_RDONLY | O_CLOEXEC) : -1;
		int got[WIRE_FDS_MAX];
		unsigned n = WIRE_FDS_MAX;

		check(frame_put(&out, (const char *)p, &fd, fd >= 0) == 0);
		check(frame_flush(&out, to) == 0 && frame_waiting(&out) == 0);
		check(io_recv_fds(from, buf, sizeof(buf), got, &n, 0) == (ssize_t)len);
		check(memcmp(buf, p, len) == 0 && n == (fd >= 0));
		if (n)
			close(got[0]);
	}
	frame_out_done(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint32_t seed = size ? *data++ : 0;
	const uint8_t *end = data + (size ? size - 1 : 0), *put = data, *at = data;
	struct frame_in in;
	ssize_t n = 0;
	int sv[2];

	if (size > 65536 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0)
		return 0;
	frame_in_init(&in, BOUND);
	while (put < end && n >= 0) {
		size_t piece = next_piece(&seed, (size_t)(end - put));

		check(io_send_fds(sv[0], put, piece, &sv[0], seed & 1 << 20 ? 1 : 0, 0) ==
		      (ssize_t)piece);
		put += piece;
		while ((n = frame_read(&in, sv[1], MSG_DONTWAIT)) > 0)
			drain(&in, &at, end);
		check(n == -EAGAIN || n == -EMSGSIZE);
		n = n == -EAGAIN ? 0 : n;
		check(in.n_fds <= WIRE_FDS_MAX && in.have <= BOUND);
	}
	/* Refused only when a message is longer than the bound. */
	check(n == 0 || !memchr(at, '\0', (size_t)(end - at) < BOUND ? (size_t)(end - at) : BOUND));
	frame_in_done(&in);
	if (n == 0)
		send_back(sv[0], sv[1], data, end);
	close(sv[0]);
	close(sv[1]);
	return 0;
}
