/* tests/fuzz/import.c - archives into a template's tree, without the confinement; input: the
 * archive
 *
 * The tree is on a tmpfs that is mounted nowhere: what would leave it would have to be seen. Needs
 * root. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cow-fs/fill.h"
#include "lib/base/io.h"
#include "lib/base/own.h"
#include "tests/fuzz/tree-scratch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int open_input(const uint8_t *data, size_t size)
{
	auto_close int fd = memfd_create("fuzz", MFD_CLOEXEC);
	auto_free uint8_t *copy = malloc(size + 1);

	if (fd < 0 || !copy)
		abort();
	memcpy(copy, data, size);
	tar_mend(copy, size);
	if (io_write_all(fd, copy, size) < 0 || lseek(fd, 0, SEEK_SET) != 0)
		abort();
	return take_fd(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int scratch = tree_scratch();
	auto_close int root = -1, in = -1;
	struct cos_err err = { 0 };
	struct tree t;
	int r;

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
