/* tests/fuzz/oci.c - OCI layouts into a template's tree; input: index.json if it begins with '{',
 * else two layers, each half of it
 *
 * As in import.c the tree is on a tmpfs that is mounted nowhere. Needs root. */
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cow-fs/digest.h"
#include "cow-fs/fill.h"
#include "lib/base/io.h"
#include "lib/base/own.h"
#include "lib/kern/mnt.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define BESIDE   "beside"
#define HEADER   512
#define SUM_AT   148
#define SUM_SIZE 8
#define MAGIC_AT 257

static struct digester *hash;

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
	hash = digester_new();
	if (fd < 0)
		fprintf(stderr, "oci: no tmpfs of its own (needs root): inputs are not read\n");
	else if (!hash || mkdirat(fd, BESIDE, 0) < 0)
		abort();
	return fd;
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

/* Its descriptor's text is in RET. */
static void put_blob(int dir, const void *data, size_t size, char ret[160])
{
	char ref[OBJECT_REF_SIZE];
	struct digest d;

	if (digester_begin(hash) < 0 || digester_add(hash, data, size) < 0 ||
	    digester_end(hash, &d) < 0)
		abort();
	object_ref(&d, ref);
	if (io_replace_at(dir, ref + 3, data, size, 0600, false) < 0)
		abort();
	snprintf(ret, 160, "{\"digest\":\"sha256:%s\",\"size\":%zu}", ref + 3, size);
}

static void put_layout(int dir, const uint8_t *data, size_t size)
{
	auto_close int top = io_dir_at(dir, "blobs", 0755), blobs = io_dir_at(top, "sha256", 0755);
	auto_free uint8_t *copy = malloc(size + 1);
	char layer[2][160], text[512], manifest[160];
	size_t half = size / 2 / HEADER * HEADER;

	if (blobs < 0 || !copy)
		abort();
	memcpy(copy, data, size);
	if (size > 0 && data[0] == '{') {
		if (io_replace_at(dir, "index.json", copy, size, 0600, false) < 0)
			abort();
		return;
	}
	mend(copy, size);
	put_blob(blobs, copy, half, layer[0]);
	put_blob(blobs, copy + half, size - half, layer[1]);
	snprintf(text, sizeof(text), "{\"layers\":[%s,%s]}", layer[0], layer[1]);
	put_blob(blobs, text, strlen(text), manifest);
	snprintf(text, sizeof(text), "{\"manifests\":[%s]}", manifest);
	if (io_replace_at(dir, "index.json", text, strlen(text), 0600, false) < 0)
		abort();
}

static void check(int scratch, int r, const struct cos_err *err)
{
	struct stat st;

	if (r < 0 && (err->code <= COS_E_NONE || err->code >= COS_E__N || !err->why[0]))
		abort();
	if (fstatat(scratch, BESIDE, &st, AT_SYMLINK_NOFOLLOW) < 0 || st.st_mode != S_IFDIR ||
	    st.st_nlink != 2 || st.st_uid != 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int scratch = -2;
	auto_close int root = -1, layout = -1;
	struct cos_err err = { 0 };
	struct tree t;
	int r;

	if (scratch == -2)
		scratch = open_scratch();
	if (scratch < 0 || size > 1U << 20)
		return 0;
	root = io_dir_at(scratch, "t", 0755);
	layout = io_dir_at(scratch, "layout", 0755);
	if (root < 0 || layout < 0)
		abort();
	put_layout(layout, data, size);
	tree_init(&t, root);
	t.max_bytes = 8 << 20;
	r = fill_from_oci(&t, layout, hash, "x86_64", &err);
	if (r == 0)
		r = tree_finish(&t, &err);
	tree_done(&t);
	check(scratch, r, &err);
	if (io_remove_tree(scratch, "t", 0) < 0 || io_remove_tree(scratch, "layout", 0) < 0)
		abort();
	return 0;
}
