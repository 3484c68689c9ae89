/* tests/fuzz/client.c - answers of a service to its client; input: the bytes that the service sends
 */
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/io.h"
#include "lib/base/own.h"
#include "lib/wire/client.h"
#include "tests/fuzz/fuzz.h"

static size_t count(const uint8_t *data, size_t size)
{
	size_t n = 0;

	for (size_t i = 0; i < size; i++)
		n += data[i] == '\0';
	return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct client c;
	int sv[2];

	if (size > 65536 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0)
		return 0;
	check(size == 0 || io_write_all(sv[0], data, size) == 0);
	close(sv[0]);
	c.sock = sv[1];
	frame_in_init(&c.in, WIRE_REPLY_MAX);
	for (size_t left = count(data, size);; left--) {
		auto_json json_t *params = NULL;
		struct cos_err err = { 0 };
		int r = client_recv(&c, &params, &err);

		check((r >= 0) == (params != NULL) && r <= 1);
		if (r < 0)
			check_failure(r, &err);
		if (left == 0) {
			check(r < 0 && err.code == COS_E_UNREACHABLE);
			break;
		}
	}
	client_close(&c);
	return 0;
}
