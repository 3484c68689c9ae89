/* cow-fs/disk-make.c - a template as the disk of machines: made by mke2fs
 *
 * The program reads a tree that others have filled, so it has no right but to read it, and nothing
 * to write to but the image. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cow-fs/disk.h"
#include "cow-fs/flatten.h"
#include "cow-fs/inner.h"
#include "cow-fs/object.h"
#include "cow-fs/program.h"
#include "lib/base/io.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "lib/kern/cap.h"
#include "lib/kern/proc.h"

#define FD_TREE  3
#define FD_IMAGE 4
#define LOG_SIZE 512

/* What the template's files take, roughly. */
static uint64_t bytes_of(const struct cowfs *c, const char *template, struct cos_err *err)
{
	auto_json json_t *list = NULL;
	json_t *t;
	size_t i;

	if (cowfs_template_list(c, &list, err) < 0)
		return 0;
	json_array_foreach(list, i, t) {
		if (strcmp(json_string_value(json_object_get(t, "name")), template) == 0)
			return (uint64_t)json_integer_value(json_object_get(t, "bytes"));
	}
	return 0;
}

static void run_mke2fs(const char *path, int tree, int image, int log)
{
	char *const env[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "MKE2FS_SYNC=0",
			      NULL };
	char *const argv[] = { "mke2fs",
			       "-q",
			       "-F",
			       "-t",
			       "ext4",
			       "-L",
			       "root",
			       "-m",
			       "0",
			       "-E",
			       "lazy_itable_init=1,lazy_journal_init=1,nodiscard,root_owner=0:0",
			       "-d",
			       "/proc/self/fd/3",
			       "/proc/self/fd/4",
			       NULL };
	const cap_mask may = 1ULL << CAP_DAC_READ_SEARCH;
	int high[] = { fcntl(tree, F_DUPFD_CLOEXEC, 16), fcntl(image, F_DUPFD_CLOEXEC, 16) };
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	proc_reset_signals();
	if (unshare(CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS) < 0 || dup2(null, 0) < 0 ||
	    dup2(log, 1) < 0 || dup2(log, 2) < 0 || dup2(high[0], FD_TREE) < 0 ||
	    dup2(high[1], FD_IMAGE) < 0)
		_exit(126);
	proc_close_from(FD_IMAGE + 1);
	if (cap_drop_bounding(may) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    cap_set(may) < 0)
		_exit(126);
	execve(path, argv, env);
	_exit(127);
}

/* Its last line, which says why. */
static const char *last_line(int log, char buf[static LOG_SIZE])
{
	off_t size = lseek(log, 0, SEEK_END), from = size > LOG_SIZE - 1 ? size - LOG_SIZE + 1 : 0;
	ssize_t n = pread(log, buf, LOG_SIZE - 1, from);
	char *line;

	while (n > 0 && buf[n - 1] == '\n')
		n--;
	buf[n > 0 ? n : 0] = '\0';
	line = strrchr(buf, '\n');
	return line ? line + 1 : buf;
}

static int fill_image(int tree, int image, struct cos_err *err)
{
	auto_close int log = memfd_create("mke2fs", MFD_CLOEXEC);
	char path[PROGRAM_PATH_SIZE], text[LOG_SIZE];
	const char *program = program_find("mke2fs", path);
	int status = 0;
	pid_t pid;

	if (!program)
		return cos_advise(err, cos_fail(err, COS_E_UNSUPPORTED, ENOENT, "find mke2fs"),
				  "install e2fsprogs: it makes the disks of machines");
	pid = fork();
	if (pid == 0)
		run_mke2fs(program, tree, image, log);
	if (pid < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "fork");
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (status != 0)
		return cos_fail(err, COS_E_IMAGE, 0, "mke2fs ended with wait status %#x: %.200s",
				status, last_line(log, text));
	return fsync(image) < 0 ? cos_fail(err, COS_E_KERNEL, errno, "write the image") : 0;
}

/* In DIR, a directory of its own: the image, and what hides the pool's folder from it. */
static int make_in(const struct cowfs *c, int dir, const struct cowfs_layers *l, uint64_t size,
		   unsigned features, struct cos_err *err)
{
	auto_close int hide = io_dir_at(dir, "hide", 0755);
	auto_close int image = openat(dir, "disk.img", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	auto_close int mnt = -1;
	int r = hide < 0 ? hide : stub_hide_pool(hide);

	if (r < 0 || image < 0 || ftruncate(image, (off_t)size) < 0)
		return cos_fail(err, COS_E_KERNEL, r < 0 ? -r : errno, "make a file in cow/tmp");
	mnt = cowfs_layers_mount(c, l, NULL, hide, features, err);
	return mnt < 0 ? mnt : fill_image(mnt, image, err);
}

/* A template that was deleted meanwhile, or is another one now, gets none. */
static int publish(const struct cowfs *c, int dir, const char *template,
		   const struct cowfs_layers *made, struct cos_err *err)
{
	char to[COWFS_ID_SIZE + 16];
	struct cowfs_layers now;
	int r = cowfs_lock(c, LOCK_SH);

	if (r < 0)
		return cos_fail(err, COS_E_KERNEL, -r, "lock cow");
	r = cowfs_template_find(c, template, &now, err);
	if (r == 0 && strcmp(now.id[0], made->id[0]) != 0)
		r = cos_fail(err, COS_E_STATE, 0, "%s was replaced meanwhile", template);
	str_fmt(to, sizeof(to), "%s/disk.img", made->id[0]);
	/* another one may have been made meanwhile, and stands under a machine */
	if (r == 0 && renameat2(dir, "disk.img", c->layers, to, RENAME_NOREPLACE) < 0 &&
	    errno != EEXIST)
		r = cos_fail(err, COS_E_KERNEL, errno, "rename to layers/%s", to);
	cowfs_unlock(c);
	return r;
}

int cowfs_disk_make(const struct cowfs *c, const char *template, unsigned features,
		    struct cos_err *err)
{
	auto_close int dir = -1;
	char id[COWFS_ID_SIZE];
	struct cowfs_layers l;
	uint64_t bytes;
	int r = cowfs_disk_is_made(c, template, err);

	if (r != 0)
		return r < 0 ? r : 0;
	r = cowfs_template_find(c, template, &l, err);
	if (r < 0)
		return r;
	bytes = 2 * bytes_of(c, template, err);
	r = cowfs_id_make(id);
	dir = r < 0 ? r : io_dir_at(c->tmp, id, 0700);
	r = dir < 0 ? dir : io_lock(dir); /* as an import's */
	if (r < 0)
		return cos_fail(err, COS_E_KERNEL, -r, "make a directory in cow/tmp");
	r = make_in(c, dir, &l, bytes > COWFS_DISK_BYTES ? bytes & ~4095ULL : COWFS_DISK_BYTES,
		    features, err);
	if (r == 0)
		r = publish(c, dir, template, &l, err);
	cowfs_retire(c, c->tmp, id);
	return r < 0 ? cos_context(err, r, "disk of %s", template) : 0;
}
