/* tests/fuzz/manifest.c - a manifest as a crash may have left it: nothing that was in it is lost */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cow-fs/manifest.h"
#include "lib/base/io.h"
#include "lib/base/own.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char place[] = "/tmp/fuzz-manifest.XXXXXX";

static void remove_place(void)
{
	io_remove_tree(AT_FDCWD, place, 0);
}

static void check_superset(const struct digest_set *of, const struct digest_set *s)
{
	for (size_t i = 0; i < of->room; i++) {
		if (of->used[i] && !digest_set_has(s, &of->slot[i]))
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int dir = -1;
	struct digest_set was = { 0 }, grown = { 0 }, is = { 0 };
	const struct digest more = { { 1, 2, 3 } };
	int r;

	if (dir < 0) {
		if (!mkdtemp(place) || atexit(remove_place) != 0)
			abort();
		dir = open(place, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	}
	if (io_replace_at(dir, MANIFEST, data, size, 0600, false) < 0)
		abort();
	r = manifest_read(dir, &was);
	if (r == 0 && manifest_read(dir, &grown) == 0) {
		if (manifest_add(dir, &grown, &more, 1) < 0 || manifest_read(dir, &is) < 0)
			abort();
		check_superset(&was, &is);
		if (!digest_set_has(&is, &more) || is.n != grown.n)
			abort();
	} else if (r != -EUCLEAN) {
		abort();
	}
	digest_set_done(&was);
	digest_set_done(&grown);
	digest_set_done(&is);
	return 0;
}
