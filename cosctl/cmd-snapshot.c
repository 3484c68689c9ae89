/* cosctl/cmd-snapshot.c - snapshots of guests' files */
#include "cosctl/cosctl.h"
#include "lib/base/own.h"

static int change(struct args *a, const char *method)
{
	auto_json json_t *params = NULL;

	if (a->argc != 2)
		return say_usage(a, "a name and a tag are needed");
	params = json_pack("{s:s, s:s}", "name", a->argv[0], "tag", a->argv[1]);
	if (!params)
		return say_usage(a, "the name is not valid UTF-8");
	return talk(a, method, params, NULL, a->argv[0]);
}

static int list(struct args *a)
{
	static const struct column cols[] = {
		{ "TAG", "tag", COL_TEXT },
		{ "MADE", "created_usec", COL_AGE },
		{ "LAYERS", "layers", COL_COUNT },
		{ "CURRENT", "current", COL_TEXT },
	};
	auto_json json_t *params = json_pack("{s:s}", "name", a->argv[0]), *rows = NULL;
	int r = params ? talk_rows(a, "io.cos.Guest.Snapshots", params, "snapshots", &rows)
		       : say_usage(a, "the name is not valid UTF-8");

	if (r == 0)
		out_rows(a, rows, "snapshots", cols, ARRAY_SIZE(cols));
	return r;
}

int cmd_snapshot(struct args *a)
{
	if (a->value['Z'])
		return change(a, "io.cos.Guest.DropSnapshot");
	return a->argc == 1 ? list(a) : change(a, "io.cos.Guest.Snapshot");
}

int cmd_restore(struct args *a)
{
	return change(a, "io.cos.Guest.Restore");
}
