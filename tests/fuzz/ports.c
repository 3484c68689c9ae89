/* tests/fuzz/ports.c - a guest at the board's ports; input: PORT (2 bytes) WIDTH (1) VALUE... */
#include <fcntl.h>
#include <unistd.h>

#include "lib/base/own.h"
#include "tests/fuzz/bytes.h"
#include "tests/fuzz/fuzz.h"
#include "vmm/board.h"
#include "vmm/vm.h"

static struct vm vm;
static struct worker worker;
static struct console console;
static struct board board;

static void broken(void *arg)
{
	(void)arg;
	abort();
}

static void setup(void)
{
	struct cos_err err;

	vm = (struct vm){ .kvm = -1, .fd = -1, .ended = -1 };
	if (!console.loop) {
		check(worker_init(&worker, "fuzz", broken, NULL, &err) == 0);
		check(console_init(&console, -1, open("/dev/null", O_RDWR | O_CLOEXEC), &worker,
				   &err) == 0);
	}
	check(board_init_bare(&board, &vm, &console) == 0);
}

/* What is typed, and the button, come in between. */
static void outside(unsigned what)
{
	static const uint8_t text[40] = "typed";
	struct console_taker t = serial_taker(&board.serial);
	size_t room = t.room(t.arg);

	check(room <= SERIAL_RX);
	if (what & 1)
		t.put(t.arg, text, room < sizeof(text) ? room : sizeof(text));
	if (what & 2)
		board_press(&board);
	if (what & 4) {
		console_flush(&console, UINT64_MAX);
		t.drained(t.arg);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes b = { data, size };

	setup();
	while (b.left > 0) {
		/* most numbers are somebody's */
		static const uint16_t ports[] = { 0x60,  0x61,  0x64,  0x70,  0x71,  0x80,  0xf4,
						  0x3f8, 0x3f9, 0x3fa, 0x3fb, 0x3fc, 0x3fd, 0x3fe,
						  0x3ff, 0xcf8, 0x600, 0x602, 0x604 };
		uint16_t port = (uint16_t)bytes_take(&b, 2);
		unsigned how = (unsigned)bytes_take(&b, 1);
		struct trap_io io = { .len = 1U << how % 4, .write = how & 4 };

		if (how & 8)
			port = ports[port % ARRAY_SIZE(ports)];
		if (io.write)
			io.value = bytes_take(&b, io.len);
		if (how >> 5)
			outside(how >> 5);
		traps_io(&vm.ports, port, &io);
		check(board.serial.rx_used <= SERIAL_RX && board.keyboard.used <= I8042_QUEUE &&
		      console.used <= CONSOLE_RING);
	}
	board_done(&board);
	return 0;
}
