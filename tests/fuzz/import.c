/* tests/fuzz/import.c - archives into a template's tree, without the confinement; input: the
 * archive
 *
 * The tree is on a tmpfs that is mounted nowhere: what would leave it would have to be seen. Needs
 * root. */
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cow-fs/fill.h"
#include "lib/base/io.h"
#include "lib/base/own.h"
#include "lib/kern/mnt.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What stands beside the tree: an entry that gets out would change it. */
#define BESIDE "beside"

/* A tar header, in bytes. */
#define HEADER   512
#define SUM_AT   148
#define SUM_SIZE 8
#define MAGIC_AT 257

static int open_scratch(void)
{
	static const struct mnt_opt opts[] = {
		{ "size", "32m" },
		{ "nr_inodes", "20000" },
		{ NULL, NULL },
	};
	const struct rlimit limit = { 1ULL << 40, 1ULL << 40 };
	int fd = mnt_new("tmpfs", opts, 0);

	umask(0);
	signal(SIGXFSZ, SIG_IGN);
	setrlimit(RLIMIT_FSIZE, &limit);
	if (fd < 0)
		fprintf(stderr, "import: no tmpfs of its own (needs root): inputs are not read\n");
	else if (mkdirat(fd, BESIDE, 0) < 0)
		abort();
	return fd;
}

static void check_beside(int scratch)
{
	struct stat st;

	if (fstatat(scratch, BESIDE, &st, AT_SYMLINK_NOFOLLOW) < 0 || st.st_mode != S_IFDIR ||
	    st.st_nlink != 2 || st.st_uid != 0)
		abort();
}

/* An error has a code and a reason that can be shown. */
static void check_error(int r, const struct cos_err *err)
{
	if (r < 0 && (err->code <= COS_E_NONE || err->code >= COS_E__N || !err->why[0]))
		abort();
}

/* Changed headers get the checksum that fits: or nothing but the checksum would be tested. */
static void mend(uint8_t *data, size_t size)
{
	for (uint8_t *h = data; size >= HEADER; h += HEADER, size -= HEADER) {
		unsigned sum = 0;

		if (memcmp(h + MAGIC_AT, "ustar", 5) != 0)
			continue;
		memset(h + SUM_AT, ' ', SUM_SIZE);
		for (size_t i = 0; i < HEADER; i++)
			sum += h[i];
		for (size_t i = SUM_SIZE - 2; i-- > 0; sum /= 8)
			h[SUM_AT + i] = (uint8_t)('0' + sum % 8);
		h[SUM_AT + SUM_SIZE - 2] = '\0';
	}
}

static int open_input(const uint8_t *data, size_t size)
{
	auto_close int fd = memfd_create("fuzz", MFD_CLOEXEC);
	auto_free uint8_t *copy = malloc(size + 1);

	if (fd < 0 || !copy)
		abort();
	memcpy(copy, data, size);
	mend(copy, size);
	if (io_write_all(fd, copy, size) < 0 || lseek(fd, 0, SEEK_SET) != 0)
		abort();
	return take_fd(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int scratch = -2;
	auto_close int root = -1, in = -1;
	struct cos_err err = { 0 };
	struct tree t;
	int r;

	if (scratch == -2)
		scratch = open_scratch();
	if (scratch < 0)
		return 0;
	root = io_dir_at(scratch, "t", 0755);
	in = open_input(data, size);
	if (root < 0)
		abort();
	tree_init(&t, root);
	t.max_bytes = 16 << 20;
	r = fill_from_tar(&t, in, &err);
	if (r == 0)
		r = tree_finish(&t, &err);
	tree_done(&t);
	check_error(r, &err);
	check_beside(scratch);
	if (io_remove_tree(scratch, "t", 0) < 0)
		abort();
	return 0;
}
