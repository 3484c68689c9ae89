/* vmm/main.c - cos-vmm: one virtual machine on /dev/kvm */
#include <malloc.h>
#include <stdio.h>

#include "lib/base/io.h"
#include "lib/base/jsonx.h"
#include "lib/base/log.h"
#include "lib/base/own.h"
#include "vmm/machine.h"

static int say_error(const struct options *o, const struct cos_err *err)
{
	const struct cos_err_def *def = &cos_err_defs[err->code];

	if (o->json_errors) {
		auto_json json_t *j = jsonx_of_err(err);

		json_dumpf(j, stderr, JSON_COMPACT | JSON_ENSURE_ASCII);
		fputc('\n', stderr);
	} else {
		fprintf(stderr, "cos-vmm: %s%s%s\n  %s\n  %s\n", err->what,
			err->what[0] ? ": " : "", def->title, err->why, cos_err_todo(err));
	}
	return def->exit_status;
}

int main(int argc, char **argv)
{
	struct cos_err err = { 0 };
	struct machine m;
	struct options o;
	int r;

	io_fill_stdio();
	log_open("cos-vmm", LOG_INFO);
	/* one heap for all threads: few allocate, and none often */
	mallopt(M_ARENA_MAX, 1);
	r = options_parse(&o, argc, argv, &err);
	if (r < 0)
		return say_error(&o, &err);
	if (o.help) {
		options_usage();
		return 0;
	}
	r = machine_init(&m, &o, &err);
	if (r == 0)
		r = machine_run(&m, &err);
	if (r < 0)
		machine_tell(&m, &err);
	machine_done(&m);
	return r < 0 ? say_error(&o, &err) : r;
}
