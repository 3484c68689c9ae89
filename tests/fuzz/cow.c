/* tests/fuzz/cow.c - files that claim to be copy-on-write files; input: the file
 *
 * Its sum and the image's mark are put right, so that what they guard is looked at too. */
#include <stddef.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/base/io.h"
#include "lib/base/own.h"
#include "tests/fuzz/fuzz.h"
#include "vmm/cow.h"

#define IMAGE (64UL << 10)

static uint64_t fnv(const void *p, size_t n)
{
	const uint8_t *s = p;
	uint64_t h = 0xcbf29ce484222325ULL;

	while (n-- > 0)
		h = (h ^ *s++) * 0x100000001b3ULL;
	return h;
}

static void use(struct cow *c)
{
	static uint8_t buf[65536];
	uint64_t size = cow_size(c), n = size < sizeof(buf) ? size : sizeof(buf);
	struct iovec iov = { buf, n };

	check(size % 512 == 0 && size <= COW_MAX);
	cow_read(c, &iov, 1, 0, n);
	iov = (struct iovec){ buf, n };
	cow_read(c, &iov, 1, size - n, n);
	iov = (struct iovec){ buf, 512 };
	cow_write(c, &iov, 1, size - 512, 512);
	cow_zero(c, 0, n);
	cow_flush(c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t image[IMAGE];
	int fd = memfd_create("cow", MFD_CLOEXEC), base = memfd_create("image", MFD_CLOEXEC);
	struct cow_header h = { 0 };
	struct cos_err err = { 0 };
	struct cow *c = NULL;
	int r;

	check(fd >= 0 && base >= 0 && io_write_all(base, image, sizeof(image)) == 0);
	check(io_write_all(fd, data, size) == 0);
	if (size >= sizeof(h) + 1 && data[size - 1] & 1) {
		memcpy(&h, data, sizeof(h));
		memcpy(h.magic, COW_MAGIC, sizeof(h.magic));
		h.base_size = IMAGE;
		h.base_mark = fnv(image, sizeof(image));
		h.sum = fnv(&h, offsetof(struct cow_header, sum));
		check(pwrite(fd, &h, sizeof(h), 0) == sizeof(h));
		/* so large that there is no room for its bits is for another test */
		if (h.size > 1ULL << 32) {
			close(fd);
			close(base);
			return 0;
		}
	}
	r = cow_open(fd, base, 0, &c, &err);
	if (r < 0)
		check_failure(r, &err);
	else
		use(c);
	cow_close(c);
	return 0;
}
