/* tests/vmm/cow.t.c - the copy-on-write file against a model of it, also after a crash */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/base/own.h"
#include "tests/tap.h"
#include "tests/vmm/run.h"
#include "vmm/cow.h"
#include "vmm/disk.h"

#define BASE  (300 * 512UL)
#define SIZE  (600 * 512UL + 1024)
#define STEPS 4000

static uint8_t model[SIZE], flushed[SIZE], got[SIZE], base_bytes[BASE];
static uint64_t seed = 1;

static uint64_t next(uint64_t below)
{
	seed = seed * 6364136223846793005UL + 1442695040888963407UL;
	return (seed >> 33) % below;
}

static struct cow *open_cow(int fd, int base)
{
	struct cow *c = NULL;
	struct cos_err err;

	return cow_open(dup(fd), dup(base), SIZE, &c, &err) == 0 ? c : NULL;
}

static bool read_all(struct cow *c)
{
	struct iovec iov[3] = { { got, 512 }, { got + 512, 0 }, { got + 512, SIZE - 512 } };

	return cow_read(c, iov, 3, 0, SIZE) == 0;
}

/* Writes or zeroes whole sectors, in the file and in the model. */
static bool change(struct cow *c)
{
	static uint8_t data[64 * 512];
	uint64_t n = 1 + next(64), at = next(SIZE / 512 - n + 1), cut = next(n * 512);
	struct iovec iov[2] = { { data, cut }, { data + cut, n * 512 - cut } };

	if (next(8) == 0) {
		memset(model + at * 512, 0, n * 512);
		return cow_zero(c, at * 512, n * 512) == 0;
	}
	for (uint64_t i = 0; i < n * 512; i++)
		data[i] = (uint8_t)next(256);
	memcpy(model + at * 512, data, n * 512);
	return cow_write(c, iov, 2, at * 512, n * 512) == 0;
}

static void it_is_what_was_written(int fd, int base)
{
	struct cow *c = open_cow(fd, base);
	bool good = c;

	memset(model, 0, sizeof(model));
	memcpy(model, base_bytes, BASE);
	ok(good && read_all(c) && memcmp(got, model, SIZE) == 0 && cow_blocks(c) == 0,
	   "new: the image, and zeroes behind it");
	for (unsigned i = 0; good && i < STEPS; i++) {
		good = change(c);
		if (next(50) == 0)
			good = good && read_all(c) && memcmp(got, model, SIZE) == 0;
		if (next(100) == 0)
			good = good && cow_flush(c) == 0;
		if (next(200) == 0) {
			good = good && cow_flush(c) == 0;
			cow_close(c);
			c = open_cow(fd, base);
			good = good && c && read_all(c) && memcmp(got, model, SIZE) == 0;
		}
	}
	ok(good && c, "%d changes, flushed and opened again now and then", STEPS);
	cow_close(c);
}

/* The process ends without a flush: each block is as it was at the last flush, or newer. */
static void a_crash_loses_what_was_not_flushed(int base)
{
	bool good = true;
	unsigned lost = 0;

	for (unsigned round = 0; good && round < 40; round++) {
		auto_close int fd = memfd_create("cow", 0);
		struct cow *c = open_cow(fd, base);

		memset(model, 0, sizeof(model));
		memcpy(model, base_bytes, BASE);
		for (unsigned i = next(4); i > 0; i--)
			good = good && change(c);
		good = good && cow_flush(c) == 0;
		memcpy(flushed, model, SIZE);
		for (unsigned i = next(6); i > 0; i--)
			good = good && change(c);
		cow_close(c);
		c = open_cow(fd, base);
		good = good && c && read_all(c);
		for (uint64_t b = 0; good && b < SIZE; b += 512) {
			bool old = memcmp(got + b, flushed + b, 512) == 0;

			lost += old && memcmp(got + b, model + b, 512) != 0;
			/* a block may have been changed twice since: any of its versions will do,
			 * but never another sector's bytes where nothing was written */
			if (!old && memcmp(flushed + b, model + b, 512) == 0)
				good = false;
		}
		cow_close(c);
	}
	ok(good, "40 crashes: what was not changed since the flush is as it was");
	ok(lost > 0, "and what was, is lost where it was new");
}

/* The header is there, then any bytes of it are not what they were. */
static void damage_is_seen(int fd, int base)
{
	bool good = true;
	char start[4];

	for (unsigned i = 0; i < sizeof(struct cow_header); i++) {
		struct cow *c;
		uint8_t byte;

		if (pread(fd, &byte, 1, i) != 1)
			abort();
		byte ^= 0x40;
		if (pwrite(fd, &byte, 1, i) != 1)
			abort();
		c = open_cow(fd, base);
		good = good && !c;
		cow_close(c);
		byte ^= 0x40;
		if (pwrite(fd, &byte, 1, i) != 1)
			abort();
	}
	ok(good, "a header of which one bit is not what it was");
	ok(ftruncate(fd, 4096) == 0 && !open_cow(fd, base), "one that is cut before its bits");
	ok(ftruncate(fd, 10) == 0 && !open_cow(fd, base), "one that is cut in its header");
	ok(ftruncate(fd, 0) == 0 && ftruncate(fd, 1 << 20) == 0, "one that was never finished");
	{
		struct cow *c = open_cow(fd, base);

		ok(c != NULL, "is made anew");
		cow_close(c);
	}
	ok(ftruncate(fd, 0) == 0 && pwrite(fd, "ext4", 4, 1080) == 4 && !open_cow(fd, base) &&
		   pread(fd, start, 4, 1080) == 4 && memcmp(start, "ext4", 4) == 0,
	   "what begins with zeroes and is somebody's stays so");
}

static void one_machine_at_a_time(int fd, int base)
{
	struct cow *a = open_cow(fd, base), *b = NULL;
	struct cos_err err = { 0 };
	char path[40];
	int again;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	again = open(path, O_RDWR | O_CLOEXEC);
	ok(a && cow_open(again, dup(base), 0, &b, &err) < 0 && err.code == COS_E_IN_USE,
	   "a second machine on one file is refused");
	cow_close(a);
}

int main(void)
{
	auto_close int fd = memfd_create("cow", MFD_CLOEXEC), base = -1;

	for (size_t i = 0; i < BASE; i++)
		base_bytes[i] = (uint8_t)next(256);
	base = run_file(base_bytes, BASE);
	it_is_what_was_written(fd, base);
	a_crash_loses_what_was_not_flushed(base);
	one_machine_at_a_time(fd, base);
	damage_is_seen(fd, base);
	return tap_done();
}
