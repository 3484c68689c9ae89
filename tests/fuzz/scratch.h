/* tests/fuzz/scratch.h - a file system of its own for a target that reads files, mounted nowhere */
#pragma once

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/io.h"
#include "lib/kern/mnt.h"

/* Its root directory, the same on each call; -1 without root. */
static inline int scratch_dir(void)
{
	static const struct mnt_opt opts[] = {
		{ "size", "32m" },
		{ "nr_inodes", "20000" },
		{ NULL, NULL },
	};
	static int dir = -2;
	int mnt;

	if (dir != -2)
		return dir;
	mnt = mnt_new("tmpfs", opts, 0);
	dir = mnt < 0 ? -1 : openat(mnt, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		fprintf(stderr, "no tmpfs of its own (needs root): inputs are not read\n");
	if (mnt >= 0)
		close(mnt);
	return dir;
}

static inline void scratch_put(int dir, const char *name, const void *data, size_t size)
{
	if (io_replace_at(dir, name, data, size, 0600, false) < 0)
		abort();
}
