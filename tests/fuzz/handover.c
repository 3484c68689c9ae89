/* tests/fuzz/handover.c - what a keeper hands over; input: the memory file */
#include <sys/mman.h>
#include <unistd.h>

#include "cosd/keep.h"
#include "lib/base/io.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC), r;
	struct cos_err err = { 0 };
	struct keep_item *items;
	struct keep_args a;
	unsigned n;

	if (fd < 0 || io_write_all(fd, data, size) < 0 || lseek(fd, 0, SEEK_SET) != 0)
		abort();
	r = keep_restore(fd, &a, &items, &n, &err);
	if (err.code != COS_E_NONE) {
		check_failure(r, &err);
		close(fd);
		return 0;
	}
	check(strlen(a.instance) + strlen(a.state_dir) + strlen(a.runtime_dir) + strlen(a.config) +
		      strlen(a.exe) + strlen(a.without) <
	      size);
	for (unsigned i = 0; i < n; i++)
		check(memchr(items[i].m.name, '\0', sizeof(items[i].m.name)));
	free(items);
	free((char *)a.instance); /* the first of the strings, which are one piece of memory */
	return 0;
}
