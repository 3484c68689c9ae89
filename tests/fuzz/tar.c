/* tests/fuzz/tar.c - streams beneath a directory, as both ends of 'cosctl cp' take them; input: the
 * stream
 *
 * The directory is on a tmpfs that is mounted nowhere: what would leave it would have to be seen.
 * What was unpacked is packed again and has to be a good stream. Needs root. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/own.h"
#include "lib/tar/inner.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/scratch.h"

/* What stands beside the directory: an entry that gets out would change it. */
#define BESIDE "beside"

static void check_beside(int scratch)
{
	struct stat st;

	if (mkdirat(scratch, BESIDE, 0) == 0)
		return;
	check(fstatat(scratch, BESIDE, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_mode == S_IFDIR &&
	      st.st_nlink == 2 && st.st_uid == 0);
}

/* Changed headers get the checksum that fits: or nothing but the checksum would be tested. */
static void mend(uint8_t *data, size_t size)
{
	for (; size >= TAR_BLOCK; data += TAR_BLOCK, size -= TAR_BLOCK) {
		struct tar_header h;

		memcpy(&h, data, sizeof(h));
		if (memcmp(h.magic, "ustar", 5) != 0)
			continue;
		snprintf(h.sum, sizeof(h.sum), "%06o", tar_sum(&h));
		memcpy(data, &h, sizeof(h));
	}
}

static int open_input(const uint8_t *data, size_t size)
{
	auto_close int fd = memfd_create("fuzz", MFD_CLOEXEC);
	auto_free uint8_t *copy = malloc(size + 1);

	check(fd >= 0 && copy);
	memcpy(copy, data, size);
	mend(copy, size);
	check(io_write_all(fd, copy, size) == 0 && lseek(fd, 0, SEEK_SET) == 0);
	return take_fd(fd);
}

static int unpack(int in, int root, const char *top, const char *as, bool owners)
{
	struct tar_unpack u = { .in = in, .root = root, .top = top, .as = as, .owners = owners };
	struct cos_err err = { 0 };
	int r = tar_unpack(&u, &err);

	if (r < 0)
		check_failure(r, &err);
	return r;
}

static void pack_again(int scratch, int root)
{
	auto_close int out = memfd_create("again", MFD_CLOEXEC), again = -1;
	struct cos_err err = { 0 };
	struct tar_pack p = { .path = ".", .out = out, .owners = true };

	check(out >= 0 && fchdir(root) == 0);
	check(tar_pack(&p, &err) == 0 && lseek(out, 0, SEEK_SET) == 0);
	again = io_dir_at(scratch, "again", 0755);
	check(again >= 0 && unpack(out, again, NULL, NULL, true) == 0);
	check(fchdir(scratch) == 0 && io_remove_tree(scratch, "again", 0) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct {
		const char *top, *as;
	} ways[] = { { NULL, NULL }, { "a", NULL }, { NULL, "new" }, { ".", "new" } };
	int scratch = scratch_dir();

	if (scratch < 0)
		return 0;
	umask(0);
	check_beside(scratch);
	for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
		auto_close int root = io_dir_at(scratch, "t", 0755), in = open_input(data, size);

		check(root >= 0);
		/* a full tmpfs is no finding, but cannot be packed again */
		if (unpack(in, root, ways[i].top, ways[i].as, i % 2) == 0)
			pack_again(scratch, root);
		check_beside(scratch);
		check(io_remove_tree(scratch, "t", 0) == 0);
	}
	return 0;
}
