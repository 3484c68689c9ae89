/* bench/unify.c - what storing equal files once costs and saves, each figure beside one of its run
 *
 * usage: bench/unify [--fs ext4|xfs|btrfs] [--guests N] [--only ROW,ROW] */
#include <getopt.h>
#include <stdio.h>

#include "bench/unify.h"
#include "lib/base/own.h"

#define GUESTS_MAX 10000U

static const struct {
	const char *name;
	void (*rows)(void);
} parts[] = {
	{ "create", rows_create }, { "space", rows_space },       { "upgraded", rows_upgraded },
	{ "walk", rows_walks },    { "write", rows_first_write }, { "speed", rows_speed },
	{ "import", rows_import }, { "freeze", rows_freeze },
};

int main(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "fs", required_argument, NULL, 'f' },
		{ "guests", required_argument, NULL, 'g' },
		{ "only", required_argument, NULL, 'o' },
		{ 0 },
	};
	const char *only = NULL;
	int opt;

	while ((opt = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (opt == 'f')
			stage.fs_type = optarg;
		else if (opt == 'g' && bench_parse_number(optarg, GUESTS_MAX, &stage.guests) == 0)
			continue;
		else if (opt == 'o')
			only = optarg;
		else
			return 2;
	}
	if (bench_open(&stage.b) < 0)
		return 1;
	stage_open();
	printf("fs\twhat\tvalue\tunit\tother\tversus\tratio\treach\treached\n");
	for (size_t i = 0; i < ARRAY_SIZE(parts) && !bench_stopped(); i++) {
		if (bench_wants(only, parts[i].name))
			parts[i].rows();
	}
	stage_close();
	bench_close(&stage.b);
	return 0;
}
