/* bench/overhead-work-files.c - the rows of bench/overhead that are about memory and files */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench/overhead-work.h"

#define SMALL      WORK_DIR "/small"
#define BIG        WORK_DIR "/big"
#define BIG_BYTES  (64UL << 20)
#define ANON_BYTES (4UL << 20)
#define PAGE       4096UL
#define BIG_PAGE   (2UL << 20)
#define AROUND     65536UL /* what the kernel maps at one fault of a cached file */
#define FILES_MAX  512U
#define FILE_BYTES 10240

static char block[FILE_BYTES];

/* ---- memory ---- */

/* A hole needs no disk, but its pages in the cache are pages like others. */
static int open_big(void)
{
	static int fd = -1;

	if (fd >= 0)
		return fd;
	unlink(BIG);
	fd = open(BIG, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	if (fd < 0 || ftruncate(fd, BIG_BYTES) < 0)
		return -errno;
	for (off_t at = 0; at < (off_t)BIG_BYTES; at += sizeof(block)) {
		if (pread(fd, block, sizeof(block), at) < 0)
			return -errno;
	}
	return fd;
}

static void touch(const volatile unsigned char *p, size_t bytes, size_t step)
{
	unsigned sum = 0;

	for (size_t at = 0; at < bytes; at += step)
		sum += p[at];
	work_sink = sum;
}

static int op_mmap(void)
{
	int fd = open_big();
	void *p = fd < 0 ? MAP_FAILED : mmap(NULL, BIG_BYTES, PROT_READ, MAP_SHARED, fd, 0);

	if (p == MAP_FAILED)
		return -errno;
	touch(p, BIG_BYTES, PAGE);
	munmap(p, BIG_BYTES);
	return 0;
}

int64_t batch_mmap(unsigned *ops)
{
	int fd = open_big();

	return fd < 0 ? fd : work_repeat(op_mmap, *ops);
}

/* Not at an address where the kernel could map 2 MiB at one fault: which file systems ask for such
 * a place is seen in the row before, what a fault costs in this one. */
static void *map_askew(int fd)
{
	size_t room = BIG_BYTES + 2 * BIG_PAGE;
	char *p = mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uintptr_t at = ((uintptr_t)p + BIG_PAGE) / BIG_PAGE * BIG_PAGE + PAGE;

	if (p == MAP_FAILED)
		return p;
	munmap(p, room);
	return mmap((void *)at, BIG_BYTES, PROT_READ, MAP_SHARED | MAP_FIXED_NOREPLACE, fd, 0);
}

static unsigned faults(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (unsigned)u.ru_minflt;
}

int64_t batch_fault_file(unsigned *ops)
{
	int fd = open_big();
	size_t bytes = *ops * AROUND < BIG_BYTES ? *ops * AROUND : BIG_BYTES;
	unsigned before;
	int64_t took;
	void *p;

	if (fd < 0)
		return fd;
	p = map_askew(fd);
	if (p == MAP_FAILED)
		return -errno;
	before = faults();
	took = work_nsec();
	touch(p, bytes, AROUND);
	took = work_nsec() - took;
	*ops = faults() - before;
	munmap(p, BIG_BYTES);
	return *ops ? took : -EINVAL;
}

int64_t batch_fault_anon(unsigned *ops)
{
	size_t bytes = *ops * PAGE < ANON_BYTES ? *ops * PAGE : ANON_BYTES;
	volatile char *p =
		mmap(NULL, ANON_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int64_t took;

	if (p == MAP_FAILED)
		return -errno;
	madvise((void *)p, ANON_BYTES, MADV_NOHUGEPAGE);
	took = work_nsec();
	for (size_t at = 0; at < bytes; at += PAGE)
		p[at] = 1;
	took = work_nsec() - took;
	munmap((void *)p, ANON_BYTES);
	*ops = (unsigned)(bytes / PAGE);
	return took;
}

/* ---- files ---- */

static int op_open(void)
{
	int fd = open(SMALL, O_RDONLY);

	return fd < 0 || close(fd) < 0 ? -errno : 0;
}

static int op_stat(void)
{
	struct stat st;

	return stat(SMALL, &st) < 0 ? -errno : 0;
}

static int small;

static int op_pread(void)
{
	return pread(small, block, PAGE, 0) == PAGE ? 0 : -EIO;
}

static int op_pwrite(void)
{
	return pwrite(small, block, PAGE, 0) == PAGE ? 0 : -EIO;
}

static int64_t batch_small(int (*op)(void), unsigned ops)
{
	int64_t r;

	small = open(SMALL, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	if (small < 0)
		return -errno;
	r = op_pwrite();
	r = r < 0 ? r : work_repeat(op, ops);
	close(small);
	return r;
}

int64_t batch_open(unsigned *ops)
{
	return batch_small(op_open, *ops);
}

int64_t batch_stat(unsigned *ops)
{
	return batch_small(op_stat, *ops);
}

int64_t batch_pread(unsigned *ops)
{
	return batch_small(op_pread, *ops);
}

int64_t batch_pwrite(unsigned *ops)
{
	return batch_small(op_pwrite, *ops);
}

static char file_name[FILES_MAX][32];

static int create_files(unsigned n, size_t bytes)
{
	for (unsigned i = 0; i < n; i++) {
		int fd = open(file_name[i], O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

		if (fd < 0 || (bytes && write(fd, block, bytes) != (ssize_t)bytes) || close(fd) < 0)
			return -errno;
	}
	return 0;
}

static int delete_files(unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		if (unlink(file_name[i]) < 0)
			return -errno;
	}
	return 0;
}

static int64_t batch_files(unsigned *ops, size_t bytes, bool creation)
{
	unsigned n = *ops < FILES_MAX ? *ops : FILES_MAX;
	int64_t begin, middle, end;
	int r;

	for (unsigned i = 0; i < n; i++)
		snprintf(file_name[i], sizeof(file_name[i]), WORK_DIR "/f%u", i);
	r = create_files(n / 4 + 1, bytes);
	r = r < 0 ? r : delete_files(n / 4 + 1);
	begin = work_nsec();
	r = r < 0 ? r : create_files(n, bytes);
	middle = work_nsec();
	r = r < 0 ? r : delete_files(n);
	end = work_nsec();
	*ops = n;
	if (r < 0)
		return r;
	return creation ? middle - begin : end - middle;
}

int64_t batch_create_0(unsigned *ops)
{
	return batch_files(ops, 0, true);
}

int64_t batch_delete_0(unsigned *ops)
{
	return batch_files(ops, 0, false);
}

int64_t batch_create_10(unsigned *ops)
{
	return batch_files(ops, FILE_BYTES, true);
}

int64_t batch_delete_10(unsigned *ops)
{
	return batch_files(ops, FILE_BYTES, false);
}
