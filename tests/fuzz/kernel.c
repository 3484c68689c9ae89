/* tests/fuzz/kernel.c - files that claim to be kernels; input: KIND (1 byte) FILE */
#include <sys/mman.h>
#include <unistd.h>

#include "lib/base/io.h"
#include "lib/base/own.h"
#include "tests/fuzz/fuzz.h"
#include "vmm/boot.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_close int fd = memfd_create("kernel", MFD_CLOEXEC);
	struct boot_args a = { .kernel = fd, .initrd = -1, .cmdline = "fuzz", .n_vcpus = 2 };
	struct cos_err err = { 0 };
	struct boot b;
	struct mem m;
	int r;

	if (size < 1 || fd < 0)
		return 0;
	a.kind = data[0] % 4;
	if (data[0] & 4)
		a.initrd = fd;
	check(io_write_all(fd, data + 1, size - 1) == 0);
	check(mem_init(&m, MEM_MIN, false, &err) == 0);
	r = boot_load(&m, &a, &b, &err);
	if (r < 0)
		check_failure(r, &err);
	else
		check(b.entry < m.low && b.kind != BOOT_AUTO);
	mem_done(&m);
	return 0;
}
