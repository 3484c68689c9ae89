/* tests/fuzz/tree-scratch.h - what the targets that make a tree of archives share */
#pragma once

#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "lib/base/own.h"
#include "tests/fuzz/scratch.h"

/* What stands beside the tree: an entry that gets out would change it. */
#define BESIDE "beside"

/* A tar header, in bytes. */
#define TAR_HEADER   512
#define TAR_SUM_AT   148
#define TAR_SUM_SIZE 8
#define TAR_MAGIC_AT 257

/* As scratch_dir(), with BESIDE in it and the limits that a confined import has. */
static inline int tree_scratch(void)
{
	const struct rlimit limit = { 1ULL << 40, 1ULL << 40 };
	static bool made;
	int fd = scratch_dir();

	if (made || fd < 0)
		return fd;
	umask(0);
	signal(SIGXFSZ, SIG_IGN);
	setrlimit(RLIMIT_FSIZE, &limit);
	if (mkdirat(fd, BESIDE, 0) < 0)
		abort();
	made = true;
	return fd;
}

/* Aborts if what stands beside the tree has changed. */
static inline void check_beside(int scratch)
{
	struct stat st;

	if (fstatat(scratch, BESIDE, &st, AT_SYMLINK_NOFOLLOW) < 0 || st.st_mode != S_IFDIR ||
	    st.st_nlink != 2 || st.st_uid != 0)
		abort();
}

/* An error has a code and a reason that can be shown. */
static inline void check_error(int r, const struct cos_err *err)
{
	if (r < 0 && (err->code <= COS_E_NONE || err->code >= COS_E__N || !err->why[0]))
		abort();
}

/* Changed headers get the checksum that fits: or nothing but the checksum would be tested. */
static inline void tar_mend(uint8_t *data, size_t size)
{
	for (uint8_t *h = data; size >= TAR_HEADER; h += TAR_HEADER, size -= TAR_HEADER) {
		unsigned sum = 0;

		if (memcmp(h + TAR_MAGIC_AT, "ustar", 5) != 0)
			continue;
		memset(h + TAR_SUM_AT, ' ', TAR_SUM_SIZE);
		for (size_t i = 0; i < TAR_HEADER; i++)
			sum += h[i];
		for (size_t i = TAR_SUM_SIZE - 2; i-- > 0; sum /= 8)
			h[TAR_SUM_AT + i] = (uint8_t)('0' + sum % 8);
		h[TAR_SUM_AT + TAR_SUM_SIZE - 2] = '\0';
	}
}
