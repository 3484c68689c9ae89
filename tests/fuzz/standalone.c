/* tests/fuzz/standalone.c - runs a fuzz target over kept inputs, without a fuzzer
 *
 * usage: PROGRAM [FILE|FOLDER]...     without arguments: $TOP_SRCDIR/tests/fuzz/corpus/NAME, where
 * NAME is the program's own up to its first dot. One TAP test for each argument. A target that
 * finds something aborts; the last comment in the output is the input's name. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/io.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "tests/tap.h"

#define INPUT_MAX (1 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool run_file(int dir, const char *name)
{
	auto_free char *s = NULL;
	auto_free uint8_t *exact = NULL;
	ssize_t n = io_slurp_at(dir, name, INPUT_MAX, &s);

	if (n < 0)
		return false;
	/* Without the NUL that io_slurp_at() adds, so that reading on is seen by a sanitizer. */
	exact = malloc(n ? (size_t)n : 1);
	if (!exact)
		return false;
	memcpy(exact, s, (size_t)n);
	printf("# %s\n", name);
	fflush(stdout);
	return LLVMFuzzerTestOneInput(exact, (size_t)n) == 0;
}

/* Runs PATH, or each file in it; returns how many there were, -1 if one could not be run. */
static int run_path(const char *path)
{
	auto_close int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct dirent **list;
	bool good = true;
	int n;

	if (fd < 0)
		return run_file(AT_FDCWD, path) ? 1 : -1;
	n = scandirat(fd, ".", &list, NULL, alphasort);
	if (n < 0)
		return -1;
	for (int i = 0, all = n; i < all; i++) {
		if (list[i]->d_name[0] == '.')
			n--;
		else
			good = run_file(fd, list[i]->d_name) && good;
		free(list[i]);
	}
	free(list);
	return good ? n : -1;
}

static void run(const char *path)
{
	int n = run_path(path);

	ok(n > 0, "%s: %d inputs", path, n);
}

int main(int argc, char **argv)
{
	const char *top = getenv("TOP_SRCDIR"), *name = strrchr(argv[0], '/');
	char path[4096];

	for (int i = 1; i < argc; i++)
		run(argv[i]);
	if (argc > 1)
		return tap_done();
	name = name ? name + 1 : argv[0];
	if (!str_fmt(path, sizeof(path), "%s/tests/fuzz/corpus/%.*s", top ?: ".",
		     (int)strcspn(name, "."), name))
		return 1;
	run(path);
	return tap_done();
}
