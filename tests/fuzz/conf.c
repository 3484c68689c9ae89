/* tests/fuzz/conf.c - the daemon's configuration; input: cosd.json */
#include "cosd/conf.h"
#include "cosd/keep.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/scratch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int dir = scratch_dir(), r;
	struct cos_err err = { 0 };
	struct keep_args a = { .net_pool = "", .uplink = "" };
	struct conf c, dflt;
	char path[40];

	if (dir < 0)
		return 0;
	scratch_put(dir, "cosd.json", data, size);
	snprintf(path, sizeof(path), "/proc/self/fd/%d/cosd.json", dir);
	a.config = path;
	r = conf_load(&a, true, &c, &err);
	if (r < 0) {
		check_failure(r, &err);
		return 0;
	}
	check(c.id_base % 65536 == 0 && c.id_base + c.id_count * 65536 <= 0xffff0000ULL);
	check(c.profile_dir[0] == '/' && str_is_text(c.profile_dir, sizeof(c.profile_dir) - 1));
	check(str_is_text(c.socket_group, sizeof(c.socket_group) - 1));
	a.config = "/nowhere/cosd.json";
	check(conf_load(&a, false, &dflt, &err) == 0);
	r = conf_check_reload(&dflt, &c, &err);
	if (r < 0)
		check_failure(r, &err);
	check(conf_check_reload(&c, &c, &err) == 0);
	return 0;
}
