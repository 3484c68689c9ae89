/* cow-fs/import.c - a source into a new layer, by a confined child process */
#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cow-fs/busybox.h"
#include "cow-fs/confine.h"
#include "cow-fs/digest.h"
#include "cow-fs/fill.h"
#include "cow-fs/import.h"
#include "cow-fs/inner.h"
#include "cow-fs/pool.h"
#include "cow-fs/unify.h"
#include "lib/base/clock.h"
#include "lib/base/io.h"
#include "lib/base/own.h"
#include "lib/base/str.h"
#include "lib/kern/mnt.h"

#define ROOT_MODE    0755
#define SILENCE_MSEC 1000
#define ATTR_SAFE    (MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC)

static const char *const kind_names[] = {
	[IMPORT_DIR] = "dir",         [IMPORT_TAR] = "tar",       [IMPORT_OCI] = "oci",
	[IMPORT_BUSYBOX] = "busybox", [IMPORT_DEBIAN] = "debian",
};

/* What the child says, a record in one write(): shorter than PIPE_BUF, so never torn. */
struct report {
	bool is_last;
	int r; /* of the last: 0 or a negative errno */
	struct tree_count n;
	struct cos_err err;
};

struct import {
	const struct cowfs *c;
	const char *name;
	const struct import_source *src;
	import_progress *progress;
	void *arg;
	char id[COWFS_ID_SIZE];
	int dir;    /* tmp/<id>, locked */
	int mount;  /* its root/, detached */
	int source; /* what the child reads */
	char *applets;
	struct digester *digester; /* made before the child is confined */
	struct utsname uts;
	struct debian_run debian;
	int log; /* of the build; -1 */
	struct fill_except except;
	struct report last;
};

static void import_done(struct import *m)
{
	close_p(&m->source);
	close_p(&m->mount);
	close_p(&m->dir);
	close_p(&m->log);
	free(take_ptr(m->applets));
	digester_free(take_ptr(m->digester));
}

/* ---- the child ---- */

static int send_progress(struct tree *t)
{
	const struct report p = { .n = t->n };

	return io_write_all(CONFINE_REPORT, &p, sizeof(p));
}

static int fill(struct import *m, struct tree *t, struct cos_err *err)
{
	int r = -EINVAL;

	switch (m->src->kind) {
	case IMPORT_DIR:
		r = fill_from_dir(t, CONFINE_SOURCE, &m->except, err);
		break;
	case IMPORT_TAR:
		r = fill_from_tar(t, CONFINE_SOURCE, err);
		break;
	case IMPORT_OCI:
		r = fill_from_oci(t, CONFINE_SOURCE, m->digester, m->uts.machine, err);
		break;
	case IMPORT_BUSYBOX:
		r = fill_from_busybox(t, CONFINE_SOURCE, m->applets, err);
		break;
	case IMPORT_DEBIAN:
		r = fill_from_debian(t, CONFINE_SOURCE, m->src->debian->init, err);
		break;
	}
	return r < 0 ? r : tree_finish(t, err);
}

static int child(struct import *m, int report_fd, const struct filter *filter)
{
	const struct confine confine = {
		.source = m->source,
		.report = report_fd,
		.mount = m->mount,
		.sees_trusted = m->src->kind == IMPORT_DIR,
		.filter = *filter,
	};
	struct report last = { .is_last = true };
	struct tree t;

	tree_init(&t, CONFINE_DIR);
	t.max_bytes = m->src->max_bytes;
	t.progress = send_progress;
	last.r = confine_enter(&confine, &report_fd, &last.err);
	if (last.r == 0)
		last.r = fill(m, &t, &last.err);
	last.n = t.n;
	return io_write_all(report_fd, &last, sizeof(last)) < 0;
}

/* ---- the parent, while the child works ---- */

/* The child read foreign bytes: what it says is foreign too. */
static int believe(struct report *p)
{
	char *const text[] = { p->err.what, p->err.why, p->err.todo };
	const size_t size[] = { sizeof(p->err.what), sizeof(p->err.why), sizeof(p->err.todo) };

	for (size_t i = 0; i < ARRAY_SIZE(text); i++) {
		text[i][size[i] - 1] = '\0';
		str_make_text(text[i]);
	}
	if (p->r > 0 || p->r < -4095)
		return -EPROTO;
	if (p->r < 0 && (p->err.code <= COS_E_NONE || p->err.code >= COS_E__N))
		return -EPROTO;
	return 0;
}

/* Whole records only. 0: the child has closed its end. While it is silent, as long as a source is
 * still being made, the last count is told again: who wants no more of it is noticed. */
static int receive(struct import *m, int fd, struct report *ret)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	const struct tree_count seen = ret->n;
	char *to = (char *)ret;
	size_t have = 0;

	while (have < sizeof(*ret)) {
		ssize_t n;

		if (have == 0 && poll(&p, 1, SILENCE_MSEC) == 0) {
			if (m->progress)
				m->progress(&seen, m->arg);
			continue;
		}
		n = read(fd, to + have, sizeof(*ret) - have);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return have ? -EPROTO : 0;
		have += (size_t)n;
	}
	return 1;
}

static int listen_to(struct import *m, int fd, struct cos_err *err)
{
	struct report p = { 0 };
	int r;

	while ((r = receive(m, fd, &p)) > 0) {
		r = believe(&p);
		if (r < 0 || p.is_last)
			break;
		if (m->progress)
			m->progress(&p.n, m->arg);
	}
	if (r < 0)
		return cos_fail(err, COS_E_INTERNAL, -r, "the importing process talks nonsense");
	if (!p.is_last)
		return cos_fail(err, COS_E_INTERNAL, 0, "the importing process said nothing");
	m->last = p;
	if (p.r < 0)
		*err = p.err;
	return p.r;
}

/* Ends the child, which has no more to say, and tells if it did not end by itself. */
static int end_child(struct import *m, pid_t pid, int r, struct cos_err *err)
{
	int status = 0;

	kill(pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (!m->last.is_last && WIFSIGNALED(status))
		return cos_fail(err, COS_E_IMAGE, 0,
				"the process that read it died of signal %d (%s)", WTERMSIG(status),
				sigabbrev_np(WTERMSIG(status)) ?: "?");
	return r;
}

static int run_child(struct import *m, struct cos_err *err)
{
	struct filter filter = { 0 };
	int p[2], r = confine_filter(&filter, err);
	pid_t pid;

	if (r < 0)
		return r;
	if (pipe2(p, O_CLOEXEC) < 0) {
		filter_done(&filter);
		return cos_fail(err, COS_E_KERNEL, errno, "pipe");
	}
	pid = confine_fork(err);
	if (pid == 0)
		_exit(child(m, p[1], &filter));
	close(p[1]);
	filter_done(&filter);
	r = pid < 0 ? pid : listen_to(m, p[0], err);
	close(p[0]);
	return pid < 0 ? r : end_child(m, pid, r, err);
}

/* ---- before and after ---- */

/* A sweep may look at the new directory before it is locked and take it away: then again. */
static int make_tmp(struct import *m)
{
	for (int tries = 0; tries < 16; tries++) {
		struct stat st, at;
		int r = cowfs_id_make(m->id);

		if (r < 0)
			return r;
		close_p(&m->dir);
		m->dir = io_dir_at(m->c->tmp, m->id, 0700);
		if (m->dir < 0 && m->dir != -ENOENT)
			return m->dir;
		if (m->dir >= 0 && io_lock(m->dir) == 0 && fstat(m->dir, &st) == 0 &&
		    fstatat(m->c->tmp, m->id, &at, AT_SYMLINK_NOFOLLOW) == 0 &&
		    st.st_ino == at.st_ino)
			return 0;
	}
	return -EBUSY;
}

/* The tree as the child will see it: alone, and a source without what is mounted below. */
static int open_mounts(struct import *m, struct cos_err *err)
{
	auto_close int root = io_dir_at(m->dir, "root", ROOT_MODE), from = -1;
	struct stat st;
	int r;

	if (root < 0 || fchmod(root, ROOT_MODE) < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "make cow/tmp/%s/root", m->id);
	m->mount = mnt_clone(root, "", false);
	r = m->mount < 0 ? m->mount : mnt_attr(m->mount, ATTR_SAFE, 0, false);
	if (r < 0)
		return cos_fail(err, COS_E_KERNEL, -r, "clone the mount of cow/tmp");
	if (m->src->kind == IMPORT_DIR || m->src->kind == IMPORT_OCI) {
		from = mnt_clone(m->src->fd, "", false);
		r = from < 0 ? from : mnt_attr(from, ATTR_SAFE | MOUNT_ATTR_RDONLY, 0, false);
	}
	if (from >= 0 && r == 0)
		m->source = openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	else if (m->src->kind == IMPORT_DEBIAN)
		m->source = fcntl(m->debian.tar, F_DUPFD_CLOEXEC, 3);
	else /* a directory of another mount namespace cannot be cloned, but read */
		m->source = fcntl(m->src->fd, F_DUPFD_CLOEXEC, 3);
	if (m->source < 0 || fstat(m->c->dir, &st) < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "open the source");
	m->except = (struct fill_except){ .dev = st.st_dev, .ino = st.st_ino };
	return 0;
}

static int write_json(int dir, const char *name, json_t *owned)
{
	auto_json json_t *j = owned;
	auto_free char *text = json_dumps(j, JSON_COMPACT);

	return text ? io_replace_at(dir, name, text, strlen(text), 0600, false) : -ENOMEM;
}

/* Beside the tree, so that one syncfs() makes all of it durable. */
static int write_records(struct import *m, struct cos_err *err)
{
	uint64_t now = clock_wall_usec();
	int r;

	r = write_json(m->dir, "meta.json",
		       json_pack("{s:I, s:I, s:I, s:s}", "files", (json_int_t)m->last.n.files,
				 "bytes", (json_int_t)m->last.n.bytes, "created", (json_int_t)now,
				 "source", kind_names[m->src->kind]));
	if (r == 0)
		r = write_json(m->dir, "template.json",
			       json_pack("{s:[s], s:I, s:s}", "layers", m->id, "created",
					 (json_int_t)now, "arch", m->uts.machine));
	if (r == 0 && syncfs(m->dir) < 0)
		r = -errno;
	return r < 0 ? tree_fail(err, "the new layer", "make durable", -r) : 0;
}

/* The layer first, durably, then the name. Until then the lock on the layer keeps sweeps away. */
static int publish(struct import *m, struct cos_err *err)
{
	char file[COWFS_NAME_SIZE + 8];
	int r;

	str_fmt(file, sizeof(file), "%s.json", m->name);
	if (renameat(m->c->tmp, m->id, m->c->layers, m->id) < 0 || fsync(m->c->layers) < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "rename tmp/%s to layers", m->id);
	r = cowfs_lock(m->c, LOCK_EX);
	if (r == 0 &&
	    renameat2(m->dir, "template.json", m->c->templates, file, RENAME_NOREPLACE) < 0)
		r = -errno;
	cowfs_unlock(m->c);
	if (r == 0 && fsync(m->c->templates) < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "fsync cow/templates");
	if (r < 0) /* where discard() looks */
		renameat(m->c->layers, m->id, m->c->tmp, m->id);
	if (r == -EEXIST)
		return cos_fail(err, COS_E_EXISTS, 0, "there is a template %s already", m->name);
	return r < 0 ? cos_fail(err, COS_E_KERNEL, -r, "rename to templates/%s", file) : 0;
}

/* The log outlives a failure, and goes with the template. */
static int start_debian(struct import *m, struct cos_err *err)
{
	char file[COWFS_NAME_SIZE + 8];

	str_fmt(file, sizeof(file), "%s.log", m->name);
	m->log = openat(m->c->log, file,
			O_RDWR | O_APPEND | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (m->log < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "open cow/log/%s", file);
	return debian_start(m->src->debian, m->dir, m->log, &m->debian, err);
}

static int end_debian(struct import *m, int r, struct cos_err *err)
{
	if (m->src->kind != IMPORT_DEBIAN)
		return r;
	r = debian_end(&m->debian, r, err);
	if (r < 0 && (err->code == COS_E_IMAGE || err->code == COS_E_TIMEOUT))
		return cos_advise(err, r, "read cow/log/%s.log in the state directory", m->name);
	return r;
}

/* Nobody has the tree yet: what templates have in common is stored once from the start. */
static int unify(struct import *m, struct cos_err *err)
{
	auto_close int root = openat(m->dir, "root", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	const struct cowfs_unify u = { 0 };
	struct cowfs_unified n;
	struct cowfs_pool pool;
	int r;

	if (root < 0)
		return cos_fail(err, COS_E_KERNEL, errno, "open cow/tmp/%s/root", m->id);
	r = cowfs_pool_open(m->c, NULL, COWFS_POOL_ADD, &pool, err);
	if (r < 0)
		return r;
	r = cowfs_unify_tree(&pool, m->dir, root, &u, &n, err);
	cowfs_pool_close(&pool);
	return r;
}

static int build(struct import *m, struct cos_err *err)
{
	int r = make_tmp(m);

	if (r < 0)
		return tree_fail(err, "cow/tmp", "make a directory", -r);
	uname(&m->uts);
	m->digester = m->src->kind == IMPORT_OCI ? digester_new() : NULL;
	if (m->src->kind == IMPORT_OCI && !m->digester)
		return cos_fail(err, COS_E_KERNEL, ENOMEM, "make a digest");
	if (m->src->kind == IMPORT_DEBIAN)
		r = start_debian(m, err);
	if (r == 0)
		r = open_mounts(m, err);
	if (r == 0 && m->src->kind == IMPORT_BUSYBOX)
		r = busybox_list(m->src->fd, &m->applets, err);
	if (r == 0)
		r = run_child(m, err);
	close_p(&m->mount);
	r = end_debian(m, r, err);
	if (r == 0 && m->src->unify)
		r = unify(m, err);
	if (r == 0)
		r = write_records(m, err);
	return r < 0 ? r : publish(m, err);
}

/* A failed import frees its space at once: it may have failed for want of it. */
static void discard(struct import *m)
{
	unsigned budget = (unsigned)-1;

	if (m->dir >= 0 && renameat(m->c->tmp, m->id, m->c->trash, m->id) == 0)
		cowfs_trash_empty(m->c, m->id, &budget);
}

int cowfs_import(const struct cowfs *c, const char *name, const struct import_source *src,
		 import_progress *progress, void *arg, struct tree_count *ret, struct cos_err *err)
{
	struct import m = {
		.c = c,
		.name = name,
		.src = src,
		.progress = progress,
		.arg = arg,
		.dir = -1,
		.mount = -1,
		.source = -1,
		.debian = DEBIAN_RUN_NONE,
		.log = -1,
	};
	struct cowfs_layers there;
	struct cos_err found;
	int r = cowfs_template_find(c, name, &there, &found);

	if (r == 0)
		return cos_fail(err, COS_E_EXISTS, 0, "there is a template %s already", name);
	if (found.code != COS_E_NO_TEMPLATE) {
		*err = found;
		return r;
	}
	r = build(&m, err);
	if (r < 0)
		discard(&m);
	else
		*ret = m.last.n;
	import_done(&m);
	return r < 0 ? cos_context(err, r, "%s %s",
				   src->kind >= IMPORT_BUSYBOX ? "build" : "import", name)
		     : 0;
}
