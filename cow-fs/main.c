/* cow-fs/main.c - cow-fs: templates by hand, and as the daemon's child for work that takes long */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cow-fs/busybox.h"
#include "cow-fs/cli.h"
#include "cow-fs/debian.h"
#include "cow-fs/disk.h"
#include "cow-fs/flatten.h"
#include "cow-fs/import.h"
#include "cow-fs/inside.h"
#include "cow-fs/mount.h"
#include "cow-fs/sandbox.h"
#include "cow-fs/space.h"
#include "cow-fs/store.h"
#include "lib/base/clock.h"
#include "lib/base/jsonx.h"
#include "lib/base/own.h"
#include "lib/base/str.h"

#define BUSYBOX      "/bin/busybox"
#define SWEEP_ROUNDS 1000

/* ---- what is said ---- */

static void say_error(const struct options *o, const struct cos_err *err)
{
	const struct cos_err_def *def = &cos_err_defs[err->code];

	if (o->json_errors) {
		auto_json json_t *j = jsonx_of_err(err);

		json_dumpf(j, stderr, JSON_COMPACT | JSON_ENSURE_ASCII);
		fputc('\n', stderr);
		return;
	}
	fprintf(stderr, "cow-fs: %s%s%s\n  %s\n  %s\n", err->what, err->what[0] ? ": " : "",
		def->title, err->why, cos_err_todo(err));
}

static void say_progress(const struct tree_count *n, void *arg)
{
	(void)arg;
	printf("progress %" PRIu64 " %" PRIu64 "\n", n->files, n->bytes);
	fflush(stdout);
}

/* On stdout with --progress, where the daemon reads, else on stderr. */
static void say_left_out(const struct options *o, const struct tree_count *n)
{
	const struct {
		uint64_t n;
		const char *what;
	} left_out[] = {
		{ n->devices, "device nodes" },
		{ n->sockets, "sockets" },
		{ n->mounts, "directories and files with something mounted on them" },
		{ n->xattrs, "extended attributes of the host they came from" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(left_out); i++) {
		if (left_out[i].n > 0)
			fprintf(o->progress ? stdout : stderr, "%s%" PRIu64 " %s\n",
				o->progress ? "warning skipped " : "cow-fs: skipped ",
				left_out[i].n, left_out[i].what);
	}
}

/* ---- commands ---- */

static int import(const struct cowfs *c, const struct options *o, const char *name,
		  const struct import_source *src, struct cos_err *err)
{
	struct tree_count n;
	int r = cowfs_import(c, name, src, o->progress ? say_progress : NULL, NULL, &n, err);

	if (r < 0)
		return r;
	if (o->progress)
		say_progress(&n, NULL);
	say_left_out(o, &n);
	return 0;
}

static int open_source(const struct options *o, const char *path, struct import_source *ret,
		       struct cos_err *err)
{
	auto_close int fd = -1;
	bool is_oci = o->fd < 0 && strncmp(path, "oci:", 4) == 0;
	struct stat st;

	if (is_oci)
		path += 4;
	if (o->fd >= 0)
		fd = fcntl(o->fd, F_DUPFD_CLOEXEC, 3);
	else if (strcmp(path, "-") == 0)
		fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
	else
		fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0 || fstat(fd, &st) < 0)
		return cos_fail(err, COS_E_IMAGE, errno, "open %s", path ? path : "the descriptor");
	if (is_oci && S_ISDIR(st.st_mode))
		ret->kind = IMPORT_OCI;
	else if (S_ISDIR(st.st_mode))
		ret->kind = IMPORT_DIR;
	else if (S_ISREG(st.st_mode) || S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode))
		ret->kind = IMPORT_TAR;
	else
		return cos_fail(err, COS_E_IMAGE, 0, "%s is neither a directory nor an archive",
				path ? path : "the descriptor");
	ret->fd = take_fd(fd);
	return 0;
}

static int do_import(const struct cowfs *c, const struct options *o, char **arg,
		     struct cos_err *err)
{
	struct import_source src = { .max_bytes = o->max_bytes, .unify = o->unify };
	int r;

	if (!arg[1] == (o->fd < 0))
		return cos_fail(err, COS_E_INVALID, 0, "template import: a source or --fd");
	r = open_source(o, arg[1], &src, err);
	if (r < 0)
		return r;
	r = import(c, o, arg[0], &src, err);
	close(src.fd);
	return r;
}

static int build_busybox(const struct cowfs *c, const struct options *o, const char *name,
			 struct cos_err *err)
{
	struct import_source src = { .kind = IMPORT_BUSYBOX, .unify = o->unify };
	int r;

	if (o->suite || o->init || o->include)
		return cos_fail(err, COS_E_INVALID, 0,
				"suite, init and include are for building debian");
	src.fd = busybox_open(BUSYBOX, err);
	if (src.fd < 0)
		return src.fd;
	r = import(c, o, name, &src, err);
	close(src.fd);
	return r;
}

static int build_debian(const struct cowfs *c, const struct options *o, const char *name,
			struct cos_err *err)
{
	struct debian d;
	const struct import_source src = {
		.kind = IMPORT_DEBIAN, .fd = -1, .debian = &d, .unify = o->unify
	};
	int r = debian_parse(o->suite, o->init, o->include, &d, err);

	if (r < 0)
		return r;
	if (o->ids == 0)
		return cos_advise(err,
				  cos_fail(err, COS_E_INVALID, 0,
					   "packages' scripts need user ids to run with"),
				  "use 'cosctl template build', or name the first of 65536 ids "
				  "that nobody uses with --ids");
	d.id_base = o->ids;
	return import(c, o, name, &src, err);
}

static const struct builder {
	const char *kind;
	int (*build)(const struct cowfs *c, const struct options *o, const char *name,
		     struct cos_err *err);
} builders[] = {
	{ "busybox", build_busybox },
	{ "debian", build_debian },
};

static int do_build(const struct cowfs *c, const struct options *o, char **arg, struct cos_err *err)
{
	for (size_t i = 0; i < ARRAY_SIZE(builders); i++) {
		if (strcmp(builders[i].kind, arg[0]) == 0)
			return builders[i].build(c, o, o->name ? o->name : arg[0], err);
	}
	return cos_fail(err, COS_E_INVALID, 0, "template build: %s is neither busybox nor debian",
			str_is_text(arg[0], 64) ? arg[0] : "this");
}

static void print_template(json_t *t)
{
	const char *name = json_string_value(json_object_get(t, "name"));
	const char *source = json_string_value(json_object_get(t, "source"));
	json_int_t created = json_integer_value(json_object_get(t, "created"));
	char when[CLI_TIME_SIZE];

	printf("%-24s %-8s %6zu %9" JSON_INTEGER_FORMAT " %13" JSON_INTEGER_FORMAT
	       " %6" JSON_INTEGER_FORMAT "  %s\n",
	       name, source, json_array_size(json_object_get(t, "layers")),
	       json_integer_value(json_object_get(t, "files")),
	       json_integer_value(json_object_get(t, "bytes")),
	       json_integer_value(json_object_get(t, "users")), cli_time(created, when));
}

/* To standard output, or as an OCI layout into a directory, which is made. */
static int do_export(const struct cowfs *c, const struct options *o, char **arg,
		     struct cos_err *err)
{
	struct cowfs_layers layers;
	/* before a file that is there is emptied */
	int r = cowfs_template_find(c, arg[0], &layers, err), features;
	auto_close int out = -1;
	struct tree_count n;

	(void)o;
	if (r < 0)
		return r;
	features = cowfs_probe(c->dir, err);
	if (features < 0)
		return features;
	if (strncmp(arg[1], "oci:", 4) == 0) {
		if (mkdir(arg[1] + 4, 0755) < 0 && errno != EEXIST)
			return cos_fail(err, COS_E_INVALID, errno, "mkdir %s", arg[1] + 4);
		out = open(arg[1] + 4, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (out < 0)
			return cos_fail(err, COS_E_INVALID, errno, "open %s", arg[1] + 4);
		return cowfs_export_oci(c, arg[0], (unsigned)features, out, &n, err);
	}
	out = strcmp(arg[1], "-") == 0
		      ? fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3)
		      : open(arg[1], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (out < 0)
		return cos_fail(err, COS_E_INVALID, errno, "open %s", arg[1]);
	return cowfs_export_tar(c, arg[0], (unsigned)features, out, &n, err);
}

static int do_disk(const struct cowfs *c, const struct options *o, char **arg, struct cos_err *err)
{
	int features = cowfs_probe(c->dir, err);

	(void)o;
	return features < 0 ? features : cowfs_disk_make(c, arg[0], (unsigned)features, err);
}

static int do_list(const struct cowfs *c, const struct options *o, char **arg, struct cos_err *err)
{
	auto_json json_t *list = NULL;
	int r = cowfs_template_list(c, &list, err);
	json_t *t;
	size_t i;

	(void)arg;
	if (r < 0)
		return r;
	if (o->output && strcmp(o->output, "json") == 0) {
		json_dumpf(list, stdout, JSON_COMPACT);
		putchar('\n');
		return 0;
	}
	printf("%-24s %-8s %6s %9s %13s %6s  %s\n", "NAME", "SOURCE", "LAYERS", "FILES", "BYTES",
	       "USERS", "CREATED");
	json_array_foreach(list, i, t)
		print_template(t);
	return 0;
}

static int do_delete(const struct cowfs *c, const struct options *o, char **arg,
		     struct cos_err *err)
{
	(void)o;
	return cowfs_template_delete(c, arg[0], err);
}

static int do_sweep(const struct cowfs *c, const struct options *o, char **arg, struct cos_err *err)
{
	const struct timespec pause = { .tv_nsec = 1000000 };
	int r, rounds = 0;

	(void)o;
	(void)arg;
	/* Again after something was taken to the trash, or while a guest is being made. */
	while ((r = cowfs_sweep(c, 0)) == -EAGAIN && ++rounds < SWEEP_ROUNDS)
		nanosleep(&pause, NULL);
	return r < 0 ? cos_fail(err, COS_E_KERNEL, -r, "sweep cow/trash and cow/tmp") : 0;
}

static void print_warning(const char *text, void *arg)
{
	(void)arg;
	printf("warning %s\n", text);
}

static int tell_copied(int r, const struct tar_count *n)
{
	printf("progress %" PRIu64 " %" PRIu64 "\n", n->files, n->bytes);
	tar_say_left_out(n, print_warning, NULL);
	return r;
}

static int do_guest_read(const struct cowfs *c, const struct options *o, char **arg,
			 struct cos_err *err)
{
	struct tar_count n = { 0 };

	(void)c;
	(void)o;
	return tell_copied(inside_read(arg[0], arg[1], &n, err), &n);
}

static int do_guest_write(const struct cowfs *c, const struct options *o, char **arg,
			  struct cos_err *err)
{
	struct tar_count n = { 0 };

	(void)c;
	(void)o;
	return tell_copied(inside_write(arg[0], arg[1], &n, err), &n);
}

static const struct command template_commands[] = {
	{ { "template", "import" }, 1, 2, TAKES(FD) | TAKES(MAX_BYTES) | TAKES(UNIFY), do_import },
	{ { "template", "build" },
	  1,
	  1,
	  TAKES(NAME) | TAKES(SUITE) | TAKES(INIT) | TAKES(INCLUDE) | TAKES(IDS) | TAKES(UNIFY),
	  do_build },
	{ { "template", "export" }, 2, 2, 0, do_export },
	{ { "template", "disk" }, 1, 1, 0, do_disk },
	{ { "template", "list" }, 0, 0, TAKES(OUTPUT), do_list },
	{ { "template", "delete" }, 1, 1, 0, do_delete },
	{ { "sweep", NULL }, 0, 0, 0, do_sweep },
	/* for the daemon alone: it gives the descriptors of inside.h */
	{ { "guest", "read" }, 2, 2, 0, do_guest_read },
	{ { "guest", "write" }, 2, 2, 0, do_guest_write },
	{ .run = NULL },
};

static const struct command *const tables[] = { template_commands, cli_guest_commands,
						cli_pool_commands };

/* Ends in a guest: without the store, and without what libraries do at exit. */
static bool is_inside(const struct command *cmd)
{
	return strcmp(cmd->words[0], "guest") == 0;
}

static const char usage[] =
	"Usage: cow-fs [OPTION]... COMMAND\n"
	"  template import NAME DIR|TAR|-   make a template; TAR plain or .gz .xz .zst\n"
	"  template import NAME oci:DIR     make one from an image in an OCI layout\n"
	"  template build busybox           make one from the host's static busybox\n"
	"  template build debian            make one from Debian's packages, by mmdebstrap\n"
	"  template export NAME TAR|-|oci:DIR\n"
	"                                   write it as an archive or an OCI layout\n"
	"  template list                    show the templates\n"
	"  template delete NAME             delete one that no guest stands on\n"
	"  sweep                            free the space of what was deleted or interrupted\n"
	"  root make GUEST [TEMPLATE]       make a guest's root directory, without a daemon\n"
	"  root limit GUEST                 set how much space its files may take\n"
	"  root mount GUEST DIR             mount it; umount(8) ends that\n"
	"  root remove GUEST                take it away\n"
	"  clone GUEST NEW                  make another guest with its files\n"
	"  flatten GUEST                    make one layer of all that it stands on\n"
	"  snapshot make GUEST NAME         keep its files as they are now\n"
	"  snapshot list GUEST              show what was kept\n"
	"  snapshot restore GUEST NAME      put them back; what they are now is gone\n"
	"  snapshot delete GUEST NAME       do not keep them any more\n"
	"  unify GUEST                      store its files once with those of other guests\n"
	"  gc                               remove stored files that nobody needs\n"
	"  scrub                            look for damaged ones, and repair them\n"
	"  usage GUEST                      show what its files take, own and shared\n"
	"  limits                           show how a guest's space could be limited here\n"
	"  selftest                         try what unification needs of the kernel\n";

/* ---- arguments ---- */

static const struct command *match(const struct command *cmd, int *argc, char ***argv)
{
	for (; cmd->run; cmd++) {
		int words = cmd->words[1] ? 2 : 1;

		if (*argc < words || strcmp((*argv)[0], cmd->words[0]) != 0 ||
		    (words == 2 && strcmp((*argv)[1], cmd->words[1]) != 0))
			continue;
		*argc -= words;
		*argv += words;
		return cmd;
	}
	return NULL;
}

static const struct command *find_command(int *argc, char ***argv, struct cos_err *err)
{
	const struct command *cmd = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(tables) && !cmd; i++)
		cmd = match(tables[i], argc, argv);
	if (!cmd)
		cli_bad(err, *argc ? "no such command" : "no command");
	if (cmd && *argc >= cmd->min && *argc <= cmd->max)
		return cmd;
	if (cmd)
		cli_bad(err, "too many or too few arguments");
	return NULL;
}

static int run(const struct command *cmd, const struct options *o, char **arg, struct cos_err *err)
{
	auto_close int state = -1;
	struct cowfs c;
	int r;

	if (geteuid() != 0)
		return cos_advise(err, cos_fail(err, COS_E_DENIED, 0, "cow-fs needs root"),
				  "run it as root, or use 'cosctl template'");
	if (is_inside(cmd))
		return cmd->run(NULL, o, arg, err);
	state = open(o->state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (state < 0)
		return cos_advise(err, cos_fail(err, COS_E_KERNEL, errno, "open %s", o->state_dir),
				  "name cosd's state directory with --state-dir");
	r = cowfs_open(state, &c, err);
	if (r < 0)
		return r;
	r = cmd->run(&c, o, arg, err);
	cowfs_close(&c);
	return r;
}

int main(int argc, char **argv)
{
	const struct command *cmd = NULL;
	struct cos_err err = { 0 };
	struct options o;
	int r = cli_options(argc, argv, &o, &err);

	if (r == 0 && o.help) {
		fputs(usage, stdout);
		cli_print_options();
		return fflush(stdout) != 0;
	}
	argc -= optind;
	argv += optind;
	if (r == 0)
		cmd = find_command(&argc, &argv, &err);
	if (cmd)
		r = cli_check_options(cmd, &o, &err);
	else if (r == 0)
		r = -EINVAL;
	if (r == 0)
		r = run(cmd, &o, argv, &err);
	if (r < 0)
		say_error(&o, &err);
	r = r < 0 ? cos_err_defs[err.code].exit_status : 0;
	if (cmd && is_inside(cmd)) {
		fflush(stdout);
		syscall(SYS_exit_group, r); /* a sanitizer's _exit() makes calls that are refused */
	}
	return r;
}
