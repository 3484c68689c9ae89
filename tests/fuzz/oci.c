/* tests/fuzz/oci.c - OCI layouts into a template's tree; input: index.json if it begins with '{',
 * else two layers, each half of it
 *
 * As in import.c the tree is on a tmpfs that is mounted nowhere. Needs root. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cow-fs/digest.h"
#include "cow-fs/fill.h"
#include "lib/base/io.h"
#include "lib/base/own.h"
#include "tests/fuzz/tree-scratch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct digester *hash;

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
	size_t half = size / 2 / TAR_HEADER * TAR_HEADER;

	if (blobs < 0 || !copy)
		abort();
	memcpy(copy, data, size);
	if (size > 0 && data[0] == '{') {
		if (io_replace_at(dir, "index.json", copy, size, 0600, false) < 0)
			abort();
		return;
	}
	tar_mend(copy, size);
	put_blob(blobs, copy, half, layer[0]);
	put_blob(blobs, copy + half, size - half, layer[1]);
	snprintf(text, sizeof(text), "{\"layers\":[%s,%s]}", layer[0], layer[1]);
	put_blob(blobs, text, strlen(text), manifest);
	snprintf(text, sizeof(text), "{\"manifests\":[%s]}", manifest);
	if (io_replace_at(dir, "index.json", text, strlen(text), 0600, false) < 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int scratch = tree_scratch();
	auto_close int root = -1, layout = -1;
	struct cos_err err = { 0 };
	struct tree t;
	int r;

	if (!hash)
		hash = digester_new();
	if (!hash)
		abort();
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
	check_error(r, &err);
	check_beside(scratch);
	if (io_remove_tree(scratch, "t", 0) < 0 || io_remove_tree(scratch, "layout", 0) < 0)
		abort();
	return 0;
}
