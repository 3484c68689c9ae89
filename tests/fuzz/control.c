/* tests/fuzz/control.c - requests on the control socket of cos-vmm; input: one line */
#include "lib/base/jsonx.h"
#include "lib/base/own.h"
#include "tests/fuzz/fuzz.h"
#include "vmm/machine.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char reply[CONTROL_REPLY];
	static struct machine m;
	static struct options o;
	auto_json json_t *doc = NULL;
	struct cos_err err;
	size_t n;

	if (!m.o) {
		m.o = &o;
		m.vm.ended = -1;
		m.worker.thread.sched = -1;
		check(mem_init(&m.vm.mem, MEM_MIN, false, &err) == 0);
		check(vballoon_init(&m.devices.balloon, &m.vm.mem) == 0);
		m.devices.has_balloon = true;
		m.devices.at[m.devices.n++] = &m.devices.balloon.d;
		m.board.keyboard.irq = -1;
		check(loop_init(&m.loop) == 0);
	}
	atomic_store(&m.vm.end, VM_END_NONE);
	n = control_answer(&m, (const char *)data, size, reply);
	check(n > 2 && n <= sizeof(reply) && reply[n - 1] == '\n');
	check(!memchr(reply, '\n', n - 1));
	check(jsonx_parse(reply, n - 1, "reply", &doc, &err) == 0);
	return 0;
}
